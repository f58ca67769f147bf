"""Connections to PostgreSQL with pinned settings, and what a connection must be to be used."""

from collections.abc import Mapping
from typing import Any, Final, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from tasks.engines.postgresql.address import parameters, redact, where
from tasks.engines.postgresql.refusals import POOLER, refusal
from tasks.model.errors import ChangeoverError, PreflightError

OLDEST: Final = 15
NEWEST: Final = 18
_NAME_LIMIT: Final = 63  # bytes of application_name that the server keeps

# The URL's own parameters win over these.
_TRANSPORT: Final = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_SETTINGS: Final = {
    # Values become text in our sessions, and the same value has to become the same text in all of them.
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    # Batches rely on seeing what others committed before each statement.
    "default_transaction_isolation": "read committed",
    # A row that a policy hides would be missed in silence: an error is better.
    "row_security": "off",
    # Queries of a catalogue are estimated to be dear, and read a few rows: compiling each takes seconds of processor.
    "jit": "off",
    # A client that hangs must not hold its locks for long.
    "idle_in_transaction_session_timeout": "60s",
    # The guard's session waits for as long as a run lasts.
    "idle_session_timeout": "0",
}
# A snapshot, or a build of an index, is one transaction of hours; whatever blocks others has limits of its own.
_SINCE_17: Final = {"transaction_timeout": "0"}
# A query whose client has died ends within a second, and does not race the run that takes over.
_WHERE_SUPPORTED: Final = {"client_connection_check_interval": "1s"}


def connect(
    url: str,
    *,
    application_name: str,
    lock_timeout_ms: int | None = None,
    statement_timeout_ms: int | None = None,
    autocommit: bool = True,
    search_path: str | None = None,
    read_only: bool = False,
) -> psycopg.Connection[TupleRow]:
    """Connect directly to a server, with the settings pinned that results and locks depend on.

    `url` may begin with postgresql:// or postgresql+psycopg://. A timeout of None leaves what the server
    gives to this role, 0 means none. `application_name` has at most 63 printable ASCII characters, because
    sessions are found by it again (ValueError). Statements are never prepared.

    Raises ProfileError for a URL that cannot be read, UnreachableError, TooManyConnectionsError, and
    PreflightError for every other refusal, also by a pooler, whose shared sessions are left untouched.
    """
    if not application_name.isascii() or not application_name.isprintable():
        raise ValueError("application_name has to be printable ASCII")
    if not 0 < len(application_name) <= _NAME_LIMIT:
        raise ValueError(f"application_name has to have 1 to {_NAME_LIMIT} characters")
    settings = dict(_SETTINGS)
    if lock_timeout_ms is not None:
        settings["lock_timeout"] = f"{lock_timeout_ms}ms"
    if statement_timeout_ms is not None:
        settings["statement_timeout"] = f"{statement_timeout_ms}ms"
    if search_path is not None:
        settings["search_path"] = search_path
    if read_only:
        settings["default_transaction_read_only"] = "on"
    conn = _open(parameters(url), application_name, where(url))
    try:
        _pin(conn, settings)
        conn.autocommit = autocommit
    except BaseException:
        conn.close()
        raise
    return conn


def require_direct(conn: psycopg.Connection[Any]) -> None:
    """Refuse a connection that goes through a pooler such as PgBouncer; raises PreflightError."""
    # A pooler makes up the process id that it tells its client.
    if _ask(conn, "select pg_backend_pid()") != conn.info.backend_pid:
        raise _through_pooler(conn)


def require_primary(conn: psycopg.Connection[Any]) -> None:
    """Refuse a standby; raises PreflightError."""
    if _ask(conn, "select pg_is_in_recovery()"):
        raise PreflightError("The server is a standby", where=where(conn), hint="Give the URL of the primary.")


