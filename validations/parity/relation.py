"""A table as it is compared: its columns, and the key that names its rows."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column, or an expression that stands for one."""

    name: str
    sql: str
    """How a statement over the table, under the alias `t`, reads it."""
    type: str
    """The type for casts; of a domain the type below it."""
    kind: str
    """Name of the type without length and scale, as the engine's catalogue has it."""
    text: str
    """SQL for the exact text of the value, null for null."""
    binary: str | None
    """SQL for the exact bytes of the value, alike in all databases of the engine; None: only the text is."""
    generated: bool = False
    fraction: int = 0
    """Digits behind the point of a decimal of MariaDB."""


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table, a view or anything that can stand after FROM."""

    place: str
    """`database.schema.table`, for people."""
    source: str
    """For FROM, quoted."""
    columns: tuple[Column, ...]
    keys: tuple[tuple[str, ...], ...] = ()
    """Columns of its unique keys without nulls, the primary key first."""
    version: str | None = None
    """SQL that changes whenever a row is written; None: only the values can tell."""
    touched: tuple[str, ...] = ()
    """Columns that the server itself writes whenever a row is updated without them."""
    notes: tuple[str, ...] = field(default=())

    def column(self, name: str) -> Column | None:
        """Return a column by its name."""
        return next((one for one in self.columns if one.name == name), None)
