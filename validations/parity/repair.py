"""Make B hold what A holds, row by row: no more is written than what differs."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from profiles.model import Limits
from tasks.engines.postgresql.transient import retrying
from tasks.model.base import Record
from tasks.model.errors import ChangeoverError, DataChanged, PreflightError, StepError
from tasks.model.names import quote
from validations.parity.compare import Opened, Options, Table, opened
from validations.parity.postgresql import Connection, PostgresSide, look, session
from validations.parity.report import Comparison, Kind
from validations.parity.side import Key, Row

_ROWS_AT_ONCE = 100
_LONGEST = 10
"""Times the lock budget that a statement of a batch may take: its rows are locked as long."""
# What has to go comes first: it may stand in the way of what comes.
_ORDER = (Kind.EXTRA, Kind.CHANGED, Kind.MISSING)


class Repaired(Record):
    """What was written."""

    updated: int = 0
    inserted: int = 0
    deleted: int = 0
    unchanged: int = 0
    """Rows that were equal when they were looked at again, or that somebody else has written meanwhile."""

    def plus(self, other: "Repaired") -> "Repaired":
        """Return both together."""
        return Repaired(**{name: getattr(self, name) + getattr(other, name) for name in Repaired.model_fields})


Recorder = Callable[[Connection, Repaired], None]
"""Called last in the transaction of each batch."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    source: Table
    table: Table
    pair: Opened
    origin: PostgresSide
    side: PostgresSide
    limits: Limits
    record: Recorder


def repair(
    table_a: Table, table_b: Table, options: Options, found: Comparison, limits: Limits, record: Recorder
) -> Repaired:
    """Write to B what differs by a comparison, in transactions of a hundred rows.

    Each row of B is locked, then read again on both sides, and changed only where it still differs: what a
    row of A is after that is for the next comparison. A row that B lacks cannot be locked there: its row in A
    is, until it is in B, or who deletes it from both would find nothing in B to delete. Locks: rows of B, and
    FOR SHARE those of A that are inserted, within the lock budget. Raises PreflightError before anything is
    written where it cannot be done, StepError when B refuses a row.
    """
    if options.values_equal:
        raise PreflightError(
            "what is equal by value is not written", where=table_b.name, hint="Leave --values-equal out."
        )
    with opened(table_a, table_b, options) as pair:
        origin, side = _refusable(pair, found)
        work = _Work(source=table_a, table=table_b, pair=pair, origin=origin, side=side, limits=limits, record=record)
        if any(one.kind is Kind.MISSING for one in found.differences):
            with ExitStack() as held, _writing(work, table_b) as conn:
                _held(work, conn, held, [])
        done = Repaired()
        for keys in _batches(found):
            try:
                done = done.plus(retrying(limits)(_batch, work, keys))
            except ChangeoverError as error:
                # Whatever it is, a lock that could not be had or A that is gone: what is written is written.
                error.changed = _changed(done)
                raise
            except psycopg.Error as error:
                raise StepError(
                    f"{found.b} refuses a row: {type(error).__name__} ({error.sqlstate})",
                    where=found.b,
                    hint="A constraint or a trigger of B stands against it. Rows of earlier batches are written.",
                    changed=_changed(done),
                ) from None
    return done


def _changed(done: Repaired) -> DataChanged:
    return DataChanged.PARTIALLY if done.updated + done.inserted + done.deleted else DataChanged.NO


def _refusable(pair: Opened, found: Comparison) -> tuple[PostgresSide, PostgresSide]:
    """Return A and B, or raise PreflightError for what is not repaired."""
    a, b = pair.both.a, pair.both.b
    if not isinstance(a, PostgresSide) or not isinstance(b, PostgresSide):
        raise PreflightError(
            "only PostgreSQL is repaired from PostgreSQL", where=found.b, hint="Correct the rows by hand."
        )
    if not pair.pairing.key or tuple(one.name for one in pair.pairing.key) != found.key:
        raise PreflightError(
            "without a key that both tables have, nobody can say which row is which",
            where=found.b,
            hint="Give both tables the same primary key, or unique index without nulls.",
        )
    generated = [one.name for one in pair.pairing.key if one.b.generated]
    if generated:
        raise PreflightError(
            f"the key {', '.join(generated)} of B is generated", where=found.b, hint="Correct the rows by hand."
        )
    if any(one.kind is Kind.EXTRA for one in found.differences) and (others := b.children()):
        raise PreflightError(
            f"rows that only B has would take rows of {', '.join(others)} with them",
            where=found.b,
            hint="Delete those rows yourself, or change the ON DELETE of the foreign key.",
        )
    return a, b


