"""Steps that copy rows of a table into a collection of another database."""

from typing import Literal

from tasks.model.base import Record


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


class TransferField(Record):
    """A field of a document, and what gives its value."""

    path: tuple[str, ...]
    holds: Literal[
        "int32", "int64", "decimal", "double", "boolean", "string", "binary", "uuid", "date", "json", "constant"
    ]
    expression: str = ""
    """In the names of the table; empty for a constant."""
    source_type: str = ""
    """As PostgreSQL calls it."""
    constant: str | bool | int | float | None = None
    unfit: Literal["fail", "reject", "string", "tag"] = "fail"
    nulls: Literal["keep", "missing"] = "keep"


class Transfer(Record):
    """Copy rows of a table into a collection of another database, in key ranges.

    A batch is written, majority-acknowledged, before its cursor commits. A batch that is repeated replaces its
    documents by `_id`, so a kill in between only repeats it.
    """

    kind: Literal["transfer"] = "transfer"
    table: str
    """Quoted and qualified."""
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    alias: str
    """The bare name of the table, with which expressions may qualify columns."""
    where: str = ""
    fields: tuple[TransferField, ...]
    """`_id` first."""
    given_id: bool = False
    """The author has chosen `_id`: that it is unique is asked of the rows."""
    into: Collection
    rejected: str
    """The table of rows that a policy left out, with the reason; quoted and qualified."""
    account: str
    """The table of rows read, written and rejected, by shard; quoted and qualified."""
    notes: str = ""
    """The table of keys of rows that were written since the copy began; quoted and qualified. Empty: there is none."""
