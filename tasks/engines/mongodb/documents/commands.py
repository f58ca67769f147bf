"""Commands that change a collection or an index; each may be given again, and has been given is no error.

They lock the collection, and whoever comes after them waits as long as they wait for a transaction of somebody else.
"""

import random
import time
from collections.abc import Callable
from typing import Any, Final

import pymongo
from pymongo.errors import OperationFailure

from profiles.model import Limits
from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import from_text
from tasks.engines.mongodb.documents.walk import Fenced
from tasks.model.document_steps import CollectionCommand
from tasks.model.errors import DataChanged, LockTimeoutError, StepError

_NO_INDEX: Final = 27
_DUPLICATE: Final = 11000
_BUILDING: Final = 12587
_TIME_IS_OVER: Final = 50
_TELL_EVERY: Final = 1.0


def give(
    database: Documents,
    action: CollectionCommand,
    text: str,
    limits: Limits,
    fenced: Fenced,
    waiting: Callable[[str], None],
) -> None:
    """Give a command within the lock budget, again and again for as long as the patience for locks lasts.

    An index is built for as long as it takes, and waited for, also when it was begun before. It is begun when its lock
    was to be had a moment before; the lock with which it ends the server takes for itself, and nobody can limit that.
    Raises LockTimeoutError, and StepError for a unique index that cannot be.
    """
    command: dict[str, Any] = from_text(text)
    try:
        if "createIndexes" in command:
            _await_lock(database, action, limits, fenced, waiting)
            with pymongo.timeout(0):
                database.command(command | {"writeConcern": {"w": "majority"}})
        else:
            _within_budget(database, action, command, limits, fenced, waiting)
    except OperationFailure as error:
        if error.code == _NO_INDEX and "dropIndexes" in command:
            return
        if error.code == _DUPLICATE:
            raise StepError(
                "a unique index cannot be built: there are duplicates",
                where=action.table,
                hint="Correct those documents, then run again; or roll back.",
                changed=DataChanged.PARTIALLY,
            ) from None
        raise


def _await_lock(
    database: Documents,
    action: CollectionCommand,
    limits: Limits,
    fenced: Fenced,
    waiting: Callable[[str], None],
) -> None:
    """Wait until the collection can be locked: by a command that does nothing else."""
    try:
        _within_budget(database, action, {"collMod": action.collection}, limits, fenced, waiting)
    except OperationFailure as error:
        # An index that was begun before is only waited for.
        if error.code != _BUILDING:
            raise


def _within_budget(
    database: Documents,
    action: CollectionCommand,
    command: dict[str, Any],
    limits: Limits,
    fenced: Fenced,
    waiting: Callable[[str], None],
) -> None:
    began = told = time.monotonic()
    while True:
        try:
            # A timeout of the driver's would take the place of the server's.
            with fenced(), pymongo.timeout(0):
                database.command(command | {"maxTimeMS": limits.lock_budget, "writeConcern": {"w": 1}})
            break
        except OperationFailure as error:
            if error.code != _TIME_IS_OVER:
                raise
        now = time.monotonic()
        if now - began >= limits.lock_patience:
            raise LockTimeoutError(
                f"no lock on {action.table} within {limits.lock_patience:g} s: transactions use it",
                where=action.table,
                hint="End the longest transactions on it, or run again when they are done.",
                changed=DataChanged.PARTIALLY,
            )
        if now - told >= _TELL_EVERY:
            told = now
            waiting(f"transactions use {action.table}")
        # In between whoever waited behind us goes on.
        time.sleep(random.uniform(1, 2) * limits.lock_budget / 1000)  # noqa: S311 - guards nothing
    # It changes nothing, and waits until a majority has what came before.
    database[action.collection].delete_many({"_id": {"$in": []}})
