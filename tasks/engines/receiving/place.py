"""Where the table is that takes rows, and what is wrong with its place, on every engine in the same words."""

from collections.abc import Iterable
from typing import Protocol

from tasks.model.errors import DataChanged, FencedError, StateError, StepError
from tasks.model.transfer_steps import Relation, RowTransfer


class Placed(Protocol):
    """Where our table is now."""

    @property
    def withdrawn(self) -> bool:
        """A rollback has taken it away, and not yet looked for what would be lost."""

    def is_put(self, action: Relation) -> bool:
        """Tell whether it is where it belongs."""


def gone(action: Relation) -> StepError:
    """Say that nothing is left of what was copied."""
    return StepError(
        "the table that rows were copied into is gone",
        where=_where(action),
        hint="Roll back, then run again: it copies everything anew.",
        changed=DataChanged.PARTIALLY,
    )


def built_on(name: str, built: Iterable[str]) -> StateError:
    """Say that the table cannot be dropped: others depend on it."""
    return StateError(
        f"a rollback drops the table {name}, and others depend on it: {'; '.join(built)}",
        where=name,
        hint="Drop those objects, then roll back.",
    )


def overtaken(action: Relation) -> FencedError:
    """Say that another run has taken over."""
    return FencedError(
        "a newer run writes to this table",
        where=_where(action),
        hint="Let the newer run finish; what this one was about to write is rolled back.",
        changed=DataChanged.ROLLED_BACK,
    )


def taken(what: str, action: Relation) -> StepError:
    """Say that the name is no longer free."""
    return StepError(
        f"{what} by now",
        where=_where(action),
        hint="Rename that, then run again; or roll back.",
        changed=DataChanged.PARTIALLY,
    )


def no_position(action: RowTransfer) -> StepError:
    """Say that nobody knows any more how far the stream of changes was read."""
    return StepError(
        f"{action.into.stream} is empty: it says how far the stream of changes was read",
        where=action.table,
        hint="Roll back, then run again: it copies everything anew.",
        changed=DataChanged.PARTIALLY,
    )


def _where(action: Relation) -> str:
    return f"{action.database}: {action.full_name}"
