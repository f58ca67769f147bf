"""Errors of whichever driver, in our words, wherever nobody has found better ones."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.translate import translated as of_mysql
from tasks.engines.postgresql.translate import translated as of_postgresql


def driver_errors() -> tuple[type[psycopg.Error], type[Exception]]:
    """Return what drivers raise, for `except`."""
    return psycopg.Error, driver_error()


@contextmanager
def in_our_words(where: str) -> Iterator[None]:
    """Turn an error of a driver into TransientError or StepError, with a remedy and without values of rows."""
    try:
        yield
    except psycopg.Error as error:
        # None: details and contexts of PostgreSQL show values of rows, and Prefect logs whatever is chained.
        raise of_postgresql(error, where) from None
    except driver_error() as error:
        raise of_mysql(error, where) from None
    except _of_mongodb() as error:
        from tasks.engines.mongodb.errors import translated as of_mongodb  # noqa: PLC0415 - loads the driver

        raise of_mongodb(error, where) from None


def _of_mongodb() -> Any:
    """Return what PyMongo raises: nothing, as long as nobody has loaded it."""
    loaded = sys.modules.get("pymongo.errors")
    return loaded.PyMongoError if loaded is not None else ()
