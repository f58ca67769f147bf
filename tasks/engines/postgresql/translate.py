"""Errors of psycopg in our words, without values of rows."""

from typing import Final

import psycopg

from tasks.engines.postgresql.address import redact
from tasks.engines.postgresql.planning.shadow.followed import UNSEEN
from tasks.engines.postgresql.transient import is_transient
from tasks.model.errors import ChangeoverError, DataChanged, StepError, TransientError

_TELLING: Final = frozenset({"08", "53", "57", "58"})
"""Classes of SQLSTATE whose messages speak of the server; others can hold values: casts, and functions of users."""
_HINTS: Final = {
    "53100": "Make room on the disk of the server, then run again.",
    "42501": "Ask the administrator for the privilege, then run again.",
    UNSEEN: "Roll back, and run again; leave partitions as they are until the contract.",
}


def translated(error: psycopg.Error, where: str) -> ChangeoverError:
    """Return our error for one of the driver."""
    code = error.sqlstate or ""
    said = error.diag.message_primary
    words = said if code[:2] in _TELLING or code == UNSEEN else None
    broken = f" by {error.diag.constraint_name}" if error.diag.constraint_name else ""
    what = f"the server said {code or 'nothing'}: {redact(words) if words else type(error).__name__ + broken}"
    if is_transient(error):
        hint = "Run again: it goes on from what the ledger says is done."
        return TransientError(what, where=where, hint=hint, changed=DataChanged.PARTIALLY)
    hint = _HINTS.get(code, "Remove the cause, then run again, or roll back.")
    return StepError(what, where=where, hint=hint, changed=DataChanged.PARTIALLY)
