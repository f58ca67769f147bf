"""What a spec asks MongoDB itself: which documents, and the values of expressions over them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import pymongo
from bson.errors import BSONError
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import NOBODY, from_text, plain, to_text
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.engines.mongodb.rows.elements import alone, apart
from tasks.model.document_stages import moves
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX
from tasks.model.transfer import ID, TransferSpec, read_by_name
from tasks.model.transfer_steps import RowTransfer

_SENT: Final = 4000
"""Documents that the server sends at once, at most."""
_MOST: Final = 1000
"""Documents at a time: all their values are held."""
_BYTES: Final = 1024 * 1024
"""After so many there are no more of them."""
HINT: Final = [(ID, 1)]
"""Else the server may walk along another index, and sort all that is there for each range."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Documents that are copied, and what is added to each and left out of it."""

    collection: str
    where: Mapping[str, Any]
    added: Mapping[str, Any] = field(default_factory=dict)
    """Expressions, by names of ours."""
    left_out: tuple[str, ...] = ()
    unnest: tuple[str, ...] = ()
    """See `RowTransfer`: what is given are its elements."""
    beside: tuple[tuple[str, ...], ...] = ()
    """Paths that are read beside elements."""

    def within(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """Return the filter of those that meet a condition, too."""
        parts = [dict(one) for one in (condition, self.where) if one]
        return {"$and": parts} if parts else {}

    def documents(
        self,
        database: Documents,
        condition: Mapping[str, Any],
        *,
        backwards: bool = False,
        session: ClientSession | None = None,
        last: Mapping[str, Any] | None = None,
    ) -> Iterator[list[bytes]]:
        """Give documents in the order of `_id` as they come, some at a time; `last` makes something else of each."""
        stages: list[dict[str, Any]] = [{"$match": self.within(condition)}, {"$sort": {ID: -1 if backwards else 1}}]
        stages += apart(self.unnest) if self.unnest else []
        # Before fields go: an expression may read them.
        stages += [{"$set": dict(self.added)}] if self.added else []
        stages += [{"$unset": list(self.left_out)}] if self.left_out else []
        stages += alone(self.unnest, (*self.beside, *((name,) for name in self.added))) if self.unnest else []
        stages += [dict(last)] if last else []
        # Each time anew: the limit of one operation would be one of all that it gives, which the server keeps count of.
        with pymongo.timeout(0):
            cursor = database[self.collection].aggregate_raw_batches(
                stages, session=session, hint={ID: 1}, batchSize=_SENT
            )
        # The server looks for the next ones while these are made rows of. Nobody else uses the session meanwhile.
        with cursor, ThreadPoolExecutor(1, thread_name_prefix="read ahead") as pool:
            coming = pool.submit(_next, cursor)
            while (joined := coming.result()) is not None:
                coming = pool.submit(_next, cursor)
                yield from _apart(joined)


def _next(cursor: Iterator[bytes]) -> bytes | None:
    with pymongo.timeout(0):
        return next(cursor, None)


def _apart(raw: bytes) -> Iterator[list[bytes]]:
    """Take documents apart that come joined."""
    some: list[bytes] = []
    at = size = 0
    while at < len(raw):
        end = at + max(int.from_bytes(raw[at : at + 4], "little"), 4)
        some.append(raw[at:end])
        size += end - at
        at = end
        if len(some) == _MOST or size > _BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def asked_by(action: RowTransfer) -> Asked:
    """Return what a plan asks."""
    return Asked(
        collection=action.alias,
        where=from_text(action.where) if action.where else {},
        added={one.text: from_text(one.expression) for one in action.columns if one.text.startswith(OWN_PREFIX)},
        left_out=tuple(".".join(path) for path in action.omit),
        unnest=action.unnest,
        beside=_beside(action.unnest, (one.expression for one in action.columns if one.expression and not one.text)),
    )


def asked_for(wanted: TransferSpec) -> Asked:
    """Return what a spec asks. Raises SpecError with the place."""
    assert wanted.collection is not None
    rules = enumerate(wanted.columns.items())
    return Asked(
        collection=wanted.collection,
        where={} if wanted.where is None else _read(wanted.where, "transfer.where"),
        added={
            added_name(number): _read(rule.up, f"transfer.columns.{name}.up")
            for number, (name, rule) in rules
            if rule.up is not None
        },
        left_out=wanted.omit,
        unnest=wanted.array,
        beside=_beside(wanted.array, read_by_name(wanted.columns)),
    )


def _beside(unnest: tuple[str, ...], paths: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return those paths that are not of the elements."""
    split = [tuple(path.split(".")) for path in paths] if unnest else []
    return tuple(one for one in split if one[: len(unnest)] != unnest)


def added_name(number: int) -> str:
    """Name the field of ours that has what an expression gives, by the place of its column in the spec."""
    return f"{OWN_PREFIX}v{number}"


def try_out(database: Documents, asked: Asked, wanted: TransferSpec) -> None:
    """Let the server read filter and expressions, on no document at all. Raises SpecError with the place."""
    tried = [("transfer.where", [{"$match": dict(asked.where)}])]
    for number, name in enumerate(wanted.columns):
        if added_name(number) in asked.added:
            tried.append((f"transfer.columns.{name}.up", [{"$set": {"v": asked.added[added_name(number)]}}]))
    for at, stages in tried:
        try:
            with pymongo.timeout(0):
                list(database[asked.collection].aggregate([NOBODY, *stages], hint={ID: 1}))
        except OperationFailure as error:
            if is_transient(error):
                raise
            raise SpecError(
                f"MongoDB cannot read it: {code_of(error)} {(error.details or {}).get('codeName', '')}",
                where=at,
                hint="Write a filter, or an aggregation expression over the fields of the document.",
            ) from None


def _read(value: Any, at: str) -> dict[str, Any]:
    if moving := moves(value) or ("$where" if "$where" in value else ""):
        raise SpecError(
            f"{moving} gives another value each time, or nobody can tell", where=at, hint="Say it by fields alone."
        )
    try:
        found: dict[str, Any] = from_text(json.dumps(plain(value)))
        to_text(found)
    except (TypeError, ValueError, BSONError) as error:
        raise SpecError(
            f"it is no extended JSON: {type(error).__name__}",
            where=at,
            hint='Write dates as {"$date": "2020-01-01T00:00:00Z"}, and identities as {"$oid": "..."}.',
        ) from None
    return found
