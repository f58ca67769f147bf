"""Where a table of ours is: known by its comment, under the name that it has at the swap, or one of ours.

DDL commits by itself on MariaDB: each statement here finds done what it did before. Which run may write says the epoch
in a table of ours: whoever writes holds it still, and an older one finds that it is no longer its own.
"""

from typing import Final

import pymysql

from tasks.engines.mysql.names import quote, quoted
from tasks.engines.mysql.receiving.plan import EXACT, FORMAT
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.sessions import end_sessions
from tasks.engines.mysql.transient import code_of
from tasks.engines.mysql.unqueued import carry_out_unqueued
from tasks.engines.receiving.place import built_on, gone, overtaken, taken
from tasks.model.base import Record
from tasks.model.errors import PreflightError
from tasks.model.transfer_steps import Relation

_TAKEN: Final = 1050
_NAMED: Final = (
    "select table_name from information_schema.tables where table_schema = database() and table_name = %s"
    " and (@@lower_case_table_names > 0 or cast(table_name as binary) = cast(%s as binary))"
)
_PATIENCE: Final = 45.0
"""Seconds that a session of an older run has to end: the ledger's, which waits meanwhile, is ended after 60."""
_UNMAKEABLE: Final = {
    1005: "there are too many columns, or it has another reason",
    1059: "a name is too long",
    1060: "two columns have the same name",
    1071: "the key is too long",
    1074: "a column is too long",
    1113: "there are no columns",
    1117: "there are too many columns",
    1118: "a row has no room on a page",
    1166: "a column has a name that it does not take",
}
_NUMBERS: Final = {"smallint": 2**15, "int": 2**31, "bigint": 2**63}


class Place(Record):
    """Where our table is now."""

    name: str
    withdrawn: bool = False
    """A rollback has taken it away, and not yet looked for what would be lost."""

    def is_put(self, action: Relation) -> bool:
        """Tell whether it is where it belongs."""
        return self.name != action.staged_name

    @property
    def table(self) -> str:
        """Its name, quoted."""
        return quote(self.name)


def require_free(conn: MariaSession, action: Relation) -> None:
    """Refuse a table that exists, and names of ours that another copy has left; raises PreflightError."""
    if exists(conn, action.name):
        raise PreflightError(
            f"{action.full_name} exists already",
            where=action.database,
            hint="Name another table, or rename that one: nothing is ever written into it.",
        )
    if exists(conn, bare(action.place)) or exists(conn, action.staged_name):
        raise PreflightError(
            f"tables whose names begin with {action.helpers} exist already: another copy of the same name has left"
            " them",
            where=action.database,
            hint="Roll that migration back, or give this one another name.",
        )


def require_makeable(conn: MariaSession, action: Relation) -> None:
    """Refuse a table that the server would not make; raises PreflightError. Makes, for a moment, one of the session."""
    probe = f"{action.helpers}_probe"
    made = action.create.replace(f"create table {action.staged}", f"create temporary table {quote(probe)}", 1)
    try:
        conn.execute(made)
    except pymysql.err.MySQLError as error:
        if code_of(error) not in _UNMAKEABLE:
            raise
        raise PreflightError(
            f"the server does not make a table of these columns: it says {code_of(error)},"
            f" {_UNMAKEABLE[code_of(error) or 0]}",
            where=f"{action.database}: {action.full_name}",
            hint="Give fewer or shorter columns, or other names: leave some out with `omit`, or let `rest` take what"
            " has none.",
        ) from None
    conn.execute(f"drop temporary table {quote(probe)}")


def exists(conn: MariaSession, name: str) -> bool:
    """Tell whether there is a table, or a view, of that name."""
    return conn.execute(_NAMED, (name, name)).fetchone() is not None


def bare(quoted_name: str) -> str:
    """Return a name of ours without its quotes: none has one in it."""
    return quoted_name.strip("`")


def make(conn: MariaSession, action: Relation, epoch: int) -> None:
    """Make the table, and what serves the copy. What is there of it already stays."""
    conn.execute(
        f"create table if not exists {action.place} (one tinyint primary key, token char(36) not null,"
        " epoch bigint not null, withdrawn tinyint not null) engine=InnoDB"
    )
    conn.execute(
        f"insert into {action.place} select 1, uuid(), {int(epoch)}, 0 from (select 1) as made"
        f" where not exists (select 1 from {action.place})"
    )
    conn.execute(f"create table if not exists {action.sessions} (name varchar(64) primary key) engine=InnoDB")
    conn.execute(create_rejected(action.rejected))
    conn.execute(
        f"create table if not exists {action.account} (shard int primary key, position longtext, previous longtext,"
        " last bigint not null default 0, `read` bigint not null default 0, written bigint not null default 0,"
        " rejected bigint not null default 0) engine=InnoDB character set utf8mb4 collate utf8mb4_nopad_bin"
    )
    if not exists(conn, action.staged_name):
        conn.execute(f"{action.create} comment={quoted(_mark(conn, action))}")


def create_rejected(table: str, field: int = 80) -> str:
    """Return the statement that makes a table of rejected rows, whose fields have names of so many characters."""
    return (
        f"create table if not exists {table} (key_hash binary(32) not null, field varchar({field}) not null,"
        " `key` longtext not null, reason text not null, at timestamp(6) not null default current_timestamp(6),"
        f" primary key (key_hash, field)) engine=InnoDB {FORMAT} {EXACT}"
    )


