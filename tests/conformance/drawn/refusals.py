"""Why a change may be refused: each reason, with the look whether it is true of what was drawn."""

import re
from collections.abc import Callable, Collection, Mapping

from tests.conformance.drawn.changes import Change, Field

Look = Callable[[Change, re.Match[str]], bool]


def has_reason(why: str, change: Change) -> bool:
    """Tell whether a refusal is one that is known here, and true."""
    for pattern, look in REASONS.items():
        found = re.search(pattern, why)
        if found is not None:
            return look(change, found)
    return False


def _count(change: Change, kind: str) -> int:
    return sum(kind in one for one in change.operations)


def _replaced(change: Change) -> set[str]:
    """Names of the columns of the old shape that go, or get another one in their place."""
    return {f.column.name for f in change.fields if f.column is not None and f.ways} | {c.name for c in change.gone}


def _twice(change: Change, found: re.Match[str]) -> bool:
    return any(len(one.ways) > 1 for one in change.fields)


def _renamed(one: Field) -> bool:
    return one.column is not None and one.column.name != one.name


def _seen(change: Change, found: re.Match[str]) -> bool:
    named = {name for name in {*change.schema.seen} & _replaced(change) if name in found[1]}
    return bool(named)


def _not_comparable(change: Change, found: re.Match[str]) -> bool:
    """A key of integers cannot refer to, or be referred to by, a text."""
    schema = change.schema
    tied = [*(schema.key if schema.on_row is not None else ()), *([schema.parent.name] if schema.parent else [])]
    return any(
        one.column is not None and one.column.name in tied and one.kind.name != one.column.kind.name
        for one in change.fields
    )


def _computed(change: Change, found: re.Match[str]) -> bool:
    sources = {one.of.name for one in change.schema.columns if one.of is not None}
    return bool(sources & _replaced(change))


def _attached(change: Change, found: re.Match[str]) -> bool:
    return any(one.ways and _renamed(one) for one in change.fields)


def _index_of_both(change: Change, found: re.Match[str]) -> bool:
    renamed = {one.column.name for one in change.fields if one.column is not None and _renamed(one)}
    index = next(one for one in [*change.schema.indexes, *change.schema.rules] if one.name == found[1])
    return bool(renamed & {*index.columns}) and bool(_replaced(change) & {*index.columns})


def _moved(change: Change, found: re.Match[str]) -> bool:
    """The new column is made of the one that goes, about which something was said before."""
    return _count(change, "add_column") > 0 and _count(change, "drop_column") > 0 and len(change.operations) > 2


def _typed(change: Change, found: re.Match[str]) -> bool:
    """A rule, or an expression, was written for the type of before."""
    return any(one.column is not None and one.kind is not one.column.kind for one in change.fields)


def _same_column(change: Change, found: re.Match[str]) -> bool:
    return len(change.operations) > 1


def _default_goes(change: Change, found: re.Match[str]) -> bool:
    """The default of a column goes that gets another name, beside which the old one would be left without."""
    goes = any("default" in one["alter_column"] for one in change.operations if "alter_column" in one)
    return goes and any(_renamed(one) for one in change.fields)


def _several(kinds: Collection[str]) -> Look:
    return lambda change, found: sum(_count(change, kind) for kind in kinds) > 1


def _granted(change: Change, found: re.Match[str]) -> bool:
    return change.table != change.schema.table and any("update (" in one for one in change.schema.more)


REASONS: Mapping[str, Look] = {
    r"the view public\.seen reads (.+)": _seen,
    r"already decides the replica identity": _several(["set_replica_identity"]),
    r"depends on the type that the column has in between": _twice,
    r"converted twice, and it gets another name": _twice,
    r"nobody can tell here what .* makes of a value on the way": _twice,
    r"would evaluate .* several times": _twice,
    r"reads the column .* cannot be told for certain": _twice,
    r"foreign key constraint .* cannot be implemented": _not_comparable,
    r"is converted and gets another name, and would lose": _attached,
    r"has privileges on single columns, which a view of other columns cannot have": _granted,
    r"uses the column .*, which is to be dropped": _moved,
    r"operator does not exist": _typed,
    r"is of type .* but expression is of type": _twice,
    r"already concerns the column .*, and the two do not make one operation": _same_column,
    r"what applications of the old name rely on goes": _default_goes,
    r"already concerns '.+'": _several(["rename_constraint", "drop_constraint", "drop_multicolumn_constraint"]),
    r"both say generated": _several(["alter_column"]),
    r"both say nullable": _several(["alter_column"]),
    r"index (.+) covers both a renamed and an altered column": _index_of_both,
    r"used by a generated column|of a generated column|generated column": _computed,
}
