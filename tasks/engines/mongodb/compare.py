"""Compare every row, through the mapping, with its document: to the byte, so that missing is not null.

The source is read in one snapshot. What differs is a document that is not there, or has another value, type or order
of fields; what nobody has asked for shows in the count of the collection.
"""

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.document import Made, documents
from tasks.engines.mongodb.follow import count_of, stored
from tasks.engines.mongodb.scan import ROWS, pieces
from tasks.engines.mongodb.sides import side_of
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.records import Key
from tasks.engines.session import Session
from tasks.model.base import Record
from tasks.model.transfer_steps import DocumentTransfer

EXAMPLES = 10


class Differences(Record):
    """What came of a comparison."""

    rows: int
    """Of the source, as far as they are to be copied."""
    rejected: int
    differing: int
    """Rows whose document is not there, or another one."""
    documents: int
    """Of the collection."""
    expected: int
    """So many documents belong there."""
    not_noted: int
    """Rejected rows without a note, and notes without a rejected row."""
    without_identity: int
    """Rows whose `_id` is null, or that of another."""
    unsettled: int = 0
    """Rows, there or gone, that differ and are noted: carried later. They are none of the others."""
    emptied: bool = False
    """That the table was emptied is noted, so that nothing can be said."""
    examples: tuple[str, ...]
    """Keys of rows that differ."""

    @property
    def superfluous(self) -> int:
        """How many documents there are too many, or, where it is negative, too few."""
        return self.documents - self.expected

    @property
    def equal(self) -> bool:
        """Every row is there, exactly, and nothing else is."""
        wrong = self.differing or self.superfluous or self.not_noted or self.without_identity
        return not (wrong or self.emptied)


def compare(
    conn: Session,
    database: Documents,
    name: str,
    action: DocumentTransfer,
    search_path: str,
    beside: Session | None = None,
) -> Differences:
    """Compare all rows with all documents. Holds a snapshot of the source meanwhile; locks: none that writers wait for.

    Raises StateError where somebody waits for a table longer than the lock budget and a range of rows.
    `beside`: a session to look up notes with while rows are read, of a server that answers one question at a time. It
    may see younger notes: a row that differs and has one is carried later, whatever the snapshot knew.

    Where writes are noted, nobody carries notes meanwhile: so the collection stands still, and has every write but
    those whose notes are in the snapshot. A row without a note must be there exactly; one with a note comes later.
    """
    raw = database.get_collection(name, codec_options=CodecOptions(document_class=RawBSONDocument))
    side = side_of(conn)
    if beside is None:
        beside = conn
    else:
        # It streams, too, and what comes of one bite may take long.
        side.prepare(beside, search_path)
    with side.snapshot(conn, search_path):
        found = _rows(conn, beside, raw, action)
        lost = sum(side.unidentified(conn, action)) if action.given_id else 0
        notes = side.count_rejected(conn, action)
        later = _noted_only(conn, beside, raw, action) if action.notes else _Later()
        emptied = bool(action.notes) and side.emptied(conn, action)
    # Counted, not estimated; and after the rows, so that whatever was added meanwhile is seen. The larger the
    # collection, the longer that takes; by the index alone it takes least.
    with pymongo.timeout(0):
        total = raw.count_documents({}, hint="_id_")
    return Differences(
        rows=found.read,
        rejected=found.rejected,
        differing=found.differing,
        documents=total,
        expected=found.present + later.documents if action.notes else found.read - found.rejected,
        not_noted=found.not_noted + (notes - found.noted - later.notes),
        without_identity=lost,
        unsettled=found.unsettled + later.documents,
        emptied=emptied,
        examples=tuple(found.examples),
    )


@dataclass
class _Found:
    """What the rows of the source have come to."""

    read: int = 0
    rejected: int = 0
    differing: int = 0
    present: int = 0
    """Documents with the `_id` of a row."""
    noted: int = 0
    """Rejected rows with a note of the rejection."""
    not_noted: int = 0
    unsettled: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class _Later:
    """What belongs to keys that are noted, and to no row that is copied: it goes when the notes are carried."""

    documents: int = 0
    notes: int = 0
    """Notes of rejections."""


def _rows(conn: Session, beside: Session, raw: Any, action: DocumentTransfer) -> _Found:
    found, side = _Found(), side_of(conn)
    with closing(pieces(conn, action)) as read:
        for made in read:
            side.refuse_waiting(conn, beside, action)
            _piece(beside, raw, action, made, found)
    return found


def _piece(conn: Session, raw: Any, action: DocumentTransfer, made: list[Made], found: _Found) -> None:
    kept = [one for one in made if not one.rejected and not one.failed]
    left_out = [one for one in made if one.rejected and not one.failed]
    there = stored(raw, [one.identity for one in kept])
    differ = [one for one in made if one.failed] + [one for one in kept if one.document not in there]
    side = side_of(conn)
    rejections = side.rejected(conn, action, [key_text(one.key) for one in left_out]) if left_out else set()
    missing = [one for one in left_out if key_text(one.key) not in rejections]
    later = side.pending(conn, action, [one.key for one in (*differ, *missing)]) if action.notes else set()
    wrong = [one for one in differ if one.key not in later]
    found.read += len(made)
    found.rejected += len(left_out)
    found.differing += len(wrong)
    found.present += len(there)
    found.noted += len(rejections)
    found.not_noted += sum(one.key not in later for one in missing)
    found.unsettled += len(differ) - len(wrong)
    found.examples += [key_text(one.key) for one in wrong[: EXAMPLES - len(found.examples)]]


def _noted_only(conn: Session, beside: Session, raw: Any, action: DocumentTransfer) -> _Later:
    later, side = _Later(), side_of(conn)
    with closing(side.noted(beside, action, ROWS)) as bites:
        for bite in bites:
            side.refuse_waiting(conn, conn, action)
            gone = list(documents(action.as_noted, bite))
            there: set[Key] = set()
            still: set[str] = set()
            # However large they are, none is held.
            for one in documents(action, side.rows_of(conn, action, [one.key for one in gone])):
                if one.rejected and not one.failed:
                    still.add(key_text(one.key))
                elif not one.failed:
                    there.add(one.key)
            later.documents += count_of(raw, [one.identity for one in gone if one.key not in there])
            texts = [text for one in gone if (text := key_text(one.key)) not in still]
            later.notes += len(side.rejected(conn, action, texts)) if texts else 0
    return later
