"""Where a table of ours is: known by its oid, whatever it is called, and in whichever schema it is.

Everything about it stands in a schema of ours beside it, and changes with it in one transaction. Which run may write
says the epoch there: whoever writes holds it still, and an older one finds that it is no longer its own.
"""

from typing import Any, Final

import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.receiving.place import built_on, gone, overtaken, taken
from tasks.model.base import Record
from tasks.model.errors import PreflightError
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.transfer_steps import Relation

_TAKEN = ("42P07", "42710")
WRITING: Final = "backfill"
"""What sessions are for that write rows."""
_BUILT_ON_IT: Final = """\
with ours as (
  select pg_catalog.to_regclass(%(table)s)::oid as oid),
going as (
  select 'pg_catalog.pg_class'::regclass as classid, oid as objid from ours
  union all
  select d.classid, d.objid from pg_catalog.pg_depend d join ours on d.refobjid = ours.oid
  where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
    and d.deptype in ('a', 'i')
  union all
  select 'pg_catalog.pg_type'::regclass, t.oid from pg_catalog.pg_type t join ours on t.typrelid = ours.oid
  union all
  select 'pg_catalog.pg_type'::regclass, t.typarray from pg_catalog.pg_type t join ours on t.typrelid = ours.oid)
select distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from pg_catalog.pg_depend d join going on (d.refclassid, d.refobjid) = (going.classid, going.objid)
where d.deptype = 'n'
  and not exists (select from pg_catalog.pg_depend o join ours on o.refobjid = ours.oid
                  where (o.classid, o.objid) = (d.classid, d.objid) and o.deptype in ('a', 'i')
                    and o.refclassid = 'pg_catalog.pg_class'::regclass)
order by problem"""


def session_of(action: Relation) -> str:
    """Return how the names of all sessions begin that have to do with this table of ours, and with no other."""
    return f"changeover {action.helpers.removeprefix(OWN_PREFIX).removeprefix('transfer_')}"


class Place(Record):
    """Where our table is now."""

    schema_name: str
    name: str
    withdrawn: bool = False
    """A rollback has taken it away, and not yet looked for what would be lost."""

    def is_put(self, action: Relation) -> bool:
        """Tell whether it is where it belongs."""
        return (self.schema_name, self.name) == (action.schema_name, action.name)

    @property
    def table(self) -> str:
        """Its name, quoted and qualified."""
        return f"{quote(self.schema_name)}.{quote(self.name)}"


def require_free(conn: Connection, action: Relation) -> None:
    """Refuse a table that exists, and a schema that does not, or may not be used; raises PreflightError."""
    row = conn.execute(
        "select pg_catalog.to_regnamespace(%(s)s) is not null,"
        " pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(%(s)s)::oid, 'create'),"
        " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create'),"
        " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'temporary'),"
        " pg_catalog.to_regclass(%(t)s) is null, pg_catalog.to_regnamespace(%(h)s) is null",
        {"s": quote(action.schema_name), "t": action.target, "h": quote(action.helpers)},
    ).fetchone()
    assert row is not None
    schema, may_make, may_schema, may_compare, free, clean = row
    found = (
        (not schema, f"there is no schema {action.schema_name}", "Create it, or name another."),
        (schema and not may_make, f"the role may not create tables in {action.schema_name}", "Grant it CREATE."),
        (not may_schema, "the role may not create a schema", "Grant it CREATE on the database."),
        (
            not may_compare,
            "the role may not create temporary tables, by which rows are compared",
            "Grant it TEMPORARY on the database.",
        ),
        (
            not free,
            f"{action.full_name} exists already",
            "Name another table, or rename that one: nothing is ever written into it.",
        ),
        (
            not clean,
            f"the schema {action.helpers} exists already: another copy of the same name has left it",
            "Roll that migration back, or give this one another name.",
        ),
    )
    for wrong, what, hint in found:
        if wrong:
            raise PreflightError(what, where=action.database, hint=hint)


def make(conn: Connection, action: Relation, epoch: int) -> None:
    """Make schema, table and account, within a transaction; nothing where they are there."""
    if _has_schema(conn, action):
        return
    conn.execute(f"create schema {quote(action.helpers)}")
    conn.execute(action.create.encode())
    # With keys: a publication for all tables refuses updates of what has none.
    conn.execute(
        f"create table {action.place}"
        " (one boolean primary key default true check (one), epoch bigint not null, relation oid not null,"
        " withdrawn boolean not null default false)"
    )
    conn.execute(
        f"insert into {action.place} (epoch, relation) values (%s, %s::regclass::oid)",
        (epoch, action.staged),
    )
    conn.execute(
        f"create table {action.rejected} (key text not null, field text not null, reason text not null,"
        " at timestamptz not null default pg_catalog.clock_timestamp(), primary key (key, field))"
    )
    conn.execute(
        f"create table {action.account} (shard integer primary key, position text[], previous text[],"
        " last bigint not null default 0, read bigint not null default 0, written bigint not null default 0,"
        " rejected bigint not null default 0)"
    )


