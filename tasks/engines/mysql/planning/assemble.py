"""The steps of a shadow table on MariaDB, each with its way back and its question to the catalogue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.engines.mysql.key_ranges import key_text, kind_of
from tasks.engines.mysql.names import own, quote, quoted, text_literal
from tasks.engines.mysql.planning import inbound, parity, users_triggers
from tasks.engines.mysql.planning.catalogue import exclusive, has_table, has_trigger
from tasks.engines.mysql.planning.change import Change
from tasks.engines.mysql.planning.foreign_keys import (
    ForeignKey,
    after_drop,
    after_swap,
    before_comparison,
    before_drop,
    before_swap,
    before_swap_back,
    name_of_other,
    own_indexes,
    renamed,
)
from tasks.engines.mysql.planning.inbound import Inbound
from tasks.engines.mysql.planning.mapping import Mapping, same_order
from tasks.engines.mysql.planning.triggers import Mirror, triggers
from tasks.engines.mysql.planning.users_triggers import Sides, UsersTrigger
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX
from tasks.model.steps import Assignment, Copy, CopyAgain, Phase, SelfCommitting, Step

PLACEHOLDER = "changeover placeholder"
_RANGE = "/* range */ true"


@dataclass(frozen=True, kw_only=True)
class Names:
    """What is called how: all of it is ours but `table`."""

    table: str
    new: str
    old: str
    part: str
    forward: str
    reverse: str
    up: str
    down: str
    ahead: str
    over: str

    @classmethod
    def of(cls, tag: str, number: int, table: str, *, foreign_keys: bool) -> "Names":
        """Name everything of one table of a migration; with foreign keys, the order of names matters."""
        roles = ("new", "old", "part", "forward", "reverse", "up", "down", "ahead", "over")
        made = {role: own(tag, number, role) for role in roles}
        if foreign_keys:
            made |= {role: name_of_other(tag, number, role) for role in ("new", "old")}
        return cls(table=table, **made)

    @property
    def sides(self) -> Sides:
        """What triggers of users have to know."""
        return Sides(table=self.table, new=self.new, up=self.up, down=self.down, switch=self.forward)

    @property
    def exchange(self) -> str:
        """The RENAME that is the swap: at once, tables and switch.

        All but its first move would lead back if they were done twice; the first can be done but once.
        """
        return self._rename(
            (self.ahead, self.over),
            (self.old, self.part),
            (self.table, self.old),
            (self.new, self.table),
            (self.part, self.new),
        )

    @property
    def exchange_back(self) -> str:
        """And the way back."""
        return self._rename(
            (self.over, self.ahead),
            (self.new, self.part),
            (self.table, self.new),
            (self.old, self.table),
            (self.part, self.old),
        )

    def _rename(self, *moves: tuple[str, str]) -> str:
        switch = ((self.forward, self.part), (self.reverse, self.forward), (self.part, self.reverse))
        return "rename table " + ", ".join(f"{quote(a)} to {quote(b)}" for a, b in (*moves, *switch))


@dataclass(frozen=True, kw_only=True)
class Attached:
    """What hangs on the table, and comes along."""

    keys: tuple[ForeignKey, ...]
    referring: tuple[Inbound, ...]
    theirs: tuple[UsersTrigger, ...]


def steps(migration: str, change: Change, mapping: Mapping, names: Names, attached: Attached) -> Iterator[Step]:
    """Yield all steps for one table, in order. Raises SpecError where foreign keys need a comparison there is not."""
    full, keys, referring, theirs = mapping.old.full_name, attached.keys, attached.referring, attached.theirs
    yield _build(full, change, names, own_indexes(names.part, mapping.new, [one.new_columns for one in keys]))
    yield _switch(full, names)
    yield from _dual_write(full, _mirror(migration, mapping, names, attached, up=True), names.table, names.up)
    yield Step(
        key=f"{Phase.DUAL_WRITE}/{full}/prepared",
        phase=Phase.DUAL_WRITE,
        title=f"wait for prepared transactions (XA): they may have written to {full} before its triggers were there",
        # No trigger waits for one whose session has ended; committed later, its rows would be in the old table alone.
        action=SelfCommitting(table=full, outlasts_prepared=True),
    )
    yield Step(
        key=_copied_by(full),
        phase=Phase.BACKFILL,
        title=f"copy the rows of {full}",
        undo="nothing: the copy goes with its table",
        action=copy(mapping, names),
    )
    # The way back does nothing before the swap, and is there the moment after it. Rows that are copied would call it.
    yield from _dual_write(full, _mirror(migration, mapping, names, attached, up=False), names.new, names.down)
    yield from users_triggers.before_swap(full, theirs, names.sides)
    yield from before_comparison(mapping.old, keys, names.new)
    yield from inbound.ready_to_follow(referring, names.new, migration)
    yield _statistics(full, mapping, names)
    compared = list(_compared(mapping, names))
    if not compared and any(one.writes for one in keys):
        raise SpecError(
            f"{full} cannot be made anew with its foreign keys: the order of its primary key changes, so what they do"
            " to rows while others are copied would be found by nobody",
            where=full,
            hint="Leave type and collation of the primary key as they are, or drop the foreign keys for the migration.",
        )
    yield from compared
    yield from before_swap(mapping.old, keys, names.new)
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title=f"put the new table in the place of {full}",
        undo=f"put the old table back in the place of {full}",
        action=SelfCommitting(
            table=full,
            forward=(names.exchange,),
            locks=(*exclusive(full), *inbound.locks(referring)),
            inverse=(*before_swap_back(keys, names.old), names.exchange_back),
            done=is_swapped(names),
            guard=True,
            beside=inbound.children(referring),
            outlasts_prepared=True,
            given=users_triggers.conditional(inbound.named(renamed(mapping.old, keys), referring), theirs, names.sides),
            set_aside=names.old,
            found_after_inverse=_found_after_inverse(mapping.new, names, referring),
            emptied=parity.emptied(mapping, quote(names.old), quote(names.table)),
            # The comparison writes rows into the shadow, too: also one that was killed, and has left no count of them.
            filled=f"select max(finished_at) from changeover_steps where migration = {quoted(migration)}"
            f" and `key` in ({quoted(_copied_by(full))}, {quoted(_compared_by(full))})",
        ),
    )
    truncated = parity.truncated(mapping, quote(names.old), quote(names.table), migration)
    yield from inbound.after_swap(referring, truncated)
    yield from after_swap(mapping.old, keys, names.old)
    yield from _contract(mapping.old, names, keys, theirs)


def is_swapped(names: Names) -> str:
    """Return a query that gives a row once the new table is in its place."""
    return f"{has_table(names.new)} and table_comment = '{PLACEHOLDER}'"


def made_since(names: Names, new: Table, on: str, referring: Sequence[Inbound]) -> str:
    """Return a query for the triggers, columns and foreign keys of others that came to the new table, `on`."""
    known = ", ".join(text_literal(column.name) for column in new.columns)
    made = quoted(f" was made on the new {names.table}")
    return (
        f"select concat(what, {made}) as problem from ("
        "select concat('the trigger ', trigger_name) as what from information_schema.triggers"
        f" where event_object_schema = database() and event_object_table = {quoted(on)}"
        f" and left(trigger_name, {len(OWN_PREFIX)}) <> '{OWN_PREFIX}'"
        " union all select concat('the column ', column_name) from information_schema.columns"
        f" where table_schema = database() and table_name = {quoted(on)} and column_name not in ({known})"
        " union all select distinct concat('the foreign key ', constraint_name, ' of ', table_name)"
        " from information_schema.key_column_usage"
        f" where referenced_table_schema = database() and referenced_table_name = {quoted(on)}"
        # What refers to its own table would go with it.
        f" and not (table_schema = database() and table_name = {quoted(on)})"
        f"{inbound.known(referring)}) as made"
    )


def _found_after_inverse(new: Table, names: Names, referring: Sequence[Inbound]) -> str:
    """Whoever finds something puts the new table in its place again: that takes a moment, and no row is read."""
    return (
        "select concat(problem, ' since the gate, and would be dropped with it') as problem,"
        " 'Drop it, roll back, and make it again on the old table.' as hint"
        f" from ({made_since(names, new, names.new, referring)}) as found"
    )


def _copied_by(full: str) -> str:
    return f"backfill/{full}/copy"


def _compared_by(full: str) -> str:
    return f"reconcile/{full}/rows"


def copy(mapping: Mapping, names: Names) -> Copy:
    """Return what copies the rows."""
    kinds = []
    for name in mapping.key:
        column = mapping.old.column(name)
        assert column is not None
        try:
            kinds.append(kind_of(column.type))
        except KeyError:
            raise SpecError(
                f"rows cannot be walked along {name!r}, a {column.type}",
                where=mapping.old.full_name,
                hint="Use a primary key of integers, decimals, dates, texts or binaries.",
            ) from None
    return Copy(
        table=quote(names.table),
        key=mapping.key,
        key_types=tuple(kinds),
        alias=names.table,
        target=quote(names.new),
        target_key=mapping.new_key,
        assignments=tuple(
            Assignment(column=f.column.name, type=f.column.type, expression=f.expression) for f in mapping.forward
        ),
    )


def _compared(mapping: Mapping, names: Names) -> Iterator[Step]:
    """Yield what compares in ranges, where both tables have their rows in the same order. Where not, the gate does."""
    action = copy(mapping, names)
    if not same_order(mapping):
        return
    shown = [f"{OWN_PREFIX}k{number}" for number in range(len(mapping.key))]
    yield Step(
        key=_compared_by(mapping.old.full_name),
        phase=Phase.RECONCILE,
        title=f"compare every row of {mapping.old.full_name} with its shadow, and carry over what differs",
        action=CopyAgain(
            copy_of=action,
            differing=_in_ranges(parity.differing(mapping, action.table, action.target, _RANGE), shown, action),
            superfluous=_in_ranges(
                parity.superfluous(mapping, action.table, action.target, _RANGE), mapping.new_key, action
            ),
        ),
    )


def _in_ranges(query: str, key: Sequence[str], action: Copy) -> tuple[str, str]:
    """Return what stands before and after the condition of a query for keys, which it gives as texts."""
    texts = ", ".join(key_text(name, kind) for name, kind in zip(key, action.key_types, strict=True))
    # The author's expressions stand before the condition, so the last of them is ours.
    head, _, tail = query.rpartition(_RANGE)
    return f"select {texts} from ({head}", f"{tail}) as d"


def _build(full: str, change: Change, names: Names, indexes: Sequence[str]) -> Step:
    return Step(
        key=f"expand/{full}/build",
        phase=Phase.EXPAND,
        title=f"make the new table beside {full}",
        undo="drop the new table",
        action=SelfCommitting(
            table=full,
            # Under another name until it is whole, so that its name alone says that it is.
            forward=(
                f"drop table if exists {quote(names.part)}",
                *change.build(names.part),
                *indexes,
                f"rename table {quote(names.part)} to {quote(names.new)}",
            ),
            inverse=(f"drop table if exists {quote(names.part)}", f"drop table if exists {quote(names.new)}"),
            done=has_table(names.new),
        ),
    )


def _switch(full: str, names: Names) -> Step:
    made = [
        f"create table if not exists {quote(name)} (one tinyint primary key) engine=InnoDB comment='{PLACEHOLDER}'"
        for name in (names.old, names.reverse, names.forward, names.ahead)
    ]
    return Step(
        key=f"expand/{full}/switch",
        phase=Phase.EXPAND,
        title=f"make the switch that says in which direction {full} is carried over",
        undo="drop the switch",
        action=SelfCommitting(
            table=full,
            forward=(*made, f"insert into {quote(names.forward)} (one) values (1) on duplicate key update one = 1"),
            inverse=tuple(
                f"drop table if exists {quote(name)}" for name in (names.old, names.reverse, names.forward, names.ahead)
            ),
            # After the swap this name is that of the old table.
            keeps=f"{has_table(names.old)} and table_comment <> '{PLACEHOLDER}'",
        ),
    )


def _mirror(
    migration: str,
    mapping: Mapping,
    names: Names,
    attached: Attached,
    *,
    up: bool,
) -> Mirror:
    source, filled = (mapping.old, mapping.forward) if up else (mapping.new, mapping.backward)
    ways = (mapping.key, mapping.new_key) if up else (mapping.new_key, mapping.key)
    referred_to = [(one.referenced, one.new_referenced) for one in attached.referring]
    referred_to += [(one.parent_columns, one.new_parent_columns) for one in attached.keys if one.itself]
    return Mirror(
        migration=migration,
        table=mapping.old.full_name,
        direction="up" if up else "down",
        alias=names.table,
        source_columns=tuple(column.name for column in source.columns),
        target=names.new if up else names.old,
        switch=names.forward if up else names.reverse,
        source_key=tuple(column for name in ways[0] if (column := source.column(name)) is not None),
        target_key=ways[1],
        filled=filled,
        checked=not attached.keys,
        referred_to=tuple(pair if up else pair[::-1] for ends in referred_to for pair in zip(*ends, strict=True)),
        by_others=bool(attached.referring),
    )


def _dual_write(full: str, mirror: Mirror, on: str, prefix: str) -> Iterator[Step]:
    phase = Phase.DUAL_WRITE if mirror.direction == "up" else Phase.INDEX
    there = "the new table" if mirror.direction == "up" else "the old table, once they are swapped"
    for event, name, statement in triggers(mirror, on, prefix):
        yield Step(
            key=f"{phase}/{full}/{mirror.direction} {event}",
            phase=phase,
            title=f"carry every {event} of {full} over to {there}",
            undo=f"drop the trigger {name}",
            action=SelfCommitting(
                table=full,
                forward=(statement,),
                locks=exclusive(full),
                inverse=(f"drop trigger if exists {quote(name)}",),
                done=has_trigger(name),
            ),
        )


def _statistics(full: str, mapping: Mapping, names: Names) -> Step:
    numbered = any(column.identity for column in mapping.new.columns)
    position = (
        # Of a new table that was defined with a number of its own the higher one counts.
        f"set @changeover = concat('alter table {quote(names.new)} auto_increment = ', (select max(auto_increment) from"
        " information_schema.tables where table_schema = database()"
        f" and table_name in ({quoted(names.table)}, {quoted(names.new)})))",
        "prepare changeover from @changeover",
        "execute changeover",
    )
    return Step(
        key=f"index/{full}/statistics",
        phase=Phase.INDEX,
        title=f"give the new table the statistics, and the numbering, of {full}",
        action=SelfCommitting(
            table=full, forward=(*(position if numbered else ()), f"analyze table {quote(names.new)}")
        ),
    )


def _contract(table: Table, names: Names, keys: Sequence[ForeignKey], theirs: Sequence[UsersTrigger]) -> Iterator[Step]:
    full = table.full_name
    yield Step(
        key=f"contract/{full}/switch off",
        phase=Phase.CONTRACT,
        title=f"end the way back of {full}: from one moment on none of its triggers does anything",
        action=SelfCommitting(
            table=full,
            # One row, which every transaction holds whose writes are carried over: each of them is, whole, or not at
            # all, however long it takes to drop the triggers after it.
            forward=(f"delete from {quote(names.reverse)}",),
            done=f"select 1 from dual where not exists (select 1 from {quote(names.reverse)})",
        ),
    )
    for letter in "iud":
        name = f"{names.down}_{letter}"
        yield Step(
            key=f"contract/{full}/trigger {letter}",
            phase=Phase.CONTRACT,
            title=f"drop the trigger {name}",
            action=SelfCommitting(
                table=full,
                forward=(f"drop trigger if exists {quote(name)}",),
                locks=exclusive(full),
                done=f"select 1 from dual where not exists ({has_trigger(name)})",
            ),
        )
    yield from before_drop(table, keys, names.old)
    for role in ("old", "new", "forward", "reverse", "over"):
        name = getattr(names, role)
        yield Step(
            key=f"contract/{full}/{role}",
            phase=Phase.CONTRACT,
            title=f"drop {'the old table' if role == 'old' else 'what is left of the switch'}",
            action=SelfCommitting(
                table=full,
                forward=(f"drop table if exists {quote(name)}",),
                done=f"select 1 from dual where not exists ({has_table(name)})",
            ),
        )
        if role == "old":
            yield from users_triggers.after_drop(full, theirs, names.sides)
    yield from after_drop(table, keys)
