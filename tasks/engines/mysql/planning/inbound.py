"""Foreign keys of other tables to one that is made anew: they follow the old table, and are led to the new one.

A RENAME takes them along to the old table, where the triggers of the way back make each of their rules hold: it is the
first statement after the swap that leads each to the new table, and the first one after the way back that leads it to
the old one. Both tables have the same rows then, so that rows are not read: a change of the catalogue alone, at once.
Whoever writes to either table holds the other one's children, too, and who inserts children holds them, so that nobody
has looked for parents in one table, and commits when the key is that of the other.

The server does not let one statement drop a foreign key and add one of the same name. So from before the swap until
after it they are called as tables of ours are, and have their names again when they are where they belong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.engines.mysql.inspect import OURS, inspect
from tasks.engines.mysql.names import bare, own, quote, quoted, text_literal
from tasks.engines.mysql.planning.catalogue import exclusive
from tasks.engines.mysql.planning.change import Change
from tasks.engines.mysql.planning.foreign_keys import AT_ONCE, UNCHECKED, own_indexes, rules_of
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Column, InboundForeignKey, Table
from tasks.model.errors import SpecError
from tasks.model.plan import Requirement
from tasks.model.steps import Lock, LockMode, Phase, SelfCommitting, Step

_WITHOUT = "Drop the foreign key for the migration, and add it again afterwards."


@dataclass(frozen=True, kw_only=True)
class Inbound:
    """A foreign key of another table."""

    child: str
    """The full name of that table."""
    name: str
    meanwhile: str
    """How it is called from before the swap until it refers to the new table."""
    columns: tuple[str, ...]
    parent: str
    """The bare name of the table that is made anew."""
    referenced: tuple[str, ...]
    new_referenced: tuple[str, ...]
    rules: str
    indexes: tuple[str, ...]
    """What makes an index that the server may have made for it one of the table's own."""
    referring: tuple[str, ...]
    """The full names of other tables that refer to its own."""

    def add(self, name: str, parent: str, *, new: bool) -> str:
        """Return the clause that makes it."""
        columns, there = (
            ", ".join(map(quote, names)) for names in (self.columns, self.new_referenced if new else self.referenced)
        )
        return f"add constraint {quote(name)} foreign key ({columns}) references {quote(parent)} ({there}){self.rules}"

    def called(self, name: str, *, new: bool) -> tuple[str, ...]:
        """Return what calls it by this name, and leads it to the table that is in use."""
        other = self.name if name == self.meanwhile else self.meanwhile
        return (
            UNCHECKED,
            f"alter table {quote(bare(self.child))} drop foreign key {quote(other)},"
            f" {self.add(name, self.parent, new=new)}{AT_ONCE}",
        )

    def has(self, name: str) -> str:
        """Return a query that gives a row if the child has a foreign key of this name: by its own, one of others."""
        return (
            "select 1 from information_schema.referential_constraints where constraint_schema = database()"
            f" and table_name = {quoted(bare(self.child))} and constraint_name = {quoted(name)}"
        )

    @property
    def at_home(self) -> str:
        """A query that gives a row if it has its own name, and refers to the table that is in use."""
        return (
            f"{self.has(self.name)} and referenced_table_name = {quoted(self.parent)}"
            f" and not exists ({self.has(self.meanwhile)})"
        )


def inbound_of(conn: MariaSession, change: Change, new: Table, tag: str) -> tuple[Inbound, ...]:
    """Return the foreign keys to a table. Raises SpecError for those that cannot be led to the new one."""
    table = change.table
    # The server may keep the letters in which it was told names of columns.
    known = {column.name.lower(): column.name for column in table.columns}
    made = []
    # Those of the table itself, each of both tables has.
    others = (one for one in table.inbound if one.table != table.full_name)
    for number, told in enumerate(others, 1):
        key = told.model_copy(update={"referenced_columns": tuple(known[c.lower()] for c in told.referenced_columns)})
        _refuse(conn, change, new, key)
        child = inspect(conn, [key.table]).tables[0]
        _refuse_far(change, key, child)
        made.append(
            Inbound(
                child=key.table,
                name=key.name,
                meanwhile=own(tag, number, "key"),
                columns=key.columns,
                parent=table.name,
                referenced=key.referenced_columns,
                new_referenced=tuple(change.renamed.get(column, column) for column in key.referenced_columns),
                rules=rules_of(key.definition),
                indexes=tuple(own_indexes(child.name, child, [key.columns])),
                referring=tuple(one.table for one in child.inbound if one.table != table.full_name),
            )
        )
    return tuple(made)


