"""Know which rows of MariaDB are written while a table is copied elsewhere: triggers note their keys.

A note says only that a row was written. Whoever carries it reads the row again, after the note was seen, so notes may
be carried in any order, together, and twice: that numbers are given in another order than transactions commit is no
matter. A note has the key in the types of the table, so that no time zone, and no mode of the application, changes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import sqlglot
from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from tasks.engines.mysql.names import own, quote, quoted
from tasks.engines.mysql.planning.catalogue import exclusive, has_table, has_trigger
from tasks.engines.mysql.session import SQL_MODE, MariaSession
from tasks.engines.mysql.table_id import table_id
from tasks.model.catalogue import Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.plan import Requirement
from tasks.model.steps import Phase, SelfCommitting, Step
from tasks.model.transfer_steps import NOTE

_MODE: Final = f"set session sql_mode = '{SQL_MODE},ALLOW_INVALID_DATES'"
"""A trigger keeps the mode that it is made in: whatever a key can be, its note can."""
_ENDED: Final = 2
"""The row that says: what was noted was looked at, and the triggers may go."""
_UNSEEN: Final = ("CASCADE", "SET NULL", "SET DEFAULT")


@dataclass(frozen=True, kw_only=True)
class Capture:
    """The triggers and the table of notes of one copy."""

    table: Table
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    """Of the catalogue."""
    tag: str
    maria: bool = True
    looked_up: bool = False
    """Notes are looked up by their key: they get an index by it, as the table has one."""

    @property
    def notes(self) -> str:
        """The table of notes, quoted."""
        return quote(self._own("notes"))

    def make(self) -> Step:
        """Return the step that makes the table of notes."""
        full = self.table.full_name
        columns = ", ".join(map(quote, self.key))
        index = f", key ({columns})" if self.looked_up else ""
        return Step(
            key=f"expand/{full}/notes",
            phase=Phase.EXPAND,
            title=f"make the table of notes: {self._own('notes')}",
            undo="drop it",
            action=SelfCommitting(
                table=full,
                # No row is selected, so it may be done again.
                forward=(
                    f"create table if not exists {self.notes}"
                    f" ({NOTE} bigint unsigned not null auto_increment primary key{index})"
                    f" engine=InnoDB as select {columns} from {quote(self.table.name)} where false",
                ),
                inverse=(f"drop table if exists {self.notes}",),
            ),
        )

    def begin(self) -> Iterator[Step]:
        """Yield the steps that begin the capture; the last remembers which table it is that is noted."""
        full = self.table.full_name
        for event, name, statement in self._triggers():
            yield Step(
                key=f"dual_write/{full}/note {event}",
                phase=Phase.DUAL_WRITE,
                title=f"note the key of every row of {full} from now on: {event}",
                undo=f"drop the trigger {name}",
                action=SelfCommitting(
                    table=full,
                    forward=(_MODE, statement),
                    locks=exclusive(full),
                    inverse=(f"drop trigger if exists {quote(name)}",),
                    done=has_trigger(name),
                ),
            )
        known = self._known
        yield Step(
            key=f"dual_write/{full}/known",
            phase=Phase.DUAL_WRITE,
            title=f"remember which table {full} is: TRUNCATE, which fires no trigger, puts another in its place",
            undo="forget it",
            action=SelfCommitting(
                table=full,
                # Done again, it stays as it was first.
                forward=(
                    f"create table if not exists {known} (one tinyint primary key, ids longtext) engine=InnoDB",
                    f"insert into {known} (one, ids) select 1, ({table_id(self.table.name)})"
                    " on duplicate key update one = 1",
                ),
                inverse=(f"drop table if exists {known}",),
                # Made before the triggers, their writes are not noted; the copy has to find them committed.
                outlasts_prepared=True,
            ),
        )

    def end(self) -> Iterator[Step]:
        """Yield the steps that end the capture, after the swap: what was noted since is counted before and after."""
        full, names = self.table.full_name, [name for _, name, _ in self._triggers()]
        yield Step(
            key=f"contract/{full}/triggers",
            phase=Phase.CONTRACT,
            title=f"drop the triggers on {full}: {', '.join(names)}",
            action=SelfCommitting(
                table=full,
                # Together: where one is gone, what it would have noted is not noticed by the guard either.
                held=f"lock tables {quote(self.table.name)} write, {self.notes} read",
                mark=f"insert into {self._known} (one, ids) values ({_ENDED}, '') on duplicate key update ids = ''",
                forward=tuple(f"drop trigger if exists {quote(name)}" for name in names),
                locks=exclusive(full),
                inverse=(_MODE, *(_unless_there(statement) for _, _, statement in self._triggers())),
                done=" and ".join((f"select 1 from dual where not exists ({has_trigger(names[0])})",
                                   *(f"not exists ({has_trigger(name)})" for name in names[1:]))),
                guard=True,
            ),
        )  # fmt: skip
        yield Step(
            key=f"contract/{full}/notes",
            phase=Phase.CONTRACT,
            title="drop the table of notes",
            action=SelfCommitting(
                table=full,
                forward=tuple(f"drop table if exists {quote(self._own(role))}" for role in ("known", "notes")),
                done=f"select 1 from dual where not exists ({has_table(self._own('notes'))})",
            ),
        )

    def requirements(self) -> Iterator[Requirement]:
        """Yield what has to be so at the swap, and before the triggers go."""
        full = self.table.full_name
        yield Requirement(
            name=f"every write to {full} is noted",
            table=full,
            kind="structure",
            violations=self._unnoted(": roll back, then run again"),
        )
        yield Requirement(
            name=f"every write to {full} was noted until contract",
            table=full,
            kind="structure",
            gate="before_contract",
            # The mark is made when all of them are dropped, under a lock, after a look.
            violations=f"select problem from ({self._unnoted('')}) as found"
            f" where not (exists (select 1 from {self._known} where one = {_ENDED})"
            f" and not exists (select 1 from information_schema.triggers where event_object_schema = database() and"
            f" trigger_name in ({', '.join(quoted(trigger) for _, trigger, _ in self._triggers())})))",
        )
        yield Requirement(
            name=f"nothing was written to {full} since the swap",
            table=full,
            kind="parity",
            gate="before_contract",
            violations=f"select {NOTE} from {self.notes}",
        )

    @property
    def _known(self) -> str:
        return quote(self._own("known"))

    def _unnoted(self, advice: str) -> str:
        """Return the query for what keeps writes from being noted, or would have."""
        name = quoted(self.table.name)
        wanted = " union all ".join(f"select {quoted(trigger)} as name" for _, trigger, _ in self._triggers())
        shape = quoted(", ".join(f"{column.name} {column.type}" for column in self.table.columns))
        # MySQL, where it is asked once, before the run, does not tell it so.
        replica = """\
