"""Fill a range in parts, so that most of its rows stay on their pages, and keep their entries in several indexes.

An update writes a row anew. In one go over full pages every row has to leave its page, gets an entry in each index of
the table, and leaves a dead one: the table doubles, and so does what an index is written. Where no index has a column
that is filled, PostgreSQL keeps a row on its page as soon as there is room (HOT), and the first part makes room: its
rows leave, what they leave behind is dead once it has committed, and is taken away when the page is read again.

Which part a row belongs to is told by where it is, so it says nothing about which rows are filled: the last part is
the whole range, as if there were no others, and it alone moves the cursor. A row that moves between two parts, because
an application or a part before has updated it, is taken by a later one, or by that. A part is a transaction of its
own, fenced like a batch; a run that is killed between two begins the range again, and finds filled what they filled.

While somebody holds an older snapshot nothing dead goes, and the rows of all parts leave their pages, as in one go;
where `up` makes a NULL no part can tell that it has been there, and the last writes the row once more. Both are seen in
the last part, and the ranges that follow are done in one go.
"""

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.names import quote
from tasks.model.steps import Backfill

PARTS = 4
"""A quarter of a page is room enough for the next quarter, if rows grow by a third at most; a power of two."""
FEW = 200
"""A range of fewer rows has too few on a page."""


def in_parts(conn: Connection, action: Backfill) -> bool:
    """Whether there are several indexes, and none has a column that is filled, in whatever way.

    Entries of a single index are written in less time than it takes to read each range once for every part.
    """
    columns = ", ".join(literal(a.column) for a in action.assignments)
    row = conn.execute(
        f"""
        select (select count(*) from pg_catalog.pg_index where indrelid = {literal(action.table)}::regclass) > 1
        and not exists (
          select from pg_catalog.pg_index i
          join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attname in ({columns})
          where i.indrelid = {literal(action.table)}::regclass and (
            a.attnum = any (i.indkey::int2[])
            or exists (
              select from pg_catalog.pg_depend d
              where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid
                and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = i.indrelid
                and d.refobjsubid = a.attnum)))
        """.encode()
    ).fetchone()
    return bool(row and row[0])


def stayed(action: Backfill) -> str:
    """Return the query for how many rows of the table have stayed on their pages, to be asked twice in a transaction.

    The server counts from when it has last told others, so only the difference is one of this transaction.
    """
    table = f"{literal(action.table)}::regclass"
    return (
        "select coalesce(sum(pg_catalog.pg_stat_get_xact_tuples_hot_updated(one)), 0) from ("
        f"select {table}::oid union select relid from pg_catalog.pg_partition_tree({table})) as these(one)"
    )


def worth_it(rows: int, kept: int, scanned: int) -> bool:
    """Whether the last part of a range, which has written `rows` of it, speaks for doing the next one in parts."""
    return rows <= scanned // 2 and kept >= rows // 2


def belongs(action: Backfill, part: int) -> str:
    """Return the condition that a row belongs to a part, where it is now."""
    return f"pg_catalog.hashtid({quote(action.alias)}.ctid) & {PARTS - 1} = {part}"
