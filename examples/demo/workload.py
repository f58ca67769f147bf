"""What the application of the demo does to its table: one function an operation.

Two rules keep the twin true and the application free of deadlocks of its own making:

- A row of `orders` is changed first; its twin only if the row was there, and so while it is locked. Nobody
  else can then change the twin in between.
- An operation that locks more than one row locks in key order, and leaves alone the rows whose key can change
  (MOVABLE divides it). Else a session that waits for a row could wake up holding one with another key.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Literal

from examples.demo.session import Session

Columns = Literal["old", "new"]
"""The version of the application: `old` writes customer, `new` writes first_name and last_name instead."""

MOVABLE = 8
"""A row whose key this divides can change its key, to the negative of it and back."""

STATUSES = ("new", "paid", "sent", "done", "returned")
CURRENCIES = ("EUR", "USD", "GBP", "JPY")
FIRST = ("Ada", "Grace", "José", "Conan", " Edsger", "Barbara ", "", "Juan Ramón", "Zoë", "Ng\t")
LAST = ("Lovelace", "Hopper", "Ñandú", "O'Brien", "Dijkstra ", "  Liskov", "", "de la Cruz", "Þór", "X")
ODD = ("", " ", "Plato", "  Ada   Lovelace ", "Grace\tHopper", "Juan Ramón Jiménez", "O'Brien, Conan")


@dataclass
class Keys:
    """The keys that are probably there."""

    top: int
    """The highest key seen."""


@dataclass
class Worker:
    """One worker of the application: its connection, its dice, and the version it runs."""

    session: Session
    dice: random.Random
    keys: Keys
    columns: Columns
    nulls: float
    """Share of the names written that are NULL."""
    steady: bool
    """Never rolls back: the driver then keeps what it prepared, for as long as the connection lasts."""


@dataclass(frozen=True)
class Name:
    """The name of a customer in both shapes."""

    first: str | None
    last: str | None
    full: str | None
    """`first || ' ' || last`, so NULL where one of them is; the old version may write other names too."""

    def values(self, columns: Columns) -> dict[str, object]:
        """Return the columns that the given version of the application writes."""
        if columns == "old":
            return {"customer": self.full}
        return {"first_name": self.first, "last_name": self.last}


def insert(worker: Worker) -> None:
    """Insert one order."""
    with _transaction(worker):
        _insert(worker)


def update(worker: Worker) -> None:
    """Change some columns of one order."""
    with _transaction(worker):
        _update(worker, _key(worker))


def delete(worker: Worker) -> None:
    """Delete one order."""
    with _transaction(worker):
        _delete(worker, _key(worker))


def change_key(worker: Worker) -> None:
    """Give one order another key."""
    key = _key(worker) // MOVABLE * MOVABLE or MOVABLE
    sql = "update {} set id = -id where id in (%(key)s, -%(key)s) returning id"
    with _transaction(worker):
        found = worker.session.run("key", sql.format("orders"), {"key": key}).fetchone()
        if found:
            back = "update orders_twin set id = -id where id = -%(id)s"
            worker.session.run("twin", back, {"id": found[0]})


def read(worker: Worker) -> None:
    """Read one order, or a page of them."""
    names = "customer" if worker.columns == "old" else "first_name, last_name"
    fields = f"id, {names}, amount, currency, status, note, created_at, quantity"
    key = _key(worker)
    if worker.dice.random() < 0.8:
        worker.session.run("read", f"select {fields} from orders where id = %(key)s", {"key": key})
    else:
        page = f"select {fields} from orders where id >= %(key)s order by id limit 20"
        worker.session.run("read", page, {"key": key})


def several_with_savepoint(worker: Worker) -> None:
    """Change several orders in one transaction, and take back what came after a savepoint."""
    run = worker.session.run
    first, second, third, fourth = _settled_keys(worker, 4)
    with _transaction(worker):
        _update(worker, first)
        run("savepoint", "savepoint attempt")
        _update(worker, second)
        _insert(worker)
        _delete(worker, third)
        run("savepoint", "rollback to savepoint attempt")
        if worker.dice.random() < 0.5:
            _update(worker, third)
            run("savepoint", "release savepoint attempt")
        _delete(worker, fourth) if worker.dice.random() < 0.2 else _update(worker, fourth)


def roll_back(worker: Worker) -> None:
    """Do a bit of everything, and take all of it back."""
    first, second = _settled_keys(worker, 2)
    worker.session.run("begin", "begin")
    _insert(worker)
    _update(worker, first)
    _delete(worker, second)
    worker.session.run("rollback", "rollback")


def update_many(worker: Worker) -> None:
    """Change some hundred orders that follow each other in one transaction."""
    run, dice = worker.session.run, worker.dice
    low = _key(worker)
    lock = (
        f"select id from orders where id between %(low)s and %(high)s and id %% {MOVABLE} <> 0 order by id for update"
    )
    change = "update {} set amount = amount + %(more)s, status = %(status)s where id = any(%(ids)s)"
    with _transaction(worker):
        rows = run("bulk", lock, {"low": low, "high": low + dice.randint(200, 400)}).fetchall()
        values = {
            "ids": [row[0] for row in rows],
            "more": Decimal(dice.randint(-500, 500)) / 100,
            "status": dice.choice(STATUSES),
        }
        run("bulk", change.format("orders"), values)
        run("twin", change.format("orders_twin"), values)


def insert_many(worker: Worker) -> None:
    """Insert some hundred orders in one transaction."""
    dice, columns = worker.dice, worker.columns
    tag, count = f"{dice.getrandbits(48):x}", dice.randint(200, 400)
    names = [_name(worker) for _ in range(count)]
    # The tag in the note says which key belongs to which name: RETURNING promises no order.
    given = {f"{tag}-{number}": name for number, name in enumerate(names)}
    values = _listed([name.values(columns) for name in names]) | {"note": list(given)}
    with _transaction(worker):
        rows = worker.session.run("bulk", _insert_many_sql("orders", tuple(values)), values).fetchall()
        worker.keys.top = max(worker.keys.top, *(row[0] for row in rows))
        twins = _listed([given[note].values("old") for _, note in rows])
        twins |= {"note": [note for _, note in rows], "id": [key for key, _ in rows]}
        worker.session.run("twin", _insert_many_sql("orders_twin", tuple(twins)), twins)


OPERATIONS: tuple[tuple[Callable[[Worker], None], int], ...] = (
    (insert, 240),
    (update, 300),
    (delete, 80),
    (change_key, 40),
    (read, 235),
    (several_with_savepoint, 60),
    (roll_back, 40),
    (update_many, 3),
    (insert_many, 2),
)
"""Each operation and how often it comes, in a thousand."""


def choose(worker: Worker) -> Callable[[Worker], None]:
    """Choose the next operation of a worker."""
    operations, weights = zip(*OPERATIONS, strict=True)
    while True:
        chosen: Callable[[Worker], None] = worker.dice.choices(operations, weights)[0]
        if not worker.steady or chosen not in (several_with_savepoint, roll_back):
            return chosen


@contextmanager
def _transaction(worker: Worker) -> Iterator[None]:
    # On an error the worker rolls back, or connects again: nothing to do here.
    worker.session.run("begin", "begin")
    yield
    worker.session.run("commit", "commit")


def _insert(worker: Worker) -> None:
    name, others = _name(worker), _values(worker, ("amount", "currency", "status", "note", "quantity"))
    values = name.values(worker.columns) | others
    row = worker.session.run("insert", _insert_sql("orders", tuple(values)), values).fetchone()
    if row is None:
        raise AssertionError("an insert returned no row")
    worker.keys.top = max(worker.keys.top, row[0])
    twin = {"id": row[0]} | name.values("old") | others | {"created_at": row[1]}
    worker.session.run("twin", _insert_sql("orders_twin", tuple(twin)), twin)


def _update(worker: Worker, key: int) -> None:
    chosen = worker.dice.choice(
        (("status",), ("amount", "currency"), ("note",), ("quantity",), ("status", "note", "amount"), (), ())
    )
    others = _values(worker, chosen)
    # Every other update changes the name, alone or with the rest.
    name = _name(worker, change=True) if not others or worker.dice.random() < 0.3 else None
    values = (name.values(worker.columns) if name else {}) | others
    done = worker.session.run("update", _update_sql("orders", tuple(values)), values | {"id": key})
    if done.rowcount:
        twin = (name.values("old") if name else {}) | others
        worker.session.run("twin", _update_sql("orders_twin", tuple(twin)), twin | {"id": key})


def _delete(worker: Worker, key: int) -> None:
    done = worker.session.run("delete", "delete from orders where id = %(id)s", {"id": key})
    if done.rowcount:
        worker.session.run("twin", "delete from orders_twin where id = %(id)s", {"id": key})


@cache
def _insert_sql(table: str, columns: tuple[str, ...]) -> str:
    values = ", ".join(f"%({column})s" for column in columns)
    return f"insert into {table} ({', '.join(columns)}) values ({values}) returning id, created_at"


@cache
def _update_sql(table: str, columns: tuple[str, ...]) -> str:
    changes = ", ".join(f"{column} = %({column})s" for column in columns)
    return f"update {table} set {changes} where id = %(id)s"


@cache
def _insert_many_sql(table: str, columns: tuple[str, ...]) -> str:
    lists = ", ".join(f"%({column})s::{'bigint' if column == 'id' else 'text'}[]" for column in columns)
    return f"""
        insert into {table} ({", ".join(columns)}, amount, currency, status, created_at, quantity)
        select {", ".join(columns)}, 12.50, 'EUR', 'new', timestamptz '2024-02-29 12:00:00+00', 3
        from unnest({lists}) as given ({", ".join(columns)})
        returning id, note
    """


def _listed(rows: list[dict[str, object]]) -> dict[str, object]:
    """Turn rows into columns."""
    return {column: [row[column] for row in rows] for column in rows[0]}


def _key(worker: Worker) -> int:
    """Choose the key of a row that is probably there, with a liking for new ones."""
    top, dice = max(worker.keys.top, 1), worker.dice
    if dice.random() < 0.5:
        return max(1, top - int(dice.expovariate(1 / 500)))
    return dice.randint(1, top)


def _settled_keys(worker: Worker, count: int) -> list[int]:
    """Choose keys that never change, in key order; one can come twice."""
    keys = (_key(worker) for _ in range(count))
    return sorted(key if key % MOVABLE else key + 1 for key in keys)


def _name(worker: Worker, *, change: bool = False) -> Name:
    # A name that is never the same twice: no trigger can see an update that writes the values already there, and
    # where the old name is ' Ada  X' and the new one ('Ada', 'X'), such an update would be meant to change it.
    dice = worker.dice
    first, last = f"{dice.choice(FIRST)}{dice.getrandbits(40):x}", dice.choice(LAST)
    if dice.random() < worker.nulls:
        return Name(None, first if change else None, None)
    if worker.columns == "old" and dice.random() < 0.1:
        return Name(None, None, dice.choice(ODD))
    return Name(first, last, f"{first} {last}")


def _values(worker: Worker, columns: tuple[str, ...]) -> dict[str, object]:
    dice = worker.dice
    values: dict[str, object] = {
        "amount": Decimal(dice.randint(-100_000, 10_000_000)) / 100,
        "currency": dice.choice(CURRENCIES),
        "status": dice.choice(STATUSES),
        "note": None if dice.random() < 0.4 else f"note {dice.randint(1, 999)} " * dice.randint(0, 8),
        "quantity": dice.randint(0, 1000),
    }
    return {column: values[column] for column in columns}
