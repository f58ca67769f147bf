"""Errors of PyMongo: which pass by themselves, and all in our words. Codes, never texts, which quote documents."""

from typing import Final

from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError, WTimeoutError

from tasks.engines.postgresql.transient import PASSING as OF_POSTGRESQL
from tasks.engines.retrying import Passing
from tasks.model.errors import ChangeoverError, DataChanged, StepError, TransientError

_PASSING: Final = frozenset({6, 7, 50, 64, 89, 91, 112, 189, 202, 262, 9001, 10107, 11600, 11602, 13435, 13436, 24})
"""Host unreachable, time limits, elections, shutdowns, write conflicts, lock timeouts."""
_HINTS: Final = {
    13: "Ask the administrator for the role readWrite on the database, then run again.",
    18: "Correct user and password in the URL.",
    10334: "The document is larger than 16 MiB: leave that row out with `where`.",
    14031: "Make room on the disk of the server, then run again.",
}


def code_of(error: BaseException) -> int | None:
    """Return the server's number of an error; None where the server has given none."""
    if isinstance(error, BulkWriteError):
        listed = error.details.get("writeErrors") or error.details.get("writeConcernErrors") or []
        return int(listed[0].get("code", 0)) if listed else None
    return error.code if isinstance(error, OperationFailure) else None


def is_transient(error: BaseException) -> bool:
    """Tell whether the whole batch, tried again, may succeed: batches replace what they have written."""
    if isinstance(error, ConnectionFailure | WTimeoutError):
        return True
    if isinstance(error, BulkWriteError) and not error.details.get("writeErrors"):
        return True
    if not isinstance(error, PyMongoError):
        return False
    # By the label, what ends a transaction: an election forgets those that are under way.
    return error.timeout or code_of(error) in _PASSING or error.has_error_label("TransientTransactionError")


def translated(error: PyMongoError, where: str) -> ChangeoverError:
    """Return our error for one of the driver."""
    code = code_of(error)
    what = f"MongoDB said {code if code is not None else 'nothing'}: {type(error).__name__}"
    if is_transient(error):
        hint = "Run again: it goes on from what the ledger says is done."
        return TransientError(what, where=where, hint=hint, changed=DataChanged.PARTIALLY)
    hint = _HINTS.get(code or 0, "Remove the cause, then run again, or roll back.")
    return StepError(what, where=where, hint=hint, changed=DataChanged.PARTIALLY)


def _summary(error: BaseException) -> str:
    if isinstance(error, PyMongoError):
        return f"MongoDB said {code_of(error)}: {type(error).__name__}"
    return OF_POSTGRESQL.summary(error)


PASSING: Final = Passing(
    passes=lambda error: is_transient(error) or OF_POSTGRESQL.passes(error),
    lost=lambda error: isinstance(error, ConnectionFailure) or OF_POSTGRESQL.lost(error),
    lock=OF_POSTGRESQL.lock,
    summary=_summary,
)
"""Of a step that works on both databases."""
