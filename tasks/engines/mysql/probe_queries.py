"""Queries of an author's, measured on MariaDB: planned and run by the server, which sends no row of theirs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from profiles.model import Probes
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import OUT_OF_TIME, code_of, is_transient
from tasks.model.errors import ChangeoverError, PreflightError, StepError
from tasks.model.probe import Probe, Reading

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`""", re.DOTALL)
_LOCKING = re.compile(r"\block\s+in\s+share\s+mode\b|\bfor\s+(share|update)\b", re.IGNORECASE)
_TIME = re.compile(r'^( *)"r_total_time_ms": ([0-9.e+-]+)', re.MULTILINE)
_NOT_THERE_YET = (1054, 1146, 1305)
"""What the query of the new shape may lack before the swap: a column, a table, a function."""


def measure_probes(conn: MariaSession, probes: tuple[Probe, ...], limits: Probes) -> dict[str, Reading]:
    """Measure every probe, by name, before anything is changed. Changes nothing; locks: of metadata, shared.

    Raises PreflightError for one that is no single SELECT, fails, or takes too long.
    """
    found = {}
    for one in probes:
        try:
            found[one.name] = read_probe(conn, one.query, limits)
            if one.after is not None:
                _refuse_locks(one.after)
                _refuse_no_query(conn, one.after)
        except (driver_error(), ChangeoverError) as error:
            if is_transient(error) and code_of(error) != OUT_OF_TIME:
                raise
            raise PreflightError(
                f"the probe {one.name} cannot be measured: {_why(error, limits)}",
                where="probes",
                hint="A probe is a single SELECT on the table as it is; `after` is one for the new shape.",
            ) from None
    return found


def read_probe(conn: MariaSession, query: str, limits: Probes) -> Reading:
    """Return what a query costs now: the rows that it reads, and the fastest of several runs.

    MariaDB 10 tells no cost of a plan; how many rows were read tells a plan that has become worse as well, and comes
    from the counters `Handler_read_%` of the session. Raises errors of PyMySQL, and StepError for a warning.
    """
    _refuse_locks(query)
    with _reading(conn, limits):
        _explain(conn, query)
        before = _rows_read(conn)
        first = _analyzed(conn, query)
        cost = _rows_read(conn) - before
        runs = [first, *(_analyzed(conn, query) for _ in range(limits.runs - 1))]
    return Reading(cost=float(cost), milliseconds=min(runs))


@contextmanager
def _reading(conn: MariaSession, limits: Probes) -> Iterator[None]:
    conn.execute(f"set session max_statement_time = {limits.timeout / 1000}")
    try:
        # A read-only transaction, so that neither a function nor FOR UPDATE does more than read.
        conn.execute("start transaction read only")
        yield
    finally:
        if not conn.closed:
            conn.raw.rollback()
            conn.execute("set session max_statement_time = 0")


def _refuse_locks(query: str) -> None:
    """Refuse what locks rows, which a transaction that only reads may do; in a comment, too: some are carried out."""
    if _LOCKING.search(_QUOTED.sub("''", query)):
        raise StepError("it locks rows", where="probes", hint="Leave LOCK IN SHARE MODE, or FOR, out of the query.")


def _explain(conn: MariaSession, query: str) -> None:
    """Explain a query as a part of another: there nothing can stand that writes a file, as INTO does."""
    conn.execute(f"explain select 1 from dual where exists (\n{query}\n)".replace("%", "%%"), ())


def _analyzed(conn: MariaSession, query: str) -> float:
    """Run a query, and return the milliseconds of its optimization and of its outermost blocks.

    The server's JSON is none where a condition has quotes in it; only these lines of it are read.
    """
    (found,) = conn.execute(f"analyze format=json {query}".replace("%", "%%"), ()).fetchone()
    planned, _, carried_out = str(found).partition('"query_block"')
    blocks = _TIME.findall(carried_out)
    outermost = min((len(indent) for indent, _ in blocks), default=0)
    return sum(float(time) for indent, time in (*_TIME.findall(planned), *blocks) if len(indent) <= max(4, outermost))


def _rows_read(conn: MariaSession) -> int:
    return sum(int(count) for _, count in conn.execute("show session status like 'Handler\\_read\\_%'").fetchall())


def _refuse_no_query(conn: MariaSession, query: str) -> None:
    try:
        _explain(conn, query)
    except driver_error() as error:
        if code_of(error) not in _NOT_THERE_YET:
            raise


def _why(error: BaseException, limits: Probes) -> str:
    """Name an error without what it quotes."""
    if code_of(error) == OUT_OF_TIME:
        return f"it takes longer than {limits.timeout:,} ms"
    return error.what if isinstance(error, ChangeoverError) else f"the server said {code_of(error)}"
