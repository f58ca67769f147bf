"""From finished drafts to the list of steps, in the order of the phases."""

from collections.abc import Iterable, Sequence

from tasks.engines.postgresql.planning.attached.constraints import parent_locks
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.lock_order import in_order, to_drop, unique
from tasks.engines.postgresql.planning.move import Restriction
from tasks.model.names import quote
from tasks.model.steps import Assignment, Backfill, Lock, LockMode, Phase, ShortTransaction, Step, Validation


def steps(drafts: Sequence[TableDraft], loose: Sequence[Step]) -> tuple[Step, ...]:
    """Return all steps; `loose` are those that belong to no existing table."""
    found: list[Step] = [step for step in loose if step.phase is Phase.EXPAND]
    for phase, build in _BUILD.items():
        for draft in drafts:
            found += build(draft)
        if phase is not Phase.EXPAND:
            found += [step for step in loose if step.phase is phase]
    found += _swap(drafts)
    found += [step for step in loose if step.phase is Phase.CONTRACT]
    for draft in drafts:
        found += _contract(draft)
    return tuple(found)


def _expand(draft: TableDraft) -> Iterable[Step]:
    if not draft.expand:
        return
    yield Step(
        key=f"expand/{draft.full_name}/columns",
        phase=Phase.EXPAND,
        title=f"add columns to {draft.full_name}",
        undo="drop them",
        action=ShortTransaction(
            locks=(draft.exclusive,),
            forward=tuple(statement for move in draft.expand for statement in move.forward),
            inverse=tuple(statement for move in reversed(draft.expand) for statement in move.inverse),
        ),
    )


def _dual_write(draft: TableDraft) -> Iterable[Step]:
    if not draft.shape.targets and not draft.shape.retired:
        return
    yield Step(
        key=f"dual_write/{draft.full_name}/triggers",
        phase=Phase.DUAL_WRITE,
        title=f"keep both shapes of {draft.full_name} in step with triggers",
        undo="drop the triggers and the columns they fill, in one transaction",
        action=ShortTransaction(
            locks=(Lock(table=draft.real, mode=LockMode.SHARE_ROW_EXCLUSIVE),),
            forward=draft.dual.create(),
            inverse=draft.remove_new_shape(),
            inverse_locks=(draft.exclusive,),
        ),
    )


def _backfill(draft: TableDraft) -> Iterable[Step]:
    targets = draft.shape.targets
    if not targets:
        return
    columns = {column.name: column for column in draft.table.columns}
    yield Step(
        key=f"backfill/{draft.full_name}/rows",
        phase=Phase.BACKFILL,
        title=f"fill {', '.join(t.before for t in targets)} of {draft.full_name} for rows that exist",
        action=Backfill(
            table=draft.real,
            key=draft.key,
            key_types=tuple(columns[name].type for name in draft.key),
            assignments=tuple(Assignment(column=t.before, type=t.type, expression=t.up) for t in targets),
            alias=draft.table.name,
            bypass_triggers=draft.bypass_triggers,
        ),
    )


def _statistics(draft: TableDraft) -> Iterable[Step]:
    """Analyse before the swap, so that no statement of an application is planned in the dark.

    Statistics keep through a rename. After the last index: its build counts the rows, and a table that was empty
    when it was analysed must still be known as such.
    """
    if draft.shape.targets:
        yield Step(
            key=f"constrain/{draft.full_name}/statistics",
            phase=Phase.CONSTRAIN,
            title=f"tell the planner what the new columns of {draft.full_name} hold",
            action=Validation(table=draft.real, forward=(f"analyze {draft.real}",)),
        )


