"""A table of MariaDB as one side of a comparison."""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, Final, Self

import pymysql
from pymysql.cursors import SSCursor

from tasks.engines.mysql.address import options, where
from tasks.engines.mysql.names import quote, text_literal
from tasks.engines.mysql.session import PATIENT
from tasks.engines.mysql.transient import refusal
from tasks.model.errors import PreflightError
from validations.parity.families import read
from validations.parity.relation import Column, Relation
from validations.parity.report import Position
from validations.parity.side import Buckets, Key, Row
from validations.parity.terms import BUCKETS, Part, Terms

_EXACT: Final = "utf8mb4_bin"
SETTINGS: Final = (
    "set session time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES', lock_wait_timeout = 60,"
    f" collation_connection = '{_EXACT}', net_write_timeout = 3600, {PATIENT}"
)
_SESSIONS: Final = 4
"""In which a table is read that can be divided."""
_TEXTS: Final = frozenset({"varchar", "tinytext", "text", "mediumtext", "longtext"})


class MariaSide:
    """One table; two sessions, both read-only: one for passes over the table, one to look rows up."""

    engine = "mariadb"

    def __init__(self, url: str, database: str, table: str) -> None:
        self._url, self._place = url, where(url)
        self._scan, self._look = _session(url), _session(url)
        try:
            self.relation = self._relation(table, database)
        except BaseException:
            self.__exit__()
            raise
        self.identity = ""
        self.encoding = "UTF8"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._scan.close()
        self._look.close()

    def expression(self, name: str, sql: str) -> Column:  # noqa: ARG002 - whatever it says
        """Refuse: what an expression gives cannot be told before it is evaluated."""
        raise PreflightError(
            f"{name} cannot be mapped: expressions are evaluated by PostgreSQL only",
            where=self.relation.place,
            hint=f"Compare with a view that has the column {name}.",
        )

    def position(self) -> Position:
        """Return the GTID of the last transaction that is in the binary log."""
        row = self._ask("select @@gtid_current_pos")[0]
        return Position(log=str(row[0] or "no binary log"), sees="read committed")

    def children(self) -> list[str]:
        """Name the tables whose rows change when a row of this one is deleted, whoever may see them."""
        # There names are written as those of files are.
        encoded = ", '/', ".join(f"cast(convert({one} using filename) as binary)" for one in self._spelled)
        rows = self._ask(
            # 1 and 2: ON DELETE CASCADE and SET NULL. Only here are the tables of others, too.
            "select for_name from information_schema.innodb_sys_foreign"
            f" where cast(ref_name as binary) = concat({encoded}) and type & 3 order by 1",
            hint="Grant process on *.*, to see whose rows go with those that only B has; or delete these yourself.",
        )
        return [str(row[0]).replace("/", ".") for row in rows]

    def held(self) -> str:
        """Return why a shared lock on rows would hold nobody up; empty: it does."""
        engine = self._ask(
            "select engine from information_schema.tables where (table_schema, table_name) ="
            f" ({', '.join(self._spelled)})"
        )[0][0]
        if engine not in (None, "InnoDB"):
            return f"it is stored by {engine}"
        return "the server is read-only: a standby" if self._ask("select @@global.read_only")[0][0] else ""

    def extent(self, column: str) -> tuple[int, int] | None:
        """Return least and greatest value of a column of whole numbers; None when there is no row."""
        found = self.relation.column(column)
        assert found is not None
        low, high = self._ask(f"select min({found.sql}), max({found.sql}) from {self.relation.source} as t")[0]
        return None if low is None else (int(low), int(high))

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """Do nothing: two databases have no snapshot in common, and rows are read until they settle."""
        yield

    def buckets(self, terms: Terms) -> Buckets:
        """Return count and digest of each part of the table, in one pass over it."""
        slices = self._slices(terms)
        with ThreadPoolExecutor(max_workers=len(slices), thread_name_prefix="parity") as pool:
            counts: Counter[int] = Counter()
            digests: Counter[int] = Counter()
            for rows in pool.map(partial(self._sums, terms), slices):
                for bucket, count, digest in rows:
                    counts[int(bucket)] += int(count)
                    digests[int(bucket)] += int(digest)
        return {bucket: (count, str(digests[bucket])) for bucket, count in counts.items()}

    def _sums(self, terms: Terms, condition: str) -> list[tuple[Any, ...]]:
        """Read a slice in a session of its own: MariaDB gives each of its sessions one processor."""
        # A digest is not negative, so that one row without makes the sum so.
        digest = f"sum(ifnull({terms.digest}, -{10**30}))"
        with closing(_session(self._url)) as conn:
            rows = self._ask(
                f"select {terms.bucket} as bucket, count(*), {digest} from {self.relation.source} as t"
                f" where {condition} group by bucket",
                conn,
            )
        if any(digest < 0 for _, _, digest in rows):
            raise PreflightError(
                f"{self.relation.place} has rows longer than max_allowed_packet",
                where=self.relation.place,
                hint="Raise max_allowed_packet on the server, or leave the long columns out.",
            )
        return rows

    def _slices(self, terms: Terms) -> list[str]:
        """Return conditions that divide the table, where that is a range of the clustered index for each."""
        if terms.shift is None or terms.columns[0] != f"t.{quote(self._clustered)}":
            return ["true"]
        key = terms.columns[0]
        low, high = self._ask(f"select min({key}), max({key}) from {self.relation.source} as t")[0]
        if low is None:
            return ["true"]
        # Open at both ends: rows come beyond them while this goes on.
        step = (int(high) - int(low)) // _SESSIONS + 1
        bounds = [int(low) + step * number for number in range(1, _SESSIONS)]
        between = [f"{key} >= {first} and {key} < {second}" for first, second in pairwise(bounds)]
        return [f"{key} < {bounds[0]}", *between, f"{key} >= {bounds[-1]}"]

    def rows(self, terms: Terms, part: Part) -> Generator[tuple[Key, str], None, None]:
        """Give keys and digests of the rows of a part, in the order of the keys; flat memory."""
        by = ", ".join(f"cast({text} as binary)" for text in terms.key)
        question = (
            f"select {', '.join(terms.key)}, {terms.digest} from {self.relation.source} as t"
            f" where {self._within(terms, part)} order by {by}"
        )
        with closing(self._stream(question)) as found:
            for *key, digest in found:
                yield tuple(map(str, key)), str(digest)

    def counted(self, terms: Terms, part: Part) -> Generator[tuple[Key, str], None, None]:
        """Give the digests of the rows of a part as keys, with how many there are of each, in their order."""
        question = (
            f"select {_hex(terms)} as digest, count(*) from {self.relation.source} as t"
            f" where {self._within(terms, part)} group by digest order by cast(digest as binary)"
        )
        with closing(self._stream(question)) as found:
            for digest, count in found:
                yield (str(digest),), str(count)

    def look(self, terms: Terms, keys: Sequence[Key]) -> dict[Key, Row]:
        """Return the rows of these keys that are there now."""
        return look(self._ask, self.relation, terms, keys)

    def count(self, terms: Terms, digests: Sequence[Key]) -> dict[Key, Row]:
        """Return, as a row of one value, how many rows there are now of each of these digests."""
        wanted = ", ".join(literal(digest, "text") for (digest,) in digests)
        rows = self._ask(
            f"select {_hex(terms)} as digest, count(*) from {self.relation.source} as t"
            f" where {_hex(terms)} in ({wanted}) group by digest"
        )
        return {(str(digest),): Row(version="", values=(str(count),)) for digest, count in rows}

    def _within(self, terms: Terms, part: Part) -> str:
        if len(part.buckets) >= BUCKETS:
            return "true"
        if terms.shift is None:
            return f"({terms.bucket}) in ({', '.join(map(str, part.buckets))})"
        key = terms.columns[0]
        ranges = [f"({key} >= {low} and {key} < {high})" for low, high in part.ranges(terms.shift)]
        return f"({' or '.join(ranges)})"

    def _relation(self, table: str, database: str) -> Relation:
        schema, _, name = table.rpartition(".")
        names = (schema or str(self._ask("select database()")[0][0]), name)
        self._spelled = [literal(one, "text") for one in names]
        spelled = ", ".join(self._spelled)
        columns = self._ask(
            "select column_name, data_type, column_type, numeric_scale, generation_expression is not null,"
            " character_set_name, extra like '%on update%'"
            f" from information_schema.columns where (table_schema, table_name) = ({spelled}) order by ordinal_position"
        )
        if not columns:
            raise PreflightError(
                f"there is no table {table} in {database}",
                where=self._place,
                hint="Write database.table, as the catalogue spells it, or grant select on it.",
            )
        keys = self._ask(
            "select index_name = 'PRIMARY', group_concat(column_name order by seq_in_index separator '\\0')"
            f" from information_schema.statistics where (table_schema, table_name) = ({spelled}) group by index_name"
            " having max(non_unique) = 0 and max(nullable) = '' and max(sub_part) is null"
            " order by index_name <> 'PRIMARY', index_name".replace("\\0", "\x01")
        )
        source = ".".join(quote(one) for one in names)
        unique = tuple(tuple(str(joined).split("\x01")) for _, joined in keys)
        self._clustered = unique[0][0] if keys and keys[0][0] else ""
        """The first column of the primary key, in whose order rows are stored."""
        found = Relation(
            place=f"{database}.{name}",
            source=source,
            columns=tuple(_column(*row[:-1]) for row in columns),
            keys=unique,
            touched=tuple(str(row[0]) for row in columns if row[-1]),
        )
        self._ask(f"select 1 from {source} limit 0")
        return found

    def _stream(self, question: str) -> Generator[tuple[Any, ...], None, None]:
        with self._reading(), closing(self._scan.cursor(SSCursor)) as cursor:
            cursor.execute(question)
            while rows := cursor.fetchmany(5_000):
                yield from rows

    def _ask(
        self, question: str, conn: "pymysql.Connection[Any] | None" = None, hint: str = ""
    ) -> list[tuple[Any, ...]]:
        with self._reading(hint), (conn or self._look).cursor() as cursor:
            cursor.execute(question)
            return list(cursor.fetchall())

    @contextmanager
    def _reading(self, hint: str = "") -> Generator[None, None, None]:
        try:
            yield
        except pymysql.err.MySQLError as error:
            code = error.args[0] if error.args else type(error).__name__
            failed = PreflightError(
                f"{self._place} refuses to be read: error {code}",
                where=self._place,
                hint=hint or "Grant select on the table, and correct what the error is about.",
            )
        else:
            return
        raise failed


