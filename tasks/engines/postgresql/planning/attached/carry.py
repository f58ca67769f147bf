"""What is attached to a column that gets a new physical column: it all has to arrive there, under its own name.

The old column keeps its indexes, renamed, until `contract`, so that a rollback finds them. What could make an
application's statement fail once `down` feeds the old column (NOT NULL, CHECK, FOREIGN KEY, and everything that is
unique) is taken off at the swap and put back by a rollback.
"""

from tasks.engines.postgresql.planning.attached.belongings import move_default, move_grants
from tasks.engines.postgresql.planning.attached.constraints import carry_constraint, carry_inbound, let_go
from tasks.engines.postgresql.planning.attached.indexes import carry_index
from tasks.engines.postgresql.planning.attached.tidy import tidy_index_columns, tidy_not_null
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.names import own_name, quote


def detach(draft: TableDraft) -> None:
    """Plan what has to leave the old columns at the swap, before any column changes its name."""
    for foreign_key in draft.table.inbound:
        if set(foreign_key.referenced_columns) & draft.altered.keys():
            carry_inbound(draft, foreign_key)
    for name in draft.altered:
        column = draft.table.column(name)
        assert column is not None
        draft.restore_not_null(column)
        if column.identity and not draft.in_primary_key(name):
            draft.key_not_null.append(own_name("old", name))
        draft.swap(inverse=[tidy_index_columns(draft)])
        if draft.never_null(column):
            draft.swap(inverse=[tidy_not_null(draft, name)])
    for constraint in draft.table.constraints:
        if constraint.kind in ("check", "foreign key") and draft.comes_off(constraint):
            carry_constraint(draft, constraint)
    for index in draft.table.indexes:
        carry_index(draft, index)
    for foreign_key in draft.table.inbound:
        if set(foreign_key.referenced_columns) & draft.altered.keys():
            # Moves are undone last first: these foreign keys go before the index that they rest on.
            let_go(draft, foreign_key)


def rename(draft: TableDraft) -> None:
    """Plan the exchange of names, and what a column carries with itself."""
    for name, before in draft.altered.items():
        old = own_name("old", name)
        column = draft.table.column(name)
        assert column is not None
        draft.swap(
            forward=[
                f"alter table {draft.real} rename column {quote(name)} to {quote(old)}",
                f"alter table {draft.real} rename column {quote(before)} to {quote(name)}",
            ],
            inverse=[
                f"alter table {draft.real} rename column {quote(name)} to {quote(before)}",
                f"alter table {draft.real} rename column {quote(old)} to {quote(name)}",
            ],
        )
        draft.contract.append(f"drop column if exists {quote(old)}")
        draft.tidy.append(tidy_not_null(draft, name))
        move_default(draft, name, old)
        draft.relax(column, after=old)
        if column.comment is not None and name not in draft.commented:
            draft.comment(name, column.comment)
        move_grants(draft, name, column.grants)


def attach(draft: TableDraft) -> None:
    """Plan what the new columns get at the swap, and that a rollback lifts every new restriction at once."""
    draft.moves += draft.after_rename
    draft.after_rename = []
    if draft.altered:
        draft.tidy.append(tidy_index_columns(draft))
    filled = {target.before for target in draft.shape.targets}
    # Between swap and rollback the original of a renamed column goes by its new name.
    names = {column: draft.renamed.get(column, column) for column in draft.not_null}
    lifted = [draft.alter(f"alter column {quote(names[c])} drop not null") for c in names if c not in filled]
    lifted += [restriction.drop for restriction in draft.restrictions]
    lifted += [statement for move in draft.attach for statement in move.inverse]
    draft.swap(inverse=lifted)
    draft.moves += draft.last
