"""Read a collection: options, validator and indexes, as the catalogue of a plan holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import from_text, to_text
from tasks.model.catalogue import Catalogue, Index, Table
from tasks.model.errors import SpecError
from tasks.model.plan import TableEstimate


def inspect(database: Documents, names: Sequence[str], at: str = "documents.collection") -> Catalogue:
    """Read collections by their names, with or without the database. Raises SpecError for one that is not there.

    `at` is the place in the spec that names them.
    """
    bare = sorted({name.removeprefix(f"{database.name}.") for name in names})
    version = str(database.client.server_info()["version"])
    return Catalogue(engine="mongodb", version=version, tables=tuple(_table(database, name, at) for name in bare))


def _table(database: Documents, name: str, at: str) -> Table:
    found = next(iter(database.list_collections(filter={"name": name})), None)
    if found is None:
        raise SpecError(
            f"there is no collection {name!r}",
            where=at,
            hint="Correct the name, or the database.",
        )
    if found["type"] != "collection":
        raise SpecError(f"{name!r} is a {found['type']}", where=at, hint="Name a plain collection.")
    options: Mapping[str, Any] = found.get("options", {})
    for refused in ("capped", "encryptedFields", "clusteredIndex", "collation"):
        if options.get(refused):
            raise SpecError(
                f"{name!r} is a collection with {refused}",
                where=at,
                hint="Name a plain collection: this one is not known yet.",
            )
    indexes = [_index(one) for one in database[name].list_indexes()]
    return Table(
        schema_name=database.name,
        name=name,
        owner="",
        options=tuple(f"{key}={to_text(value)}" for key, value in sorted(_plainly(options).items())),
        indexes=tuple(sorted(indexes, key=lambda one: one.name)),
    )


def _plainly(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without what says nothing: a validator that was taken away leaves its level and action."""
    rules = {"validationLevel": "strict", "validationAction": "error"}
    if not options.get("validator"):
        return {key: value for key, value in options.items() if key not in ("validator", *rules)}
    return {**rules, **options}


def _index(one: Mapping[str, Any]) -> Index:
    keys = tuple(one["key"])
    return Index(
        name=str(one["name"]),
        definition=to_text(dict(one)),
        columns=keys,
        referenced=(),
        unique=bool(one.get("unique", False)),
        primary=one["name"] == "_id_",
        partial="partialFilterExpression" in one,
    )


def options_of(table: Table) -> dict[str, Any]:
    """Return the options of a collection, as the server takes them."""
    return {key: from_text(text) for key, _, text in (one.partition("=") for one in table.options)}


def indexes_of(table: Table) -> list[dict[str, Any]]:
    """Return the indexes of a collection but for that of `_id`, as the server takes them."""
    return [from_text(one.definition) for one in table.indexes if not one.primary]


def estimate(database: Documents, name: str) -> TableEstimate:
    """Return the size of a collection, from its statistics."""
    stats = database.command("collStats", name)
    return TableEstimate(table=f"{database.name}.{name}", rows=int(stats["count"]), bytes=int(stats["size"]))
