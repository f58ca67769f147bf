"""What the gate after the swap asks of the table as it stands, in whole runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flows.expand_contract import expand_contract
from tasks.approve import decide
from tasks.model.errors import GateError
from tasks.model.status import MigrationState

pytestmark = pytest.mark.usefixtures("prefect_server")

SPLIT = [
    {"add_column": {"table": "people", "column": {"name": "first", "type": "text"}, "up": "split_part(name, ' ', 1)"}},
    {"add_column": {"table": "people", "column": {"name": "last", "type": "text"}, "up": "split_part(name, ' ', 2)"}},
    {"drop_column": {"table": "people", "column": "name", "down": "first || ' ' || last"}},
    {"alter_column": {"table": "people", "column": "id", "type": "bigint", "up": "id", "down": "id"}},
]
BY_ID = {"name": "by id", "query": "select * from people where id = 7"}
BY_NAME = {
    "name": "by name",
    "query": "select id from people where name = 'First7 Last7'",
    "after": "select id from people where first = 'First7'",
}
AHEAD = "the sequences of public.people are ahead of its rows"

Written = Callable[..., tuple[str, str]]


@pytest.fixture
def people(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    monkeypatch.setenv("CHANGEOVER_URL", database)
    monkeypatch.setenv("CHANGEOVER_ACTOR", "ada")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table people (id serial primary key, name text not null)")
        conn.execute("insert into people (name) select 'First' || i || ' Last' || i from generate_series(1, 5000) i")
        conn.execute("create index on people (name)")
        conn.execute("analyze people")
        yield conn


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a spec and a profile; return their paths."""

    def write(settings: str = "", **spec: Any) -> tuple[str, str]:
        path, profile = tmp_path / "m.json", tmp_path / "p.toml"
        path.write_text(json.dumps({"migration": "m", "operations": SPLIT, **spec}))
        profile.write_text(
            f'name = "p"\nevidence = "{tmp_path}/evidence"\n{settings}\n[databases.main]\nurl_env = "CHANGEOVER_URL"\n'
        )
        return str(path), str(profile)

    return write


def test_a_table_that_stands_worse_than_before_does_not_pass(people: psycopg.Connection[Any], written: Written) -> None:
    """A query without its index, and a sequence that somebody has overtaken meanwhile."""
    spec, profile = written("approvals = 1", probes=[BY_ID, BY_NAME])
    assert expand_contract(spec, profile).state is MigrationState.AWAITING_APPROVAL
    people.execute("insert into people (id, name) values (5001, 'Very Early')")
    decide("m", "grace", "approve", "fine", profile=profile)
    with pytest.raises(GateError) as failed:
        expand_contract(spec, profile)
    assert f"{AHEAD}: 1 violation: public.people_id_seq is behind id" in failed.value.what
    assert "probe: by name: the cost is more than 3 times" in failed.value.what
    assert "probe: by id" not in failed.value.what
    checks = people.execute(
        "select c ->> 'name', c ->> 'passed' from changeover.gates g, json_array_elements(g.result -> 'checks') c"
        " where g.gate = 'after_swap'"
    ).fetchall()
    assert ("the planner knows the new columns of public.people", "true") in checks
