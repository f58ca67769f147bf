"""What a plan says of writes to the source of a copy, on every engine in the same words."""

from tasks.model.plan import Finding


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
