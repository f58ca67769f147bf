"""Triggers of users on a table that is made anew: each stands on both tables, and acts on the one that is in use.

A RENAME takes triggers along, and no statement puts others on the new table in the same moment. So before the swap the
new table gets its own, by names of ours. On either table a trigger of ours goes before them, for each row: it asks the
switch, whose name changes with the tables, and leaves the answer in a variable of the session, because their definers
may not read the switch. Each of theirs is made anew with a condition around what it does: on the table that only
follows, which only triggers and sessions of ours write to, it does nothing.

When the old table is gone, they get their names again on the new one, where both stand side by side: a row in the
switch says which of both acts. So none acts twice for a row, and none is left out, whenever it is killed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.inspect import made_by
from tasks.engines.mysql.names import own, quote, quoted, text_literal
from tasks.engines.mysql.planning.catalogue import exclusive, has_table, has_trigger
from tasks.engines.mysql.planning.probe import probe
from tasks.engines.mysql.session import SQL_MODE, MariaSession
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError, StepError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Requirement
from tasks.model.steps import Phase, SelfCommitting, Step

_READ = """
    select trigger_name, action_timing, event_manipulation, action_statement, definer, sql_mode, character_set_client,
           collation_connection, database_collation
      from information_schema.triggers
     where event_object_schema = database() and event_object_table = %s
     order by event_manipulation, action_timing, action_order
"""
_WITHOUT = (
    "Drop it for the migration, and make it again on the new table, after the swap: it does nothing meanwhile. What the"
    " server does in place (leave `strategy` out) leaves it alone."
)


_AS_EVER = (f"set session sql_mode = '{SQL_MODE}'", "set names utf8mb4")


@dataclass(frozen=True, kw_only=True)
class UsersTrigger:
    """One of them, and how it is made."""

    name: str
    meanwhile: str
    """How it is called on the new table until the old one is gone."""
    timing: str
    event: str
    body: str
    definer: str
    mode: str
    """The sql_mode in which its text is read."""
    charset: str
    """What else its session has to have set when it is made."""
    definition: str
    """What follows the body in the catalogue of ours."""

    def made(self, name: str, on: str, body: str, after: str = "") -> tuple[str, ...]:
        """Return the statements that make it, right after another one of the same event, or as the last."""
        place = f" follows {quote(after)}" if after else ""
        return self.mode, self.charset, f"{self._create(name, on)}{place}\n{body}", *_AS_EVER

    def anew(self, on: str, was: str, body: str) -> tuple[str, ...]:
        """Return the statements that make it anew in its place, if it does what it `was` to do.

        Its neighbours may be gone, and others come: which one it precedes is asked. What somebody has dropped, or
        changed, stays so.
        """
        place = (
            "select concat(' precedes `', replace(trigger_name, '`', '``'), '`') from information_schema.triggers"
            f" where {self._beside_it(on)} and action_order > (select action_order from information_schema.triggers"
            f" where {self._beside_it(on)} and trigger_name = {quoted(self.name)}) order by action_order limit 1"
        )
        made = f"concat({quoted(self._create(self.name, on))}, ifnull(({place}), ''), {quoted(chr(10) + body)})"
        return (
            f"set @changeover = if(exists ({self.is_on(self.name, on, was)}), {made}, 'do 0')",
            self.mode,
            # It is read in our character set, and kept in that of its maker.
            "prepare changeover from @changeover",
            self.charset,
            "execute changeover",
            *_AS_EVER,
        )

    def _create(self, name: str, on: str) -> str:
        user, _, host = self.definer.rpartition("@")
        return (
            f"create or replace definer = {quote(user)}@{quote(host)} trigger {quote(name)} {self.timing} {self.event}"
            f" on {quote(on)} for each row"
        )

    def _beside_it(self, on: str) -> str:
        return (
            f"event_object_schema = database() and event_object_table = {quoted(on)}"
            f" and event_manipulation = '{self.event}' and action_timing = '{self.timing}'"
        )

    def where(self, condition: str) -> str:
        """Return what it does, under a condition; what it does may end with a comment."""
        return f"begin\n  if {condition} then\n{self.body}\n  ; end if;\nend"

    def is_on(self, name: str, on: str, body: str) -> str:
        """Return a query that gives a row if it stands there, and does this, to the letter, with the same rights."""
        return (
            f"{has_trigger(name)} and event_object_table = {quoted(on)} and definer = {text_literal(self.definer)}"
            f" and binary action_statement = {text_literal(body)}"
        )


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The names of both tables, and of what says which of them is in use."""

    table: str
    new: str
    up: str
    """Of triggers of ours on the table, and the variable that they set."""
    down: str
    switch: str
    """It has a row as long as the table that there was is in use."""

    @property
    def old_acts(self) -> str:
        """The condition of triggers that go with the old table."""
        return f"@{self.up}"

    @property
    def new_acts(self) -> str:
        """The condition of those that come with the new one."""
        return f"@{self.down}"


