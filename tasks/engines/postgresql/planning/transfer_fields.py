"""The fields of a document: what each holds, by the types that the server says expressions over the row have."""

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.evaluated import Evaluated
from tasks.engines.postgresql.planning.other_tables import Tables, looked_up
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.transfer import ID
from tasks.model.transfer_fields import Lookup, ValueRule
from tasks.model.transfer_steps import LookedUp, TransferField

_HOLDS = {
    "smallint": "int32",
    "integer": "int32",
    "bigint": "int64",
    "numeric": "decimal",
    "real": "double",
    "double precision": "double",
    "boolean": "boolean",
    "text": "string",
    "character varying": "string",
    "character": "string",
    "name": "string",
    "bytea": "binary",
    "uuid": "uuid",
    "timestamp with time zone": "date",
    "json": "json",
    "jsonb": "json",
}
_ASKED_FOR = {
    "date": ("timestamp with time zone", "timestamp without time zone", "date"),
    "objectId": ("text", "character varying", "character", "bytea"),
    "extended_json": ("json", "jsonb"),
    "json": ("json", "jsonb"),
    "boolean": ("boolean",),
    "decimal": ("numeric",),
}
"""What a `type` takes; `string` takes everything."""
_IDS = ("int32", "int64", "string", "binary", "uuid", "objectId")
"""What tells documents apart: equal in MongoDB exactly where it is equal in PostgreSQL."""


class Types(Evaluated):
    """Asks the server for the types of expressions over a table, and knows the other tables of a spec."""

    def __init__(self, conn: Connection, table: Table, key: tuple[str, ...], tables: Tables) -> None:
        super().__init__(conn, table, key)
        self.tables = tables


def field_of(types: Types, path: tuple[str, ...], rule: ValueRule, at: str) -> TransferField:
    """Return a field of a row's document. Raises SpecError with the place."""
    if rule.constant is not None:
        return TransferField(path=path, holds="constant", constant=rule.constant)
    if rule.column is not None and types.table.column(rule.column) is None:
        raise SpecError(
            f"{types.table.full_name} has no column {rule.column!r}", where=at, hint="Correct the name of the column."
        )
    expression = quote(rule.column) if rule.column is not None else rule.up
    found = None
    if rule.lookup is not None:
        found, expression = _looked_up(types, rule.lookup, at)
    assert expression is not None
    name, enum = types.of(expression, at)
    holds = "string" if enum else _HOLDS.get(name)
    if rule.type == "string":
        holds = "string"
    elif rule.type is not None:
        holds = rule.type if name in _ASKED_FOR[rule.type] else None
    if holds is None:
        moment = name in _ASKED_FOR["date"] and rule.type != "date"
        raise SpecError(
            f"a {name} is no {rule.type}" if rule.type is not None else f"MongoDB has no counterpart of {name}",
            where=at,
            hint="Write `type: string` to have PostgreSQL's text"
            + (", or `type: date` to take it as UTC." if moment else ", or an expression of another type."),
        )
    if path[0] == ID and holds not in _IDS:
        raise SpecError(
            f"a {name} does not tell documents apart: it may be unfit, or equal where PostgreSQL says it is not",
            where=at,
            hint="Give an _id of integers, a text, a uuid or bytea; `type: string` makes a text.",
        )
    return TransferField.model_validate(
        {
            "path": path,
            "holds": holds,
            "expression": expression,
            "source_type": name,
            "unfit": rule.unfit,
            "nulls": rule.nulls,
            "lookup": found,
        }
    )


def _looked_up(types: Types, lookup: Lookup, at: str) -> tuple[LookedUp, str]:
    other, found, expression = looked_up(types.table, lookup, types.tables, at)
    # Asked of that table alone: it shall not read columns of this one.
    Types(types.conn, other, tuple(column.name for column in other.columns[:1]), types.tables).of(found.expression, at)
    return found, expression
