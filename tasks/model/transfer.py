"""What a spec says of a copy into another database: which rows, where to, and how a document is made of each."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
)

from tasks.model.errors import SpecError
from tasks.model.names import MAX_BYTES, OWN_PREFIX, Identifier, TableName
from tasks.model.operations.base import Contradiction, Part, refusal
from tasks.model.operations.text import DatabaseName, Expression
from tasks.model.transfer_columns import ColumnRule, OrItsColumn, SourceName
from tasks.model.transfer_fields import FieldPath, FieldRuleOrName, refuse_within

ID = "_id"


def _collection(value: str) -> str:
    if not value or "$" in value or "\x00" in value or value.startswith(("system.", OWN_PREFIX, ".")):
        raise refusal(f"{value[:80]!r} is no name of a collection", "Write a name without $, for example users.")
    if len(value.encode()) > 120:
        raise refusal("the name of the collection is too long", "Use at most 120 bytes.")
    return value


CollectionName = Annotated[str, AfterValidator(_collection)]


ColumnRuleOrName = Annotated[ColumnRule, OrItsColumn()]


class Destination(Part):
    """Where rows go."""

    database: DatabaseName
    """Another database of the profile."""
    collection: CollectionName | None = None
    """A collection that does not exist yet, where the database is one of MongoDB."""
    table: TableName | None = None
    """A table that does not exist yet, where the database is one of PostgreSQL, in the schema public unless given; or
    of MariaDB."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two places, or none."""
        if (self.collection is None) is (self.table is None):
            yield Contradiction(
                at=() if self.table is None else ("table",),
                reason="rows go into a collection or into a table",
                hint="Give one of the two.",
            )


