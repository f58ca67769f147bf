"""The gates of a copy into a table: every row is there, to the byte, and both databases say the same."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from profiles.loader import load, resolve_url
from tasks.engines.receiving.place import Placed
from tasks.model.errors import ChangeoverError
from tasks.model.plan import Requirement
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer_steps import RowTransfer, TransferColumn
from validations.copied import compared

if TYPE_CHECKING:
    from tasks.engines.receiving.compare_moving import Scratch
    from tasks.engines.receiving.differences import Differences
    from tasks.engines.receiving.source import Notes, Reading
    from tasks.engines.retrying import Passing
    from validations.documents_source import DocumentsSource


@dataclass(frozen=True, kw_only=True)
class RowsGate(ABC):
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
        documents = self._documents(url) if self.action.of == "collection" else None
        if documents is None:
            yield from self.required(url)
        with self.opened(there) as conn:
            place = self.find(conn)
            if place is None:
                yield CheckResult(name=name, passed=False, evaluated=True, message="the table is gone")
                return
            yield accounted(self.account(conn))
            if documents is not None:
                yield from documents.late(self.notes(conn), self.requirements, partial(self.count, conn))
            if self.name == "after_swap":
                # No more is asked: applications may write to it by now.
                put = place.is_put(self.action.into)
                told = "" if put else "it is not where it belongs"
                yield CheckResult(name=name, passed=put, evaluated=True, message=told)
                return
            started = time.monotonic()
            if documents is None:
                result = self.compare_rows(conn, url, place)
            elif self.action.notes:
                result = documents.compare_meanwhile(lambda: self._scratch(there, place))
            else:
                with documents.reading() as reading:
                    result = self.compare(conn, reading, place)
            took = time.monotonic() - started
            yield compared_rows(name, result, values_in_reports, took, noted=bool(self.action.notes))
        if documents is None:
            yield from self.independent(url, there, place, result)
        elif not self.action.notes:
            # Of a source that is written meanwhile nobody could say at which moment there are as many.
            yield documents.counted(result)

    def _documents(self, url: str) -> "DocumentsSource":
        from validations.documents_source import DocumentsSource  # noqa: PLC0415 - loads the driver

        return DocumentsSource(
            url=url, action=self.action, called=self.called, limits=load(self.profile).limits, passing=self.passing
        )

    @contextmanager
    def _scratch(self, there: str, place: Placed) -> "Iterator[tuple[Notes, Scratch]]":
        with self.opened(there) as conn:
            yield self.notes(conn), self.scratch(conn, place)

    @property
    @abstractmethod
    def passing(self) -> "Passing":
        """What passes by itself where the rows are."""

    @abstractmethod
    def required(self, url: str) -> Iterator[CheckResult]:
        """Ask the tables of the source what has to be so there."""

    @abstractmethod
    def opened(self, there: str) -> AbstractContextManager[Any]:
        """Open a session with the target."""

    @abstractmethod
    def find(self, conn: Any) -> Placed | None:
        """Return where our table is."""

    @abstractmethod
    def account(self, conn: Any) -> Sequence[int]:
        """Return how many shards do not add up, then the sums of all."""

    @abstractmethod
    def notes(self, conn: Any) -> "Notes":
        """Return the notes in the target."""

    @abstractmethod
    def count(self, conn: Any, query: str) -> int:
        """Return how many rows a query gives in the target."""

    @abstractmethod
    def scratch(self, conn: Any, place: Any) -> "Scratch":
        """Return tables for a comparison with what moves."""

    @abstractmethod
    def compare(self, conn: Any, reading: "Reading", place: Any) -> "Differences":
        """Compare with what a session reads."""

    @abstractmethod
    def compare_rows(self, conn: Any, url: str, place: Any) -> "Differences":
        """Compare with the tables of the source."""

    @abstractmethod
    def tells(self, one: TransferColumn) -> bool:
        """Tell whether the comparison of engines knows the values of a column on both sides, under one name."""

    @abstractmethod
    def called_there(self, place: Any) -> str:
        """Return what people call the table where it is now."""

    def independent(self, url: str, there: str, place: Placed, result: "Differences") -> Iterator[CheckResult]:
        """Compare once more, by what each engine says of its own table, and not through what made the copy.

        Where every row was to be copied, and of those columns that are the same on both sides.
        """
        from validations.parity.compare import Options, Table, compare  # noqa: PLC0415 - loads the driver
        from validations.parity.report import Verdict  # noqa: PLC0415

        action, table = self.action, self.called_there(place)
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


def accounted(row: Sequence[int]) -> CheckResult:
    """Return the check of an account: shards that do not add up, then the sums of all."""
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
