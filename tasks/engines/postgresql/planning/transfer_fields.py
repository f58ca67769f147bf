"""The fields of a document: what each holds, by the types that the server says expressions over the row have."""

import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.other_tables import Tables, looked_up
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.transfer import ID
from tasks.model.transfer_fields import Lookup, ValueRule
from tasks.model.transfer_steps import TransferField

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
}
"""What a `type` takes; `string` takes everything."""
_IDS = ("int32", "int64", "string", "binary", "uuid", "objectId")
"""What tells documents apart: equal in MongoDB exactly where it is equal in PostgreSQL."""


class Types:
    """Asks the server for the types of expressions over a table."""

    def __init__(self, conn: Connection, table: Table, key: tuple[str, ...], tables: Tables) -> None:
        self.conn = conn
        self.table = table
        self.key = key
        self.tables = tables
        self._from = f"{quote(table.schema_name)}.{quote(table.name)} as {quote(table.name)}"
        self._key = ", ".join(map(quote, key))

    def require_condition(self, where: str | None, at: str = "transfer.where") -> None:
        """Refuse what is no condition on one row."""
        if where is not None:
            self._ask(at, f"select {self._key} from {self._from} where false and ({where}\n)")

    def of(self, expression: str, at: str) -> tuple[str, bool]:
        """Return the type of an expression, a domain's as its base, and whether it is an enum.

        It also stands in a condition, so that whatever gives more, or less, than one value a row is refused.
        """
        found = self._ask(
            at,
            f"select ({expression}\n) as v from {self._from} where false and ({expression}\n) is null"
            f" and ({self._key}) is not null",
        )
        row = self.conn.execute(
            "select pg_catalog.format_type(oid, null), typtype = 'e' from pg_catalog.pg_type where oid = %s", (found,)
        ).fetchone()
        assert row is not None
        return str(row[0]), bool(row[1])

    def _ask(self, at: str, query: str) -> int:
        try:
            with self.conn.transaction():
                cursor = self.conn.execute(query)
        except psycopg.Error as error:
            raise SpecError(
                f"PostgreSQL refuses it: {error.diag.message_primary or type(error).__name__}",
                where=at,
                hint="Write SQL over the columns of the table that gives one value for each row.",
            ) from None
        assert cursor.description is not None
        return cursor.description[0].type_code


def field_of(types: Types, path: tuple[str, ...], rule: ValueRule, at: str) -> TransferField:
    """Return a field of a row's document. Raises SpecError with the place."""
    if rule.constant is not None:
        return TransferField(path=path, holds="constant", constant=rule.constant)
    if rule.column is not None and types.table.column(rule.column) is None:
        raise SpecError(
            f"{types.table.full_name} has no column {rule.column!r}", where=at, hint="Correct the name of the column."
        )
    expression = quote(rule.column) if rule.column is not None else rule.up
    if rule.lookup is not None:
        expression = _looked_up(types, rule.lookup, at)
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
        }
    )


def _looked_up(types: Types, lookup: Lookup, at: str) -> str:
    other, value, expression = looked_up(types.table, lookup, types.tables, at)
    # Asked of that table alone: it shall not read columns of this one.
    Types(types.conn, other, tuple(column.name for column in other.columns[:1]), types.tables).of(value, at)
    return expression