def _batches(found: Comparison) -> Iterator[list[Key]]:
    for kind in _ORDER:
        keys = [one.key for one in found.differences if one.kind is kind]
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            yield keys[start : start + _ROWS_AT_ONCE]


def _batch(work: _Work, keys: Sequence[Key]) -> Repaired:
    both = work.pair.both
    # What is held of A is let go after B has committed.
    with ExitStack() as held, _writing(work, work.table) as conn:
        # B first: from here on nobody changes these rows of it, and A is read after that.
        there = look(conn, work.side.relation, both.terms_b, keys, "for update of t")
        wanted = both.a.look(both.terms_a, keys)
        absent = [key for key in keys if key in wanted and key not in there]
        if absent:
            now = _held(work, conn, held, absent)
            wanted = {key: row for key, row in wanted.items() if key not in absent} | now
        done = Repaired()
        for key in keys:
            done = done.plus(_row(conn, work, key, wanted.get(key), there.get(key)))
        work.record(conn, done)
    return done


def _held(work: _Work, conn: Connection, held: ExitStack, keys: Sequence[Key]) -> dict[Key, Row]:
    """Lock rows of A against who would write them, and return them as they are then."""
    # One session where it can be: a trigger of B may write to A.
    same = (work.source.url, work.source.search_path) == (work.table.url, work.table.search_path)
    there = conn if same else held.enter_context(_writing(work, work.source))
    try:
        return look(there, work.origin.relation, work.pair.both.terms_a, keys, "for share of t")
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ReadOnlySqlTransaction,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.WrongObjectType,
    ) as error:
        raise PreflightError(
            f"rows of A that B lacks cannot be locked while they are written: {type(error).__name__}",
            where=work.source.name,
            hint="Read from the primary, from a table of which the user may UPDATE a column; or insert them by hand.",
        ) from None


@contextmanager
def _writing(work: _Work, table: Table) -> Generator[Connection, None, None]:
    """Open a transaction that waits for no lock and runs no statement for long, committed at the end."""
    limits = work.limits
    writing = session(table.url, table.search_path, lock_timeout_ms=limits.lock_budget, read_only=False)
    with writing as conn, conn.transaction():
        conn.execute("set transaction isolation level read committed")
        conn.execute(f"set local statement_timeout = {_LONGEST * limits.lock_budget}")
        yield conn


def _row(conn: Connection, work: _Work, key: Key, wanted: Row | None, there: Row | None) -> Repaired:
    pairing, terms, source = work.pair.pairing, work.pair.both.terms_b, _plain(work.side.relation.source)
    where = " and ".join(
        f"{_plain(column)} = %s::{_plain(cast)}" for column, cast in zip(terms.columns, terms.casts, strict=True)
    )
    columns = [(n, _plain(quote(one.name))) for n, one in enumerate(pairing.values) if not one.b.generated]
    if wanted is None:
        if there is None:
            return Repaired(unchanged=1)
        return Repaired(deleted=conn.execute(f"delete from {source} as t where {where}".encode(), key).rowcount)
    if there is None:
        names = [*(_plain(quote(one.name)) for one in pairing.key), *(name for _, name in columns)]
        values = [*key, *(wanted.values[n] for n, _ in columns)]
        inserted = conn.execute(
            f"insert into {source} ({', '.join(names)}) overriding system value"
            f" values ({', '.join(['%s'] * len(values))}) on conflict do nothing".encode(),
            values,
        ).rowcount
        return Repaired(inserted=inserted, unchanged=1 - inserted)
    differing = [(n, name) for n, name in columns if wanted.values[n] != there.values[n]]
    if not differing:
        return Repaired(unchanged=1)
    settings = ", ".join(f"{name} = %s" for _, name in differing)
    values = [*(wanted.values[n] for n, _ in differing), *key]
    return Repaired(
        updated=conn.execute(f"update {source} as t set {settings} where {where}".encode(), values).rowcount
    )


def _plain(sql: str) -> str:
    """Write SQL such that a per cent sign in it is no place for a value."""
    return sql.replace("%", "%%")
