"""Walking along a unique key in ranges: find the end of a range first, then work on `low < key <= high`.

A CTE with LIMIT can become a sequential scan a batch, and costs more when it does not (docs/benchmarks.md).
Keys travel as text with pinned settings, so that any type survives the way through the ledger.
"""

from collections.abc import Sequence

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.records import Key, Range
from tasks.model.names import quote
from tasks.model.steps import Backfill, Copy
from tasks.model.transfer_steps import DocumentTransfer, RowTransfer

Walk = Backfill | Copy | DocumentTransfer | RowTransfer
"""What walks along a key of a table."""

SAMPLE_PAGES = 1000
"""How many pages the bounds of shards are chosen from."""
_PAGES = """
select (pg_relation_size({0}) + coalesce(sum(pg_relation_size(part.relid)), 0)) / 8192
from pg_partition_tree({0}) as part where part.isleaf
"""
"""Of a table, or of its partitions: where it has some, its own file is empty; of itself it is no partition."""


def tuple_of(action: Walk) -> str:
    """The key columns as a row."""
    return "(" + ", ".join(quote(column) for column in action.key) + ")"


def key_literal(action: Walk, key: Sequence[str]) -> str:
    """A key as SQL, each value cast to the type of its column."""
    return "(" + ", ".join(f"{literal(v)}::{t}" for v, t in zip(key, action.key_types, strict=True)) + ")"


def condition(action: Walk, low: Sequence[str] | None, high: Sequence[str] | None) -> str:
    """`low < key <= high`, either end open when None."""
    parts = []
    if low is not None:
        parts.append(f"{tuple_of(action)} > {key_literal(action, low)}")
    if high is not None:
        parts.append(f"{tuple_of(action)} <= {key_literal(action, high)}")
    return " and ".join(parts) or "true"


def last_key(conn: Connection, action: Walk, low: Key | None = None) -> Key | None:
    """Return the greatest key, of those behind `low`; None when there is none.

    Taken once, after dual write is committed: every row that it does not cover has met the trigger, so the
    walk ends however fast applications insert.
    """
    order = ", ".join(f"t.{quote(column)} desc" for column in action.key)
    return _key(conn, action, f"where {condition(action, low, None)} order by {order} limit 1")


def end_of_batch(
    conn: Connection, action: Walk, low: Sequence[str] | None, high: Sequence[str] | None, rows: int
) -> Key | None:
    """Return the key of the row `rows` further on; None when fewer are left before `high`."""
    order = ", ".join(f"t.{quote(column)}" for column in action.key)
    return _key(conn, action, f"where {condition(action, low, high)} order by {order} offset {rows - 1} limit 1")


def count(conn: Connection, action: Walk, low: Sequence[str] | None, high: Sequence[str] | None) -> int:
    """Return how many rows a range has."""
    row = conn.execute(f"select count(*) from {action.table} as t where {condition(action, low, high)}").fetchone()
    return int(row[0]) if row else 0


def shard(conn: Connection, action: Walk, shards: int) -> list[Range]:
    """Return ranges of about the same size that cover every key up to the present greatest, each once."""
    high = last_key(conn, action)
    if high is None:
        return []
    bounds = _quantiles(conn, action, shards) if shards > 1 else []
    ends: list[Key | None] = [*bounds, high]
    return [(None if i == 0 else ends[i - 1], end) for i, end in enumerate(ends)]


def _quantiles(conn: Connection, action: Walk, shards: int) -> list[Key]:
    """Choose the bounds from a sample of pages: any bounds are right, even ones only make it faster."""
    names = ", ".join(quote(c) for c in action.key)
    listed = ", ".join(f"t.{quote(c)}::text" for c in action.key)
    order = ", ".join(f"t.{quote(c)}" for c in action.key)
    rows = conn.execute(
        f"""
        with sample as (
          select {names} from {action.table} tablesample system (
            (select least(100, {SAMPLE_PAGES} * 100.0 / greatest(({_PAGES.format(literal(action.table))}), 1))))
          union
          (select {names} from {action.table} order by {names} limit 1)
        ), numbered as (
          select {names}, row_number() over (order by {names}) as changeover_n, count(*) over () as changeover_total
          from sample
        )
        select {listed} from numbered as t
        where t.changeover_n in (
          select (t.changeover_total * i / {shards})::bigint from generate_series(1, {shards - 1}) as i)
        order by {order}
        """
    ).fetchall()
    return [tuple(row) for row in rows]


def _key(conn: Connection, action: Walk, tail: str) -> Key | None:
    # Made text outside: inside, each row that the offset skips would be, too; and `order by "id"` would sort by it.
    listed, names = (", ".join(f"t.{quote(column)}{cast}" for column in action.key) for cast in ("::text", ""))
    row = conn.execute(f"select {listed} from (select {names} from {action.table} as t {tail}) as t").fetchone()
    return tuple(row) if row else None
