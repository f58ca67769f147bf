"""What to say when somebody else has changed the tables of a plan."""

from tasks.model.catalogue import Catalogue, TypeDefinition
from tasks.model.catalogue_difference import compare, compare_types
from tasks.model.errors import DataChanged, DriftError
from tasks.model.plan import Plan


def refuse_difference(
    plan: Plan, now: Catalogue, changed: DataChanged, *, types: tuple[TypeDefinition, ...] | None = None
) -> None:
    """Raise DriftError, with what differs, when tables and types, if given, are not what the plan was made for."""
    differences = compare(plan.catalogue, now)
    if types is not None:
        # A value that the migration has added to an enum stays when it is rolled back.
        before, after = ([one for one in listed if not one.is_named(plan.own_types)] for listed in (plan.types, types))
        differences += compare_types(before, after)
    if differences:
        raise DriftError(
            "the catalogue has changed since the plan was made: " + "; ".join(differences[:10]),
            where=", ".join(plan.tables),
            hint="Undo that change, or roll back and plan again."
            if changed is DataChanged.PARTIALLY
            else "Plan again, look at the new plan, and run that.",
            changed=changed,
        )