union all
select 'it replicates from another server, whose writes may fire no trigger: set slave_run_triggers_for_rbr to ENFORCE'
  from information_schema.global_status where variable_name = 'SLAVES_RUNNING' and variable_value > 0
   and @@global.slave_run_triggers_for_rbr <> 'ENFORCE'"""
        return f"""\
select concat('the trigger ', t.name, ' is gone') as problem from ({wanted}) as t
 where not exists (select 1 from information_schema.triggers as g where g.event_object_schema = database()
                    and g.event_object_table = {name} and g.trigger_name = t.name)
union all
select 'its columns are others' from dual where cast({shape} as binary) <> coalesce((
  select cast(group_concat(column_name, ' ', column_type order by ordinal_position separator ', ') as binary)
    from information_schema.columns where table_schema = database() and table_name = {name}), '')
union all
select 'it was emptied by TRUNCATE, or made anew{advice}' from dual
 where coalesce((select ids from {self._known} where one = 1), '') <> coalesce(({table_id(self.table.name)}), '-')
{replica if self.maria else ""}"""

    def _own(self, role: str) -> str:
        return own(self.tag, 0, role)

    def _triggers(self) -> Iterator[tuple[str, str, str]]:
        """Yield event, name and statement of each trigger."""
        columns = ", ".join(map(quote, self.key))
        old, new = (
            f"insert into {self.notes} ({columns}) values ({', '.join(f'{row}.{quote(one)}' for one in self.key)});"
            for row in ("old", "new")
        )
        bodies = {"delete": old, "update": f"{self._if_moved(old)} {new}", "insert": new}
        for event, body in bodies.items():
            name = self._own(f"note_{event[0]}")
            head = f"create trigger {quote(name)} after {event} on {quote(self.table.name)} for each row"
            yield event, name, f"{head} begin {body} end"

    def _if_moved(self, old: str) -> str:
        if any(kind.lower().startswith("timestamp") for kind in self.key_types):
            # As text it has the time zone of the application, in which two moments may look the same.
            return old
        same = " and ".join(
            f"cast(old.{quote(one)} as binary) <=> cast(new.{quote(one)} as binary)" for one in self.key
        )
        return f"if not ({same}) then {old} end if;"


def _unless_there(statement: str) -> str:
    return statement.replace("create trigger", "create trigger if not exists", 1)


def refuse_uncapturable(
    conn: MariaSession, table: Table, where: str | None, expressions: Iterable[tuple[str, str]]
) -> None:
    """Refuse what the triggers would not hear of, each expression with its place in the spec.

    Raises PreflightError, or SpecError with the place.
    """
    for key in table.constraints:
        if key.kind == "foreign key" and any(rule in key.definition.upper() for rule in _UNSEEN):
            raise PreflightError(
                f"the foreign key {key.name} of {table.full_name} changes its rows ({key.definition}), and on MariaDB"
                " that fires no trigger",
                where="transfer.capture",
                hint="Copy it without capture, while nobody writes; or let the foreign key RESTRICT meanwhile.",
            )
    reading = [("transfer.where", where)] if where else []
    reading += expressions
    others = _may_read(conn)
    for at, expression in reading:
        if found := _reads(expression, others):
            raise SpecError(
                f"it may read more than the row: {found}; what is written there is not noted",
                where=at,
                hint="Use columns of the row alone, and functions that are declared DETERMINISTIC and NO SQL; or copy"
                " without capture, while nobody writes.",
            )


def _may_read(conn: MariaSession) -> set[str]:
    """Return the functions of users that may read tables, or say another thing each time."""
    rows = conn.execute(
        "select lower(routine_name) from information_schema.routines where routine_type = 'FUNCTION'"
        " and not (is_deterministic = 'YES' and sql_data_access = 'NO SQL')"
    ).fetchall()
    return {str(row[0]) for row in rows}


def _reads(expression: str, others: set[str]) -> str:
    """Return what an expression reads beside the row; empty where it does not."""
    if "/*!" in expression or "/*M!" in expression:
        return "a comment that the server executes"
    try:
        tokens = sqlglot.tokenize(expression, read="mysql")
    except SqlglotError:
        return "what cannot be parsed"
    if any(token.token_type is TokenType.SELECT for token in tokens):
        return "a subquery"
    for token, after in pairwise(tokens):
        if after.token_type is TokenType.L_PAREN and token.text.lower() in others:
            return f"the function {token.text}"
    return ""
