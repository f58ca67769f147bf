"""How a gate connects to MariaDB: read-only, and so that a warning of the server is an error."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from profiles.model import Probes
from tasks.engines.mysql.address import in_database, parse
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.probe_queries import read_probe
from tasks.engines.mysql.session import connect
from tasks.engines.mysql.transient import OUT_OF_TIME, code_of
from tasks.model.probe import Reading
from validations.data_source import DataSource, TooSlowError, one_pass
from validations.suite_sources import Reference, SuiteError

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource

_LOCK_TIMEOUT_MS: Final = 600_000


@dataclass(frozen=True, kw_only=True)
class MariaSource:
    """A database of MariaDB, in which unqualified names are looked up."""

    url: str = field(repr=False)

    @property
    def engine(self) -> str:
        """`mariadb`."""
        return "mariadb"

    def of_table(self, named: Reference) -> "MariaSource":
        """Return a source in the database of a table. Raises SuiteError when the table is missing."""
        within = replace(self, url=in_database(self.url, named.schema)) if named.schema else self
        with connect(self.url, lock_timeout_ms=_LOCK_TIMEOUT_MS, read_only=True) as conn:
            found = conn.execute(
                "select 1 from information_schema.tables where table_schema = %s and table_name = %s",
                (parse(within.url).database, named.table),
            )
            if found.fetchone() is None:
                raise SuiteError("the table does not exist")
        return within

    def datasource(
        self, current: "EphemeralDataContext", errors: list[BaseException]
    ) -> "AbstractContextManager[SQLDatasource]":
        """Add a source for Great Expectations; every error of the database is appended to `errors`."""
        return one_pass(current, "mysql+pymysql", self._strict, errors)

    def _strict(self) -> Any:
        from pymysql.cursors import Cursor  # noqa: PLC0415 - loads the driver

        raw = connect(self.url, lock_timeout_ms=_LOCK_TIMEOUT_MS, read_only=True).raw

        class StrictCursor(Cursor):
            """Fails where the server warns: of a value that it has cut off, nobody can say that it is right."""

            def execute(self, query: str, args: Any = None) -> int:
                rows: int = super().execute(query, args)
                if self.warning_count:
                    found = raw.show_warnings()  # type: ignore[no-untyped-call]
                    if worse := [code for level, code, _ in found if level != "Note"]:
                        raise driver_error()(worse[0], "the server warns")
                return rows

        raw.cursorclass = StrictCursor
        return raw

    @contextmanager
    def probing(self, limits: Probes) -> Iterator[Callable[[str], Reading]]:
        """Open a connection on which queries are measured, one by one.

        Raises TooSlowError, StepError for a warning, and errors of PyMySQL.
        """
        with connect(self.url, lock_timeout_ms=_LOCK_TIMEOUT_MS, read_only=True) as conn:

            def read(query: str) -> Reading:
                try:
                    return read_probe(conn, query, limits)
                except driver_error() as error:
                    if code_of(error) == OUT_OF_TIME:
                        raise TooSlowError from None
                    raise

            yield read


if TYPE_CHECKING:
    _SOURCE: type[DataSource] = MariaSource
