"""What the role that runs migrations may do in the ledger, where another role owns it."""

from typing import Any

import psycopg
from psycopg import sql

from tasks.ledger._session import atomic

_KEPT = ("audit", "approvals", "gates", "rejections")
_CHANGED = ("migrations", "steps", "cursors", "controls", "snapshots", "versions")


def grant_writer(conn: psycopg.Connection[Any], role: str) -> None:
    """Let a role run migrations, without the means to change what was recorded.

    On the audit log, approvals, gates and rejections it may INSERT and SELECT, nothing else; only the owner,
    or a superuser, could disable their triggers. To be called by the owner of the ledger.
    """
    name = sql.Identifier(role)
    statements = (
        sql.SQL("grant usage on schema changeover to {}").format(name),
        sql.SQL("grant select on changeover.installation to {}").format(name),
        sql.SQL("grant select, insert on {} to {}").format(_tables(_KEPT), name),
        sql.SQL("grant select, insert, update, delete on {} to {}").format(_tables(_CHANGED), name),
    )
    with atomic(conn):
        for statement in statements:
            conn.execute(statement)


def _tables(names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("changeover", name) for name in names)
