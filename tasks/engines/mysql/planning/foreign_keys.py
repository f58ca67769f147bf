"""The foreign keys of a table, on its shadow: there before the first row is copied.

What a parent does to its children, ON DELETE CASCADE for one, fires no trigger. So the shadow has the same keys, and
the server does the same to both tables, within the application's own statement. They are added while it is empty,
without checks: then no lock on the parent is asked for.

The copy lets the server ask for the parent of a row: whoever deletes it holds it, and goes for its children next. The
triggers do not, because an application that deletes a child, and changes the parent, would wait for another one that
does. What a parent does between such a write and its commit may miss the row in the shadow: the comparison finds that.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.engines.mysql.names import own, quote, quoted
from tasks.engines.mysql.planning.change import Change
from tasks.model.catalogue import Column, Constraint, Table
from tasks.model.errors import SpecError
from tasks.model.plan import Lock, LockMode, Phase, Requirement, SelfCommitting, Step

_AT_ONCE = ", algorithm=instant, lock=none"
_NUMBERED = re.compile(r"_ibfk_([0-9]+)$")
_CHANGES_CHILDREN = ("on update cascade", "on update set", "on delete set")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A foreign key of the table, and what it is called on the shadow until the table is dropped."""

    name: str
    on_shadow: str
    on_old: str
    """After the swap."""
    clause: str
    """What follows its name."""
    columns: str
    parent: str
    index: str
    """Of the shadow, if it may be one that the server has made for the key; or empty."""
    orphans: str
    """A condition for rows whose parent is not there: written without checks, once."""
    numbered: bool
    """The server has made the name, and changes it with that of the table. Others no two tables of a database share."""


def kept(table: Table, change: Change, new: Table, tag: str, number: int) -> tuple[Kept, ...]:
    """Return the foreign keys that the shadow gets. Raises SpecError for one that it could not have as it is."""
    found = [c for c in table.constraints if c.kind == "foreign key"]
    return tuple(_kept(table, change, new, tag, number, order, key) for order, key in enumerate(found))


def _kept(table: Table, change: Change, new: Table, tag: str, number: int, order: int, key: Constraint) -> Kept:
    _refuse_others(table, change, new, key)
    columns = [change.renamed.get(name, name) for name in key.columns]
    parent = ".".join(map(quote, str(key.referenced_table).split(".")))
    here = ", ".join(map(quote, columns))
    there = ", ".join(map(quote, key.referenced_columns))
    numbered = _NUMBERED.search(key.name) if key.name.startswith(table.name) else None
    shadow, old = own(tag, number, "new"), own(tag, number, "old")
    return Kept(
        name=key.name,
        # Such a name is changed with that of its table, and so it is right after the swap.
        on_shadow=f"{shadow}{numbered[0]}" if numbered else own(tag, number, f"fk{order}"),
        on_old=f"{old}{numbered[0]}" if numbered else key.name,
        numbered=numbered is not None,
        index=next(
            (i.name for i in new.indexes if i.definition == f"BTREE ({', '.join(columns)})" and not i.unique), ""
        ),
        columns=here,
        orphans=_orphans(table, key, parent),
        clause=f"foreign key ({here}) references {parent} ({there}) {key.definition.lower()}",
        parent=str(key.referenced_table),
    )


def _orphans(table: Table, key: Constraint, parent: str) -> str:
    own = [f"{quote(table.name)}.{quote(name)}" for name in key.columns]
    there = " and ".join(f"p.{quote(c)} = {o}" for c, o in zip(key.referenced_columns, own, strict=True))
    given = " and ".join(f"{one} is not null" for one in own)
    return f"{given} and not exists (select 1 from {parent} as p where {there})"


def requirements(table: Table, key: Sequence[str], keys: Sequence[Kept]) -> Iterator[Requirement]:
    """Ask for rows without a parent before anything is done: the shadow would not take them."""
    old, columns = quote(table.name), ", ".join(map(quote, key))
    for one in keys:
        query = f"select {columns} from {old} where {one.orphans}"
        yield Requirement(
            name=f"every row of {table.full_name} has the parent that {one.name} names",
            table=table.full_name,
            kind="references",
            violations=query,
            rows=query,
            fix=f"select * from {old} where {one.orphans}",
            gate="before_run",
        )


