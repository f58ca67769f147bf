"""Rows of PostgreSQL, locked and written."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from profiles.model import Limits
from tasks.model.names import quote
from validations.parity.mending import SHORT, Texts, cannot_lock
from validations.parity.postgresql import Connection, look, session
from validations.parity.relation import Relation
from validations.parity.side import Key, Row
from validations.parity.terms import Terms


@dataclass(frozen=True, kw_only=True)
class PostgresMending:
    """A table, and the transaction that writes to it."""

    session: Connection
    relation: Relation
    terms: Terms
    key: Sequence[str]

    def beside(self, relation: Relation, terms: Terms, key: Sequence[str]) -> "PostgresMending":
        """Return another table of the same database, in the same transaction."""
        return PostgresMending(session=self.session, relation=relation, terms=terms, key=key)

    def locked(self, keys: Sequence[Key], how: Literal["update", "share"]) -> dict[Key, Row]:
        """Lock the rows of these keys that are there, and return them."""
        try:
            return look(self.session, self.relation, self.terms, keys, f"for {how} of t")
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.ReadOnlySqlTransaction,
            psycopg.errors.FeatureNotSupported,
            psycopg.errors.WrongObjectType,
        ) as error:
            if how == "update":
                raise
            raise cannot_lock(self.relation.place, type(error).__name__) from None

    def delete(self, key: Key) -> int:
        """Delete a row; return how many there were."""
        return self._done(f"delete from {self._table} as t where {self._where}", key)

    def insert(self, key: Key, texts: Texts) -> int:
        """Insert a row; 0: one that stands in its way has come meanwhile."""
        names = ", ".join(_plain(quote(name)) for name in (*self.key, *texts))
        places = ", ".join(["%s"] * (len(key) + len(texts)))
        return self._done(
            f"insert into {self._table} ({names}) overriding system value values ({places}) on conflict do nothing",
            [*key, *texts.values()],
        )

    def update(self, key: Key, texts: Texts) -> int:
        """Write columns of a row; return how many rows there were."""
        settings = ", ".join(f"{_plain(quote(name))} = %s" for name in texts)
        return self._done(f"update {self._table} as t set {settings} where {self._where}", [*texts.values(), *key])

    @property
    def _table(self) -> str:
        return _plain(self.relation.source)

    @property
    def _where(self) -> str:
        pairs = zip(self.terms.columns, self.terms.casts, strict=True)
        return " and ".join(f"{_plain(column)} = %s::{_plain(cast)}" for column, cast in pairs)

    def _done(self, statement: str, values: Sequence[Any]) -> int:
        return self.session.execute(statement.encode(), values).rowcount


@contextmanager
def mending_postgresql(
    url: str, search_path: str, relation: Relation, terms: Terms, key: Sequence[str], limits: Limits
) -> Generator[PostgresMending, None, None]:
    """Open a transaction that waits for no lock and runs no statement for long, committed at the end."""
    with (
        session(url, search_path, lock_timeout_ms=limits.lock_budget, read_only=False) as conn,
        conn.transaction(),
    ):
        conn.execute("set transaction isolation level read committed")
        conn.execute(f"set local statement_timeout = {SHORT * limits.lock_budget}")
        yield PostgresMending(session=conn, relation=relation, terms=terms, key=key)


def _plain(sql: str) -> str:
    """Write SQL such that a per cent sign in it is no place for a value."""
    return sql.replace("%", "%%")
