"""Temporary tables of MariaDB in which rows are compared that move: see `receiving.compare_moving`."""

from collections.abc import Iterable, Sequence

from tasks.engines.mysql.names import quote
from tasks.engines.mysql.receiving.compare import compared_rows, key_texts
from tasks.engines.mysql.receiving.follow import make_empty, temporary, temporary_of_notes
from tasks.engines.mysql.receiving.load import send
from tasks.engines.mysql.receiving.pending import hashed, table_of_hashes
from tasks.engines.receiving.compare_moving import LEFT_OUT, NOTED, READ, SENT, SUSPECTS, TEXTS, UNDECIDED, Scratch
from tasks.engines.records import Line
from tasks.model.transfer_steps import TransferColumn


class MariaScratch(Scratch):
    """Those of a session. Locks: none; rows are looked up by their keys, or by digests of them."""

    key = "key_hash"

    def named(self, name: str) -> str:
        """Return how a table is called in statements."""
        return f"_changeover_{name}"

    def quote(self, name: str) -> str:
        """Quote the name of a column."""
        return quote(name)

    def key_texts(self, row: str) -> list[str]:
        """Return SQL that makes texts of the key of a row, by its alias."""
        return key_texts(self.action, row)

    def make(self) -> None:
        """Make the tables."""
        columns = ", ".join(quote(one.name) for one in self.action.columns)
        temporary(self.conn, self.action, self.named(SENT), columns, self.table)
        temporary_of_notes(self.conn, self.action, self.named(NOTED), self.table)
        listed = ", ".join(map(quote, self.action.target_key))
        temporary(self.conn, self.action, self.named(SUSPECTS), listed, self.table)
        # There may be as many as rows: once each they take half the room.
        temporary(self.conn, self.action, self.named(READ), listed, self.table, once=True)
        for name in (LEFT_OUT, UNDECIDED, TEXTS):
            table_of_hashes(self.conn, self.named(name))

    def differing(self) -> str:
        """Return a query, from its FROM on, of rows that were sent, `s`, and have no such row in the table."""
        return compared_rows(self.action, self.table)

    def empty(self, name: str) -> None:
        """Empty a table."""
        make_empty(self.conn, self.named(name))

    def send(self, name: str, columns: Sequence[TransferColumn], lines: Iterable[Line]) -> None:
        """Put lines into a table of rows, or of keys."""
        with self.conn.transaction():
            send(self.conn, self.named(name), columns, lines)

    def keep_read(self) -> None:
        """Keep the keys of the rows that were sent, among all that were read; one may be there already."""
        key = [quote(name) for name in self.action.target_key]
        listed, same = ", ".join(key), f"{key[0]} = values({key[0]})"
        self.conn.execute(
            f"insert into {self.named(READ)} select {listed} from {self.named(SENT)} on duplicate key update {same}"
        )

    def keep(self, name: str, texts: Iterable[str]) -> None:
        """Put keys into a table of digests."""
        hashed(self.conn, self.named(name), texts)

    def settle(self) -> None:
        """Do nothing: there are indexes."""
