"""Applications that write the references of rows, in a column or in a junction; a third table holds what they mean.

Each locks the row of the third table first, so that the order of two writes of one row is known. Rows are locked by
key, and of one key in the order twin, u, j: among themselves these applications cannot deadlock, whatever they do.
"""

from itertools import count

from tests.conformance.crowd import Crowd, Keyed
from tests.conformance.drive import Connection

REFERENCES = range(1, 8)
_FRESH = count(1000)
"""Keys that no row ever had, of all writers."""
OTHER = "create table o (id int primary key); insert into o select generate_series(1, 7);"
TWIN = """
create table twin (id int primary key, refs int[] not null);
insert into twin select id, coalesce(array_remove({}, null), '{{}}') from u;
"""


class JunctionWriter(Keyed):
    """One connection of an application that knows one of the shapes: `u` has a column, or an array, or there is `j`.

    No statement may fail.
    """

    def __init__(self, url: str, number: int, shape: str) -> None:
        super().__init__(url, f"{shape} writer {number}", f"{number} {shape}")
        self.shape = shape

    def statements(self, conn: Connection, key: int) -> None:
        """Write one key, into the tables and into the twin."""
        kind = self.random.random()
        if kind < 0.15:
            # Nothing about the references: but a lock on a row that others' writes have to be carried to.
            conn.execute("update u set n = n + 1 where id = %s", (key,))
            return
        twin = conn.execute("select refs from twin where id = %s for update", (key,)).fetchone()
        if twin is None:
            if conn.execute("insert into twin values (%s, '{}') on conflict do nothing", (key,)).rowcount:
                conn.execute("insert into u (id) values (%s)", (key,))
                self._write(conn, key)
        elif kind < 0.25:
            conn.execute("delete from twin where id = %s", (key,))
            conn.execute("delete from u where id = %s", (key,))
        else:
            self._write(conn, key)
            if kind > 0.9:
                other = next(_FRESH)
                conn.execute("update twin set id = %s where id = %s", (other, key))
                conn.execute("update u set id = %s where id = %s", (other, key))

    def _write(self, conn: Connection, key: int) -> None:
        come = self.random.choice(REFERENCES)
        if self.shape == "column":
            self._write_column(conn, key, come if self.random.random() < 0.8 else None)
        elif self.shape == "array":
            self._write_array(conn, key, come)
        elif self.random.random() < 0.6:
            conn.execute("insert into j (u_id, o_id) values (%s, %s) on conflict do nothing", (key, come))
            self._twin(conn, key, None, come)
        else:
            conn.execute("delete from j where u_id = %s and o_id = %s", (key, come))
            self._twin(conn, key, come, None)

    def _write_column(self, conn: Connection, key: int, come: int | None) -> None:
        row = conn.execute("select o_id from u where id = %s for no key update", (key,)).fetchone()
        assert row is not None
        if row[0] != come:
            conn.execute("update u set o_id = %s where id = %s", (come, key))
            self._twin(conn, key, row[0], come)

    def _write_array(self, conn: Connection, key: int, value: int) -> None:
        row = conn.execute("select o_ids from u where id = %s for no key update", (key,)).fetchone()
        assert row is not None
        there = value in (row[0] or ())
        change = "array_remove(o_ids, %s)" if there else "o_ids || %s::int"
        conn.execute(f"update u set o_ids = {change} where id = %s".encode(), (value, key))
        self._twin(conn, key, value if there else None, None if there else value)

    def _twin(self, conn: Connection, key: int, gone: int | None, come: int | None) -> None:
        conn.execute(
            "update twin set refs = array_remove(array_remove(refs, %s), %s) || array_remove(array[%s::int], null)"
            " where id = %s",
            (gone, come, come, key),
        )


class JunctionWriters(Crowd):
    """Several of them at once, for as long as the context lasts."""

    def __init__(self, url: str, *shapes: str) -> None:
        super().__init__([JunctionWriter(url, number, shape) for number, shape in enumerate(shapes)])
