"""What is attached to a column that gets a new physical column: it all has to arrive there, under its own name.

The old column keeps its indexes, renamed, until `contract`, so that a rollback finds them. What could make an
application's statement fail once `down` feeds the old column (NOT NULL, CHECK, FOREIGN KEY, and everything that is
unique) is taken off at the swap and put back by a rollback.
"""

import re
from collections.abc import Mapping

from tasks.engines.postgresql.planning.belongings import move_default, move_grants, quote_qualified
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.keys import key_columns
from tasks.engines.postgresql.planning.move import Move, Restriction
from tasks.engines.postgresql.planning.tidy import tidy_index_columns, tidy_not_null
from tasks.model.catalogue import Constraint, InboundForeignKey, Index
from tasks.model.errors import PreflightError
from tasks.model.names import own_name, quote
from tasks.model.plan import ConcurrentIndex, Lock, LockMode, Phase, Step


def detach(draft: TableDraft) -> None:
    """Plan what has to leave the old columns at the swap, before any column changes its name."""
    for foreign_key in draft.table.inbound:
        if set(foreign_key.referenced_columns) & draft.altered.keys():
            _inbound(draft, foreign_key)
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
        if constraint.kind in ("check", "foreign key") and set(constraint.columns) & _fed_by_down(draft):
            _take_off(draft, constraint)
    for index in draft.table.indexes:
        _from_index(draft, index)
    for foreign_key in draft.table.inbound:
        if set(foreign_key.referenced_columns) & draft.altered.keys():
            # Moves are undone last first: these foreign keys go before the index that they rest on.
            _let_go(draft, foreign_key)


def _from_index(draft: TableDraft, index: Index) -> None:
    if set(index.referenced) & draft.altered.keys():
        _index(draft, index)
    elif index.unique and set(index.referenced) & _fed_by_down(draft):
        _retire_unique(draft, index)
    elif set(index.referenced) & draft.renamed.keys():
        _copy_index(draft, index)


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
    lifted = [draft.alter(f"alter column {quote(c)} drop not null") for c in draft.not_null if c not in filled]
    lifted += [restriction.drop for restriction in draft.restrictions]
    lifted += [statement for move in draft.attach for statement in move.inverse]
    draft.swap(inverse=lifted)


def _fed_by_down(draft: TableDraft) -> set[str]:
    return set(draft.altered) | {r.name for r in draft.shape.retired if r.name not in draft.renamed}


def _take_off(draft: TableDraft, constraint: Constraint) -> None:
    definition = constraint.definition.removesuffix(" NOT VALID")
    drop = draft.alter(f"drop constraint {quote(constraint.name)}")
    back = draft.alter(f"add constraint {quote(constraint.name)} {definition} not valid")
    locks = _parent_locks(constraint)
    comment = [draft.comment_on(constraint)] if constraint.comment is not None else []
    draft.swap(forward=[drop], inverse=[back, *comment])
    draft.swap_locks += locks
    if constraint.validated:
        draft.restored.append(
            Restriction(table=draft.real, full_name=draft.full_name, name=constraint.name, definition=definition)
        )
    moved = _moved_definition(draft, constraint, definition)
    if moved is None:
        return
    name = own_name("new", constraint.name)
    draft.restrict(name, moved, locks=locks, validated=constraint.validated)
    draft.later(
        forward=[draft.alter(f"rename constraint {quote(name)} to {quote(constraint.name)}"), *comment],
        inverse=[draft.alter(f"drop constraint {quote(constraint.name)}")],
    )


def _by_old_name(draft: TableDraft) -> dict[str, str]:
    """Map names of the old shape to the columns that hold them after contract, as called before the swap."""
    return draft.lasting | {name: name for name in draft.renamed}


def _parent_locks(constraint: Constraint) -> list[Lock]:
    if constraint.kind != "foreign key" or constraint.referenced_table is None:
        return []
    return [Lock(table=quote_qualified(constraint.referenced_table), mode=LockMode.ACCESS_EXCLUSIVE)]


def _moved_definition(draft: TableDraft, constraint: Constraint, definition: str) -> str | None:
    """Return the constraint over the new columns, or None if one of its columns is being dropped."""
    if any(
        column in draft.shape.dropped - draft.altered.keys() - draft.renamed.keys() for column in constraint.columns
    ):
        return None
    if constraint.kind == "check":
        return draft.rehearsal.check_definition(constraint.name, draft.lasting)
    names = _by_old_name(draft)
    tail = definition[len(f"FOREIGN KEY ({draft.rehearsal.printed(constraint.columns)}") :]
    listed = ", ".join(quote(names[column]) for column in constraint.columns)
    return f"foreign key ({listed}{_ACTION_COLUMNS.sub(lambda found: _action(found, names), tail)}"


_NAME = r'"(?:[^"]|"")*"|[^ ,()"]+'
_ACTION_COLUMNS = re.compile(rf"(?<= ON DELETE SET )(NULL|DEFAULT) \(((?:{_NAME}|, )*)\)")


