"""What the steps of a rebuild do, forward and back. Each looks first at what is there, and may be done again."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import pymongo
from bson import Timestamp
from pymongo.errors import OperationFailure

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.lease import leased
from tasks.engines.mongodb.documents.stream import moment
from tasks.engines.mongodb.documents.walk import walk
from tasks.engines.mongodb.shadow import changes, place
from tasks.engines.mongodb.shadow.carry import DUPLICATE, alone, copy
from tasks.engines.mongodb.shadow.fence import name_behind
from tasks.engines.mongodb.shadow.follow import Fenced, duplicates, follow
from tasks.engines.mongodb.shadow.swap import check, end_tries, swap
from tasks.engines.records import Checkpoint, Key, Shard
from tasks.engines.session import Session
from tasks.model.document_steps import Rebuild

_TRIES: Final = 20
"""So often a unique index is built anew: values that change places are duplicates until the second is followed."""


def forward(
    database: Documents, action: Rebuild, journal: Journal, conn: Session, limits: Limits, fenced: Fenced
) -> None:
    """Do a step."""
    if action.does == "create":
        place.require_original(database, action)
        # Before anything is made: where it cannot be swapped there is nothing to make.
        name_behind(database, action.collection, action.new, limits.lock_budget)
        place.make(database, action, fenced)
    elif action.does == "follow":
        with fenced():
            changes.remember(database, action)
    elif action.does == "index":
        _index(database, action, fenced)
    elif action.does == "swap" and place.look(database, action).state == "swapped":
        check(database, action, "swapped")
    elif action.does == "swap":
        with conn.transaction():
            journal.fence(conn)
            journal.guard(conn)
        swap(database, action, limits, fenced, journal.waiting)
    elif action.does == "contract":
        found = place.look(database, action)
        if found.kept:
            place.require(found, action, "swapped")
        place.drop(database, action, fenced, found.kept)


def inverse(database: Documents, action: Rebuild, journal: Journal, limits: Limits, fenced: Fenced) -> None:
    """Take a step back."""
    if action.does == "swap":
        prepare(database, action, fenced)
    found = place.look(database, action)
    if action.does in ("swap", "create") and found.state == "gone" and found.ours:
        # It may be the only one that has those documents.
        raise place.replaced(action)
    if action.does == "swap" and found.state == "swapped":
        swap(database, action, limits, fenced, journal.waiting, back=True)
    elif action.does == "create":
        assert found.state != "swapped", "the swap is taken back before"
        with alone(action.marker):
            place.drop(database, action, fenced, *found.ours)


def prepare(database: Documents, action: Rebuild, fenced: Fenced) -> None:
    """End what a run before this one has left behind; before anything of ours is used.

    Raises StepError, once, where a swap of it has missed something.
    """
    with alone(action.marker):
        end_tries(database, action, fenced)
    check(database, action)


def settle(database: Documents, action: Rebuild, fenced: Callable[[], AbstractContextManager[Any]]) -> None:
    """Carry to the old shape what was written since a run has followed."""
    wanted = moment(database)
    seen: list[Timestamp] = []
    prepare(database, action, fenced)
    follow(
        database, action, fenced, lambda: not seen or seen[-1] < wanted, seen.append, lambda _: None,
    )  # fmt: skip


def fill(
    database: Documents,
    action: Rebuild,
    shard: Shard,
    limits: Limits,
    between: Callable[[int], int | None],
    conn: Session,
    checkpoint: Checkpoint,
) -> int:
    """Copy a range into both collections, batch by batch; return the documents."""
    source = database[action.collection]

    def work(number: int, low: Key | None, end: Key, rows: int, size: int) -> None:
        with alone(action.marker), leased(database) as lease, conn.transaction():
            checkpoint(number, conn, end, rows, size)
            for side in place.require(place.look(database, action), action, "before").sides(action):
                copy(source, side, low, end, lease)

    return walk(source, shard, limits, between, work)


def _index(database: Documents, action: Rebuild, fenced: Fenced) -> None:
    for number in range(_TRIES):
        try:
            with pymongo.timeout(0):
                place.index(database, action, fenced)
        except OperationFailure as error:
            if error.code != DUPLICATE:
                raise
            if number == _TRIES - 1:
                raise duplicates(action, 2) from None
            time.sleep(0.5)
        else:
            return
