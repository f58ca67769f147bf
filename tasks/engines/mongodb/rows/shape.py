"""What becomes of a document: the values of its columns, and what no column takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tasks.engines.mongodb.documents.expressions import from_text
from tasks.engines.mongodb.rows.columns import types_of
from tasks.engines.mongodb.rows.decode import MISSING, decode, kind_of
from tasks.engines.mongodb.rows.held import HeldType, Made
from tasks.engines.mongodb.values import UnfitError
from tasks.engines.records import Touched
from tasks.model.transfer import ID
from tasks.model.transfer_steps import POSITION, RowTransfer, TransferColumn

CONSTANT: Final = "constant"
REST: Final = "rest"
"""Kinds of columns that are of no field."""
DOCUMENT: Final = "the document"
"""What is to blame where no single field is."""
_TOLD: Final = 5
"""Fields without a column that are told of one document."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a document becomes."""

    texts: tuple[str | None, ...]
    """A text for each column; None for NULL. Of no meaning where the row is left out."""
    touched: tuple[Touched, ...]
    """What does not fit, and what becomes of it."""

    @property
    def left_out(self) -> tuple[Touched, ...]:
        """What leaves the row out, or nothing decides about."""
        return tuple(one for one in self.touched if one.policy in ("fail", "reject"))


@dataclass(kw_only=True)
class _Node:
    """A field on the way to columns, or one that has a column."""

    column: int | None = None
    inner: dict[str, "_Node"] = field(default_factory=dict)
    element: bool = False
    """It is an element that has a row of its own: also one without fields has."""
    both: bool = True
    """The columns of its fields are NULL whether there is a null or nothing: so they are where it is itself null."""


