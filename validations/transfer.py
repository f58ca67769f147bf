"""The gates of a copy into another database: every row, through the mapping, is the document that is there."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiles.loader import load, resolve_url
from tasks.engines.postgresql.connect import connect
from tasks.engines.session import Session
from tasks.model.errors import ChangeoverError
from tasks.model.plan import Plan, Requirement
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer_steps import DocumentTransfer, RowTransfer
from validations import gates
from validations.checks import Gate
from validations.copied import compared, required
from validations.rows_in_postgresql import PostgresRowsGate
from validations.transfer_rows import RowsGate

if TYPE_CHECKING:
    from tasks.engines.mongodb.compare import Differences


@dataclass(frozen=True, kw_only=True)
class TransferGate:
    """What must hold of a copy, before and after it is given its name. Holds no URL: it may be shown."""

    name: str
    migration: str
    profile: str
    action: DocumentTransfer
    requirements: tuple[Requirement, ...]

    def evaluate(self, url: str, *, values_in_reports: bool, search_path: str, **_: object) -> GateResult:
        """Evaluate everything; raise nothing: what cannot be evaluated has failed. There are no probes."""
        checks: list[CheckResult] = []
        name = "the rows are the documents" if self.name == "before_swap" else "the collection has its name"
        started = time.monotonic()
        try:
            checks += self._checks(url, name, values_in_reports, search_path)
        except Exception as error:  # noqa: BLE001 - two drivers, two servers, a profile: all of it is a failed check
            # The kind alone: what drivers say quotes rows.
            why = error.what if isinstance(error, ChangeoverError) else type(error).__name__
            took = time.monotonic() - started
            checks.append(CheckResult(name=name, passed=False, evaluated=False, message=why, seconds=took))
        return GateResult(gate=self.name, checks=tuple(checks))

    def _checks(self, url: str, name: str, values_in_reports: bool, search_path: str) -> Iterator[CheckResult]:
        from tasks.engines.mongodb.compare import compare  # noqa: PLC0415 - loads the driver
        from tasks.engines.mongodb.connect import connected  # noqa: PLC0415
        from tasks.engines.mongodb.place import name_of, place_of  # noqa: PLC0415

        there = resolve_url(load(self.profile), self.action.into.database).get_secret_value()
        called = f"changeover {self.migration[:47]} gate"
        with (
            self._source(url, called, search_path) as conn,
            nullcontext() if self.action.engine == "postgresql" else self._source(url, called, search_path) as beside,
            connected(there, name=called) as database,
        ):
            yield from (required(conn, one) for one in self.requirements)
            started = time.monotonic()
            found = name_of(database, self.action.into, place_of(conn, self.action.into))
            if found is None:
                yield CheckResult(name=name, passed=False, evaluated=True, message="the collection is gone")
            elif self.name == "after_swap":
                # No more is asked: applications may write to it by now.
                named = found == self.action.into.name
                yield CheckResult(name=name, passed=named, evaluated=True, message="" if named else "it has another")
            else:
                result = compare(conn, database, found, self.action, search_path, beside)
                took = time.monotonic() - started
                yield _compared(name, result, values_in_reports, took, noted=bool(self.action.notes))

    def _source(self, url: str, called: str, search_path: str) -> Session:
        if self.action.engine == "postgresql":
            return connect(url, application_name=called, search_path=search_path, read_only=True)
        from tasks.engines.mysql.session import connect as of_mysql  # noqa: PLC0415 - loads the driver

        return of_mysql(url, read_only=True)


def transferred(name: str, plan: Plan, profile: str) -> TransferGate | RowsGate:
    """Return the gate of a copy: `before_swap` or `after_swap`."""
    rows = of_rows(name, plan, profile)
    if rows is not None:
        return rows
    return TransferGate(
        name=name,
        migration=plan.migration,
        profile=profile,
        action=next(step.action for step in plan.steps if isinstance(step.action, DocumentTransfer)),
        requirements=tuple(one for one in plan.requirements if one.gate == name),
    )


def before_contract(plan: Plan, profile: str) -> RowsGate | Gate:
    """Return the gate before the old shape, or what has served a copy, goes."""
    gate = of_rows("after_swap", plan, profile, asked=("after_swap", "before_contract"))
    return gate if gate is not None else gates.before_contract(plan)


def of_rows(name: str, plan: Plan, profile: str, asked: tuple[str, ...] = ()) -> RowsGate | None:
    """Return the gate of a copy into a table; None where the plan is about something else.

    `asked`: the gates whose requirements it has, where they are not its own.
    """
    action = next((step.action for step in plan.steps if isinstance(step.action, RowTransfer)), None)
    if action is None:
        return None
    given: dict[str, Any] = {
        "name": name,
        "migration": plan.migration,
        "profile": profile,
        "database": plan.database,
        "columns": tuple(column.name for column in plan.catalogue.tables[0].columns),
        "action": action,
        "requirements": tuple(one for one in plan.requirements if one.gate in (asked or (name,))),
    }
    if action.into.engine == "postgresql":
        return PostgresRowsGate(**given)
    from validations.rows_in_mariadb import MariaRowsGate  # noqa: PLC0415 - loads the driver

    return MariaRowsGate(**given, search_path=plan.search_path, full_name=plan.catalogue.tables[0].full_name)


def _compared(name: str, result: "Differences", values_in_reports: bool, seconds: float, *, noted: bool) -> CheckResult:
    said = f"{result.rows:,} rows, {result.rejected:,} rejected, {result.documents:,} documents"
    if result.unsettled:
        said += f", {result.unsettled:,} of them written since, and noted"
    return compared(
        name,
        result,
        said,
        (result.differing, "rows have no document, or another"),
        "documents",
        more=(
            (result.without_identity, "rows have no _id, or that of another"),
            (int(result.emptied), "TRUNCATE since the notes were carried: run again"),
        ),
        values_in_reports=values_in_reports,
        seconds=seconds,
        noted=noted,
    )
