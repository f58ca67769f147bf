"""Values that have to fit, as a plan writes them down."""

from tasks.model.base import Record


class Conversion(Record):
    """Values that a new column has to be able to hold, looked at before anything is done."""

    name: str
    table: str
    """`schema.name`, unquoted."""
    relation: str
    """The same, quoted."""
    alias: str
    """The bare name of the table, with which expressions may qualify columns."""
    key: tuple[str, ...]
    sources: tuple[str, ...]
    """Columns that the expression reads."""
    expression: str
    type: str
