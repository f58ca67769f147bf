"""From a spec to a plan on MongoDB: the documents of one collection, changed where they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents import validators
from tasks.engines.mongodb.documents.checks import requirements
from tasks.engines.mongodb.documents.expressions import NOBODY, Path, from_text, names, plain, to_text
from tasks.engines.mongodb.documents.inspect import estimate, inspect
from tasks.engines.mongodb.documents.mapping import pairs_of, removed_by
from tasks.engines.mongodb.documents.pipelines import contracted, in_step, known, not_carried, withdrawn
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.model.catalogue import Table
from tasks.model.collection_documents import CreateCollectionIndex, DocumentsSpec, DropCollectionIndex, Validator
from tasks.model.document_steps import CollectionCommand, Reshape
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Finding, Plan
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase, Risk, Step


def plan(database: Documents, spec: MigrationSpec) -> Plan:
    """Draw up a plan; change nothing. Raises SpecError for whatever would lose something."""
    asked = spec.documents
    if asked is None:
        raise SpecError(
            "on MongoDB documents change, and the spec asks for something else",
            where="operations",
            hint="Write `documents`, or name a database of PostgreSQL or MariaDB.",
        )
    catalogue = inspect(database, [asked.collection])
    table = catalogue.tables[0]
    pairs = pairs_of(asked)
    dead = any(pair.policy == "dead_letter" for pair in pairs)
    action = Reshape(
        table=table.full_name,
        collection=asked.collection,
        marker=f"{OWN_PREFIX}{spec.migration}",
        pairs=pairs,
        removed=removed_by(asked),
        dead_letters=f"{OWN_PREFIX}{spec.migration}_dead_letters" if dead else "",
        does="swap",
    )
    _refuse_indexes(table, asked, action)
    _refuse_expressions(database, action)
    validator = next((one.asked for one in asked.operations if isinstance(one.asked, Validator)), None)
    rule = None if validator is None else {"$jsonSchema": plain(validator.schema_)}
    destroys = [".".join(path) for path in action.gone]
    return Plan(
        migration=spec.migration,
        database=spec.database,
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path="",
        steps=tuple(_steps(table, asked, action, rule)),
        requirements=tuple(requirements(action, rule)),
        estimates=(estimate(database, asked.collection),),
        risk=Risk.MEDIUM if destroys else Risk.LOW,
        risk_reasons=tuple(f"contract removes {path} from every document" for path in destroys),
        findings=tuple(_findings(table, action, rule)),
    )


def _steps(table: Table, asked: DocumentsSpec, action: Reshape, rule: dict[str, Any] | None) -> Iterator[Step]:
    full, name = table.full_name, asked.collection
    if rule is not None:
        yield from validators.warned(table, name, rule)
    if action.pairs:
        shown = ", ".join(pair.new for pair in action.pairs)
        yield Step(
            key=action.follow_key, phase=Phase.DUAL_WRITE,
            title=f"Follow the change stream of {name} from here on, and keep {shown} in step",
            undo=f"remove {shown} from documents that were written meanwhile",
            action=action.model_copy(update={"does": "follow"}),
        )  # fmt: skip
        yield Step(
            key=f"backfill/{full}/fill", phase=Phase.BACKFILL,
            title=f"Fill {shown} in every document of {name}",
            undo=f"carry what was written to {shown} back, and remove it from every document",
            action=action.model_copy(update={"does": "fill"}),
        )  # fmt: skip
    for operation in asked.operations:
        if isinstance(one := operation.asked, CreateCollectionIndex):
            yield _index(full, name, one)
    for operation in asked.operations:
        if isinstance(one := operation.asked, DropCollectionIndex) and _can_be_hidden(table, one.name):
            yield _hidden(full, name, one.name)
    yield Step(
        key="swap/all", phase=Phase.SWAP, title=f"From here on the new shape of {name} is the truth",
        undo="the old shape is the truth again", action=action,
    )  # fmt: skip
    gone = ", ".join(map(".".join, action.gone))
    if action.pairs or action.removed:
        yield Step(
            key=f"contract/{full}/remove", phase=Phase.CONTRACT,
            title=f"Remove {gone or action.marker} from every document of {name}",
            undo=f"destroys {gone}" if gone else "",
            action=action.model_copy(update={"does": "contract"}),
        )  # fmt: skip
    if rule is not None:
        yield validators.enforced(table, name, rule)
    for operation in asked.operations:
        if isinstance(one := operation.asked, DropCollectionIndex):
            command = {"dropIndexes": name, "index": one.name}
            yield Step(
                key=f"contract/{full}/{one.name}", phase=Phase.CONTRACT, title=f"Drop the index {one.name} of {name}",
                action=CollectionCommand(table=full, collection=name, forward=to_text(command)),
            )  # fmt: skip


def definition_of(one: CreateCollectionIndex) -> dict[str, Any]:
    """Return an index that a spec asks for, as MongoDB takes it."""
    made: dict[str, Any] = {"name": one.name, "key": dict(one.keys)}
    made |= {"unique": True} if one.unique else {}
    made |= {"sparse": True} if one.sparse else {}
    return made | ({"partialFilterExpression": plain(one.partial)} if one.partial is not None else {})


def _index(full: str, name: str, one: CreateCollectionIndex) -> Step:
    return Step(
        key=f"index/{full}/{one.name}", phase=Phase.INDEX, title=f"Build the index {one.name} of {name}",
        undo=f"drop the index {one.name}",
        action=CollectionCommand(
            table=full, collection=name, long=True,
            # Not all voting members, as the server would have it: one that is down would hold it up for as long.
            forward=to_text({"createIndexes": name, "indexes": [definition_of(one)], "commitQuorum": "majority"}),
            inverse=to_text({"dropIndexes": name, "index": one.name}),
        ),
    )  # fmt: skip


def _can_be_hidden(table: Table, name: str) -> bool:
    """Tell whether hiding an index harms nobody: text and geo queries of old applications fail without theirs.

    One that is hidden already would be shown by a rollback, and be another than before.
    """
    definition = next(from_text(index.definition) for index in table.indexes if index.name == name)
    needed = any(kind in ("text", "2d", "2dsphere") for kind in definition["key"].values())
    return not (needed or definition.get("hidden"))


def _hidden(full: str, name: str, index: str) -> Step:
    def command(hidden: bool) -> str:
        return to_text({"collMod": name, "index": {"name": index, "hidden": hidden}})

    return Step(
        key=f"constrain/{full}/{index}", phase=Phase.CONSTRAIN,
        title=f"Hide the index {index} of {name} from the planner", undo=f"show the index {index} again",
        action=CollectionCommand(table=full, collection=name, forward=command(True), inverse=command(False)),
    )  # fmt: skip


def refuse_index_names(table: Table, asked: DocumentsSpec) -> None:
    """Refuse to drop an index that is not there, and to build one that is."""
    known = {index.name for index in table.indexes}
    for number, operation in enumerate(asked.operations):
        one = operation.asked
        if isinstance(one, DropCollectionIndex) and (one.name not in known or one.name == "_id_"):
            raise SpecError(
                f"there is no index {one.name!r} that can be dropped",
                where=f"documents.operations[{number}].drop_index.name",
                hint=f"Write one of {', '.join(sorted(known - {'_id_'})) or '(there is none)'}.",
            )
        if isinstance(one, CreateCollectionIndex) and one.name in known:
            raise SpecError(
                f"there is an index {one.name!r} already",
                where=f"documents.operations[{number}].create_index.name",
                hint="Choose another name.",
            )


def _refuse_indexes(table: Table, asked: DocumentsSpec, action: Reshape) -> None:
    """Refuse to remove a field that an index has: a unique one would fail, and any other would be of no use."""
    refuse_index_names(table, asked)
    dropped = {one.asked.name for one in asked.operations if isinstance(one.asked, DropCollectionIndex)}
    for operation in asked.operations:
        if isinstance(operation.asked, CreateCollectionIndex):
            _refuse_unique(definition_of(operation.asked), action.news)
    for index in table.indexes:
        definition: Mapping[str, Any] = from_text(index.definition)
        for path in action.gone:
            if index.name not in dropped and _uses(definition, path):
                raise SpecError(
                    f"the index {index.name} is of {'.'.join(path)}, which goes",
                    where="documents.operations",
                    hint=f"Add drop_index with the name {index.name}, and create_index for the new field.",
                )
        _refuse_unique(definition, [*action.gone, *action.news])


def _refuse_unique(definition: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """Refuse a unique index on a field that only one of the two applications writes.

    Two documents without the field are duplicates: inserts of the other one would fail. So would our own updates, where
    values are handed over between documents, and nothing could go on.
    """
    path = next((one for one in paths if _uses(definition, one)), None)
    if path is not None and (definition.get("unique") or definition.get("prepareUnique")):
        raise SpecError(
            f"the index {definition['name']} is unique, and of {'.'.join(path)}, which not all applications write yet",
            where="documents.operations",
            hint="Drop a unique index by a migration before this one, and build one by a migration after it.",
        )


def _uses(definition: Mapping[str, Any], path: Path) -> bool:
    whole = ".".join(path)
    named = [*definition["key"], *definition.get("weights", {})]
    on_it = any(one == whole or one.startswith(f"{whole}.") or whole.startswith(f"{one}.") for one in named)
    return on_it or names(definition.get("partialFilterExpression", {}), path)


def _refuse_expressions(database: Documents, action: Reshape) -> None:
    """Have the server read every expression, on no document at all: also those of the ways on from here."""
    asked = [from_text(one.violations).get("filter", {}) for one in requirements(action, None)]
    asked += [{"$expr": known(action)}, {"$expr": not_carried(action)}]
    found = [{"$match": {"$and": [{"$and": [one]}]}} for one in asked]
    updates = [in_step(action, "old"), in_step(action, "new"), withdrawn(action), contracted(action)]
    # Each as deep within others as in our commands, or deeper: the server bounds that.
    whole = [{"$unionWith": {"coll": action.collection, "pipeline": [NOBODY, *stages]}} for stages in (found, *updates)]
    try:
        list(database[action.collection].aggregate([NOBODY, *whole]))
    except OperationFailure as error:
        if is_transient(error):
            raise
        raise SpecError(
            f"MongoDB cannot read the expression: {code_of(error)} {(error.details or {}).get('codeName', '')}",
            where="documents.operations",
            hint="Write an aggregation expression over the fields of the document.",
        ) from None


def _findings(table: Table, action: Reshape, rule: dict[str, Any] | None) -> Iterator[Finding]:
    yield from validators.findings(table, action, rule)
    if action.pairs:
        yield Finding(
            rule="marker", severity="note",
            message=f"until contract every document has a field {action.marker}, with the values of both shapes",
            where=table.full_name,
        )  # fmt: skip
    for path in action.paths:
        if any(name.startswith(OWN_PREFIX) for name in path):
            yield Finding(
                rule="names", severity="error", message=f"{'.'.join(path)} is a name of ours",
                where=table.full_name, hint="Choose another name.",
            )  # fmt: skip
