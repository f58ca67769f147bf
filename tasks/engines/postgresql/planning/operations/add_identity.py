"""add_column of an identity: every row gets a number without a rewrite, and the identity comes at the swap.

Until then the numbers are drawn from a sequence of ours, by dual write and by the backfill; the identity goes on after
the last one.
"""

from tasks.engines.postgresql.planning.attached.belongings import TYPE_MAXIMUM
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.move import Move
from tasks.engines.postgresql.planning.restrictions.constraints import require_not_null
from tasks.engines.postgresql.planning.shape import Target
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations import AddColumn
from tasks.model.operations.column import Identity
from tasks.model.plan import Phase, ShortTransaction, Step


def add_identity(op: AddColumn, identity: Identity, draft: TableDraft, where: str) -> str:
    """Add the column, and what draws its numbers; return its type. Raises SpecError."""
    new, place = op.column, f"{where}.column.generated"
    options = f" ({identity.sequence_options})" if identity.sequence_options else ""
    kind = f"generated {identity.user_specified_values.lower()} as identity{options}"
    draft.rehearsal.try_on_new(f"alter table {{table}} add column {quote(new.name)} {new.type} {kind}", place)
    type_name, _ = draft.rehearsal.new_column(new.name)
    if type_name not in TYPE_MAXIMUM:
        raise SpecError(
            f"{new.name} is of the type {type_name}", where=place, hint="Write smallint, integer or bigint."
        )
    sequence = f"{quote(draft.table.schema_name)}.{quote(own_name('numbers', f'{draft.table.name}_{new.name}'))}"
    _make_sequence(draft, sequence, f"as {type_name} {identity.sequence_options or ''}", new.name, place)
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
    draft.last.append(_exchange(draft, new.name, sequence, kind))
    draft.tidy.append(f"drop sequence if exists {sequence}")
    return type_name


def _make_sequence(draft: TableDraft, sequence: str, options: str, column: str, place: str) -> None:
    # Only functions of ours draw from it, and the backfill: whoever writes needs no right to it.
    made = (
        f"create sequence {sequence} {options}",
        f"alter sequence {sequence} owner to {quote(draft.table.owner)}",
    )
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


def _exchange(draft: TableDraft, column: str, sequence: str, kind: str) -> Move:
    """Let the identity go on where the sequence stood; and the sequence where the identity stood, on the way back."""
    name = quote(column)
    come, go = (draft.alter(f"alter column {name} {action}") for action in (f"add {kind}", "drop identity"))
    owned = f"pg_catalog.pg_get_serial_sequence({literal(draft.real)}, {literal(column)})"
    return Move(
        forward=(_block(f"{come};\n  owned := {owned};\n  {_go_on(literal(sequence), 'owned')};"),),
        inverse=(_block(f"owned := {owned};\n  {_go_on('owned', literal(sequence))};\n  {go};"),),
    )


def _block(statements: str) -> str:
    return f"""\
do $numbers$
declare
  owned regclass;
  position bigint;
  called boolean;
begin
  {statements}
end
$numbers$"""


def _go_on(source: str, target: str) -> str:
    return (
        f"execute 'select last_value, is_called from ' || {source}::regclass into position, called;\n"
        f"  perform pg_catalog.setval({target}, position, called)"
    )
