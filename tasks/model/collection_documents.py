"""What a spec says of the documents of a collection of MongoDB: which fields and indexes change, and how."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.model.document_stages import moves, refused_stages
from tasks.model.operations.base import Contradiction, Part
from tasks.model.operations.text import Text
from tasks.model.transfer import ID, CollectionName
from tasks.model.transfer_fields import FieldPath

Converted = Literal["double", "string", "objectId", "bool", "date", "int", "long", "decimal"]
Names = Annotated[tuple[FieldPath, ...], Field(min_length=1)]
Stages = Annotated[tuple[Mapping[str, Any], ...], Field(min_length=1)]


class AddField(Part):
    """Add a field, with the same value in every document, or one that is computed from each."""

    field: FieldPath
    default: Any = None
    """The value of every document that has none; null unless given."""
    value: Mapping[str, Any] | None = None
    """An aggregation expression over the document. Where what it gives changes, the field follows."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two values, and a value that would be another one each time."""
        if self.value is not None and self.default is not None:
            yield Contradiction(at=("default",), reason="there is a value, too", hint="Give one of the two.")
        if self.value is not None and (moving := moves(self.value)):
            yield Contradiction(
                at=("value",),
                reason=f"{moving} gives another value each time",
                hint="Compute the value from the document alone.",
            )


class RenameField(Part):
    """Give a field another name, or another place."""

    from_: FieldPath = Field(alias="from")
    to: FieldPath

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a path that is the other, or leads into it."""
        yield from _apart("from", self.from_, self.to)


class RemoveField(Part):
    """Remove a field, when the migration is contracted."""

    field: FieldPath


class ChangeType(Part):
    """Hold the value of a field with another type, in a field of another name."""

    field: FieldPath
    to: FieldPath
    """The field that holds the converted value. Both are there, in step, until the contract removes the old one."""
    type: Converted
    back: Converted
    """The type that the old application knows: what it becomes when a new application has written."""
    unfit: Literal["fail", "null", "dead_letter"] = "fail"
    """What becomes of a value that cannot be converted.

    No swap as long as there is one (`fail`), the new field is null (`null`), or there is no new field, and the contract
    keeps the old value in a collection of its own (`dead_letter`)."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a path that is the other, or leads into it."""
        yield from _apart("field", self.field, self.to)


class Transform(Part):
    """Make fields of others by stages of an aggregation pipeline, and the others of these by stages of their own.

    Stages are `$set`, `$unset` and `$project`. They are given the fields of their own side, and no other.
    """

    from_: Names = Field(alias="from")
    """The fields that old applications know. They go with the contract."""
    to: Names
    """The fields that new applications know."""
    up: Stages
    """What makes the new fields. Where it makes none of what is there, no run swaps."""
    down: Stages
    """What makes the old fields, when a new application has written."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse fields that are on both sides, or within others, and stages that give no value of their own."""
        seen = list[str]()
        for key, names in (("from", self.from_), ("to", self.to)):
            for number, name in enumerate(names):
                if "." in name or name == ID:
                    yield Contradiction(
                        at=(key, number),
                        reason=f"stages cannot be about {name}",
                        hint="Name a field of the document itself; _id never changes.",
                    )
                if name in seen:
                    yield Contradiction(at=(key, number), reason=f"{name} is named twice", hint="Choose another name.")
                seen.append(name)
        yield from refused_stages("up", self.up)
        yield from refused_stages("down", self.down)


class CreateCollectionIndex(Part):
    """Build an index, while applications write."""

    name: Text
    keys: Annotated[Mapping[FieldPath, Literal[1, -1, "text", "hashed", "2dsphere"]], Field(min_length=1)]
    """Fields, in their order: 1 or -1, or a kind of index."""
    unique: bool = False
    """Of fields that are there before the migration; of a new one, by the next migration."""
    sparse: bool = False
    partial: Mapping[str, Any] | None = None
    """Only documents that match this filter."""


class DropCollectionIndex(Part):
    """Drop an index: hidden from the planner before the swap, but for text and geo, and gone with the contract."""

    name: Text


class Validator(Part):
    """Say what a document must be: only a warning at first, an error from the contract on."""

    schema_: Mapping[str, Any] = Field(alias="schema")
    """A JSON Schema, as `$jsonSchema` takes it."""


