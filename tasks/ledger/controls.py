"""What people ask of a running migration: to pause, to take smaller batches, to put off the swap."""

from psycopg.types.json import Jsonb

from tasks.ledger import audit
from tasks.ledger._session import Connection, Statement, atomic, one_row, write
from tasks.ledger.state import summary

Value = str | int | bool
_SET = Statement(
    postgresql="""
            insert into changeover.controls (migration, name, value, set_by) values (%s, %s, %s, %s)
                on conflict (migration, name) do update
               set value = excluded.value, set_by = excluded.set_by, set_at = clock_timestamp()
            """,
    mysql=(
        """
        insert into changeover.controls (migration, name, value, set_by) values (%s, %s, %s, %s)
            on duplicate key update value = values(value), set_by = values(set_by), set_at = sysdate(6)
        """,
    ),
)
_GET = Statement.same("select value from changeover.controls where migration = %s and name = %s", "value")


def set_control(conn: Connection, migration: str, name: str, value: Value, actor: str) -> None:
    """Set a control, which the run reads at its next batch. Audits.

    Raises StateError when the migration is unknown.
    """
    with atomic(conn):
        digest = summary(conn, migration).plan_digest
        write(conn, _SET, (migration, name, Jsonb(value), actor))
        audit.append(conn, actor, "set control", migration, "done", digest, {"control": name, "value": value})


def clear_control(conn: Connection, migration: str, name: str, actor: str) -> bool:
    """Take a control back; return False, and audit nothing, when it was not set."""
    with atomic(conn):
        digest = summary(conn, migration).plan_digest
        cleared = write(conn, "delete from changeover.controls where migration = %s and name = %s", (migration, name))
        if cleared:
            audit.append(conn, actor, "clear control", migration, "done", digest, {"control": name})
        return bool(cleared)


def control(conn: Connection, migration: str, name: str) -> Value | None:
    """Return the value of a control, or None when it is not set. Cheap: it is read at every batch."""
    row = one_row(conn, _GET, (migration, name))
    return None if row is None else row["value"]
