"""What a collection demands of documents: warned of at first, enforced when the old shape is gone."""

from collections.abc import Iterator
from typing import Any

from tasks.engines.mongodb.documents.expressions import from_text, names, to_text
from tasks.model.catalogue import Table
from tasks.model.document_steps import CollectionCommand, Reshape
from tasks.model.plan import Finding
from tasks.model.steps import Phase, Step


def warned(table: Table, collection: str, rule: dict[str, Any]) -> Iterator[Step]:
    """Yield the step that has the server warn of writes that are not valid; none where an older rule is enforced."""
    before = _options(table)
    if _holds(before):
        # It goes on to be enforced: a warning in its place would let in what it keeps out.
        return
    asked = {"collMod": collection, "validator": rule, "validationLevel": "strict", "validationAction": "warn"}
    yield Step(
        key=f"expand/{table.full_name}/validator", phase=Phase.EXPAND,
        title=f"Warn, in the log of the server, of writes to {collection} that are not valid", undo="as it was before",
        action=CollectionCommand(
            table=table.full_name, collection=collection, forward=to_text(asked),
            inverse=to_text({"collMod": collection} | before),
        ),
    )  # fmt: skip


def enforced(table: Table, collection: str, rule: dict[str, Any]) -> Step:
    """Return the step that has the server refuse such writes. Before the contract it would refuse old applications."""
    asked = {"collMod": collection, "validator": rule, "validationLevel": "strict", "validationAction": "error"}
    return Step(
        key=f"contract/{table.full_name}/validator", phase=Phase.CONTRACT,
        title=f"Refuse writes to {collection} that are not valid",
        action=CollectionCommand(table=table.full_name, collection=collection, forward=to_text(asked)),
    )  # fmt: skip


def findings(table: Table, action: Reshape, rule: dict[str, Any] | None) -> Iterator[Finding]:
    """Yield what would make writes of either application fail, while the change goes on or after it."""
    before = _options(table)
    text = to_text(before["validator"])
    if action.pairs and any(word in text for word in ("additionalProperties", "patternProperties", "maxProperties")):
        yield Finding(
            rule="closed-validator", severity="error",
            message=f"the validator of {table.name} allows no other fields, and writes to documents with both shapes"
            " would fail",
            where=table.full_name, hint="Loosen the validator first; it can be tightened again by the next migration.",
        )  # fmt: skip
    if _holds(before):
        yield from (
            Finding(
                rule="validator-names", severity="error",
                message=f"the validator of {table.name} names {'.'.join(path)}, and would refuse writes of applications"
                " that know the other shape",
                where=table.full_name,
                hint="Set its validationAction to warn first, and give the spec the validator of the new shape.",
            )
            # The documents on the way to it come and go with it: what names the outermost one may be about them.
            for path in action.paths if names(before["validator"], path[:1])
        )  # fmt: skip
    if rule is None:
        return
    for path in action.gone:
        if names(rule, path):
            yield Finding(
                rule="validator-names", severity="error",
                message=f"the new validator names {'.'.join(path)}, which no document has after the contract",
                where=table.full_name, hint="Leave that field out of the schema.",
            )  # fmt: skip
    if action.pairs and rule["$jsonSchema"].get("additionalProperties") is False:
        yield Finding(
            rule="closed-validator", severity="error",
            message="the new validator allows no other fields, and until contract no document would be valid",
            where=table.full_name, hint="Leave additionalProperties to the next migration.",
        )  # fmt: skip


def _options(table: Table) -> dict[str, Any]:
    given = {key: from_text(text) for key, _, text in (one.partition("=") for one in table.options)}
    before = {name: given[name] for name in ("validator", "validationLevel", "validationAction") if name in given}
    return {"validator": {}, "validationLevel": "strict", "validationAction": "error"} | before


def _holds(options: dict[str, Any]) -> bool:
    named = options["validationLevel"], options["validationAction"]
    return bool(options["validator"]) and named[0] != "off" and named[1] == "error"
