"""Read documents as PostgreSQL takes rows: lines of COPY, and what does not fit in each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import bson
import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT
from tasks.engines.mongodb.documents.walk import condition, identity_of, key_of
from tasks.engines.mongodb.place import uuid_of
from tasks.engines.mongodb.rows import ready
from tasks.engines.mongodb.rows.asked import HINT, asked_by
from tasks.engines.mongodb.rows.elements import counted, usual
from tasks.engines.mongodb.rows.shape import Shape
from tasks.engines.mongodb.rows.together import Together
from tasks.engines.receiving.lines import line_of
from tasks.engines.records import Key, Line, Range, Touched
from tasks.model.errors import DataChanged, DriftError
from tasks.model.transfer import ID
from tasks.model.transfer_steps import POSITION, RowTransfer

_WIDEST: Final = 500
"""Bytes of text for each of a document, at most: of an exponent there are up to 6,177 digits."""
_READABLE: Final = CodecOptions[Any](
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)


def require_same(database: Documents, action: RowTransfer) -> None:
    """Raise DriftError where the collection is not that of the plan: what is not there would pass for empty."""
    if f"{database.name}.{action.alias}" != action.table or str(uuid_of(database, action.alias)) != action.uuid:
        raise DriftError(
            "the collection is not the one that the plan was made for: it was dropped, renamed or made anew since,"
            " or the URL names another database",
            where=action.table,
            hint="Undo that, and run again; or roll back, with --accept-loss where the table is in its place.",
            changed=DataChanged.PARTIALLY,
        )


def shards(database: Documents, action: RowTransfer, count: int) -> list[Range]:
    """Divide the identities that exist now into ranges that cover each once; none where there is no document.

    Raises DriftError where the collection is not that of the plan.
    """
    require_same(database, action)
    into = database.get_collection(action.alias, codec_options=EXACT)
    with pymongo.timeout(0):
        last = into.find_one({}, {ID: 1}, sort=[(ID, -1)])
        if last is None:
            return []
        share = into.estimated_document_count() // count
        cuts: list[Key] = []
        for _ in range(1, count if share > 1000 else 1):
            here = condition(cuts[-1] if cuts else None, None)
            found = into.find_one(here, {ID: 1}, sort=HINT, hint=HINT, skip=share - 1)
            if found is not None and (key := key_of(found[ID])) != key_of(last[ID]):
                cuts.append(key)
    ends = [*cuts, key_of(last[ID])]
    return list(zip([None, *ends[:-1]], ends, strict=True))


SCANNED: Final = 100_000
"""The most documents that are looked at for one range: few of them may match."""


class Reading:
    """A session that reads documents; `by_server`: MongoDB makes the lines where it can."""

    def __init__(
        self,
        database: Documents,
        *,
        scanned: int = SCANNED,
        session: ClientSession | None = None,
        by_server: bool = False,
    ) -> None:
        self.database = database
        self._scanned = scanned
        self._reads = session
        self._by_server = by_server
        self._usual = 0.0
        """Elements of a document, on average; 0 where nobody has looked."""

    def end_of_batch(self, action: RowTransfer, low: Key | None, high: Key | None, rows: int) -> Key | None:
        """Return the `_id` of the document `rows` further on; None when fewer are left before `high`.

        Of elements these are about as many, by what documents have on average.
        Where few match, it is an earlier one, perhaps of a document that does not. Raises DriftError where the
        collection is not that of the plan.
        """
        require_same(self.database, action)
        into = self.database.get_collection(action.alias, codec_options=EXACT)
        if action.unnest:
            rows = max(1, int(rows / self.rows_of_document(action)))
        if not action.where:
            found = self._further(into, low, high, rows)
            return None if found is None else key_of(found[ID])
        bound = None
        with pymongo.timeout(0):
            if (last := self._skipping(into, condition(low, high), self._scanned)) is not None:
                bound = key_of(last[ID])
            found = self._skipping(into, asked_by(action).within(condition(low, bound or high)), rows)
        return bound if found is None else key_of(found[ID])

    def rows_of_document(self, action: RowTransfer) -> float:
        """Return about how many rows a document becomes, at least 1."""
        if action.unnest and not self._usual:
            where = asked_by(action).where
            self._usual = max(1.0, usual(self.database[action.alias], action.unnest, self._reads, where))
        return self._usual or 1.0

    def lines(self, action: RowTransfer, low: Sequence[str] | None, high: Sequence[str] | None) -> Iterator[Line]:
        """Give the rows of a range as they come: few documents are held."""
        return self._found(action, condition(*(None if one is None else tuple(one) for one in (low, high))))

    def count(self, action: RowTransfer) -> int:
        """Return how many documents, or elements, MongoDB itself says there are to copy. Raises DriftError as above."""
        require_same(self.database, action)
        where, into = dict(asked_by(action).where), self.database[action.alias]
        with pymongo.timeout(0):
            if not action.unnest:
                return int(into.count_documents(where))
            summed = {"$group": {ID: None, "n": {"$sum": counted(action.unnest)}}}
            return sum(int(one["n"]) for one in into.aggregate([{"$match": where}, summed]))

    def longer(self, action: RowTransfer, low: Key | None, high: Key | None, most: int) -> int:
        """Return how many rows of a range have more bytes than that as literals of MariaDB.

        Few documents are read: the others are too short, whatever they hold.
        """
        within: dict[str, Any] = condition(low, high)
        if not asked_by(action).added:
            within = {"$and": [within, {"$expr": {"$gt": [{"$bsonSize": "$$ROOT"}, most // _WIDEST]}}]}
        lines = Lines(action)
        return sum(
            len(one) + one.count(b"'") > most
            for some in asked_by(action).documents(self.database, within, session=self._reads)
            for line in lines.of(some)
            for one in line.line.split(b"\n")
        )

    def next_number(self, action: RowTransfer) -> int:  # noqa: ARG002
        """Return 0: documents are not numbered."""
        return 0

    def _found(self, action: RowTransfer, within: Mapping[str, Any]) -> Iterator[Line]:
        """Give the rows of documents that meet a condition, in the order of `_id`."""
        lines = Lines(action)
        if not self._by_server:
            for some in asked_by(action).documents(self.database, within, session=self._reads):
                yield from lines.of(some)
            return
        for found in ready.read(self.database, action, within, self._reads):
            yield from [found] if isinstance(found, Line) else lines.of(found)

    def _further(self, into: Collection[Any], low: Key | None, high: Key | None, rows: int) -> Any:
        """Return the document so many further on, of those before `high`: by the index alone, nothing else is read."""
        # The lower end is within.
        first = rows - 1 if low is None else rows
        cursor = into.find({}, {ID: 1}, sort=HINT, hint=HINT, skip=first, limit=1, session=self._reads)
        if low is not None:
            cursor.min([(ID, identity_of(low[0]))])
        if high is not None:
            cursor.max([(ID, identity_of(high[0]))])
        with pymongo.timeout(0), cursor:
            return next(cursor, None)

    def _skipping(self, into: Collection[Any], wanted: Mapping[str, Any], count: int) -> Any:
        """Return the last of so many documents in the order of `_id`; None where there are fewer."""
        return into.find_one(wanted, {ID: 1}, sort=HINT, hint=HINT, skip=count - 1, session=self._reads)


class Lines:
    """Makes lines of documents: of many of them one, where they are plain."""

    def __init__(self, action: RowTransfer) -> None:
        self._shape, self._together = Shape(action), Together(action)

    def of(self, some: Sequence[bytes]) -> Iterator[Line]:
        """Give the lines of documents, in their order."""
        for these, made in self._together.lines(some):
            if made is not None:
                yield Line(line=made, rows=len(these))
            else:
                yield from (line(self._shape, raw) for raw in these)


def line(shape: Shape, raw: bytes) -> Line:
    """Return the line of a document."""
    row = shape.row(raw)
    if not row.left_out:
        return Line(line=line_of(row.texts))
    found = bson.decode(raw, _READABLE)
    return Line(line=b"", key=key_of(found[ID]), touched=_placed(row.left_out, found.get(POSITION)))


def _placed(touched: tuple[Touched, ...], position: int | None) -> tuple[Touched, ...]:
    """Say of which element it is: what is noted has the key of the document, as what a change stream tells."""
    if position is None:
        return touched
    return tuple(one.model_copy(update={"field": f"{one.field} at {position}"}) for one in touched)


def key_within(raw: bytes) -> Key:
    """Return the `_id` of a document as the ledger holds it, also where the rest cannot be read."""
    return key_of(bson.decode(raw, _READABLE)[ID])
