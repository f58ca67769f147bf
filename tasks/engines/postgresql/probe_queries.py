"""Queries of an author's, measured: planned and run by the server, which sends no row of theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from profiles.model import Probes
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.transient import is_transient
from tasks.model.errors import PreflightError
from tasks.model.probe import Probe, Reading

_NOT_THERE_YET = ("42P01", "42703", "42883", "42704", "3F000")
"""What the query of the new shape may lack before the swap: a table, a column, a function, a type, a schema."""


def measure_probes(conn: Connection, probes: tuple[Probe, ...], limits: Probes, search_path: str) -> dict[str, Reading]:
    """Measure every probe, by name, before anything is changed. Changes nothing; locks: ACCESS SHARE.

    Raises PreflightError for one that is no single SELECT, fails, or takes too long.
    """
    found = {}
    for one in probes:
        try:
            found[one.name] = read_probe(conn, one.query, limits, search_path)
            if one.after is not None:
                with _reading(conn, limits, search_path) as cursor:
                    _refuse_no_query(cursor, one.after)
        except psycopg.Error as error:
            if is_transient(error) and not isinstance(error, psycopg.errors.QueryCanceled):
                raise
            raise PreflightError(
                f"the probe {one.name} cannot be measured: {_why(error, limits)}",
                where="probes",
                hint="A probe is a single SELECT on the tables as they are; `after` is one for the new shape.",
            ) from None
    return found


def read_probe(conn: Connection, query: str, limits: Probes, search_path: str) -> Reading:
    """Return what a query costs now: planned once, and the fastest of several runs. Raises psycopg.Error."""
    with _reading(conn, limits, search_path) as cursor:
        cost = float(_explained(cursor, query, "format json")["Plan"]["Total Cost"])
        runs = [_explained(cursor, query, "analyze, timing off, buffers off, format json") for _ in range(limits.runs)]
    return Reading(
        cost=cost, milliseconds=min(float(run["Planning Time"]) + float(run["Execution Time"]) for run in runs)
    )


@contextmanager
def _reading(conn: Connection, limits: Probes, search_path: str) -> Iterator[psycopg.Cursor[Any]]:
    # A cursor that asks for the binary form uses the protocol in which one message is one statement: whatever an
    # author writes after a semicolon is refused, and cannot leave the transaction.
    with conn.transaction(force_rollback=True), conn.cursor(binary=True) as cursor:
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        conn.execute(f"set transaction read only; set local statement_timeout = {limits.timeout}")
        yield cursor


def _explained(cursor: psycopg.Cursor[Any], query: str, options: str) -> dict[str, Any]:
    """Explain a query as a part of another: there nothing can stand that writes."""
    cursor.execute(f"explain ({options}) select * from (\n{query}\n) as probe".encode())
    row = cursor.fetchone()
    assert row is not None
    explained: dict[str, Any] = row[0][0]
    return explained


def _refuse_no_query(cursor: psycopg.Cursor[Any], query: str) -> None:
    try:
        _explained(cursor, query, "format json")
    except psycopg.Error as error:
        if error.sqlstate not in _NOT_THERE_YET:
            raise


def _why(error: psycopg.Error, limits: Probes) -> str:
    """Name an error without what it quotes."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        return f"it takes longer than {limits.timeout:,} ms"
    return f"{type(error).__name__} ({error.sqlstate})"
