"""How far the shards of a step have come: one row a shard, changed in the transaction of every batch."""

from collections.abc import Sequence
from enum import StrEnum

from psycopg.types.json import Jsonb

from tasks.ledger._session import Connection, Instant, Statement, all_rows, atomic, one_row, write, write_many
from tasks.model.base import Record
from tasks.model.errors import DataChanged, FencedError, StateError

Key = tuple[str, ...]
"""The values of a key, in the order of its columns, each as the database prints it."""


_PAUSE = 30.0
"""Seconds: what is longer between two batches was a pause, or a throttle, and counts no further."""


_LOCK_STEP = Statement(
    postgresql="select 1 from changeover.steps where migration = %s and key = %s for no key update",
    mysql=("select 1 from changeover.steps where migration = %s and `key` = %s for update",),
)
_CURSORS = Statement(
    postgresql="""
        select step, shard, low, high, position, rows, batches, batch_rows, state, started_at, updated_at
          from changeover.cursors where migration = %s and step = %s order by shard
        """,
    mysql=(
        """
        select step, shard, low, high, position, `rows`, batches, batch_rows, state, started_at, updated_at
          from changeover.cursors where migration = %s and step = %s order by shard
        """,
    ),
    json=("low", "high", "position"),
)
_ADVANCE = Statement(
    postgresql="""
        update changeover.cursors
           set position = %(position)s, rows = rows + %(rows)s, batches = batches + 1,
               batch_rows = %(batch_rows)s, state = 'running',
               started_at = coalesce(started_at, clock_timestamp()), updated_at = clock_timestamp(),
               seconds = seconds
                   + least(extract(epoch from clock_timestamp() - greatest(updated_at, started_at)), %(pause)s)
         where migration = %(id)s and step = %(step)s and shard = %(shard)s
           and (%(batches)s::bigint is null or batches = %(batches)s::bigint)
        """,
    # Assignments are made from left to right here: `seconds` comes before what it is computed from.
    mysql=(
        """
        update changeover.cursors
           set seconds = seconds + least(
                   timestampdiff(microsecond, greatest(updated_at, coalesce(started_at, updated_at)), sysdate(6)) / 1e6,
                   %(pause)s),
               position = %(position)s, `rows` = `rows` + %(rows)s, batches = batches + 1,
               batch_rows = %(batch_rows)s, state = 'running',
               started_at = coalesce(started_at, sysdate(6)), updated_at = sysdate(6)
         where migration = %(id)s and step = %(step)s and shard = %(shard)s
           and (%(batches)s is null or batches = %(batches)s)
        """,
    ),
)
_FINISH = Statement(
    postgresql="""
        update changeover.cursors
           set state = 'done', started_at = coalesce(started_at, clock_timestamp()),
               updated_at = clock_timestamp()
         where migration = %s and step = %s and shard = %s
        """,
    mysql=(
        """
        update changeover.cursors
           set state = 'done', started_at = coalesce(started_at, sysdate(6)), updated_at = sysdate(6)
         where migration = %s and step = %s and shard = %s
        """,
    ),
)
_PROGRESS = Statement(
    postgresql="""
        select c.step, sum(c.rows)::bigint as rows, sum(c.batches)::bigint as batches, count(*) as shards,
               count(*) filter (where c.state = 'done') as shards_done,
               min(c.started_at) as started_at, max(c.updated_at) as updated_at, max(c.seconds) as seconds
          from changeover.cursors c join changeover.steps s on s.migration = c.migration and s.key = c.step
         where c.migration = %s
         group by c.step, s.position order by s.position
        """,
    mysql=(
        """
        select c.step, cast(sum(c.`rows`) as signed) as `rows`, cast(sum(c.batches) as signed) as batches,
               count(*) as shards, cast(sum(c.state = 'done') as signed) as shards_done,
               min(c.started_at) as started_at, max(c.updated_at) as updated_at, max(c.seconds) as seconds
          from changeover.cursors c join changeover.steps s on s.migration = c.migration and s.`key` = c.step
         where c.migration = %s
         group by c.step, s.position order by s.position
        """,
    ),
)


