"""validate: no gate, no swap."""

from collections.abc import Mapping
from typing import Protocol

from profiles.model import Probes
from tasks.ledger.gates import count_rejections, last_gate, record_gate
from tasks.ledger.snapshots import load_snapshot
from tasks.ledger.state import summary
from tasks.ledger.waivers import with_waivers
from tasks.model.errors import DataChanged, GateError
from tasks.model.probe import Reading, from_payload
from tasks.model.status import GateResult, MigrationState
from tasks.prefect_task import verb
from tasks.report import gate_artifact
from tasks.run import Run, say
from tasks.snapshot import PROBES


class Gate(Protocol):
    """Something that can be evaluated on a database, and says what came of it."""

    @property
    def name(self) -> str:
        """The transition that it guards."""

    def evaluate(
        self,
        url: str,
        *,
        values_in_reports: bool,
        search_path: str,
        before: Mapping[str, Reading],
        probes: Probes,
    ) -> GateResult:
        """Evaluate everything; raise nothing: what cannot be evaluated has failed."""


@verb("validate", "validate {gate.name}")
def validate(run: Run, gate: Gate) -> GateResult | None:
    """Evaluate a gate, record it, and raise GateError unless it passed. See `passed`.

    A run that goes on after the swap has the gate before it behind itself: None then. Recorded with the result is
    how many writes dual write could not carry at that moment: the swap refuses if there are
    more by then. Locks: ACCESS SHARE.
    """
    with run.ledger() as conn:
        if (
            gate.name in ("before_run", "before_swap")
            and summary(conn, run.migration).state is not MigrationState.RUNNING
        ):
            return None
        before = last_gate(conn, run.migration, gate.name)
        kept_in_step = run.plan.strategy != "cross_database"
        if gate.name == "before_swap" and kept_in_step and before and before.passed and run.settings.approvals:
            # It stands until the swap: from the approval point on, a new application writes values of its own.
            return before.result
    return passed(run, gate)


def passed(run: Run, gate: Gate) -> GateResult:
    """Evaluate a gate, whatever came of it before; record it, and raise GateError unless it passed."""
    with run.ledger() as conn:
        # Before the evaluation: a write that fails while it runs has to count as unseen.
        rejections = count_rejections(conn, run.migration)
        readings = from_payload(load_snapshot(conn, run.migration, PROBES))
    result = gate.evaluate(
        run.engine.url,
        values_in_reports=run.settings.values_in_reports,
        search_path=run.plan.search_path,
        before=readings,
        probes=run.settings.probes,
    )
    result = recorded(run, result, rejections)
    failed = [check for check in result.checks if not check.stands]
    if not result.passed:
        reasons = "; ".join(f"{c.name}: {c.message}" for c in failed[:5]) or "there was nothing to check"
        raise GateError(
            f"the gate {result.gate} did not pass: {reasons}",
            where=run.migration,
            hint="Correct the rows or the expressions, then run again; or somebody answers for it: changeover waive.",
            changed=DataChanged.PARTIALLY,
        )
    return result


def recorded(run: Run, result: GateResult, rejections: int) -> GateResult:
    """Record what a gate found, with what people answer for; show it, and return it."""
    with run.ledger() as conn, conn.transaction():
        result = with_waivers(conn, run.migration, run.plan.digest, result)
        record_gate(conn, run.migration, run.epoch, result, rejections)
    gate_artifact(run, result)
    for check in result.checks:
        say(f"{check.verdict}: {check.name}: {check.message} {check.waiver}".rstrip())
    return result
