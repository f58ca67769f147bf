"""create_table: at once, empty, seen by nobody until an application uses it."""

from collections.abc import Iterator, Sequence

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.operations.create_index import definition
from tasks.engines.postgresql.planning.restrictions.foreign_keys import require_unique
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import CreateIndex, CreateTable
from tasks.model.operations.column import ColumnDefinition, ForeignKeyReference, Generated
from tasks.model.operations.create_table import CreatedConstraint, IndexParameters, TableForeignKeyReference
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step

Indexes = Sequence[tuple[str, CreateIndex]]
"""Each with its place in the spec."""


def draft_create_table(op: CreateTable, draft: SpecDraft, where: str, indexes: Indexes = ()) -> None:
    """Try it as a temporary table, without the foreign keys that would lock others; then plan it.

    Its indexes come in the same transaction: it has no rows, and nobody sees it yet.
    """
    schema, name = draft.split_name(op.name)
    if draft.relation_exists(schema, name):
        raise SpecError(f"{schema}.{name} exists already", where=where, hint="Choose another name.")
    table = f"{quote(schema)}.{quote(name)}"
    draft.created[op.name] = draft.created[f"{schema}.{name}"] = table
    parents = tuple(draft.resolve_table(parent, where) for parent in op.referenced)
    _try(op, draft, where, indexes)
    for parent, columns in _referred(op):
        # A table of the same spec is made by the same step or before it, and with its keys.
        if parent not in draft.created:
            require_unique(draft.conn, draft.resolve_table(parent, where), columns, where)
    statements = [f"create table {table} ({_body(op, draft, foreign=True)})"]
    statements += _comments(op, table)
    statements += [_index(index, table) for _, index in indexes]
    locks = tuple(Lock(table=parent, mode=LockMode.SHARE_ROW_EXCLUSIVE) for parent in sorted({*parents} - {table}))
    draft.steps.append(
        Step(
            key=f"expand/{schema}.{name}/create",
            phase=Phase.EXPAND,
            title=f"create table {schema}.{name}",
            undo="drop it, with the rows that applications wrote into it",
            action=ShortTransaction(
                locks=locks,
                forward=tuple(statements),
                inverse=(f"drop table if exists {table}",),
                # Triggers of the foreign keys go from the parents, too.
                inverse_locks=tuple(lock.model_copy(update={"mode": LockMode.ACCESS_EXCLUSIVE}) for lock in locks),
            ),
        )
    )


def _referred(op: CreateTable) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from ((one.references.table, (one.references.column,)) for one in op.columns if one.references)
    yield from ((one.references.table, one.references.columns) for one in op.constraints if one.references)


def _try(op: CreateTable, draft: SpecDraft, where: str, indexes: Indexes) -> None:
    _, name = draft.split_name(op.name)
    temporary = f"create temporary table {quote(name)} ({_body(op, draft, foreign=False)})"
    draft.tried(temporary, where)
    schema, _ = draft.split_name(op.name)
    for place, index in indexes:
        if draft.relation_exists(schema, index.name):
            raise SpecError(
                f"the schema {schema} already has a relation {index.name}",
                where=f"{place}.name",
                hint="Choose another name.",
            )
        draft.tried(f"{temporary}; {_index(index, f'pg_temp.{quote(name)}')}", place)


def _index(index: CreateIndex, table: str) -> str:
    return definition(index).replace("{table}", table, 1)


def _body(op: CreateTable, draft: SpecDraft, *, foreign: bool) -> str:
    parts = [_column(column, draft, foreign) for column in op.columns]
    keys = [quote(column.name) for column in op.columns if column.pk]
    if keys:
        parts.append(f"primary key ({', '.join(keys)})")
    parts += [_constraint(one, draft) for one in op.constraints if foreign or one.type != "foreign_key"]
    return ", ".join(parts)


def _column(column: ColumnDefinition, draft: SpecDraft, foreign: bool) -> str:
    parts = [quote(column.name), column.type]
    if column.default is not None:
        parts.append(f"default {column.default}")
    if column.generated is not None:
        parts.append(_generated(column.generated))
    if not column.nullable:
        parts.append("not null")
    if column.unique:
        parts.append("unique")
    if column.check:
        parts.append(f"constraint {quote(column.check.name)} {column.check.definition}")
    if column.references and foreign:
        parent = draft.resolve_table(column.references.table, column.name)
        parts.append(f"constraint {quote(column.references.name)} {references(column.references, parent)}")
    return " ".join(parts)


def _generated(one: Generated) -> str:
    if one.identity is None:
        return f"generated always as ({one.expression}\n) stored"
    options = f" ({one.identity.sequence_options})" if one.identity.sequence_options else ""
    return f"generated {one.identity.user_specified_values.lower()} as identity{options}"


def references(reference: ForeignKeyReference, parent: str) -> str:
    """Return the REFERENCES clause of a single column."""
    return (
        f"references {parent} ({quote(reference.column)}) match {reference.match_type}"
        f" on delete {reference.on_delete} on update {reference.on_update}"
        + _deferral(reference.deferrable, reference.initially_deferred)
    )


def _constraint(one: CreatedConstraint, draft: SpecDraft) -> str:
    name = f"constraint {quote(one.name)}"
    deferral = _deferral(one.deferrable, one.initially_deferred)
    if one.type == "check":
        return f"{name} check ({one.check}\n){' no inherit' if one.no_inherit else ''}"
    columns = ", ".join(quote(column) for column in one.columns or ())
    if one.references is not None:
        return f"{name} foreign key ({columns}) {_table_references(one.references, draft)}{deferral}"
    parameters = _parameters(one.index_parameters)
    if one.exclude is not None:
        return f"{name} {one.exclude.definition(parameters)}{deferral}"
    kind = "primary key" if one.type == "primary_key" else "unique"
    nulls = " nulls not distinct" if one.nulls_not_distinct else ""
    return f"{name} {kind}{nulls} ({columns}){parameters}{deferral}"


def _parameters(given: IndexParameters | None) -> str:
    if given is None:
        return ""
    include = ", ".join(quote(column) for column in given.include_columns)
    return (
        (f" include ({include})" if include else "")
        + (f" with ({given.storage_parameters})" if given.storage_parameters else "")
        + (f" using index tablespace {quote(given.tablespace)}" if given.tablespace else "")
    )


def _table_references(reference: TableForeignKeyReference, draft: SpecDraft) -> str:
    parent = draft.resolve_table(reference.table, reference.table)
    columns = ", ".join(quote(column) for column in reference.columns)
    return f"references {parent} ({columns}) {reference.actions({})}"


def _deferral(deferrable: bool, initially_deferred: bool) -> str:
    if not deferrable:
        return ""
    return " deferrable initially deferred" if initially_deferred else " deferrable"


def _comments(op: CreateTable, table: str) -> list[str]:
    found = [f"comment on table {table} is {literal(op.comment)}"] if op.comment else []
    return found + [
        f"comment on column {table}.{quote(column.name)} is {literal(column.comment)}"
        for column in op.columns
        if column.comment
    ]
