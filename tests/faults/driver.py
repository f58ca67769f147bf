"""One flow in a process of its own: what the fault tests kill, stop, and read the output of."""

import argparse
import json
import os
import random
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.model.errors import ChangeoverError

UNEXPECTED = 70
"""Exit code for an error that is not one of ours: nobody was told what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run one flow; its outcome goes to a file as JSON, its log to standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.driver", description=__doc__)
    parser.add_argument("command", choices=["run", "rollback", "contract"])
    parser.add_argument("migration")
    parser.add_argument("profile")
    parser.add_argument("outcome", type=Path)
    asked = parser.parse_args(arguments)
    try:
        outcome = {"state": _flow(asked.command, asked.migration, asked.profile)}
        code = 0
    except ChangeoverError as error:
        outcome = {name: str(getattr(error, name)) for name in ("code", "what", "where", "hint", "changed")}
        outcome["type"] = type(error).__name__
        code = error.exit_code
        sys.stderr.write(f"{error}\n")
    except Exception:  # noqa: BLE001 - the test wants to see what nobody expected
        outcome = {"code": "UNEXPECTED", "what": traceback.format_exc()}
        code = UNEXPECTED
        traceback.print_exc()
    asked.outcome.write_text(json.dumps(outcome))
    return code


def _flow(command: str, migration: str, profile: str) -> str:
    from flows.contract import contract
    from flows.expand_contract import expand_contract
    from flows.rollback import rollback

    flow = {"run": expand_contract, "rollback": rollback, "contract": contract}[command]
    return str(flow(migration, profile).state)


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