class Shape:
    """The mapping of a copy, made ready.

    `counting`: what is made to fit, by `string` or `tag`, is told, too.
    """

    def __init__(self, action: RowTransfer, *, counting: bool = False) -> None:
        self._types = types_of(action)
        self._columns = action.columns
        self._key = frozenset(action.target_key)
        self._keys = [(number, one) for number, one in enumerate(action.columns) if one.name in self._key]
        self._root = _Node()
        self._rest: int | None = None
        self._fixed: dict[int, str] = {}
        self._makers: list[Made] = []
        self._strict: dict[int, Made] = {}
        for number, one in enumerate(action.columns):
            of = self._types.type_of(one.type)
            assert of is not None, "a plan knows its types"
            self._add(number, one, of)
            if counting and one.unfit in ("string", "tag"):
                self._strict[number] = self._types.maker("string", of, "fail")
        self._mark(action.unnest)
        self._slow = frozenset((*self._fixed, *self._strict, *(() if self._rest is None else (self._rest,))))
        inner = self._root.inner.get(ID)
        self._identity = list(inner.inner) if inner is not None and inner.column is None else None

    def _add(self, number: int, one: TransferColumn, of: HeldType) -> None:
        if one.source_type == CONSTANT:
            value = from_text(one.text)["v"]
            self._fixed[number] = self._types.maker(kind_of(value), of, "fail")(value)
        if one.source_type == REST:
            self._rest = number
        if not one.expression:
            self._makers.append(str)
            return
        self._makers.append(self._types.maker(one.source_type, of, one.unfit))
        node = self._root
        # What an expression gives has a name of ours.
        for name in (one.text or one.expression).split("."):
            node.both = node.both and one.nulls == "both"
            node = node.inner.setdefault(name, _Node())
        node.column = number

    def _mark(self, path: tuple[str, ...]) -> None:
        node = self._root
        for name in path:
            node = node.inner.setdefault(name, _Node())
        node.element = bool(path)
        # Without a column nothing says that a null is as good as no fields.
        node.both = node.both and bool(node.inner)

    def row(self, raw: bytes) -> Row:
        """Make a row of a document."""
        try:
            document = decode(raw)
        except UnfitError as error:
            return Row(texts=(), touched=(Touched(field=DOCUMENT, policy="fail", reason=str(error)),))
        values: list[Any] = [MISSING] * len(self._columns)
        extra = self._take(self._root, document, values)
        touched: list[Touched] = []
        texts: list[str | None] = []
        for number, value in enumerate(values):
            if number in self._slow or value is None or value is MISSING:
                texts.append(self._text(number, value, extra, touched))
                continue
            try:
                texts.append(self._makers[number](value))
            except UnfitError as error:
                texts.append(None)
                self._touch(number, error, touched)
        longest = self._types.longest_key
        if longest and sum(_size(texts[number], one.type) for number, one in self._keys) > longest:
            first = self._keys[0][1]
            reason = f"longer than a key of {self._types.database}"
            touched.append(Touched(field=first.name, policy=first.unfit, reason=reason))
        if self._identity is not None and (not isinstance(document[ID], dict) or list(document[ID]) != self._identity):
            # Two identities that differ in this would have the same key.
            extra.pop(ID, None)
            touched.append(Touched(field=ID, policy="fail", reason="it has not these fields, in this order"))
        if extra and self._rest is None:
            touched += [Touched(field=path, policy="fail", reason=NO_COLUMN) for path in _paths(self._root, extra)]
        return Row(texts=tuple(texts), touched=tuple(touched))

    def _take(self, node: _Node, document: Mapping[str, Any], values: list[Any]) -> dict[str, Any]:
        """Put the values of a document into their places; return what has none."""
        left = {}
        for name, value in document.items():
            child = node.inner.get(name)
            if child is None:
                left[name] = value
            elif child.column is not None:
                values[child.column] = value
            elif not isinstance(value, dict) or not (value or child.element):
                # Also an empty one: of its fields nobody could tell that it was there, and only some need not.
                if not (child.both and self._rest is None and (value is None or value == {})):
                    left[name] = value
            elif inner := self._take(child, value, values):
                left[name] = inner
        return left

    def _text(self, number: int, value: Any, extra: dict[str, Any], touched: list[Touched]) -> str | None:
        if number in self._fixed:
            return self._fixed[number]
        column = self._columns[number]
        try:
            if number in self._strict:
                self._count(number, extra if number == self._rest else value, touched)
            if number == self._rest:
                return self._types.json_text(extra, tagged=column.unfit == "tag") if extra else None
            if value is None or value is MISSING:
                return self._nothing(column, value)
            return self._makers[number](value)
        except UnfitError as error:
            self._touch(number, error, touched)
            return None

    def _touch(self, number: int, error: UnfitError, touched: list[Touched]) -> None:
        column = self._columns[number]
        # What `string` and `tag` make fit is made so already.
        policy = "fail" if column.unfit in ("string", "tag") else column.unfit
        touched.append(Touched(field=column.name, policy=policy, reason=str(error)))

    def _count(self, number: int, value: Any, touched: list[Touched]) -> None:
        if value is None or value is MISSING:
            return
        try:
            self._strict[number](value)
        except UnfitError as error:
            column = self._columns[number]
            touched.append(Touched(field=column.name, policy=column.unfit, reason=str(error)))

    def _nothing(self, column: TransferColumn, value: Any) -> str | None:
        """Return what stands for a null, or for a field that is not there."""
        if column.expression == POSITION:
            raise UnfitError("no array, or a field that is there twice, where elements become rows")
        if column.name in self._key:
            raise UnfitError("a null, or nothing, in the key")
        if value is None and column.type in self._types.json:
            return "null"
        if column.nulls == "both" or (value is None) is (column.nulls == "null"):
            return None
        raise UnfitError("null, where NULL says missing" if value is None else "missing, where NULL says null")


def _size(text: str | None, type_: str) -> int:
    """Return about how many bytes a value has in an index, at most; of bytes the text has two digits for each."""
    if text is None:
        return 0
    return (len(text) // 2 - 1 if type_ == "bytea" else len(text.encode())) + 8


NO_COLUMN: Final = "a field that has no column"


def _paths(node: _Node, extra: Mapping[str, Any]) -> list[str]:
    return [path[:100] for path in _all_paths(node, extra)][:_TOLD]


def _all_paths(node: _Node, extra: Mapping[str, Any]) -> Iterator[str]:
    for name, value in extra.items():
        child = node.inner.get(name)
        if child is not None and isinstance(value, dict) and value:
            yield from (f"{name}.{path}" for path in _all_paths(child, value))
        else:
            yield name
