"""Which operations can stand together in one spec, once those that mean one thing together are one."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from tasks.model.operations.base import Claim, Contradiction, Location, Manner, NewName, Operation
from tasks.model.operations.create_table import CreateTable
from tasks.model.operations.folding.names import OF_ONE
from tasks.model.operations.rename_table import RenameTable

Numbered = Sequence[tuple[int, Operation]]
"""Operations, each with its number in the spec; several may have come from one."""

_TOGETHER = {
    # An index on a column that was made just before.
    (Manner.MAKES, Manner.READS),
    # Two indexes on one column.
    (Manner.READS, Manner.READS),
    # An index is built on the column of the new shape, whichever is written first.
    (Manner.READS, Manner.RESTRICTS),
    (Manner.RESTRICTS, Manner.READS),
    (Manner.READS, Manner.CHANGES),
    (Manner.CHANGES, Manner.READS),
}
_FOLDED = {
    # A column that is altered, and gets another name.
    (Manner.RESTRICTS, Manner.RENAMES),
    (Manner.CHANGES, Manner.RENAMES),
}
"""What goes together once `fold` has said so."""


_BESIDE_A_RENAME = (*OF_ONE, CreateTable)
"""What can be done to a table, or refer to one, that gets another name."""


def conflicts(asked: Sequence[Operation], operations: Numbered | None = None) -> Iterator[Contradiction]:
    """Yield what two operations of a spec cannot both mean; locations start at `operations`.

    `operations` are those that are carried out, where some of those that were asked for are put together.
    """
    chosen = tuple(enumerate(asked)) if operations is None else operations
    yield from _one_spelling_a_table(tuple(enumerate(asked)))
    yield from _alone_on_a_table(chosen)
    together = _TOGETHER if operations is None else _TOGETHER | _FOLDED
    yield from _one_operation_a_column(asked, chosen, together)
    yield from _settled_once(chosen)
    yield from _one_thing_a_name(chosen)
    yield from _one_operation_a_name(chosen)
    yield from _new_tables(chosen)


def _root(number: int, operation: Operation) -> Location:
    return ("operations", number, operation.kind)


def _one_spelling_a_table(operations: Numbered) -> Iterator[Contradiction]:
    """Without a database nobody can tell whether `users` and `public.users` are one table."""
    seen: dict[str, set[str]] = {}
    for number, operation in operations:
        for name in dict.fromkeys((*operation.tables, *operation.referenced)):
            schema, _, bare = name.rpartition(".")
            others = seen.setdefault(bare, set())
            if any(bool(schema) != ("." in other) for other in others):
                yield Contradiction(
                    at=_root(number, operation),
                    reason=f"{name!r} may be the same table as {min(others)!r}",
                    hint="Write both with their schema, or both without.",
                )
            others.add(name)


def _alone_on_a_table(operations: Numbered) -> Iterator[Contradiction]:
    """A table that goes, or gets another name, is no ground for anything else."""
    alone: dict[str, tuple[int, Operation]] = {}
    for number, operation in operations:
        for name in operation.alone_on:
            alone.setdefault(name, (number, operation))
    for number, operation in operations:
        for name in dict.fromkeys((*operation.tables, *operation.referenced)):
            first, whole = alone.get(name, (number, operation))
            beside = isinstance(whole, RenameTable) and isinstance(operation, _BESIDE_A_RENAME)
            if first != number and not (beside and not operation.alone_on):
                yield Contradiction(
                    at=_root(number, operation),
                    reason=f"operations[{first}].{whole.kind} concerns the whole table {name!r}",
                    hint="Put the two into migrations of their own, one after the other.",
                )


def _settled_once(operations: Numbered) -> Iterator[Contradiction]:
    seen: dict[str, int] = {}
    for number, operation in operations:
        for thing in operation.settles():
            if seen.setdefault(thing, number) != number:
                yield Contradiction(
                    at=_root(number, operation),
                    reason=f"operations[{seen[thing]}] already decides {thing}",
                    hint="Remove one of the two.",
                )


def _one_operation_a_column(
    asked: Sequence[Operation], operations: Numbered, together: Collection[tuple[Manner, Manner]]
) -> Iterator[Contradiction]:
    seen: dict[tuple[str, str], list[tuple[int, Claim]]] = {}
    for number, operation in operations:
        for claim in operation.claims():
            earlier = seen.setdefault((claim.table, claim.column), [])
            for other, before in earlier:
                if other != number and (before.manner, claim.manner) not in together:
                    yield _clash(asked, other, before, number, claim)
                    break
            earlier.append((number, claim))


def _clash(asked: Sequence[Operation], first: int, before: Claim, second: int, claim: Claim) -> Contradiction:
    at = (*_root(second, asked[second]), *claim.at)
    column = f"{claim.table}.{claim.column}"
    if (before.manner, claim.manner) == (Manner.READS, Manner.MAKES):
        return Contradiction(
            at=at,
            reason=f"operations[{first}] uses the column {column} before it is there",
            hint=f"Put {asked[second].kind} before {asked[first].kind}.",
        )
    return Contradiction(
        at=at,
        reason=f"operations[{first}].{asked[first].kind} already concerns the column {column}, "
        "and the two do not make one operation",
        hint="Say it in one operation, or put the second one into a migration of its own.",
    )


def _one_thing_a_name(operations: Numbered) -> Iterator[Contradiction]:
    seen: dict[tuple[str, str], int] = {}
    for number, operation in operations:
        for new in dict.fromkeys(operation.new_names()):
            if (new.space, new.name) in seen:
                yield _taken(_root(number, operation), new, seen[new.space, new.name])
            seen.setdefault((new.space, new.name), number)


def _taken(root: Location, new: NewName, first: int) -> Contradiction:
    return Contradiction(
        at=(*root, *new.at),
        reason=f"operations[{first}] already gives the name {new.name!r}, unique among {new.space}",
        hint="Choose another name, or remove one of the two.",
    )


def _one_operation_a_name(operations: Numbered) -> Iterator[Contradiction]:
    """What is dropped or renamed keeps its name until the swap: nothing else can have it, and no one else it."""
    known: dict[tuple[str, str], tuple[int, Operation]] = {}
    for number, operation in operations:
        for one in operation.known_names():
            first, other = known.setdefault((one.space, one.name), (number, operation))
            if first != number:
                yield Contradiction(
                    at=(*_root(number, operation), *one.at),
                    reason=f"operations[{first}].{other.kind} already concerns {one.name!r}",
                    hint="Remove one of the two, or put it into a migration of its own.",
                )
    for number, operation in operations:
        for new in dict.fromkeys(operation.new_names()):
            holder, _ = known.get((new.space, new.name), (number, operation))
            if holder != number:
                yield Contradiction(
                    at=(*_root(number, operation), *new.at),
                    reason=f"until the swap the name {new.name!r} belongs to what operations[{holder}] concerns",
                    hint="Choose another name, or give it in a later migration.",
                )


def _new_tables(operations: Numbered) -> Iterator[Contradiction]:
    """What follows on a table that the same spec makes is part of it by now; nothing can come before it."""
    made: dict[str, tuple[int, CreateTable]] = {}
    for number, operation in operations:
        if isinstance(operation, CreateTable):
            made.setdefault(operation.name, (number, operation))
    for number, operation in operations:
        creates = isinstance(operation, CreateTable)
        for name in operation.referenced if creates else (*operation.tables, *operation.referenced):
            if name in made and made[name][0] > number:
                yield Contradiction(
                    at=_root(number, operation),
                    reason=f"it needs the table {name!r}, which operations[{made[name][0]}] makes only later",
                    hint=f"Put the create_table of {name!r} first.",
                )
        for claim in () if creates else operation.claims():
            if claim.table in made and made[claim.table][0] < number:
                at = (*_root(number, operation), *claim.at)
                yield from _unknown_column(made[claim.table][1], at, claim)


def _unknown_column(table: CreateTable, at: Location, claim: Claim) -> Iterator[Contradiction]:
    names = [column.name for column in table.columns]
    if claim.column in names:
        return
    close = get_close_matches(claim.column, names, n=1)
    reads = claim.manner is Manner.READS
    yield Contradiction(
        at=at,
        reason=f"the table {table.name!r}, made by this spec, has no column {claim.column!r}",
        hint=f"Did you mean {close[0]!r}?" if close and reads else "Write the column into its create_table.",
    )
