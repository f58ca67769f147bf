"""preflight: is this the right moment, the right role, the right database, and can the rows take it?"""

from tasks.boundary import Boundary
from tasks.ledger.steps import step_records
from tasks.model.errors import PreflightError
from tasks.model.status import GateResult, StepState
from tasks.prefect_task import verb
from tasks.run import Run, say
from tasks.validate import recorded


@verb("preflight")
def preflight(run: Run) -> int:
    """Check everything that can be checked before anything changes; raise PreflightError on errors.

    The rows are asked once, before the first step; their answers are recorded as the gate `before_run`. A closed
    window stops the run as paused. Takes no lock but ACCESS SHARE. Returns how many findings there are.
    """
    with Boundary(run) as boundary:
        boundary.check()
        if run.settings.throttle.replica_lag_bytes is not None:
            # A server that can never know it says so here, and not once a backfill holds back for it.
            run.engine.lag_bytes(boundary.conn)
    run.engine.check()
    findings = (*run.plan.findings, *run.engine.preflight(run.plan))
    for finding in findings:
        say(f"{finding.severity}: {finding.message}")
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise PreflightError(
            "; ".join(finding.message for finding in errors),
            where=", ".join(dict.fromkeys(finding.where for finding in errors)),
            hint=errors[0].hint,
        )
    return len(findings) + _rows(run)


def _rows(run: Run) -> int:
    """Ask the rows, unless the migration has begun to change what they look like."""
    with run.ledger() as conn:
        states = {record.state for record in step_records(conn, run.migration).values()}
    if states & {StepState.RUNNING, StepState.DONE}:
        return 0
    result = run.engine.examine(run.plan, values_in_reports=run.settings.values_in_reports)
    if not result.checks:
        # A new table or an index: there is no row to ask.
        return 0
    result = recorded(run, result, 0)
    _refuse(run, result)
    return sum(check.verdict == "WARNING" for check in result.checks)


def _refuse(run: Run, result: GateResult) -> None:
    if result.passed:
        return
    failed = result.failed
    raise PreflightError(
        "; ".join(f"{check.name}: {check.message}" for check in failed[:5]),
        where=run.migration,
        hint=f"changeover validate {run.migration} shows the rows and what would mend them; or give `up` so that the"
        " backfill does.",
    )
