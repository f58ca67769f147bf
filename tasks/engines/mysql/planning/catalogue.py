"""Questions to the catalogue of MariaDB that a step is done by, and the lock that its DDL takes."""

from tasks.engines.mysql.names import quoted
from tasks.model.steps import Lock, LockMode


def has_table(name: str) -> str:
    """Return a query that gives a row if the database has a table of this name."""
    return f"select 1 from information_schema.tables where table_schema = database() and table_name = {quoted(name)}"


def has_trigger(name: str) -> str:
    """Return a query that gives a row if the database has a trigger of this name.

    It says of which database the table is: by that of the trigger, the server would look at each table of all of them.
    """
    return (
        "select 1 from information_schema.triggers"
        f" where event_object_schema = database() and trigger_name = {quoted(name)}"
    )


def exclusive(full: str) -> tuple[Lock, ...]:
    """Return the lock of a statement beside which nobody uses the table."""
    return (Lock(table=full, mode=LockMode.ACCESS_EXCLUSIVE),)
