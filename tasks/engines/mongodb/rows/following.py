"""Read documents that are written meanwhile, and notes of which they are: gathered from the change stream."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import bson
from pymongo.client_session import ClientSession

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.walk import identity_of
from tasks.engines.mongodb.rows.asked import asked_by
from tasks.engines.mongodb.rows.changes import changes, moment_of, now
from tasks.engines.mongodb.rows.reading import Lines, Reading, key_within, require_same
from tasks.engines.receiving.source import Notes, Position
from tasks.engines.records import Line
from tasks.engines.session import Session
from tasks.model.transfer import ID
from tasks.model.transfer_steps import RowTransfer, noted_columns

_BYTES: Final = 4 * 1024 * 1024
"""Of their identities, as text: a command has 16 MiB."""
_TOGETHER: Final = 1000
"""Keys that are made lines of at once."""
_PAGE: Final = 20_000
"""Notes at a time, where all of them are read."""


class Following(Reading):
    """A session that reads documents, and the notes, in another database, of what was written to them.

    What it reads is at least as new as what the stream had told when it was opened, on whichever member of the set.
    """

    def __init__(self, database: Documents, session: ClientSession, notes: Notes, *, by_server: bool = False) -> None:
        super().__init__(database, session=session, by_server=by_server)
        self._session, self._notes = session, notes
        self._keys: dict[int, str] = {}
        session.advance_operation_time(moment_of(notes.position()))

    def catch_up(self, action: RowTransfer) -> None:
        """Note what was written until now. Raises StepError where nobody can tell any more what that is.

        Raises DriftError where the collection is not that of the plan, before the place in the stream is moved: a
        stream of what is not there says nothing, and its place is one of another server.
        """
        require_same(self.database, action)
        until = now(self.database, self._session)
        while not self._gathered(action, self._notes.position(), until):
            # Somebody else has read on meanwhile, and noted it: from there.
            pass

    def _gathered(self, action: RowTransfer, known: Position, until: Any) -> bool:
        for found in changes(self.database, action, known, until, self._session):
            if not self._notes.add(known, found.keys, found.reached):
                return False
            known = found.reached
        return True

    def last_note(self, action: RowTransfer) -> int:  # noqa: ARG002 - there are no others
        """Return the number of the last note; 0 where there is none."""
        return self._notes.last()

    def rows_of_note(self, action: RowTransfer) -> float:
        """Return about how many rows a note tells of, at least 1."""
        return self.rows_of_document(action)

    def notes(self, action: RowTransfer, most: int) -> list[int]:  # noqa: ARG002
        """Return the numbers of up to `most` notes, the oldest first."""
        self._keys = dict(self._notes.oldest(most))
        return list(self._keys)

    def noted(self, action: RowTransfer, numbers: Sequence[int]) -> Iterator[Line]:
        """Give the keys that these notes tell of, as lines of the columns of the key alone."""
        return _as_lines(action, self._of(numbers))

    def written(self, action: RowTransfer, numbers: Sequence[int]) -> Iterator[Line]:
        """Give the rows of documents that these notes tell of, as far as they are there, and to be copied."""
        packs = [{ID: {"$in": [identity_of(key) for key in keys]}} for keys in _packed(self._of(numbers))]
        if len(packs) == 1:
            yield from self._found(action, packs[0])
            return
        # Two notes may name a document in two ways: 1 and 1.0 are one identity. One query gives it once.
        asked, lines, given = asked_by(action), Lines(action), set[str]()
        for wanted in packs:
            now = set[str]()
            for some in asked.documents(self.database, wanted, session=self._session):
                named = [(key_within(raw)[0], raw) for raw in some]
                now.update(identity for identity, _ in named)
                yield from lines.of([raw for identity, raw in named if identity not in given])
            # Only now: a document may come as many, which are its elements.
            given |= now

    def pages(self, action: RowTransfer) -> Iterator[list[Line]]:
        """Give the keys that all notes tell of, so many at a time."""
        after = 0
        while page := self._notes.oldest(_PAGE, after):
            after = page[-1][0]
            yield list(_as_lines(action, dict.fromkeys(key for _, key in page)))

    def forget(self, action: RowTransfer, numbers: Sequence[int], ledger: Session) -> None:  # noqa: ARG002
        """Delete notes that were dealt with, in the transaction of what has become of them."""
        self._notes.forget(numbers)

    def _of(self, numbers: Sequence[int]) -> list[str]:
        return list(dict.fromkeys(self._keys[number] for number in numbers))


def _as_lines(action: RowTransfer, keys: Sequence[str] | dict[str, None]) -> Iterator[Line]:
    lines, listed = Lines(action.model_copy(update={"columns": noted_columns(action)})), list(keys)
    for first in range(0, len(listed), _TOGETHER):
        some = listed[first : first + _TOGETHER]
        at = 0
        for one in lines.of([bson.encode({ID: identity_of(key)}) for key in some]):
            told = tuple((key,) for key in some[at : at + one.rows])
            at += one.rows
            yield one._replace(key=told[0], others=told[1:])


def _packed(keys: Sequence[str]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for key in keys:
        if some and size + len(key) > _BYTES:
            yield some
            some, size = [], 0
        some.append(key)
        size += len(key)
    if some:
        yield some