def _mark(conn: MariaSession, action: Relation) -> str:
    row = conn.execute(f"select token from {action.place}").fetchone()
    return f"changeover {row[0]}" if row is not None else ""


def clear(conn: MariaSession, action: Relation, budget_ms: int) -> None:
    """Drop what served the copy, and the table where it has not been put in its place.

    There it loses its comment. What says which one is ours goes last. Locks: of the table, where it is in its place,
    for a moment, within the lock budget.
    """
    if not exists(conn, bare(action.place)):
        return
    place = find(conn, action)
    if place is not None and place.is_put(action):
        forget = f"alter table {place.table} comment = ''{conn.dialect.in_place[0]}"
        conn.execute(conn.dialect.limited(forget, budget_ms, queues=False))
    elif place is not None:
        require_alone(conn, place)
        conn.execute(f"drop table if exists {place.table}")
    for table in (action.rejected, action.account, action.notes, action.stream, action.sessions, action.place):
        if exists(conn, bare(table)):
            conn.execute(f"drop table {table}")


def find(conn: MariaSession, action: Relation) -> Place | None:
    """Return where our table is; None where it is gone, or was never made."""
    if not exists(conn, bare(action.place)):
        return None
    row = conn.execute(
        f"select t.table_name, p.withdrawn from {action.place} p join information_schema.tables t"
        " on t.table_schema = database() and t.table_name in (%s, %s)"
        " and t.table_comment = concat('changeover ', p.token)",
        (action.staged_name, action.name),
    ).fetchone()
    if row is None:
        return None
    staged = row[0] == action.staged_name
    return Place(name=str(row[0]), withdrawn=staged and bool(row[1]))


def present(conn: MariaSession, action: Relation) -> Place:
    """Return where our table is. Raises StepError when it is gone."""
    place = find(conn, action)
    if place is None:
        raise gone(action)
    return place


def require_alone(conn: MariaSession, place: Place) -> None:
    """Refuse to drop our table where foreign keys of others refer to it; raises StateError with their names."""
    rows = conn.execute(
        "select concat(table_schema, '.', table_name, '.', constraint_name)"
        " from information_schema.key_column_usage where referenced_table_schema = database()"
        " and referenced_table_name = %s and not (table_schema = database() and table_name = %s)",
        (place.name, place.name),
    ).fetchall()
    if rows:
        raise built_on(place.name, sorted({f"the foreign key {row[0]}" for row in rows}))


def enroll(conn: MariaSession, action: Relation) -> None:
    """Let a session be found by the run that comes after, by the lock that it holds for as long as it lives."""
    conn.execute("do get_lock(%s, 0)", (conn.name,))
    if exists(conn, bare(action.sessions)):
        conn.execute(f"insert into {action.sessions} (name) values (%s)", (conn.name,))


def end_others(conn: MariaSession, action: Relation) -> None:
    """End the sessions of this copy but for our own, and wait until they are gone.

    One of a process that stands still would hold the epoch for ever; another may still be about to rename the table: a
    RENAME that has begun comes to its end, for the server would lose triggers.
    """
    if not exists(conn, bare(action.sessions)):
        return
    found = f"select name from {action.sessions} where name <> %s"
    end_sessions(conn, found, (conn.name,), _PATIENCE)
    conn.execute(f"delete from {action.sessions} where name <> %s and is_used_lock(name) is null", (conn.name,))


def claim(conn: MariaSession, action: Relation, epoch: int) -> None:
    """Keep older runs from writing. Ends their sessions, which may hold the epoch still."""
    present(conn, action)
    end_others(conn, action)
    conn.execute(f"update {action.place} set epoch = %s where epoch < %s", (epoch, epoch))
    with conn.transaction():
        hold(conn, action, epoch)


def hold(conn: MariaSession, action: Relation, epoch: int) -> None:
    """Keep newer runs from taking over until the transaction ends. Raises FencedError when one has."""
    row = conn.execute(f"select epoch from {action.place} lock in share mode").fetchone()
    if row is None or row[0] != epoch:
        raise overtaken(action)


def move(conn: MariaSession, place: Place, name: str, action: Relation, budget_ms: int) -> None:
    """Give the table another name. Locks: exclusive on it, at a moment within the budget in which nobody has it open.

    It does not queue: whoever else wants the table never stands behind it.
    """
    renamed = f"rename table {place.table} to {quote(name)}"
    try:
        carry_out_unqueued(conn, renamed, budget_ms)
    except pymysql.err.MySQLError as error:
        if code_of(error) != _TAKEN:
            raise
        raise taken(f"something has the name {name}", action) from None


def mark(conn: MariaSession, action: Relation, *, withdrawn: bool) -> None:
    """Note whether a rollback takes the table away, and has not yet looked."""
    conn.execute(f"update {action.place} set withdrawn = %s", (int(withdrawn),))


def number_from(conn: MariaSession, action: Relation, place: Place, least: int) -> None:
    """Let the numbers of new rows begin not before `least`; never beyond the last of the type.

    Nor before those that are there: the server sees to that. Locks: exclusive on it, waited for as long as the
    session waits for locks.
    """
    kind = conn.execute(
        "select data_type from information_schema.columns where table_schema = database() and table_name = %s"
        " and column_name = %s",
        (place.name, action.numbered),
    ).fetchone()
    last = _NUMBERS.get(str(kind[0]), 0) - 1 if kind is not None else -1
    if least > 1:
        conn.execute(f"alter table {place.table} auto_increment = {min(least, last)}")
