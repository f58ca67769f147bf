"""One collection takes the place of another while applications write: nothing is lost, and nobody waits for long."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.documents.inspect import indexes_of, inspect
from tasks.engines.mongodb.documents.lease import leased
from tasks.engines.mongodb.errors import is_transient
from tasks.engines.mongodb.shadow import place, work
from tasks.engines.mongodb.shadow.carry import bring, copy
from tasks.engines.mongodb.shadow.examine import examined
from tasks.engines.mongodb.shadow.fence import name_behind
from tasks.engines.mongodb.shadow.follow import follow, mend
from tasks.engines.mongodb.shadow.swap import check, swap
from tasks.model.document_steps import Rebuild
from tasks.model.errors import DriftError, LockTimeoutError, StepError
from tests.faults.test_documents import Stubborn
from tests.legs import EVERY_LEG, SEED, kills
from tests.servers.mongodb import replica_set

pytestmark = pytest.mark.timeout(120)
MANY = 300
JOURNAL = Journal(begin=lambda _: None, finish=lambda _: None)


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with connected(documents, name="changeover test") as database:
        yield database


def _nothing() -> Any:
    return nullcontext()


def rebuild(target: Database[Any], name: str = "goods", up: Any = (), down: Any = ()) -> Rebuild:
    """Make both collections, copy, and build indexes, as a run does."""
    unique = to_text({"indexes": [{"name": "u", "key": {"u": 1}, "unique": True}]})
    kept = to_text({"indexes": indexes_of(inspect(target, [name]).tables[0])})
    action = Rebuild(
        table=f"{target.name}.{name}", collection=name, uuid=place.uuid_of(target, name), marker="_changeover_t",
        options="{}", kept_options="{}", indexes=unique, kept_indexes=kept, does="swap",
        up=to_text({"stages": [*up]}), down=to_text({"stages": [*down]}),
    )  # fmt: skip
    for does in ("create", "follow"):
        work.forward(target, action.model_copy(update={"does": does}), JOURNAL, None, Limits(), _nothing)  # type: ignore[arg-type]
    with leased(target) as lease:
        for side in place.look(target, action).sides(action):
            copy(target[name], side, None, None, lease)
    work.forward(target, action.model_copy(update={"does": "index"}), JOURNAL, None, Limits(), _nothing)  # type: ignore[arg-type]
    return action


class Counter(threading.Thread):
    """An application that adds one to documents of its own, hands unique values on, and counts what is acknowledged."""

    def __init__(self, url: str, number: int, ended: threading.Event) -> None:
        super().__init__()
        self.url, self.number, self.ended = url, number, ended
        self.counted = dict.fromkeys(range(number, MANY, 4), 0)
        self.failed: list[str] = []
        self.longest = 0.0

    def run(self) -> None:
        with MongoClient(self.url) as client:
            goods = client.get_default_database().goods
            while not self.ended.is_set():
                for one in self.counted:
                    began = time.monotonic()
                    try:
                        assert goods.update_one({"_id": one}, {"$inc": {"n": 1}}).matched_count
                        self.counted[one] += 1
                        self._hand_on(goods)
                    except (PyMongoError, AssertionError) as error:
                        self.failed.append(repr(error))
                    self.longest = max(self.longest, time.monotonic() - began)

    def _hand_on(self, goods: Any) -> None:
        """Exchange the unique values of two documents, and delete and insert a third."""
        first, second = f"a{self.number}", f"b{self.number}"
        one, other = goods.find_one({"_id": first}), goods.find_one({"_id": second})
        goods.update_one({"_id": first}, {"$set": {"u": f"free{self.number}"}})
        goods.update_one({"_id": second}, {"$set": {"u": one["u"]}})
        goods.update_one({"_id": first}, {"$set": {"u": other["u"]}})
        goods.delete_one({"_id": f"c{self.number}"})
        goods.insert_one({"_id": f"c{self.number}", "u": f"c{self.number}"})


@contextmanager
def counting(url: str) -> Iterator[list[Counter]]:
    ended = threading.Event()
    counters = [Counter(url, number, ended) for number in range(4)]
    for one in counters:
        one.start()
    try:
        yield counters
    finally:
        ended.set()
        for one in counters:
            one.join(30)


def test_nothing_is_lost_there_and_back(target: Database[Any], documents: str) -> None:
    """Four applications without a pause; each increment counts, in whichever collection it was made."""
    target.goods.insert_many([{"_id": one, "n": 0, "u": one} for one in range(MANY)])
    target.goods.insert_many([{"_id": f"{name}{one}", "u": f"{name}{one}"} for one in range(4) for name in "abc"])
    target.goods.create_index("u", name="u", unique=True)
    for _ in range(5 if EVERY_LEG else 1):
        with counting(documents) as counters:
            action = rebuild(target)
            swap(target, action, Limits(), _nothing, print)
            assert place.look(target, action).state == "swapped"
            time.sleep(0.3)
            swap(target, action, Limits(), _nothing, print, back=True)
            time.sleep(0.1)
        assert [failed for one in counters for failed in one.failed] == []
        counted = {key: value for one in counters for key, value in one.counted.items()}
        found = {one["_id"]: one["n"] for one in target.goods.find({"n": {"$exists": True}})}
        assert found == counted
        assert target.goods.count_documents({}) == MANY + 12
        target.goods.update_many({"n": {"$exists": True}}, {"$set": {"n": 0}})
        work.inverse(
            target, action.model_copy(update={"does": "create"}),
            JOURNAL, Limits(), _nothing,
        )  # fmt: skip
        assert target.list_collection_names() == ["goods"]


def test_a_transaction_of_others_is_waited_for(target: Database[Any], documents: str) -> None:
    """As long as one has used the collection nothing is swapped, and whoever writes waits no longer than the budget."""
    target.goods.insert_many([{"_id": one, "u": one} for one in range(5)])
    action = rebuild(target)
    limits = Limits(lock_budget=150, lock_patience=1.5)
    with MongoClient(documents) as client, client.start_session() as session:
        goods = client.get_default_database().goods
        session.start_transaction()
        goods.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)
        longest, ended = [0.0], threading.Event()

        def write() -> None:
            while not ended.is_set():
                began = time.monotonic()
                goods.update_one({"_id": 2}, {"$inc": {"n": 1}})
                longest[0] = max(longest[0], time.monotonic() - began)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            with pytest.raises(LockTimeoutError, match="no lock on"):
                swap(target, action, limits, _nothing, print)
        finally:
            ended.set()
            thread.join()
        assert place.look(target, action).state == "before"
        assert longest[0] < 1.0
        session.commit_transaction()
    swap(target, action, limits, _nothing, print)
    assert target.goods.find_one({"_id": 1}) == {"_id": 1, "u": 1, "n": 1}


def test_what_others_give_the_collection_is_not_dropped_with_it(target: Database[Any]) -> None:
    """An index or a validator that came after the plan, or after the swap: refused in the moment of the swap."""
    target.goods.insert_many([{"_id": one, "u": one} for one in range(5)])
    target.goods.create_index("u", name="u", unique=True)
    action = rebuild(target)
    for back in (False, True):
        target.goods.create_index("n", name="by_n", sparse=back)
        with pytest.raises(DriftError, match="has not got that: index by_n"):
            swap(target, action, Limits(), _nothing, print, back=back)
        target.goods.drop_index("by_n")
        target.command("collMod", "goods", validator={"u": {"$ne": 7}})
        with pytest.raises(DriftError, match="has not got that: validationAction, validationLevel, validator"):
            swap(target, action, Limits(), _nothing, print, back=back)
        target.command("collMod", "goods", validator={})
        swap(target, action, Limits(), _nothing, print, back=back)
    assert place.look(target, action).state == "back"


def test_what_would_be_lost_is_looked_for_until_the_swap(
    target: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `up` overwrites or `down` leaves out, in what was written after every document was asked."""
    monkeypatch.setattr("tasks.engines.mongodb.shadow.follow.PATIENCE", 0.3)
    target.goods.insert_many([{"_id": one, "u": one} for one in range(5)])
    action = rebuild(target, up=[{"$set": {"v": 2}}], down=[{"$unset": "v"}])
    for back in (False, True):
        target.goods.insert_one({"_id": "late", "u": "late", "v": 3})
        with pytest.raises(StepError, match="1 documents of goods that were written last hold what would be lost"):
            swap(target, action, Limits(), _nothing, print, back=back)
        asked = {"collection": "goods", "rebuilt": action.model_dump_json(), "side": "back" if back else "forth"}
        assert examined(target, to_text(asked)).documents == 1
        if back:
            follow(target, action, _nothing, lambda: False, lambda _: None, print)
        else:
            with pytest.raises(StepError, match="1 documents of goods that were written last hold what would be lost"):
                follow(target, action, _nothing, lambda: True, lambda _: None, print)
            with pytest.raises(StepError, match="1 documents of goods that were written last hold what would be lost"):
                mend(target, action, _nothing, print)
        target.goods.delete_one({"_id": "late"})
        swap(target, action, Limits(), _nothing, print, back=back)
        target.goods.insert_one({"_id": "new", "u": "new", "v": 2} if not back else {"_id": "old", "u": "old"})
    found = [{"_id": one, "u": one} for one in [*range(5), "new", "old"]]
    assert list(target.goods.find().sort("_id", 1)) == found


