"""What is planned of a copy that comes into a collection of MongoDB, whichever database its rows are from."""

from collections.abc import Iterable, Iterator

from tasks.engines.transfer_findings import FIELD_POLICIES
from tasks.model.plan import Finding, Requirement
from tasks.model.steps import Phase, Step
from tasks.model.transfer_steps import DocumentTransfer, TransferField


def steps(
    full: str, action: DocumentTransfer, *, captured: Iterable[Step] = (), released: Iterable[Step] = ()
) -> Iterator[Step]:
    """Yield what is done with the collection, in order; `captured` is done before the copy, `released` after the swap.

    Tables of the copy are made before, and dropped after these.
    """
    into = action.into
    there = f"{into.name} in {into.database}"
    yield Step(
        key=f"expand/{full}/collection",
        phase=Phase.EXPAND,
        title=f"make the collection that becomes {there}",
        undo="drop it",
        action=into,
    )
    yield from captured
    yield Step(
        key=f"backfill/{full}/copy",
        phase=Phase.BACKFILL,
        title=f"copy the rows of {full}",
        undo="nothing: the copy goes with its collection",
        action=action,
    )
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title=f"give the collection its name: {there}" + (", with the last writes in it" if action.notes else ""),
        undo="take the name away again",
        action=into.model_copy(update={"does": "put"}),
    )
    yield from released


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
