"""create_index: concurrently, on the columns of the new shape."""

from tasks.engines.postgresql.planning.checks.require import free_relation
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import CreateIndex
from tasks.model.operations.create_index import IndexField
from tasks.model.plan import Requirement


def draft_create_index(op: CreateIndex, draft: TableDraft, where: str) -> None:
    """Note it; it is tried and written down once the new shape is complete."""
    free_relation(draft, op.name, where)
    draft.late_indexes.append((op, where))


def definition(op: CreateIndex, name: str = "") -> str:
    """Return the statement that makes it, by another `name` if one is given; `{table}` stands for the table."""
    unique = "unique " if op.unique else ""
    columns = ", ".join(_field(field) for field in op.columns)
    included = f" include ({', '.join(map(quote, op.include))})" if op.include else ""
    distinct = " nulls not distinct" if op.nulls_not_distinct else ""
    parameters = f" with ({op.storage_parameters})" if op.storage_parameters else ""
    predicate = f" where {op.predicate}" if op.predicate else ""
    what = f"create {unique}index {quote(name or op.name)} on {{table}} using {op.method} ({columns})"
    return f"{what}{included}{distinct}{parameters}{predicate}"


def _field(field: IndexField) -> str:
    # A line break before the parenthesis: an expression may end in a comment.
    parts = [quote(field.column) if field.column is not None else f"({field.expression}\n)"]
    if field.collate:
        parts.append(f"collate {quote(field.collate)}")
    if field.opclass:
        parameters = f" ({', '.join(field.opclass.params)})" if field.opclass.params else ""
        parts.append(f"{field.opclass.name}{parameters}")
    if field.sort:
        parts.append(field.sort)
    if field.nulls:
        parts.append(f"nulls {field.nulls}")
    return " ".join(parts)


def resolve_index(draft: TableDraft, op: CreateIndex, where: str) -> None:
    """Plan the build: after the backfill, and after approval if it can reject what applications write."""
    draft.rehearsal.try_on_new(definition(op, draft.rehearsal.name_index(op.name)), where)
    names = draft.lasting
    create = draft.rehearsal.index_definition(op.name, op.name, names)
    if create is None:
        raise SpecError(f"index {op.name} uses a column that another operation drops", where=where)
    kind = "unique index" if op.unique else "index"
    step = draft.index_step(op.name, create, unique=op.unique, title=f"build {kind} {op.name}")
    if not op.unique:
        draft.indexes.append(step)
        return
    draft.unique_indexes.append(step)
    draft.swap(inverse=[f"drop index if exists {quote(draft.table.schema_name)}.{quote(op.name)}"])
    draft.requirements.append(
        Requirement(
            name=f"{draft.full_name} is unique by {op.name}",
            table=draft.full_name,
            kind="unique",
            constraint=op.name,
            violations=draft.rehearsal.duplicates_query(op.name, names),
        )
    )
