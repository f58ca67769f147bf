"""Collections of documents, their writers, and what documents become: shared by the tests of documents."""

import random
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.acceptance.busy import busy

IDENTITIES: list[Any] = [*range(400), *(f"k{i}" for i in range(100)), None, b"\x00", 1.5, {"a": 1, "b": "x"}]


def fill(target: Database[Any], *names: str) -> None:
    """Make equal collections: towns that are missing, null, nested, and of every type of identity."""
    made = []
    for number, identity in enumerate(IDENTITIES):
        one: dict[str, Any] = {"_id": identity, "n": number}
        if number % 7:
            one["address"] = {"town": f"t{number}", "zip": number} if number % 5 else {"town": None}
        if number % 11 == 0:
            one["place"] = {}
        made.append(one)
    for name in names:
        target[name].insert_many(made)


def beside_their_ledger(database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a profile of documents whose ledger lies in PostgreSQL, and give its path."""
    monkeypatch.setenv("LEDGER_URL", database)
    monkeypatch.setenv("DOCUMENTS_URL", documents)
    path = tmp_path / "two.toml"
    path.write_text(
        f'name = "two"\nevidence = "{tmp_path}/evidence"\non_failure = "keep"\n'
        '[databases.ledger]\nurl_env = "LEDGER_URL"\n'
        '[databases.documents]\nurl_env = "DOCUMENTS_URL"\nledger = "ledger"\n'
    )
    return str(path)


class Writer(threading.Thread):
    """An old application: it knows `address.town` alone, and does to a twin whatever it does to the collection."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self.url, self.random, self.ended = url, random.Random(seed), threading.Event()
        self.mine = [one for number, one in enumerate(IDENTITIES) if number % 2 == seed] + [
            f"new{seed}-{i}" for i in range(50)
        ]
        self.writes = 0
        self.failed: list[str] = []

    def run(self) -> None:
        with MongoClient(self.url) as client:
            database = client.get_default_database()
            while not self.ended.is_set():
                identity, word = self.random.choice(self.mine), self.random.choice(("x", None, 1.5, {"deep": [1]}))
                kind = self.random.randrange(6)
                time.sleep(0.005)
                try:
                    for name in ("users", "twin"):
                        self._write(database[name], kind, identity, word)
                    self.writes += 1
                except PyMongoError as error:
                    self.failed.append(repr(error))

    def _write(self, into: Any, kind: int, identity: Any, word: Any) -> None:
        wanted = {"_id": identity}
        if kind == 0:
            into.update_one(wanted, {"$set": {"address.town": word}})
        elif kind == 1:
            into.update_one(wanted, {"$unset": {"address.town": 1}})
        elif kind == 2:
            # A whole document, as an application knows it that has never heard of other fields.
            into.replace_one(wanted, {"address": {"town": word}}, upsert=True)
        elif kind == 3:
            into.delete_one(wanted)
        elif kind == 4:
            into.update_one(wanted, {"$set": {"n": -1}}, upsert=True)
        else:
            # Read, changed, and written back with whatever else was there.
            found = into.find_one(wanted)
            if found is not None:
                found["address"] = {"town": word}
                into.replace_one(wanted, found)


def writing(url: str) -> AbstractContextManager[list[Writer]]:
    """Keep two writers busy."""
    return busy(lambda seed: Writer(url, seed))


def everything(target: Database[Any], name: str) -> list[Any]:
    return sorted(target[name].find(), key=lambda one: repr(one["_id"]))


def as_new(one: dict[str, Any]) -> dict[str, Any]:
    """Say what a document of the old shape becomes, without the code that has made it."""
    made = {key: value for key, value in one.items() if key != "address"}
    if isinstance(address := one.get("address"), dict):
        made["address"] = {key: value for key, value in address.items() if key != "town"}
        if "town" in address:
            made["place"] = {**one.get("place", {}), "city": address["town"]}
    elif "address" in one:
        made["address"] = one["address"]
    return made
