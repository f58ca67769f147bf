"""What is planned of a copy into another database, whichever databases these are: steps, accounts, findings."""

from collections.abc import Iterable, Iterator

from tasks.engines.transfer_findings import FIELD_POLICIES
from tasks.model.base import Record
from tasks.model.plan import Finding, Requirement
from tasks.model.steps import Phase, Step
from tasks.model.transfer_steps import DocumentTransfer, Transfer, TransferField


class Taken(Record):
    """What takes a copy, in words of its database."""

    kind: str
    """A table, or a collection."""
    there: str
    """Its name, and where it is."""
    put: str
    """What is done with it by the swap."""
    undo: str
    """What is done with it by the way back."""


def steps(
    full: str,
    action: Transfer,
    what: str,
    taken: Taken,
    *,
    captured: Iterable[Step] = (),
    released: Iterable[Step] = (),
) -> Iterator[Step]:
    """Yield what is done from making it until the swap; `what` is copied, rows or documents.

    A capture has steps of its own: `captured` before the copy, `released` after the swap.
    """
    into = action.into
    yield Step(
        key=f"expand/{full}/{taken.kind}",
        phase=Phase.EXPAND,
        title=f"make the {taken.kind} that becomes {taken.there}",
        undo="drop it",
        action=into,
    )
    yield from captured
    yield Step(
        key=f"backfill/{full}/copy",
        phase=Phase.BACKFILL,
        title=f"copy the {what} of {full}",
        undo=f"nothing: the copy goes with its {taken.kind}",
        action=action,
    )
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title=f"{taken.put}: {taken.there}" + (", with the last writes in it" if action.notes else ""),
        undo=taken.undo,
        action=into.model_copy(update={"does": "put"}),
    )
    yield from released


def into_collection(
    full: str, action: DocumentTransfer, *, captured: Iterable[Step] = (), released: Iterable[Step] = ()
) -> Iterator[Step]:
    """Yield these for a collection of MongoDB; tables of the copy are made before, and dropped after them."""
    taken = Taken(
        kind="collection",
        there=f"{action.into.name} in {action.into.database}",
        put="give the collection its name",
        undo="take the name away again",
    )
    yield from steps(full, action, "rows", taken, captured=captured, released=released)


def accounted(full: str, violations: str) -> Iterator[Requirement]:
    """Yield that no row has got lost; `violations` asks the account."""
    for gate in ("before_swap", "after_swap"):
        yield Requirement.model_validate(
            {
                "name": "rows read = rows written + rows rejected",
                "table": full,
                "kind": "parity",
                "gate": gate,
                "violations": violations,
            }
        )


def misfits(full: str, named: Iterable[tuple[str, TransferField]]) -> Iterator[Finding]:
    """Yield what becomes of values that do not fit, where something is said of that."""
    for name, field in named:
        if field.unfit != "fail":
            what = "a document that becomes too large" if field.rows is not None else "a value that does not fit"
            yield Finding(
                rule="XDB-02", severity="note", message=f"{name}: {what}: {FIELD_POLICIES[field.unfit]}", where=full
            )
