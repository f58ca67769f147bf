"""Names of columns within the expressions of a spec, and other names in their place.

An expression is only ever changed where a parser tells that each word in question is a column of the row: what is
certain is exact, and everything else is left to the caller to refuse.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.model.names import quote

_ESCAPED = re.compile(r"u&[\"']", re.IGNORECASE)


_NO_COLUMNS = {
    *("current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp"),
    *("current_user", "default", "false", "localtime", "localtimestamp", "null", "session_user", "true", "user"),
}
"""Words that are values of their own unless they are quoted, whatever the columns are called."""


class UncertainError(Exception):
    """Nobody can tell without the database whether an expression means a column."""


@dataclass(frozen=True, kw_only=True)
class _Word:
    name: str
    start: int
    end: int


def mentions(expression: str, name: str) -> bool:
    """Tell whether an expression could mean a column: whether the word is in it, outside of texts and remarks."""
    if name.lower() not in expression.lower().replace('""', '"'):
        return False
    try:
        return any(word.name == name for word in _words(expression))
    except UncertainError:
        return True


def with_other_names(expression: str, columns: Mapping[str, str], tables: Mapping[str, str] | None = None) -> str:
    """Return an expression over the row with other names for some of its columns, and for its table before a dot.

    Raises UncertainError where a word may mean something else than a column of the row.
    """
    return with_values(expression, {old: quote(new) for old, new in columns.items()}, tables or {})


def with_values(expression: str, columns: Mapping[str, str], tables: Mapping[str, str]) -> str:
    """Return an expression over the row with SQL in the place of some of its columns; see `with_other_names`."""
    if not any(mentions(expression, name) for name in (*columns, *tables)):
        return expression
    words = list(_words(expression))
    listed = [word.name for word in words]
    found, qualifiers = _columns(expression, {*tables.values(), *tables})
    for name in {*columns, *tables}:
        known = (found.count(name) if name in columns else 0) + (qualifiers.count(name) if name in tables else 0)
        if listed.count(name) != known or (name in columns and name in tables and name in qualifiers):
            raise UncertainError
    values = {name: quote(other) for name, other in tables.items()} | dict(columns)
    changed = expression
    for word in reversed(words):
        if word.name in values:
            changed = changed[: word.start] + values[word.name] + changed[word.end :]
    return changed


def occurrences(expression: str, name: str) -> int:
    """Count the words of an expression that could mean a column."""
    return sum(word.name == name for word in _words(expression))


def _words(expression: str) -> Iterator[_Word]:
    from sqlglot.dialects.postgres import Postgres  # noqa: PLC0415 - few specs need the parser
    from sqlglot.errors import SqlglotError  # noqa: PLC0415
    from sqlglot.tokenizer_core import TokenType  # noqa: PLC0415

    if _ESCAPED.search(expression):
        raise UncertainError
    try:
        tokens = Postgres().tokenize(expression)
    except SqlglotError:
        raise UncertainError from None
    for token in tokens:
        text = expression[token.start : token.end + 1]
        if token.token_type is TokenType.IDENTIFIER:
            yield _Word(name=token.text, start=token.start, end=token.end + 1)
        elif re.match(r"[^\W\d]", text) and not text.endswith("'") and text.lower() not in _NO_COLUMNS:
            # PostgreSQL folds the case of the ASCII letters alone, where the encoding has several bytes.
            yield _Word(name=_folded(text), start=token.start, end=token.end + 1)


def _columns(expression: str, tables: set[str]) -> tuple[list[str], list[str]]:
    """Return the names of the columns in an expression, and the tables before them."""
    import sqlglot  # noqa: PLC0415
    from sqlglot import exp  # noqa: PLC0415
    from sqlglot.errors import SqlglotError  # noqa: PLC0415

    try:
        tree = sqlglot.parse_one(expression, dialect="postgres")
    except SqlglotError:
        raise UncertainError from None
    if tree.find(exp.Table, exp.Lambda, exp.Command):
        # Within it a word may mean a column of another table.
        raise UncertainError
    found, qualifiers = [], []
    for column in tree.find_all(exp.Column):
        qualifier = column.args.get("table")
        if qualifier is not None and (column.args.get("db") or _name(qualifier) not in tables):
            raise UncertainError
        found.append(_name(column.this))
        if qualifier is not None:
            qualifiers.append(_name(qualifier))
    return found, qualifiers


def _name(identifier: object) -> str:
    text = str(getattr(identifier, "name", ""))
    return text if getattr(identifier, "args", {}).get("quoted") else _folded(text)


def _folded(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
