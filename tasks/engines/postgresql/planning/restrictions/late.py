"""Constraints to come, noted until the new shape is known."""

from dataclasses import dataclass

from tasks.model.operations.create_table import TableForeignKeyReference


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A unique constraint or a primary key."""

    name: str
    columns: tuple[str, ...]
    """Of the new shape."""
    deferral: str = ""
    primary: bool = False
    drain: str = ""
    """A call that makes duplicates go away while the index is built."""


@dataclass(frozen=True, kw_only=True)
class NewForeignKey:
    """A foreign key, from columns of the new shape."""

    name: str
    columns: tuple[str, ...]
    reference: TableForeignKeyReference
    parent: str
    """Quoted and qualified."""
    deferral: str = ""
    archives: bool = False
    """Rows that it would refuse move elsewhere before it is validated."""
    where: str


def deferral(deferrable: bool, initially_deferred: bool) -> str:
    """Return what a constraint says about the time of its check."""
    if not deferrable:
        return ""
    return " deferrable initially deferred" if initially_deferred else " deferrable"
