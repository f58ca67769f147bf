"""Values move to a lookup table under writers of both shapes, who use new values all the time."""

from collections.abc import Sequence

import psycopg

from tests.conformance import tables
from tests.conformance.crowd import Crowd, Member
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.outbox import carry

TABLES = """
create table t (id int primary key, status text, n int default 0);
create table twin (id int primary key, status text);
insert into t (id, status) select i, 'v' || i % 7 from generate_series(1, 400) i;
insert into twin select id, status from t;
"""
LOOKUP = [{"extract_lookup": {"table": "t", "column": "status", "to": "statuses"}}]
KEYS = 30
"""Few enough for writers to meet."""


class LookupWriter(Member):
    """One connection of an application that knows the text, or the reference. No statement may fail."""

    def __init__(self, url: str, number: int, shape: str) -> None:
        super().__init__(url, f"{shape} writer {number}", f"{number} {shape}")
        self.old, self.fresh = shape == "old", 0

    def transaction(self, conn: Connection) -> None:
        """Change some rows, in the order of their keys; the twin first, which keeps the order of two writers."""
        keys = sorted(self.random.sample(range(1, KEYS), self.random.randint(1, 5)))
        # Every writer goes through the same new values at about the same time.
        self.fresh += 1
        words = (None, "v1", f"f{self.fresh // 3}", f"g{self.fresh // 5}")
        texts = {key: self.random.choice(words) for key in keys}
        with conn.transaction() as transaction:
            # New applications make their values first, in order: among themselves they cannot deadlock.
            ids = {} if self.old else {text: self._made(conn, text) for text in sorted({*texts.values()} - {None})}
            for key, text in texts.items():
                self._statement(conn, key, text, text if self.old else ids.get(text))
            if self.random.random() < 0.15:
                raise psycopg.Rollback(transaction)

    def _statement(self, conn: Connection, key: int, text: str | None, value: str | int | None) -> None:
        kind = self.random.random()
        column = "status" if self.old else "status_id"
        if kind < 0.1:
            conn.execute("update t set n = n + 1 where id = %s", (key,))
        elif kind < 0.2:
            if conn.execute("delete from twin where id = %s", (key,)).rowcount:
                conn.execute("delete from t where id = %s", (key,))
        elif kind < 0.4:
            if conn.execute("insert into twin values (%s, %s) on conflict do nothing", (key, text)).rowcount:
                conn.execute(f"insert into t (id, {column}) values (%s, %s)".encode(), (key, value))
        elif conn.execute("update twin set status = %s where id = %s", (text, key)).rowcount:
            conn.execute(f"update t set {column} = %s where id = %s".encode(), (value, key))

    def _made(self, conn: Connection, text: str | None) -> int:
        conn.execute("insert into statuses (status) values (%s) on conflict do nothing", (text,))
        row = conn.execute("select id from statuses where status = %s", (text,)).fetchone()
        assert row is not None
        return int(row[0])


class LookupWriters(Crowd):
    """Several of them at once, for as long as the context lasts."""

    def __init__(self, url: str, shapes: Sequence[str]) -> None:
        super().__init__([LookupWriter(url, number, shape) for number, shape in enumerate(shapes)])


def wrong(conn: Connection, shown: str) -> list[tuple[object, ...]]:
    """Return rows that are not what the twin says, read in one of the two ways."""
    return conn.execute(
        f"select t.id, t.status, x.status from twin t full join ({shown}) x using (id)"
        " where t.id is distinct from x.id or t.status is distinct from x.status limit 5".encode()
    ).fetchall()


TEXT = "select id, status from t"
REFERENCE = "select t.id, s.status from t left join statuses s on s.id = t.status_id"


def test_there_and_back_under_writers(conn: Connection, url: str) -> None:
    """Old applications never notice; nobody deadlocks, and nothing that anybody wrote is lost."""
    conn.execute(TABLES.encode())
    before = tables.catalogue(conn)
    migration = Migration(url, LOOKUP, batch_rows=50)
    with LookupWriters(url, ["old", "old", "old"]) as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            writers.work(40)
        migration.pass_gate("before_swap")
        migration.swap()
        writers.work(40)
    with LookupWriters(url, ["old", "new", "old"]) as writers:
        writers.work(200)
        migration.pass_gate("after_swap")
    carry(conn)
    assert wrong(conn, TEXT) == wrong(conn, REFERENCE) == []
    with LookupWriters(url, ["old", "old"]) as writers:
        migration.roll_back()
        writers.work(40)
    assert wrong(conn, TEXT) == []
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_to_the_end_under_writers(conn: Connection, url: str) -> None:
    """The contract happens under applications that know the new shape."""
    conn.execute(TABLES.encode())
    migration = Migration(url, LOOKUP, batch_rows=50)
    with LookupWriters(url, ["old", "old"]) as writers:
        migration.begin()
        migration.before_swap()
        migration.swap()
        writers.work(40)
    with LookupWriters(url, ["new", "new"]) as writers:
        writers.work(40)
        migration.contract()
        writers.work(40)
    assert wrong(conn, REFERENCE) == []
    assert tables.leftovers(conn) == []