def clear(conn: Connection, action: Relation) -> None:
    """Drop account and schema, and with them the table where it has not been put in its place."""
    if not _has_schema(conn, action):
        return
    place = find(conn, action)
    tables = [action.place, action.rejected, action.account, action.notes, action.stream]
    if place is not None and place.schema_name == action.helpers:
        require_alone(conn, place)
        tables.append(place.table)
    conn.execute(f"drop table if exists {', '.join(tables)}")
    conn.execute(f"drop schema {quote(action.helpers)}")


def find(conn: Connection, action: Relation) -> Place | None:
    """Return where our table is; None where it is gone, or was never made."""
    if not _has_schema(conn, action):
        return None
    row = conn.execute(
        f"select n.nspname, c.relname, p.withdrawn from {action.place} p"
        " join pg_catalog.pg_class c on c.oid = p.relation join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    ).fetchone()
    return Place(schema_name=row[0], name=row[1], withdrawn=row[2]) if row is not None else None


def present(conn: Connection, action: Relation) -> Place:
    """Return where our table is. Raises StepError when it is gone."""
    place = find(conn, action)
    if place is None:
        raise gone(action)
    return place


def require_alone(conn: Connection, place: Place) -> None:
    """Refuse to drop our table where others have built on it; raises StateError with what that is.

    What goes with the table is no matter: its own keys, defaults, triggers and policies.
    """
    built = [row[0] for row in conn.execute(_BUILT_ON_IT, {"table": place.table})]
    if built:
        raise built_on(f"{place.schema_name}.{place.name}", built)


def end_writers(conn: Connection, action: Relation) -> None:
    """End the sessions of runs that write rows: a process that stands still would hold the table for ever."""
    conn.execute(
        "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
        " where application_name like %s and datname = pg_catalog.current_database()",
        (f"{session_of(action)}%{WRITING}",),
    )


def claim(conn: Connection, action: Relation, epoch: int) -> None:
    """Keep older runs from writing, within a transaction. Ends their sessions, which may hold the epoch still."""
    present(conn, action)
    end_writers(conn, action)
    # Nobody but us has this table: whoever waits for it harms nobody.
    conn.execute("set local lock_timeout = '60s'")
    conn.execute(f"update {action.place} set epoch = %s where epoch < %s", (epoch, epoch))
    hold(conn, action, epoch)


def hold(conn: Connection, action: Relation, epoch: int) -> None:
    """Keep newer runs from taking over until the transaction ends. Raises FencedError when one has."""
    row = conn.execute(f"select epoch from {action.place} for share").fetchone()
    if row is None or row[0] != epoch:
        raise overtaken(action)


def move(conn: Connection, place: Place, schema: str, action: Relation) -> None:
    """Move the table, with its keys and numbers, to another schema. Locks: ACCESS EXCLUSIVE on it."""
    try:
        conn.execute(f"alter table {place.table} set schema {quote(schema)}")
    except psycopg.Error as error:
        if error.sqlstate not in _TAKEN:
            raise
        raise taken(f"{schema} has something of the name of the table, or of its key or sequence,", action) from None


def mark(conn: Connection, action: Relation, *, withdrawn: bool) -> None:
    """Note whether a rollback has taken the table away, and not yet looked."""
    conn.execute(f"update {action.place} set withdrawn = %s", (withdrawn,))


def number_from(conn: Connection, place: Place, column: str, least: int) -> None:
    """Let the numbers of new rows begin after those that are there, and not before `least`; never beyond the last.

    Nor before the next one that it has: whoever writes already is not given a number twice.
    """
    sequence = "pg_catalog.pg_get_serial_sequence(%(table)s, %(column)s)"
    # What is in the statement beside its parameters is a name, and may have a % in it.
    there = f"select coalesce(max({quote(column)}), 0)::bigint + 1 from {place.table}".replace("%", "%%")
    given = f"coalesce(pg_catalog.pg_sequence_last_value({sequence}::pg_catalog.regclass), 0) + 1"
    last = f"select seqmax from pg_catalog.pg_sequence where seqrelid = {sequence}::pg_catalog.regclass"
    conn.execute(
        f"select pg_catalog.setval({sequence}, least(greatest(%(least)s, ({there}), {given}, 1), ({last})), false)",
        {"table": place.table, "column": column, "least": least},
    )


def _has_schema(conn: Connection, action: Relation) -> bool:
    row: Any = conn.execute("select pg_catalog.to_regclass(%s) is not null", (action.place,)).fetchone()
    return bool(row[0])
