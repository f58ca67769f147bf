"""Applications that write into two tables between which a column moves; a third table holds what they mean.

Each locks the row of the third table first, so that the order of two writes of one pair is known. Rows are locked by
key, and of one key in the order twin, p, u: among themselves these applications cannot deadlock, whatever they do.
"""

from tests.conformance.crowd import Crowd, Keyed
from tests.conformance.drive import Connection

VALUES = (None, "", "Ann", "x y", "ünï 🐘", "'\\\"")
TABLES = """
create table u (id int primary key, mail text, n int default 0);
create table p (u_id int primary key, photo text, n int default 0);
create table twin (id int primary key, mail text);
insert into u (id, mail) select i, 'm' || i from generate_series(1, 400) i;
insert into p (u_id, photo) select i, 'p' || i from generate_series(1, 400) i;
insert into twin select i, 'm' || i from generate_series(1, 400) i;
"""


class LinkedWriter(Keyed):
    """One connection of an application that knows one of the two shapes: u has the column, or p.

    No statement may fail.
    """

    def __init__(self, url: str, number: int, shape: str) -> None:
        super().__init__(url, f"{shape} writer {number}", f"{number} {shape}")
        self.old = shape == "old"

    def statements(self, conn: Connection, key: int) -> None:
        """Write one key, into the table and into its twin."""
        value, kind = self.random.choice(VALUES), self.random.random()
        if kind < 0.15:
            # Nothing about the column: but a lock on a row that others' writes have to be carried to.
            conn.execute("update p set n = n + 1 where u_id = %s", (key,))
        elif kind < 0.3:
            conn.execute("update u set n = n + 1 where id = %s", (key,))
        elif kind < 0.4:
            # Where the twin has no row there is nothing that keeps the order of two writers.
            if conn.execute("delete from twin where id = %s", (key,)).rowcount:
                conn.execute("delete from p where u_id = %s", (key,))
                conn.execute("delete from u where id = %s", (key,))
        elif kind < 0.6:
            made = "insert into twin values (%s, %s) on conflict do nothing"
            if conn.execute(made, (key, value)).rowcount:
                self._insert(conn, key, value)
        elif conn.execute("update twin set mail = %s where id = %s", (value, key)).rowcount:
            table, of_key = ("u", "id") if self.old else ("p", "u_id")
            conn.execute(f"update {table} set mail = %s where {of_key} = %s".encode(), (value, key))

    def _insert(self, conn: Connection, key: int, value: str | None) -> None:
        if self.old:
            conn.execute("insert into p (u_id) values (%s)", (key,))
            conn.execute("insert into u (id, mail) values (%s, %s)", (key, value))
        else:
            conn.execute("insert into p (u_id, mail) values (%s, %s)", (key, value))
            conn.execute("insert into u (id) values (%s)", (key,))


class LinkedWriters(Crowd):
    """Several of them at once, for as long as the context lasts."""

    def __init__(self, url: str, *shapes: str) -> None:
        super().__init__([LinkedWriter(url, number, shape) for number, shape in enumerate(shapes)])
