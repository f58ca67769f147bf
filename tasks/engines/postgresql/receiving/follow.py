"""Carry what was written to the source since the copy began: every row that is noted becomes what it is there now.

Notes are seen, the rows are read by a later statement, written here with the account of them, and only then the notes
are deleted: here it commits first. Killed in between, the notes are still there, and the same is done once more.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from profiles.model import Limits
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.load import send, write
from tasks.engines.postgresql.receiving.place import hold
from tasks.engines.postgresql.rejections import can_be_noted, key_text, refuse_lost
from tasks.engines.receiving import follow as receiving
from tasks.engines.receiving.follow import CARRIED, Carried
from tasks.engines.receiving.load import Written
from tasks.engines.receiving.source import NotedReading
from tasks.engines.records import Line
from tasks.engines.session import Session
from tasks.model.names import quote
from tasks.model.transfer_steps import RowTransfer, noted_columns

_NOTED, _WRITTEN = "pg_temp._changeover_noted", "pg_temp._changeover_written"


def prepare(conn: Connection, action: RowTransfer, table: str) -> None:
    """Make a session one that can carry into a table, quoted and qualified: it gets two tables of its own."""
    conn.execute("set statement_timeout = 0; set jit = off; set work_mem = '64MB'")
    # A bite has few rows and no statistics: each is looked up by its key.
    conn.execute("set enable_hashjoin = off; set enable_mergejoin = off")
    for name, columns in ((_NOTED, noted_columns(action)), (_WRITTEN, action.columns)):
        listed = ", ".join(quote(one.name) for one in columns)
        bare = name.removeprefix("pg_temp.")
        conn.execute(
            f"create temporary table {bare} on commit delete rows as select {listed} from {table} with no data".encode()
        )
    conn.execute(f"create index on {_WRITTEN} ({', '.join(map(quote, action.target_key))})".encode())


def follow(
    conn: Connection,
    ledger: Session,
    reading: NotedReading,
    action: RowTransfer,
    table: str,
    epoch: int,
    limits: Limits,
    fence: Callable[[Session], object],
    between: Callable[[int], int | None],
) -> int:
    """Carry bite by bite what is noted now into a table, and return how many notes were dealt with.

    See `tasks.engines.receiving.follow`. Nothing is locked in the source. Raises FencedError when a newer run has taken
    over.
    """

    def bite(size: int) -> Carried:
        # The inner one commits first. The ledger's begins when the rows are there: it would be ended for its idleness.
        with ExitStack() as outer, conn.transaction():
            hold(conn, action.into, epoch)

            def begin() -> None:
                outer.enter_context(ledger.transaction())
                fence(ledger)

            return carry(conn, ledger, reading, action, table, size, begin)

    return receiving.follow(reading, action, limits, between, bite, own=table == action.into.staged)


def carry(
    conn: Connection,
    ledger: Session,
    reading: NotedReading,
    action: RowTransfer,
    table: str,
    most: int,
    begin: Callable[[], None] = lambda: None,
) -> Carried:
    """Deal with up to `most` notes, the oldest first, within two transactions, the one of the ledger fenced.

    That one is begun by `begin`, where it is given, when the rows are there.
    One with a lower number may commit later than these: it is dealt with later.
    """
    numbers = reading.notes(action, most)
    if not numbers:
        return Carried(notes=0)
    texts: set[str] = set()

    def held() -> Iterator[Line]:
        for one in reading.noted(action, numbers):
            texts.update(filter(can_be_noted, map(key_text, one.keys)))
            # What does not fit is not here either.
            if not one.touched:
                yield one

    send(conn, _NOTED, noted_columns(action), held())
    if conn.execute(f"select from {action.rejected} limit 1").rowcount:
        conn.execute(f"delete from {action.rejected} where key = any(%s)", (list(texts),))
    written = write(conn, action, _WRITTEN, reading.written(action, numbers))
    _put(conn, action, table, written)
    _account(conn, action, written)
    begin()
    reading.forget(action, numbers, ledger)
    return Carried(notes=len(numbers), rows=written.read, upto=numbers[-1], more=len(numbers) == most)


def _put(conn: Connection, action: RowTransfer, table: str, written: Written) -> None:
    key = [quote(name) for name in action.target_key]
    columns = [quote(one.name) for one in action.columns]
    # The key, too: 5 and 5.0 are one key, and two texts.
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns)
    listed, found = ", ".join(columns), ", ".join(key)
    put = conn.execute(
        f"insert into {table} ({listed}) select {listed} from {_WRITTEN}"
        f" on conflict ({found}) do update set {changed}".encode()
    ).rowcount
    refuse_lost(action.table, written.read, put, written.rejected)
    # Of a document whose elements are rows, a note tells of all of them.
    told = " and ".join(f"t.{name} = n.{name}" for name in (quote(one.name) for one in noted_columns(action)))
    same = " and ".join(f"w.{name} = t.{name}" for name in key)
    conn.execute(
        f"delete from {table} as t using {_NOTED} as n where {told}"
        f" and not exists (select from {_WRITTEN} as w where {same})".encode()
    )


def _account(conn: Connection, action: RowTransfer, written: Written) -> None:
    conn.execute(
        f"insert into {action.account} as a (shard, read, written, rejected)"
        " values (%(shard)s, %(read)s, %(written)s, %(rejected)s) on conflict (shard) do update"
        " set read = a.read + excluded.read, written = a.written + excluded.written,"
        " rejected = a.rejected + excluded.rejected",
        {"shard": CARRIED, **written.model_dump()},
    )
