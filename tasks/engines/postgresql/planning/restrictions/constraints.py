"""New restrictions: planned for the time after approval, counted by the gate before."""

from tasks.engines.postgresql.planning.checks.require import free_constraint, free_relation
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.move import Move
from tasks.engines.postgresql.planning.restrictions.late import NewKey
from tasks.engines.postgresql.planning.shape import projection
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations.column import CheckConstraint
from tasks.model.plan import Requirement


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
    add_condition(draft, check.name, check.constraint, f"{where}.constraint", no_inherit=check.no_inherit)


def add_condition(draft: TableDraft, name: str, condition: str, where: str, *, no_inherit: bool = False) -> None:
    """A CHECK over the new shape; `where` is the place of the condition."""
    free_constraint(draft, name, where)
    tail = " no inherit" if no_inherit else ""
    draft.rehearsal.try_on_new(f"alter table {{table}} add constraint {quote(name)} check ({condition}\n){tail}", where)
    draft.late_checks.append(name)


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
    # In the new shape the key may be called otherwise.
    key = {column: quote(column) for column in draft.naming if column not in names}
    source = projection(names, draft.real, draft.table.name, key)
    draft.requirements.append(
        Requirement(
            name=f"{draft.full_name} meets {name}",
            table=draft.full_name,
            kind="check",
            constraint=name,
            violations=f"select {draft.key_list()} from {source} where not {expression}",
        )
    )


def add_unique(
    draft: TableDraft, name: str, columns: tuple[str, ...], where: str, *, when: str = "", drain: str = ""
) -> None:
    """A unique constraint over columns of the new shape, by a concurrently built index; `when` it is checked.

    With `drain`, duplicates are only counted: the build calls it, and they move elsewhere.
    """
    free_constraint(draft, name, where)
    free_relation(draft, name, where)
    draft.late_uniques.append(NewKey(name=name, columns=columns, deferral=when, drain=drain))


def add_primary_key(draft: TableDraft, name: str, columns: tuple[str, ...], where: str) -> None:
    """A primary key over columns of the new shape, for a table that has none."""
    present = next((index for index in draft.table.indexes if index.primary), None)
    if present is not None or any(key.primary for key in draft.late_uniques):
        raise SpecError(
            f"{draft.full_name} has a primary key already" + (f", {present.name}" if present else ""),
            where=where,
            hint="Write type: unique.",
        )
    free_constraint(draft, name, where)
    free_relation(draft, name, where)
    draft.late_uniques.append(NewKey(name=name, columns=columns, primary=True))


def resolve_unique(draft: TableDraft, key: NewKey) -> None:
    """Build the index after approval and turn it into the constraint: at once, or a primary key at the swap."""
    names = draft.lasting
    physical = [quote(names[c]) for c in key.columns]
    listed = ", ".join(physical)
    index = own_name("new", key.name)
    # Not every type can be told apart by an index, and a virtual column has none.
    tried = ", ".join(quote(column) for column in key.columns)
    draft.rehearsal.try_on_new(
        f"create unique index {quote(index)} on {{table}} ({tried}); drop index pg_temp.{quote(index)}",
        f"{draft.full_name}, constraint {key.name}",
        "Give the column a type that an index can hold, or leave it out.",
    )
    draft.unique_indexes.append(
        draft.index_step(
            index,
            f"create unique index concurrently {quote(index)} on {draft.real} ({listed})",
            unique=True,
            title=f"build the unique index behind {key.name}",
            consumed=True,
            drain=key.drain,
        )
    )
    kind = "primary key" if key.primary else "unique"
    added = draft.alter(f"add constraint {quote(key.name)} {kind} using index {quote(index)}{key.deferral}")
    if key.primary:
        # Until then its columns are not yet NOT NULL; and nothing can lift that while the key is there.
        _never_null(draft, key)
        draft.last.append(Move(forward=(added,), inverse=(draft.alter(f"drop constraint {quote(key.name)}"),)))
    else:
        dropped = draft.alter(f"drop constraint if exists {quote(key.name)}")
        draft.attach.append(Move(forward=(added,), inverse=(dropped,)))
    present = " and ".join(f"{c} is not null" for c in physical)
    draft.requirements.append(_nothing_rests_on(draft, key))
    draft.requirements.append(
        Requirement(
            name=f"{draft.full_name} is unique by {', '.join(key.columns)}",
            table=draft.full_name,
            kind="unique",
            constraint=key.name,
            gate="before_run" if key.drain else "before_swap",
            severity="warning" if key.drain else "error",
            violations=f"select {listed} from {draft.real} where {present} group by {listed} having count(*) > 1",
        )
    )


def _nothing_rests_on(draft: TableDraft, key: NewKey) -> Requirement:
    """A foreign key that somebody has built on it meanwhile would keep a rollback from dropping it."""
    names = ", ".join(literal(name) for name in (key.name, own_name("new", key.name)))
    return Requirement(
        name=f"no foreign key rests on {key.name} of {draft.full_name}",
        table=draft.full_name,
        kind="structure",
        gate="before_rollback",
        violations=f"""\
select pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid, 0) as problem
from pg_catalog.pg_constraint k
join pg_catalog.pg_class i on i.oid = k.conindid
join pg_catalog.pg_namespace n on n.oid = i.relnamespace
where k.contype = 'f' and i.relname in ({names}) and n.nspname = {literal(draft.table.schema_name)}""",
    )


def _never_null(draft: TableDraft, key: NewKey) -> None:
    """Those columns of a primary key that are not NOT NULL anyway become so by a validated CHECK."""
    for column in key.columns:
        nullable = draft.rehearsal.conn.execute(
            "select not attnotnull from pg_catalog.pg_attribute where attrelid = %s::regclass and attname = %s",
            (draft.rehearsal.new, column),
        ).fetchone()
        physical = draft.lasting[column]
        if nullable and nullable[0] and physical not in draft.not_null:
            require_not_null(draft, column, physical)
