"""What statements that somebody else wrote may do, as far as a parser can tell."""

import logging
import threading
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tasks.model.steps import Risk

_DESTROYED = {"TABLE", "SCHEMA", "DATABASE", "MATERIALIZED VIEW"}
_KNOWN = (exp.Create, exp.Alter, exp.Drop, exp.Comment, exp.Grant, exp.Insert, exp.Update, exp.Delete, exp.Select)
_QUIET = threading.Lock()


def judged(text: str, *, undone: bool) -> tuple[tuple[Risk, str], ...]:
    """Return how risky each statement of a text is, and why; `undone`: there is a text that takes it back.

    What cannot be parsed counts as HIGH, and so does what parses to an opaque command.
    """
    return tuple(_statement(one, undone) for one in _parsed(text))


def _parsed(text: str) -> Iterator[exp.Expr | None]:
    log = logging.getLogger("sqlglot")
    with _QUIET:
        level = log.level
        # It says on stderr, with the text of the statement, what it takes for a command.
        log.setLevel(logging.CRITICAL)
        try:
            found = sqlglot.parse(text, read="postgres")
        except (SqlglotError, RecursionError):
            found = [None]
        finally:
            log.setLevel(level)
    yield from (one for one in found if one is not None or len(found) == 1)


def _statement(one: exp.Expr | None, undone: bool) -> tuple[Risk, str]:
    if one is None:
        return Risk.HIGH, "a statement that cannot be parsed"
    if isinstance(one, exp.Command):
        return Risk.HIGH, f"a statement that the parser does not see into: {str(one.this).split()[0].lower()}"
    verb = "truncate" if isinstance(one, exp.TruncateTable) else one.key
    if verb == "truncate" or (isinstance(one, exp.Drop) and str(one.args.get("kind")) in _DESTROYED):
        return (Risk.HIGH if undone else Risk.CRITICAL), f"{verb} destroys rows" + ("" if undone else ", for good")
    if isinstance(one, exp.Update | exp.Delete) and one.args.get("where") is None:
        return Risk.HIGH, f"{verb} of every row of a table, in one transaction"
    if isinstance(one, _KNOWN):
        return Risk.HIGH, f"{verb}, whose effects on applications are not known"
    return Risk.HIGH, f"a statement of a kind that is not known: {verb}"
