"""What a shadow table on MariaDB would lose, and so refuses."""

from tasks.model.catalogue import Table
from tasks.model.errors import SpecError


def refuse(table: Table) -> None:
    """Raise SpecError for a table that cannot be exchanged with all that hangs on it."""
    options = dict(option.partition("=")[::2] for option in table.options)
    keys = [c for c in table.constraints if c.kind == "foreign key"]
    for found, what, hint in (
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
        (
            bool(keys),
            f"its foreign key {keys[0].name if keys else ''} points to the new table of nobody",
            "Drop the foreign key for the migration, and add it again afterwards.",
        ),
        (
            bool(table.inbound),
            f"the foreign key {table.inbound[0].name if table.inbound else ''} would go on pointing to the old table",
            "Drop the foreign key for the migration, and add it again afterwards.",
        ),
        (
            bool(table.triggers),
            f"its trigger {table.triggers[0].name if table.triggers else ''} would stay with the old table",
            "Drop the trigger for the migration, and make it again on the new table.",
        ),
    ):
        if found:
            raise SpecError(f"{table.full_name} cannot be made anew: {what}", where=table.full_name, hint=hint)
