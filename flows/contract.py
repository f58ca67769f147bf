"""Contract: drop the old shape, hours or weeks later, from the ledger alone."""

from tasks.contract import contract as drop_old_shape
from tasks.contract import dump
from tasks.follow_documents import following
from tasks.migration import reopen_migration
from tasks.model.status import MigrationState, Report
from tasks.report import report
from tasks.strategy import strategy
from tasks.validate import validate
from validations import gates
from validations.transfer import before_contract


@strategy("contract", "contract {migration} on {profile}")
def contract(migration: str, profile: str = "local", database: str = "main") -> Report:
    """Destroy the old shape of a complete migration. There is no way back.

    Args:
        migration: Name of the migration in the ledger.
        profile: Name or path of the profile it was run with.
        database: Name of the database in the profile.
    """
    allowed = (MigrationState.COMPLETE, MigrationState.CONTRACTING)
    with reopen_migration(migration, profile, database=database, allowed=allowed) as m:
        if not m.begun:
            with following(m, contracting=True) as changes:
                changes.catch_up()
                validate(m, before_contract(m.plan, m.profile))
            for gate in gates.bound("before_contract", m.plan):
                validate(m, gate)
            dump(m)
        drop_old_shape(m)
    return report(m)
