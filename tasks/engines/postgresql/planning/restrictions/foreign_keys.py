"""New foreign keys: added NOT VALID after approval, then validated; the gate counts rows that refer to nothing."""

from tasks.engines.postgresql.planning.checks.obstacles import visible
from tasks.engines.postgresql.planning.checks.require import free_constraint
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.move import Restriction
from tasks.engines.postgresql.planning.restrictions.late import NewForeignKey, deferral
from tasks.engines.postgresql.planning.spec_draft import Connection
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations.column import ForeignKeyReference
from tasks.model.operations.create_table import TableForeignKeyReference
from tasks.model.plan import Requirement
from tasks.model.steps import Lock, LockMode


def add_references(draft: TableDraft, column: str, reference: ForeignKeyReference, where: str) -> None:
    """A foreign key from a column of the new shape."""
    add_foreign_key(
        draft,
        reference.name,
        (column,),
        TableForeignKeyReference(
            table=reference.table,
            columns=(reference.column,),
            on_delete=reference.on_delete,
            on_update=reference.on_update,
            match_type=reference.match_type,
        ),
        where,
        when=deferral(reference.deferrable, reference.initially_deferred),
    )


def add_foreign_key(
    draft: TableDraft,
    name: str,
    columns: tuple[str, ...],
    reference: TableForeignKeyReference,
    where: str,
    *,
    when: str = "",
    archives: bool = False,
) -> None:
    """A foreign key from columns of the new shape; `when` says when it is checked.

    With `archives`, rows that it would refuse are only counted: they move elsewhere before it is validated.
    """
    free_constraint(draft, name, where)
    parent = draft.spec.resolve_table(reference.table, f"{where}.table")
    draft.late_references.append(
        NewForeignKey(
            name=name,
            columns=columns,
            reference=reference,
            parent=parent,
            deferral=when,
            archives=archives,
            where=where,
        )
    )


def resolve_references(draft: TableDraft, key: NewForeignKey) -> Restriction:
    """Add it NOT VALID, under a lock that lets readers of both tables go on."""
    physical = tuple(draft.lasting[column] for column in key.columns)
    targets = key.reference.columns
    if key.parent not in draft.spec.created.values():
        # A parent that is hidden from this role would make an orphan of each of its children.
        visible(draft, key.parent, key.where)
        same = _same(targets, key.columns)
        draft.rehearsal.try_on_new(
            f"select from {{table}} as child join only {key.parent} as parent on {same} limit 0",
            key.where,
            "The referenced column has to exist and to be of a comparable type.",
        )
        require_unique(draft.rehearsal.conn, key.parent, targets, key.where)
        draft.rehearsal.refers(key.name, (draft.rehearsal.new, key.columns), (key.parent, targets), key.where)
    listed = ", ".join(quote(column) for column in physical)
    referenced = ", ".join(quote(column) for column in targets)
    draft.requirements.append(
        Requirement(
            name=f"{_columns(draft.full_name, key.columns)} refers to {_columns(key.reference.table, targets)}",
            table=draft.full_name,
            kind="references",
            constraint=key.name,
            gate="before_run" if key.archives else "before_swap",
            severity="warning" if key.archives else "error",
            violations=f"select {draft.key_list()} from {draft.real} as child where "
            + orphaned(key.parent, dict(zip(physical, targets, strict=True)), full=key.reference.match_type == "FULL"),
        )
    )
    definition = (
        f"foreign key ({listed}) references {key.parent} ({referenced})"
        f" {key.reference.actions(draft.lasting)}{key.deferral}"
    )
    return draft.restrict(key.name, definition, locks=[Lock(table=key.parent, mode=LockMode.SHARE_ROW_EXCLUSIVE)])


def _columns(table: str, columns: tuple[str, ...]) -> str:
    return f"{table}.{columns[0]}" if len(columns) == 1 else f"{table} ({', '.join(columns)})"


def _same(targets: tuple[str, ...], columns: tuple[str, ...]) -> str:
    pairs = zip(targets, columns, strict=True)
    return " and ".join(f"parent.{quote(target)} = child.{quote(column)}" for target, column in pairs)


def orphaned(parent: str, pairs: dict[str, str], *, full: bool) -> str:
    """Return the condition of a row of `child` that a foreign key would refuse; `pairs` maps column to referenced.

    With `full`, columns may be NULL only all together.
    """
    present = " and ".join(f"child.{quote(column)} is not null" for column in pairs)
    same = _same(tuple(pairs.values()), tuple(pairs))
    found = f"{present} and not exists (select from {parent} as parent where {same})"
    if not full or len(pairs) == 1:
        return found
    absent = " and ".join(f"child.{quote(column)} is null" for column in pairs)
    return f"({found}) or not (({present}) or ({absent}))"


def require_unique(conn: Connection, parent: str, columns: tuple[str, ...], where: str) -> None:
    """Raise SpecError unless a key of the parent is there for a foreign key, before anything is done."""
    row = conn.execute(
        """
        select exists (
          select from pg_catalog.pg_index i
          where i.indrelid = %s::regclass and i.indisunique and i.indisvalid and i.indimmediate
            and i.indpred is null and i.indexprs is null
            and (select array_agg(a.attname::text order by a.attname::text collate "C")
                 from pg_catalog.pg_attribute a
                 where a.attrelid = i.indrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                ) = (select array_agg(name order by name collate "C") from unnest(%s::text[]) as name))
        """,
        (parent, list(columns)),
    ).fetchone()
    if not (row and row[0]):
        raise SpecError(
            f"{parent} has no unique constraint on {', '.join(columns)}",
            where=where,
            hint="Refer to a key of that table; for one that the same spec makes, a second spec.",
        )
