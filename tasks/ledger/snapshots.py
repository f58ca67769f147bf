"""Facts about the database as it was before a migration touched it."""

from typing import Any

from psycopg.types.json import Json

from tasks.ledger._session import Connection, Instant, Statement, all_rows, has_table, one_row, write
from tasks.model.base import Record

Payload = dict[str, Any]
"""JSON: numbers that are not integers belong in strings."""


class Remembered(Record):
    """Facts that a migration left when it was contracted."""

    migration: str
    at: Instant
    payload: Payload


_SAVE = Statement(
    postgresql="""
        insert into changeover.snapshots as s (migration, name, payload) values (%(id)s, %(name)s, %(payload)s)
            on conflict (migration, name) do update
           set payload = excluded.payload, at = clock_timestamp() where %(replace)s
        """,
    mysql=(
        """
        insert into changeover.snapshots (migration, name, payload) values (%(id)s, %(name)s, %(payload)s)
            on duplicate key update payload = if(%(replace)s, values(payload), payload),
                                    at = if(%(replace)s, sysdate(6), at)
        """,
    ),
)
_LOAD = Statement.same("select payload from changeover.snapshots where migration = %s and name = %s", "payload")

_OF_CONTRACTED = """
    select s.migration, s.at, s.payload from changeover.snapshots s
      join changeover.migrations m on m.id = s.migration
     where s.name = %s and m.state = 'contracted' order by s.at, s.migration
    """
_REMEMBERED = Statement(postgresql=_OF_CONTRACTED, mysql=(_OF_CONTRACTED,), json=("payload",))


def save_snapshot(conn: Connection, migration: str, name: str, payload: Payload, *, replace: bool = False) -> bool:
    """Keep facts under a name, and return True when they were kept.

    The first ones win: a run that resumes looks at a database that is changed already, and what it sees must
    not displace what was there before. They are forgotten when the migration is rolled back. `replace`
    overwrites them.
    """
    parameters = {"id": migration, "name": name, "payload": Json(payload), "replace": replace}
    return bool(write(conn, _SAVE, parameters))


def load_snapshot(conn: Connection, migration: str, name: str) -> Payload | None:
    """Return the facts kept under a name, or None."""
    row = one_row(conn, _LOAD, (migration, name))
    return None if row is None else dict(row["payload"])


def remembered(conn: Connection, name: str) -> tuple[Remembered, ...]:
    """Return the facts that contracted migrations left under a name, oldest first; none when there is no ledger."""
    if not has_table(conn, "snapshots"):
        return ()
    return tuple(Remembered.model_validate(row) for row in all_rows(conn, _REMEMBERED, (name,)))
