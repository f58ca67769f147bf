"""Compare a table with its shadow while applications write to both, and carry over what differs.

Dual write commits with the statement that it follows, so that one statement sees table and shadow at the same
moment: what differs then, and is not noted to be carried over, does differ. Two passes: rows of the table against
the shadow, and rows of the shadow that the table does not have. Where a range of one is the same range of the other,
the first pass sees both ways at once, and the second only what the shadow has behind the last row of the table.
"""

import time
from collections.abc import Callable, Sequence

import psycopg

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.differences import TIMES, refuse_unless_repaired, unequal
from tasks.engines.journal import Journal
from tasks.engines.postgresql.backfill import prepare
from tasks.engines.postgresql.blockers import Connection, before_deadlocks
from tasks.engines.postgresql.drain import drain
from tasks.engines.postgresql.key_ranges import condition, count, end_of_batch, last_key
from tasks.engines.records import FIRST_ROWS, Key
from tasks.model.errors import DataChanged, StepError
from tasks.model.names import quote
from tasks.model.plan import differing
from tasks.model.steps import Copy, Reconcile

MOST = 1000
"""As many keys are carried over in one transaction."""
FRESH = 60.0
"""So old, in seconds, what ANALYZE has found may be when applications come to the shadow."""


def reconcile(conn: Connection, action: Reconcile, limits: Limits, journal: Journal) -> None:
    """Carry over what dual write has put aside, compare everything, repair, and record.

    Raises StepError when rows differ that the profile does not let it repair, or that still differ after that.
    Locks: ACCESS SHARE; row locks only on what differs, for one transaction. Each range is one snapshot.
    """
    prepare(conn, action.copy_of)
    conn.execute("set statement_timeout = 0")
    conn.execute(f"set lock_timeout = {before_deadlocks(conn, limits.lock_budget // 2)}")
    # A range is small beside the table: along the keys, never through a whole table for each range.
    conn.execute("set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off")
    conn.execute(f"analyze {action.copy_of.target}".encode())
    analyzed = time.monotonic()
    # What was refused once may have been corrected since.
    conn.execute(f"update {action.notes.table} set _changeover_failed = null where _changeover_failed is not null")
    drain(conn, action.drain, limits, between=journal.between, waiting=journal.waiting)
    compared, repaired = _compare(conn, action, limits, journal)
    drain(conn, action.drain, limits, between=journal.between, waiting=journal.waiting)
    _refuse_leftovers(conn, action)
    if repaired or time.monotonic() - analyzed > FRESH:
        conn.execute(f"analyze {action.copy_of.target}".encode())
    journal.counted(repaired)
    with conn.transaction():
        journal.begin(conn)
        journal.finish(conn)
    journal.waiting(f"{action.table}: {compared:,} rows compared, {repaired:,} carried over, none differs")


Find = Callable[[Connection, Reconcile, str], list[Key]]


def _compare(conn: Connection, action: Reconcile, limits: Limits, journal: Journal) -> tuple[int, int]:
    """Go both ways; return rows compared and keys carried over."""
    superfluous = _backwards(action.copy_of)
    if not (action.aligned and _can_join(conn, action)):
        compared, repaired, _ = _walk(conn, action, action.copy_of, _differing, limits, journal)
        return compared, repaired + _walk(conn, action, superfluous, _superfluous, limits, journal)[1]
    # Both sides are the range: they are joined as they come, in the order of their indexes.
    conn.execute("set enable_mergejoin = on")
    compared, repaired, last = _walk(conn, action, action.copy_of, _both_ways, limits, journal)
    conn.execute("set enable_mergejoin = off")
    return compared, repaired + _walk(conn, action, superfluous, _superfluous, limits, journal, last)[1]


