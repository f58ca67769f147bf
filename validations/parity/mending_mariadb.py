"""Rows of MariaDB, locked and written."""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from profiles.model import Limits
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.session import SQL_MODE, MariaSession, connect
from tasks.engines.mysql.transient import code_of
from validations.parity.families import MARIADB
from validations.parity.mariadb import SETTINGS, literal, look
from validations.parity.mending import SHORT, Texts, cannot_lock
from validations.parity.relation import Relation
from validations.parity.side import Key, Row
from validations.parity.terms import Terms

_DUPLICATE: Final = 1062
_REFUSED: Final = (1142, 1143, 1290)
"""No privilege on the table or a column; a server that is read-only."""


_NUMBERS: Final = ("integer", "decimal", "boolean")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class MariaMending:
    """A table, and the transaction that writes to it."""

    session: MariaSession
    relation: Relation
    terms: Terms
    key: Sequence[str]

    def beside(self, relation: Relation, terms: Terms, key: Sequence[str]) -> "MariaMending":
        """Return another table of the same server, in the same transaction."""
        return MariaMending(session=self.session, relation=relation, terms=terms, key=key)

    def locked(self, keys: Sequence[Key], how: Literal["update", "share"]) -> dict[Key, Row]:
        """Lock the rows of these keys that are there, and return them; one that others hold is not waited for."""
        lock = "for update" if how == "update" else "lock in share mode"
        try:
            return look(self._rows, self.relation, self.terms, keys, lock)
        except driver_error() as error:
            if how == "share" and (code := code_of(error)) in _REFUSED:
                raise cannot_lock(self.relation.place, f"the server said {code}") from None
            raise

    def delete(self, key: Key) -> int:
        """Delete a row; return how many there were."""
        return self._done(f"delete from t using {self.relation.source} as t where {self._where(key)}")

    def insert(self, key: Key, texts: Texts) -> int:
        """Insert a row; 0: one that stands in its way has come meanwhile."""
        names = ", ".join(quote(name) for name in (*self.key, *texts))
        values = [literal(value, family) for value, family in zip(key, self.terms.casts, strict=True)]
        values += [self._literal(name, text) for name, text in texts.items()]
        try:
            return self._done(f"insert into {self.relation.source} ({names}) values ({', '.join(values)})")
        except driver_error() as error:
            if code_of(error) == _DUPLICATE:
                return 0
            raise

    def update(self, key: Key, texts: Texts) -> int:
        """Write columns of a row; return how many rows there were."""
        settings = [f"t.{quote(name)} = {self._literal(name, text)}" for name, text in texts.items()]
        # Named, they stay as they are.
        settings += [f"t.{quote(name)} = t.{quote(name)}" for name in self.relation.touched if name not in texts]
        return self._done(f"update {self.relation.source} as t set {', '.join(settings)} where {self._where(key)}")

    def _where(self, key: Key) -> str:
        return " and ".join(
            f"{column} = {literal(value, family)}"
            for column, value, family in zip(self.terms.columns, key, self.terms.casts, strict=True)
        )

    def _literal(self, name: str, text: str | None) -> str:
        column = self.relation.column(name)
        assert column is not None
        if text is None:
            return "null"
        family = MARIADB.get(column.kind, "text")
        # What is no number, such as NaN of PostgreSQL, the server shall refuse, and not read as SQL.
        return literal(text, "text" if family in _NUMBERS and not _NUMBER.fullmatch(text) else family)

    def _done(self, statement: str) -> int:
        return int(self.session.execute(statement).rowcount)

    def _rows(self, question: str) -> list[tuple[Any, ...]]:
        return list(self.session.execute(question).fetchall())


@contextmanager
def mending_mariadb(
    url: str, relation: Relation, terms: Terms, key: Sequence[str], limits: Limits
) -> Generator[MariaMending, None, None]:
    """Open a transaction that waits for no lock and runs no statement for long, committed at the end.

    Here a session that waits while it holds locks may make an application the victim of a deadlock: so it never does,
    and is tried again.
    """
    with connect(url, lock_timeout_ms=limits.lock_budget) as conn:
        conn.execute(SETTINGS)
        conn.execute(f"set session sql_mode = '{SQL_MODE},NO_BACKSLASH_ESCAPES', innodb_lock_wait_timeout = 0")
        conn.execute(f"set session max_statement_time = {SHORT * limits.lock_budget / 1000}")
        with conn.transaction():
            yield MariaMending(session=conn, relation=relation, terms=terms, key=key)