class CursorState(StrEnum):
    """Where a shard stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"


class Cursor(Record):
    """A shard: a range of keys, and the last key that is done."""

    step: str
    shard: int
    low: Key | None
    """The range starts after this key; None: at the very first."""
    high: Key | None
    """The range ends with this key."""
    position: Key | None
    """The last key that is done; None: nothing is."""
    rows: int
    batches: int
    batch_rows: int | None
    """The present size of a batch; None: not decided yet."""
    state: CursorState
    started_at: Instant | None
    updated_at: Instant


class Totals(Record):
    """All shards of a step together."""

    step: str
    rows: int
    batches: int
    shards: int
    shards_done: int
    started_at: Instant | None
    updated_at: Instant
    seconds: float
    """Of work, pauses left out: those of the shard that took longest, for shards run beside each other."""

    @property
    def rate(self) -> float:
        """Rows a second, while it was worked on."""
        return self.rows / max(self.seconds, 0.001)


def create_cursors(
    conn: Connection, migration: str, step: str, ranges: Sequence[tuple[Key | None, Key | None]]
) -> tuple[Cursor, ...]:
    """Give a step a cursor a range, unless it has cursors already, and return those that it has.

    A run that resumes thus goes on with the ranges of the first, however many shards it would choose itself.
    Call it after `fence`. Locks the step's row. Raises StateError when the plan has no such step.
    """
    with atomic(conn):
        locked = one_row(conn, _LOCK_STEP, (migration, step))
        if locked is None:
            raise _lost(migration, step, "the plan in the ledger has no such step")
        present = cursors(conn, migration, step)
        if present or not ranges:
            return present
        write_many(
            conn,
            "insert into changeover.cursors (migration, step, shard, low, high) values (%s, %s, %s, %s, %s)",
            [(migration, step, shard, _json(low), _json(high)) for shard, (low, high) in enumerate(ranges)],
        )
        return cursors(conn, migration, step)


def cursors(conn: Connection, migration: str, step: str) -> tuple[Cursor, ...]:
    """Return the cursors of a step, by shard."""
    rows = all_rows(conn, _CURSORS, (migration, step))
    return tuple(Cursor.model_validate(row) for row in rows)


def advance(
    conn: Connection,
    migration: str,
    step: str,
    shard: int,
    position: Key,
    rows: int,
    batch_rows: int,
    *,
    batches: int | None = None,
) -> None:
    """Move a cursor to the last key of a batch, in the transaction of the batch, after `fence`.

    One update. `rows` is what this batch did; `batch_rows` the size that the next one should have. `batches`,
    when given, is the count that the caller knows: FencedError when another worker of the same run has moved
    the cursor since, for example after a task was started twice. StateError when there is no such cursor.
    """
    moved = write(
        conn,
        _ADVANCE,
        {
            "id": migration,
            "step": step,
            "shard": shard,
            "position": _json(position),
            "rows": rows,
            "batch_rows": batch_rows,
            "batches": batches,
            "pause": _PAUSE,
        },
    )
    if moved:
        return
    if batches is not None and any(c.shard == shard for c in cursors(conn, migration, step)):
        raise FencedError(
            "another worker has moved this cursor",
            where=f"{migration}: {step}, shard {shard}",
            hint="Let the other worker finish; the batch of this one is rolled back.",
            changed=DataChanged.ROLLED_BACK,
        )
    raise _lost(migration, step, f"there is no cursor for shard {shard}")


def finish_cursor(conn: Connection, migration: str, step: str, shard: int) -> None:
    """Say that a shard is done, after `fence`; StateError when there is no such cursor."""
    done = write(conn, _FINISH, (migration, step, shard))
    if not done:
        raise _lost(migration, step, f"there is no cursor for shard {shard}")


def progress(conn: Connection, migration: str) -> dict[str, Totals]:
    """Return the totals of every step that has cursors, by step, in the order of the plan."""
    rows = all_rows(conn, _PROGRESS, (migration,))
    return {row["step"]: Totals.model_validate(row) for row in rows}


def _json(key: Key | None) -> Jsonb | None:
    return None if key is None else Jsonb(list(key))


def _lost(migration: str, step: str, what: str) -> StateError:
    return StateError(
        what,
        where=f"{migration}: {step}",
        hint="Load the migration again: it was planned anew or rolled back.",
    )