def _walk(
    conn: Connection,
    action: Reconcile,
    walk: Copy,
    find: Find,
    limits: Limits,
    journal: Journal,
    position: Key | None = None,
) -> tuple[int, int, Key | None]:
    """Go through all ranges of a key behind a position; return rows compared, keys carried over, and the last key."""
    high = last_key(conn, walk, position)
    size, compared, repaired = FIRST_ROWS, 0, 0
    while high is not None and position != high:
        journal.between()
        end = end_of_batch(conn, walk, position, high, size)
        rows = size if end is not None else count(conn, walk, position, high)
        end = end or high
        started = time.monotonic()
        repaired += _one_range(conn, action, find, condition(walk, position, end), limits, journal)
        compared += rows
        size = next_size(size, (time.monotonic() - started) * 1000, limits)
        position = end
    return compared, repaired, position


def _one_range(conn: Connection, action: Reconcile, find: Find, where: str, limits: Limits, journal: Journal) -> int:
    """Compare one range; carry over what differs, and look again."""
    carried = 0
    for _ in range(TIMES):
        keys = _looked(conn, action, find, where)
        if not keys:
            return carried
        refuse_unless_repaired(action.table, len(keys), limits)
        for start in range(0, len(keys), MOST):
            put_aside(conn, action, keys[start : start + MOST])
        drain(conn, action.drain, limits, between=journal.between, waiting=journal.waiting)
        carried += len(keys)
    keys = _looked(conn, action, find, where)
    if keys:
        raise unequal(action.table, len(keys))
    return carried


def _looked(conn: Connection, action: Reconcile, find: Find, where: str) -> list[Key]:
    """Compare a range, and ask whether all of what was read counts before it can be gone."""
    if not action.copy_of.after:
        return find(conn, action, where)
    with conn.transaction():
        keys = find(conn, action, where)
        conn.execute(action.copy_of.after.encode())
    return keys


def put_aside(conn: Connection, action: Reconcile, keys: Sequence[Key]) -> None:
    """Note keys for `drain`, which carries them over."""
    notes = action.notes
    columns = ", ".join(quote(column) for column in notes.columns)
    values = ", ".join(f"unnest(%s::text[])::{kind}" for kind in notes.types)
    arrays = [[key[i] for key in keys] for i in range(len(notes.columns))]
    statement = f"insert into {notes.table} ({columns.replace('%', '%%')}) select {values}"
    conn.execute(statement.encode(), arrays)


def _backwards(copy: Copy) -> Copy:
    """The same copy, walked along the key of the shadow."""
    types = {a.column: a.type for a in copy.assignments}
    return copy.model_copy(
        update={
            "table": copy.target,
            "key": copy.target_key,
            "key_types": tuple(types[column] for column in copy.target_key),
        }
    )


def _images(action: Reconcile, where: str) -> str:
    """The rows that the shadow should have, in a range, with what is noted of each."""
    copy = action.copy_of
    shown = [f"({a.expression}\n)::{a.type} as {quote(f'c{i}')}" for i, a in enumerate(copy.assignments)]
    noted = action.notes.columns
    shown += [f"{quote(copy.alias)}.{quote(column)} as {quote(f'n{i}')}" for i, column in enumerate(noted)]
    return f"(select {', '.join(shown)} from {copy.table} as {quote(copy.alias)} where {where})"


def _both_ways(conn: Connection, action: Reconcile, where: str) -> list[Key]:
    """Return what is, or would be, noted of rows of a range that only one of the two has, or one otherwise."""
    return [tuple(row) for row in conn.execute(_both(action, where).encode()).fetchall()]


