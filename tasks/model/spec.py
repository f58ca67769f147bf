"""A migration spec: what an author asks for, checked as far as that is possible without a database."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema

from tasks.model.collection_documents import DocumentsSpec
from tasks.model.digest import digest
from tasks.model.json_schema import SpecJsonSchema
from tasks.model.names import Identifier, TableName
from tasks.model.operations import CreateTable, RebuildTable
from tasks.model.operations.base import Contradiction, Part, refusal
from tasks.model.operations.conflicts import conflicts
from tasks.model.operations.folding.fold import Folding, fold
from tasks.model.operations.mapping import SpecOperation
from tasks.model.operations.text import DatabaseName, Text
from tasks.model.probe import Probe
from tasks.model.transfer import TransferSpec

_MIGRATION = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SUITE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(@[^\0]+)?|[^\0]+\.json(@[^\0]+)?", re.ASCII)


def _migration(value: str) -> str:
    if not _MIGRATION.fullmatch(value):
        raise refusal(
            f"{value[:80]!r} is no name of a migration",
            "Use at most 63 small letters, digits, _ and -, the first a letter or a digit.",
        )
    return value


def _suite(value: str) -> str:
    if not _SUITE.fullmatch(value):
        raise refusal(
            f"{value!r} names no suite",
            "Write package.module:function for a factory, or the path of a suite that ends with .json.",
        )
    return value


MigrationName = Annotated[
    str, AfterValidator(_migration), Field(json_schema_extra={"pattern": f"^{_MIGRATION.pattern}$"})
]
Suite = Annotated[str, AfterValidator(_suite)]
"""`package.module:function`, a factory of a Great Expectations suite; or the path of a suite in JSON."""


class BoundSuite(Part):
    """A suite at a gate. Without arguments it is written as its name alone."""

    suite: Suite
    """`package.module:function` or the path of a suite in JSON; with `@schema.table` where there are several."""
    arguments: Mapping[Identifier, Any] = Field(default_factory=dict)
    """What the factory is called with, by name."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"suite": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _shortest(self, handler: SerializerFunctionWrapHandler) -> Any:
        return handler(self) if self.arguments else self.suite

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse arguments for a file, which takes none."""
        if self.arguments and self.suite.partition("@")[0].endswith(".json"):
            yield Contradiction(at=("arguments",), reason="a suite in JSON takes no arguments", hint="Remove them.")


class _OrItsName:
    """Let the JSON Schema allow the name alone."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


Bound = Annotated[BoundSuite, _OrItsName()]


Key = Annotated[tuple[Identifier, ...], Field(min_length=1)]


class Gates(Part):
    """Suites of the author's own, bound by the name of the transition, beside the checks that every gate has."""

    before_run: tuple[Bound, ...] = ()
    """Before the first step, on the old shape."""
    before_swap: tuple[Bound, ...] = ()
    after_swap: tuple[Bound, ...] = ()
    before_contract: tuple[Bound, ...] = ()
    """Before the old shape is dropped, beside what `after_swap` checks."""


class BackfillOptions(Part):
    """How existing rows are filled."""

    key: Mapping[TableName, Key] = Field(default_factory=dict)
    """For each table, the columns of the unique key to walk along; the primary key unless given."""
    user_triggers: Literal["refuse", "bypass", "fire"] = "refuse"
    """What to do about triggers that an UPDATE of the backfill would fire."""


