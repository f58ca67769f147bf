"""Where the command line writes: results to stdout, everything else to stderr, plain when nobody watches."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

UNBROKEN = 100_000
"""Columns of something that is no terminal: lines stay whole, so that other programs can read them."""


def _console(file: TextIO) -> Console:
    width = None if file.isatty() else UNBROKEN
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)


@cache
def out() -> Console:
    """Return the console of results."""
    return _console(sys.stdout)


@cache
def err() -> Console:
    """Return the console of progress, questions and errors."""
    return _console(sys.stderr)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one object on stdout, whatever stdout is."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def facts(pairs: Sequence[tuple[str, str]]) -> Text:
    """Lay out names and values, one pair a line; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0) + 2
    return Text("\n").join(Text.assemble((name.ljust(width), "dim"), value) for name, value in shown)
