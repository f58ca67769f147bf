"""Which unique key a backfill walks along."""

from collections.abc import Mapping

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.catalogue import Index, Table
from tasks.model.errors import PreflightError
from tasks.model.plan import Finding


def wanted_key(keys: Mapping[str, tuple[str, ...]], table: Table) -> tuple[str, ...] | None:
    """Return what `backfill.key` says of a table, under either of its names."""
    return keys.get(table.full_name) or keys.get(table.name)


def choose_key(draft: TableDraft, keys: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the columns to walk along: what `backfill.key` names, the primary key, or another."""
    wanted = wanted_key(keys, draft.table)
    candidates = [index for index in draft.table.indexes if walkable(draft.table, index)]
    if wanted is not None:
        if not any(key_columns(draft.table, index) == tuple(wanted) for index in candidates):
            raise PreflightError(
                f"no valid unique index on ({', '.join(wanted)}) without NULLs, conditions or expressions",
                where=draft.full_name,
                hint="Name the columns of such an index under backfill.key, or build one.",
            )
        return wanted
    for index in sorted(candidates, key=lambda i: (not i.primary, len(i.columns), i.name)):
        if not index.primary:
            draft.findings.append(
                Finding(
                    rule="SAF-11",
                    severity="note",
                    message=f"without a primary key, the backfill walks along {index.name}",
                    where=draft.full_name,
                )
            )
        return key_columns(draft.table, index)
    raise PreflightError(
        f"{draft.full_name} has no key to walk along",
        where=draft.full_name,
        hint="Build a unique index concurrently on columns that are NOT NULL, then run again.",
    )


def key_columns(table: Table, index: Index) -> tuple[str, ...]:
    """Return the key columns of a unique index, without those that are only included; empty if unknown."""
    constraint = table.constraint(index.constraint) if index.constraint else None
    if constraint is not None:
        return constraint.columns
    return () if " INCLUDE (" in index.definition else index.columns


def demand(table: Table, index: Index) -> tuple[str, str]:
    """Return what an index of a table demands of two rows, whatever it is called and on whichever table it is.

    The definition of an index has no operators: one of an exclusion constraint reads like one that demands nothing.
    """
    constraint = table.constraint(index.constraint) if index.constraint else None
    if constraint is not None and constraint.kind == "exclusion":
        return "exclusion", constraint.definition.removesuffix(" INITIALLY DEFERRED").removesuffix(" DEFERRABLE")
    return "unique" if index.unique else "", index.definition.partition(" USING ")[2]


def walkable(table: Table, index: Index) -> bool:
    """Tell whether every row has a key of its own in the index, without NULLs."""
    if not (index.unique and index.valid) or index.partial or index.expressions or index.without_overlaps:
        return False
    columns = [table.column(name) for name in key_columns(table, index)]
    return bool(columns) and all(column is not None and not column.nullable for column in columns)
