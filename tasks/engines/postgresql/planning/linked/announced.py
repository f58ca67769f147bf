"""What a plan says of two tables that are kept in step, and of indexes and publications of what goes to another one."""

from collections.abc import Collection, Iterator

from tasks.model.catalogue import Table
from tasks.model.plan import Finding


def in_step(what: str, where: str) -> Finding:
    """Say when two places agree."""
    return Finding(
        rule="LNK-01",
        severity="note",
        message=f"{what} are in step when a transaction commits, not before; rows that somebody else has locked at that"
        " moment follow with the next commit",
        where=where,
    )


def lost_indexes(table: Table, columns: Collection[str], where: str, hint: str = "") -> Iterator[Finding]:
    """Name the indexes that go with columns."""
    lost = [index.name for index in table.indexes if {*columns} & {*index.referenced}]
    if lost:
        yield Finding(
            rule="SAF-02",
            severity="warning",
            message=f"index {', '.join(lost)} disappears with its column when the migration is contracted",
            where=where,
            hint=hint,
        )


def unpublished(table: Table, new: str, where: str) -> Iterator[Finding]:
    """Name the publications that send the table, and will not send the new one."""
    published = [one.name for one in table.dependents if one.kind == "publication"]
    if published:
        yield Finding(
            rule="LNK-06",
            severity="warning",
            message=f"{new} is in none of the publications {', '.join(published)} that name {table.full_name}",
            where=where,
            hint="Add it after the swap, once the subscribers have the table.",
        )
