"""snapshot: what the tables are before anything changes, and a proven copy of what `contract` will destroy."""

from typing import Any

from tasks.engines.protocol import Probing
from tasks.ledger.fencing import fence
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.model.probe import to_payload
from tasks.prefect_task import verb
from tasks.run import Run, say

PROBES = "probes"
"""The name under which the ledger keeps what probes cost before the first change."""


@verb("snapshot")
def snapshot(run: Run) -> None:
    """Record counts, digests and log position of every table, measure the probes, and dump the doomed columns.

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
    readings = _probed(run)
    payload = facts.model_dump(mode="json") | {"catalogue": run.plan.catalogue.fingerprint, "dumps": dumps}
    with run.ledger() as conn, conn.transaction():
        fence(conn, run.migration, run.epoch)
        save_snapshot(conn, run.migration, "before", payload)
        if readings:
            save_snapshot(conn, run.migration, PROBES, readings)


def _probed(run: Run) -> dict[str, Any]:
    """Measure the probes of the spec, with whose readings the gate after the swap compares."""
    probes = run.plan.probes
    if not probes:
        return {}
    assert isinstance(run.engine, Probing), "a plan with probes of an engine that measures none"
    readings = run.engine.probe(probes, run.settings.probes, run.plan.search_path)
    for name, one in readings.items():
        say(f"probe {name}: {one.milliseconds:,.1f} ms, cost {one.cost:,.2f}")
    return to_payload(readings)