def _constrain(draft: TableDraft) -> Iterable[Step]:
    yield from draft.unique_indexes
    yield from _statistics(draft)
    not_null = [draft.not_null_check(column) for column in draft.not_null]
    added: list[Restriction] = [*draft.restrictions, *not_null]
    if added or draft.attach:
        yield Step(
            key=f"constrain/{draft.full_name}/add",
            phase=Phase.CONSTRAIN,
            title=f"add constraints to {draft.full_name}, not yet validated",
            undo="drop them",
            action=ShortTransaction(
                locks=unique([draft.exclusive, *(lock for r in added for lock in r.other_locks)]),
                inverse_locks=unique([draft.exclusive, *to_drop(added)]),
                forward=(*(r.add for r in added), *(s for move in draft.attach for s in move.forward)),
                inverse=(*(s for move in draft.attach for s in move.inverse), *(r.drop for r in added)),
            ),
        )
    for restriction in draft.inbound:
        yield _inbound(draft, restriction)
    yield from draft.cleared
    for restriction in [*added, *draft.inbound]:
        if restriction.validated:
            yield _validate(restriction)
    if draft.not_null:
        yield Step(
            key=f"constrain/{draft.full_name}/not null",
            phase=Phase.CONSTRAIN,
            title=f"set {', '.join(draft.not_null)} of {draft.full_name} not null, without a scan",
            undo="drop the not null",
            action=ShortTransaction(
                locks=(draft.exclusive,),
                forward=(
                    *(draft.alter(f"alter column {quote(c)} set not null") for c in draft.not_null),
                    *(r.drop for r in not_null),
                ),
                # A column that dual write fills goes as a whole, and after the swap it has another name.
                inverse=tuple(
                    draft.alter(f"alter column {quote(c)} drop not null")
                    for c in draft.not_null
                    if c not in {target.before for target in draft.shape.targets}
                ),
            ),
        )


def _inbound(draft: TableDraft, restriction: Restriction) -> Step:
    return Step(
        key=f"constrain/{restriction.full_name}/add {restriction.name}",
        phase=Phase.CONSTRAIN,
        title=f"let {restriction.full_name} refer to the new column of {draft.full_name}, not yet validated",
        undo="drop the foreign key",
        action=ShortTransaction(
            locks=unique([Lock(table=restriction.table, mode=LockMode.ACCESS_EXCLUSIVE), *restriction.other_locks]),
            inverse_locks=unique(
                [Lock(table=restriction.table, mode=LockMode.ACCESS_EXCLUSIVE), *to_drop([restriction])]
            ),
            forward=(restriction.add,),
            inverse=(restriction.drop,),
        ),
    )


def _validate(restriction: Restriction) -> Step:
    return Step(
        key=f"constrain/{restriction.full_name}/validate {restriction.name}",
        phase=Phase.CONSTRAIN,
        title=f"validate {restriction.name} while applications write",
        action=Validation(table=restriction.table, forward=(restriction.validate,)),
    )


_BUILD = {
    Phase.EXPAND: _expand,
    Phase.DUAL_WRITE: _dual_write,
    Phase.BACKFILL: _backfill,
    Phase.INDEX: lambda draft: draft.indexes,
    Phase.CONSTRAIN: _constrain,
}


def _swap(drafts: Sequence[TableDraft]) -> Iterable[Step]:
    """One transaction for all tables. Steps around it prepare and finish a rollback."""
    for draft in drafts:
        yield from _after_swap_back(draft)
    moves = [move for draft in drafts for move in draft.moves]
    locks = [draft.exclusive for draft in drafts if draft.moves]
    locks += [lock for draft in drafts for lock in draft.swap_locks]
    drains = [call for draft in drafts for call in draft.drains]
    drain = f"select {' + '.join(drains)}" if drains else ""
    there, _ = in_order(locks, drafts)
    _, back = in_order([*locks, *(lock for draft in drafts for lock in to_drop(draft.restrictions))], drafts)
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title="make the new shape the truth: " + (", ".join(d.full_name for d in drafts) or "nothing moves"),
        undo="swap back; what applications wrote since stays, by way of `down`",
        action=ShortTransaction(
            locks=there,
            inverse_locks=None if back == there else back,
            forward=tuple(statement for move in moves for statement in move.forward),
            inverse=tuple(statement for move in reversed(moves) for statement in move.inverse),
            guard=True,
            before=drain,
            inverse_before=drain,
        ),
    )
    for draft in drafts:
        yield from _before_swap_back(draft)


