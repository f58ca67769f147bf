"""A flow of one's own that prepares by night and leaves the swap to people by day.

Schedule it every night, with a window in the profile: it stops at a batch boundary when the window closes and
goes on the next night. Once everything is filled it proves the new shape again each night, and no more. The swap
is `changeover run`, with the profile and the approvals of the day.
"""

from prefect import flow

from tasks.backfill import backfill
from tasks.dual_write import dual_write
from tasks.expand import expand
from tasks.index import index
from tasks.migration import open_migration
from tasks.model.errors import Paused
from tasks.model.status import Report
from tasks.preflight import preflight
from tasks.report import report
from tasks.snapshot import snapshot
from tasks.validate import validate
from validations import gates


@flow(name="nightly-backfill", flow_run_name="prepare {migration} on {profile}")
def nightly_backfill(migration: str, profile: str = "local") -> Report:
    """Grow the new shape and fill it, as far as the night allows."""
    try:
        with open_migration(migration, profile) as m:
            preflight(m)
            snapshot(m)
            expand(m)
            dual_write(m)
            backfill(m)
            index(m)
            validate(m, gates.before_swap(m.plan))
    except Paused as morning:
        print(f"goes on tomorrow: {morning.what}")
    return report(m)


if __name__ == "__main__":
    print(nightly_backfill("examples/price_with_tax.yaml").state)
