"""Carry what is noted into a table of MariaDB: every row that is noted becomes what it is there now.

Notes are seen, the rows are read by a later statement, written here with the account of them, and only then the notes
are deleted: here it commits first. Killed in between, the notes are still there, and the same is done once more.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from profiles.model import Limits
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.receiving.load import Taking, digest, send
from tasks.engines.mysql.receiving.place import hold
from tasks.engines.mysql.receiving.plan import FORMAT
from tasks.engines.mysql.session import MariaSession
from tasks.engines.postgresql.rejections import key_text, refuse_lost
from tasks.engines.receiving import follow as receiving
from tasks.engines.receiving.follow import CARRIED, MOST, Carried
from tasks.engines.receiving.load import Written, write
from tasks.engines.receiving.source import EmptiedReading, NotedReading
from tasks.engines.records import Line
from tasks.engines.session import Session
from tasks.model.transfer_steps import RowTransfer, noted_columns

_NOTED, _WRITTEN, _AT_ONCE = "_changeover_noted", "_changeover_written", 1000


def prepare(conn: MariaSession, action: RowTransfer, table: str) -> None:
    """Make a session one that can carry into a table, quoted: it gets two tables of its own."""
    temporary(conn, action, _WRITTEN, ", ".join(quote(one.name) for one in action.columns), table)
    temporary_of_notes(conn, action, _NOTED, table)


def temporary(
    conn: MariaSession, action: RowTransfer, name: str, listed: str, table: str, *, once: bool = False
) -> None:
    """Make a table of the session with columns of another one, and look up rows of it by their key.

    `once`: it has each key once.
    """
    key = ", ".join(map(quote, action.target_key))
    _temporary(conn, name, listed, table, f"primary key ({key})" if once else f"index ({key})")


def temporary_of_notes(conn: MariaSession, action: RowTransfer, name: str, table: str) -> None:
    """Make a table of the session for what notes tell of, and look it up by that."""
    told = ", ".join(quote(one.name) for one in noted_columns(action))
    _temporary(conn, name, told, table, f"index ({told})")


def _temporary(conn: MariaSession, name: str, listed: str, table: str, index: str) -> None:
    conn.execute(f"create temporary table {name} engine=InnoDB {FORMAT} as select {listed} from {table} where false")
    conn.execute(f"alter table {name} add {index}")


def make_empty(conn: MariaSession, *names: str) -> None:
    """Empty tables of the session, outside of transactions: each commits.

    By DELETE they would keep every row that they ever had, for nothing purges temporary tables of InnoDB, and whoever
    reads them would pass all of these.
    """
    for name in names:
        conn.execute(f"truncate table {name}")


def begin(conn: MariaSession) -> None:
    """Empty the tables of a session that carries: before the transactions of each bite."""
    make_empty(conn, _NOTED, _WRITTEN)


def follow(
    taking: Taking,
    ledger: Session,
    reading: NotedReading,
    epoch: int,
    limits: Limits,
    fence: Callable[[Session], object],
    between: Callable[[int], int | None],
) -> int:
    """Carry bite by bite what is noted now, and return how many notes were dealt with.

    See `tasks.engines.receiving.follow`. Nothing is locked in the source. Raises FencedError when a newer run has taken
    over.
    """
    action = taking.action

    def bite(size: int) -> Carried:
        begin(taking.conn)
        # The inner one commits first. The ledger's begins when the rows are there: it would be ended for its idleness.
        with ExitStack() as outer, taking.transaction():
            hold(taking.conn, action.into, epoch)

            def opened() -> None:
                outer.enter_context(ledger.transaction())
                fence(ledger)

            return carry(taking, ledger, reading, size, opened)

    own = taking.into == action.into.staged
    return receiving.follow(reading, action, limits, between, bite, own=own)


def carry(
    taking: Taking,
    ledger: Session,
    reading: NotedReading,
    most: int,
    opened: Callable[[], None] = lambda: None,
) -> Carried:
    """Deal with up to `most` notes, the oldest first, within two transactions, the one of the ledger fenced.

    Before them the session was given empty tables by `begin`. That of the ledger is begun by `opened`, where it is
    given, when the rows are there.
    One with a lower number may commit later than these: it is dealt with later.
    """
    conn, action = taking.conn, taking.action
    numbers = reading.notes(action, most)
    if not numbers:
        return Carried(notes=0)
    if isinstance(reading, EmptiedReading) and (emptied := reading.emptied(action, numbers)):
        opened()
        return _empty(taking, ledger, reading, [one for one in numbers if one <= emptied])
    texts: set[str] = set()

    def held() -> Iterator[Line]:
        for one in reading.noted(action, numbers):
            texts.update(map(key_text, one.keys))
            # What does not fit is not here either.
            if not one.touched:
                yield one

    send(conn, _NOTED, noted_columns(action), held())
    _forget_rejected(conn, action, list(texts))
    written = write(replace(taking, into=_WRITTEN), reading.written(action, numbers))
    _put(conn, action, taking.into, written)
    _account(conn, action, written)
    opened()
    reading.forget(action, numbers, ledger)
    return Carried(notes=len(numbers), rows=written.read, upto=numbers[-1], more=len(numbers) == most)


def _empty(taking: Taking, ledger: Session, reading: NotedReading, numbers: Sequence[int]) -> Carried:
    """Begin anew: every row that there is now came after the TRUNCATE, and has a note of its own, with a higher number.

    Whoever truncates waits for all writers before, and all after wait for it. Rows go in bites of their own.
    """
    conn, action = taking.conn, taking.action
    if conn.execute(f"delete from {taking.into} limit {MOST}").rowcount:
        return Carried(notes=0, more=True)
    conn.execute(f"delete from {action.rejected}")
    reading.forget(action, numbers, ledger)
    return Carried(notes=len(numbers), upto=numbers[-1], more=True)


def _forget_rejected(conn: MariaSession, action: RowTransfer, texts: Sequence[str]) -> None:
    if conn.execute(f"select 1 from {action.rejected} limit 1").fetchone() is None:
        return
    for listed in digests(texts):
        conn.execute(f"delete from {action.rejected} where key_hash in ({listed})")


def digests(texts: Iterable[str]) -> Iterator[str]:
    """Yield lists of digests of keys, as SQL, so many at a time."""
    found = [f"x'{digest(text).hex()}'" for text in texts]
    for first in range(0, len(found), _AT_ONCE):
        yield ", ".join(found[first : first + _AT_ONCE])


def same(action: RowTransfer, one: str, other: str) -> str:
    """Return the condition that rows of two tables have one key."""
    return " and ".join(f"{one}.{name} = {other}.{name}" for name in map(quote, action.target_key))


def _told(action: RowTransfer, one: str, other: str) -> str:
    """Return the condition that a row has what a note tells: of a document, it tells of all of its elements."""
    names = [quote(each.name) for each in noted_columns(action)]
    return " and ".join(f"{one}.{name} = {other}.{name}" for name in names)


def _put(conn: MariaSession, action: RowTransfer, table: str, written: Written) -> None:
    first = quote(action.target_key[0])
    columns = [quote(one.name) for one in action.columns]
    changed = ", ".join(f"{name} = values({name})" for name in columns)
    conn.execute(
        f"delete t from {table} t join {_NOTED} n on {_told(action, 't', 'n')}"
        f" left join {_WRITTEN} w on {same(action, 'w', 't')} where w.{first} is null"
    )
    listed = ", ".join(columns)
    conn.execute(f"insert into {table} ({listed}) select {listed} from {_WRITTEN} on duplicate key update {changed}")
    put = conn.execute(f"select count(*) from {_WRITTEN} w join {table} t on {same(action, 't', 'w')}").fetchone()[0]
    refuse_lost(action.table, written.read, int(put), written.rejected)


def _account(conn: MariaSession, action: RowTransfer, written: Written) -> None:
    conn.execute(
        f"insert into {action.account} (shard, `read`, written, rejected)"
        " values (%(shard)s, %(read)s, %(written)s, %(rejected)s) on duplicate key update"
        " `read` = `read` + values(`read`), written = written + values(written),"
        " rejected = rejected + values(rejected)",
        {"shard": CARRIED, **written.model_dump()},
    )
