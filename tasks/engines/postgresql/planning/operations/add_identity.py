"""add_column of an identity: every row gets a number without a rewrite, and the identity comes at the swap.

Until then the numbers are drawn from a sequence, by dual write and by the backfill; at the swap the identity takes its
name, and goes on after the last one.
"""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.attached.belongings import TYPE_MAXIMUM
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.move import Move
from tasks.engines.postgresql.planning.restrictions.constraints import require_not_null
from tasks.engines.postgresql.planning.shape import Target
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import AddColumn
from tasks.model.operations.column import Identity
from tasks.model.plan import Requirement
from tasks.model.steps import Phase, ShortTransaction, Step

_FEW = 100_000
"""So few numbers may be used up while the table grows: how many rows there are is always asked."""
_MANY = 10_000_000
"""To count so many rows takes a while: it is not asked where the server knows of fewer than half of them."""


def add_identity(op: AddColumn, identity: Identity, sequence: str, draft: TableDraft, where: str) -> None:
    """Add the column, and the sequence, quoted and qualified, that its numbers are drawn from. Raises SpecError."""
    new, place = op.column, f"{where}.column.generated"
    options = f" ({identity.sequence_options})" if identity.sequence_options else ""
    kind = f"generated {identity.user_specified_values.lower()} as identity{options}"
    draft.rehearsal.try_on_new(f"alter table {{table}} add column {quote(new.name)} {new.type} {kind}", place)
    type_name, _ = draft.rehearsal.new_column(new.name)
    if type_name not in TYPE_MAXIMUM:
        raise SpecError(
            f"{new.name} is of the type {type_name}", where=place, hint="Write smallint, integer or bigint."
        )
    made = (
        f"create sequence {sequence} as {type_name} {identity.sequence_options or ''}".rstrip(),
        f"alter sequence {sequence} owner to {quote(draft.table.owner)}",
    )
    _make_sequence(draft, sequence, made, new.name, place)
    draft.requirements += enough_numbers(draft, f"the identity {new.name}", _numbers(draft, sequence))
    draft.add_column(new.name, type_name)
    draft.shape.targets.append(
        Target(
            name=new.name,
            before=new.name,
            after=new.name,
            type=type_name,
            up=f"pg_catalog.nextval({literal(sequence)}::pg_catalog.regclass)",
            sources=(),
            not_null=True,
        )
    )
    require_not_null(draft, new.name, new.name)
    name = quote(new.name)
    named = f"(sequence name {sequence} {identity.sequence_options or ''}".rstrip() + ")"
    come = (
        f"drop sequence {sequence}",
        draft.alter(f"alter column {name} add generated {identity.user_specified_values.lower()} as identity {named}"),
    )
    back = (draft.alter(f"alter column {name} drop identity"), *made)
    draft.last.append(Move(forward=(_going_on(sequence, come),), inverse=(_going_on(sequence, back),)))


def enough_numbers(draft: TableDraft, written: str, most: int | None) -> Iterator[Requirement]:
    """Ask before a run whether each row can get a number; where that could not be, it is not asked of every row."""
    if most is None:
        return
    # No row is shorter; what the server believes of the number of rows may be old, or not known.
    row = draft.rehearsal.conn.execute(
        """
        select c.reltuples, (pg_catalog.pg_relation_size(c.oid) + coalesce((
          select sum(pg_catalog.pg_relation_size(p.relid)) from pg_catalog.pg_partition_tree(c.oid) p
          where p.relid <> c.oid), 0)) / 28
        from pg_catalog.pg_class c where c.oid = %s::pg_catalog.regclass
        """,
        (draft.real,),
    ).fetchone()
    believed, at_most = row or (0, 0)
    if most < _FEW or (at_most > most and (most < _MANY or not 0 < believed < most / 2)):
        yield Requirement(
            name=f"{draft.full_name} has no more rows than {written} has numbers, {most}",
            table=draft.full_name,
            kind="check",
            gate="before_run",
            violations=f"select 1 from {draft.real} offset {most} limit 1",
        )


def _numbers(draft: TableDraft, sequence: str) -> int | None:
    """Return how many numbers a new sequence has; None where they begin again."""
    row = draft.rehearsal.conn.execute(
        "select case when seqincrement > 0 then seqmax::numeric - seqstart else seqstart::numeric - seqmin end,"
        " abs(seqincrement::numeric) from pg_catalog.pg_sequence where seqrelid = %s::pg_catalog.regclass"
        " and not seqcycle",
        (sequence,),
    ).fetchone()
    return int(row[0] // row[1]) + 1 if row else None


def _make_sequence(draft: TableDraft, sequence: str, made: tuple[str, ...], column: str, place: str) -> None:
    # Only functions of ours draw from it, and the backfill: whoever writes needs no right to it.
    draft.drawn[column] = sequence
    for statement in made:
        draft.spec.keep(statement, place, "Give who migrates, and the owner of the table, the right to create there.")
    draft.spec.steps.append(
        Step(
            key=f"expand/{draft.full_name}/numbers of {column}",
            phase=Phase.EXPAND,
            title=f"make a sequence that numbers {column} until the swap",
            undo="drop it",
            action=ShortTransaction(forward=made, inverse=(f"drop sequence if exists {sequence}",)),
        )
    )


def _going_on(sequence: str, statements: tuple[str, ...]) -> str:
    """Let another sequence take the place of one, and stand where that stood; under a lock that lets nobody draw."""
    listed = ";\n  ".join(statements)
    return f"""\
do $numbers$
declare
  position bigint;
  called boolean;
begin
  select last_value, is_called into position, called from {sequence};
  {listed};
  perform pg_catalog.setval({literal(sequence)}, position, called);
end
$numbers$"""
