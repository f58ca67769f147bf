"""Make a document of each row, and say what a policy has done to it."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import bson

from tasks.engines.mongodb.values import UnfitError, maker
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


def documents(action: DocumentTransfer, rows: Iterable[tuple[Any, ...]]) -> Iterator[Made]:
    """Make the document of each row, in their order."""
    width = len(action.key)
    fields = [(one, None if one.holds == "constant" else maker(one.holds)) for one in action.fields]
    for row in rows:
        document: dict[str, Any] = {}
        touched: list[Touched] = []
        at = width
        for field, make in fields:
            if make is None:
                _put(document, field.path, field.constant)
                continue
            wire, text = row[at], row[at + 1]
            at += 2
            if wire is None:
                if field.nulls == "keep":
                    _put(document, field.path, None)
                continue
            try:
                value = make(wire)
                if value is None and field.nulls == "keep":
                    raise UnfitError("a null of JSON, where NULL becomes null, too")
            except UnfitError as unfit:
                touched.append(Touched(field=".".join(field.path), policy=field.unfit, reason=str(unfit)))
                value = _instead(field, text)
            _put(document, field.path, value)
        encoded = bson.encode(document)
        if len(encoded) > LARGEST:
            touched.append(TOO_LARGE)
        yield Made(key=row[:width], document=encoded, identity=document.get(ID), touched=tuple(touched))


def _instead(field: TransferField, text: str | None) -> Any:
    if field.unfit == "string":
        return text
    if field.unfit == "tag":
        return {"pg_type": field.source_type, "pg_text": text}
    # The document will not be written.
    return None


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    if len(path) == 1:
        document[path[0]] = value
        return
    for name in path[:-1]:
        document = document.setdefault(name, {})
    document[path[-1]] = value
