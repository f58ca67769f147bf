"""Values that two operations of a spec give to one column: one expression a direction, where that is exact.

Between the two the value is of the type that the first one gives the column. Only a cast to a type without a length
is sure to make the same of it as storing it would.
"""

from tasks.model.names import quote
from tasks.model.operations.add_column import AddColumn
from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.conversions import is_column
from tasks.model.operations.folding.entries import OF_ITS_OWN, ApartError
from tasks.model.operations.folding.names_within import UncertainError, occurrences, with_values

_WHOLE_TYPES = {
    *("smallint", "integer", "int", "bigint", "int2", "int4", "int8", "numeric", "decimal", "text", "boolean", "bool"),
    *("real", "double precision", "float4", "float8", "date", "timestamp", "timestamptz", "timestamp with time zone"),
    *("timestamp without time zone", "uuid", "json", "jsonb", "bytea"),
}
"""Types without a length: a cast to them cuts nothing, while one to `char`, or to a domain over `varchar(n)`, can."""


def filled(first: AddColumn, op: AlterColumn, *, redone: bool) -> str | None:
    """Return what rows that exist get in a new column that is altered, from the columns that they have today."""
    column = first.column
    value = first.up or column.default
    if op.up is None and op.type is None:
        # The default that rows were made with is theirs, whatever later ones get.
        return first.up if not redone or first.up is not None else (column.default or "null")
    if op.up is None and value is None:
        return "null"
    if value is None:
        return _within(op.up or "", column.name, f"cast(null as {column.type})", op.up or "")
    whole(column.type)
    typed = f"cast(({value}\n) as {column.type})"
    return typed if op.up is None else _within(op.up, column.name, typed, value)


def converted_twice(first: AlterColumn, second: AlterColumn) -> dict[str, str]:
    """Return `up` and `down` of two conversions of a column as one; without either where the value is only cast."""
    if "set_null" in (first.orphans, second.orphans):
        raise ApartError("one gives NULL to rows that refer to nothing, and the other converts the rest", OF_ITS_OWN)
    if first.type is None and not (is_column(first.up, first.column) and is_column(first.down, first.column)):
        raise ApartError(
            "both give the column other values, and what the second one makes of those of the first depends on the type"
            " that the column has in between",
            "Write `type` in the first one, the type that its values are of; or write one operation whose up and down"
            " do both; or put the second one into a migration of its own.",
        )
    found = {
        "up": _one_of_the_other(second.up, first.up, first.type, first.column),
        "down": _one_of_the_other(first.down, second.down, first.type, first.column),
    }
    return {way: expression for way, expression in found.items() if expression is not None}


def _one_of_the_other(outer: str | None, inner: str | None, between: str | None, column: str) -> str | None:
    """Return an expression over the value of another, which is of a type in between; None where neither is given."""
    if between is None:
        # The first conversion changes nothing.
        return outer if is_column(inner, column) else inner
    whole(between)
    value = inner or quote(column)
    typed = f"cast(({value}\n) as {between})"
    return typed if outer is None else _within(outer, column, typed, value)


def whole(type_name: str) -> None:
    """Raise ApartError unless a cast to a type is sure to cut nothing."""
    if " ".join(type_name.lower().split()) not in _WHOLE_TYPES:
        raise ApartError(f"nobody can tell here what {type_name} makes of a value on the way", OF_ITS_OWN)


def _within(expression: str, column: str, typed: str, value: str) -> str:
    """Return an expression with a typed value in the place of a column."""
    try:
        if "(" in value and occurrences(expression, column) > 1:
            raise ApartError(f"`{expression}` would evaluate `{value}` several times", OF_ITS_OWN)
        return with_values(expression, {column: typed}, {})
    except UncertainError:
        raise ApartError(
            f"whether `{expression}` reads the column {quote(column)} cannot be told for certain",
            "Write one operation whose up and down do both, or put the second one into a migration of its own.",
        ) from None