def _action(found: re.Match[str], names: Mapping[str, str]) -> str:
    """ON DELETE SET NULL may name the columns that it is about."""
    printed = re.findall(_NAME, found[2])
    columns = [name[1:-1].replace('""', '"') if name.startswith('"') else name for name in printed]
    return f"{found[1]} ({', '.join(quote(names[column]) for column in columns)})"


def _index(draft: TableDraft, index: Index) -> None:
    """Build a twin of the index on the new columns; at the swap the twin gets the name."""
    if set(index.referenced) & draft.renamed.keys():
        raise PreflightError(
            f"index {index.name} covers both a renamed and an altered column",
            where=draft.full_name,
            hint="Rename the column in one migration and alter the other in a second.",
        )
    constraint = draft.table.constraint(index.constraint) if index.constraint else None
    if constraint is not None and constraint.kind == "exclusion":
        raise PreflightError(
            f"the exclusion constraint {constraint.name} cannot be built without blocking writers",
            where=draft.full_name,
            hint="Drop the exclusion constraint first, and add it again afterwards.",
        )
    new, old = own_name("new", index.name), own_name("old", index.name)
    create = draft.rehearsal.index_definition(index.name, new, draft.shape.new(swapped=False))
    if create is None:
        return
    step = draft.index_step(
        new,
        create,
        unique=index.unique,
        title=f"build the twin of {index.name}",
        consumed=constraint is not None,
    )
    (draft.unique_indexes if index.unique else draft.indexes).append(step)
    schema = quote(draft.table.schema_name)
    if index.clustered:
        draft.swap(inverse=[draft.alter(f"cluster on {quote(index.name)}")])
    if index.primary:
        _primary_key(draft, index, new)
    elif constraint is not None:
        _retire_unique(draft, index)
        _unique_constraint(draft, index, constraint, new)
    elif index.unique:
        _retire_unique(draft, index)
        draft.later(
            forward=[f"alter index {schema}.{quote(new)} rename to {quote(index.name)}"],
            inverse=[f"drop index {schema}.{quote(index.name)}"],
        )
    else:
        draft.swap(
            forward=[f"alter index {schema}.{quote(index.name)} rename to {quote(old)}"],
            inverse=[f"alter index {schema}.{quote(old)} rename to {quote(index.name)}"],
        )
        draft.later(
            forward=[f"alter index {schema}.{quote(new)} rename to {quote(index.name)}"],
            inverse=[f"drop index {schema}.{quote(index.name)}"],
        )
    if index.clustered:
        draft.later(forward=[draft.alter(f"cluster on {quote(index.name)}")])
    draft.later(forward=_comments(draft, index))


def _comments(draft: TableDraft, index: Index) -> list[str]:
    constraint = draft.table.constraint(index.constraint) if index.constraint else None
    found = [draft.comment_on(constraint)] if constraint is not None and constraint.comment is not None else []
    if index.comment is not None:
        name = f"{quote(draft.table.schema_name)}.{quote(index.name)}"
        found.append(f"comment on index {name} is {literal(index.comment)}")
    return found


def _unique_constraint(draft: TableDraft, index: Index, constraint: Constraint, new: str) -> None:
    """Give the twin its constraint at the swap; at once where it is deferrable, for a bare index never defers."""
    name = quote(index.name)
    drop = draft.alter(f"drop constraint {name}")
    if not constraint.deferrable:
        draft.later(forward=[draft.alter(f"add constraint {name} unique using index {quote(new)}")], inverse=[drop])
        return
    added = draft.alter(f"add constraint {quote(new)} unique using index {quote(new)}{_deferrable(constraint)}")
    draft.attach.append(Move(forward=(added,), inverse=(draft.alter(f"drop constraint if exists {quote(new)}"),)))
    draft.later(forward=[draft.alter(f"rename constraint {quote(new)} to {name}")], inverse=[drop])


def _deferrable(constraint: Constraint) -> str:
    if not constraint.deferrable:
        return ""
    return " deferrable initially deferred" if constraint.deferred else " deferrable"


def _primary_key(draft: TableDraft, index: Index, new: str) -> None:
    """There can be only one: a rollback builds the old one again, concurrently, before it swaps back."""
    name = quote(index.constraint or index.name)
    constraint = draft.table.constraint(index.constraint or index.name)
    assert constraint is not None
    if constraint.deferrable:
        raise PreflightError(
            f"the primary key {constraint.name} is deferrable, and until the swap its twin could not be",
            where=draft.full_name,
            hint="Make it a primary key that is not deferrable before the migration, and change it back afterwards.",
        )
    rebuilt = own_name("old", index.name)
    draft.swap(
        forward=[draft.alter(f"drop constraint {name}")],
        inverse=[
            draft.alter(f"add constraint {name} primary key using index {quote(rebuilt)}"),
            *_comments(draft, index),
        ],
    )
    draft.later(
        forward=[draft.alter(f"add constraint {name} primary key using index {quote(new)}")],
        inverse=[draft.alter(f"drop constraint {name}")],
    )
    old_names = draft.shape.old(swapped=True)
    columns = [quote(old_names[column]) for column in key_columns(draft.table, index)]
    create = (
        f"create unique index concurrently {quote(rebuilt)} on {draft.real}"
        f" ({', '.join(columns)}){_include(index, old_names, len(columns))}"
    )
    _rebuild(draft, index, rebuilt, create)
    for column in key_columns(draft.table, index):
        if column in draft.altered:
            draft.key_not_null.append(own_name("old", column))


