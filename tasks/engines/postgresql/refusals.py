"""Why a server did not let us in: the words of libpq turned into errors with a remedy.

libpq gives no SQLSTATE for a connection that was never made, so its words are all there is. A server that
speaks another language than English, or says something new, gets the general answer with its own words.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import psycopg

from tasks.engines.postgresql.address import redact
from tasks.engines.unreachable import TooManyConnectionsError, UnreachableError
from tasks.model.errors import ChangeoverError, PreflightError


@dataclass(frozen=True, kw_only=True)
class _Reason:
    words: str
    what: str
    hint: str
    kind: type[ChangeoverError] = PreflightError


STANDBY: Final = _Reason(
    words=r"session is read-only|server is in hot standby",
    what="The server is a standby, or takes no writes",
    hint="Give the URL of the primary.",
)
POOLER: Final = _Reason(
    words=r"unsupported startup parameter|pgbouncer",
    what="There is a connection pooler between Changeover and the server",
    hint="Give the URL of the server itself, not of PgBouncer: session settings, advisory locks and the "
    "ending of sessions do not pass through a pooler.",
)
# The first that matches wins: words that occur in several refusals stand further down.
_REASONS: Final = (
    _Reason(
        words=r"too many (clients|connections)|connection slots are reserved|no more connections allowed",
        what="The server has no free connection",
        hint="End idle sessions, or raise max_connections or the connection limit of role and database.",
        kind=TooManyConnectionsError,
    ),
    _Reason(
        words=r"password authentication failed|no password supplied|\w+ authentication failed|SASL",
        what="The server refused the user or the password",
        hint="Correct user and password in the URL, or the server's pg_hba.conf.",
    ),
    _Reason(
        words=r"pg_hba\.conf",
        what="The server allows no connection from here for this user and database",
        hint="Ask the administrator for an entry in pg_hba.conf, or add sslmode=require to the URL.",
    ),
    _Reason(
        words=r'database ".*" does not exist',
        what="The database does not exist",
        hint="Correct the name of the database at the end of the URL, or create it.",
    ),
    _Reason(
        words=r'role ".*" (does not exist|is not permitted to log in)',
        what="The user does not exist, or may not log in",
        hint="Correct the user in the URL, or create the role with LOGIN.",
    ),
    _Reason(
        words=r"permission denied for database",
        what="The user may not connect to this database",
        hint="Ask the administrator for GRANT CONNECT ON DATABASE.",
    ),
    STANDBY,
    POOLER,
    _Reason(
        words=r"\bSSL\b|\bTLS\b|certificate|sslmode",
        what="No encrypted connection could be made",
        hint="Make sslmode and sslrootcert in the URL agree with what the server offers.",
    ),
    _Reason(
        words=r"the database system is",
        what="The server is starting, stopping or recovering",
        hint="Wait until the server accepts connections, then run again.",
        kind=UnreachableError,
    ),
    _Reason(
        words=r"resolve host|translate host name|Name or service not known",
        what="The name of the server's host is not known",
        hint="Correct the host in the URL, or the name service.",
        kind=UnreachableError,
    ),
    _Reason(
        words=r"Connection refused|No such file or directory|No route to host|Network is unreachable",
        what="No server listens there",
        hint="Start the server, or correct host and port in the URL.",
        kind=UnreachableError,
    ),
    _Reason(
        words=r"timeout expired|timed out",
        what="The server did not answer in time",
        hint="Check host and port in the URL and the firewalls in between.",
        kind=UnreachableError,
    ),
    _Reason(
        words=r"closed the connection unexpectedly|Connection reset|terminating connection",
        what="The server closed the connection while it was being made",
        hint="Read the server's log, then run again.",
        kind=UnreachableError,
    ),
)


def refusal(error: psycopg.Error, place: str, secrets: Iterable[str] = ()) -> ChangeoverError:
    """Turn the error of a failed connection into ours.

    Its cause is a copy of the error without the connection's parameters, which hold the password.
    """
    message = redact(error)
    for secret in secrets:
        message = message.replace(secret, "***")
    for reason in _REASONS:
        if re.search(reason.words, message):
            ours = reason.kind(reason.what, where=place, hint=reason.hint)
            break
    else:
        first = message.splitlines()[0] if message else type(error).__name__
        ours = PreflightError(
            f"The connection could not be made: {first}",
            where=place,
            hint="Remove the cause that the server gives.",
        )
    ours.__cause__ = type(error)(message)
    return ours
