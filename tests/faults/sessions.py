"""Sessions that get in the way, and the ending of ours."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

OURS = "changeover %"


class Terminator:
    """Ends a random session of ours every few hundred milliseconds, in a thread of its own."""

    def __init__(self, url: str, *, seed: int, least: float = 0.1, most: float = 0.3, limit: int = 1000) -> None:
        self._url, self._dice, self._least, self._most, self._limit = url, random.Random(seed), least, most, limit
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="terminator", daemon=True)
        self.ended: list[str] = []
        """application_name of those that were ended."""

    def __enter__(self) -> "Terminator":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True, application_name="terminator") as conn:
            while len(self.ended) < self._limit and not self._over.wait(self._dice.uniform(self._least, self._most)):
                rows = conn.execute(
                    "select pid, application_name from pg_stat_activity"
                    " where application_name like %s and datname = current_database() order by pid",
                    (OURS,),
                ).fetchall()
                if rows:
                    pid, name = self._dice.choice(rows)
                    if conn.execute("select pg_terminate_backend(%s)", (pid,)).fetchone() == (True,):
                        self.ended.append(name)


@contextmanager
def holding(url: str, name: str, *statements: str) -> Iterator[psycopg.Connection]:
    """Be a session, idle in transaction, that has run these statements; it rolls back at the end."""
    with psycopg.connect(url, application_name=name) as conn:
        for statement in statements:
            conn.execute(statement.encode())
        yield conn
        conn.rollback()
