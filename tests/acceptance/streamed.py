"""People in a collection that is copied while applications write, and what their rows should be: for tests of it."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from bson import ObjectId
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

SPEC = (Path(__file__).parents[2] / "examples" / "people_to_postgresql.yaml").read_text()
SHOWN = "_id, amount, size, note, active"
FEW = [f"k{number}" for number in range(60)]


def fill(source: Database[Any], count: int = 1000) -> None:
    """Make people; some are not active, and some have amounts that do not fit."""
    source.people.insert_many(
        {
            "_id": f"k{number}",
            "amount": "x" if number % 100 == 7 else number,
            "note": "n" * (number % 9),
            "active": True,
        }
        for number in range(count)
    )
    source.people.update_many({"amount": {"$mod": [50, 3]}}, {"$set": {"active": False}})


class Writer(threading.Thread):
    """An application that writes whatever it can, by itself and in transactions; what fails is kept."""

    def __init__(self, url: str, seed: int, pause: float = 0.003) -> None:
        super().__init__()
        self.url, self.random, self.pause, self.ended = url, random.Random(seed), pause, threading.Event()
        self.writes = 0
        self.failures: list[str] = []

    def run(self) -> None:
        with MongoClient(self.url, retryWrites=True, w="majority") as client:
            people = client.get_default_database().people
            while not self.ended.is_set():
                time.sleep(self.pause)
                try:
                    if self.random.random() < 0.15:
                        self._together(client, people)
                    else:
                        self._once(people, None)
                    self.writes += 1
                except OperationFailure as error:
                    # They do it to each other.
                    if error.code not in (112, 251, 11000):
                        self.failures.append(repr(error))
                except PyMongoError as error:
                    self.failures.append(repr(error))

    def _together(self, client: MongoClient[Any], people: Any) -> None:
        with client.start_session() as session:
            session.start_transaction()
            for _ in range(3):
                self._once(people, session)
            if self.random.random() < 0.3:
                session.abort_transaction()
            else:
                session.commit_transaction()

    def _once(self, people: Any, session: Any) -> None:
        dice = self.random
        key: Any = dice.choice(
            (*FEW, f"k{dice.randrange(1200)}", dice.randrange(5), ObjectId(b"%012d" % dice.randrange(9)))
        )
        amount = dice.choice((dice.randrange(1000), 2.5, "x", None, 7.0))
        whole = {"amount": amount, "note": dice.choice(("a\tb", None, "\\N", "é")), "active": dice.random() < 0.9}
        match dice.randrange(7):
            case 0:
                people.update_one({"_id": key}, {"$set": {"amount": amount}}, session=session)
            case 1:
                people.update_one({"_id": key}, {"$unset": {"note": 1}}, session=session)
            case 2:
                people.replace_one({"_id": key}, whole, upsert=True, session=session)
            case 3:
                people.delete_one({"_id": key}, session=session)
            case 4:
                people.update_one({"_id": key}, [{"$set": {"active": {"$not": "$active"}}}], session=session)
            case 5:
                people.insert_one({"_id": f"new{dice.randrange(10**9)}", **whole}, session=session)
            case _:
                low = dice.randrange(1000)
                some = {"_id": {"$in": [f"k{number}" for number in range(low, low + 8)]}}
                people.update_many(some, {"$set": {"note": "many", "active": True}}, session=session)


@contextmanager
def writing(url: str, *, pause: float = 0.003) -> Iterator[list[Writer]]:
    """Keep two writers busy."""
    writers = [Writer(url, seed, pause) for seed in range(2)]
    for one in writers:
        one.start()
    try:
        yield writers
    finally:
        for one in writers:
            one.ended.set()
        for one in writers:
            one.join(60)


def twin(source: Database[Any]) -> tuple[dict[str, Any], set[str]]:
    """Say what the documents should have become, without the code that has made it; and which are left out."""
    rows, left_out = {}, set[str]()
    for one in source.people.find({"active": True}):
        amount, note = one.get("amount"), one.get("note")
        fits = amount is None or (isinstance(amount, int | float) and amount == int(amount))
        if isinstance(one["_id"], str) and fits:
            whole = None if amount is None else int(amount)
            rows[one["_id"]] = (one["_id"], whole, len(note or ""), note, True)
        else:
            left_out.add(identity(one["_id"]))
    return rows, left_out


def identity(value: Any) -> str:
    """Return an `_id` as notes have it."""
    return dumps({"_id": value}, json_options=CANONICAL_JSON_OPTIONS)


def schema_of(target: psycopg.Connection[Any]) -> str:
    """Name the schema of ours."""
    row = target.execute("select nspname from pg_namespace where nspname ~ '^_changeover_transfer'").fetchone()
    assert row is not None
    return str(row[0])


def differences(source: Database[Any], target: psycopg.Connection[Any], schema: str, late: set[str]) -> list[Any]:
    """Say what is not as it should be, in the rows and in the notes of rejections; `late` came after the swap."""
    wanted, misfits = twin(source)
    found = {row[0]: row for row in target.execute(f"select {SHOWN} from people".encode())}
    wrong: list[Any] = [
        (key, wanted.get(key), found.get(key))
        for key in wanted.keys() | found.keys()
        if identity(key) not in late and wanted.get(key) != found.get(key)
    ]
    left_out = {row[0] for row in target.execute(f'select key from "{schema}"._changeover_rejected'.encode())}
    return [*wrong, *((left_out ^ misfits) - late)]


def noted(target: psycopg.Connection[Any], schema: str) -> set[str]:
    """Return the documents that notes tell of."""
    return {row[0] for row in target.execute(f'select key from "{schema}"._changeover_notes'.encode())}
