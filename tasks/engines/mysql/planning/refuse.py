"""What a migration on MariaDB would lose, and so refuses."""

from collections.abc import Iterable

from tasks.model.catalogue import Table
from tasks.model.errors import SpecError


def refuse_kind(table: Table) -> None:
    """Raise SpecError for what is no plain table of InnoDB."""
    options = dict(option.partition("=")[::2] for option in table.options)
    found = (
        (table.kind == "view", "it is a view", "Name the table behind it."),
        (
            options.get("type") not in (None, "BASE TABLE"),
            f"it is a {str(options.get('type', '')).lower()}",
            "Use ALTER TABLE for it.",
        ),
        (
            options.get("engine", "").lower() != "innodb",
            f"its engine is {options.get('engine')}, which knows no transactions",
            "Change the engine to InnoDB first, in a maintenance window.",
        ),
    )
    _refuse(table, "changed", found)


def _refuse(table: Table, done: str, found: Iterable[tuple[bool, str, str]]) -> None:
    for so, what, hint in found:
        if so:
            raise SpecError(f"{table.full_name} cannot be {done}: {what}", where=table.full_name, hint=hint)
