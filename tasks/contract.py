"""contract: the point of no return."""

from tasks.drift import SNAPSHOT, left
from tasks.engines.session import Session
from tasks.ledger.fencing import fence
from tasks.ledger.gates import last_gate
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.ledger.transitions import transition
from tasks.model.errors import DataChanged, GateError
from tasks.model.status import MigrationState
from tasks.model.steps import Phase, SelfCommitting, ShortTransaction
from tasks.prefect_task import verb
from tasks.run import Run, say
from tasks.steps import run_phase, run_step


@verb("dump")
def dump(run: Run) -> int:
    """Copy what will be destroyed to the evidence folder and prove that it can be restored; return the rows."""
    with run.ledger() as conn:
        if load_snapshot(conn, run.migration, "dump") is not None:
            return 0
    records = [run.engine.dump(target, run.evidence / run.migration, swapped=True) for target in run.plan.dumps]
    for record in records:
        say(f"{record.table}: {record.rows:,} rows of {', '.join(record.columns) or 'no column'} in {record.file}")
    with run.ledger() as conn, conn.transaction():
        fence(conn, run.migration, run.epoch)
        payload = {"dumps": [record.model_dump(mode="json") for record in records]}
        save_snapshot(conn, run.migration, "dump", payload)
    return sum(record.rows for record in records)


@verb("contract")
def contract(run: Run) -> int:
    """Drop the old shape and what kept it in step. There is no way back from here.

    Where writes are noted, the notes are counted once more under the lock: raises GateError when there are more than
    the gate saw, and the migration stays complete. Locks: ACCESS EXCLUSIVE within the lock budget, one short
    transaction a table.
    """

    def begin(conn: Session) -> None:
        transition(conn, run.migration, run.epoch, MigrationState.CONTRACTING)

    done = 0
    steps = run.plan.phase(Phase.CONTRACT)
    if any(isinstance(step.action, ShortTransaction | SelfCommitting) and step.action.guard for step in steps):
        for step in steps:
            # With what it drops, the first of them: refused, nothing has begun.
            done += run_step(run, step, guard=lambda conn: _refuse_unseen(conn, run), afterwards=begin)
    else:
        with run.ledger() as conn, conn.transaction():
            begin(conn)
        done = run_phase(run, Phase.CONTRACT)
    after = left(run.engine, run.plan)
    with run.ledger() as conn, conn.transaction():
        save_snapshot(conn, run.migration, SNAPSHOT, after, replace=True)
        transition(conn, run.migration, run.epoch, MigrationState.CONTRACTED)
    return done


def _refuse_unseen(conn: Session, run: Run) -> None:
    """Refuse to drop what tells of writes that nobody has looked at: who was waited for may have made them."""
    gate = last_gate(conn, run.migration, "after_swap")
    seen = {check.name: check.unexpected for check in gate.result.checks} if gate else {}
    for requirement in run.plan.requirements:
        if requirement.gate == "before_contract":
            # Within the limits of the step: nobody waits behind the lock for longer.
            row = conn.execute(f"select count(*) from ({requirement.violations}) as noted").fetchone()
            assert row is not None
            unseen = int(row[0]) - seen.get(requirement.name, 0)
            if unseen > 0 and requirement.kind == "structure":
                raise GateError(
                    f"{requirement.name}: not so since the gate saw it",
                    where=run.migration,
                    hint="Run contract again: it asks anew, and says what is wrong.",
                    changed=DataChanged.NO,
                )
            if unseen > 0:
                raise GateError(
                    f"{requirement.name}: {unseen:,} more notes than the gate saw",
                    where=run.migration,
                    hint="Look at those rows, then run contract again: it asks anew, and somebody may answer for it.",
                    changed=DataChanged.NO,
                )
