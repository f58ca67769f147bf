"""Steps that copy rows of a table into another database: into a collection, or into a table."""

from typing import Final, Literal, Self

from tasks.model.base import Record
from tasks.model.names import OWN_PREFIX, backticked, quote


class Collection(Record):
    """A collection of another database: made under a name of ours, or given its own name at the swap.

    Which one is ours is known by its UUID, which the table `place` of the source holds. So nothing that somebody
    else has made is ever written to, renamed or dropped.
    """

    kind: Literal["collection"] = "collection"
    database: str
    """The name in the profile."""
    name: str
    """What it is called from the swap on."""
    place: str
    """The table that holds token and UUID, quoted and qualified."""
    does: Literal["make", "put"]

    @property
    def full_name(self) -> str:
        """What people call it from the swap on."""
        return self.name


class LookedUp(Record):
    """The row of another table that a value is taken of: the one that a foreign key refers to."""

    table: str
    """Quoted and qualified."""
    full_name: str
    expression: str
    """In the names of that table."""
    key: tuple[str, ...]
    """Its columns that are referred to."""
    types: tuple[str, ...]
    """Of these."""
    columns: tuple[str, ...]
    """Those that refer to them."""


class EmbeddedRows(Record):
    """Rows of another table that become an array of documents: read with the row that they refer to."""

    table: str
    """Quoted and qualified."""
    full_name: str
    alias: str
    """Its bare name, with which expressions may qualify columns."""
    columns: tuple[str, ...]
    """Of its foreign key, in the order of the key of the table that is copied; empty ones where it refers to others."""
    loose: tuple[str, ...]
    """Columns of its foreign key that may be NULL: such a row refers to none."""
    fields: tuple["TransferField", ...]
    where: str = ""


class TransferField(Record):
    """A field of a document, and what gives its value."""

    path: tuple[str, ...]
    holds: Literal[
        "int32", "int64", "decimal", "double", "boolean", "string", "binary", "uuid", "date", "json", "constant",
        "objectId", "extended_json", "rows", "enum", "set",
    ]  # fmt: skip
    expression: str = ""
    """In the names of the table; empty for a constant. Of rows: what gives them as JSON, a list of texts each."""
    source_type: str = ""
    """As the source calls it."""
    constant: str | bool | int | float | None = None
    unfit: Literal["fail", "reject", "string", "tag"] = "fail"
    doubtful: bool | None = None
    """Whether a value of that type may not be held; None: what it holds tells."""
    nulls: Literal["keep", "missing"] = "keep"
    rows: EmbeddedRows | None = None
    lookup: LookedUp | None = None


EmbeddedRows.model_rebuild()


class _Walk(Record):
    """What is read of a table, along a unique key, and who keeps the account of it."""

    table: str
    """Quoted and qualified."""
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    alias: str
    """The bare name of the table, with which expressions may qualify columns."""
    where: str = ""
    rejected: str
    """The table of rows that a policy left out, with the reason; quoted and qualified, where the account is."""
    account: str
    """The table of rows read, written and rejected, by shard; quoted and qualified."""
    notes: str = ""
    """The table of keys of rows that were written since the copy began; quoted and qualified. Empty: there is none."""


