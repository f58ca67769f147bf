"""New restrictions: planned for the time after approval, counted by the gate before."""

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.move import Move, Restriction
from tasks.engines.postgresql.planning.operations.create_table import references
from tasks.engines.postgresql.planning.require import free_relation
from tasks.engines.postgresql.planning.shape import projection
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations.column import CheckConstraint, ForeignKeyReference
from tasks.model.plan import Lock, LockMode, Requirement


def require_not_null(draft: TableDraft, column: str, physical: str) -> None:
    """NOT NULL by way of a validated CHECK, which spares the scan under an exclusive lock."""
    draft.not_null.append(physical)
    draft.requirements.append(
        Requirement(
            name=f"{draft.full_name}.{column} is not null",
            table=draft.full_name,
            kind="not null",
            violations=f"select {draft.key_list()} from {draft.real} where {quote(physical)} is null",
        )
    )


def add_check(draft: TableDraft, check: CheckConstraint, where: str) -> None:
    """A CHECK over the new shape."""
    name = quote(check.name)
    draft.rehearsal.try_on_new(
        f"alter table {{table}} add constraint {name} check ({check.constraint}\n)", f"{where}.constraint"
    )
    draft.late_checks.append(check.name)


def resolve_check(draft: TableDraft, name: str) -> None:
    """Turn a CHECK that was tried on the twin into a restriction, now that the new shape is known."""
    names = draft.lasting
    definition = draft.rehearsal.check_definition(name, names)
    if definition is None:
        raise SpecError(f"the check {name} reads a column that another operation drops", where=draft.full_name)
    draft.restrict(name, definition)
    visible = draft.rehearsal.check_definition(name, {})
    assert visible is not None
    expression = visible.removeprefix("CHECK ").removesuffix(" NO INHERIT")
    source = projection(names, draft.real, draft.table.name)
    draft.requirements.append(
        Requirement(
            name=f"{draft.full_name} meets {name}",
            table=draft.full_name,
            kind="check",
            constraint=name,
            violations=f"select {draft.key_list()} from {source} where not {expression}",
        )
    )


def add_unique(draft: TableDraft, name: str, columns: tuple[str, ...], where: str) -> None:
    """A unique constraint over columns of the new shape, by a concurrently built index."""
    free_relation(draft, name, where)
    draft.late_uniques.append((name, columns))


def resolve_unique(draft: TableDraft, name: str, columns: tuple[str, ...]) -> None:
    """Build the index after approval and turn it into the constraint at once."""
    names = draft.lasting
    physical = [quote(names[c]) for c in columns]
    listed = ", ".join(physical)
    index = own_name("new", name)
    draft.unique_indexes.append(
        draft.index_step(
            index,
            f"create unique index concurrently {quote(index)} on {draft.real} ({listed})",
            unique=True,
            title=f"build the unique index behind {name}",
            consumed=True,
        )
    )
    draft.attach.append(
        Move(
            forward=(draft.alter(f"add constraint {quote(name)} unique using index {quote(index)}"),),
            inverse=(draft.alter(f"drop constraint if exists {quote(name)}"),),
        )
    )
    present = " and ".join(f"{c} is not null" for c in physical)
    draft.requirements.append(
        Requirement(
            name=f"{draft.full_name} is unique by {', '.join(columns)}",
            table=draft.full_name,
            kind="unique",
            constraint=name,
            violations=f"select {listed} from {draft.real} where {present} group by {listed} having count(*) > 1",
        )
    )


def add_references(draft: TableDraft, column: str, reference: ForeignKeyReference, where: str) -> None:
    """A foreign key from a column of the new shape."""
    parent = draft.spec.resolve_table(reference.table, f"{where}.table")
    draft.late_references.append((column, reference, parent, where))


def _require_unique(draft: TableDraft, parent: str, column: str, where: str) -> None:
    row = draft.rehearsal.conn.execute(
        """
        select exists (
          select from pg_catalog.pg_index i
          join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
          where i.indrelid = %s::regclass and i.indisunique and i.indisvalid and i.indimmediate
            and i.indnkeyatts = 1 and i.indpred is null and a.attname = %s)
        """,
        (parent, column),
    ).fetchone()
    if not (row and row[0]):
        raise SpecError(
            f"{parent} has no unique constraint on {column}",
            where=where,
            hint="Refer to a key of that table.",
        )


def resolve_references(
    draft: TableDraft, column: str, reference: ForeignKeyReference, parent: str, where: str
) -> Restriction:
    """Add it NOT VALID, under a lock that lets readers of both tables go on."""
    physical = draft.lasting[column]
    target = quote(reference.column)
    if parent not in draft.spec.created.values():
        draft.rehearsal.try_on_new(
            f"select from {{table}} as child join only {parent} as parent"
            f" on parent.{target} = child.{quote(column)} limit 0",
            where,
            "The referenced column has to exist and to be of a comparable type.",
        )
        _require_unique(draft, parent, reference.column, where)
    definition = f"foreign key ({quote(physical)}) {references(reference, parent)}"
    draft.requirements.append(
        Requirement(
            name=f"{draft.full_name}.{column} refers to {reference.table}.{reference.column}",
            table=draft.full_name,
            kind="references",
            constraint=reference.name,
            violations=(
                f"select {draft.key_list()} from {draft.real} as child where child.{quote(physical)} is not null"
                f" and not exists (select from {parent} as parent"
                f" where parent.{target} = child.{quote(physical)})"
            ),
        )
    )
    return draft.restrict(reference.name, definition, locks=[Lock(table=parent, mode=LockMode.SHARE_ROW_EXCLUSIVE)])
