"""rebuild_table: the same rows in a table that is made anew, by way of a shadow table."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, Operation
from tasks.model.operations.conversions import Expressions
from tasks.model.operations.partition_by import PartitionBy
from tasks.model.operations.text import Text

Names = Annotated[tuple[Identifier, ...], Field(min_length=1)]


class RebuildTable(Operation):
    """Make a table anew beside the old one, and put it in its place.

    Without anything else the new table is the same, without the dead space of the old one, its rows in the order of
    the key that is walked along. Only with `strategy: shadow_table`.
    """

    kind: ClassVar[str] = "rebuild_table"

    table: TableName
    columns: Names | None = None
    """All columns of the new table, in the order that they shall have."""
    primary_key: Names | None = None
    """The columns of another primary key. It keeps the name of the old one."""
    order_by: Names | None = None
    """Store the rows in the order of these columns: NOT NULL, and, before the key, the first of an index. On PostgreSQL
    alone."""
    partition_by: PartitionBy | None = None
    """Divide the rows into partitions. On PostgreSQL alone."""
    unpartition: StrictBool = False
    """Make one table of a partitioned one. On PostgreSQL alone."""
    options: Text | None = None
    """On MariaDB alone, what follows the name in ALTER TABLE: `convert to character set utf8mb4`."""
    definition: Text | None = None
    """The whole CREATE TABLE of the new table, under the name of the old one.

    Columns are carried over by their names. What becomes of the others is never guessed."""
    renamed: Annotated[Mapping[Identifier, Identifier], Field(min_length=1)] | None = None
    """With `options` or `definition`: old names of columns, and their new ones."""
    dropped: Names | None = None
    """With `options` or `definition`: columns that the new table has no more."""
    up: Expressions | None = None
    """With `options` or `definition`: columns of the new table, and their values computed from an old row."""
    down: Expressions | None = None
    """With `options` or `definition`: columns of the old table, and their values computed from a new row."""
    lossy: StrictBool = False
    """`down` need not bring the old values back exactly."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table."""
        return (self.table,)

    def settles(self) -> Iterator[str]:
        """Decide how the table is made."""
        yield f"how {self.table!r} is made anew"

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a column that is listed twice, a definition beside other wishes, partitions that both come and go."""
        for field in ("columns", "primary_key", "options", "order_by", "partition_by") if self.definition else ():
            if getattr(self, field) is not None:
                yield Contradiction(at=(field,), reason="the definition says that already", hint=f"Remove {field}.")
        for field in () if self.definition or self.options else ("renamed", "dropped", "up", "down", "lossy"):
            if getattr(self, field):
                yield Contradiction(
                    at=(field,), reason="it belongs to options or a definition", hint=f"Remove {field}, or add one."
                )
        for field in ("columns", "primary_key", "order_by", "dropped"):
            listed = getattr(self, field) or ()
            twice = sorted({name for name in listed if listed.count(name) > 1})
            if twice:
                yield Contradiction(at=(field,), reason=f"{twice[0]!r} is listed twice", hint="Remove one of the two.")
        if self.partition_by is not None and self.unpartition:
            yield Contradiction(at=("unpartition",), reason="there is partition_by, too", hint="Remove one of the two.")
