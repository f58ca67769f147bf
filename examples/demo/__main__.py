"""`python -m examples.demo`."""

import argparse
import sys
from collections.abc import Sequence

from examples.demo.run import main
from examples.demo.sabotage import SABOTAGES


def run(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="Migrate a live table twice.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, and nothing else")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the table")
    parser.add_argument("--rate", type=float, default=200.0, help="statements a second on the table")
    parser.add_argument("--before", type=float, default=10.0, help="seconds that the application runs alone first")
    parser.add_argument("--sabotage", action="append", default=[], choices=sorted(SABOTAGES), help=argparse.SUPPRESS)
    return main(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(run())