class DocumentTransfer(_Walk):
    """Copy rows of a table into a collection of another database, in key ranges.

    A batch is written, majority-acknowledged, before its cursor commits. A batch that is repeated replaces its
    documents by `_id`, so a kill in between only repeats it.
    """

    kind: Literal["transfer"] = "transfer"
    engine: Literal["postgresql", "mariadb"] = "postgresql"
    """Of the source, where all of it is but the documents."""
    fields: tuple[TransferField, ...]
    """`_id` first."""
    given_id: bool = False
    """The author has chosen `_id`: that it is unique is asked of the rows."""
    into: Collection

    @property
    def as_noted(self) -> Self:
        """What reads notes as if they were rows: they have the columns of the key, and so all that `_id` needs."""
        fields = tuple(field for field in self.fields if field.path[0] == self.fields[0].path[0])
        return self.model_copy(update={"table": self.notes, "where": "", "fields": fields})

    @property
    def embedded(self) -> tuple[TransferField, ...]:
        """The fields that hold rows of other tables."""
        return tuple(field for field in self.fields if field.rows is not None)

    @property
    def lookups(self) -> tuple[tuple[LookedUp, EmbeddedRows | None], ...]:
        """What is looked up, and in which embedded rows; None: in the row itself."""
        inner = [(one.lookup, field.rows) for field in self.embedded if field.rows for one in field.rows.fields]
        found = [*((field.lookup, None) for field in self.fields), *inner]
        return tuple((lookup, rows) for lookup, rows in found if lookup is not None)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables whose rows a document is made of, its own first; quoted and qualified, each once."""
        others = {field.rows.table for field in self.fields if field.rows is not None}
        others |= {lookup.table for lookup, _ in self.lookups}
        return (self.table, *sorted(others - {self.table}))


class Relation(Record):
    """A table of another database: made in a schema of ours, put where it belongs at the swap, and rid of the rest.

    Which one is ours is known by its oid, which the table `place` of that schema holds. So nothing that somebody else
    has made is ever written to, moved or dropped. MariaDB has no schemas: there it is made under a name of ours, known
    by its comment, and named at the swap.
    """

    kind: Literal["relation"] = "relation"
    engine: Literal["postgresql", "mariadb"] = "postgresql"
    database: str
    """The name in the profile."""
    schema_name: str
    """Where it is from the swap on; empty on MariaDB, where it stays in the database of the URL."""
    name: str
    helpers: str
    """The schema of ours, where it is until then; on MariaDB what names of ours begin with."""
    create: str
    """The statement that makes it, there."""
    numbered: str = ""
    """The column that numbers rows by itself."""
    next_number: str = ""
    """A query of the source for the number that comes next there."""
    does: Literal["make", "watch", "put", "clear"]
    """`watch`: from here on the source tells what is written to it."""

    @property
    def place(self) -> str:
        """The table that says which one is ours, and whose: quoted and qualified, as the others."""
        return self._at(f"{OWN_PREFIX}place")

    @property
    def rejected(self) -> str:
        """The table of rows that a policy left out, with the reason."""
        return self._at(f"{OWN_PREFIX}rejected")

    @property
    def account(self) -> str:
        """The table of rows read, written and rejected, by shard."""
        return self._at(f"{OWN_PREFIX}account")

    @property
    def notes(self) -> str:
        """The table of keys that a stream of changes has told of, where the source has one."""
        return self._at(f"{OWN_PREFIX}notes")

    @property
    def sessions(self) -> str:
        """The table of sessions that write, where the server has no names for them."""
        return self._at(f"{OWN_PREFIX}sessions")

    @property
    def stream(self) -> str:
        """The table that says how far that stream was read."""
        return self._at(f"{OWN_PREFIX}stream")

    @property
    def staged_name(self) -> str:
        """The bare name of the table until the swap."""
        # On MariaDB a name has 64 characters, whatever the table is called.
        return self.name if self.engine == "postgresql" else f"{self.helpers}_new"

    @property
    def staged(self) -> str:
        """The table until the swap."""
        return self._at(self.name) if self.engine == "postgresql" else backticked(self.staged_name)

    def _at(self, name: str) -> str:
        if self.engine == "mariadb":
            return backticked(f"{self.helpers}_{name.removeprefix(OWN_PREFIX)}")
        return f"{quote(self.helpers)}.{quote(name)}"

    @property
    def full_name(self) -> str:
        """What people call it from the swap on."""
        return f"{self.schema_name}.{self.name}" if self.schema_name else self.name

    @property
    def target(self) -> str:
        """The same, quoted and, where there are schemas, qualified."""
        if self.engine == "mariadb":
            return backticked(self.name)
        return f"{quote(self.schema_name)}.{quote(self.name)}"


ZERO: Final = "the character U+0000"
"""A reason for which PostgreSQL holds no such text: not as a value, nor as the key in a note."""


POSITION: Final = f"{OWN_PREFIX}position"
"""What gives the column of an element's place in its array, from 0: MongoDB counts it."""
NOTE: Final = "_changeover_note"
"""Of a table of notes: the number of a note."""


class Misfit(Record):
    """A reason for which a value cannot be held."""

    reason: str
    when: str
    """SQL of the source, true for such a value."""


class TransferColumn(Record):
    """A column of a table, and what the source makes its values of."""

    name: str
    type: str
    nullable: bool
    expression: str
    """In the names of the table; of documents the path of a field."""
    source_type: str
    """As the source calls it."""
    text: str
    """SQL of the source over what the expression gives: what is sent for it, or NULL."""
    form: Literal["plain", "text", "bytes"] = "plain"
    """What is sent: what has nothing to escape, a text, or bytes. Who takes it escapes: servers may take very long."""
    misfits: tuple[Misfit, ...] = ()
    unfit: Literal["fail", "reject", "null", "string", "tag"] = "fail"
    nulls: Literal["null", "missing", "both"] = "null"
    """Which of the two NULL stands for, where documents are read."""


class RowTransfer(_Walk):
    """Copy rows of a table into a table of another database, in key ranges.

    A range is written in one transaction with its account and its position there, so that it is written once; then the
    cursor commits. Killed in between, the position tells that the range is done.
    """

    kind: Literal["row_transfer"] = "row_transfer"
    columns: tuple[TransferColumn, ...]
    target_key: tuple[str, ...]
    """What the columns of the key are called in the new table."""
    of: Literal["table", "collection"] = "table"
    """What is read: documents are walked along `_id`, and the filter is extended JSON."""
    omit: tuple[tuple[str, ...], ...] = ()
    """Paths of fields that are not read, of documents."""
    unnest: tuple[str, ...] = ()
    """The path of the array whose elements become the rows, of documents; empty: the documents do."""
    uuid: str = ""
    """By which the server knows the collection, whatever it is called."""
    into: Relation


def key_columns(action: RowTransfer) -> tuple[TransferColumn, ...]:
    """Return the columns of the key of the new table, in the order in which it has them."""
    return tuple(one for one in action.columns if one.name in action.target_key)


def noted_columns(action: RowTransfer) -> tuple[TransferColumn, ...]:
    """Return those of them that a note tells: of a document that was written, not which of its elements were."""
    return tuple(one for one in key_columns(action) if one.expression != POSITION)


Transfer = DocumentTransfer | RowTransfer
"""Either of the two."""
