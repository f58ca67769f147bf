"""snapshot: what the tables are before anything changes, and a proven copy of what `contract` will destroy."""

from tasks.ledger.fencing import fence
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.prefect_task import verb
from tasks.run import Run, say


@verb("snapshot")
def snapshot(run: Run) -> None:
    """Record counts, digests and log position of every table, and dump the doomed columns.

    Done once for a migration: a run that resumes finds it. The dump is restored elsewhere and compared.
    Locks: ACCESS SHARE, for as long as it takes to read each table.
    """
    with run.ledger() as conn:
        if load_snapshot(conn, run.migration, "before") is not None:
            return
    facts = run.engine.measure(run.plan.tables)
    for table in facts.tables:
        say(f"{table.table}: {table.rows:,} rows at {facts.lsn}")
    dumps = [
        run.engine.dump(target, run.evidence / run.migration, swapped=False).model_dump(mode="json")
        for target in run.plan.dumps
    ]
    payload = facts.model_dump(mode="json") | {"catalogue": run.plan.catalogue.fingerprint, "dumps": dumps}
    with run.ledger() as conn, conn.transaction():
        fence(conn, run.migration, run.epoch)
        save_snapshot(conn, run.migration, "before", payload)
