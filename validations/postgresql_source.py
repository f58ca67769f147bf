"""How a gate connects to PostgreSQL: read-only, and so that it sees every row or fails."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg

from profiles.model import Probes
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.probe_queries import read_probe
from tasks.model.names import quote
from tasks.model.probe import Reading
from validations.data_source import DataSource, TooSlowError, one_pass
from validations.suite_sources import Reference, SuiteError

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource

# A gate reads whole tables, so its statements have no limit. A lock that cannot be had in ten minutes means
# that somebody holds the table against everyone, and waiting on would only hide it.
_LOCK_TIMEOUT_MS: Final = 600_000
_NAME_LIMIT: Final = 63


@dataclass(frozen=True, kw_only=True)
class PostgresSource:
    """Where a gate connects to, and what unqualified names mean there."""

    url: str = field(repr=False)
    migration: str
    search_path: str

    @property
    def application_name(self) -> str:
        """`changeover <migration> gate`, short enough for the server to keep."""
        end = " gate"
        return f"changeover {self.migration}"[: _NAME_LIMIT - len(end)] + end

    @property
    def engine(self) -> str:
        """`postgresql`."""
        return "postgresql"

    def of_table(self, named: Reference) -> "PostgresSource":
        """Return a session that looks into the schema of a table first.

        Raises SuiteError for a table that is missing, or hidden by one of pg_catalog.
        """
        relation = f"{quote(named.schema)}.{quote(named.table)}" if named.schema else quote(named.table)
        with self.connect() as connection:
            row = connection.execute(
                """
                select n.nspname
                from pg_catalog.pg_class c
                join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                where c.oid = pg_catalog.to_regclass(%s)
                """,
                (relation,),
            ).fetchone()
            hidden = connection.execute("select pg_catalog.to_regclass(%s)", (f"pg_catalog.{quote(named.table)}",))
            if row is None:
                raise SuiteError("the table does not exist")
            if hidden.fetchone() != (None,):
                raise SuiteError("the table has the name of one in pg_catalog, which hides it")
        return replace(self, search_path=f"{quote(row[0])}, {self.search_path}")

    def datasource(
        self, current: "EphemeralDataContext", errors: list[BaseException]
    ) -> "AbstractContextManager[SQLDatasource]":
        """Add a source for Great Expectations; every error of the database is appended to `errors`."""
        return one_pass(current, "postgresql+psycopg", partial(self.connect, autocommit=False), errors)

    @contextmanager
    def probing(self, limits: Probes) -> Iterator[Callable[[str], Reading]]:
        """Open a connection on which queries are measured, one by one. Raises TooSlowError, and psycopg.Error."""
        with self.connect() as connection:

            def read(query: str) -> Reading:
                try:
                    return read_probe(connection, query, limits, self.search_path)
                except psycopg.errors.QueryCanceled:
                    raise TooSlowError from None

            yield read

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """Open a connection; raises the errors of `tasks.engines.postgresql.connect`."""
        connection = connect(
            self.url,
            application_name=self.application_name,
            lock_timeout_ms=_LOCK_TIMEOUT_MS,
            statement_timeout_ms=0,
            search_path=self.search_path,
            read_only=True,
        )
        try:
            # With a policy in force a gate would pass on the rows that it can see: rather let it fail.
            connection.execute("set row_security = off")
            connection.autocommit = autocommit
        except BaseException:
            connection.close()
            raise
        return connection


if TYPE_CHECKING:
    _SOURCE: type[DataSource] = PostgresSource
