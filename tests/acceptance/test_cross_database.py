"""The flow from PostgreSQL to MongoDB, through a real Prefect: the user's own example, there, back, and for good."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prefect import flow
from pymongo.database import Database

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from flows.standing import read
from tasks.expand import expand
from tasks.migration import open_migration
from tasks.model.errors import GateError, PreflightError, StateError
from tasks.model.status import MigrationState, Report
from tasks.preflight import preflight
from tasks.run import engine_of
from tasks.transfer import transfer
from tasks.validate import validate
from tests.conformance.tables import leftovers
from tests.two_databases import between
from validations.transfer import transferred

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState
EXAMPLE = Path(__file__).parents[2] / "examples" / "users_to_mongodb.yaml"
USERS = """
create table users (
  id bigint generated always as identity primary key, first_name text not null, last_name text not null, email text,
  status text not null default 'active', created_at timestamptz(3) not null, updated_at timestamptz);
insert into users (first_name, last_name, email, status, created_at, updated_at)
select 'Ada ' || i, 'L', nullif('a' || i, 'a7'), case i % 5 when 0 then 'left' else 'active' end,
       '2026-01-02 03:04:05.678+00', case when i % 2 = 0 then timestamptz '2026-01-02 03:04:05+00' end
from generate_series(1, 5000) as i;
"""


@pytest.fixture
def profile(database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return between(tmp_path, monkeypatch, main=database, documents=documents)


@pytest.fixture
def source(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def test_the_users_own_example(source: psycopg.Connection[Any], target: Database[Any], profile: str) -> None:
    """Every active user is a document, exactly; a rollback leaves nothing, and takes nothing that somebody wrote."""
    source.execute(USERS)
    source.execute("update users set updated_at = '2026-01-02 03:04:05.000001+00' where id = 8")
    report = cross_database(str(EXAMPLE), profile)
    assert (report.state, report.rows) == (S.COMPLETE, 4000)
    assert [gate.passed for gate in report.gates] == [True, True]
    with engine_of(profile, "main", "users_to_mongodb", "").connect("status") as conn:
        (shown,) = read(conn, engine_of(profile, "main", "users_to_mongodb", ""), "users_to_mongodb").progress
    assert (shown.table, shown.rows, shown.total) == ("public.users", 4000, 4000)
    assert target.list_collection_names() == ["users"]
    assert target.users.count_documents({}) == 4000
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    first = {"_id": 1, "full_name": "Ada 1 L", "email": "a1", "metadata": {"created": moment}}
    assert target.users.find_one({"_id": 1}) == first
    assert target.users.find_one({"_id": 7}, {"email": 1}) == {"_id": 7, "email": None}
    tagged = {"pg_type": "timestamp with time zone", "pg_text": "2026-01-02 03:04:05.000001+00"}
    assert target.users.find_one({"_id": 8})["metadata"]["updated"] == tagged  # type: ignore[index]
    assert target.users.find_one({"_id": 5}) is None

    target.users.update_one({"_id": 1}, {"$set": {"email": "new"}})
    with pytest.raises(StateError, match="1 writes since the swap"):
        rollback("users_to_mongodb", profile)
    # As a rollback leaves it that is killed before it looks.
    schema = source.execute("select nspname from pg_namespace where nspname like '\\_changeover%'").fetchone()
    assert schema is not None
    place = source.execute(f'select token from "{schema[0]}".place'.encode()).fetchone()
    assert place is not None
    target.users.rename(f"_changeover_{place[0].hex}_withdrawn")
    with pytest.raises(StateError, match="1 writes since the swap"):
        rollback("users_to_mongodb", profile)
    assert target.list_collection_names() == ["users"]
    assert rollback("users_to_mongodb", profile, accept_loss=True).state is S.ROLLED_BACK
    assert target.list_collection_names() == []

    assert cross_database(str(EXAMPLE), profile).state is S.COMPLETE
    assert contract("users_to_mongodb", profile).state is S.CONTRACTED
    assert target.users.find_one({"_id": 1}) == first
    assert leftovers(source) == []


def test_what_stands_in_the_way_is_left_alone(
    source: psycopg.Connection[Any], target: Database[Any], profile: str
) -> None:
    """A collection that exists is neither written to nor dropped."""
    source.execute(USERS)
    target.users.insert_one({"_id": "mine"})
    with pytest.raises(PreflightError, match="exists already"):
        cross_database(str(EXAMPLE), profile)
    assert list(target.users.find()) == [{"_id": "mine"}]
    target.users.drop()
    assert leftovers(source) == []


def test_rejected_rows_are_noted_and_counted(
    source: psycopg.Connection[Any], target: Database[Any], profile: str, tmp_path: Path
) -> None:
    """Undecided values stop the run before anything is done; a policy is counted, and the rest arrives."""
    source.execute(
        'create table "Odd ""t" (a int, b text, at timestamptz, n numeric, primary key (a, b));'
        "insert into \"Odd \"\"t\" select i, 'x', '2026-01-01', i / 4.0 from generate_series(1, 100) i;"
        "insert into \"Odd \"\"t\" values (0, 'a,\"b', 'infinity', repeat('7', 40)::numeric), (0, 'b', null, 'NaN')"
    )

    def run(unfit: str) -> Report:
        fields = {
            "moment": {"column": "at", "unfit": unfit},
            "n": {"column": "n", "unfit": unfit},
            "kind": {"constant": 1},
        }
        transfer = {"table": 'Odd "t', "to": {"database": "documents", "collection": "odd"}, "fields": fields}
        spec = tmp_path / "odd.json"
        spec.write_text(json.dumps({"migration": "odd", "strategy": "cross_database", "transfer": transfer}))
        return cross_database(str(spec), profile)

    with pytest.raises(PreflightError, match="1 × infinity is no date"):
        run("fail")
    assert leftovers(source) == []
    assert target.list_collection_names() == []
    assert run("reject").state is S.COMPLETE
    assert target.odd.count_documents({}) == 101
    assert target.odd.find_one({"_id": {"a": 0, "b": "b"}})["moment"] is None  # type: ignore[index]
    schema = source.execute(
        "select nspname from pg_namespace where nspname like '\\_changeover\\_transfer%'"
    ).fetchone()
    assert schema is not None
    notes = source.execute(f'select key, field, reason from "{schema[0]}".rejected order by field').fetchall()
    assert notes == [
        ('("0","a,""b")', "moment", "infinity is no date"),
        ('("0","a,""b")', "n", "more digits than a decimal has"),
    ]
    account = source.execute(f'select sum(read), sum(written), sum(rejected) from "{schema[0]}".account').fetchone()
    assert account == (102, 101, 1)
    assert rollback("odd", profile).state is S.ROLLED_BACK


def test_a_source_that_is_written_is_found_out(
    source: psycopg.Connection[Any], target: Database[Any], profile: str
) -> None:
    """Without capture nothing is carried over: the gate refuses, and nothing is left."""
    source.execute(USERS)

    @flow
    def written_meanwhile() -> None:
        with open_migration(str(EXAMPLE), profile) as m:
            preflight(m)
            expand(m)
            transfer(m)
            source.execute("update users set email = 'late' where id in (1, 4999); delete from users where id = 3")
            source.execute("insert into users (first_name, last_name, created_at) values ('N', 'N', now())")
            validate(m, transferred("before_swap", m.plan, m.profile))

    with pytest.raises(GateError, match="3 rows have no document, or another"):
        written_meanwhile()
    assert target.list_collection_names() == []
    assert leftovers(source) == []
