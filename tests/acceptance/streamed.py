"""People in a collection that is copied while applications write, and what their rows should be: for tests of it."""

import random
import threading
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from bson import ObjectId
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError
from pymysql.constants.ER import NO_SUCH_TABLE

from tests.acceptance.busy import busy

_EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = (_EXAMPLES / "people_to_postgresql.yaml").read_text()
INTO_MARIA = (_EXAMPLES / "people_to_mariadb.yaml").read_text()
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


def writing(url: str, *, pause: float = 0.003) -> AbstractContextManager[list[Writer]]:
    """Keep two writers busy."""
    return busy(lambda seed: Writer(url, seed, pause))


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


class There(ABC):
    """The table that people come into, and what is ours beside it, whichever database that is in."""

    quote: str

    @abstractmethod
    def asked(self, query: str) -> list[Any]:
        """Return what a query gives; nothing where there is no such table yet."""

    @abstractmethod
    def own(self, name: str) -> str:
        """Return the quoted name of a table of ours."""

    @property
    @abstractmethod
    def leftovers(self) -> list[Any]:
        """What is ours."""

    def keys(self, name: str) -> set[str]:
        """Return the keys that a table of ours has."""
        return {row[0] for row in self.asked(f"select {self.quote}key{self.quote} from {self.own(name)}")}

    @property
    def noted(self) -> set[str]:
        """Return the documents that notes tell of."""
        return self.keys("notes")

    @property
    def adds_up(self) -> bool:
        """Whether what was read was written or rejected."""
        read = f"{self.quote}read{self.quote}"
        ((same,),) = self.asked(f"select sum({read}) = sum(written) + sum(rejected) from {self.own('account')}")
        return bool(same)

    def differences(self, source: Database[Any], late: set[str]) -> list[Any]:
        """Say what is not as it should be, in the rows and in the notes of rejections; `late` came after the swap."""
        wanted, misfits = twin(source)
        found = {row[0]: row for row in self.asked(f"select {SHOWN} from people")}
        wrong: list[Any] = [
            (key, wanted.get(key), found.get(key))
            for key in wanted.keys() | found.keys()
            if identity(key) not in late and wanted.get(key) != found.get(key)
        ]
        return [*wrong, *((self.keys("rejected") ^ misfits) - late)]


class InPostgres(There):
    """It is in PostgreSQL."""

    quote = '"'

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn

    def asked(self, query: str) -> list[Any]:
        """Return what a query gives."""
        try:
            return self._conn.execute(query.encode()).fetchall()
        except psycopg.errors.UndefinedTable:
            return []

    def own(self, name: str) -> str:
        """Return the quoted name of a table of ours."""
        ((schema,),) = self.leftovers
        return f'"{schema}"._changeover_{name}'

    @property
    def leftovers(self) -> list[Any]:
        """What is ours."""
        return self.asked("select nspname from pg_namespace where nspname like '\\_changeover%'")


class InMaria(There):
    """It is in MariaDB."""

    quote = "`"

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    def asked(self, query: str) -> list[Any]:
        """Return what a query gives."""
        with self._conn.cursor() as cursor:
            try:
                cursor.execute(query)
            except pymysql.err.ProgrammingError as error:
                if error.args[0] != NO_SUCH_TABLE:
                    raise
                return []
            return list(cursor.fetchall())

    def own(self, name: str) -> str:
        """Return the quoted name of a table of ours."""
        (found,) = [table for (table,) in self.leftovers if table.endswith(f"_{name}")]
        return f"`{found}`"

    @property
    def leftovers(self) -> list[Any]:
        """What is ours."""
        return self.asked("show tables like '\\_changeover%'")
