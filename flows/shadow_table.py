"""Shadow table: a new table or collection is filled beside the old one, proven, and put in its place in one moment."""

from tasks.approve import approve
from tasks.backfill import backfill
from tasks.constrain import constrain
from tasks.dual_write import dual_write
from tasks.expand import expand
from tasks.follow_documents import following
from tasks.hold import hold
from tasks.index import index
from tasks.migration import open_migration
from tasks.model.status import Report
from tasks.preflight import preflight
from tasks.reconcile import reconcile
from tasks.report import report
from tasks.snapshot import snapshot
from tasks.soak import soak
from tasks.strategy import strategy
from tasks.swap import swap
from tasks.validate import validate
from validations import gates


@strategy("shadow-table", "{migration} on {profile}")
def shadow_table(migration: str, profile: str = "local", database: str = "main") -> Report:
    """Make a table, or a collection, anew, where it cannot be changed in place, without its applications noticing.

    Args:
        migration: Path of the spec (YAML or JSON), or the name of a migration to go on with.
        profile: Name or path of the profile: which database, under which limits.
        database: Name of the database in the profile, where `migration` is a name; a spec names its own.
    """
    gates.import_early()
    with open_migration(migration, profile, database=database) as m:
        preflight(m)
        for gate in gates.bound("before_run", m.plan):
            validate(m, gate)
        snapshot(m)
        expand(m)
        dual_write(m)
        with following(m) as changes:
            backfill(m)
            index(m)
            reconcile(m)
            changes.catch_up()
            validate(m, gates.before_swap(m.plan))
            approve(m)
            constrain(m)
            hold(m)
            swap(m)
            changes.catch_up()
            validate(m, gates.after_swap(m.plan))
            soak(m, changes.require)
    return report(m)
