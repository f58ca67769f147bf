"""The gates of a copy into a table of PostgreSQL: every row is there, to the byte, and both databases say the same."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from profiles.loader import load, resolve_url
from tasks.engines.mysql.names import quote
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.place import Place, find
from tasks.model.errors import ChangeoverError
from tasks.model.plan import Requirement
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer_steps import RowTransfer, TransferColumn
from validations.copied import compared

if TYPE_CHECKING:
    from tasks.engines.receiving.differences import Differences

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


@dataclass(frozen=True, kw_only=True)
class RowsGate:
    """What must hold of a copy, before and after it is put in its place. Holds no URL: it may be shown."""

    name: str
    migration: str
    profile: str
    database: str
    """The source, by its name in the profile."""
    columns: tuple[str, ...]
    """Of the source."""
    action: RowTransfer
    requirements: tuple[Requirement, ...] = ()

    def evaluate(self, url: str, *, values_in_reports: bool, **_: object) -> GateResult:
        """Evaluate everything; raise nothing: what cannot be evaluated has failed. There are no probes."""
        checks: list[CheckResult] = []
        name = "every row is there" if self.name == "before_swap" else "the table is in its place"
        started = time.monotonic()
        try:
            checks += self._checks(url, name, values_in_reports)
        except Exception as error:  # noqa: BLE001 - two drivers, two servers, a profile: all of it is a failed check
            # The kind alone: what drivers say quotes rows.
            why = error.what if isinstance(error, ChangeoverError) else type(error).__name__
            took = time.monotonic() - started
            checks.append(CheckResult(name=name, passed=False, evaluated=False, message=why, seconds=took))
        return GateResult(gate=self.name, checks=tuple(checks))

    @property
    def source_name(self) -> str:
        """The table of the source, as people call it."""
        return self.action.alias

    @property
    def called(self) -> str:
        """What its sessions are called."""
        return f"changeover {self.migration[:47]} gate"

    def _checks(self, url: str, name: str, values_in_reports: bool) -> Iterator[CheckResult]:
        there = resolve_url(load(self.profile), self.action.into.database).get_secret_value()
        if self.action.of == "table":
            yield from self._required(url)
        with connect(there, application_name=self.called) as conn:
            place = find(conn, self.action.into)
            if place is None:
                yield CheckResult(name=name, passed=False, evaluated=True, message="the table is gone")
                return
            yield accounted(conn.execute(_ACCOUNT.format(self.action.account).encode()).fetchone())
            if self.action.of == "collection":
                yield from self._late(conn, url)
            if self.name == "after_swap":
                # No more is asked: applications may write to it by now.
                put = place.is_put(self.action.into)
                yield CheckResult(
                    name=name, passed=put, evaluated=True, message="" if put else "it is not where it belongs"
                )
                return
            started = time.monotonic()
            result = self._compare(conn, url, there, place)
            took = time.monotonic() - started
            yield compared_rows(name, result, values_in_reports, took, noted=bool(self.action.notes))
            if self.action.of == "collection":
                # Of a source that is written meanwhile nobody could say at which moment there are as many.
                if not self.action.notes:
                    yield self._counted(url, result)
            else:
                yield from self.independent(url, there, f"{place.schema_name}.{place.name}", result)

    def _required(self, url: str) -> Iterator[CheckResult]:
        """Ask the source what has to be so there."""
        from tasks.engines.mysql.session import connect as of_mysql  # noqa: PLC0415 - loads the driver

        if not self.requirements:
            return
        with of_mysql(url, read_only=True) as source:
            for one in self.requirements:
                started = time.monotonic()
                structure = one.kind == "structure"
                # What is wrong with a table is said by names of the catalogue; rows are only counted.
                query = one.violations if structure else f"select count(*) from ({one.violations}) as counted"
                rows = source.execute(query).fetchall()
                wrong = len(rows) if structure else int(rows[0][0])
                told = "; ".join(str(row[0]) for row in rows) if structure else f"{wrong:,} × not so"
                yield CheckResult(
                    name=one.name,
                    passed=not wrong,
                    evaluated=True,
                    unexpected=wrong,
                    message=told if wrong else "no violations",
                    seconds=time.monotonic() - started,
                )

    def _late(self, conn: Connection, url: str) -> Iterator[CheckResult]:
        """Ask what the stream has told of since the swap; where nobody can tell any more, that is wrong, too."""
        from validations.streamed import noted_until_now  # noqa: PLC0415 - loads the driver

        for one in self.requirements:
            started = time.monotonic()
            try:
                noted_until_now(url, conn, self.action, self.called, load(self.profile).limits)
            except ChangeoverError as error:
                # Whatever it is, nobody can tell what was written: somebody may answer for that, under this name.
                wrong, told = 1, error.what
            else:
                row = conn.execute(f"select count(*) from ({one.violations}) as noted".encode()).fetchone()
                wrong = row[0] if row else 0
                told = f"{wrong:,} documents were written" if wrong else "no violations"
            yield CheckResult(
                name=one.name,
                passed=not wrong,
                evaluated=True,
                unexpected=wrong,
                message=told,
                seconds=time.monotonic() - started,
            )

    def _compare(self, conn: Connection, url: str, there: str, place: Place) -> "Differences":
        if self.action.notes and self.action.of == "collection":
            from validations.streamed import compared_meanwhile  # noqa: PLC0415 - loads the driver

            return compared_meanwhile(url, there, self.action, place.table, self.called, load(self.profile).limits)
        if self.action.of == "collection":
            return self._compare_documents(conn, url, place)
        from tasks.engines.mysql.session import connect as of_mysql  # noqa: PLC0415 - loads the driver
        from tasks.engines.mysql.transfer_rows import Reading, prepare  # noqa: PLC0415
        from tasks.engines.postgresql.receiving.compare import compare  # noqa: PLC0415

        source = of_mysql(url, read_only=True)
        prepare(source)
        with Reading(source) as reading:
            return compare(conn, reading, self.action, place.table)

    def _compare_documents(self, conn: Connection, url: str, place: Place) -> "Differences":
        from tasks.engines.mongodb.connect import connected  # noqa: PLC0415 - loads the driver
        from tasks.engines.mongodb.rows.reading import Reading  # noqa: PLC0415
        from tasks.engines.postgresql.receiving.compare import compare  # noqa: PLC0415

        with connected(url, name=self.called) as database:
            return compare(conn, Reading(database), self.action, place.table)

    def _counted(self, url: str, result: "Differences") -> CheckResult:
        """Compare with what MongoDB itself counts, and not through what made the copy."""
        from tasks.engines.mongodb.connect import connected  # noqa: PLC0415 - loads the driver
        from tasks.engines.mongodb.rows.reading import Reading  # noqa: PLC0415

        started = time.monotonic()
        with connected(url, name=self.called) as database:
            there = Reading(database).count(self.action)
        here = result.present + result.rejected
        return CheckResult(
            name="MongoDB counts as many documents",
            passed=there == here,
            evaluated=True,
            unexpected=abs(there - here),
            message=f"{there:,} documents, {result.present:,} rows and {result.rejected:,} rejected",
            seconds=time.monotonic() - started,
        )

    def tells(self, one: TransferColumn) -> bool:
        """Tell whether the comparison of engines knows the values of a column on both sides, under one name."""
        return _same(one)

    def independent(self, url: str, there: str, table: str, result: "Differences") -> Iterator[CheckResult]:
        """Compare once more, by what each engine says of its own table, and not through what made the copy.

        Where every row was to be copied, and of those columns that are the same on both sides.
        """
        from validations.parity.compare import Options, Table, compare  # noqa: PLC0415 - loads the driver
        from validations.parity.report import Verdict  # noqa: PLC0415

        action = self.action
        same = {one.name for one in action.columns if self.tells(one)}
        # Of a source that is written meanwhile nobody could say at which moment they differ.
        if (
            action.notes
            or action.where
            or result.rejected
            or table.count(".") > 1
            or not set(action.target_key) <= same
        ):
            return
        if not set(action.target_key) <= set(self.columns):
            # Rows are paired by the names of their key.
            return
        there_only = {one.name for one in action.columns} - same
        here_only = set(self.columns) - same
        asked = compare(
            Table(url=url, database=self.database, name=self.source_name),
            Table(url=there, database=action.into.database, name=table),
            Options(ignored=sorted(there_only | here_only), lag=0.0, patience=5.0, limit=100),
        )
        wrong = len(asked.differences) + len(asked.unsettled)
        said = f"{asked.rows_a:,} and {asked.rows_b:,} rows, by {len(asked.columns)} of {len(action.columns)} columns"
        yield CheckResult(
            name="both databases say the same of their rows",
            passed=asked.verdict is Verdict.EQUAL,
            evaluated=True,
            unexpected=wrong,
            message=f"{said}: {wrong:,}{'' if asked.complete else ' or more'} × not so" if wrong else said,
            seconds=asked.seconds,
        )


def _same(one: TransferColumn) -> bool:
    """Tell whether the comparison of engines knows the values of a column on both sides, under one name."""
    kind = re.match(r"[a-z0-9]+", one.source_type.lower())
    base = re.sub(r"\([^)]*\)", "", one.type)
    plain = one.expression == quote(one.name) and not (one.unfit == "null" and one.misfits)
    return plain and kind is not None and base in _TOLD.get(kind[0], _TEXTS)


_ACCOUNT: Final = (
    "select count(*) filter (where read <> written + rejected), coalesce(sum(read), 0), coalesce(sum(written), 0),"
    " coalesce(sum(rejected), 0) from {}"
)


def accounted(row: Sequence[int] | None) -> CheckResult:
    """Return the check of an account: shards that do not add up, then the sums of all."""
    assert row is not None
    return CheckResult(
        name="rows read = rows written + rows rejected",
        passed=not row[0] and row[1] == row[2] + row[3],
        evaluated=True,
        unexpected=row[0],
        message=f"{row[1]:,} = {row[2]:,} + {row[3]:,}",
    )


def compared_rows(
    name: str, result: "Differences", values_in_reports: bool, seconds: float, *, noted: bool
) -> CheckResult:
    """Return the check of a comparison."""
    said = f"{result.rows:,} rows, {result.rejected:,} rejected, {result.present:,} there"
    if result.unsettled:
        said += f", {result.unsettled:,} written since, and noted"
    return compared(
        name,
        result,
        said,
        (result.differing, "rows are not there, or are others"),
        "rows",
        more=((int(result.emptied), "TRUNCATE since the notes were carried: run again"),),
        values_in_reports=values_in_reports,
        seconds=seconds,
        noted=noted,
    )
