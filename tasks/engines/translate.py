"""Errors of whichever driver, in our words, wherever nobody has found better ones."""

from collections.abc import Iterator
from contextlib import contextmanager

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
