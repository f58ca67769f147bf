"""One connection of the application: every statement timed, every failure recorded, nothing tried again."""

from collections.abc import Callable, Mapping

import psycopg

from examples.demo.report import Failure, Timings

KINDS = (
    *("begin", "commit", "rollback", "savepoint", "connect"),
    *("insert", "update", "delete", "key", "read", "bulk", "twin"),
)
"""Kinds of statements; the place is the number in a recording. `twin` is what goes to orders_twin."""
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}


class Session:
    """A connection that records what happens on it. Used by one thread; `cancel` may come from another."""

    def __init__(self, url: str, name: str, clock: Callable[[], float], *, prepare: bool):
        self._url = url
        self._name = name
        self._clock = clock
        self._prepare = prepare
        self._connection: psycopg.Connection | None = None
        self._ending = False
        self._under_way: tuple[float, int] | None = None
        self.statements = Timings()
        self.failures: list[Failure] = []
        self.unfinished = 0

    def connect(self) -> None:
        """Connect if there is no connection; raises psycopg.Error, recorded, when that fails."""
        if self._connection is not None and not self._connection.closed:
            return
        sent = self._sent("connect")
        try:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                application_name=self._name,
                connect_timeout=10,
                # From the first time on, because this driver forgets what it prepared with every rollback:
                # its own threshold, the fifth time, would hardly ever be reached.
                prepare_threshold=0 if self._prepare else None,
            )
        except psycopg.Error as error:
            self._failed("connect", sent, error)
            raise
        finally:
            self._returned()

    def run(self, kind: str, sql: str, values: Mapping[str, object] | None = None) -> psycopg.Cursor:
        """Run one statement; raises psycopg.Error, recorded, when it fails."""
        if self._connection is None:
            raise AssertionError("connect comes first")
        sent = self._sent(kind)
        try:
            return self._connection.execute(sql, values)
        except psycopg.Error as error:
            self._failed(kind, sent, error)
            raise
        finally:
            self._returned()

    def recover(self) -> None:
        """Leave a failed transaction; a connection that cannot is closed, as a pool would."""
        if self._connection is None or self._connection.closed:
            return
        try:
            self._connection.rollback()
        except psycopg.Error:
            self._connection.close()

    def cancel(self) -> None:
        """End the statement under way, because the application ends: that is no failure of its own."""
        self._ending = True
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.cancel_safe(timeout=2)
            except psycopg.Error:
                return

    def give_up(self) -> None:
        """Record a statement that did not even end when it was cancelled, for as long as it has taken."""
        if self._under_way is not None:
            self.unfinished += 1
            self._returned()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _sent(self, kind: str) -> float:
        sent = self._clock()
        self._under_way = (sent, _NUMBER[kind])
        return sent

    def _returned(self) -> None:
        if self._under_way is not None:
            sent, number = self._under_way
            self.statements.add(sent, self._clock() - sent, number)
            self._under_way = None

    def _failed(self, kind: str, sent: float, error: psycopg.Error) -> None:
        if self._ending and isinstance(error, psycopg.errors.QueryCanceled):
            self.unfinished += 1
            return
        # The message of a failed connection names hosts and users: its kind is enough.
        message = error.diag.message_primary or type(error).__name__
        self.failures.append(Failure(at=sent, kind=kind, sqlstate=error.sqlstate or "", message=message))