def _refuse_others(table: Table, change: Change, new: Table, key: Constraint) -> None:
    """Refuse what would not be the same key, or would not do the same to both tables."""
    for name in key.columns:
        was, now = table.column(name), new.column(change.renamed.get(name, name))
        if (
            was is None
            or now is None
            or name in change.dropped
            or not _alike(was, now)
            or name in {*change.up, *change.down}
        ):
            raise SpecError(
                f"{name!r} belongs to the foreign key {key.name}, and would not be the same column",
                where=table.full_name,
                hint="Drop the foreign key for the migration, and add it again afterwards.",
            )
    made = any(column.generated for column in new.columns if column.name in change.added)
    if (change.up or change.down or made) and any(what in key.definition.lower() for what in _CHANGES_CHILDREN):
        raise SpecError(
            f"the foreign key {key.name} changes rows without a trigger ({key.definition.lower()}), and what `up` or"
            " `down` makes of them would stay as it was",
            where=table.full_name,
            hint="Drop the foreign key for the migration, and add it again afterwards; or leave up and down out.",
        )
    if not indexed(new, [change.renamed.get(name, name) for name in key.columns]):
        raise SpecError(
            f"no index is left for the foreign key {key.name}",
            where=table.full_name,
            hint=f"Keep an index that begins with {', '.join(key.columns)}.",
        )


def _alike(was: Column, now: Column) -> bool:
    kinds = (was.type, was.collation, was.nullable, was.generated)
    return kinds == (now.type, now.collation, now.nullable, now.generated)


def indexed(table: Table, columns: Sequence[str]) -> bool:
    """Tell whether an index begins with these columns, whole: not of the first letters only, nor of words."""
    return any(f"{i.definition[:-1]}, ".startswith(f"BTREE ({', '.join(columns)}, ") for i in table.indexes)


def add(full: str, shadow: str, keys: Sequence[Kept]) -> Iterator[Step]:
    """Yield what gives the shadow its foreign keys, all of them or none."""
    if not keys:
        return
    clauses = ", ".join(f"add constraint {quote(key.on_shadow)} {key.clause}" for key in keys)
    names = ", ".join(quoted(key.on_shadow) for key in keys)
    # An index that the server has made for the key would be called after it from then on; one that we have made stays.
    indexes = {key.index: key.columns for key in keys if key.index}
    ours = ", ".join(f"drop index {quote(i)}, add index {quote(i)} ({columns})" for i, columns in indexes.items())
    yield Step(
        key=f"expand/{full}/foreign keys",
        phase=Phase.EXPAND,
        title=f"give the new table the foreign keys of {full}",
        undo="drop them from the new table",
        action=SelfCommitting(
            table=full,
            forward=(
                "set foreign_key_checks = 0",
                *([f"alter table {quote(shadow)} {ours}"] if ours else []),
                f"alter table {quote(shadow)} {clauses}{_AT_ONCE}",
            ),
            inverse=(drop(shadow, [key.on_shadow for key in keys]),),
            done=f"{_named(shadow, names)} having count(*) = {len(keys)}",
        ),
    )


def drop(table: str, names: Sequence[str]) -> str:
    """Return what drops foreign keys; before their table is dropped, which would lock the parents otherwise."""
    gone = ", ".join(f"drop foreign key if exists {quote(name)}" for name in names)
    return f"alter table if exists {quote(table)} {gone}{_AT_ONCE}"


def call_as_before(full: str, table: str, keys: Sequence[Kept]) -> Iterator[Step]:
    """Yield what gives foreign keys their names back, once the old table, which has them, is gone."""
    changed = [key for key in keys if not key.numbered]
    if not changed:
        return
    clauses = [f"drop foreign key {quote(key.on_shadow)}" for key in changed]
    clauses += [f"add constraint {quote(key.name)} {key.clause}" for key in changed]
    names = ", ".join(quoted(key.name) for key in changed)
    yield Step(
        key=f"contract/{full}/foreign keys",
        phase=Phase.CONTRACT,
        title=f"call the foreign keys of {full} as before",
        action=SelfCommitting(
            table=full,
            # In one statement: there is no moment without them, and no row is looked at.
            forward=("set foreign_key_checks = 0", f"alter table {quote(table)} {', '.join(clauses)}{_AT_ONCE}"),
            locks=(Lock(table=full, mode=LockMode.ACCESS_EXCLUSIVE),),
            done=f"{_named(table, names)} having count(*) = {len(changed)}",
        ),
    )


def _named(table: str, names: str) -> str:
    return (
        "select 1 from information_schema.referential_constraints where constraint_schema = database()"
        f" and table_name = {quoted(table)} and constraint_name in ({names})"
    )
