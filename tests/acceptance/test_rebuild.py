"""A collection of MongoDB made anew beside the old one, through a real Prefect: there, back, and for good."""

from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from flows.contract import contract
from flows.rollback import rollback
from flows.shadow_table import shadow_table
from tasks.model.errors import PreflightError, StateError
from tasks.model.status import MigrationState
from tests.acceptance.documents import beside_their_ledger, everything, fill, writing

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]
S = MigrationState
SPEC = str(Path(__file__).parents[2] / "examples" / "users_anew.yaml")


@pytest.fixture
def profile(database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return beside_their_ledger(database, documents, tmp_path, monkeypatch)


def as_old(target: Database[Any]) -> list[Any]:
    return [{key: value for key, value in one.items() if key != "version"} for one in everything(target, "users")]


def test_there_back_and_for_good(target: Database[Any], profile: str, documents: str) -> None:
    """Applications write all the time, and feel nothing; what they write is there, in either collection."""
    fill(target, "users", "twin")
    target.users.create_index("address.town", name="by_town")
    indexes = target.users.index_information()
    with writing(documents) as writers:
        report = shadow_table(SPEC, profile)
        assert report.state is S.COMPLETE
        assert [gate.passed for gate in report.gates] == [True, True]
        assert set(target.users.index_information()) == {"_id_", "by_town", "by_n"}
        assert "zstd" in str(target.users.options())
        assert target.users.count_documents({"version": 2}) > 100
        # What the old shape would leave out: nothing is undone as long as it is there.
        target.users.insert_one({"_id": "newer", "version": 3})
        with pytest.raises(StateError, match="1 rows break: down leaves nothing out"):
            rollback("users_anew", profile, "documents")
        target.users.delete_one({"_id": "newer"})
        assert rollback("users_anew", profile, "documents").state is S.ROLLED_BACK
    assert [failed for one in writers for failed in one.failed] == []
    assert min(one.writes for one in writers) > 20
    assert as_old(target) == everything(target, "twin")
    # What a writer had read before the swap back, it has written back afterwards.
    # It would not come back as it is: the next run would refuse it.
    assert target.users.update_many({}, {"$unset": {"version": 1}}).modified_count <= len(writers)
    assert target.users.index_information() == indexes
    assert target.users.options() == {}
    assert sorted(target.list_collection_names()) == ["twin", "users"]

    with writing(documents) as writers:
        assert shadow_table(SPEC, profile).state is S.COMPLETE
        assert contract("users_anew", profile, "documents").state is S.CONTRACTED
    assert [failed for one in writers for failed in one.failed] == []
    assert as_old(target) == everything(target, "twin")
    assert sorted(target.list_collection_names()) == ["twin", "users"]


REFUSED = """
migration: refused
database: documents
strategy: shadow_table
documents:
  collection: goods
  operations:
    - rebuild_collection: {up: [{$set: {n: 1}}], down: [{$unset: n}]}
    - create_index: {name: by_k, keys: {k: 1}, unique: true}
    - create_index: {name: by_s, keys: {s: 1}, unique: true, sparse: true}
"""


def test_what_would_lose_something_is_refused(target: Database[Any], profile: str, tmp_path: Path) -> None:
    """By every document before the run, and where the server would delete by itself; nothing is left behind."""
    spec = tmp_path / "refused.yaml"
    spec.write_text(REFUSED)
    target.goods.insert_many([{"_id": 1, "k": 1, "a": [1], "c": "x"}, {"_id": 2, "k": 1, "a": [2], "c": "X", "n": 5}])
    target.goods.create_index("a.0", name="by_first", unique=True)
    target.goods.create_index("c", name="by_c", unique=True, collation={"locale": "en", "strength": 3})
    with pytest.raises(PreflightError) as refused:
        shadow_table(str(spec), profile)
    assert "down gives every document as it was: 1 documents" in refused.value.what
    assert "index by_k is unique: 1 values are there more than once" in refused.value.what
    # What the indexes do not take for the same is no reason.
    assert refused.value.what.count("more than once") == 1
    target.goods.create_index("at", name="by_at", expireAfterSeconds=5)
    spec.write_text(REFUSED.replace("refused", "refused_as_well"))
    with pytest.raises(PreflightError, match="by_at deletes documents by itself"):
        shadow_table(str(spec), profile)
    assert target.list_collection_names() == ["goods"]
