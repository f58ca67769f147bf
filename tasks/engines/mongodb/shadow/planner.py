"""From a spec to a plan that makes a collection of MongoDB anew beside the old one, and puts it in its place."""

from collections.abc import Iterator
from typing import Any, Final

from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.checks import EXISTS
from tasks.engines.mongodb.documents.expressions import NOBODY, from_text, plain, to_text
from tasks.engines.mongodb.documents.inspect import estimate, indexes_of, inspect, options_of
from tasks.engines.mongodb.documents.planner import definition_of, refuse_index_names
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.engines.mongodb.shadow.examine import COMES_BACK
from tasks.engines.mongodb.shadow.place import uuid_of
from tasks.model.catalogue import Table
from tasks.model.collection_documents import (
    CreateCollectionIndex,
    DocumentsSpec,
    DropCollectionIndex,
    RebuildCollection,
)
from tasks.model.document_steps import Rebuild
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Finding, Plan, Requirement
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase, Risk, Step

_CARRIED: Final = frozenset({"validator", "validationLevel", "validationAction", "storageEngine"})
"""Options that the new collection has, too."""


def plan_rebuild(database: Documents, spec: MigrationSpec) -> Plan:
    """Draw up a plan; change nothing. Raises SpecError for whatever would lose something."""
    asked = spec.documents
    assert asked is not None, "a spec that rebuilds a collection has documents"
    wish = asked.rebuilt
    assert wish is not None, "a spec that rebuilds a collection says so"
    catalogue = inspect(database, [asked.collection])
    table = catalogue.tables[0]
    refuse_index_names(table, asked)
    action = _action(database, spec.migration, asked, wish, table)
    _refuse_stages(database, action)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="shadow_table",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path="",
        steps=tuple(_steps(action)),
        requirements=tuple(_requirements(action)),
        estimates=(estimate(database, asked.collection),),
        risk=Risk.MEDIUM,
        risk_reasons=(f"{asked.collection} is another collection from the swap on",),
        findings=tuple(_findings(table, action)),
    )


def _action(
    database: Documents, migration: str, asked: DocumentsSpec, wish: RebuildCollection, table: Table
) -> Rebuild:
    before = options_of(table)
    refused = sorted(before.keys() - _CARRIED)
    if refused:
        raise SpecError(
            f"{asked.collection!r} is a collection with {', '.join(refused)}",
            where="documents.collection",
            hint="Take that away by collMod, and give it to the new collection afterwards: it is not carried over.",
        )
    old = indexes_of(table)
    dropped = {one.asked.name for one in asked.operations if isinstance(one.asked, DropCollectionIndex)}
    made = [definition_of(one.asked) for one in asked.operations if isinstance(one.asked, CreateCollectionIndex)]
    return Rebuild(
        table=table.full_name,
        collection=asked.collection,
        uuid=uuid_of(database, asked.collection),
        marker=f"{OWN_PREFIX}{migration}",
        up=to_text({"stages": [plain(one) for one in wish.up]}),
        down=to_text({"stages": [plain(one) for one in wish.down]}),
        options=to_text(_packed(before, wish.compressor)),
        kept_options=to_text(before),
        indexes=to_text({"indexes": [*(one for one in old if one["name"] not in dropped), *made]}),
        kept_indexes=to_text({"indexes": old}),
        does="swap",
    )


def _packed(options: dict[str, Any], compressor: str | None) -> dict[str, Any]:
    if compressor is None:
        return options
    before = options.get("storageEngine", {}).get("wiredTiger", {}).get("configString", "")
    text = ",".join(filter(None, [before, f"block_compressor={compressor}"]))
    return options | {"storageEngine": {"wiredTiger": {"configString": text}}}


