"""What suites and probes of an author's ask of a database, whatever its engine."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from profiles.model import Probes
from tasks.model.probe import Reading
from validations.one_pass import one_pass_datasource
from validations.suite_sources import Reference

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource


class TooSlowError(Exception):
    """A probe was cut off at the limit of the profile."""


class DataSource(Protocol):
    """Where a gate connects to, read-only, and what unqualified names mean there."""

    @property
    def engine(self) -> str:
        """`postgresql` or `mariadb`: what a suite is told that asks for it."""

    def of_table(self, named: Reference) -> "DataSource":
        """Return a source in which the bare name of a table means this one. Raises SuiteError when it is missing."""

    def datasource(
        self, current: "EphemeralDataContext", errors: list[BaseException]
    ) -> "AbstractContextManager[SQLDatasource]":
        """Add a source for Great Expectations; every error of the database is appended to `errors`."""

    def probing(self, limits: Probes) -> AbstractContextManager[Callable[[str], Reading]]:
        """Open a connection on which queries are measured, one by one. Raises TooSlowError, and the driver's errors."""


@contextmanager
def one_pass(
    current: "EphemeralDataContext", dialect: str, connect: Callable[[], Any], errors: list[BaseException]
) -> "Iterator[SQLDatasource]":
    """Add a data source whose connections are ours, all of them closed at the end.

    Great Expectations never gets the URL: it shows passwords in the text of a data source, and looks for `$`
    in them. Of an error of the database it keeps nothing but the text.
    """
    from sqlalchemy import event  # noqa: PLC0415 - with Great Expectations, which takes seconds

    def remember(happened: Any) -> None:
        errors.append(happened.original_exception)

    one_pass_datasource()
    source = current.data_sources.add_changeover(
        "database", connection_string=f"{dialect}://gate@session/gate", kwargs={"creator": connect}
    )
    engine = source.get_engine()
    event.listen(engine, "handle_error", remember)
    try:
        yield source
    finally:
        engine.dispose()
