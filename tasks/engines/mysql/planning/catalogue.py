"""Questions to the catalogue of MariaDB that a step is done by, and the lock that its DDL takes."""

from tasks.engines.mysql.names import quoted
from tasks.model.steps import Lock, LockMode


def has_table(name: str) -> str:
    """Return a query that gives a row if the database has a table of this name."""
    return f"select 1 from information_schema.tables where table_schema = database() and table_name = {quoted(name)}"


def has_trigger(name: str) -> str:
    """Return a query that gives a row if the database has a trigger of this name."""
    return (
        f"select 1 from information_schema.triggers where trigger_schema = database() and trigger_name = {quoted(name)}"
    )


def exclusive(full: str) -> tuple[Lock, ...]:
    """Return the lock of a statement beside which nobody uses the table."""
    return (Lock(table=full, mode=LockMode.ACCESS_EXCLUSIVE),)
