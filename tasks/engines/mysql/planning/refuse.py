"""What a migration on MariaDB would lose, and so refuses."""

import re
from collections.abc import Collection, Iterable

from tasks.engines.mysql.preflight import require_sight
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError


def refuse(table: Table) -> None:
    """Raise SpecError for a table that cannot be exchanged with all that hangs on it."""
    refuse_kind(table)
    keys = [c for c in table.constraints if c.kind == "foreign key"]
    _refuse(
        table,
        "made anew",
        (
            (
                bool(keys),
                f"its foreign key {keys[0].name if keys else ''} points to the new table of nobody",
                "Drop the foreign key for the migration, and add it again afterwards.",
            ),
            (
                bool(table.inbound),
                f"the foreign key {table.inbound[0].name if table.inbound else ''} would go on pointing to the old one",
                "Drop the foreign key for the migration, and add it again afterwards.",
            ),
            (
                bool(table.triggers),
                f"its trigger {table.triggers[0].name if table.triggers else ''} would stay with the old table",
                "Drop the trigger for the migration, and make it again on the new table.",
            ),
        ),
    )


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


_MENTIONS = """
    select concat('the view ', table_name), view_definition from information_schema.views
     where table_schema = database()
    union all select concat('the trigger ', trigger_name), concat(event_object_table, ' ', action_statement)
      from information_schema.triggers where trigger_schema = database()
    union all select concat('the ', lower(routine_type), ' ', routine_name), routine_definition
      from information_schema.routines where routine_schema = database()
    union all select concat('the event ', event_name), event_definition
      from information_schema.events where event_schema = database()
"""


def refuse_mentioned(conn: MariaSession, table: Table, columns: Collection[str]) -> None:
    """Raise SpecError when something in the database names the table, and a column that it will not have any more.

    Its statements would fail from then on, and nobody would have been told. Raises SpecError, too, for what does not
    show what it says, and PreflightError for a user who would not see all.
    """
    if not columns:
        return
    require_sight(conn, table.full_name)
    for what, text in conn.execute(_MENTIONS).fetchall():
        if not text:
            raise SpecError(
                f"the server does not show to this user what {what} says: it may name {sorted(columns)[0]!r}",
                where=table.full_name,
                hint="Connect as the one who made it, or drop it for the migration, and make it again afterwards.",
            )
        if _names(text, table.name) and (found := [name for name in sorted(columns) if _names(text, name)]):
            raise SpecError(
                f"{what} names {found[0]!r} of {table.full_name}, and would fail without it",
                where=table.full_name,
                hint="Drop it for the migration, and make it again afterwards.",
            )


def _names(text: str | None, name: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text or "", re.IGNORECASE) is not None


def _refuse(table: Table, done: str, found: Iterable[tuple[bool, str, str]]) -> None:
    for so, what, hint in found:
        if so:
            raise SpecError(f"{table.full_name} cannot be {done}: {what}", where=table.full_name, hint=hint)
