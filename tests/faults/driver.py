"""One flow in a process of its own: what the fault tests kill, stop, and read the output of."""

import argparse
import json
import os
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tasks.model.errors import ChangeoverError
from tasks.model.status import Report

UNEXPECTED = 70
"""Exit code for an error that is not one of ours: nobody was told what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run flows one after the other; outcomes go to a file as JSON, logs to standard error.

    A flow is written `run=PATH`, `rollback=NAME` or `contract=NAME`. The exit code is that of the last one.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.faults.driver", description=__doc__)
    parser.add_argument("profile")
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("flows", nargs="+")
    asked = parser.parse_args(arguments)
    outcomes: list[dict[str, str]] = []
    for flow in asked.flows:
        command, _, migration = flow.partition("=")
        code, outcome = _one(command, migration, asked.profile)
        outcomes.append(outcome)
        asked.outcomes.write_text(json.dumps(outcomes))
    return code


def _one(command: str, migration: str, profile: str) -> tuple[int, dict[str, str]]:
    try:
        return 0, {"state": _flow(command, migration, profile)}
    except ChangeoverError as error:
        sys.stderr.write(f"{error}\n")
        told = {name: str(getattr(error, name)) for name in ("code", "what", "where", "hint", "changed")}
        return error.exit_code, {**told, "type": type(error).__name__}
    except Exception:  # noqa: BLE001 - the test wants to see what nobody expected
        traceback.print_exc()
        return UNEXPECTED, {"code": "UNEXPECTED", "what": traceback.format_exc()}


def _flow(command: str, migration: str, profile: str) -> str:
    from flows.contract import contract
    from flows.cross_database import cross_database
    from flows.expand_contract import expand_contract
    from flows.rollback import rollback
    from flows.shadow_table import shadow_table

    flows: dict[str, Callable[[str, str], Report]] = {
        "run": expand_contract,
        "shadow": shadow_table,
        "cross": cross_database,
        "rollback": rollback,
        "contract": contract,
    }
    return str(flows[command](migration, profile).state)


def child(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Be the driver in a process that was forked with everything imported: leader of a group of its own."""
    os.setsid()
    with open(log, "ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(environment)
    random.seed()  # all children would roll the dice of the process that they were forked from
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
