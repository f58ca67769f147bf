"""What is said of rows that a table and its shadow have otherwise, on any engine."""

from typing import Final

from profiles.model import Limits
from tasks.model.errors import DataChanged, StepError

TIMES: Final = 3
"""As often is a range compared and carried over before its rows count as different."""


def refuse_unless_repaired(table: str, rows: int, limits: Limits) -> None:
    """Raise StepError for rows that differ, where the profile does not let them be carried over once more."""
    if limits.differences == "refuse":
        raise StepError(
            f"{rows} rows of {table} and of its shadow differ",
            where=table,
            hint="Look whether something else writes to the shadow, or whether its triggers were away; then run again"
            ' with `differences = "repair"` in the limits of the profile, or roll back.',
            changed=DataChanged.PARTIALLY,
        )


def unequal(table: str, rows: int, why: str = "") -> StepError:
    """Return the error for rows that still differ after they were carried over."""
    return StepError(
        f"{rows} rows of {table} and of its shadow differ, and do not become equal{why}",
        where=table,
        hint="Look which values the new shape makes others, and whether something else writes to the shadow; then run"
        " again, or roll back.",
        changed=DataChanged.PARTIALLY,
    )