def test_what_was_not_answered_has_ended_before_another_is_carried(
    target: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is lost: the server may go on until its time is over, and what it has read is old by then."""
    target.goods.insert_one({"_id": 1, "u": 1})
    action = rebuild(target)
    monkeypatch.setattr("tasks.engines.mongodb.documents.lease.SECONDS", 0.4)
    closed = {"failCommands": ["aggregate"], "closeConnection": True, "appName": "changeover test"}
    for carry in (
        lambda side, lease: copy(target.goods, side, None, None, lease),
        lambda side, lease: bring(target, "goods", side, [1], lease),
    ):
        target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=closed)
        began = time.monotonic()
        with pytest.raises(AutoReconnect), leased(target) as lease:
            carry(place.look(target, action).sides(action)[0], lease)
        assert time.monotonic() - began > 0.8


def test_what_the_page_says_that_applications_notice(target: Database[Any], documents: str) -> None:
    """Cursors that are read on, change streams and transactions: each ends, or is to be tried again, as is said."""
    target.goods.insert_many([{"_id": one, "u": one} for one in range(300)])
    action = rebuild(target)
    with MongoClient(documents) as client, client.start_session() as session:
        goods = client.get_default_database().goods
        cursor, stream = goods.find({}, batch_size=100), goods.watch(max_await_time_ms=50)
        next(cursor)
        session.start_transaction()
        client.get_default_database().others.find_one({}, session=session)
        swap(target, action, Limits(), _nothing, print)
        with pytest.raises(OperationFailure) as killed:
            list(cursor)
        assert killed.value.code == 175
        with pytest.raises(OperationFailure) as again:
            goods.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)
        assert again.value.has_error_label("TransientTransactionError")
        kinds = [one["operationType"] for _ in range(20) if stream.alive and (one := stream.try_next())]
        assert kinds == ["rename", "invalidate"]


def test_a_position_that_nobody_knows_and_a_collection_that_is_gone(
    target: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All documents are compared, and what differs is carried; of another collection nothing is."""
    monkeypatch.setattr("tasks.engines.mongodb.shadow.compare.SIZE", 10)
    monkeypatch.setattr("tasks.engines.mongodb.shadow.follow.SOON", 0.0)
    target.goods.insert_many([{"_id": one, "u": one} for one in range(30)])
    action = rebuild(target)
    # Values that change places, far from one another, and an `_id` of another type.
    target.goods.delete_many({"_id": {"$in": [*range(5), 20, 21]}})
    target.goods.insert_many([{"_id": 4, "u": 20}, {"_id": 20, "u": 4}, {"_id": 21.0, "u": 21}])
    target.goods.update_many({"_id": {"$gt": 25}}, {"$set": {"n": 1}})
    target.goods.insert_one({"_id": "new", "u": "new"})
    said: list[str] = []
    forgets = {"failCommands": ["aggregate"], "errorCode": 286, "appName": "changeover test"}
    target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=forgets)
    follow(target, action, _nothing, lambda: False, lambda _: None, said.append)
    assert len(said) == 1
    for side in place.look(target, action).sides(action):
        assert list(target[side.name].find().sort("_id", 1)) == list(target.goods.find().sort("_id", 1))
    target.goods.delete_one({"_id": 22})
    target.goods.insert_one({"_id": 22.0, "u": 22})

    def forgetting(*asked: Any) -> str:
        name = name_behind(*asked)
        target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=forgets)
        return name

    monkeypatch.setattr("tasks.engines.mongodb.shadow.swap.name_behind", forgetting)
    swap(target, action, Limits(), _nothing, said.append)
    assert len(said) == 2
    kept = place.look(target, action).kept
    assert [type(one["_id"]) for one in target[kept].find({"_id": {"$in": [21, 22]}})] == [float, float]
    assert [one["_id"] for one in target.goods.find({"u": {"$in": [4, 20, 21, 22]}}).sort("_id", 1)] == [4, 20, 21, 22]
    # Somebody puts another collection in its place: nothing is carried from that one, and nothing dropped.
    target.goods.drop()
    target.goods.insert_one({"_id": "another"})
    assert place.look(target, action).state == "gone"
    with pytest.raises(StepError, match="was dropped, renamed or replaced"):
        follow(target, action, _nothing, lambda: False, lambda _: None, said.append)
    for does in ("swap", "create"):
        step = action.model_copy(update={"does": does})
        with pytest.raises(StepError, match="was dropped, renamed or replaced"):
            work.inverse(target, step, JOURNAL, Limits(), _nothing)
    kept = place.look(target, action).kept
    assert target[kept].count_documents({}) == 27