def triggers_of(conn: MariaSession, table: Table, tag: str) -> tuple[UsersTrigger, ...]:
    """Return the triggers of a table. Raises SpecError for those that could not be made anew as they are."""
    if not table.triggers:
        return ()
    if ours := [one.name for one in table.triggers if one.name.startswith(OWN_PREFIX)]:
        raise SpecError(
            f"{table.full_name} is under another migration, or one has left its trigger {ours[0]}",
            where=table.full_name,
            hint="Let that come to its end first: contract it, or roll it back.",
        )
    made = []
    (collation,) = conn.execute("select @@collation_database").fetchone()
    for number, row in enumerate(conn.execute(_READ, (table.name,)).fetchall(), 1):
        name, timing, event, body, definer, mode, charset, collated, database = map(str, row)
        one = UsersTrigger(
            name=name,
            meanwhile=own(tag, number, "trigger"),
            timing=timing.lower(),
            event=event.lower(),
            body=body,
            definer=definer,
            mode=f"set session sql_mode = {quoted(mode)}",
            charset=f"set session character_set_client = {charset}, collation_connection = {collated}",
            definition=made_by(definer, mode),
        )
        printed = str(conn.execute(f"show create trigger {quote(name)}").fetchone()[2])
        for so, what in (
            (not conn.dialect.maria, "that is done on MariaDB alone"),
            (not definer.rpartition("@")[2], "its definer is a role"),
            (for_more(printed.rstrip().removesuffix(body.rstrip())), "it is for columns, or for several events"),
            (database != collation, f"the database had the collation {database} when it was made"),
            (
                not printed.rstrip().endswith(body.rstrip())
                # The names in it are read in the character set of its maker, too, whenever the table is opened.
                or not (charset.startswith("utf8") or (printed + table.name + definer).isascii()),
                f"the server does not tell its text as it is, in {charset}",
            ),
        ):
            if so:
                raise _refused(table, one, what)
        made.append(one)
    return tuple(made)


def for_more(head: str) -> bool:
    """Tell whether a trigger of MariaDB 12, by what is before its body, acts on less than an event, or on several."""
    words = re.sub(r"`(?:[^`]|``)*`", " ", head)
    return re.search(r"(?i)\b(?:update\s+of|or\s+(?:insert|update|delete))\b", words) is not None


def _refused(table: Table, one: UsersTrigger, what: str, first: str = "") -> SpecError:
    return SpecError(
        f"{table.full_name} cannot be made anew with its trigger {one.name}: {what}",
        where=table.full_name,
        hint=first + _WITHOUT,
    )


def try_triggers(conn: MariaSession, table: Table, theirs: Sequence[UsersTrigger], on: str, sides: Sides) -> None:
    """Make them on the new shape, which is empty. Raises SpecError for what the server refuses, with its number."""
    for one in theirs:
        try:
            for statement in one.made(f"{one.meanwhile}_tried", on, one.where(sides.new_acts)):
                conn.execute(statement)
        except (driver_error(), StepError) as error:
            if conn.closed:
                raise
            said = error.what if isinstance(error, StepError) else f"the server says {error.args[0]}"
            raise _refused(table, one, f"this user cannot make it on the new table: {said}") from None


