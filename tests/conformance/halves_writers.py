"""Applications that write a row whose columns go to a table of their own; a third table holds what they mean.

Each locks the row of the third table first, so that the order of two writes of one row is known. Rows are locked by
key, and of one key in the order twin, u, d: among themselves these applications cannot deadlock, whatever they do.
"""

from itertools import count

from tests.conformance.crowd import Crowd, Keyed
from tests.conformance.drive import Connection

VALUES = (None, "", "Ann", "ünï 🐘", "'\\\"")
_FRESH = count(1000)
"""Keys that no row ever had, of all writers."""
TWIN = """
create table twin (id int primary key, a text, b text);
insert into twin select i, 'a' || i, nullif('b' || i % 3, 'b0') from generate_series(1, 400) i;
"""


class HalvesWriter(Keyed):
    """One connection of an application that knows one of the two shapes: `u` has the columns, or `d`.

    No statement may fail.
    """

    def __init__(self, url: str, number: int, shape: str) -> None:
        super().__init__(url, f"{shape} writer {number}", f"{number} {shape}")
        self.one_table = shape == "one table"

    def statements(self, conn: Connection, key: int) -> None:
        """Write one key, into the table and into its twin."""
        values, kind = (self.random.choice(VALUES), self.random.choice(VALUES)), self.random.random()
        if kind < 0.15:
            # Nothing about the columns: but a lock on a row that others' writes have to be carried to.
            conn.execute("update u set n = n + 1 where id = %s", (key,))
        elif kind < 0.25:
            # Where the twin has no row there is nothing that keeps the order of two writers.
            if conn.execute("delete from twin where id = %s", (key,)).rowcount:
                conn.execute("delete from u where id = %s", (key,))
        elif kind < 0.5:
            made = "insert into twin values (%s, %s, %s) on conflict do nothing"
            if conn.execute(made, (key, *values)).rowcount:
                self._insert(conn, key, values)
        elif kind < 0.7:
            column = self.random.choice("ab")
            if conn.execute(f"update twin set {column} = %s where id = %s".encode(), (values[0], key)).rowcount:
                self._update_one(conn, key, column, values[0])
        elif conn.execute("update twin set a = %s, b = %s where id = %s", (*values, key)).rowcount:
            self._update(conn, key, values)
            if kind > 0.9:
                self._rekey(conn, key)

    def _insert(self, conn: Connection, key: int, values: tuple[str | None, str | None]) -> None:
        if self.one_table:
            conn.execute("insert into u (id, a, b) values (%s, %s, %s)", (key, *values))
        else:
            conn.execute("insert into u (id) values (%s)", (key,))
            conn.execute("insert into d (u_id, a, b) values (%s, %s, %s)", (key, *values))

    def _update(self, conn: Connection, key: int, values: tuple[str | None, str | None]) -> None:
        if self.one_table:
            conn.execute("update u set a = %s, b = %s where id = %s", (*values, key))
        elif values == (None, None) and self.random.random() < 0.5:
            conn.execute("delete from d where u_id = %s", (key,))
        else:
            conn.execute(
                "insert into d (u_id, a, b) values (%s, %s, %s)"
                " on conflict (u_id) do update set a = excluded.a, b = excluded.b",
                (key, *values),
            )

    def _update_one(self, conn: Connection, key: int, column: str, value: str | None) -> None:
        """Write one column: what stands in the other one is nothing that this application says."""
        if self.one_table:
            conn.execute(f"update u set {column} = %s where id = %s".encode(), (value, key))
        elif not conn.execute(f"update d set {column} = %s where u_id = %s".encode(), (value, key)).rowcount:
            # A row that is inserted says something about all of its columns.
            values = (value, None) if column == "a" else (None, value)
            conn.execute("update twin set a = %s, b = %s where id = %s", (*values, key))
            self._update(conn, key, values)

    def _rekey(self, conn: Connection, key: int) -> None:
        """Give a row another key, right after its columns were written."""
        other = next(_FRESH)
        conn.execute("update twin set id = %s where id = %s", (other, key))
        conn.execute("update u set id = %s where id = %s", (other, key))


class HalvesWriters(Crowd):
    """Several of them at once, for as long as the context lasts."""

    def __init__(self, url: str, *shapes: str) -> None:
        super().__init__([HalvesWriter(url, number, shape) for number, shape in enumerate(shapes)])
