"""Compare every row, through the mapping, with its document: to the byte, so that missing is not null.

The source is read in one snapshot. What differs is a document that is not there, or has another value, type or order
of fields; what nobody has asked for shows in the count of the collection.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.document import Made, documents
from tasks.engines.mongodb.load import key_text
from tasks.engines.mongodb.scan import ROWS, ranges, unidentified
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.transfer_rows import prepare, rows
from tasks.model.base import Record
from tasks.model.plan import Transfer

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
    not_noted: int
    """Rejected rows without a note, and notes without a rejected row."""
    without_identity: int
    """Rows whose `_id` is null, or that of another."""
    examples: tuple[str, ...]
    """Keys of rows that differ."""

    @property
    def superfluous(self) -> int:
        """How many documents there are too many, or, where it is negative, too few."""
        return self.documents - (self.rows - self.rejected)

    @property
    def equal(self) -> bool:
        """Every row is there, exactly, and nothing else is."""
        return not (self.differing or self.superfluous or self.not_noted or self.without_identity)


def compare(conn: Connection, database: Documents, name: str, action: Transfer, search_path: str) -> Differences:
    """Compare all rows with all documents. Holds a snapshot of the source meanwhile; locks: ACCESS SHARE."""
    read = rejected = differing = noted = 0
    examples: list[str] = []
    raw = database.get_collection(name, codec_options=CodecOptions(document_class=RawBSONDocument))
    with _snapshot(conn, search_path):
        for low, high in ranges(conn, action, ROWS):
            made = list(documents(action, rows(conn, action, low, high)))
            kept = [one for one in made if not one.rejected and not one.failed]
            left_out = [one for one in made if one.rejected and not one.failed]
            there = _found(raw, kept)
            wrong = [one for one in made if one.failed] + [one for one in kept if one.document not in there]
            read += len(made)
            rejected += len(left_out)
            differing += len(wrong)
            noted += _noted(conn, action, left_out)
            examples += [key_text(one.key) for one in wrong[: EXAMPLES - len(examples)]]
        lost = sum(unidentified(conn, action)) if action.given_id else 0
        row = conn.execute(f"select count(distinct key) from {action.rejected}").fetchone()
        notes = int(row[0]) if row else 0
    # Counted, not estimated; and after the rows, so that whatever was added meanwhile is seen.
    total = raw.count_documents({})
    return Differences(
        rows=read,
        rejected=rejected,
        differing=differing,
        documents=total,
        not_noted=(rejected - noted) + (notes - noted),
        without_identity=lost,
        examples=tuple(examples),
    )


@contextmanager
def _snapshot(conn: Connection, search_path: str) -> Iterator[None]:
    prepare(conn)
    with conn.transaction(force_rollback=True):
        conn.execute("set transaction isolation level repeatable read, read only")
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        yield


def _found(raw: Any, kept: list[Made]) -> set[bytes]:
    """Return those documents of the collection that have the `_id` of one of these, as they are stored."""
    identities = [RawBSONDocument(one.document)["_id"] for one in kept]
    return {bytes(found.raw) for found in raw.find({"_id": {"$in": identities}})} if identities else set()


def _noted(conn: Connection, action: Transfer, left_out: list[Made]) -> int:
    if not left_out:
        return 0
    row = conn.execute(
        f"select count(distinct key) from {action.rejected} where key = any(%s)",
        ([key_text(one.key) for one in left_out],),
    ).fetchone()
    return int(row[0]) if row else 0