def _after_swap_back(draft: TableDraft) -> Iterable[Step]:
    """What a rollback does after it has swapped back: the old constraints hold again, and are validated."""
    if draft.restored_not_null:
        helpers = [draft.not_null_check(column) for column in draft.restored_not_null]
        yield Step(
            key=f"swap/{draft.full_name}/restore not null",
            phase=Phase.SWAP,
            title=f"remember to forbid NULL in {', '.join(draft.restored_not_null)} of {draft.full_name}",
            undo="set them not null again, over validated checks",
            action=ShortTransaction(
                locks=(draft.exclusive,),
                inverse=tuple(
                    _if_constraint(
                        draft.real,
                        r.name,
                        f"{draft.set_not_null(c)}; {r.drop}",
                    )
                    for c, r in zip(draft.restored_not_null, helpers, strict=True)
                ),
            ),
        )
    restored = [*draft.restored, *(draft.not_null_check(column) for column in draft.restored_not_null)]
    for restriction in restored:
        yield Step(
            key=f"swap/{restriction.full_name}/restore {restriction.name}",
            phase=Phase.SWAP,
            title=f"remember that {restriction.name} of {restriction.full_name} was valid",
            undo="validate it again while applications write",
            action=Validation(
                table=restriction.table,
                inverse=(_if_constraint(restriction.table, restriction.name, restriction.validate),),
            ),
        )


def _before_swap_back(draft: TableDraft) -> Iterable[Step]:
    """What a rollback does first, while the new shape is still the truth. Undone last first."""
    yield from draft.before_rollback
    checks = [draft.not_null_check(column) for column in draft.key_not_null]
    if not checks:
        return
    yield Step(
        key=f"swap/{draft.full_name}/key not null",
        phase=Phase.SWAP,
        title=f"remember that the old key of {draft.full_name} is not null",
        undo="set it not null again, over validated checks",
        action=ShortTransaction(
            locks=(draft.exclusive,),
            inverse=tuple(
                statement
                for column, check in zip(draft.key_not_null, checks, strict=True)
                for statement in (draft.alter(f"alter column {quote(column)} set not null"), check.drop)
            ),
        ),
    )
    for check in checks:
        yield Step(
            key=f"swap/{draft.full_name}/validate {check.name}",
            phase=Phase.SWAP,
            title=f"remember to validate {check.name}",
            undo="validate it while applications write",
            action=Validation(table=draft.real, inverse=(check.validate,)),
        )
    yield Step(
        key=f"swap/{draft.full_name}/add key not null",
        phase=Phase.SWAP,
        title="remember that the old key may not be null",
        undo="check it again, not yet validated",
        action=ShortTransaction(locks=(draft.exclusive,), inverse=tuple(check.add for check in checks)),
    )


def _if_constraint(table: str, name: str, statements: str) -> str:
    """Run statements only where the constraint exists: before the swap there is nothing to restore."""
    return f"""\
do $restore$
begin
  if exists (select from pg_catalog.pg_constraint
             where conrelid = {literal(table)}::pg_catalog.regclass and conname = {literal(name)}) then
    {statements};
  end if;
end
$restore$"""


def _contract(draft: TableDraft) -> Iterable[Step]:
    forward: list[str] = []
    if draft.shape.targets or draft.shape.retired:
        forward += draft.dual.drop()
    if draft.contract:
        forward.append(draft.alter(*draft.contract))
    forward += draft.tidy
    if forward:
        yield Step(
            key=f"contract/{draft.full_name}/drop",
            phase=Phase.CONTRACT,
            title=f"drop the old shape of {draft.full_name}",
            undo="nothing: this is the point of no return",
            action=ShortTransaction(locks=unique([draft.exclusive, *_referred(draft)]), forward=tuple(forward)),
        )


def _referred(draft: TableDraft) -> Iterable[Lock]:
    """Lock the tables that foreign keys refer to which go with their columns; some are off since the swap."""
    for one in draft.table.constraints:
        if {*one.columns} & draft.shape.dropped and not draft.comes_off(one):
            yield from parent_locks(one)
