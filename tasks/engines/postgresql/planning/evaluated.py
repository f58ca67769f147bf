"""Expressions over a table, as the server sees them: what they give, or why they are refused."""

import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError
from tasks.model.names import quote


class Evaluated:
    """Asks the server for the types of expressions over a table."""

    def __init__(self, conn: Connection, table: Table, key: tuple[str, ...]) -> None:
        self.conn = conn
        self.table = table
        self.key = key
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
