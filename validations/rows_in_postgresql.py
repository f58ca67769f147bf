"""The gates of a copy into a table of PostgreSQL."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from tasks.engines.mysql.names import quote
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.place import Place, find
from tasks.engines.postgresql.transient import PASSING
from tasks.engines.retrying import Passing
from tasks.model.status import CheckResult
from tasks.model.transfer_steps import TransferColumn
from validations.copied import required
from validations.transfer_rows import RowsGate

if TYPE_CHECKING:
    from tasks.engines.postgresql.receiving.compare_moving import PostgresScratch
    from tasks.engines.postgresql.receiving.notes import StreamNotes
    from tasks.engines.receiving.differences import Differences
    from tasks.engines.receiving.source import Reading

_WHOLE: Final = ("smallint", "integer", "bigint", "numeric", "boolean")
_TEXTS: Final = ("text", "varchar")
_TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year"), _WHOLE),
    "decimal": _WHOLE[:-1],
    "float": ("real", "double precision"),
    "double": ("double precision",),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), ("bytea",)),
    "date": ("date",),
    **dict.fromkeys(("datetime", "timestamp"), ("timestamp", "timestamptz")),
    "time": ("time",),
    "uuid": ("uuid",),
    **dict.fromkeys(("bit", "inet4", "inet6"), ()),
}
"""Types of the target whose values both engines can tell, by the type of the source; of others, texts."""


class PostgresRowsGate(RowsGate):
    """What must hold of a copy from MariaDB, or from MongoDB, before and after it is put in its place."""

    @property
    def passing(self) -> Passing:
        """What passes by itself where the rows are."""
        return PASSING

    def required(self, url: str) -> Iterator[CheckResult]:
        """Ask the source what has to be so there."""
        from tasks.engines.mysql.session import connect as of_mysql  # noqa: PLC0415 - loads the driver

        if not self.requirements:
            return
        with of_mysql(url, read_only=True) as source:
            yield from (required(source, one) for one in self.requirements)

    def opened(self, there: str) -> AbstractContextManager[Connection]:
        """Open a session with the target."""
        return connect(there, application_name=self.called)

    def find(self, conn: Connection) -> Place | None:
        """Return where our table is."""
        return find(conn, self.action.into)

    def account(self, conn: Connection) -> Sequence[int]:
        """Return how many shards do not add up, then the sums of all."""
        row: tuple[int, ...] | None = conn.execute(_ACCOUNT.format(self.action.account).encode()).fetchone()
        assert row is not None
        return row

    def notes(self, conn: Connection) -> "StreamNotes":
        """Return the notes in the target."""
        from tasks.engines.postgresql.receiving.notes import StreamNotes  # noqa: PLC0415 - few copies have any

        return StreamNotes(conn, self.action)

    def count(self, conn: Connection, query: str) -> int:
        """Return how many rows a query gives in the target."""
        row = conn.execute(f"select count(*) from ({query}) as counted".encode()).fetchone()
        return int(row[0]) if row else 0

    def scratch(self, conn: Connection, place: Place) -> "PostgresScratch":
        """Return tables for a comparison with what moves."""
        from tasks.engines.postgresql.receiving.compare_moving import PostgresScratch  # noqa: PLC0415 - see above

        return PostgresScratch(conn, self.action, place.table)

    def compare(self, conn: Connection, reading: "Reading", place: Place) -> "Differences":
        """Compare with what a session reads."""
        from tasks.engines.postgresql.receiving.compare import compare  # noqa: PLC0415 - see above

        return compare(conn, reading, self.action, place.table)

    def compare_rows(self, conn: Connection, url: str, place: Place) -> "Differences":
        """Compare with the tables of MariaDB."""
        from tasks.engines.mysql.session import connect as of_mysql  # noqa: PLC0415 - loads the driver
        from tasks.engines.mysql.transfer_rows import Reading, prepare  # noqa: PLC0415

        source = of_mysql(url, read_only=True)
        prepare(source)
        with Reading(source) as reading:
            return self.compare(conn, reading, place)

    def tells(self, one: TransferColumn) -> bool:
        """Tell whether the comparison of engines knows the values of a column on both sides, under one name."""
        kind = re.match(r"[a-z0-9]+", one.source_type.lower())
        base = re.sub(r"\([^)]*\)", "", one.type)
        plain = one.expression == quote(one.name) and not (one.unfit == "null" and one.misfits)
        return plain and kind is not None and base in _TOLD.get(kind[0], _TEXTS)

    def called_there(self, place: Place) -> str:
        """Return what people call the table where it is now."""
        return f"{place.schema_name}.{place.name}"


_ACCOUNT: Final = (
    "select count(*) filter (where read <> written + rejected), coalesce(sum(read), 0), coalesce(sum(written), 0),"
    " coalesce(sum(rejected), 0) from {}"
)
