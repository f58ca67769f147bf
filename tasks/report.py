"""What a run did, for the command line, for the flow's result, and as artifacts."""

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.ledger.cursors import progress
from tasks.ledger.gates import last_gate
from tasks.ledger.state import summary
from tasks.model.errors import ChangeoverError
from tasks.model.plan import Plan
from tasks.model.status import GateResult, Report
from tasks.model.step_costs import held_of, rows_of, told_locks
from tasks.model.steps import Step
from tasks.reporting.account import account
from tasks.reporting.page import write
from tasks.run import Run, say


def report(run: Run) -> Report:
    """Return what the ledger says about the migration now."""
    with run.ledger("report") as conn:
        now = summary(conn, run.migration)
        totals = progress(conn, run.migration).values()
        gates = [last_gate(conn, run.migration, name) for name in ("before_swap", "after_swap")]
    write_report(run)
    seconds = sum((t.updated_at - t.started_at).total_seconds() for t in totals if t.started_at is not None)
    return Report(
        migration=run.migration,
        strategy=now.strategy,
        state=now.state,
        plan_digest=now.plan_digest,
        rows=sum(t.rows for t in totals),
        seconds=seconds,
        gates=tuple(gate.result for gate in gates if gate is not None),
        message=now.message,
    )


def write_report(run: Run) -> None:
    """Write the account of the migration to the evidence folder, as a page and as JSON; say so when that fails."""
    try:
        with run.ledger("report") as conn:
            told = account(conn, run.migration)
        write(told, run.evidence / run.migration)
    except Exception as error:  # noqa: BLE001 - it must not hide how the run ended, and can be made again later
        say(f"the report is not written: {error.what if isinstance(error, ChangeoverError) else type(error).__name__}")


def slug(run: Run) -> str:
    """The name of the migration as Prefect allows it in the key of an artifact."""
    return run.migration.replace("_", "-").strip("-")


def plan_artifact(run: Run, plan: Plan) -> None:
    """Show the plan on the run's page."""
    lines = [f"# {plan.migration}", "", f"Risk **{plan.risk}**, digest `{plan.digest[:16]}`", ""]
    lines += [f"- {reason}" for reason in plan.risk_reasons]
    lines += ["", "| phase | step | locks | rows | rollback |", "|---|---|---|---:|---|"]
    lines += [_planned(step, plan) for step in plan.steps]
    create_markdown_artifact("\n".join(lines), key=f"plan-{slug(run)}", description=plan.migration)


def _planned(step: Step, plan: Plan) -> str:
    rows = rows_of(step, plan)
    cells = (
        step.phase,
        step.title,
        told_locks(step) or (held_of(step) if step.authored else "none"),
        "" if rows is None else f"{rows:,}",
        step.undo or "nothing needed",
    )
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def gate_artifact(run: Run, result: GateResult) -> None:
    """Show a gate on the run's page, check by check."""
    rows = [
        {
            "check": check.name,
            "result": check.verdict,
            "unexpected": check.unexpected,
            "message": check.message,
            "seconds": round(check.seconds, 3),
        }
        for check in result.checks
    ]
    verdict = "passed" if result.passed else "FAILED"
    key = f"gate-{result.gate.replace('_', '-')}-{slug(run)}"
    create_table_artifact(rows, key=key, description=f"{result.gate}: {verdict}")
    create_markdown_artifact(gate_markdown(result), key=f"{key}-text", description=f"{result.gate}: {verdict}")


def gate_markdown(result: GateResult) -> str:
    """Say what came of a gate, with the statements that would mend what failed."""
    lines = [f"# Gate {result.gate} {'passed' if result.passed else 'FAILED'}", ""]
    lines += ["| result | check | message |", "|---|---|---|"]
    lines += [f"| {c.verdict} | {_cell(c.name)} | {_cell(f'{c.message} {c.waiver}'.strip())} |" for c in result.checks]
    for check in result.checks:
        if check.fix:
            lines += ["", f"## {check.verdict}: {check.name}", "", "```sql", check.fix.replace("```", "` ` `"), "```"]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