def _refuse(conn: MariaSession, change: Change, new: Table, key: InboundForeignKey) -> None:
    table, child = change.table, bare(key.table)
    primary = next((index.columns for index in table.indexes if index.primary), ())
    changed = [
        name
        for name in (*primary, *key.referenced_columns)
        if _differs(table.column(name), new.column(change.renamed.get(name, name)))
    ]
    for so, what, hint in (
        (not conn.dialect.maria, "that is done on MariaDB alone", _WITHOUT),
        (not key.table.startswith(f"{table.schema_name}."), "it is one of a table in another database", _WITHOUT),
        (
            "." in key.table.removeprefix(f"{table.schema_name}."),
            "that table has a dot in its name, by which it would be taken for another",
            _WITHOUT,
        ),
        (
            child.startswith(OURS),
            "that table is one of another migration",
            "Let that come to its end first: contract it, or roll it back.",
        ),
        (
            bool(new.partition_key),
            "nothing refers to a table that is partitioned",
            "Drop it for good, or leave the table unpartitioned.",
        ),
        (
            bool({*key.referenced_columns} & change.dropped),
            "a column that it refers to is dropped",
            "Drop the foreign key before the migration.",
        ),
        (
            bool({*key.referenced_columns} & {*change.up, *change.down}),
            "`up` or `down` would change the values that it refers to",
            "Leave them as they are: the rows of the other table have them.",
        ),
        (
            bool(changed),
            f"{', '.join(dict.fromkeys(changed))} would get another type: what does not fit on the way back could not"
            " be referred to",
            "Leave types of the primary key, and of what is referred to, as they are. Or drop the foreign key, change"
            " both tables, each by a migration, and add it again.",
        ),
    ):
        if so:
            raise _cannot(table, key, what, hint)


def _refuse_far(change: Change, key: InboundForeignKey, child: Table) -> None:
    """Refuse a child to which tables of other databases refer: the preflight does not ask for a right to lock them."""
    for one in child.inbound:
        if not one.table.startswith(f"{child.schema_name}."):
            what = f"{one.table}, which is in another database, refers to that table by {one.name}"
            raise _cannot(change.table, key, what, _WITHOUT)


def _cannot(table: Table, key: InboundForeignKey, what: str, hint: str) -> SpecError:
    return SpecError(
        f"{table.full_name} cannot be made anew with the foreign key {key.name} of {bare(key.table)}: {what}",
        where=table.full_name,
        hint=hint,
    )


def _differs(was: Column | None, now: Column | None) -> bool:
    return (
        was is not None
        and now is not None
        and (was.type, was.collation, was.generated) != (now.type, now.collation, now.generated)
    )


def try_inbound(keys: Sequence[Inbound], new: Table, tag: str) -> Iterator[tuple[Inbound, list[str]]]:
    """Yield what makes each of them on an empty table, to the new shape, which is empty."""
    child = own(tag, 0, "child")
    for one in keys:
        yield (
            one,
            [
                f"create or replace table {quote(child)} like {quote(bare(one.child))}",
                f"alter table {quote(child)} {one.add(one.meanwhile, new.name, new=True)}",
                f"drop table {quote(child)}",
            ],
        )


def refused(table: Table, key: Inbound) -> SpecError:
    """Say that the server does not let it refer to the new shape."""
    return SpecError(
        f"{table.full_name} cannot be made anew with the foreign key {key.name} of {bare(key.child)}: the server does"
        " not let it refer to the new shape",
        where=table.full_name,
        hint="Leave the table an index that begins with the columns that are referred to, as they are.",
    )


def forget_inbound(tag: str) -> str:
    """Return the statement that drops what was tried."""
    return f"drop table if exists {quote(own(tag, 0, 'child'))}"


def named(table: Table, keys: Sequence[Inbound]) -> Table:
    """Return the table as it is before the swap: the foreign keys to it are called otherwise."""
    names = {(one.child, one.name): one.meanwhile for one in keys}
    inbound = (one.model_copy(update={"name": names.get((one.table, one.name), one.name)}) for one in table.inbound)
    return table.model_copy(update={"inbound": tuple(inbound)})


def ready_to_follow(keys: Sequence[Inbound], new: str, migration: str) -> Iterator[Step]:
    """Yield what gives each the name under which a RENAME may take it along, and the way back its own name."""
    for one in keys:
        child = bare(one.child)
        yield Step(
            key=f"index/{one.child}/foreign key {one.meanwhile}",
            phase=Phase.INDEX,
            title=f"call the foreign key {one.name} of {child} {one.meanwhile} until it refers to the new table",
            undo="give it its name back, and lead it to the table that is in use",
            action=SelfCommitting(
                table=one.child,
                forward=(*one.indexes, *one.called(one.meanwhile, new=False)),
                inverse=one.called(one.name, new=False),
                locks=exclusive(one.child),
                outlasts_prepared=True,
                done=one.has(one.meanwhile),
                gone=f"select 1 from dual where not exists ({one.at_home})",
                # Until then it was the other table that was asked for parents, and it has what this one has refused.
                found_after_inverse=_orphans(one, new, migration),
            ),
        )