def try_definers(conn: MariaSession, table: Table, theirs: Sequence[UsersTrigger], tag: str) -> None:
    """Let each of their definers have a trigger act on a table of ours. Raises SpecError if the server refuses it.

    It asks for their right to that on the table by its present name, before any condition; on ours, too, from then on.
    """
    if not theirs:
        return
    with probe(conn, tag, "definer") as on:
        conn.execute(f"create table {quote(on)} (one int) engine=InnoDB")
        for one in {one.definer: one for one in theirs}.values():
            # Whatever event theirs is of: an insert is what makes it act on a table that is empty.
            for statement in replace(one, timing="before", event="insert").made(on, on, "begin end"):
                conn.execute(statement)
            try:
                conn.execute(f"insert into {quote(on)} (one) values (1)")
            except driver_error() as error:
                if conn.closed:
                    raise
                user, _, host = one.definer.rpartition("@")
                what = "its definer may have no trigger on the tables that stand in for it"
                grant = f"grant trigger on {quote(conn.database)}.* to {quote(user)}@{quote(host)}"
                said = f"{what}: the server says {error.args[0]}"
                raise _refused(table, one, said, f"{grant}, until the contract. Or: ") from None


def conditional(table: Table, theirs: Sequence[UsersTrigger], sides: Sides) -> Table:
    """Return the table as it is before the swap: what its triggers do, they do under a condition."""
    known = {one.name: f"{one.where(sides.old_acts)}{one.definition}" for one in theirs}
    made = (one.model_copy(update={"definition": known.get(one.name, one.definition)}) for one in table.triggers)
    return table.model_copy(update={"triggers": tuple(made)})


def before_swap(full: str, theirs: Sequence[UsersTrigger], sides: Sides) -> Iterator[Step]:
    """Yield what makes them act by the switch on the table that is in use, and makes those of the new one."""
    yield from _telling(full, theirs, sides, new=False)
    for one in theirs:
        body = one.where(sides.old_acts)
        yield Step(
            key=f"index/{full}/trigger {one.meanwhile} old",
            phase=Phase.INDEX,
            title=f"let the trigger {one.name} act only as long as {full} is in use as it is",
            undo="make it again as it was",
            action=SelfCommitting(
                table=full,
                forward=one.anew(sides.table, one.body, body),
                inverse=one.anew(sides.table, body, one.body),
                locks=exclusive(full),
                done=one.is_on(one.name, sides.table, body),
            ),
        )
    yield from _telling(full, theirs, sides, new=True)
    for one in theirs:
        body = one.where(sides.new_acts)
        yield Step(
            key=f"index/{full}/trigger {one.meanwhile} new",
            phase=Phase.INDEX,
            title=f"make the trigger {one.name} on the new table, where it acts from the swap on",
            undo="drop it",
            action=SelfCommitting(
                table=full,
                forward=one.made(one.meanwhile, sides.new, body),
                inverse=(f"drop trigger if exists {quote(one.meanwhile)}",),
                locks=exclusive(full),
                done=has_trigger(one.meanwhile),
            ),
        )


def _telling(full: str, theirs: Sequence[UsersTrigger], sides: Sides, *, new: bool) -> Iterator[Step]:
    variable, on = (sides.down, sides.new) if new else (sides.up, sides.table)
    asked = f"{'not ' if new else ''}exists (select 1 from {quote(sides.switch)} lock in share mode)"
    for event in dict.fromkeys(one.event for one in theirs):
        name = _telling_name(variable, event)
        first = next((one.name for one in theirs if (one.event, one.timing) == (event, "before")), "")
        place = f" precedes {quote(first)}" if first and not new else ""
        yield Step(
            key=f"index/{full}/{'new' if new else 'old'} {event} asks",
            phase=Phase.INDEX,
            title=f"ask which table is in use, before triggers of others act for an {event}",
            undo=f"drop the trigger {name}",
            action=SelfCommitting(
                table=full,
                forward=(
                    f"create trigger {quote(name)} before {event} on {quote(on)} for each row{place}"
                    f" set @{variable} = {asked}",
                ),
                inverse=(f"drop trigger if exists {quote(name)}",),
                locks=exclusive(full),
                done=has_trigger(name),
            ),
        )