def _can_join(conn: Connection, action: Reconcile) -> bool:
    """Whether the server can join the two like that: not by an equality that is not declared to follow an order."""
    try:
        with conn.transaction():
            conn.execute(f"explain {_both(action, 'true')}".encode())
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def _both(action: Reconcile, where: str) -> str:
    """The query for both ways.

    Joined by the key as it is in each, and not by its image, so that both come in the order of their indexes.
    """
    copy, notes = action.copy_of, action.notes
    wanted = ", ".join(f"t.{quote(f'c{i}')}" for i in range(len(copy.assignments)))
    found = ", ".join(f"s.{quote(a.column)}" for a in copy.assignments)
    names = [quote(f"n{i}") for i in range(len(notes.columns))]
    columns = [quote(column) for column in notes.columns]
    same = " and ".join(f"s.{c} = t.{n}" for c, n in zip(columns, names, strict=True))
    # A key is never NULL in either.
    keys = ", ".join(
        f"coalesce(t.{n}, s.{c}::{kind}) as {n}" for c, n, kind in zip(columns, names, notes.types, strict=True)
    )
    known = " and ".join(f"n.{c} = d.{n}" for c, n in zip(columns, names, strict=True))
    return (
        f"select {', '.join(f'd.{n}::text' for n in names)} from ("
        f"select {keys} from {_images(action, where)} as t"
        f" full join (select * from {copy.target} as s where {where}) as s on {same}"
        f" where t.{names[0]} is null or s.{columns[0]} is null or {differing(wanted, found, exact=True)} offset 0"
        f") as d where not exists (select from {notes.table} as n where {known})"
    )


def _matching(action: Reconcile) -> str:
    copy = action.copy_of
    number = {a.column: i for i, a in enumerate(copy.assignments)}
    return " and ".join(f"s.{quote(column)} = t.{quote(f'c{number[column]}')}" for column in copy.target_key)


def _differing(conn: Connection, action: Reconcile, where: str) -> list[Key]:
    """Return what is noted of rows of the table that the shadow does not have, or has otherwise."""
    copy = action.copy_of
    wanted = ", ".join(f"t.{quote(f'c{i}')}" for i in range(len(copy.assignments)))
    found = ", ".join(f"s.{quote(a.column)}" for a in copy.assignments)
    notes = action.notes
    listed = ", ".join(f"t.{quote(f'n{i}')}::text" for i in range(len(notes.columns)))
    known = " and ".join(f"n.{quote(column)} = t.{quote(f'n{i}')}" for i, column in enumerate(notes.columns))
    rows = conn.execute(
        f"select {listed} from {_images(action, where)} as t left join {copy.target} as s on {_matching(action)}"
        f" where (s.ctid is null or {differing(wanted, found, exact=True)})"
        f" and not exists (select from {notes.table} as n where {known})".encode()
    ).fetchall()
    return [tuple(row) for row in rows]


def _superfluous(conn: Connection, action: Reconcile, where: str) -> list[Key]:
    """Return what would be noted of rows that the shadow has and the table does not.

    In the types of the table, so that its index finds the row; and that row has to have this key as its image.
    """
    copy, notes = action.copy_of, action.notes
    listed = ", ".join(f"s.{quote(column)}::text" for column in notes.columns)
    image = {a.column: a.type for a in copy.assignments}
    old = [(quote(c), kind, image[c]) for c, kind in zip(notes.columns, notes.types, strict=True)]
    here = " and ".join(
        f"t.{c} = s.{c}" if kind == new else f"t.{c} = s.{c}::{kind} and t.{c}::{new} = s.{c}" for c, kind, new in old
    )
    known = " and ".join(f"n.{c} = s.{c}::{kind}" for c, kind, _ in old)
    rows = conn.execute(
        f"select {listed} from (select * from {copy.target} where {where}) as s"
        f" where not exists (select from {copy.table} as t where {here})"
        f" and not exists (select from {notes.table} as n where {known})".encode()
    ).fetchall()
    return [tuple(row) for row in rows]


def _refuse_leftovers(conn: Connection, action: Reconcile) -> None:
    """What is noted and has not failed came just now, and is carried over before the swap."""
    row = conn.execute(
        f"select count(_changeover_failed), min(_changeover_failed) from {action.notes.table}".encode()
    ).fetchone()
    if row and row[0]:
        raise StepError(
            f"{row[0]} rows of {action.table} cannot be carried over to its shadow: {row[1]}",
            where=action.table,
            hint="Correct those rows, or `up`, then run again.",
            changed=DataChanged.PARTIALLY,
        )
