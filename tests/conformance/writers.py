# ruff: noqa: E501 - one case a line reads better than one folded
"""Applications that write without a pause, each statement to the table and in the same transaction to its twin.

A statement and its twin are one: they see one snapshot, so a row that somebody else commits between the two is
there for both or for none, and where they wait for each other they do so at the table first.
"""

from collections.abc import Mapping, Sequence

import psycopg

from tests.conformance.crowd import Crowd, Member
from tests.conformance.drive import Connection

KEYS = 60
"""Few enough for writers to meet."""
EXPECTED = (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected)
"""What writers do to each other, migration or not: the transaction is rolled back for both tables."""
WORDS = (None, "", "Ann", "Ann Lee", "Ann van der Lee", " x", "y ", "ünï 🐘", "'\\\"", "NULL")
Pair = tuple[str, str, Sequence[object] | Mapping[str, object]]


def same(statement: str, *values: object) -> Pair:
    """Return a statement for both tables; `{t}` stands for their name."""
    return statement.replace("{t}", "t"), statement.replace("{t}", "twin"), values


class Writer(Member):
    """One connection of an application."""

    expected = EXPECTED

    def __init__(self, url: str, number: int, shape: str) -> None:
        super().__init__(url, f"writer {number}", f"{number} {shape}")
        self.fresh = 1000 + number * 1_000_000 + (500_000 if shape == "new" else 0)
        self.shape = shape

    def transaction(self, conn: Connection) -> None:
        """Change some rows, or many, by one of the ways that an application has."""
        kind = self.random.random()
        with conn.transaction() as transaction:
            if kind < 0.02:
                self._many(conn)
            elif kind < 0.06:
                self._copy(conn)
            elif kind < 0.065:
                # In the order in which all the others lock the two tables.
                conn.execute("truncate twin, t")
            else:
                for _ in range(self.random.randint(1, 4)):
                    self._statement(conn)
            if self.random.random() < 0.15:
                raise psycopg.Rollback(transaction)

    def _statement(self, conn: Connection) -> None:
        one, other, values = self._old() if self.shape == "old" else self._new()
        with conn.transaction() as savepoint:
            both = values if isinstance(values, Mapping) else (*values, *values)
            # The main query runs first, then what stands before it.
            conn.execute(f"with twin as ({other}) {one}".encode(), both)
            if self.random.random() < 0.1:
                raise psycopg.Rollback(savepoint)

    def _key(self) -> int:
        return self.random.randint(-KEYS // 2, KEYS // 2)

    def _word(self) -> str | None:
        return self.random.choice(WORDS)

    def _number(self) -> int | None:
        return self.random.choice((None, 0, -1, 7, 2147483647, -2147483648))

    def _old(self) -> Pair:
        key, word, other, number = self._key(), self._word(), self._word(), self._number()
        insert = "insert into {t} (id, full_name, a, n, note) values (%s, %s, %s, %s, %s)"
        return self.random.choice(
            (
                same(insert, key, word, other, number, word),
                same(f"{insert} on conflict do nothing", key, word, other, number, other),
                same(
                    f"{insert} on conflict (id) do update set full_name = excluded.full_name, n = {{t}}.n",
                    *(key, word, other, number, word),
                ),
                same("insert into {t} (id) values (%s) on conflict (id) do update set a = null, n = null", key),
                same("update {t} set full_name = %s where id = %s", word, key),
                same("update {t} set a = %s, n = %s where id = %s", other, number, key),
                same("update {t} set a = full_name, full_name = a where id = %s", key),
                same("update {t} set note = %s where id = %s", word, key),
                same("update {t} set full_name = null, a = null, n = null, note = null where id = %s", key),
                same("update {t} set n = n where id = %s", key),
                same("update {t} set id = %s where id = %s", self._key(), key),
                same("update {t} set id = %s, full_name = %s where id = %s", self._key(), word, key),
                same("delete from {t} where id = %s", key),
                same("merge into {t} using (select %s::int as k, %s::text as w) s on id = k"
                     " when matched then update set a = w when not matched then insert (id, a) values (k, w)", key, word),
            )
        )  # fmt: skip

    def _new(self) -> Pair:
        """What applications of the new shape write, and what it means in the old one."""
        key, number = self._key(), self._number()
        first = self.random.choice(("", "Bo", "Zoë", "'"))
        last = self.random.choice((None, "", "Li", "de la Cruz"))
        z = self._word()
        name = first if last is None else f"{first} {last}"
        insert = "insert into t (id, first, last, z, n) values (%(id)s, %(first)s, %(last)s, %(z)s, %(n)s)"
        twin = (
            "insert into twin (id, full_name, a, note, n) values (%(id)s, %(name)s, %(z)s, upper(%(z)s::text), %(n)s)"
        )
        values = {"id": key, "first": first, "last": last, "z": z, "n": number, "name": name}
        return self.random.choice(
            (
                (insert, twin, values),
                (f"{insert} on conflict do nothing", f"{twin} on conflict do nothing", values),
                (
                    "update t set first = %(first)s, last = %(last)s where id = %(id)s",
                    "update twin set full_name = %(name)s where id = %(id)s",
                    values,
                ),
                (
                    "update t set first = null, last = null where id = %(id)s",
                    "update twin set full_name = null where id = %(id)s",
                    values,
                ),
                (
                    # A value that is not different changes nothing in the old shape, either.
                    "update t set z = %(z)s where id = %(id)s and z is distinct from %(z)s",
                    "update twin set a = %(z)s, note = upper(%(z)s::text) where id = %(id)s and a is distinct from %(z)s",
                    values,
                ),
                same("update {t} set n = %s where id = %s", number, key),
                same("update {t} set id = %s where id = %s", self._key(), key),
                same("delete from {t} where id = %s", key),
            )
        )

    def _many(self, conn: Connection) -> None:
        """Five thousand rows in one transaction, and later their end."""
        first, self.fresh = self.fresh, self.fresh + 5000
        a, b = ("first", "z") if self.shape == "new" else ("full_name", "a")
        for table, names in (("twin", "full_name, a"), ("t", f"{a}, {b}")):
            note = ", note" if (self.shape, table) == ("new", "twin") else ""
            value = ", 'A'" if note else ""
            conn.execute(
                f"insert into {table} (id, {names}{note}) select i, 'w' || i, 'a'{value}"
                f" from generate_series({first}, {first + 4999}) i".encode()
            )
        for table in ("twin", "t"):
            conn.execute(f"delete from {table} where id between {first} and {first + 4989}".encode())

    def _copy(self, conn: Connection) -> None:
        first, self.fresh = self.fresh, self.fresh + 30
        for table in ("twin", "t"):
            names = "id, first, z" if (self.shape, table) == ("new", "t") else "id, full_name, a"
            note = (self.shape, table) == ("new", "twin")
            with conn.cursor().copy(f"copy {table} ({names}{', note' if note else ''}) from stdin".encode()) as copy:
                for number in range(first, self.fresh):
                    copy.write_row((number, f"c{number}", "b", *(["B"] if note else [])))


class Writers(Crowd):
    """Several writers at once, for as long as the context lasts."""

    def __init__(self, url: str, shape: str, count: int = 3) -> None:
        super().__init__([Writer(url, number, shape) for number in range(count)])
