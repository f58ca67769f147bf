"""Only a collection of ours is ever renamed, dropped or written, and writing twice is writing once."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import bson
import pytest
from pymongo import MongoClient
from pymongo.errors import BulkWriteError

from tasks.engines.mongodb.address import where
from tasks.engines.mongodb.connect import Documents, connected, require_usable
from tasks.engines.mongodb.load import write
from tasks.engines.mongodb.place import Place, drop, drop_strays, make, name_of, rename, uuid_of
from tasks.engines.unreachable import UnreachableError
from tasks.model.errors import ProfileError, StepError
from tasks.model.transfer_steps import Collection

ACTION = Collection(database="d", name="users", place="-", does="put")


@pytest.fixture
def target(documents: str) -> Iterator[Documents]:
    with connected(documents, name="test") as database:
        require_usable(database, documents)
        yield database


def test_a_collection_is_made_once_and_known_by_its_uuid(target: Documents) -> None:
    """Also when the run that made it was killed before it could note that."""
    token = uuid4()
    made = make(target, Place(token=token, collection=None))
    assert make(target, Place(token=token, collection=None)) == made
    place = Place(token=token, collection=made)
    assert name_of(target, ACTION, place) == place.staging
    rename(target, place, place.staging, "users")
    assert (name_of(target, ACTION, place), uuid_of(target, place.staging)) == ("users", None)
    drop(target, place, "users")
    drop(target, place, "users")
    assert target.list_collection_names() == []


def test_what_others_have_made_is_never_touched(target: Documents) -> None:
    """Neither renamed onto nor dropped, whatever it is called."""
    token = uuid4()
    place = Place(token=token, collection=make(target, Place(token=token, collection=None)))
    target.users.insert_one({"_id": "mine"})
    with pytest.raises(StepError, match="has been made meanwhile"):
        rename(target, place, place.staging, "users")
    drop(target, place, "users")
    target[place.staging].drop()
    target.create_collection(place.staging)
    drop(target, place, place.staging)
    assert name_of(target, ACTION, place) is None
    assert sorted(target.list_collection_names()) == sorted([place.staging, "users"])
    assert list(target.users.find()) == [{"_id": "mine"}]


def test_an_older_run_does_not_reach_what_a_newer_one_writes(target: Documents) -> None:
    """Stopped between fence and write, it writes under a name that the collection had; a rollback drops that."""
    token = uuid4()
    place = Place(token=token, collection=make(target, Place(token=token, collection=None)))
    rename(target, place, place.staging, place.staged_by(1))
    older = target[place.staged_by(1)]
    write(older, [bson.encode({"_id": 1, "mark": "old"})])
    rename(target, place, place.staged_by(1), place.staged_by(2))
    write(target[place.staged_by(2)], [bson.encode({"_id": 1, "mark": "new"})])
    write(older, [bson.encode({"_id": 1, "mark": "stray"})])
    assert name_of(target, ACTION, place) == place.staged_by(2)
    assert list(target[place.staged_by(2)].find()) == [{"_id": 1, "mark": "new"}]
    target.create_collection(f"{place.staging}_2_mine")
    drop_strays(target, place)
    assert sorted(target.list_collection_names()) == [place.staged_by(2), f"{place.staging}_2_mine"]


def test_a_batch_that_is_written_again_is_written_once(target: Documents) -> None:
    """Each document replaces the one with its `_id`; another error is no duplicate."""

    def batch(mark: str, *numbers: int) -> list[bytes]:
        return [bson.encode({"_id": {"a": number, "b": "x"}, "mark": mark}) for number in numbers]

    assert write(target.c, batch("old", 1, 2)) == 2
    assert write(target.c, batch("new", 2, 3, 1)) == 3
    assert write(target.c, []) == 0
    found: list[dict[str, Any]] = list(target.c.find())
    assert sorted((one["_id"]["a"], one["mark"]) for one in found) == [(1, "new"), (2, "new"), (3, "new")]
    target.create_collection("strict", validator={"mark": {"$type": "int"}})
    with pytest.raises(BulkWriteError):
        write(target.strict, batch("no", 1))


def test_a_url_is_refused_without_being_shown() -> None:
    secret = "p@ss:w/rd"
    for url in (f"mongodb://user:{secret}@host:27017/shop", f"mongodb://user:{secret}@", "mongodb://host:27017"):
        with pytest.raises(ProfileError) as refused, connected(url, name="test"):
            pass
        assert "w/rd" not in f"{refused.value}{refused.value.__cause__}{where(url)}"
    assert where("mongodb://u:p@a:1,b:2/shop?replicaSet=x") == "shop@a:1,b:2"
    nobody = "mongodb://u:secret@127.0.0.1:1/shop"
    with pytest.raises(UnreachableError) as unreachable, connected(nobody, name="test") as database:
        require_usable(database, nobody)
    assert "secret" not in str(unreachable.value)


def test_the_server_of_the_tests_has_the_oldest_version(documents: str) -> None:
    with MongoClient[Any](documents) as client:
        assert client.server_info()["versionArray"][0] == 6
