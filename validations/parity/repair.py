"""Make B hold what A holds, row by row: no more is written than what differs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from profiles.model import Limits
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.transient import PASSING as PASSING_ON_MARIADB
from tasks.engines.mysql.transient import code_of
from tasks.engines.postgresql.transient import PASSING as PASSING_ON_POSTGRESQL
from tasks.engines.retrying import Passing, retrying
from tasks.model.base import Record
from tasks.model.errors import ChangeoverError, DataChanged, PreflightError, StepError
from validations.parity.compare import Opened, Options, Table, opened
from validations.parity.mariadb import MariaSide
from validations.parity.mending import Mending, cannot_lock
from validations.parity.mending_mariadb import mending_mariadb
from validations.parity.mending_postgresql import mending_postgresql
from validations.parity.report import Comparison, Kind
from validations.parity.side import Key, Row
from validations.parity.sides import AnySide
from validations.parity.terms import Terms

_ROWS_AT_ONCE = 100
# What has to go comes first: it may stand in the way of what comes.
_ORDER = (Kind.EXTRA, Kind.CHANGED, Kind.MISSING)


def _either(one: Callable[[BaseException], bool], other: Callable[[BaseException], bool]) -> Callable[..., bool]:
    return lambda error: one(error) or other(error)


# A and B may be of two engines, and a lock that cannot be had is one of either.
_EITHER = Passing(
    passes=_either(PASSING_ON_MARIADB.passes, PASSING_ON_POSTGRESQL.passes),
    lost=_either(PASSING_ON_MARIADB.lost, PASSING_ON_POSTGRESQL.lost),
    lock=_either(PASSING_ON_MARIADB.lock, PASSING_ON_POSTGRESQL.lock),
    summary=lambda error: (PASSING_ON_POSTGRESQL if code_of(error) is None else PASSING_ON_MARIADB).summary(error),
)


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


Recorder = Callable[[Any, Repaired], None]
"""Called last in the transaction of each batch, with its session."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    table_a: Table
    table_b: Table
    pair: Opened
    limits: Limits
    record: Recorder

    def writing_a(self) -> AbstractContextManager[Mending]:
        return self._writing(self.table_a, self.pair.both.a, self.pair.both.terms_a)

    def writing_b(self) -> AbstractContextManager[Mending]:
        return self._writing(self.table_b, self.pair.both.b, self.pair.both.terms_b)

    def _writing(self, table: Table, side: AnySide, terms: Terms) -> AbstractContextManager[Mending]:
        if side.engine == "mariadb":
            return mending_mariadb(table.url, side.relation, terms, self.key, self.limits)
        return mending_postgresql(table.url, table.search_path, side.relation, terms, self.key, self.limits)

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.pair.pairing.key)


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
        _refuse(pair, found)
        work = _Work(table_a=table_a, table_b=table_b, pair=pair, limits=limits, record=record)
        if any(one.kind is Kind.MISSING for one in found.differences):
            with ExitStack() as held, work.writing_b() as b:
                _held(work, b, held, [])
        done = Repaired()
        for keys in _batches(found):
            try:
                done = done.plus(retrying(limits, _EITHER)(_batch, work, keys))
            except ChangeoverError as error:
                # Whatever it is, a lock that could not be had or A that is gone: what is written is written.
                error.changed = _changed(done)
                raise
            except (psycopg.Error, driver_error()) as error:
                raise StepError(
                    f"{found.b} refuses a row: {_said(error)}",
                    where=found.b,
                    hint="A constraint or a trigger of B stands against it. Rows of earlier batches are written.",
                    changed=_changed(done),
                ) from None
    return done


def _changed(done: Repaired) -> DataChanged:
    return DataChanged.PARTIALLY if done.updated + done.inserted + done.deleted else DataChanged.NO


def _said(error: Exception) -> str:
    """Name an error without what it quotes."""
    if isinstance(error, psycopg.Error):
        return f"{type(error).__name__} ({error.sqlstate})"
    return f"the server said {error.args[0] if error.args else 'nothing'}"


def _refuse(pair: Opened, found: Comparison) -> None:
    """Raise PreflightError for what is not repaired."""
    b = pair.both.b
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


def _batches(found: Comparison) -> Iterator[list[Key]]:
    for kind in _ORDER:
        keys = [one.key for one in found.differences if one.kind is kind]
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            yield keys[start : start + _ROWS_AT_ONCE]


def _batch(work: _Work, keys: Sequence[Key]) -> Repaired:
    both = work.pair.both
    # What is held of A is let go after B has committed.
    with ExitStack() as held, work.writing_b() as b:
        # B first: from here on nobody changes these rows of it, and A is read after that.
        there = b.locked(keys, "update")
        wanted = both.a.look(both.terms_a, keys)
        absent = [key for key in keys if key in wanted and key not in there]
        if absent:
            now = _held(work, b, held, absent)
            wanted = {key: row for key, row in wanted.items() if key not in absent} | now
        done = Repaired()
        for key in keys:
            done = done.plus(_row(b, work.pair, key, wanted.get(key), there.get(key)))
        work.record(b.session, done)
    return done


def _held(work: _Work, b: Mending, held: ExitStack, keys: Sequence[Key]) -> dict[Key, Row]:
    """Lock rows of A against who would write them, and return them as they are then."""
    both = work.pair.both
    # One session where it can be: a trigger of B may write to A.
    same = (work.table_a.url, work.table_a.search_path) == (work.table_b.url, work.table_b.search_path)
    if isinstance(both.a, MariaSide) and (why := both.a.held()):
        raise cannot_lock(both.a.relation.place, why)
    a = b.beside(both.a.relation, both.terms_a, work.key) if same else held.enter_context(work.writing_a())
    return a.locked(keys, "share")


def _row(b: Mending, pair: Opened, key: Key, wanted: Row | None, there: Row | None) -> Repaired:
    columns = [(n, one.name) for n, one in enumerate(pair.pairing.values) if not one.b.generated]
    if wanted is None:
        return Repaired(unchanged=1) if there is None else Repaired(deleted=b.delete(key))
    if there is None:
        inserted = b.insert(key, {name: wanted.texts[n] for n, name in columns})
        return Repaired(inserted=inserted, unchanged=1 - inserted)
    differing = {name: wanted.texts[n] for n, name in columns if wanted.values[n] != there.values[n]}
    return Repaired(updated=b.update(key, differing)) if differing else Repaired(unchanged=1)