class TransferSpec(Part):
    """Copy rows of a table into a collection or a table, or documents of a collection into a table, of a database."""

    table: TableName | None = None
    """The table whose rows are copied."""
    collection: CollectionName | None = None
    """The collection whose documents become rows, where the database is one of MongoDB."""
    to: Destination
    where: Expression | Mapping[str, Any] | None = None
    """Only rows for which this is true; or only documents that match a filter, in extended JSON."""
    capture: Literal["none", "triggers", "change_stream"] = "none"
    """What becomes of writes while it runs.

    `none`: nobody may write. `triggers`: the keys of rows that are written are noted, and the rows carried over.
    `change_stream`: so it is with documents, of which MongoDB tells."""
    columns: Mapping[Identifier, ColumnRuleOrName] = Field(default_factory=dict)
    """Columns of the new table that are not to be what the plan would choose. All others are copied as they are."""
    omit: tuple[SourceName, ...] = ()
    """Columns of the source, or paths of fields, that the new table does not get."""
    unnest: FieldPath | None = None
    """The path of an array of each document: its elements become the rows, one each, instead of the documents.

    The key is `_id` with the place of the element. Fields of the element are named from the document on, `items.sku`;
    of other fields only those in `columns` are read. A document whose array is empty, null or missing has no rows."""
    position: Identifier | None = None
    """With `unnest`, the column that gets the place of the element, from 0; `position` unless given."""
    rest: Identifier | None = None
    """The column, of jsonb, or json on MariaDB, that gets the fields of a document that have no column of their own."""
    fields: Mapping[FieldPath, FieldRuleOrName] = Field(default_factory=dict)
    """The fields of a document, in their order; dots lead into nested documents. Needed with a collection.

    `_id` is the key of the table unless it is given: the column itself, or a document of all columns of the key."""

    @property
    def rows_of(self) -> str:
        """The table that is read. Raises SpecError where the spec names a collection instead."""
        if self.table is None:
            raise SpecError(
                "rows of a table are copied, and the spec names a collection",
                where="transfer.collection",
                hint="Write `table`; or name a database of MongoDB as `database`.",
            )
        return self.table

    @property
    def array(self) -> tuple[str, ...]:
        """The path of the array whose elements become rows; empty where the documents do."""
        return () if self.unnest is None else tuple(self.unnest.split("."))

    @property
    def place(self) -> str:
        """The column of the place of an element in its array."""
        return self.position or "position"

    @property
    def condition(self) -> str | None:
        """SQL that chooses rows."""
        return self.where if isinstance(self.where, str) else None

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse fields that would stand in each other, and an `_id` that need not be there, or be the same for all."""
        yield from self._places()
        paths = [tuple(path.split(".")) for path in self.fields]
        for path in paths:
            if path[0] == ID and len(path) > 1:
                yield Contradiction(
                    at=("fields", ".".join(path)),
                    reason="_id is one value here",
                    hint="Leave _id out: a key of several columns becomes a document by itself.",
                )
        yield from refuse_within(paths, ("fields",))
        rule = self.fields.get(ID)
        if rule is not None and rule.of_another_table:
            yield Contradiction(
                at=("fields", ID), reason="_id is of the row itself", hint="Give a column, or an expression."
            )
        elif rule is not None and (rule.constant is not None or rule.unfit != "fail" or rule.nulls != "keep"):
            yield Contradiction(
                at=("fields", ID),
                reason="_id tells the documents apart, and has no policies",
                hint="Give a column, or an expression, that is unique and never null.",
            )

    def _of_documents(self) -> Iterator[Contradiction]:
        """Refuse what documents do not become, or do not have."""
        if self.capture == "triggers":
            yield Contradiction(
                at=("capture",), reason="a collection has no triggers", hint="Write `capture: change_stream`."
            )
        if self.to.collection is not None:
            yield Contradiction(
                at=("to", "collection"), reason="documents become rows of a table", hint="Write `table`."
            )
        if isinstance(self.where, str):
            yield Contradiction(
                at=("where",), reason="documents are not chosen by SQL", hint="Write a filter of MongoDB as a mapping."
            )
        for name, rule in self.columns.items():
            if isinstance(rule.up, str):
                yield Contradiction(
                    at=("columns", name, "up"),
                    reason="no SQL is evaluated over documents",
                    hint="Write an aggregation expression of MongoDB as a mapping.",
                )
        yield from self._unnested()
        paths = [tuple(one.split(".")) for one in self.omit]
        for number, path in enumerate(paths):
            if not all(path) or any(part.startswith("$") for part in path):
                yield Contradiction(
                    at=("omit",),
                    reason=f"{'.'.join(path)[:80]!r} is no path of a field",
                    hint="Write names with dots between them; none is empty or starts with $.",
                )
            if any(other == path[: len(other)] for other in paths[:number] + paths[number + 1 :]):
                yield Contradiction(
                    at=("omit",), reason=f"{'.'.join(path)[:80]} is left out already", hint="Name it once."
                )

    def _unnested(self) -> Iterator[Contradiction]:
        """Refuse what elements of an array do not have."""
        array = self.array
        if not array:
            if self.position is not None:
                yield Contradiction(
                    at=("position",), reason="only elements have a place", hint="Remove it, or give `unnest`."
                )
            return
        if array[0] == ID or array[0].startswith(OWN_PREFIX):
            yield Contradiction(at=("unnest",), reason="no array is there", hint="Name a field that holds arrays.")
        if self.place in (*self.columns, self.rest, ID):
            yield Contradiction(
                at=("position",),
                reason=f"there is another column {self.place!r}",
                hint="Give the place of an element another name by `position`, or that column.",
            )
        for name, rule in self.columns.items():
            path = tuple((rule.column or name).split("."))
            if rule.up is None and rule.constant is None and path == array[: len(path)] != array:
                yield Contradiction(
                    at=("columns", name), reason="the array is within it", hint="Name a field beside the array."
                )
        for left_out in self.omit:
            split = tuple(left_out.split("."))
            if split[: len(array)] != array or split == array:
                yield Contradiction(
                    at=("omit",),
                    reason=f"{left_out[:80]!r} is no field of an element, and others are not read",
                    hint="Remove it; fields beside the array are read where `columns` names them.",
                )

    def _of_rows(self) -> Iterator[Contradiction]:
        """Refuse what only documents have."""
        if self.capture == "change_stream":
            yield Contradiction(at=("capture",), reason="a table has no change stream", hint="Write triggers.")
        if self.unnest is not None or self.position is not None:
            yield Contradiction(at=("unnest",), reason="only documents have arrays that become rows", hint="Remove it.")
        if self.rest is not None:
            yield Contradiction(at=("rest",), reason="a row has no other columns than its own", hint="Remove it.")
        if self.where is not None and not isinstance(self.where, str):
            yield Contradiction(at=("where",), reason="rows are chosen by SQL", hint="Write an expression.")
        long = [one for one in (*self.omit, *sorted(read_by_name(self.columns))) if len(one.encode()) > MAX_BYTES]
        if long:
            yield Contradiction(
                at=("columns",) if set(long) - set(self.omit) else ("omit",),
                reason=f"the name {long[0][:80]!r} is longer than {MAX_BYTES} bytes",
                hint="Name a column of the table.",
            )
        for name, rule in self.columns.items():
            if isinstance(rule.up, Mapping):
                yield Contradiction(
                    at=("columns", name, "up"),
                    reason="an aggregation expression is one over documents",
                    hint="Write SQL over the columns.",
                )
            if rule.constant is not None or rule.nulls is not None or rule.unfit in ("string", "tag"):
                yield Contradiction(
                    at=("columns", name),
                    reason="constant, nulls, string and tag are about documents",
                    hint="Remove them, or give `up`.",
                )

    def _places(self) -> Iterator[Contradiction]:
        """Refuse fields of documents where there are none, and columns of a table that there is not."""
        if self.to.collection is not None and not self.fields:
            yield Contradiction(
                at=("fields",), reason="nothing says what a document holds", hint="Give at least one field."
            )
        if (self.table is None) is (self.collection is None):
            yield Contradiction(
                at=() if self.table is None else ("collection",),
                reason="rows of a table are copied, or documents of a collection",
                hint="Give one of the two.",
            )
        elif self.collection is not None:
            yield from self._of_documents()
        else:
            yield from self._of_rows()
        wrong = ("fields",) if self.to.table is not None else ("columns", "omit")
        for name in wrong:
            if getattr(self, name):
                yield Contradiction(
                    at=(name,),
                    reason="documents have fields, and tables have columns",
                    hint=f"Remove {name}: rows go into a {'table' if name == 'fields' else 'collection'}.",
                )
        if set(self.omit) & read_by_name(self.columns):
            yield Contradiction(
                at=("omit",), reason="a column is left out, and copied", hint="Remove it here, or in columns."
            )


def read_by_name(columns: Mapping[str, ColumnRule]) -> set[str]:
    """Return what is read of the source as it is: columns, or paths of fields."""
    return {rule.column or name for name, rule in columns.items() if rule.up is None and rule.constant is None}
