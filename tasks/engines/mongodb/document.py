"""Make a document of each row, and say what a policy has done to it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import bson

from tasks.engines.mongodb.values import UnfitError, maker, maker_of_text
from tasks.engines.postgresql.transfer_rows import MOST_TEXT, TOO_MANY
from tasks.engines.records import Key, Touched
from tasks.model.transfer import ID
from tasks.model.transfer_steps import DocumentTransfer, TransferField

LARGEST: Final = 16 * 1024 * 1024
TOO_LARGE: Final = Touched(field="the document", policy="fail", reason="larger than 16 MiB")


class Made(NamedTuple):
    """A row, and the document that became of it."""

    key: Key
    document: bytes
    identity: Any
    """Its `_id`."""
    touched: tuple[Touched, ...] = ()

    @property
    def rejected(self) -> tuple[Touched, ...]:
        """Why the row is left out; empty: it is not."""
        return self.touched and tuple(one for one in self.touched if one.policy == "reject")

    @property
    def failed(self) -> tuple[Touched, ...]:
        """What nobody has decided about."""
        return self.touched and tuple(one for one in self.touched if one.policy == "fail")


class _Part(NamedTuple):
    """A field, made ready."""

    field: TransferField
    make: Callable[[Any], Any] | None
    """None for a constant, and for rows."""
    inner: tuple["_Part", ...] = ()
    """Fields of each of the rows."""
    tag: str = "pg"
    """What the names begin with of a document that stands for a value."""


def documents(action: DocumentTransfer, rows: Iterable[tuple[Any, ...]]) -> Iterator[Made]:
    """Make the document of each row, in their order."""
    width = len(action.key)
    parts = _parts(action.fields, maker, "pg" if action.engine == "postgresql" else action.engine)
    # Of rows, which can make a document too large, the author may say so.
    decided = any(field.unfit == "reject" for field in action.embedded)
    too_large = TOO_LARGE.model_copy(update={"policy": "reject"}) if decided else TOO_LARGE
    for row in rows:
        touched: list[Touched] = []
        document = _document(parts, row, width, touched)
        encoded = bson.encode(document)
        if len(encoded) > LARGEST:
            touched.append(too_large)
        yield Made(key=row[:width], document=encoded, identity=document.get(ID), touched=tuple(touched))


def _parts(
    fields: Iterable[TransferField], make: Callable[[str, bool | None], Callable[[Any], Any]], tag: str
) -> tuple[_Part, ...]:
    return tuple(
        _Part(one, None, _parts(one.rows.fields, maker_of_text, tag), tag)
        if one.rows is not None
        else _Part(one, None if one.holds == "constant" else make(one.holds, one.doubtful), (), tag)
        for one in fields
    )


def _document(
    parts: Iterable[_Part], values: Sequence[Any], at: int, touched: list[Touched], within: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Make a document of values: from a place on there are two for each field that is read."""
    document: dict[str, Any] = {}
    for field, make, inner, tag in parts:
        if field.holds == "constant":
            _put(document, field.path, field.constant)
            continue
        wire, text = values[at], values[at + 1]
        at += 2
        if inner and wire == TOO_MANY:
            reason = f"more rows than fit into 16 MiB, or more than {MOST_TEXT >> 20} MiB of them as text"
            touched.append(Touched(field=".".join(field.path), policy=field.unfit, reason=reason))
            continue
        if inner:
            found = [] if wire is None else json.loads(wire)
            if found or field.nulls == "keep":
                _put(document, field.path, [_document(inner, one, 0, touched, field.path) for one in found])
            continue
        if wire is None:
            if field.nulls == "keep":
                _put(document, field.path, None)
            continue
        try:
            assert make is not None, "neither a constant nor rows"
            value = make(wire)
            if value is None and field.nulls == "keep":
                raise UnfitError("a null of JSON, where NULL becomes null, too")
        except UnfitError as unfit:
            name = ".".join((*within, *field.path))
            touched.append(Touched(field=name, policy=field.unfit, reason=str(unfit)))
            value = _instead(field, text, tag)
        _put(document, field.path, value)
    return document


def _instead(field: TransferField, text: str | None, tag: str) -> Any:
    if field.unfit == "string":
        return text
    if field.unfit == "tag":
        return {f"{tag}_type": field.source_type, f"{tag}_text": text}
    # The document will not be written.
    return None


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    if len(path) == 1:
        document[path[0]] = value
        return
    for name in path[:-1]:
        document = document.setdefault(name, {})
    document[path[-1]] = value
