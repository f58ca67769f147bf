"""Baseline: show the present shape of a schema under a version's name, before the first change of it."""

import re

from tasks.contract import contract as finish
from tasks.index import index
from tasks.migration import open_migration, reopen_migration
from tasks.model.spec import MigrationSpec
from tasks.model.status import MigrationState, Report
from tasks.preflight import preflight
from tasks.report import report
from tasks.strategy import strategy
from tasks.swap import swap
from tasks.validate import validate
from validations import gates


@strategy("baseline", "baseline {version} on {profile}")
def baseline(version: str, profile: str = "local", database: str = "main") -> Report:
    """Make a schema of views that shows every table as it is. No table is changed, and none is locked.

    Args:
        version: Name of the version; applications put `<schema>_<version>` before the schema in their search_path.
        profile: Name or path of the profile: which database, under which limits.
        database: Name of the database in the profile.
    """
    name = "baseline-" + re.sub(r"[^a-z0-9_-]", "-", version.lower())[:54]
    spec = MigrationSpec(migration=name, database=database, operations=(), version_schema=version)
    with open_migration(spec, profile) as m:
        preflight(m)
        index(m)
        validate(m, gates.before_swap(m.plan))
        swap(m)
        validate(m, gates.after_swap(m.plan))
    allowed = (MigrationState.COMPLETE, MigrationState.CONTRACTING)
    with reopen_migration(name, profile, database=database, allowed=allowed) as m:
        # There is no version before it that anybody could go back to.
        finish(m)
    return report(m)
