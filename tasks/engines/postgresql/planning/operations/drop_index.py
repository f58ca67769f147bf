"""drop_index: the index stays, and is kept up, until `contract`."""

import difflib
from collections.abc import Sequence

from tasks.engines.postgresql.catalogue.session import reading
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.spec_draft import Connection
from tasks.model.catalogue import Index
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import AnyOperation, DropIndex
from tasks.model.plan import Finding

_TABLES = """
select wanted.written, found.table_name
from unnest(%(written)s::text[], %(schemas)s::text[], %(names)s::text[]) as wanted (written, schema_name, name)
left join lateral (
    select tn.nspname || '.' || t.relname as table_name
    from pg_catalog.pg_index i
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_class t on t.oid = i.indrelid
    join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
    where c.relname = wanted.name and n.nspname = any (
        case when wanted.schema_name is null then %(path)s::text[] else array[wanted.schema_name] end)
    order by array_position(%(path)s::text[], n.nspname::text)
    limit 1
) as found on true
"""
_KNOWN = """
select c.relname, n.nspname || '.' || c.relname, n.nspname = any (%(path)s::text[])
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('i', 'I') and n.nspname !~ '^(pg_|information_schema$|changeover$)'
order by 2
"""


def tables_of_indexes(conn: Connection, work: Sequence[tuple[str, AnyOperation]], search_path: str) -> dict[str, str]:
    """Return, for each index that is dropped, as written, the full name of its table; `work` has the place of each.

    An index without a schema is the first of its name along the search path. Raises SpecError for one that
    does not exist, with names that are close.
    """
    dropped = {op.name: f"{where}.name" for where, op in work if isinstance(op, DropIndex)}
    if not dropped:
        return {}
    parts = [name.rpartition(".") for name in dropped]
    with reading(conn, search_path) as path:
        rows = conn.execute(
            _TABLES,
            {
                "path": path,
                "written": list(dropped),
                "schemas": [schema if dot else None for schema, dot, _ in parts],
                "names": [name for _, _, name in parts],
            },
        ).fetchall()
        for written, table in rows:
            if table is None:
                raise SpecError(f"there is no index {written}", where=dropped[written], hint=_hint(conn, written, path))
    return dict(rows)


def _hint(conn: Connection, written: str, path: list[str]) -> str:
    known: dict[str, str] = {}
    for name, full_name, on_path in conn.execute(_KNOWN, {"path": path}):
        known[full_name] = full_name
        known.setdefault(name, name if on_path else full_name)
    close = [known[name] for name in difflib.get_close_matches(written, known, n=3)]
    return f"Did you mean {' or '.join(dict.fromkeys(close))}?" if close else "Correct the name, or add its schema."


def draft_drop_index(op: DropIndex, draft: TableDraft, where: str) -> None:
    """Drop it when contracted, under a short exclusive lock of its table."""
    bare = op.name.rpartition(".")[2]
    index = draft.table.index(bare)
    assert index is not None
    if draft.dropped_at is not None or draft.renamed_to is not None:
        raise SpecError(
            f"another operation concerns the whole table {draft.full_name} of the index {bare}",
            where=where,
            hint="Put the two into migrations of their own, one after the other.",
        )
    _refuse(draft, index, where)
    if draft.replica_identity is not None and draft.replica_identity[0] == bare:
        raise SpecError(
            f"another operation makes the index {bare} the replica identity", where=where, hint="Remove one of the two."
        )
    statement = f"drop index if exists {quote(draft.table.schema_name)}.{quote(bare)}"
    if statement in draft.tidy:
        raise SpecError(
            f"the index {draft.table.schema_name}.{bare} is dropped twice", where=where, hint="Remove one of the two."
        )
    draft.tidy.append(statement)
    if index.unique:
        draft.findings.append(
            Finding(
                rule="SAF-02",
                severity="warning",
                message=f"index {bare} is unique: once contracted, nothing refuses duplicates, and INSERT ... ON"
                " CONFLICT that relies on it fails",
                where=draft.full_name,
            )
        )


def _refuse(draft: TableDraft, index: Index, where: str) -> None:
    if index.constraint is not None:
        raise SpecError(
            f"the index {index.name} belongs to the constraint {index.constraint} of {draft.full_name}",
            where=where,
            hint="Drop the constraint, with drop_constraint.",
        )
    if index.replica_identity:
        raise SpecError(
            f"the index {index.name} is the replica identity of {draft.full_name}",
            where=where,
            hint="Choose another one, with set_replica_identity, in a migration before this one.",
        )
    resting = draft.rehearsal.conn.execute(
        "select format('%%s of %%s', k.conname, k.conrelid::pg_catalog.regclass) from pg_catalog.pg_constraint k"
        " where k.conindid = to_regclass(%s) and k.contype = 'f' order by 1",
        (f"{quote(draft.table.schema_name)}.{quote(index.name)}",),
    ).fetchall()
    if resting:
        raise SpecError(
            f"foreign keys rest on the index {index.name}: {', '.join(row[0] for row in resting)}",
            where=where,
            hint="Drop these foreign keys first.",
        )
