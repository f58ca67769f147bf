"""Which column of A is held against which column of B, and by which key rows are paired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.model.errors import PreflightError
from validations.parity.relation import Column, Relation


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A column on both sides, under the name that it has in B."""

    name: str
    a: Column
    b: Column


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """All that is compared."""

    key: tuple[Pair, ...]
    """Empty: rows have no name, and are counted as a multiset."""
    values: tuple[Pair, ...]
    """Everything outside of the key."""
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Pair, ...]:
        """Key first, then values."""
        return self.key + self.values


def pair(a: Relation, b: Relation, *, mapped: Mapping[str, Column], ignored: Sequence[str] = ()) -> Pairing:
    """Pair columns by name; `mapped` gives what stands in A for a column of B: an expression, or a column of A itself.

    Raises PreflightError for a column that one side lacks, and for names that neither has: what is not compared
    has to be named, so that nothing is left out by mistake.
    """
    _known(a, b, mapped, ignored)
    pairs = {
        column.name: Pair(name=column.name, a=found, b=column)
        for column in b.columns
        if column.name not in ignored and (found := mapped.get(column.name) or a.column(column.name)) is not None
    }
    lacking = [one.name for one in b.columns if one.name not in pairs and one.name not in ignored]
    called = [one.name for one in mapped.values() if a.column(one.name) is one]
    left = [one.name for one in a.columns if b.column(one.name) is None and one.name not in (*ignored, *called)]
    if lacking or left:
        said = [f"{a.place} has no {', '.join(lacking)}"] if lacking else []
        said += [f"{b.place} has no {', '.join(left)}"] if left else []
        raise PreflightError(
            f"the tables do not have the same columns: {'; '.join(said)}",
            where=f"{a.place} and {b.place}",
            hint="Say what stands in A for a column of B (--map COLUMN=SQL), or leave it out (--ignore COLUMN).",
        )
    if not pairs:
        raise PreflightError("no column is left to compare", where=b.place, hint="Leave out fewer columns.")
    key = _key(a, b, pairs)
    values = tuple(one for name, one in pairs.items() if name not in key)
    notes = [f"{one.name} is {one.a.type} in A and {one.b.type} in B" for one in pairs.values() if _unlike(one)]
    return Pairing(key=tuple(pairs[name] for name in key), values=values, notes=tuple(notes))


def _known(a: Relation, b: Relation, mapped: Mapping[str, Column], ignored: Sequence[str]) -> None:
    wrong = [name for name in mapped if b.column(name) is None]
    wrong += [name for name in ignored if a.column(name) is None and b.column(name) is None]
    if wrong:
        raise PreflightError(
            f"there is no column {', '.join(wrong)}", where=b.place, hint="Check the names of --map and --ignore."
        )


def _key(a: Relation, b: Relation, pairs: Mapping[str, Pair]) -> tuple[str, ...]:
    """Return the columns of a key that both sides have: nothing less makes a row of A meet one row of B."""
    theirs = {frozenset(key) for key in b.keys}
    # By the names of B. An expression over a key is none.
    called = {one.a.name: name for name, one in pairs.items() if a.column(one.a.name) is one.a}
    for key in a.keys:
        named = tuple(called.get(column, "") for column in key)
        if frozenset(named) in theirs:
            return named
    return ()


def _unlike(one: Pair) -> bool:
    return one.a.kind != one.b.kind
