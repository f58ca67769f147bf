"""set_replica_identity: at the swap, with all else that changes there; a rollback sets what was."""

import difflib

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.catalogue import Index
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.operations import SetReplicaIdentity

_INSTEAD = "Choose another index, or type: full."


def draft_replica_identity(op: SetReplicaIdentity, draft: TableDraft, where: str) -> None:
    """Set it at the swap; whether its columns stay as they are is looked at once all operations are known."""
    identity = op.identity
    if identity.index is not None:
        _refuse_index(draft, identity.index, f"{where}.identity.index")
        forward = _statement(draft, f"using index {quote(identity.index)}")
    else:
        forward = _statement(draft, identity.type)
        _refuse_silence(draft, identity.type, f"{where}.identity.type")
    draft.replica_identity = (identity.index, where)
    draft.swap(forward=[forward], inverse=[_statement(draft, _before(draft, where))])


def _statement(draft: TableDraft, identity: str) -> str:
    return draft.alter(f"replica identity {identity}")


def _before(draft: TableDraft, where: str) -> str:
    if draft.table.replica_identity != "index":
        return draft.table.replica_identity
    for index in draft.table.indexes:
        if index.replica_identity:
            return f"using index {quote(index.name)}"
    raise PreflightError(
        f"the index that was the replica identity of {draft.full_name} is gone: nothing could restore that",
        where=where,
        hint=f"alter table {draft.real} replica identity default; then plan again.",
    )


def _refuse_index(draft: TableDraft, name: str, where: str) -> None:
    index = draft.table.index(name)
    if index is None:
        names = [one.name for one in draft.table.indexes]
        close = difflib.get_close_matches(name, names, n=3)
        raise SpecError(
            f"{draft.full_name} has no index {name}",
            where=where,
            hint=f"Did you mean {' or '.join(close)}?" if close else "Create it first, in a migration of its own.",
        )
    wrong = _shortcoming(draft, index)
    if wrong is not None:
        raise SpecError(f"the index {name} cannot be a replica identity: {wrong}", where=where, hint=_INSTEAD)


def _shortcoming(draft: TableDraft, index: Index) -> str | None:
    if not index.unique:
        return "it is not unique"
    if not index.immediate:
        return "its constraint can be deferred"
    if index.partial:
        return "it is partial"
    if index.expressions:
        return "it has expressions"
    if not index.valid:
        return "it is not valid"
    nullable = [name for name in _keys(draft, index) if (column := draft.table.column(name)) and column.nullable]
    return f"{', '.join(nullable)} may be NULL" if nullable else None


def _keys(draft: TableDraft, index: Index) -> list[str]:
    """Included columns may be NULL."""
    row = draft.rehearsal.conn.execute(
        "select indnkeyatts from pg_catalog.pg_index where indexrelid = to_regclass(%s)",
        (f"{quote(draft.table.schema_name)}.{quote(index.name)}",),
    ).fetchone()
    return list(index.columns[: row[0] if row else None])


def _refuse_silence(draft: TableDraft, kind: str, where: str) -> None:
    """Without an identity, the server refuses UPDATE and DELETE of what a publication sends."""
    if kind == "full" or (kind == "default" and any(index.primary for index in draft.table.indexes)):
        return
    for dependent in draft.table.dependents:
        published = dependent.definition.rpartition(", publishing")[2].replace(",", " ").split()
        if dependent.kind == "publication" and {"update", "delete"} & set(published):
            raise PreflightError(
                f"the publication {dependent.name} sends updates or deletes of {draft.full_name}: applications"
                " could make none without a replica identity",
                where=where,
                hint="Write type: full, or an index, or let the publication send inserts only.",
            )


def resolve_replica_identity(draft: TableDraft) -> None:
    """Refuse an index that gets another name, or whose columns another operation alters or drops."""
    if draft.replica_identity is None:
        return
    name, where = draft.replica_identity
    named = {name, *(index.name for index in draft.table.indexes if index.replica_identity)}
    moved = sorted(one for one in named if one in draft.renamed_constraints)
    if moved:
        raise SpecError(
            f"another operation renames {', '.join(moved)}, a replica identity before or after",
            where=where,
            hint="Set the replica identity in a migration of its own.",
        )
    if name is None:
        return
    index = draft.table.index(name)
    assert index is not None
    changed = sorted(set(index.columns) & (draft.touched - draft.renamed.keys()))
    if changed:
        raise SpecError(
            f"the index {name} covers {', '.join(changed)}, which another operation alters or drops",
            where=f"{where}.identity.index",
            hint="Set the replica identity in a migration of its own, afterwards.",
        )
    statement = f"alter table {{table}} replica identity using index {quote(name)}"
    draft.rehearsal.try_on_new(statement, f"{where}.identity.index", _INSTEAD)
