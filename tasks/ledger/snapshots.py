"""Facts about the database as it was before a migration touched it."""

from typing import Any

from psycopg.types.json import Json

from tasks.ledger._session import Connection, one_row, write

Payload = dict[str, Any]
"""JSON: numbers that are not integers belong in strings."""


def save_snapshot(conn: Connection, migration: str, name: str, payload: Payload, *, replace: bool = False) -> bool:
    """Keep facts under a name, and return True when they were kept.

    The first ones win: a run that resumes looks at a database that is changed already, and what it sees must
    not displace what was there before. They are forgotten when the migration is rolled back. `replace`
    overwrites them.
    """
    saved = write(
        conn,
        """
        insert into changeover.snapshots as s (migration, name, payload) values (%s, %s, %s)
            on conflict (migration, name) do update
           set payload = excluded.payload, at = clock_timestamp() where %s
        """,
        (migration, name, Json(payload), replace),
    )
    return bool(saved)


def load_snapshot(conn: Connection, migration: str, name: str) -> Payload | None:
    """Return the facts kept under a name, or None."""
    row = one_row(
        conn,
        "select payload from changeover.snapshots where migration = %s and name = %s",
        (migration, name),
    )
    return None if row is None else dict(row["payload"])
