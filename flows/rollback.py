"""Rollback: back to the old shape, from the ledger alone, until `contract` has begun."""

from tasks.migration import reopen_migration
from tasks.model.status import MigrationState, Report
from tasks.report import report
from tasks.rollback import rollback as undo
from tasks.strategy import strategy


@strategy("rollback", "roll back {migration} on {profile}")
def rollback(migration: str, profile: str = "local", database: str = "main", accept_loss: bool = False) -> Report:
    """Undo a migration: catalogue and data as before, with what applications wrote since.

    Args:
        migration: Name of the migration in the ledger.
        profile: Name or path of the profile it was run with.
        database: Name of the database in the profile.
        accept_loss: Go on even if some writes cannot be expressed in the old shape.
    """
    allowed = tuple(s for s in MigrationState if s not in _TOO_LATE)
    with reopen_migration(migration, profile, database=database, allowed=allowed) as m:
        undo(m, accept_loss)
    return report(m)


_TOO_LATE = (MigrationState.CONTRACTING, MigrationState.CONTRACTED, MigrationState.ROLLED_BACK)