def _telling_name(variable: str, event: str) -> str:
    return f"{variable}_a{event[0]}"


def after_drop(full: str, theirs: Sequence[UsersTrigger], sides: Sides) -> Iterator[Step]:
    """Yield what gives them their names on the new table, when those of the old one are gone with it.

    Whoever has dropped the one that acts there is not overruled.
    """
    if not theirs:
        return

    def step(what: str, title: str, forward: tuple[str, ...], done: str) -> Step:
        action = SelfCommitting(table=full, forward=forward, locks=exclusive(full), done=done)
        return Step(key=f"contract/{full}/{what}", phase=Phase.CONTRACT, title=title, action=action)

    for one in theirs:
        body = one.where(f"not {sides.new_acts}")
        yield step(
            f"trigger {one.meanwhile} named",
            f"make the trigger {one.name} beside {one.meanwhile}, which acts until then",
            one.made(one.name, sides.table, body, after=one.meanwhile),
            f"select 1 from dual where exists ({has_trigger(one.name)}) or not exists ({has_trigger(one.meanwhile)})",
        )
    yield step(
        "triggers named",
        "let the triggers that have their names act, from one moment on, instead of those that have ours",
        (f"insert into {quote(sides.switch)} (one) values (1) on duplicate key update one = 1",),
        f"select 1 from {quote(sides.switch)}",
    )
    for one in theirs:
        beside = one.where(f"not {sides.new_acts}")
        yield step(
            f"trigger {one.meanwhile} dropped",
            f"drop the trigger {one.meanwhile}",
            (f"drop trigger if exists {quote(one.meanwhile)}",),
            f"select 1 from dual where not exists ({has_trigger(one.meanwhile)})",
        )
        yield step(
            f"trigger {one.meanwhile} as it was",
            f"make the trigger {one.name} as it was",
            one.anew(sides.table, beside, one.body),
            f"select 1 from dual where not exists ({one.is_on(one.name, sides.table, beside)})",
        )
    for event in dict.fromkeys(one.event for one in theirs):
        name = _telling_name(sides.down, event)
        yield step(
            f"{event} asks",
            f"drop the trigger {name}",
            (f"drop trigger if exists {quote(name)}",),
            f"select 1 from dual where not exists ({has_trigger(name)})",
        )


def requirements(
    theirs: Sequence[UsersTrigger], full: str, old: str, sides: Sides, swapped: str
) -> Iterator[Requirement]:
    """Ask before the swap whether those of ours are there, and do what they did.

    And before the contract for those that somebody has dropped, or changed, and that would be made again.
    """
    if theirs:
        yield Requirement(
            name=f"the new table has the triggers of {full}",
            table=full,
            kind="structure",
            violations=" union all ".join(_missing(theirs, sides)),
            reads_new=True,
        )
    for one in theirs:
        found = text_literal(f"{one.name} has changed since the swap, and what acts is {one.meanwhile}")
        yield Requirement(
            name=f"the trigger {one.name} of {full} is what it was, or has been dropped by both of its names",
            table=full,
            kind="structure",
            gate="before_contract",
            violations=f"select {found} as problem from dual where exists ({swapped}) and exists ({has_table(old)})"
            f" and exists ({has_trigger(one.meanwhile)})"
            f" and not exists ({one.is_on(one.name, old, one.where(sides.old_acts))})",
            reads_new=True,
        )


def _missing(theirs: Sequence[UsersTrigger], sides: Sides) -> Iterator[str]:
    """Yield queries for those that are not there: without them nobody's trigger acts from the swap on."""
    wanted = {}
    for one in theirs:
        for name in (_telling_name(sides.up, one.event), _telling_name(sides.down, one.event)):
            wanted[name] = f"exists ({has_trigger(name)})"
        body = one.where(sides.new_acts)
        # The table that it is on gets its name in the swap.
        there = (f"exists ({one.is_on(one.meanwhile, on, body)})" for on in (sides.new, sides.table))
        wanted[one.meanwhile] = " or ".join(there)
    for name, found in wanted.items():
        gone = text_literal(f"the trigger {name} is gone, or has changed")
        yield f"select {gone} as problem from dual where not ({found})"
