"""Errors of PyMySQL in our words: numbers, never texts, which quote values of rows."""

from typing import TYPE_CHECKING, Final

from tasks.engines.mysql.transient import code_of, is_transient
from tasks.model.errors import ChangeoverError, DataChanged, StepError, TransientError

if TYPE_CHECKING:
    from pymysql.err import MySQLError

_HINTS: Final = {
    1021: "Make room on the disk of the server, then run again.",
    1114: "Make room on the disk of the server, then run again.",
    1142: "Ask the administrator for the privilege, then run again.",
    1197: "Raise max_binlog_cache_size on the server, then run again: one row, or one step, has no room in it.",
    1227: "Ask the administrator for the privilege, then run again.",
    1419: "Ask the administrator to set log_bin_trust_function_creators, or for the privilege SUPER.",
}


def translated(error: "MySQLError", where: str) -> ChangeoverError:
    """Return our error for one of the driver."""
    code = code_of(error) or 0
    what = f"the server said {code}: {type(error).__name__}"
    if is_transient(error):
        hint = "Run again: it goes on from what the ledger says is done."
        return TransientError(what, where=where, hint=hint, changed=DataChanged.PARTIALLY)
    hint = _HINTS.get(code, "Remove the cause, then run again, or roll back.")
    return StepError(what, where=where, hint=hint, changed=DataChanged.PARTIALLY)
