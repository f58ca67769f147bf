"""What the old shape demands, as queries over the columns that `down` feeds: a rollback asks them first."""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.keys import key_columns
from tasks.engines.postgresql.planning.restrictions.foreign_keys import orphaned
from tasks.engines.postgresql.planning.shape import projection
from tasks.model.catalogue import Constraint
from tasks.model.names import quote
from tasks.model.plan import Requirement


def requirements(draft: TableDraft) -> Iterator[Requirement]:
    """Rows that break one of these could not be held once the old shape is the truth again."""
    yield from _not_null(draft)
    restored = {restriction.name for restriction in draft.restored if restriction.table == draft.real}
    for constraint in draft.table.constraints:
        if constraint.name not in restored:
            continue
        if constraint.kind == "check":
            yield _check(draft, constraint)
        elif constraint.kind == "foreign key":
            yield _references(draft, constraint)
    yield from _inbound(draft)
    yield from _unique(draft)


def _physical(draft: TableDraft) -> dict[str, str]:
    return draft.shape.old(swapped=True)


def _not_null(draft: TableDraft) -> Iterator[Requirement]:
    names = _physical(draft)
    keys = {c for i in draft.table.indexes if i.primary for c in key_columns(draft.table, i) if c in draft.altered}
    for column in dict.fromkeys((*draft.restored_not_null, *sorted(keys))):
        yield Requirement(
            name=f"{draft.full_name}.{column} is not null",
            table=draft.full_name,
            kind="not null",
            gate="before_rollback",
            violations=f"select 1 from {draft.real} where {quote(names[column])} is null",
        )


def _check(draft: TableDraft, constraint: Constraint) -> Requirement:
    expression = constraint.definition.removeprefix("CHECK ").removesuffix(" NO INHERIT")
    source = projection(_physical(draft), draft.real, draft.table.name)
    return Requirement(
        name=f"{draft.full_name} meets {constraint.name}",
        table=draft.full_name,
        kind="check",
        gate="before_rollback",
        violations=f"select 1 from {source} where not {expression}",
    )


def _references(draft: TableDraft, constraint: Constraint) -> Requirement:
    names = _physical(draft)
    referenced = constraint.referenced_columns
    if constraint.referenced_table == draft.full_name:
        referenced = tuple(names[column] for column in referenced)
    pairs = dict(zip((names[column] for column in constraint.columns), referenced, strict=True))
    broken = orphaned(
        quote_qualified(constraint.referenced_table or ""), pairs, full=" MATCH FULL" in constraint.definition
    )
    return Requirement(
        name=f"{draft.full_name} refers by {constraint.name}",
        table=draft.full_name,
        kind="references",
        gate="before_rollback",
        violations=f"select 1 from {draft.real} as child where {broken}",
    )


def _inbound(draft: TableDraft) -> Iterator[Requirement]:
    names = _physical(draft)
    for key in draft.table.inbound:
        moved = set(key.referenced_columns) & draft.altered.keys()
        if key.table == draft.full_name or not moved or not key.validated:
            continue
        pairs = list(zip(key.columns, key.referenced_columns, strict=True))
        present = " and ".join(f"child.{quote(c)} is not null" for c, _ in pairs)
        same = " and ".join(f"parent.{quote(names[r])} = child.{quote(c)}" for c, r in pairs)
        yield Requirement(
            name=f"{key.table} refers by {key.name}",
            table=draft.full_name,
            kind="references",
            gate="before_rollback",
            violations=f"select 1 from {quote_qualified(key.table)} as child where {present}"
            f" and not exists (select from {draft.real} as parent where {same})",
        )


def _unique(draft: TableDraft) -> Iterator[Requirement]:
    # Between swap and rollback the original of a renamed column goes by its new name.
    names = _physical(draft) | draft.renamed
    rebuilt = {step.key.rsplit("/rebuild ", 1)[1] for step in draft.before_rollback if "/rebuild " in step.key}
    for index in draft.table.indexes:
        if index.name not in rebuilt:
            continue
        yield Requirement(
            name=f"{draft.full_name} is unique by {index.name}",
            table=draft.full_name,
            kind="unique",
            gate="before_rollback",
            violations=draft.rehearsal.old_duplicates_query(index, names),
        )
