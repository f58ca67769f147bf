"""What becomes of every column: said by the spec, and never guessed."""

from tasks.engines.mysql.planning.change import AFTERWARDS, NO_FOREIGN_KEYS, Change
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError


def account_for(change: Change, new: Table) -> None:
    """Find a source for each column of the new table, and a place for each of the old one.

    Raises SpecError for whatever the spec does not say.
    """
    where = f"the new shape of {change.table.full_name}"
    # Names that differ only in case are the same to the server.
    places = {column.name.lower(): column.name for column in new.columns}
    for column in change.table.columns:
        place = places.get(change.renamed.get(column.name, column.name).lower())
        if place is None and column.name not in change.dropped:
            raise SpecError(
                f"nothing says what becomes of {column.name!r}",
                where=where,
                hint="Name it in `renamed` or in `dropped`, or let the new table have it.",
            )
        if place is not None and column.name in change.dropped:
            raise SpecError(
                f"{place!r} is still there",
                where=where,
                hint="Take it out of the new shape, or out of `dropped`.",
            )
        if place is None:
            _has_a_way_back(change, column, where)
        elif place != column.name:
            change.renamed[column.name] = place
    for name in change.up:
        if name not in places.values() and change.table.column(name) is None:
            raise SpecError(f"there is no column {name!r}", where=where, hint="Correct the name in `up`.")
    _new_columns(change, new, where)
    _new_unique_keys(change, new)
    if any(constraint.kind == "foreign key" for constraint in new.constraints):
        raise SpecError(NO_FOREIGN_KEYS, where=where, hint=AFTERWARDS)
    if "type=BASE TABLE" not in new.options:
        raise SpecError(
            "the new table is no plain table", where=where, hint="Do that by ALTER TABLE after the migration."
        )
    if "engine=InnoDB" not in new.options:
        raise SpecError("only InnoDB knows transactions", where=where, hint="Write `engine=InnoDB`, or no engine.")


def _has_a_way_back(change: Change, column: Column, where: str) -> None:
    if column.name not in change.down and not column.nullable and column.default is None and not column.generated:
        raise SpecError(
            f"rows that are written after the swap would have no value for {column.name!r} on the way back",
            where=where,
            hint="Give `down`.",
        )


def _new_columns(change: Change, new: Table, where: str) -> None:
    kept = {change.renamed.get(c.name, c.name) for c in change.table.columns if c.name not in change.dropped}
    for column in new.columns:
        if column.name in kept:
            continue
        change.added.add(column.name)
        if not (column.name in change.up or column.nullable or column.default or column.generated or column.identity):
            raise SpecError(
                f"rows that are there have no value for {column.name!r}",
                where=where,
                hint="Give `up`, or let it have a default, or be NULL.",
            )


def _new_unique_keys(change: Change, new: Table) -> None:
    """Remember which keys no key of the old table vouches for, so that duplicates are sought beforehand."""
    back = {place: name for name, place in change.renamed.items()}
    vouched = [set(index.columns) for index in change.table.indexes if index.unique]
    for index in new.indexes:
        columns = tuple(back.get(name, name) for name in index.columns)
        if index.unique and not any(of <= set(columns) for of in vouched):
            change.unique.append((index.name, columns))