def _steps(action: Rebuild) -> Iterator[Step]:
    name, full = action.collection, action.table

    def does(what: str) -> Rebuild:
        return action.model_copy(update={"does": what})

    yield Step(
        key=f"expand/{full}/make", phase=Phase.EXPAND,
        title=f"Make two collections beside {name}: the new one, and one that keeps the documents as they are",
        undo="drop both", action=does("create"),
    )  # fmt: skip
    yield Step(
        key=action.follow_key, phase=Phase.DUAL_WRITE,
        title=f"Follow the change stream of {name} from here on, and keep both in step", action=does("follow"),
    )  # fmt: skip
    yield Step(
        key=f"backfill/{full}/fill", phase=Phase.BACKFILL, title=f"Copy every document of {name} into both",
        action=does("fill"),
    )  # fmt: skip
    if from_text(action.indexes)["indexes"] or from_text(action.kept_indexes)["indexes"]:
        yield Step(
            key=f"index/{full}/build", phase=Phase.INDEX, title=f"Build the indexes of {name} on both",
            action=does("index"),
        )  # fmt: skip
    yield Step(
        key="swap/all", phase=Phase.SWAP, title=f"The new collection takes the name {name}",
        undo="the one that has kept the documents, with what was written since, takes the name", action=action,
    )  # fmt: skip
    yield Step(
        key=f"contract/{full}/drop", phase=Phase.CONTRACT,
        title=f"Drop the collection that has kept the documents of {name} as they were", action=does("contract"),
    )  # fmt: skip


def _requirements(action: Rebuild) -> Iterator[Requirement]:
    there = to_text({"collection": action.collection, "exists": True})
    whole = action.model_dump_json()
    for gate in ("before_swap", "after_swap"):
        yield Requirement(name=EXISTS, table=action.table, kind="parity", gate=gate, violations=there)
    yield Requirement(
        name="the new collection has every document, as it has to be", table=action.table, kind="parity",
        gate="before_swap", violations=to_text({"collection": action.collection, "rebuilt": whole, "side": "new"}),
    )  # fmt: skip
    kept = to_text({"collection": action.collection, "rebuilt": whole, "side": "kept"})
    yield Requirement(
        name="the kept collection has every document, as it was", table=action.table, kind="parity",
        gate="before_swap", violations=kept,
    )  # fmt: skip
    # Weeks later, when it is going to be dropped, nobody needs it any more.
    yield Requirement(
        name="the kept collection has every document, as it was before", table=action.table, kind="standing",
        gate="after_swap", violations=kept,
    )  # fmt: skip
    if from_text(action.up)["stages"]:
        yield Requirement(
            name=COMES_BACK, table=action.table, kind="check", gate="before_swap",
            violations=to_text({"collection": action.collection, "rebuilt": whole, "side": "forth"}),
        )  # fmt: skip
        yield Requirement(
            name="down leaves nothing out of what was written", table=action.table, kind="check",
            gate="before_rollback",
            violations=to_text({"collection": action.collection, "rebuilt": whole, "side": "back"}),
        )  # fmt: skip


def _findings(table: Table, action: Rebuild) -> Iterator[Finding]:
    for index in table.indexes:
        if "expireAfterSeconds" in from_text(index.definition):
            yield Finding(
                rule="ttl", severity="error",
                message=f"the index {index.name} deletes documents by itself, of the collections beside this one, too",
                where=table.full_name,
                hint="Drop it, rebuild the collection, and build it again after the contract.",
            )  # fmt: skip
    yield Finding(
        rule="room", severity="note",
        message=f"until contract, the documents of {action.collection} and their indexes are there twice, and until"
        " the swap three times",
        where=table.full_name,
    )  # fmt: skip


def _refuse_stages(database: Documents, action: Rebuild) -> None:
    """Have the server read the stages, on no document at all."""
    for key, text in (("up", action.up), ("down", action.down)):
        try:
            list(database[action.collection].aggregate([NOBODY, *from_text(text)["stages"]]))
        except OperationFailure as error:
            if is_transient(error):
                raise
            raise SpecError(
                f"MongoDB cannot read the stages: {code_of(error)} {(error.details or {}).get('codeName', '')}",
                where=f"documents.operations, rebuild_collection.{key}",
                hint="Write stages of an aggregation pipeline over the fields of the document.",
            ) from None
