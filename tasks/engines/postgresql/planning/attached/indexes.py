"""Indexes of a column that gets a new physical column: each has a twin there, which takes its name at the swap.

What is unique could reject what `down` feeds to the old column: it goes at the swap, and a rollback builds it again.
"""

import re
from collections.abc import Mapping

from tasks.engines.postgresql.planning.checks.obstacles import INVALID
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.keys import key_columns
from tasks.engines.postgresql.planning.move import Move
from tasks.model.catalogue import Constraint, Index
from tasks.model.errors import PreflightError
from tasks.model.names import own_name, quote
from tasks.model.steps import ConcurrentIndex, Phase, Step


def carry_index(draft: TableDraft, index: Index) -> None:
    """Choose what an index needs: a twin, a way back, a copy for the other name, or nothing."""
    if index.constraint in draft.dropped_constraints:
        if index.clustered:
            draft.swap(inverse=[draft.alter(f"cluster on {quote(index.name)}")])
        _retire_unique(draft, index)
    elif set(index.referenced) & draft.altered.keys():
        _refuse_invalid(draft, index)
        _index(draft, index)
    elif index.unique and set(index.referenced) & draft.fed_by_down:
        _refuse_invalid(draft, index)
        _retire_unique(draft, index)
    elif set(index.referenced) & draft.renamed.keys():
        _copy_index(draft, index)


def _refuse_invalid(draft: TableDraft, index: Index) -> None:
    """Refuse what somebody's interrupted build left: its twin would be whole, or fail as that build did."""
    if not index.valid:
        raise PreflightError(f"the index {index.name} is invalid", where=draft.full_name, hint=INVALID)


def _index(draft: TableDraft, index: Index) -> None:
    """Build a twin of the index on the new columns; at the swap the twin gets the name."""
    if set(index.referenced) & draft.renamed.keys():
        raise PreflightError(
            f"index {index.name} covers both a renamed and an altered column",
            where=draft.full_name,
            hint="Rename the column in one migration and alter the other in a second.",
        )
    constraint = draft.table.constraint(index.constraint) if index.constraint else None
    if constraint is not None and (constraint.kind == "exclusion" or index.without_overlaps):
        raise PreflightError(
            f"the {constraint.kind} constraint {constraint.name} cannot be built without blocking writers",
            where=draft.full_name,
            hint="Use `strategy: shadow_table`; or drop the constraint first, and add it again afterwards.",
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
    if (index.constraint is not None and not index.unique) or not index.valid:
        return
    name = own_name("copy", index.name)
    create = draft.rehearsal.index_definition(index.name, name, draft.shape.new(swapped=False))
    if create is None:
        # It covers a column that is dropped, too, and goes with that.
        return
    # Not unique, whatever the original is: ON CONFLICT arbitrates by one index, and a second would reject.
    create = create.replace("CREATE UNIQUE INDEX", "CREATE INDEX", 1)
    draft.indexes.append(draft.index_step(name, create, unique=False, title=f"build the copy of {index.name}"))
