"""Errors of the database in one line, without the values that they quote."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import psycopg

from tasks.engines.mysql.driver import driver_error
from tasks.model.errors import ChangeoverError
from tasks.model.names import quote

if TYPE_CHECKING:
    from pymysql.err import MySQLError

    Trouble = psycopg.Error | MySQLError | ChangeoverError

_QUOTES = "\"'«»„“”‚‘’"
_LOST = "the connection to the database failed or was lost"


def describe(error: "Trouble", *, own: str, values_in_reports: bool) -> str:
    """Return SQLSTATE and message of an error.

    Without `values_in_reports` nothing remains of it that could come from a row: what is quoted, and words
    with digits, stay only where `own`, the SQL that was sent, has them too; what a function raised is not
    repeated at all.
    """
    if isinstance(error, ChangeoverError):
        return error.what
    if not isinstance(error, psycopg.Error):
        # Its texts quote values.
        said = error.args if values_in_reports else error.args[:1]
        return f"the server said {' '.join(map(str, said)) or 'nothing'}"
    if error.sqlstate is None:
        return _LOST
    message = error.diag.message_primary or ""
    if values_in_reports:
        return f"{error.sqlstate} {message}".rstrip()
    if _raised_by_function(error):
        return f"{error.sqlstate} {_condition(error.sqlstate)}".rstrip()
    return f"{error.sqlstate} {_without_values(message, own, names=error.sqlstate.startswith('42'))}".rstrip()


def trouble(error: BaseException) -> "Trouble | None":
    """Return what the database, or the way to it, had to say in a chain of causes; None if nothing."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (psycopg.Error, driver_error(), ChangeoverError)):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _raised_by_function(error: psycopg.Error) -> bool:
    lines = (error.diag.context or "").splitlines()
    return any(line != "parallel worker" for line in lines)


def _condition(sqlstate: str) -> str:
    try:
        name = psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return ""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


def _without_values(message: str, own: str, *, names: bool) -> str:
    words = frozenset(re.findall(r"\w+", own))
    if not (names and _only_names(message, own, words)):
        message = _cut(message)
    return re.sub(r"\w*\d\w*", lambda match: match[0] if match[0] in words else "…", message)


def _only_names(message: str, own: str, words: Collection[str]) -> bool:
    """Tell whether all that is quoted are names, or words, of the SQL that was sent."""
    rest = re.sub(r'"([^"]*)"', lambda match: "" if _known(match[1], own, words) else match[0], message)
    return not any(mark in rest for mark in _QUOTES)


def _known(name: str, own: str, words: Collection[str]) -> bool:
    return name in words or quote(name) in own


def _cut(message: str) -> str:
    places = [place for place, character in enumerate(message) if character in _QUOTES]
    if not places:
        return message
    # From the first quote to the last: a value may itself contain quotes.
    tail = message[places[-1] + 1 :] if len(places) > 1 else ""
    return f'{message[: places[0]]}"…"{tail}'
