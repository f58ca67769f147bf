"""What to say when somebody else has changed the tables of a plan."""

from tasks.model.catalogue import Catalogue
from tasks.model.catalogue_difference import compare
from tasks.model.errors import DataChanged, DriftError
from tasks.model.plan import Plan


def refuse_difference(plan: Plan, now: Catalogue, changed: DataChanged) -> None:
    """Raise DriftError, with what differs, when the tables are not what the plan was made for."""
    differences = compare(plan.catalogue, now)
    if differences:
        raise DriftError(
            "the catalogue has changed since the plan was made: " + "; ".join(differences[:10]),
            where=", ".join(plan.tables),
            hint="Undo that change, or roll back and plan again."
            if changed is DataChanged.PARTIALLY
            else "Plan again, look at the new plan, and run that.",
            changed=changed,
        )