def _retire_unique(draft: TableDraft, index: Index) -> None:
    """Take a unique index off what `down` feeds, where it could reject; a rollback builds it again first."""
    constraint = draft.table.constraint(index.constraint) if index.constraint else None
    name, rebuilt = quote(index.name), own_name("old", index.name)
    schema = quote(draft.table.schema_name)
    if constraint is not None:
        forward = draft.alter(f"drop constraint {name}")
        back = draft.alter(f"add constraint {name} unique using index {quote(rebuilt)}{_deferrable(constraint)}")
    else:
        forward = f"drop index {schema}.{name}"
        back = f"alter index {schema}.{quote(rebuilt)} rename to {name}"
    draft.swap(forward=[forward], inverse=[back, *_comments(draft, index)])
    # Between swap and rollback the original of a renamed column goes by its new name.
    names = draft.shape.old(swapped=True) | draft.renamed
    create = draft.rehearsal.old_index_definition(index, rebuilt, names)
    _rebuild(draft, index, rebuilt, create)


def _rebuild(draft: TableDraft, index: Index, rebuilt: str, create: str) -> None:
    draft.before_rollback.append(
        Step(
            key=f"swap/{draft.full_name}/rebuild {index.name}",
            phase=Phase.SWAP,
            title=f"keep the means to build {index.name} again",
            undo=f"build the index behind {index.name} again on the old column, concurrently",
            action=ConcurrentIndex(
                table=draft.real,
                schema_name=draft.table.schema_name,
                name=rebuilt,
                create=create,
                build_on="inverse",
                consumed=True,
            ),
        )
    )


def _include(index: Index, names: Mapping[str, str], keys: int) -> str:
    """What a primary key says after its columns."""
    included = ", ".join(quote(names[column]) for column in index.columns[keys:])
    parameters = re.search(r" WITH \([^()]*\)$", index.definition)
    return (f" include ({included})" if included else "") + (parameters[0] if parameters else "")


def _copy_index(draft: TableDraft, index: Index) -> None:
    """A renamed column is searched by both names for a while; the copy's index goes with the copy."""
    if index.constraint is not None and not index.unique:
        return
    name = own_name("copy", index.name)
    create = draft.rehearsal.index_definition(index.name, name, draft.shape.new(swapped=False))
    if create is None:
        # It covers a column that is dropped, too, and goes with that.
        return
    # Not unique, whatever the original is: ON CONFLICT arbitrates by one index, and a second would reject.
    create = create.replace("CREATE UNIQUE INDEX", "CREATE INDEX", 1)
    draft.indexes.append(draft.index_step(name, create, unique=False, title=f"build the copy of {index.name}"))


def _inbound(draft: TableDraft, key: InboundForeignKey) -> None:
    """Let the foreign keys of other tables point at the new column, then let go of the old one."""
    names = _by_old_name(draft)
    child = quote_qualified(key.table)
    name, new = quote(key.name), own_name("new", key.name)
    definition = key.definition.removesuffix(" NOT VALID")
    listed = ", ".join(quote(names[column]) for column in key.referenced_columns)
    head, tail = _split_inbound(draft, key, definition)
    draft.inbound.append(
        Restriction(
            table=child,
            full_name=key.table,
            name=new,
            definition=f"{head} REFERENCES {draft.real} ({listed}){tail}",
            other_locks=(Lock(table=draft.real, mode=LockMode.SHARE_ROW_EXCLUSIVE),),
            validated=key.validated,
        )
    )
    draft.swap_locks.append(Lock(table=child, mode=LockMode.ACCESS_EXCLUSIVE))
    text = literal(key.comment) if key.comment is not None else None
    comment = [f"comment on constraint {name} on {child} is {text}"] if text is not None else []
    draft.swap(
        forward=[
            f"alter table {child} drop constraint {name}",
            f"alter table {child} rename constraint {quote(new)} to {name}",
            *comment,
        ],
        inverse=[f"alter table {child} add constraint {name} {definition} not valid", *comment],
    )
    if key.validated:
        draft.restored.append(Restriction(table=child, full_name=key.table, name=key.name, definition=definition))


def _let_go(draft: TableDraft, key: InboundForeignKey) -> None:
    child = quote_qualified(key.table)
    draft.later(inverse=[f"alter table {child} drop constraint {quote(key.name)}"])


def _split_inbound(draft: TableDraft, key: InboundForeignKey, definition: str) -> tuple[str, str]:
    """Cut `FOREIGN KEY (a) REFERENCES s.t(b) ON DELETE ...` around the referenced table and columns."""
    head = f"FOREIGN KEY ({draft.rehearsal.printed(key.columns)})"
    rest = definition[len(head) :]
    listed = f"({draft.rehearsal.printed(key.referenced_columns)})"
    return head, rest[rest.index(listed) + len(listed) :]