@pytest.mark.every_leg
@pytest.mark.timeout(600)
def test_a_primary_that_steps_down_about_the_swap() -> None:
    """There and back, several times: transactions and the rename end in any order, and nothing is lost."""
    dice = random.Random(SEED)
    limits = Limits(lock_patience=60)
    with replica_set(3) as (server, _), connected(server.url_of("shop"), name="changeover test") as shop:
        shop.users.insert_many([{"_id": number, "u": number} for number in range(500)])
        for _ in range(kills(5)):
            writer = Stubborn(server.url_of("shop"))
            writer.start()
            action = rebuild(shop, "users")
            for back in (False, True):
                with stepping_down(shop, dice.uniform(0.05, 0.2)):
                    until_it_passes(partial(_once, shop, action, limits, back=back))
            writer.ended.set()
            writer.join(60)
            found = {one["_id"]: one["address"]["town"] for one in shop.users.find({"_id": {"$in": [*writer.said]}})}
            assert found == writer.said
            last = action.model_copy(update={"does": "create"})
            until_it_passes(partial(work.inverse, shop, last, JOURNAL, limits, _nothing))


def _once(shop: Database[Any], action: Rebuild, limits: Limits, *, back: bool) -> None:
    """Swap, or look whether that has been done, as a run that tries again does."""
    if back:
        work.inverse(shop, action, JOURNAL, limits, _nothing)
    elif place.look(shop, action).state == "swapped":
        check(shop, action)
    else:
        swap(shop, action, limits, _nothing, print)


@contextmanager
def stepping_down(shop: Database[Any], seconds: float) -> Iterator[None]:
    def work() -> None:
        time.sleep(seconds)
        with suppress(PyMongoError):
            shop.client.admin.command({"replSetStepDown": 5, "force": True, "secondaryCatchUpPeriodSecs": 2})

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def until_it_passes(act: Callable[[], None]) -> None:
    for _ in range(40):
        try:
            act()
        except PyMongoError as error:
            if not is_transient(error):
                raise
            time.sleep(0.3)
        else:
            return
    raise AssertionError("it does not pass")
