"""PyMySQL, loaded when it is first asked for: with what it brings along it takes 13 MB, also of PostgreSQL's runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymysql.err import MySQLError


def driver_error() -> "type[MySQLError]":
    """Return the class of all errors of PyMySQL, for `except` and `isinstance`."""
    from pymysql.err import MySQLError  # noqa: PLC0415 - loads the driver

    return MySQLError
