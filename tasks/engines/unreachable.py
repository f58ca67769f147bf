"""Errors of a connection that was never made, on any engine; within a run they may pass."""

from tasks.model.errors import Actor, PreflightError, TransientError


class UnreachableError(PreflightError):
    """The server could not be reached now; within a run, which it answered before, that may pass."""

    code = "UNREACHABLE"
    retryable = True
    actor = Actor.OPERATOR


class TooManyConnectionsError(TransientError):
    """The server, the database or the role has no free connection left."""

    code = "CONNECTIONS"
    actor = Actor.ADMINISTRATOR
