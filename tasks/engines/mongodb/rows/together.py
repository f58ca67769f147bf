"""Many documents at once, column by column: what is plain in all of them takes a fraction of the time.

It only ever says what `Shape` says of each document by itself. Whatever is not plain - a value that may not fit, a
field that has no column, a document that would not make the same bytes again - is left to that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import bson
from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

from tasks.engines.mongodb.rows.columns import types_of
from tasks.engines.mongodb.rows.decode import MISSING, OPTIONS
from tasks.engines.mongodb.rows.held import ANY
from tasks.engines.mongodb.rows.shape import CONSTANT, REST
from tasks.engines.mongodb.values import UnfitError
from tasks.engines.receiving.lines import lines_of
from tasks.model.transfer import ID
from tasks.model.transfer_steps import RowTransfer, TransferColumn

_FEW: Final = 32
"""So few are looked at together once more, where some of many are not plain."""
_BEFORE: Final = 4 + 2 + 4
"""Bytes before the elements of an array without a name: two lengths, and what it is."""
_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "number": frozenset((int, Int64, float, Decimal128)),
    "string": frozenset((str,)),
    "bool": frozenset((bool,)),
    "objectId": frozenset((ObjectId,)),
    "date": frozenset((DatetimeMS,)),
    "binary": frozenset((bytes,)),
}
"""Types of values that are of a kind, and need not be looked at any closer."""
_WHOLE: Final = frozenset((int, Int64))
_NOTHING: Final = frozenset((type(None), type(MISSING)))


class _NotPlainError(Exception):
    """Each of these documents has to be looked at by itself."""


@dataclass(kw_only=True)
class _Column:
    """A column that is made of a field, and the kind of values that are made together."""

    name: str
    types: frozenset[type] | None
    """None: it takes all of them."""
    make: Callable[[Any], str]
    nulls: str
    """Which of the two NULL stands for; empty: neither may be there."""
    longest: int
    """Of a column of the key: characters that certainly fit; 0 for others."""
    exact: bool
    """A null is something else than NULL."""
    within: tuple[int, int] | None
    """The first and the last of an integer; None for others."""


@dataclass(kw_only=True)
class _Node:
    inner: dict[str, "_Node"] = field(default_factory=dict)
    column: int | None = None


class Together:
    """A mapping, made ready for many documents."""

    def __init__(self, action: RowTransfer, *, counting: bool = False) -> None:
        self._types = types_of(action)
        self._width = len(action.columns)
        self._counting = counting
        self._root = _Node()
        self._columns: dict[int, _Column] = {}
        self._possible = all(self._add(number, one, action) for number, one in enumerate(action.columns))

    def _add(self, number: int, one: TransferColumn, action: RowTransfer) -> bool:
        """Add a column; return False where there is something about it that takes a closer look."""
        of = self._types.type_of(one.type)
        if of is None or not one.expression or one.source_type in (CONSTANT, REST):
            return False
        keyed = one.name in action.target_key
        everything = one.source_type == ANY
        types = _TYPES.get(one.source_type)
        path = (one.text or one.expression).split(".")
        if (types is None and not everything) or (path[0] == ID and len(path) > 1):
            return False
        if self._counting and one.unfit in ("string", "tag"):
            return False
        longest = self._types.longest_key
        node = self._root
        for name in path:
            node = node.inner.setdefault(name, _Node())
        node.column = number
        self._columns[number] = _Column(
            name=one.name,
            types=types,
            make=self._types.maker(ANY, of, one.unfit) if everything else self._types.plain_maker(one.source_type, of),
            nulls="" if keyed else one.nulls,
            # Four bytes for each, at most, and what the index needs.
            longest=(longest // len(action.target_key) - 8) // 4 if keyed and longest else 0,
            exact=one.type in self._types.json,
            within=self._types.range_of(of),
        )
        return True

    def lines(self, some: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], bytes | None]]:
        """Give the lines of documents, joined, for as many of them as are plain; None where some of these are not."""
        if not self._possible:
            yield some, None
            return
        made = self._made(some)
        if made is not None or len(some) <= _FEW:
            yield some, made
            return
        for first in range(0, len(some), _FEW):
            few = some[first : first + _FEW]
            yield few, self._made(few)

    def _made(self, some: Sequence[bytes]) -> bytes | None:
        try:
            return self._lines(some)
        except (_NotPlainError, UnfitError, BSONError, ValueError, OverflowError, RecursionError):
            return None

    def _lines(self, some: Sequence[bytes]) -> bytes:
        documents: list[dict[str, Any]] = bson.decode_all(b"".join(some), OPTIONS)
        # As elements of one array: that takes half the time of one after the other.
        heads = [b"\x03%d\0" % number for number in range(len(some))]
        same = b"".join([part for pair in zip(heads, some, strict=True) for part in pair])
        if len(documents) != len(some) or bson.encode({"": documents}, codec_options=OPTIONS)[_BEFORE:-2] != same:
            raise _NotPlainError
        values: dict[int, list[Any]] = {}
        _take(self._root, documents, values)
        made = lines_of([_texts(self._columns[number], values[number]) for number in range(self._width)])
        if b"\x00" in made:
            raise _NotPlainError
        return made


def _take(node: _Node, documents: list[dict[str, Any]], values: dict[int, list[Any]]) -> None:
    known = node.inner.keys()
    if not all(one.keys() <= known for one in documents):
        raise _NotPlainError
    for name, child in node.inner.items():
        found = [one.get(name, MISSING) for one in documents]
        if child.column is not None:
            values[child.column] = found
            continue
        # An empty one says something, and so does a null.
        if not all(one is MISSING or (type(one) is dict and one) for one in found):
            raise _NotPlainError
        _take(child, [{} if one is MISSING else one for one in found], values)


def _texts(column: _Column, values: list[Any]) -> list[str | None]:
    types = set(map(type, values))
    nothing = types & _NOTHING
    if column.types is not None and not (types - nothing) <= column.types:
        raise _NotPlainError
    if not nothing:
        texts: list[str | None] = list(map(_maker(column, types, values), values))
        if column.longest and max(map(len, texts), default=0) > column.longest:  # type: ignore[arg-type]
            raise _NotPlainError
        return texts
    if not column.nulls or column.exact or not _stands_for(column.nulls, nothing):
        raise _NotPlainError
    make = _maker(column, types - nothing, [one for one in values if one is not None and one is not MISSING])
    return [None if one is None or one is MISSING else make(one) for one in values]


def _maker(column: _Column, types: set[type], values: list[Any]) -> Callable[[Any], str]:
    """Return what makes a text of each of these values."""
    if column.within and types and types <= _WHOLE and column.within[0] <= min(values):
        return str if max(values) <= column.within[1] else column.make
    return column.make


def _stands_for(nulls: str, nothing: set[type]) -> bool:
    return nulls == "both" or nothing == {type(None) if nulls == "null" else type(MISSING)}
