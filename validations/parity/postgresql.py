"""A table of PostgreSQL as one side of a comparison."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final, Self

import psycopg
from psycopg import sql

from tasks.engines.postgresql.connect import connect
from validations.parity import postgresql_catalogue as catalogue
from validations.parity.families import read
from validations.parity.relation import Column, Relation
from validations.parity.report import Position
from validations.parity.side import Buckets, Key, Row
from validations.parity.terms import BUCKETS, Part, Terms

Connection = psycopg.Connection[Any]
# Whoever holds a table against readers for so long has to be looked at by people.
_LOCK_TIMEOUT_MS: Final = 60_000
_ROWS_AT_ONCE: Final = 5_000
_MOST: Final = 2**63
_SETTINGS: Final = """
    set row_security = off;
    set lc_monetary = 'C';
    set jit = off;
    set idle_in_transaction_session_timeout = 0
"""


class PostgresSide:
    """One table; two sessions, both read-only: one for passes over the table, one to look rows up."""

    engine = "postgresql"

    def __init__(self, url: str, database: str, table: str, search_path: str) -> None:
        with ExitStack() as opened:
            self._scan = opened.enter_context(session(url, search_path))
            self._look = opened.enter_context(session(url, search_path))
            self.relation = catalogue.relation(self._look, table, database)
            row = self._one(self._look, _IDENTITY)
            self.identity: str = row[0]
            """The same for two sides in one database, and for no others."""
            self.encoding: str = row[1]
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()

    def expression(self, name: str, sql: str) -> Column:
        """Return an expression over the table as a column; raises PreflightError if the server refuses it."""
        return catalogue.expression(self._look, self.relation.source, self.relation.place, name, sql)

    def children(self) -> list[str]:
        """Name the tables whose rows change when a row of this one is deleted."""
        question = (
            "select distinct conrelid::regclass::text from pg_catalog.pg_constraint"
            " where confrelid = pg_catalog.to_regclass(%s) and contype = 'f' and confdeltype in ('c', 'n', 'd')"
            " order by 1"
        )
        return [row[0] for row in self._look.execute(question, (self.relation.source,)).fetchall()]

    def position(self) -> Position:
        """Return the place in the write-ahead log, and the snapshot of that moment."""
        row = self._one(self._look, _POSITION)
        return Position(log=row[0], sees=row[1])

    def extent(self, column: str) -> tuple[int, int] | None:
        """Return least and greatest value of a column of whole numbers; None when there is no row."""
        found = self.relation.column(column)
        assert found is not None
        row = self._one(self._look, f"select min({found.sql}), max({found.sql}) from {self.relation.source} as t")
        return None if row[0] is None else (int(row[0]), int(row[1]))

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """Keep one snapshot for all passes within the context."""
        with self._scan.transaction():
            self._scan.execute("set transaction isolation level repeatable read, read only")
            yield

    @contextmanager
    def snapshot_of(self, other: "PostgresSide") -> Generator[None, None, None]:
        """See what the other side, in the same database, sees in its snapshot."""
        exported = self._one(other._scan, "select pg_catalog.pg_export_snapshot()")[0]
        with self._scan.transaction():
            self._scan.execute("set transaction isolation level repeatable read, read only")
            self._scan.execute(f"set transaction snapshot '{exported}'".encode())
            yield

    @contextmanager
    def looking_with(self, other: "PostgresSide") -> Generator[None, None, None]:
        """Look rows of both sides, in the same database, up in one snapshot."""
        own, self._look = self._look, other._look
        try:
            with self._look.transaction():
                self._look.execute("set transaction isolation level repeatable read, read only")
                yield
        finally:
            self._look = own

    def buckets(self, terms: Terms) -> Buckets:
        """Return count and digest of each part of the table, in one pass over it."""
        # Without a key the bucket follows from the digest, which is not made twice.
        bucket, of_row = ("bucket", terms.bucket) if terms.key else (f"digest & {BUCKETS - 1}", "null::bigint")
        # The planner would take every row for a group, and sort a million of them in one process. Of the columns
        # of a union it knows nothing and expects few groups, as there are: each worker sums up its own.
        question = (
            f"select {bucket}, pg_catalog.count(*), pg_catalog.sum(digest)::text from ("
            f"select {of_row} as bucket, {terms.digest} as digest from {self.relation.source} as t"
            " union all select null::bigint, null::bigint where false) as rows group by 1"
        )
        with self._reading():
            rows = self._scan.execute(question.encode()).fetchall()
        return {int(bucket): (int(count), str(digest)) for bucket, count, digest in rows}

    def rows(self, terms: Terms, part: Part) -> Generator[tuple[Key, str], None, None]:
        """Give keys and digests of the rows of a part, in the order of the keys; flat memory."""
        by = ", ".join(f"pg_catalog.convert_to({text}, 'UTF8')" for text in terms.key)
        question = (
            f"select {', '.join(terms.key)}, {terms.digest} from {self.relation.source} as t"
            f" where {self._within(terms, part)} order by {by}"
        )
        with closing(self._stream(question)) as found:
            for *key, digest in found:
                yield tuple(key), str(digest)

    def counted(self, terms: Terms, part: Part) -> Generator[tuple[Key, str], None, None]:
        """Give the digests of the rows of a part as keys, with how many there are of each, in their order."""
        question = (
            f'select {_hex(terms)} collate "C", pg_catalog.count(*) from {self.relation.source} as t'
            f" where {self._within(terms, part)} group by 1 order by 1"
        )
        with closing(self._stream(question)) as found:
            for digest, count in found:
                yield (digest,), str(count)

    def look(self, terms: Terms, keys: Sequence[Key]) -> dict[Key, Row]:
        """Return the rows of these keys that are there now."""
        with self._reading():
            return look(self._look, self.relation, terms, keys)

    def count(self, terms: Terms, digests: Sequence[Key]) -> dict[Key, Row]:
        """Return, as a row of one value, how many rows there are now of each of these digests."""
        wanted = _literal([digest for (digest,) in digests])
        question = (
            f"select {_hex(terms)}, pg_catalog.count(*)::text from {self.relation.source} as t"
            f" where {_hex(terms)} = any({wanted}::text[]) group by 1"
        )
        with self._reading():
            rows = self._look.execute(question.encode()).fetchall()
        return {(digest,): Row(version="", values=(count,)) for digest, count in rows}

    def _within(self, terms: Terms, part: Part) -> str:
        if len(part.buckets) >= BUCKETS:
            return "true"
        if terms.shift is None:
            return f"({terms.bucket}) in ({', '.join(map(str, part.buckets))})"
        key = terms.columns[0]
        ranges = [
            " and ".join(
                ["true"] + ([f"{key} >= {low}"] if low > -_MOST else []) + ([f"{key} < {high}"] if high < _MOST else [])
            )
            for low, high in part.ranges(terms.shift)
        ]
        return "(" + " or ".join(f"({one})" for one in ranges) + ")"

    def _stream(self, question: str) -> Generator[tuple[Any, ...], None, None]:
        with self._reading(), self._scan.transaction(), self._scan.cursor(name="parity") as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            cursor.execute(question.encode())
            yield from cursor

    @contextmanager
    def _reading(self) -> Generator[None, None, None]:
        try:
            yield
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            raise catalogue.refused(error, self.relation.place) from None

    def _one(self, conn: Connection, question: str) -> tuple[Any, ...]:
        row = conn.execute(question.encode()).fetchone()
        assert row is not None
        return tuple(row)


def look(conn: Connection, relation: Relation, terms: Terms, keys: Sequence[Key], lock: str = "") -> dict[Key, Row]:
    """Return the rows of these keys that are there now; `lock` ends the statement. Raises psycopg.Error."""
    names = [f"k{n}" for n in range(len(terms.key))]
    arrays = ", ".join(f"{_literal([key[n] for key in keys])}::text[]" for n in range(len(names)))
    # Looked up by the type's own equality, which an index serves; the exact text decides.
    met = " and ".join(
        f"{column} = w.{name}::{cast}" for column, name, cast in zip(terms.columns, names, terms.casts, strict=True)
    )
    version = relation.version or "''"
    question = (
        f"select {', '.join([*terms.key, version, *terms.values])}"
        f" from unnest({arrays}) as w ({', '.join(names)}) join {relation.source} as t on {met} {lock}"
    )
    wanted, width = set(keys), len(names)
    rows = conn.execute(question.encode()).fetchall()
    found = {row[:width]: (row[width], row[width + 1 :]) for row in rows if row[:width] in wanted}
    return {
        key: Row(version=version, values=read(texts, terms.families), texts=texts)
        for key, (version, texts) in found.items()
    }


_IDENTITY: Final = """
    select (select system_identifier from pg_catalog.pg_control_system()) || ' ' ||
           pg_catalog.pg_postmaster_start_time() || ' ' || oid, pg_catalog.pg_encoding_to_char(encoding)
      from pg_catalog.pg_database where datname = pg_catalog.current_database()
"""
_POSITION: Final = """
    select (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
                 else pg_catalog.pg_current_wal_lsn() end)::text,
           pg_catalog.pg_current_snapshot()::text
"""


def _hex(terms: Terms) -> str:
    return f"pg_catalog.lpad(pg_catalog.to_hex({terms.digest}), 16, '0')"


def _literal(values: Sequence[str]) -> str:
    return "array[" + ", ".join(sql.Literal(value).as_string(None) for value in values) + "]"


@contextmanager
def session(
    url: str, search_path: str, *, lock_timeout_ms: int = _LOCK_TIMEOUT_MS, read_only: bool = True
) -> Generator[Connection, None, None]:
    """Open a session in which every value has the text that comparisons go by."""
    conn = connect(
        url,
        application_name="changeover diff",
        lock_timeout_ms=lock_timeout_ms,
        statement_timeout_ms=0,
        search_path=search_path,
        read_only=read_only,
    )
    try:
        conn.execute(_SETTINGS)
        yield conn
    finally:
        conn.close()