def _column(name: str, kind: str, whole: str, scale: int | None, generated: int, charset: str | None) -> Column:
    sql = f"t.{quote(name)}"
    # Converting costs as much as reading.
    plain = charset == "utf8mb4" and kind.lower() in _TEXTS
    return Column(
        name=name,
        sql=sql,
        type=whole,
        kind=kind.lower(),
        # Converting costs as much as reading.
        text=sql if plain else f"convert({sql} using utf8mb4) collate {_EXACT}",
        binary=None,
        generated=bool(generated),
        fraction=int(scale or 0),
    )


def look(
    ask: Callable[[str], list[tuple[Any, ...]]], relation: Relation, terms: Terms, keys: Sequence[Key], lock: str = ""
) -> dict[Key, Row]:
    """Return the rows of these keys that are there now; `lock` ends the statement."""
    wanted, width = set(keys), len(terms.key)
    lists = ", ".join(
        "(" + ", ".join(literal(value, family) for value, family in zip(key, terms.casts, strict=True)) + ")"
        for key in keys
    )
    met = f"({', '.join(terms.columns)}) in ({lists})" if keys else "false"
    question = f"select {', '.join([*terms.key, *terms.values])} from {relation.source} as t where {met} {lock}"
    found: dict[Key, Row] = {}
    for row in ask(question):
        key = tuple(map(str, row[:width]))
        if key in wanted:
            texts = tuple(row[width:])
            found[key] = Row(version="", values=read(texts, terms.families), texts=texts)
    return found


def literal(value: str, family: str) -> str:
    """Write the text of a value as SQL."""
    if family == "bytes":
        return f"x'{value.removeprefix(chr(92) + 'x')}'"
    if family in ("integer", "decimal", "boolean"):
        return value
    return text_literal(value)


def _hex(terms: Terms) -> str:
    return f"lpad(lower(hex({terms.digest})), 16, '0')"


def _session(url: str) -> "pymysql.Connection[Any]":
    try:
        conn = pymysql.connect(
            **options(url), charset="utf8mb4", autocommit=True, connect_timeout=10, init_command=SETTINGS,
            program_name="changeover diff",
        )  # fmt: skip
        with conn.cursor() as cursor:
            cursor.execute("set session transaction isolation level read committed, read only")
        return conn
    except pymysql.err.MySQLError as error:
        failed = refusal(error, where(url))
    raise failed