class RebuildCollection(Part):
    """Make the collection anew beside the old one, and put it in its place: only with `strategy: shadow_table`.

    Without anything else the new one is the same, without the dead space of the old one.
    """

    compressor: Literal["none", "snappy", "zlib", "zstd"] | None = None
    """How the server packs its blocks; as before unless given."""
    up: tuple[Mapping[str, Any], ...] = ()
    """Stages that make a new document of an old one. Stages are `$set`, `$unset` and `$project`; `_id` stays."""
    down: tuple[Mapping[str, Any], ...] = ()
    """Stages that make exactly the old document again: every document is tried before the run."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse one way without the other, and stages that give no value of their own."""
        for key, other in (("up", "down"), ("down", "up")):
            if getattr(self, key) and not getattr(self, other):
                yield Contradiction(
                    at=(key,), reason=f"there is no {other}", hint=f"Add {other}: nothing is lost then."
                )
        yield from refused_stages("up", self.up)
        yield from refused_stages("down", self.down)


class DocumentOperation(Part):
    """One change; exactly one of the keys is given."""

    add_field: AddField | None = None
    rename_field: RenameField | None = None
    remove_field: RemoveField | None = None
    change_type: ChangeType | None = None
    transform: Transform | None = None
    create_index: CreateCollectionIndex | None = None
    drop_index: DropCollectionIndex | None = None
    validator: Validator | None = None
    rebuild_collection: RebuildCollection | None = None

    @property
    def asked(self) -> Part:
        """The change itself."""
        found: Part = next(one for name in type(self).model_fields if (one := getattr(self, name)) is not None)
        return found

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse several changes in one, and none."""
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            yield Contradiction(
                at=(given[-1],) if given else (),
                reason="an operation has one key, its kind",
                hint=f"Write one of {', '.join(type(self).model_fields)}.",
            )


class DocumentsSpec(Part):
    """Change the documents of a collection of MongoDB: where they are, or in a collection that takes its place."""

    collection: CollectionName
    operations: Annotated[tuple[DocumentOperation, ...], Field(min_length=1)]

    @property
    def rebuilt(self) -> RebuildCollection | None:
        """How the collection is made anew, where it is."""
        return next((one.rebuild_collection for one in self.operations if one.rebuild_collection is not None), None)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two operations that concern one field, or an index that is made and dropped."""
        seen: dict[str, int] = {}
        together = RebuildCollection | CreateCollectionIndex | DropCollectionIndex
        for number, operation in enumerate(self.operations):
            if self.rebuilt is not None and not isinstance(operation.asked, together):
                yield Contradiction(
                    at=("operations", number),
                    reason="a collection that is made anew has all of its new shape by rebuild_collection",
                    hint="Say it by `up` and `down`, or put it into a migration of its own.",
                )
        for number, operation in enumerate(self.operations):
            for path in _paths(operation.asked):
                for other, first in seen.items():
                    if first != number and _related(path, other):
                        yield Contradiction(
                            at=("operations", number),
                            reason=f"operations[{first}] already concerns the field {other}",
                            hint="Put the two into migrations of their own, one after the other.",
                        )
                seen.setdefault(path, number)
        kinds = [one.asked for one in self.operations]
        for number, one in enumerate(kinds):
            once = Validator | RebuildCollection
            again = isinstance(one, once) and any(type(other) is type(one) for other in kinds[:number])
            named = isinstance(one, CreateCollectionIndex | DropCollectionIndex) and one.name in [
                other.name for other in kinds[:number] if isinstance(other, CreateCollectionIndex | DropCollectionIndex)
            ]
            if again or named:
                yield Contradiction(
                    at=("operations", number), reason="an operation before it already says this", hint="Remove one."
                )


def _paths(one: Part) -> tuple[str, ...]:
    match one:
        case AddField() | RemoveField():
            return (one.field,)
        case RenameField():
            return (one.from_, one.to)
        case ChangeType():
            return (one.field, one.to)
        case Transform():
            return (*one.from_, *one.to)
    return ()


def _related(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _apart(key: str, old: str, new: str) -> Iterator[Contradiction]:
    if _related(old, new):
        yield Contradiction(at=("to",), reason="one field would be inside of the other", hint="Choose another name.")
    for at, path in ((key, old), ("to", new)):
        if path.partition(".")[0] == ID:
            yield Contradiction(at=(at,), reason="_id never changes", hint="Name another field.")
