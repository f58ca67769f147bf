"""Which expression fills which column, in both directions."""

from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.steps import Assignment


def forth(change: Change, new: Table) -> tuple[Assignment, ...]:
    """Return what fills the new table from the old one. Raises SpecError at the place of an expression."""
    found = []
    before = {name: old for old, name in change.renamed.items()}
    for column in new.columns:
        if column.generated is not None or (column.name in change.added and column.name not in change.ups):
            continue
        own = before.get(column.name, column.name)
        expression, where = change.ups.get(column.name) or _plain(change, own, column.name, there=True)
        found.append(Assignment(column=column.name, type=column.type, expression=expression))
        _check(change, found[-1], where, there=True)
    return tuple(found)


def back(change: Change) -> tuple[Assignment, ...]:
    """Return what fills the old table from the new one; a dropped column without `down` is filled by its default."""
    found = []
    for column in change.table.columns:
        if column.generated is not None or (column.name in change.dropped and column.name not in change.downs):
            continue
        other = change.renamed.get(column.name, column.name)
        expression, where = change.downs.get(column.name) or _plain(change, other, column.name, there=False)
        found.append(Assignment(column=column.name, type=column.type, expression=expression))
        _check(change, found[-1], where, there=False)
    return tuple(found)


def _ends(change: Change, *, there: bool) -> tuple[str, str]:
    # Twins both of them: even to explain an INSERT into the table itself would lock it as a writer does.
    old = change.rehearsal.old
    return (old, change.twin) if there else (change.twin, old)


def _plain(change: Change, source_name: str, name: str, *, there: bool) -> tuple[str, str]:
    """The value itself, by assignment, which refuses what does not fit; a cast only where nothing else exists."""
    source, target = _ends(change, there=there)
    where = change.altered.get(name, change.table.full_name)
    try:
        change.rehearsal.assigns(source, target, name, quote(source_name), where)
    except SpecError:
        type_name = next(
            row[0]
            for row in change.rehearsal.conn.execute(
                "select format_type(atttypid, atttypmod) from pg_catalog.pg_attribute"
                " where attrelid = %s::regclass and attname = %s",
                (target, name),
            )
        )
        return f"{quote(source_name)}::{type_name}", where
    return quote(source_name), where


def _check(change: Change, one: Assignment, where: str, *, there: bool) -> None:
    source, target = _ends(change, there=there)
    read = change.rehearsal.reads(source, one.expression, where)
    change.rehearsal.assigns(source, target, one.column, one.expression, where)
    if read.moment or change.rehearsal.is_volatile(source, one.expression):
        raise SpecError(
            f"two evaluations of the expression of {one.column} can differ: table and shadow could not be compared",
            where=where,
            hint="Write an expression that depends on the row alone; what new rows get belongs into `default`.",
        )
