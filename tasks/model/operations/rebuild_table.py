"""rebuild_table: the same rows in a table that is made anew, by way of a shadow table."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, Operation
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
    options: Text | None = None
    """On MariaDB alone, as in ALTER TABLE: `convert to character set utf8mb4`, `partition by hash (id)`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table."""
        return (self.table,)

    def settles(self) -> Iterator[str]:
        """Decide how the table is made."""
        yield f"how {self.table!r} is made anew"

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a column that is listed twice."""
        for field in ("columns", "primary_key"):
            listed = getattr(self, field) or ()
            twice = sorted({name for name in listed if listed.count(name) > 1})
            if twice:
                yield Contradiction(at=(field,), reason=f"{twice[0]!r} is listed twice", hint="Remove one of the two.")