def after_swap(keys: Sequence[Inbound], truncated: str) -> Iterator[Step]:
    """Yield what leads each to the new table, by its own name: the RENAME has taken it along to the old one.

    Until then nothing keeps anybody from truncating the new one.
    """
    for one in keys:
        child = bare(one.child)
        yield Step(
            key=f"swap/{one.child}/foreign key {one.meanwhile}",
            phase=Phase.SWAP,
            title=f"lead the foreign key {one.name} of {child} to the new {one.parent}",
            undo=f"call it {one.meanwhile} again, until it refers to the old table",
            action=SelfCommitting(
                table=one.child,
                forward=one.called(one.name, new=True),
                inverse=one.called(one.meanwhile, new=True),
                locks=exclusive(one.child),
                outlasts_prepared=True,
                endless=True,
                emptied=truncated,
                done=one.at_home,
                gone=f"select 1 from dual where not exists ({one.has(one.meanwhile)})",
            ),
        )


def children(keys: Sequence[Inbound]) -> tuple[str, ...]:
    """Return the tables that they are of: beside a RENAME nobody may hold rows of one."""
    return tuple(sorted({bare(one.child) for one in keys}))


def locks(keys: Sequence[Inbound]) -> tuple[Lock, ...]:
    """Return what the RENAME has locked beside it: the children, and what refers to them against writing."""
    full = {one.child for one in keys}
    referring = {name for one in keys for name in one.referring} - full
    return (
        *(Lock(table=child, mode=LockMode.ACCESS_EXCLUSIVE) for child in sorted(full)),
        *(Lock(table=name, mode=LockMode.SHARE) for name in sorted(referring)),
    )


def known(keys: Sequence[Inbound]) -> str:
    """Return a condition on `key_column_usage` for what is none of them."""
    pairs = ", ".join(
        f"({quoted(bare(one.child))}, {quoted(name)})" for one in keys for name in (one.name, one.meanwhile)
    )
    return f" and (table_name, constraint_name) not in ({pairs})" if keys else ""


def requirements(keys: Sequence[Inbound], old: str, migration: str) -> Iterator[Requirement]:
    """Ask whether the names are free that come back, and whether something refers to what would go."""
    for one in keys:
        for gate in ("before_swap", "before_rollback"):
            yield _name_is_free(one, gate)
        yield _refers_to_refused(one, old, migration)
    if keys:
        yield _nothing_refers_to(old, keys)


def _name_is_free(one: Inbound, gate: Literal["before_swap", "before_rollback"]) -> Requirement:
    child = bare(one.child)
    problem = text_literal(
        f"the foreign key {one.name} of {child} has the name that {one.meanwhile} had, and has to get back"
    )
    return Requirement(
        name=f"no other foreign key of {child} has taken the name {one.name}",
        table=one.child,
        kind="structure",
        gate=gate,
        violations=f"select {problem} as problem from dual where exists ({one.has(one.name)})"
        f" and exists ({one.has(one.meanwhile)})",
        reads_new=True,
    )


def _nothing_refers_to(old: str, keys: Sequence[Inbound]) -> Requirement:
    """Right after the RENAME each does, by its name of ours."""
    return Requirement(
        name=f"no foreign key refers to the old table of {keys[0].parent}",
        table=keys[0].child,
        kind="structure",
        gate="before_contract",
        violations="select concat('the foreign key ', constraint_name, ' of ', table_name) as problem"
        " from information_schema.referential_constraints where unique_constraint_schema = database()"
        f" and referenced_table_name = {quoted(old)} and table_name <> {quoted(old)}"
        f" and constraint_name not in ({', '.join(quoted(one.meanwhile) for one in keys)})",
        reads_new=True,
    )


def _refers_to_refused(one: Inbound, old: str, migration: str) -> Requirement:
    return Requirement(
        name=f"what {bare(one.child)} refers to by {one.name} is in the old table, too",
        table=one.child,
        kind="parity",
        gate="before_rollback",
        violations=f"select 1 as orphan from {_referring_to_refused(one, old, one.parent, migration)}",
        reads_new=True,
    )


def _referring_to_refused(one: Inbound, old: str, new: str, migration: str) -> str:
    """Return the rows of the child whose parents the new table alone has: those of others may be in neither."""
    there, here = (
        " and ".join(f"p.{quote(to)} = c.{quote(name)}" for name, to in zip(one.columns, columns, strict=True))
        for columns in (one.referenced, one.new_referenced)
    )
    given = " and ".join(f"c.{quote(name)} is not null" for name in one.columns)
    return (
        f"{quote(bare(one.child))} as c where exists (select 1 from changeover_rejections"
        f" where migration = {quoted(migration)} and direction = 'down') and {given}"
        f" and exists (select 1 from {quote(new)} as p where {here})"
        f" and not exists (select 1 from {quote(old)} as p where {there})"
    )


def _orphans(one: Inbound, new: str, migration: str) -> str:
    """Return a query for what is wrong, and what to do, when the old table is back in use without such a row."""
    child = bare(one.child)
    problem = text_literal(f"rows of {child} refer by {one.name} to rows that the old table has refused")
    hint = text_literal(f"Delete those rows of {child}, or let them refer to others, then roll back again.")
    found = _referring_to_refused(one, one.parent, new, migration)
    return f"(select {problem} as problem, {hint} as hint from {found} limit 1)"