class MigrationSpec(Part):
    """Ask for a change of a database.

    Python code may pass operations as objects; in YAML each is a mapping with its kind as the single key.
    """

    migration: MigrationName
    """The name of the migration: the same name is the same migration."""
    strategy: Literal["expand_contract", "shadow_table", "cross_database"] = "expand_contract"
    """`shadow_table` makes a table anew beside the old one, for what cannot be changed in place.

    `cross_database` copies rows into another database, as `transfer` says."""
    database: DatabaseName = "main"
    """Which database of the profile."""
    description: Text | None = None
    owner: Text | None = None
    ticket: Text | None = None
    operations: tuple[SpecOperation, ...] = ()
    """In their order. Needed, unless there is a `version_schema`, a `transfer`, or `documents`."""
    transfer: TransferSpec | None = None
    """Which rows go where; with `strategy: cross_database`, and without operations."""
    documents: DocumentsSpec | None = None
    """What changes in a collection, where `database` is one of MongoDB; without operations."""
    version_schema: Identifier | None = None
    """Show the new shape in a schema of views, `<schema>_<name>`, which applications choose by search_path.

    With one, `operations` may be empty: it then shows the shape as it is."""
    gates: Gates = Gates()
    backfill: BackfillOptions = BackfillOptions()
    probes: tuple[Probe, ...] = ()
    """Queries that must not be worse after the swap than before the first change."""
    soak: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None
    """Seconds to watch after the swap, instead of those of the profile."""

    @property
    def spec_digest(self) -> str:
        """Names exactly this request, however it is laid out and whichever defaults are written out."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def folding(self) -> Folding:
        """What the operations come to where several mean one thing together."""
        return fold(self.operations)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse operations that cannot stand together, and a key for a table that is not backfilled."""
        bare = not self.operations and self.version_schema is None and self.documents is None
        if bare and self.strategy != "cross_database":
            yield Contradiction(
                at=("operations",),
                reason="there is no operation",
                hint="Add one; or version_schema, to show the shape as it is under a name.",
            )
        yield from self._together()
        yield from self._strategy()
        names = [one.name for one in self.probes]
        for number, name in enumerate(names):
            if name in names[:number]:
                yield Contradiction(
                    at=("probes", number, "name"),
                    reason=f"there are two probes of the name {name!r}",
                    hint="Give each a name of its own.",
                )
        created = {one.name for one in self.operations if isinstance(one, CreateTable)}
        touched = {name for _, one in self.folding.operations for name in one.tables} - created
        if self.transfer is not None and self.transfer.table is not None:
            touched.add(self.transfer.table)
        for name in self.backfill.key:
            if name not in touched:
                close = get_close_matches(name, sorted(touched), n=1)
                yield Contradiction(
                    at=("backfill", "key", name),
                    reason=f"no operation changes a table {name!r} that exists",
                    hint=f"Did you mean {close[0]!r}?" if close else "Remove it.",
                )

    def _together(self) -> Iterator[Contradiction]:
        if self.strategy == "shadow_table":
            # The table is made anew by its last shape, which one operation a column says.
            yield from conflicts(self.operations)
            return
        folding = self.folding
        yield from folding.contradictions
        yield from conflicts(self.operations, folding.operations)

    def _strategy(self) -> Iterator[Contradiction]:
        yield from self._cross_database()
        yield from self._documents()
        shadow = self.strategy == "shadow_table"
        for number, one in enumerate(self.operations):
            if isinstance(one, RebuildTable) and not shadow:
                yield Contradiction(
                    at=("operations", number, one.kind),
                    reason="a table is made anew only by way of a shadow table",
                    hint="Write `strategy: shadow_table`.",
                )
        if shadow and self.version_schema is not None:
            yield Contradiction(
                at=("version_schema",),
                reason="a shadow table has one shape at a time, and no versions",
                hint="Remove version_schema, or write `strategy: expand_contract`.",
            )

    def _documents(self) -> Iterator[Contradiction]:
        if self.documents is None:
            return
        anew = self.documents.rebuilt is not None
        if anew != (self.strategy == "shadow_table") or self.strategy == "cross_database":
            yield Contradiction(
                at=("documents",) if self.strategy == "cross_database" else ("strategy",),
                reason="a collection is made anew only by way of another one"
                if anew
                else "these operations change documents where they are",
                hint=f"Write `strategy: {'shadow_table' if anew else 'expand_contract'}`.",
            )
        others = ("operations", "version_schema", "transfer", "probes", "gates", "backfill")
        for name in others:
            if getattr(self, name) != type(self).model_fields[name].default:
                yield Contradiction(
                    at=(name,),
                    reason=f"{name} has no part in a change of documents",
                    hint="Remove it, or put it into a spec of its own.",
                )

    def _cross_database(self) -> Iterator[Contradiction]:
        cross = self.strategy == "cross_database"
        if cross and self.transfer is None:
            yield Contradiction(at=("strategy",), reason="nothing says what is copied where", hint="Add transfer.")
        if not cross and self.transfer is not None:
            yield Contradiction(
                at=("transfer",),
                reason=f"{self.strategy} stays within one database",
                hint="Write `strategy: cross_database`, or remove transfer.",
            )
        if cross and (self.operations or self.version_schema is not None):
            yield Contradiction(
                at=("operations",) if self.operations else ("version_schema",),
                reason="a copy into another database leaves the tables of this one as they are",
                hint="Put it into a spec of its own.",
            )
        for name, given in (("gates", self.gates != Gates()), ("probes", bool(self.probes))):
            if cross and given:
                yield Contradiction(
                    at=(name,),
                    reason=f"{name} look at one database, and have no part in a copy into another",
                    hint=f"Remove {name}: every document is compared with its row anyway.",
                )
        if self.transfer is not None and self.transfer.to.database == self.database:
            yield Contradiction(
                at=("transfer", "to", "database"),
                reason="this is the database that is copied from",
                hint="Name another database of the profile.",
            )

    @classmethod
    def model_json_schema(
        cls,
        by_alias: bool | None = True,
        ref_template: str = DEFAULT_REF_TEMPLATE,
        schema_generator: type[GenerateJsonSchema] = SpecJsonSchema,
        mode: JsonSchemaMode = "validation",
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the JSON Schema of a spec as it is written in YAML or JSON."""
        return super().model_json_schema(by_alias is not False, ref_template, schema_generator, mode, **kwargs)
