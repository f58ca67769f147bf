"""contract: the point of no return."""

from tasks.drift import SNAPSHOT, left
from tasks.ledger.fencing import fence
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.ledger.transitions import transition
from tasks.model.plan import Phase
from tasks.model.status import MigrationState
from tasks.prefect_task import verb
from tasks.run import Run, say
from tasks.steps import run_phase


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

    Locks: ACCESS EXCLUSIVE within the lock budget, one short transaction a table.
    """
    with run.ledger() as conn, conn.transaction():
        transition(conn, run.migration, run.epoch, MigrationState.CONTRACTING)
    done = run_phase(run, Phase.CONTRACT)
    after = left(run.engine, run.plan)
    with run.ledger() as conn, conn.transaction():
        save_snapshot(conn, run.migration, SNAPSHOT, after, replace=True)
        transition(conn, run.migration, run.epoch, MigrationState.CONTRACTED)
    return done
