"""Create the ledger in a database, and bring an older one forward.

The files of `sql/`, and of `sql/mysql/`, are the versions of the schema, in order: `0001_*.sql` makes version 1 and so
on. A file that was released is never edited; a change is a new file. There is no way back, and none is needed: rows of
an older version stay valid in a newer one.
"""

import re
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import code_of
from tasks.ledger import audit
from tasks.ledger._session import (
    Connection,
    Statement,
    atomic,
    database_of,
    has_table,
    lock_until_commit,
    one_row,
)
from tasks.model.errors import PreflightError, StateError, TransientError
from tasks.model.names import quote

_SQL = Path(__file__).parent / "sql"
_LOCK = "install"
_TAKEN = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateFunction,
)
_FOUNDATION = """
create schema if not exists changeover;
create table if not exists changeover.installation (
    only_one boolean primary key default true check (only_one),
    id text not null,
    version integer not null,
    created_at timestamptz not null default clock_timestamp(),
    upgraded_at timestamptz not null default clock_timestamp()
);
"""


@cache
def versions(folder: Path = _SQL) -> dict[int, Path]:
    """Return the file that makes each version of the schema, in order."""
    found = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return {int(re.split("_", path.name)[0]): path for path in found}


def is_installed(conn: Connection) -> bool:
    """Return True when the ledger is there, in the version of this program."""
    return _version(conn) == _newest(conn)


def _newest(conn: Connection) -> int:
    return max(versions(_SQL / "mysql") if isinstance(conn, MariaSession) else versions())


def installation_id(conn: Connection) -> str | None:
    """Return the random name of this very ledger, or None without one; a ledger made anew has another."""
    if not has_table(conn, "installation"):
        return None
    row = one_row(conn, "select id from changeover.installation")
    return None if row is None else str(row["id"])


def install(conn: Connection, *, actor: str = "changeover", version: int | None = None) -> None:
    """Create the ledger, or upgrade it to `version` (the newest by default); do nothing when it is there.

    Safe to call from many processes at once: an advisory lock makes one of them do it. Ends with an audit
    record, hence with the lock of the audit log. Raises StateError when the ledger was made by a newer
    program, PreflightError when the role may not create it or the schema belongs to something else.
    """
    wanted = _newest(conn) if version is None else version
    if _version(conn) == wanted:
        return
    if isinstance(conn, MariaSession):
        _install_on_maria(conn, actor, wanted)
        return
    try:
        with atomic(conn):
            _install(conn, actor, wanted)
    except psycopg.errors.InsufficientPrivilege as error:
        raise PreflightError(
            "the role may not create or upgrade the ledger",
            where=f"schema changeover of database {conn.info.dbname}",
            hint=f"Grant it: grant create on database {quote(conn.info.dbname)} to {quote(conn.info.user)}",
        ) from error
    except _TAKEN as error:
        raise PreflightError(
            "the schema holds objects of the same names that are not the ledger's",
            where=f"schema changeover of database {conn.info.dbname}",
            hint="Rename that schema; Changeover keeps its records in a schema of this name.",
        ) from error


def _install_on_maria(conn: MariaSession, actor: str, wanted: int) -> None:
    """Create what is missing: there, every statement commits by itself, and may be run again."""
    row = conn.execute("select get_lock(%s, 10)", (f"changeover.install.{conn.database}"[:64],)).fetchone()
    if row is None or row[0] != 1:
        raise TransientError("somebody else installs the ledger", where=conn.place, hint="Run again.")
    try:
        present = _version(conn)
        _refuse_newer(conn, present, wanted)
        for version, path in versions(_SQL / "mysql").items():
            if present < version <= wanted:
                for statement in path.read_text(encoding="utf-8").split(";\n"):
                    if statement.strip():
                        conn.execute(statement)
        with conn.transaction():
            if _version(conn) != wanted:
                _record(conn, actor, present, wanted)
    except driver_error() as error:
        if code_of(error) not in (1044, 1142, 1227, 1370, 1419):
            raise
        raise PreflightError(
            "the user may not create the ledger",
            where=conn.place,
            hint="Grant create, alter, drop, index, trigger, select, insert, update and delete on this database.",
        ) from None
    finally:
        conn.execute("do release_lock(%s)", (f"changeover.install.{conn.database}"[:64],))


def _refuse_newer(conn: Connection, present: int, wanted: int) -> None:
    if present > wanted:
        raise StateError(
            f"the ledger has version {present}, newer than the {wanted} of this program",
            where=f"schema changeover of database {database_of(conn)}",
            hint="Upgrade Changeover on this machine.",
        )


def _install(conn: psycopg.Connection[Any], actor: str, wanted: int) -> None:
    lock_until_commit(conn, _LOCK)
    present = _version(conn)
    _refuse_newer(conn, present, wanted)
    if present == wanted:
        return
    conn.execute(_FOUNDATION)
    for version, path in versions().items():
        if present < version <= wanted:
            conn.execute(path.read_bytes())
    _record(conn, actor, present, wanted)


_INSTALLED = Statement(
    postgresql="""
        insert into changeover.installation as i (id, version) values (%s, %s)
            on conflict (only_one) do update set version = excluded.version, upgraded_at = clock_timestamp()
        returning i.id
        """,
    mysql=(
        """
        insert into changeover.installation (id, version) values (%s, %s)
            on duplicate key update version = values(version), upgraded_at = sysdate(6)
        """,
        # The parameters again: every part gets all of them.
        "select id from changeover.installation where %s <> '' and %s > 0",
    ),
)


def _record(conn: Connection, actor: str, present: int, version: int) -> None:
    row = one_row(conn, _INSTALLED, (uuid.uuid4().hex, version))
    if row and has_table(conn, "audit"):
        action = "upgrade ledger" if present else "install ledger"
        detail: audit.Detail = {"installation": str(row["id"]), "from": present, "to": version}
        audit.append(conn, actor, action, database_of(conn), "done", detail=detail)


def _version(conn: Connection) -> int:
    if not has_table(conn, "installation"):
        return 0
    row = one_row(conn, "select version from changeover.installation")
    return 0 if row is None else int(row["version"])
