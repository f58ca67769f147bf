"""The statement of one batch of a copy: rows go into the shadow, and none that is there already is touched.

What the shadow has came through dual write, and is newer. What is read stays locked against deletion until the
batch commits: whoever deletes a row meanwhile waits, and then finds its copy (READ COMMITTED); whoever deleted it
before us leaves nothing to read. Without that lock a deleted row comes back. Where only some rows are copied, an update
waits, too: whoever makes a row one of the others has to find its copy, or to be found.
"""

from collections.abc import Sequence

from tasks.engines.postgresql.key_ranges import condition
from tasks.model.names import quote
from tasks.model.steps import Copy

WHOLE_NUMBERS = {"smallint", "integer", "bigint"}
"""Types of one order, and of one family of operators: an index of one finds values of another."""


def copy_range(action: Copy, low: Sequence[str] | None, high: Sequence[str] | None, *, alone: bool = False) -> str:
    """Return the statement that copies the rows of a range.

    `alone`: the shadow had no row of it a moment ago, and one that has come since is an error (23505). To look each row
    up first, as `on conflict` does, takes as long as to write it.
    """
    columns = ", ".join(quote(a.column) for a in action.assignments)
    values = ", ".join(f"({a.expression}\n)" for a in action.assignments)
    alias = quote(action.alias)
    # A bare name would be that of a value, if one has it.
    order = ", ".join(f"{alias}.{quote(column)}" for column in action.key)
    arbiter = ", ".join(quote(column) for column in action.arbiter or action.target_key)
    strength = "share" if action.where else "key share"
    chosen = f" and ({action.where}\n)" if action.where else ""
    rows = f"from {action.table} as {alias} where {condition(action, low, high)}{chosen} order by {order}"
    if action.each:
        # Locked within: of a row that changed while it was waited for, what it became is taken apart, not what it was.
        rows = f"from (select {alias}.* {rows} for share of {alias}) as {alias} cross join lateral {action.each}"
    else:
        rows += f" for {strength} of {alias}"
    return f"insert into {action.target} ({columns}) overriding system value select {values} {rows}" + (
        "" if alone else f" on conflict ({arbiter}) do nothing"
    )


def first_of_shadow(action: Copy, low: Sequence[str] | None, high: Sequence[str] | None) -> str | None:
    """Return the query for a row of the shadow in a range; None where it would not find one by an index."""
    types = {a.column: a.type for a in action.assignments}
    pairs = zip(action.key, action.key_types, strict=True)
    comparable = all(types.get(c) == t or {types.get(c), t} <= WHOLE_NUMBERS for c, t in pairs)
    if action.key != action.target_key or not comparable:
        return None
    # With the order, and not within `exists`, which forgets it: no scan of all of the shadow where there is none.
    order = ", ".join(quote(column) for column in action.key)
    return f"select true from {action.target} where {condition(action, low, high)} order by {order} limit 1"


def lock_first(action: Copy) -> str:
    """Return what keeps the order of locks that applications have: the table, then its shadow."""
    return f"lock table {action.table} in row share mode"