def require_writable(conn: psycopg.Connection[Any]) -> None:
    """Refuse a standby, and a database whose transactions are read-only; raises PreflightError.

    What counts is what server, database, role and URL ask for, not whether this session was opened
    `read_only`.
    """
    require_primary(conn)
    if _ask(conn, _READ_ONLY_BY_DEFAULT):
        raise PreflightError(
            "Transactions are read-only here: default_transaction_read_only is on",
            where=where(conn),
            hint="Give the URL of a database and a role that may write, or ask the administrator to turn "
            "default_transaction_read_only off.",
        )


def require_version(conn: psycopg.Connection[Any]) -> int:
    """Give the major version of the server; raises PreflightError if it is not one that we know."""
    return check_version(conn.info.server_version, where(conn))


def check_version(number: int, place: str) -> int:
    """Give the major version of a `server_version_num`; raises PreflightError outside 15 to 18."""
    major = number // 10000
    if not OLDEST <= major <= NEWEST:
        raise PreflightError(
            f"PostgreSQL {major} is not supported, only {OLDEST} to {NEWEST}",
            where=place,
            hint=f"Upgrade the server to PostgreSQL {OLDEST} or later."
            if major < OLDEST
            else f"Use a version of Changeover that knows PostgreSQL {major}.",
        )
    return major


# The value a session begins with, whatever it was set to since.
_READ_ONLY_BY_DEFAULT: Final = """
    select reset_val = 'on'
      from pg_catalog.pg_settings
     where name = 'default_transaction_read_only'
"""
# Behind a pooler the server's session belongs to others too: nothing is set then, and no row comes back.
_PIN: Final = """
    select pg_catalog.set_config(name, value, false)
      from unnest(%s::text[], %s::text[]) as setting (name, value)
     where pg_catalog.pg_backend_pid() = %s
"""


def _open(asked: Mapping[str, str], application_name: str, place: str) -> psycopg.Connection[TupleRow]:
    asked_for = {**_TRANSPORT, **asked, "application_name": application_name, "client_encoding": "UTF8"}
    try:
        return psycopg.connect(
            make_conninfo(**asked_for), autocommit=True, prepare_threshold=None, row_factory=tuple_row
        )
    except psycopg.Error as error:
        failed = refusal(error, place, _secrets(asked))
    # Raised outside of the handler: libpq's own error carries the password, and would hang on to ours.
    raise failed


def _pin(conn: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    """Set everything in one round trip; the connection has to be in autocommit, or a rollback undoes it."""
    if conn.info.server_version >= 170000:
        settings = {**settings, **_SINCE_17}
    try:
        try:
            pinned = _set(conn, {**settings, **_WHERE_SUPPORTED})
        except psycopg.errors.InvalidParameterValue:
            pinned = _set(conn, settings)
    except psycopg.OperationalError as error:
        failed: ChangeoverError = refusal(error, where(conn))
    except psycopg.Error as error:
        failed = PreflightError(
            f"The settings of the session were refused: {redact(error.diag.message_primary)}",
            where=where(conn),
            hint="Correct the search_path of the profile, or the timeouts.",
        )
    else:
        if pinned:
            return
        failed = _through_pooler(conn)
    raise failed


def _set(conn: psycopg.Connection[Any], settings: Mapping[str, str]) -> bool:
    names, values = list(settings), list(settings.values())
    return conn.execute(_PIN, [names, values, conn.info.backend_pid]).rowcount > 0


def _ask(conn: psycopg.Connection[Any], question: LiteralString) -> Any:
    was_idle = conn.info.transaction_status is TransactionStatus.IDLE
    row = conn.cursor(row_factory=tuple_row).execute(question).fetchone()
    if was_idle and not conn.autocommit:
        conn.rollback()
    return row[0] if row else None


def _through_pooler(conn: psycopg.Connection[Any]) -> PreflightError:
    return PreflightError(POOLER.what, where=where(conn), hint=POOLER.hint)


def _secrets(asked: Mapping[str, str]) -> list[str]:
    """Give what must not be shown, unless a name that is shown anyway says the same."""
    shown = {asked.get("user"), asked.get("dbname"), asked.get("host")}
    hidden = (asked.get(key, "") for key in ("password", "sslpassword", "oauth_client_secret"))
    return [secret for secret in hidden if len(secret) > 3 and secret not in shown]
