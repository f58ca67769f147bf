"""What a plan says of writes to the source of a copy, on every engine in the same words."""

from collections.abc import Iterable, Iterator
from typing import Final

from tasks.model.catalogue import Table
from tasks.model.plan import Finding
from tasks.model.transfer_steps import RowTransfer

FIELD_POLICIES: Final = {
    "reject": "its row is left out, and noted with the reason",
    "string": "becomes the text that the source has for it",
    "tag": "becomes a document with its type and its text",
}
"""What becomes of a value that does not fit into a field of a document."""


def not_captured(full: str, what: str, *, instead: str = "") -> Finding:
    """Say that nobody may write; `what` is compared, rows or documents, and `instead` can be done otherwise."""
    return Finding(
        rule="XDB-01",
        severity="warning",
        message=f"{full} must not be written from the beginning of the copy to the swap: changes are not carried over",
        where=full,
        hint=f"Stop its writers first, and keep them away{instead}. The gate before the swap finds what was written"
        f" until it compared those {what}; what is written after that is not found.",
    )


def noted(full: str, notes: str) -> Finding:
    """Say that writes are noted, and where."""
    return Finding(
        rule="XDB-03",
        severity="note",
        message=f"every write to {full} also notes the key of the row, until contract or rollback; the notes, in"
        f" {notes}, grow while no run carries them",
        where=full,
    )


def policies(full: str, action: RowTransfer) -> Iterator[Finding]:
    """Say what becomes of values that do not fit, where the spec says so."""
    for one in action.columns:
        if one.unfit != "fail":
            done = "its row is left out, and noted with the reason" if one.unfit == "reject" else "becomes NULL"
            yield Finding(
                rule="XDB-02", severity="note", message=f"{one.name}: a value that does not fit: {done}", where=full
            )


def left_behind(table: Table, action: RowTransfer, without_default: Iterable[str], nor: str) -> Finding:
    """Say what of a table the new one does not get; `nor` is what none ever does."""
    left = [f"the index {index.name}" for index in table.indexes if not index.primary]
    left += [f"the {one.kind} constraint {one.name}" for one in table.constraints if one.kind != "primary key"]
    left += [f"the trigger {one.name}" for one in table.triggers]
    left += [f"the default of {column}" for column in without_default]
    told = f"{', '.join(left)}; nor {nor}" if left else nor
    return Finding(
        rule="XDB-05",
        severity="warning" if left else "note",
        message=f"{action.into.full_name} does not get {told}",
        where=table.full_name,
        hint="Make and grant on the new table, after the swap, what the application needs there.",
    )


def streamed(full: str) -> Finding:
    """Say that writes are read from the change stream, and what has to be there for it."""
    return Finding(
        rule="XDB-12",
        severity="note",
        message=f"writes to {full} are read from its change stream: the oplog has to hold what was written since a run"
        " last looked: it does not while it carries what is noted, or waits for approval. From the swap on nothing is"
        " carried, and nobody is kept from writing: contract refuses while somebody has written since",
        where=full,
        hint="Let the oplog hold as much as the longest of these and of pauses: replSetResizeOplog, minRetentionHours.",
    )


def oplog_reaches(where: str, hours: float) -> Finding:
    """Say for how long a run may be away."""
    return Finding(
        rule="XDB-13",
        severity="note",
        message=f"the oplog reaches back {hours:,.1f} hours: a run that is away for longer has to load again",
        where=where,
    )
