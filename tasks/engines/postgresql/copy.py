"""The statement of one batch of a copy: rows go into the shadow, and none that is there already is touched.

What the shadow has came through dual write, and is newer. What is read stays locked against deletion until the
batch commits: whoever deletes a row meanwhile waits, and then finds its copy (READ COMMITTED); whoever deleted it
before us leaves nothing to read. Without that lock a deleted row comes back.
"""

from collections.abc import Sequence

from tasks.engines.postgresql.key_ranges import condition
from tasks.model.names import quote
from tasks.model.plan import Copy


def copy_range(action: Copy, low: Sequence[str] | None, high: Sequence[str] | None) -> str:
    """Return the statement that copies the rows of a range."""
    return copy_where(action, condition(action, low, high))


def copy_where(action: Copy, where: str) -> str:
    """Return the statement that copies the rows that meet a condition."""
    columns = ", ".join(quote(a.column) for a in action.assignments)
    values = ", ".join(f"({a.expression}\n)" for a in action.assignments)
    order = ", ".join(quote(column) for column in action.key)
    alias = quote(action.alias)
    arbiter = ", ".join(quote(column) for column in action.arbiter or action.target_key)
    return (
        f"insert into {action.target} ({columns}) overriding system value select {values}"
        f" from {action.table} as {alias} where {where} order by {order}"
        f" for key share of {alias}"
        f" on conflict ({arbiter}) do nothing"
    )


def lock_first(action: Copy) -> str:
    """Return what keeps the order of locks that applications have: the table, then its shadow."""
    return f"lock table {action.table} in row share mode"
