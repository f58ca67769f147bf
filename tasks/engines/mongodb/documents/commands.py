"""Commands that change a collection or an index; each may be given again, and has been given is no error."""

from typing import Any, Final

import pymongo
from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import from_text
from tasks.model.document_steps import CollectionCommand
from tasks.model.errors import DataChanged, StepError

_NO_INDEX: Final = 27
_DUPLICATE: Final = 11000


def give(database: Documents, action: CollectionCommand, text: str) -> None:
    """Give a command. An index is built for as long as it takes, and waited for, also when it was begun before."""
    command: dict[str, Any] = from_text(text)
    try:
        with pymongo.timeout(0) if action.long else pymongo.timeout(20):
            database.command(command | {"writeConcern": {"w": "majority"}})
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
