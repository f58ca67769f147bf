"""Connections to MongoDB with what a copy depends on pinned, and what a server must be to be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pymongo
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from tasks.engines.mongodb.address import where
from tasks.engines.mongodb.errors import code_of, translated
from tasks.engines.unreachable import UnreachableError
from tasks.model.errors import PreflightError, ProfileError

Documents = Database[Any]
OLDEST: Final = 6
"""The first version that checks a collection's UUID within the command that drops or renames it."""
FIRST_ANSWER: Final = 12.0
"""Seconds to wait for a server at all: an election takes about ten."""
_SECONDS: Final = 20
"""The longest that one operation may take: a session of PostgreSQL waits for it with a transaction open, for 60."""


@contextmanager
def connected(url: str, *, name: str) -> Iterator[Documents]:
    """Open the database that a URL names, for as long as the context lasts.

    A write is acknowledged when a majority has it in the journal: what a cursor says is done survives an election.
    Reads see only that. Raises ProfileError for a URL that cannot be read, UnreachableError, PreflightError.
    """
    try:
        # Ours win over what the URL says.
        client: MongoClient[Any] = MongoClient(
            url,
            appname=name,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            readPreference="primary",
            retryWrites=True,
            timeoutMS=_SECONDS * 1000,
            serverSelectionTimeoutMS=10_000,
            connectTimeoutMS=10_000,
        )
    except (InvalidURI, ConfigurationError, ValueError, TypeError) as error:
        # None: the text may quote the URL.
        raise _unreadable(type(error).__name__) from None
    with client:
        try:
            database = client.get_default_database()
        except ConfigurationError:
            raise _unreadable("it names no database") from None
        yield database


def require_usable(database: Documents, url: str) -> None:
    """Refuse a server that does not answer, does not take writes, or is too old."""
    place = where(url)
    try:
        with pymongo.timeout(FIRST_ANSWER):
            hello = database.command("hello")
            version = tuple(database.client.server_info()["versionArray"])
    except OperationFailure as error:
        raise PreflightError(
            f"MongoDB refused the connection: {code_of(error)}",
            where=place,
            hint="Correct user, password and authSource in the URL.",
        ) from None
    except PyMongoError as error:
        raise UnreachableError(
            f"no server answers there: {type(error).__name__}",
            where=place,
            hint="Start the server, or correct hosts and port in the URL.",
        ) from None
    if version[0] < OLDEST:
        raise PreflightError(
            f"this is MongoDB {version[0]}.{version[1]}", where=place, hint=f"Use MongoDB {OLDEST}.0 or newer."
        )
    if not hello.get("isWritablePrimary"):
        raise PreflightError("this server takes no writes", where=place, hint="Name the whole replica set in the URL.")


@contextmanager
def in_our_words(url: str) -> Iterator[None]:
    """Turn an error of the driver into ours, without what it quotes."""
    try:
        yield
    except PyMongoError as error:
        raise translated(error, where(url)) from None


def _unreadable(why: str) -> ProfileError:
    return ProfileError(
        f"the URL of MongoDB cannot be read: {why}", hint="Write mongodb://user:password@host:27017/database."
    )
