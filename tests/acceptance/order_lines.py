"""Orders with lines, in a collection that is written meanwhile, and the rows that the lines should be."""

import random
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.acceptance.busy import busy
from tests.acceptance.streamed import There, identity

SPEC = (Path(__file__).parents[2] / "examples" / "order_lines_to_postgresql.yaml").read_text()
INTO_MARIA = (
    SPEC.replace("database: main", "database: rows")
    .replace("column: _id, type: text", "column: _id, type: varchar(40)")
    .replace("type: text", "type: longtext")
    .replace("type: integer", "type: int")
)
_SHOWN = "select order_no, line, customer, sku, quantity, label from order_lines"


def fill(source: Database[Any], count: int = 600) -> None:
    """Make orders; some have no lines, in each way in which there can be none, and some quantities do not fit."""
    source.orders.insert_many(_order(f"o{number}", number) for number in range(count))


def _order(key: str, number: int) -> dict[str, Any]:
    order: dict[str, Any] = {"_id": key, "customer": {"name": f"c{number % 9}"}, "total": number}
    lines = [_line(number + place) for place in range(number % 6)]
    return {**order, "lines": lines} if lines or number % 4 else {**order, "lines": None} if number % 8 else order


def _line(number: int) -> dict[str, Any]:
    return {"sku": f"s{number}\t\\", "quantity": "x" if number % 50 == 7 else number}


class Writer(threading.Thread):
    """An application that writes lines in each way that there is; what fails is kept."""

    def __init__(self, url: str, seed: int, pause: float) -> None:
        super().__init__()
        self.url, self.random, self.pause, self.ended = url, random.Random(seed), pause, threading.Event()
        self.writes = 0
        self.failures: list[str] = []

    def run(self) -> None:
        with MongoClient(self.url, retryWrites=True, w="majority") as client:
            orders = client.get_default_database().orders
            while not self.ended.is_set():
                time.sleep(self.pause)
                try:
                    self._once(orders)
                    self.writes += 1
                except PyMongoError as error:
                    self.failures.append(repr(error))

    def _once(self, orders: Any) -> None:
        dice = self.random
        number = dice.randrange(700)
        key, line = {"_id": f"o{number}"}, _line(dice.randrange(100))
        match dice.randrange(9):
            case 0 | 1:
                # Of an order whose lines are null it would fail.
                orders.update_one({**key, "lines": {"$ne": None}}, {"$push": {"lines": line}})
            case 2:
                orders.update_one(
                    {**key, "lines": {"$ne": None}}, {"$push": {"lines": {"$each": [line], "$position": 0}}}
                )
            case 3:
                orders.update_one({**key, "lines": {"$ne": None}}, {"$pop": {"lines": dice.choice((1, -1))}})
            case 4:
                orders.update_one({**key, "lines": {"$ne": None}}, {"$pull": {"lines": {"quantity": {"$lt": 300}}}})
            case 5:
                orders.update_one(
                    {**key, "lines.0": {"$exists": True}}, {"$set": {"lines.0": line, "customer.name": "new"}}
                )
            case 6:
                orders.update_one(key, dice.choice(({"$set": {"lines": []}}, {"$unset": {"lines": 1}})))
            case 7:
                orders.delete_one(key)
            case _:
                orders.replace_one(key, _order(key["_id"], number + dice.randrange(9)), upsert=True)


def writing(url: str, *, pause: float = 0.003) -> AbstractContextManager[list[Writer]]:
    """Keep two writers busy."""
    return busy(lambda seed: Writer(url, seed, pause))


def differences(there: There, source: Database[Any], late: set[str]) -> list[Any]:
    """Say what is not as it should be, without the code that has made it; `late` came after the swap."""
    wanted, misfits = {}, set[str]()
    for one in source.orders.find():
        name = one.get("customer", {}).get("name")
        for place, line in enumerate(one.get("lines") or []):
            if line["quantity"] == "x":
                misfits.add(identity(one["_id"]))
                continue
            label = None if name is None else f"{name}: {line['sku']}"
            wanted[one["_id"], place] = (one["_id"], place, name, line["sku"], line["quantity"], label)
    found = {row[:2]: row for row in map(tuple, there.asked(_SHOWN))}
    wrong: list[Any] = [
        (key, wanted.get(key), found.get(key))
        for key in wanted.keys() | found.keys()
        if identity(key[0]) not in late and wanted.get(key) != found.get(key)
    ]
    return [*wrong, *((there.keys("rejected") ^ misfits) - late)]
