"""The command line on a real database: whole ways, and every exit code."""

import json
import os
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.commands import Changeover, last_line
from tests.acceptance.forked import Forked

ORDERS = """
create table orders (id integer primary key, full_name text not null, status text);
insert into orders select n, 'first' || n || ' last' || n, 'new' from generate_series(1, 500) n;
analyze orders;
"""
FIRST = {
    "add_column": {
        "table": "orders",
        "column": {"name": "first", "type": "text", "nullable": False},
        "up": "split_part(full_name, ' ', 1)",
    }
}
WIDER = {"alter_column": {"table": "orders", "column": "id", "type": "bigint", "up": "id", "down": "id"}}
SAME_CODE = {
    "add_column": {
        "table": "orders",
        "column": {"name": "code", "type": "text", "unique": True},
        "up": "'the same'",
    }
}
FAILING = {"before_swap": ["tests.acceptance.suites:nobody_is_called_first_seven"]}


@pytest.fixture
def offline(tmp_path: Path, database: str) -> Changeover:
    """The command line on a database with a table, where nothing needs Prefect."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(ORDERS)
    cli = Changeover(folder=tmp_path, url=database)
    cli.profile()
    return cli


@pytest.fixture
def cli(offline: Changeover, forked: Forked) -> Changeover:
    """The command line, with a Prefect server."""
    return Changeover(folder=offline.folder, url=offline.url, forked=forked)


def columns(cli: Changeover) -> dict[str, str]:
    """Names and types of the columns of the table."""
    return dict(
        cli.query(
            "select attname::text, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = 'orders'::regclass and attnum > 0 and not attisdropped"
        )
    )


@pytest.mark.slow
def test_up_and_back_and_up_again_and_contract(cli: Changeover) -> None:
    spec = cli.spec("wider", FIRST, WIDER)
    before = columns(cli)

    shown = cli.done("plan", spec)
    assert "ACCESS EXCLUSIVE on public.orders" in shown
    assert "SKIP" not in shown
    assert cli.query("select to_regnamespace('changeover')::text") == [(None,)]
    planned = cli.data("plan", spec)

    report = cli.data("run", spec)
    assert report["state"] == "complete"
    assert report["plan_digest"] == planned["digest"]
    assert report["rows"] == 500
    assert columns(cli)["id"] == "bigint"

    assert "SKIP add columns to public.orders" in cli.done("plan", "wider")
    status = cli.data("status", "wider")
    assert status["state"] == "complete"
    assert status["steps"]["done"] == status["steps"]["total"]
    assert [gate["passed"] for gate in status["gates"]] == [True, True]
    assert "passed" in cli.done("validate", "wider", "--gate", "before_contract")
    answered = cli("waive", "wider", "--gate", "before_contract", "--check", "x", "--until", "2126-01-01T00:00Z")
    assert "the gate before_contract has no check 'x'" in " ".join(answered.stderr.split())

    assert "rolled back" in cli.done("rollback", "wider")
    assert columns(cli) == before

    assert "complete" in cli.done("run", spec)
    assert "contracted" in cli.done("contract", "wider")
    assert {"before_swap", "after_swap"} <= {gate["gate"] for gate in cli.data("report", "wider")["gates"]}
    assert "before_swap" in cli.done("report", "wider")
    assert "written to" in cli.done("report", "wider", "--html", "wider.html")
    assert "<title>" in (cli.folder / "wider.html").read_text()
    assert columns(cli) == before | {"id": "bigint", "first": "text"}
    assert cli.query("select count(*) from orders where first = 'first' || id") == [(500,)]

    assert cli.data("audit", "verify")["ok"] is True
    table = cli.done("status")
    assert "wider" in table
    assert "contracted" in table

    again = cli("run", spec)
    assert again.returncode == 2
    assert last_line(again) == "nothing changed"


@pytest.mark.slow
def test_a_gate_that_fails_ends_with_rolled_back(cli: Changeover) -> None:
    before = columns(cli)

    result = cli("run", cli.spec("gated", FIRST, gates=FAILING))

    assert result.returncode == 1
    assert "[GATE]" in result.stderr
    assert "Traceback" not in result.stderr
    assert last_line(result) == "rolled back"
    assert columns(cli) == before


def test_rows_that_cannot_take_the_new_shape(cli: Changeover) -> None:
    """Named with the statement that would mend them, before there is even a ledger."""
    cli.profile(values_in_reports=True)
    spec = cli.spec("same-code", SAME_CODE)
    result = cli("validate", spec)
    assert result.returncode == 1
    assert "public.orders is unique by code" in result.stdout
    assert "1 group of equal rows breaks it" in " ".join(result.stdout.split())
    assert "keys: 1; " in result.stdout
    assert 'fix:  delete from "public"."orders" where ("id") in (' in result.stdout
    assert last_line(result) == "nothing changed"
    first = cli.data("validate", cli.spec("first", FIRST))
    assert (first["gate"], first["passed"]) == ("before_run", True)
    assert [check["name"] for check in first["checks"]] == [
        "public.orders.first can hold what up gives, as text",
        "public.orders.first is not null",
    ]
    assert cli.query("select to_regnamespace('changeover')") == [(None,)]


@pytest.mark.slow
def test_rows_that_cannot_take_the_new_shape_refuse_a_run(cli: Changeover) -> None:
    before = columns(cli)
    result = cli("run", cli.spec("same-code", SAME_CODE))
    assert result.returncode == 2
    assert "[PREFLIGHT] public.orders is unique by code: 1 group of equal rows breaks it" in result.stderr
    assert columns(cli) == before
    assert "is unique by code" in cli("validate", "same-code").stdout


@pytest.mark.slow
def test_a_gate_that_fails_can_leave_what_was_built(cli: Changeover) -> None:
    cli.profile(on_failure="keep")

    result = cli("run", cli.spec("gated", FIRST, gates=FAILING))

    assert result.returncode == 1
    assert last_line(result) == ("partially applied, run: changeover resume gated (or rollback gated)")
    assert "FAILED" in cli.done("status", "gated")


@pytest.mark.slow
def test_approval_pause_and_resume(cli: Changeover) -> None:
    cli.profile(approvals=1)
    waits = cli("run", cli.spec("first", FIRST))
    assert waits.returncode == 3
    assert "waits for approval: 0 of 1" in waits.stderr
    assert last_line(waits).startswith("partially applied, run: changeover resume first")

    own = cli("approve", "first")
    assert own.returncode == 2
    assert "CHG-02" in own.stderr
    assert "1 of 1" in cli.done("approve", "first", "--as", "Grace", "--reason", "looked at it")

    assert "changeover resume first" in cli.done("pause", "first")
    paused = cli("run", "first")
    assert paused.returncode == 3
    assert "paused on request" in paused.stderr
    assert cli.data("status", "first")["state"] == "paused"

    assert "complete" in cli.done("resume", "first")
    assert cli.data("status", "first")["pause"] is False


@pytest.mark.slow
def test_a_rejection_refuses_the_swap(cli: Changeover) -> None:
    cli.profile(approvals=1, on_failure="keep")
    assert cli("run", cli.spec("first", FIRST)).returncode == 3
    cli.done("reject", "first", "--as", "Grace", "--reason", "not today")

    result = cli("resume", "first")

    assert result.returncode == 2
    assert "Grace rejected the plan: not today" in result.stderr
    assert "first" in columns(cli)


def test_an_error_in_the_spec_names_its_line(cli: Changeover) -> None:
    wrong = {**FIRST["add_column"], "up": "split_part(nobody, ' ', 1)"}

    result = cli("plan", cli.spec("wrong", {"add_column": wrong}))

    assert result.returncode == 2
    assert "wrong.json:12:" in result.stderr
    assert "operations[0].add_column.up" in result.stderr
    assert last_line(result) == "nothing changed"


def test_run_refuses_a_wrong_spec_before_prefect_is_needed(offline: Changeover) -> None:
    result = offline("run", offline.spec("wrong", {"drop_column": {"table": "orders", "column": "statsu"}}))

    assert result.returncode == 2
    assert "status" in result.stderr
    assert last_line(result) == "nothing changed"


def test_no_message_holds_the_password(cli: Changeover) -> None:
    secret = "correct-horse-battery"
    spec = cli.spec("first", FIRST)
    for command in (["plan", spec], ["run", spec, "--verbose"], ["status", "--json"], ["doctor"]):
        result = cli(*command, url=f"postgresql://someone:{secret}@127.0.0.1:1/nowhere")
        assert result.returncode != 0
        assert secret not in result.stdout + result.stderr


def test_the_name_of_the_database_has_to_be_typed(cli: Changeover) -> None:
    cli.profile(confirm=True)

    result = cli("run", cli.spec("first", FIRST))

    assert result.returncode == 2
    assert "[CONFIRM]" in result.stderr
    assert "--yes" in result.stderr
    assert last_line(result) == "nothing changed"


def test_errors_are_one_object_when_json_is_asked_for(cli: Changeover) -> None:
    result = cli("status", "nobody", "--json")

    told = json.loads(result.stdout)
    assert result.returncode == told["exit_code"] == 2
    assert told["error"]["code"] == "STATE"
    assert told["outcome"] == "nothing changed"


def test_usage_errors_are_refused(cli: Changeover) -> None:
    assert cli("run").returncode == 2
    assert cli("validate", "first", "--gate", "sideways").returncode == 2
    assert cli("no-such-command").returncode == 2


def test_a_server_of_prefect_that_is_away_changes_nothing(offline: Changeover) -> None:
    result = offline("run", offline.spec("first", FIRST))

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert last_line(result) == "nothing changed"


def test_doctor_looks_at_everything(offline: Changeover) -> None:
    result = offline("doctor", "--json")

    found = {check["name"]: check["level"] for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == 1
    assert found["prefect api"] == "fail"
    assert found["connection"] == found["server version"] == found["pooler"] == found["role"] == "ok"


def test_the_schema_is_that_of_a_spec(offline: Changeover) -> None:
    schema = json.loads(offline.done("schema"))

    assert {"migration", "operations"} <= set(schema["properties"])


def test_looking_needs_neither_prefect_nor_great_expectations(offline: Changeover) -> None:
    offline.spec("first", FIRST)
    code = (
        "import sys; sys.argv[1:] = ['plan', 'first.json', '--json']\n"
        "import contextlib, io; from flows.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()\n"
        "assert 'flows.explain' in sys.modules\n"
        "print(sorted({'prefect', 'great_expectations', 'sqlalchemy'} & set(sys.modules)))"
    )
    import subprocess
    import sys

    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TEST_URL": offline.url,
        "CHANGEOVER_PROFILE": str(offline.folder / "test.toml"),
    }
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=offline.folder, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
