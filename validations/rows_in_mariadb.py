"""The gates of a copy into a table of MariaDB: every row is there, to the byte, and both databases say the same."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from profiles.loader import load, resolve_url
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.rows import PostgresRows
from tasks.model.names import quote
from tasks.model.status import CheckResult
from tasks.model.transfer_steps import TransferColumn
from validations.copied import required
from validations.transfer_rows import RowsGate, accounted, compared_rows

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
    """What must hold of a copy from PostgreSQL, before and after it is given its name."""

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

    def _checks(self, url: str, name: str, values_in_reports: bool) -> Iterator[CheckResult]:
        from tasks.engines.mysql.receiving.compare import compare  # noqa: PLC0415 - loads the driver
        from tasks.engines.mysql.receiving.place import find  # noqa: PLC0415
        from tasks.engines.mysql.session import connect as of_mariadb  # noqa: PLC0415

        there = resolve_url(load(self.profile), self.action.into.database).get_secret_value()
        if self.requirements:
            with connect(url, application_name=self.called, search_path=self.search_path, read_only=True) as source:
                yield from (required(source, one) for one in self.requirements)
        with of_mariadb(there) as conn:
            place = find(conn, self.action.into)
            if place is None:
                yield CheckResult(name=name, passed=False, evaluated=True, message="the table is gone")
                return
            account = conn.execute(
                "select coalesce(sum(`read` <> written + rejected), 0), coalesce(sum(`read`), 0),"
                f" coalesce(sum(written), 0), coalesce(sum(rejected), 0) from {self.action.account}"
            ).fetchone()
            yield accounted([int(one) for one in account])
            if self.name == "after_swap":
                # No more is asked: applications may write to it by now.
                put = place.is_put(self.action.into)
                told = "" if put else "it is not where it belongs"
                yield CheckResult(name=name, passed=put, evaluated=True, message=told)
                return
            started = time.monotonic()
            rows = PostgresRows(
                connect=lambda _: connect(url, application_name=self.called, read_only=True),
                search_path=self.search_path,
            )
            with rows.reading("gate") as reading:
                result = compare(conn, reading, self.action, place.table)
            took = time.monotonic() - started
            yield compared_rows(name, result, values_in_reports, took, noted=bool(self.action.notes))
        yield from self.independent(url, there, place.name, result)
