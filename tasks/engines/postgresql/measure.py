"""Facts about tables at one moment: counts, digests, the position in the log."""

import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.records import Facts, TableFacts
from tasks.model.names import quote


def measure(conn: Connection, tables: tuple[str, ...]) -> Facts:
    """Return counts and digests of whole tables, in one snapshot. Lock: ACCESS SHARE while it reads."""
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read read only")
        conn.execute("set local statement_timeout = 0; set local row_security = off")
        row = conn.execute("select pg_current_wal_lsn()::text, clock_timestamp()::text").fetchone()
        assert row is not None
        found = tuple(_table(conn, table) for table in tables)
    return Facts(lsn=row[0], at=row[1], tables=found)


def _table(conn: Connection, table: str) -> TableFacts:
    schema, _, name = table.rpartition(".")
    rows, total = digest(conn, f"{quote(schema)}.{quote(name)}")
    return TableFacts(table=table, rows=rows, digest=total)


def digest(conn: Connection, relation: str) -> tuple[int, str]:
    """Return count and digest of the rows of a FROM item.

    Of the bytes of each row, not of its values: those call 1.0 and 1.00 equal, and their sum does not see a sign, or
    two rows that have exchanged a value. A type without a binary form makes its rows digested as text.
    """
    # A column of the alias's name would be taken for the row: no column of a user's has this one.
    row = "_changeover_row"
    for value in (f"hash_record_extended(row(record_send({row})), 0)", f"hashtextextended({row}::text, 0)"):
        try:
            with conn.transaction():
                found = conn.execute(
                    f"select count(*), coalesce(sum({value}), 0)::text from {relation} as {row}"
                ).fetchone()
        except (psycopg.errors.UndefinedFunction, psycopg.errors.DatatypeMismatch):
            continue
        assert found is not None
        return int(found[0]), str(found[1])
    raise AssertionError("any row can be text")
