"""Cross-database: a table or a collection in another database, copied, proven, and put in place."""

from tasks.approve import approve
from tasks.dual_write import dual_write
from tasks.expand import expand
from tasks.migration import open_migration
from tasks.model.status import Report
from tasks.preflight import preflight
from tasks.report import report
from tasks.soak import soak
from tasks.strategy import strategy
from tasks.swap import swap
from tasks.transfer import follow, keeping_up, require_room, transfer
from tasks.validate import validate
from validations.transfer import of_rows, transferred


@strategy("cross-database", "{migration} on {profile}")
def cross_database(migration: str, profile: str = "local", database: str = "main") -> Report:
    """Copy rows or documents into another database; with `capture`, where it knows how, under writes.

    Args:
        migration: Path of the spec (YAML or JSON), or the name of a migration to go on with.
        profile: Name or path of the profile: which databases, under which limits.
        database: Name of the source in the profile, where `migration` is a name; a spec names its own.
    """
    with open_migration(migration, profile, database=database) as m:
        preflight(m)
        require_room(m)
        expand(m)
        dual_write(m)
        transfer(m)
        follow(m)
        approve(m)
        follow(m)
        validate(m, transferred("before_swap", m.plan, m.profile))
        swap(m, of_rows("before_swap", m.plan, m.profile), keeping_up(m))
        validate(m, transferred("after_swap", m.plan, m.profile))
        soak(m, keeping_up(m, late=True))
    return report(m)
