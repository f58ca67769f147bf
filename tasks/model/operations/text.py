"""Texts that a spec holds besides names: SQL, types, remarks."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.model.operations.base import refusal

_DATABASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SERIAL = re.compile(r"(small|big)?serial[248]?", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_CLAUSE = re.compile(
    r"\b(not\s+null|null|default|primary\s+key|unique|check|references|constraint|generated\s+(always|by))\b",
    re.IGNORECASE,
)


def _text(value: str) -> str:
    if not value.strip():
        raise refusal("the text is empty", "Write it, or remove the key.")
    if "\x00" in value:
        raise refusal("the text contains the character U+0000", "Remove that character.")
    return value


def _expression(value: str) -> str:
    if value.rstrip().endswith(";"):
        raise refusal("an expression does not end with a semicolon", "Remove the semicolon.")
    return value


def _database(value: str) -> str:
    if not _DATABASE.fullmatch(value):
        # The value is not shown: it may be a URL, with its password.
        raise refusal(
            "database is a name that the profile knows, made of letters, digits, _, . and -",
            "Put the URL where the profile says, and write its name here.",
        )
    return value


def _type(value: str) -> str:
    clause = _CLAUSE.search(_QUOTED.sub('""', value))
    if clause is None:
        return value
    found = " ".join(clause.group().lower().split())
    raise refusal(
        f"a type is only a type; this one goes on with {found!r}",
        "Use the key generated, in create_table."
        if found.startswith("generated")
        else "Use the keys nullable, default, unique, pk, check and references for the rest.",
    )


Text = Annotated[str, AfterValidator(_text)]
"""Anything but blank."""
Expression = Annotated[Text, AfterValidator(_expression)]
"""A SQL expression, as it could stand in a select list. A string literal needs its own single quotes."""
DatabaseName = Annotated[str, AfterValidator(_database), Field(json_schema_extra={"pattern": f"^{_DATABASE.pattern}$"})]
"""What a profile calls a database; never its URL."""
ColumnType = Annotated[Text, AfterValidator(_type)]
"""A type of the database, with its modifier: `numeric(12, 2)`."""


def is_serial(column_type: str) -> bool:
    """Tell whether this is `serial`, `bigserial` or a synonym: a shorthand of PostgreSQL, not a type."""
    return _SERIAL.fullmatch(column_type.strip()) is not None


def drawn_type(column_type: str) -> str:
    """Return the type of the numbers that a `serial` draws."""
    others = {"smallserial": "smallint", "serial2": "smallint", "bigserial": "bigint", "serial8": "bigint"}
    return others.get(column_type.strip().lower(), "integer")


def is_null(expression: str | None) -> bool:
    """Tell whether an expression is the literal NULL."""
    return expression is not None and expression.strip().lower() == "null"
