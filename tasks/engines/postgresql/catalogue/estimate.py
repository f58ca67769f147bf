"""How large tables are, without reading them where that can be helped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tasks.engines.postgresql.catalogue import query
from tasks.engines.postgresql.catalogue.session import reading
from tasks.model.catalogue import Table
from tasks.model.plan import TableEstimate

SAMPLE_PAGES = 2048
"""The most blocks that are read of a table without statistics."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A part of a table that holds rows: the table, or a leaf of a partitioned one."""

    table: str
    part_schema: str
    part_name: str
    rows: float
    """As of the last ANALYZE; -1: never."""
    pages_then: int
    """Blocks, at that time."""
    pages: int
    """Blocks, now; 0 for what has no rows of its own."""
    bytes: int

    @property
    def analysed(self) -> bool:
        """True when the statistics say how many rows there were."""
        # A table that was vacuumed while it was empty has statistics that say nothing about it.
        return self.rows >= 0 and self.pages_then > 0

    @property
    def scaled_rows(self) -> int:
        """The rows of the statistics, at the present size."""
        return round(self.rows / self.pages_then * self.pages) if self.analysed else 0


def room(conn: psycopg.Connection[Any], relation: str) -> int:
    """Return the bytes of a table, quoted and qualified, with partitions, TOAST, indexes and dead space.

    One more of its largest index is added: what an index build sorts lies on the disk, too. Not the WAL.
    """
    row = conn.execute(
        """
        with recursive parts (oid) as (
          select to_regclass(%(table)s)::oid
          union select i.inhrelid from pg_catalog.pg_inherits i join parts on i.inhparent = parts.oid
        )
        select coalesce(sum(pg_catalog.pg_total_relation_size(p.oid)), 0)::bigint + coalesce(max(
          (select max(pg_catalog.pg_relation_size(i.indexrelid)) from pg_catalog.pg_index i
           where i.indrelid = p.oid)), 0)
        from parts p
        """,
        {"table": relation},
    ).fetchone()
    assert row is not None
    return int(row[0])


def estimates(conn: psycopg.Connection[Any], tables: Sequence[Table]) -> tuple[TableEstimate, ...]:
    """Return rows and bytes (TOAST included, indexes not) of each table, in the order given.

    Rows are those of the statistics, scaled to the present size of the table. A table that was never analysed
    is counted under ACCESS SHARE, up to `SAMPLE_PAGES` blocks: the rest is taken to be as dense. Partitions
    are summed. Views and foreign tables, whose rows are elsewhere, have 0.
    """
    names = {"schemas": [table.schema_name for table in tables], "names": [table.name for table in tables]}
    with reading(conn), conn.cursor(row_factory=class_row(Extent)) as cursor:
        extents = cursor.execute(query("extents"), names).fetchall()
        unknown = [extent for extent in extents if extent.pages and not extent.analysed]
        counted = dict(zip(unknown, _count(conn, unknown), strict=True))
    rows: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for extent in extents:
        rows[extent.table] += counted.get(extent, extent.scaled_rows)
        size[extent.table] += extent.bytes
    return tuple(
        TableEstimate(table=table.full_name, rows=rows[table.full_name], bytes=size[table.full_name])
        for table in tables
    )


def _count(conn: psycopg.Connection[Any], extents: Sequence[Extent]) -> list[int]:
    """Count the rows in the first blocks of each, in one statement, and extrapolate by blocks."""
    if not extents:
        return []
    one = "(select {position}::int, count(*) from only {table} where ctid < {end}::tid)"
    statement = sql.SQL(" union all ").join(
        sql.SQL(one).format(
            position=sql.Literal(position),
            table=sql.Identifier(extent.part_schema, extent.part_name),
            end=sql.Literal(f"({SAMPLE_PAGES},0)"),
        )
        for position, extent in enumerate(extents)
    )
    counts = [0] * len(extents)
    with conn.cursor() as cursor:
        for position, rows in cursor.execute(statement):
            counts[position] = round(rows * max(extents[position].pages / SAMPLE_PAGES, 1))
    return counts
