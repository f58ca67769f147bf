"""How a gate connects: read-only, and so that it sees every row or fails."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

import psycopg

from tasks.engines.postgresql.connect import connect
from tasks.model.names import quote

# A gate reads whole tables, so its statements have no limit. A lock that cannot be had in ten minutes means
# that somebody holds the table against everyone, and waiting on would only hide it.
_LOCK_TIMEOUT_MS: Final = 600_000
_NAME_LIMIT: Final = 63


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where a gate connects to, and what unqualified names mean there."""

    url: str = field(repr=False)
    migration: str
    search_path: str

    @property
    def application_name(self) -> str:
        """`changeover <migration> gate`, short enough for the server to keep."""
        end = " gate"
        return f"changeover {self.migration}"[: _NAME_LIMIT - len(end)] + end

    def searching(self, schema: str) -> "Session":
        """Return a session that looks into this schema first."""
        return replace(self, search_path=f"{quote(schema)}, {self.search_path}")

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
