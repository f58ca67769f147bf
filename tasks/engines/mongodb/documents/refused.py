"""Documents that the server refuses to change on the way back: counted and listed before anything is undone."""

from typing import Any

from pymongo.errors import OperationFailure, WriteError

from profiles.model import Limits
from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT
from tasks.engines.mongodb.documents.pipelines import in_step, not_carried
from tasks.engines.mongodb.documents.walk import Fenced, go_over
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.model.document_steps import Reshape
from tasks.model.errors import StateError


def carry_back(database: Documents, action: Reshape, limits: Limits, fenced: Fenced) -> int:
    """Carry what was written to new fields into the old ones; return how many documents were not in step.

    Raises StateError, and lists identities and reasons, where the server refuses that: undone, it would be lost.
    """
    into = database.get_collection(action.collection, codec_options=EXACT)
    listed = database.get_collection(action.refused, codec_options=EXACT)
    forget(database, action)

    def refused(error: WriteError, identities: list[Any]) -> None:
        # Of one that has nothing to carry the old field is the truth anyway.
        lost = {"_id": {"$in": identities}, "$expr": not_carried(action)}
        try:
            identities = [one["_id"] for one in into.find(lost, {"_id": 1})]
        except OperationFailure as failure:
            # An expression fails on it: nobody knows what there is to carry.
            if is_transient(failure):
                raise
        for one in identities:
            known = {"_id": {"document": one}}
            listed.replace_one(known, known | {"reason": f"MongoDB said {code_of(error)}"}, upsert=True)

    done = go_over(database, into, {}, in_step(action, "new"), limits, fenced, refused)
    if (many := listed.count_documents({})) > 0:
        raise StateError(
            f"of {many:,} documents MongoDB refuses to write the new values into the old fields",
            where=into.full_name,
            hint=f"Look into the collection {action.refused}, correct those documents, then roll back.",
        )
    return done


def forget(database: Documents, action: Reshape) -> None:
    """Take away the list of an earlier try."""
    database.drop_collection(action.refused)
