"""Approve: say, from the Prefect UI, that the applications are ready for the switch."""

from typing import Literal

from prefect import flow

from tasks.approve import decide


@flow(name="approve", flow_run_name="{approver}: {decision} {migration}")
def approve(
    migration: str,
    approver: str,
    decision: Literal["reject", "approve"] = "reject",
    reason: str = "",
    profile: str = "local",
    database: str = "main",
) -> None:
    """Record what a person decides about the present plan of a migration.

    Args:
        migration: Name of the migration in the ledger.
        approver: Who decides: neither the author of the migration nor whoever runs it.
        decision: What they decide. Nothing is approved by leaving this as it is.
        reason: Why.
        profile: Name or path of the profile.
        database: Name of the database in the profile.
    """
    decide(migration, approver, decision, reason, profile=profile, database=database)
