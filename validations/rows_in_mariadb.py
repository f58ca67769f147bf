"""The gates of a copy into a table of MariaDB: every row is there, to the byte, and both databases say the same."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from tasks.engines.mysql.receiving.compare import compare
from tasks.engines.mysql.receiving.compare_moving import MariaScratch
from tasks.engines.mysql.receiving.notes import StreamNotes
from tasks.engines.mysql.receiving.place import Place, find
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.session import connect as of_mariadb
from tasks.engines.mysql.transient import PASSING
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.rows import PostgresRows
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.source import Reading
from tasks.engines.retrying import Passing
from tasks.model.names import quote
from tasks.model.status import CheckResult
from tasks.model.transfer_steps import TransferColumn
from validations.copied import required
from validations.transfer_rows import RowsGate

_WHOLE: Final = ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal")
_TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), _WHOLE),
    "boolean": _WHOLE[:-1],
    "numeric": _WHOLE,
    "double precision": ("double",),
    **dict.fromkeys(("text", "character varying"), ("varchar", "longtext")),
    "bytea": ("longblob", "varbinary"),
    "date": ("date",),
    **dict.fromkeys(("timestamp without time zone", "timestamp with time zone"), ("datetime",)),
    "time without time zone": ("time",),
    "uuid": ("uuid",),
}
"""Types of the target whose values both engines can tell, by the type of the source."""


@dataclass(frozen=True, kw_only=True)
class MariaRowsGate(RowsGate):
    """What must hold of a copy from PostgreSQL, or from MongoDB, before and after it is given its name."""

    search_path: str
    full_name: str
    """Of the table of the source."""

    @property
    def source_name(self) -> str:
        """The table of the source, as people call it."""
        return self.full_name

    def tells(self, one: TransferColumn) -> bool:
        """Tell whether the comparison of engines knows the values of a column on both sides, under one name."""
        source, target = (re.sub(r"\([^)]*\)", "", kind) for kind in (one.source_type, one.type))
        plain = one.expression == quote(one.name) and not (one.unfit == "null" and one.misfits)
        return plain and target.split(" ")[0] in _TOLD.get(source, ())

    @property
    def passing(self) -> Passing:
        """What passes by itself where the rows are."""
        return PASSING

    def required(self, url: str) -> Iterator[CheckResult]:
        """Ask the tables of PostgreSQL what has to be so there."""
        if self.requirements:
            with connect(url, application_name=self.called, search_path=self.search_path, read_only=True) as source:
                yield from (required(source, one) for one in self.requirements)

    def opened(self, there: str) -> AbstractContextManager[MariaSession]:
        """Open a session with the target."""
        return of_mariadb(there)

    def find(self, conn: MariaSession) -> Place | None:
        """Return where our table is."""
        return find(conn, self.action.into)

    def account(self, conn: MariaSession) -> Sequence[int]:
        """Return how many shards do not add up, then the sums of all."""
        row = conn.execute(
            "select coalesce(sum(`read` <> written + rejected), 0), coalesce(sum(`read`), 0),"
            f" coalesce(sum(written), 0), coalesce(sum(rejected), 0) from {self.action.account}"
        ).fetchone()
        return [int(one) for one in row]

    def notes(self, conn: MariaSession) -> StreamNotes:
        """Return the notes in the target."""
        return StreamNotes(conn, self.action)

    def count(self, conn: MariaSession, query: str) -> int:
        """Return how many rows a query gives in the target."""
        return int(conn.execute(f"select count(*) from ({query}) as counted").fetchone()[0])

    def scratch(self, conn: MariaSession, place: Place) -> MariaScratch:
        """Return tables for a comparison with what moves."""
        return MariaScratch(conn, self.action, place.table)

    def compare(self, conn: MariaSession, reading: Reading, place: Place) -> Differences:
        """Compare with what a session reads."""
        return compare(conn, reading, self.action, place.table)

    def compare_rows(self, conn: MariaSession, url: str, place: Place) -> Differences:
        """Compare with the tables of PostgreSQL."""
        rows = PostgresRows(
            connect=lambda _: connect(url, application_name=self.called, read_only=True),
            search_path=self.search_path,
        )
        with rows.reading("gate") as reading:
            return self.compare(conn, reading, place)

    def called_there(self, place: Place) -> str:
        """Return what people call the table where it is now."""
        return place.name
