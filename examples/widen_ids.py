"""A flow of one's own: the tasks of Changeover, in the order that suits the job."""

from prefect import flow

from tasks.backfill import backfill
from tasks.constrain import constrain
from tasks.dual_write import dual_write
from tasks.expand import expand
from tasks.index import index
from tasks.migration import open_migration
from tasks.model.status import Report
from tasks.preflight import preflight
from tasks.report import report
from tasks.snapshot import snapshot
from tasks.soak import soak
from tasks.swap import swap
from tasks.validate import validate
from validations import gates


@flow(name="widen-ids", flow_run_name="{migration} on {profile}")
def widen_ids(migration: str, profile: str = "local") -> Report:
    """Widen integer keys before they run out: no person is asked, because every reader can read a bigint."""
    with open_migration(migration, profile) as m:
        preflight(m)
        snapshot(m)
        expand(m)
        dual_write(m)
        backfill(m)
        index(m)
        validate(m, gates.before_swap(m.plan))
        constrain(m)
        swap(m)
        validate(m, gates.after_swap(m.plan))
        soak(m)
    return report(m)


if __name__ == "__main__":
    print(widen_ids("examples/widen_ids.yaml").state)
