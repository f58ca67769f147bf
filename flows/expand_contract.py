"""Expand-contract: the new shape grows beside the old one, and takes its place when everything is proven."""

from tasks.approve import approve
from tasks.backfill import backfill
from tasks.constrain import constrain
from tasks.dual_write import dual_write
from tasks.expand import expand
from tasks.follow_documents import following
from tasks.index import index
from tasks.migration import open_migration
from tasks.model.status import Report
from tasks.preflight import preflight
from tasks.report import report
from tasks.snapshot import snapshot
from tasks.soak import soak
from tasks.strategy import strategy
from tasks.swap import swap
from tasks.validate import validate
from validations import gates


@strategy("expand-contract", "{migration} on {profile}")
def expand_contract(migration: str, profile: str = "local", database: str = "main") -> Report:
    """Change the shape of live tables without their applications noticing.

    Args:
        migration: Path of the spec (YAML or JSON), pgroll: and that of a file of pgroll, or the name of a migration
            to go on with.
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
            changes.catch_up()
            validate(m, gates.before_swap(m.plan))
            approve(m)
            constrain(m)
            swap(m)
            validate(m, gates.after_swap(m.plan))
            soak(m, changes.require)
    return report(m)
