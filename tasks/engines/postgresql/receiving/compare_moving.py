"""Temporary tables of PostgreSQL in which rows are compared that move: see `receiving.compare_moving`."""

from collections.abc import Iterable, Sequence

from tasks.engines.postgresql.receiving.compare import compared_rows, prepare
from tasks.engines.postgresql.receiving.load import send
from tasks.engines.postgresql.receiving.pending import copy_texts
from tasks.engines.receiving.compare_moving import LEFT_OUT, NOTED, READ, SENT, SUSPECTS, TEXTS, UNDECIDED, Scratch
from tasks.engines.records import Line
from tasks.model.names import quote
from tasks.model.transfer_steps import TransferColumn, noted_columns

_KEYS, _TEXTS = (READ, SUSPECTS, NOTED), (LEFT_OUT, UNDECIDED, TEXTS)


class PostgresScratch(Scratch):
    """Those of a session. Locks: ACCESS SHARE on the table."""

    key = "key"

    def named(self, name: str) -> str:
        """Return how a table is called in statements."""
        return f"pg_temp._changeover_{name}"

    def quote(self, name: str) -> str:
        """Quote the name of a column."""
        return quote(name)

    def key_texts(self, row: str) -> list[str]:
        """Return SQL that makes texts of the key of a row, by its alias."""
        return [f"{row}.{quote(name)}::text" for name in self.action.target_key]

    def make(self) -> None:
        """Make the tables, and a session that compares."""
        prepare(self.conn, self.action, self.table)
        for name in _KEYS:
            told = (one.name for one in noted_columns(self.action)) if name == NOTED else self.action.target_key
            listed = ", ".join(map(quote, told))
            made = f"create temporary table _changeover_{name} as select {listed} from {self.table} with no data"
            self.conn.execute(made)
        for name in _TEXTS:
            self.conn.execute(f"create temporary table _changeover_{name} (key text)")

    def differing(self) -> str:
        """Return a query, from its FROM on, of rows that were sent, `s`, and have no such row in the table."""
        return compared_rows(self.action, self.table)

    def empty(self, name: str) -> None:
        """Empty a table."""
        self.conn.execute(f"truncate {self.named(name)}")

    def send(self, name: str, columns: Sequence[TransferColumn], lines: Iterable[Line]) -> None:
        """Put lines into a table of rows, or of keys."""
        send(self.conn, self.named(name), columns, lines)

    def keep_read(self) -> None:
        """Keep the keys of the rows that were sent, among all that were read."""
        key = ", ".join(map(quote, self.action.target_key))
        self.conn.execute(f"insert into {self.named(READ)} select {key} from {self.named(SENT)}")

    def keep(self, name: str, texts: Iterable[str]) -> None:
        """Put keys into a table of texts."""
        copy_texts(self.conn, self.named(name), texts)

    def settle(self) -> None:
        """Let the planner know how much is kept."""
        self.conn.execute("reset enable_hashjoin; reset enable_mergejoin")
        for name in (*_KEYS, *_TEXTS):
            self.conn.execute(f"analyze {self.named(name)}")
