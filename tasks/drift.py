"""drift: what somebody else has changed since the last migration was completed."""

from collections.abc import Iterable
from datetime import datetime

from tasks.engines.protocol import Engine, Listing, Typing
from tasks.engines.session import Session
from tasks.ledger.snapshots import Payload, remembered
from tasks.model.base import Record
from tasks.model.catalogue import Catalogue, TypeDefinition
from tasks.model.catalogue_difference import compare, compare_types
from tasks.model.plan import Plan

SNAPSHOT = "after"
"""The name under which a contract leaves the catalogue that it made."""


class Reference(Record):
    """What a schema was when a migration of it was completed."""

    schema_name: str
    migration: str
    at: datetime
    catalogue: Catalogue
    types: tuple[TypeDefinition, ...] | None
    """None: nobody looked at them then."""


class Drift(Record):
    """What differs from that, in words; empty: nothing."""

    since: tuple[tuple[str, str, datetime], ...]
    """Each schema, the migration that was completed last, and when."""
    changes: tuple[str, ...]
    under_way: tuple[str, ...]
    """Tables and types of migrations that are not completed, which are between two shapes and are not looked at."""


def left(engine: Engine, plan: Plan) -> Payload:
    """Return what to remember of the schemas that a plan was about, once it is carried out."""
    if plan.catalogue.engine == "mongodb":
        # What the sessions of the engine see is its ledger.
        return {"schemas": [], "catalogue": plan.catalogue.model_copy(update={"tables": ()}).model_dump(mode="json")}
    schemas = {table.schema_name for table in plan.catalogue.tables}
    schemas |= {name.strip().strip('"') for name in plan.search_path.split(",")} if not schemas else set()
    found = engine.retrying()(_tables, engine, schemas)
    kinds = [one.model_dump(mode="json") for one in _types(engine, schemas)]
    return {"schemas": sorted(schemas), "catalogue": found.model_dump(mode="json"), "types": kinds}


def _types(engine: Engine, schemas: Iterable[str]) -> tuple[TypeDefinition, ...]:
    return engine.types(sorted(schemas)) if isinstance(engine, Typing) else ()


def references(conn: Session) -> tuple[Reference, ...]:
    """Return the newest reference of each schema; none when nothing was completed, or there is no ledger."""
    newest: dict[str, Reference] = {}
    for one in remembered(conn, SNAPSHOT):
        whole = Catalogue.model_validate(one.payload["catalogue"])
        types = one.payload.get("types")
        for schema in one.payload["schemas"]:
            newest[schema] = Reference(
                schema_name=schema,
                migration=one.migration,
                at=one.at,
                catalogue=_of(whole, schema),
                types=None if types is None else tuple(TypeDefinition.model_validate(t) for t in types),
            )
    return tuple(newest[schema] for schema in sorted(newest))


def drift(engine: Engine, known: Iterable[Reference], under_way: Iterable[str]) -> Drift:
    """Compare each schema with its reference. Locks: ACCESS SHARE for a moment, on tables with expressions."""
    known, skipped = tuple(known), frozenset(under_way)
    now = _tables(engine, {one.schema_name for one in known})
    changes: list[str] = []
    for one in known:
        changes += compare(_without(one.catalogue, skipped), _without(_of(now, one.schema_name), skipped))
        if one.types is not None:
            then = [t for t in one.types if not t.is_named(skipped)]
            changes += compare_types(then, [t for t in _types(engine, [one.schema_name]) if not t.is_named(skipped)])
    return Drift(
        since=tuple((one.schema_name, one.migration, one.at) for one in known),
        changes=tuple(changes),
        under_way=tuple(sorted(skipped)),
    )


def _tables(engine: Engine, schemas: Iterable[str]) -> Catalogue:
    found = (
        [name for schema in sorted(schemas) for name in engine.tables(schema)] if isinstance(engine, Listing) else []
    )
    return engine.inspect(found)


def _of(catalogue: Catalogue, schema: str) -> Catalogue:
    return catalogue.model_copy(update={"tables": tuple(t for t in catalogue.tables if t.schema_name == schema)})


def _without(catalogue: Catalogue, names: frozenset[str]) -> Catalogue:
    return catalogue.model_copy(update={"tables": tuple(t for t in catalogue.tables if t.full_name not in names)})
