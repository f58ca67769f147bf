"""The explainer walks the very steps that run executes; notices, places in a spec, and verdicts."""

import io
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from rich.console import Console

from flows.commands.outcome import _Moment, _surprise, _verdict, expected
from flows.commands.subject import place
from flows.explain import as_data, explanation, span
from flows.notices import notices
from flows.standing import eta, phase_of
from profiles.model import Limits
from tasks.ledger.state import MigrationSummary
from tasks.model.catalogue import Catalogue, Column, Index, Table
from tasks.model.errors import GateError
from tasks.model.plan import Finding, Plan, Requirement, TableEstimate
from tasks.model.source import is_spec
from tasks.model.status import MigrationState, StepRecord, StepState
from tasks.model.steps import (
    Assignment,
    Backfill,
    ConcurrentIndex,
    Lock,
    LockMode,
    Phase,
    ShortTransaction,
    Step,
    Validation,
)

S = MigrationState
TABLE = '"public"."orders"'
EXCLUSIVE = Lock(table=TABLE, mode=LockMode.ACCESS_EXCLUSIVE)
STEPS = (
    Step(
        key="expand/public.orders/columns",
        phase=Phase.EXPAND,
        title="add columns",
        undo="drop them",
        action=ShortTransaction(locks=(EXCLUSIVE,), forward=("add",), inverse=("drop",)),
    ),
    Step(
        key="backfill/public.orders/rows",
        phase=Phase.BACKFILL,
        title="fill rows",
        action=Backfill(
            table=TABLE,
            key=("id",),
            key_types=("integer",),
            assignments=(Assignment(column="first", type="text", expression="up(name)"),),
            alias="orders",
        ),
    ),
    Step(
        key="index/public.orders/i",
        phase=Phase.INDEX,
        title="build an index",
        action=ConcurrentIndex(table=TABLE, schema_name="public", name="i", create="create i"),
    ),
    Step(
        key="constrain/public.orders/validate",
        phase=Phase.CONSTRAIN,
        title="validate a check",
        action=Validation(table=TABLE, forward=("validate",)),
    ),
    Step(
        key="swap/restore",
        phase=Phase.SWAP,
        title="remember the old check",
        undo="validate it again",
        action=Validation(table=TABLE, inverse=("validate old",)),
    ),
    Step(
        key="swap/all",
        phase=Phase.SWAP,
        title="exchange the names",
        undo="swap back",
        action=ShortTransaction(locks=(EXCLUSIVE,), forward=("swap",), inverse=("swap back",), guard=True),
    ),
    Step(
        key="contract/public.orders/drop",
        phase=Phase.CONTRACT,
        title="drop the old shape",
        action=ShortTransaction(locks=(EXCLUSIVE,), forward=("drop old",)),
    ),
)
ADDED = {"add_column": {"table": "orders", "column": {"name": "first", "type": "text"}, "up": "up(name)"}}


def plan(*operations: dict[str, Any], **changes: Any) -> Plan:
    key = Index(name="orders_pkey", definition="", columns=("id",), referenced=("id",), primary=True)
    columns = (Column(name="id", type="integer", nullable=False),)
    table = Table(schema_name="public", name="orders", owner="me", columns=columns, indexes=(key,))
    values: dict[str, Any] = {
        "steps": STEPS,
        "estimates": (TableEstimate(table="public.orders", rows=3_000_000, bytes=1),),
    }
    return Plan(
        migration="first",
        database="main",
        spec={"operations": list(operations or (ADDED,))},
        spec_digest="0",
        catalogue=Catalogue(engine="postgresql", version="18.1", tables=(table,)),
        search_path="public",
        **(values | changes),
    )


def shown(made: Plan, records: dict[str, StepRecord] | None = None, *, sql: bool = False) -> str:
    console = Console(file=io.StringIO(), width=1000, markup=False)
    console.print(explanation(made, records or {}, Limits(), sql=sql))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def done(*keys: str) -> dict[str, StepRecord]:
    return {s.key: StepRecord(key=s.key, state=StepState.DONE if s.key in keys else StepState.PENDING) for s in STEPS}


def test_every_step_is_shown_in_the_order_of_the_run() -> None:
    text = shown(plan())
    forward = [step.title for step in STEPS if step.key != "swap/restore"]

    assert [text.index(title) for title in forward] == sorted(text.index(title) for title in forward)
    assert text.index("only in a rollback") < text.index("validate it again")


def test_locks_rows_durations_and_undo_are_told() -> None:
    text = shown(plan())

    assert "ACCESS EXCLUSIVE on public.orders, held for a moment; short, waits for locks < 300 ms" in text
    assert "ROW EXCLUSIVE on public.orders, held for a batch at a time; about 3,000,000 rows, about 10 s" in text
    assert text.count("SHARE UPDATE EXCLUSIVE on public.orders, held until it is done; about 3,000,000 rows") == 2
    assert "rollback: drop them" in text


def test_of_the_authors_sql_nothing_is_promised() -> None:
    own = Step(
        key="expand/sql/operations[0]", phase=Phase.EXPAND, title="run it", action=ShortTransaction(forward=("x",))
    )

    assert "as long as your SQL takes, waits for locks < 300 ms" in shown(plan(steps=(own,)))
    assert as_data(plan(steps=(own,)), {}, Limits())["steps"][0]["held"] == "author"


def test_a_step_that_is_done_is_skipped() -> None:
    text = shown(plan(), done("expand/public.orders/columns"))

    assert "SKIP add columns (done)" in text
    assert text.count("SKIP") == 1


def test_every_statement_is_shown_when_asked_for() -> None:
    assert "add;" not in shown(plan())
    text = shown(plan(), sql=True)

    for statement in ("add;", "rollback: drop;", "create i;", "validate;", "rollback: validate old;", "drop old;"):
        assert statement in text
    assert 'rollback: drop index concurrently if exists "public"."i";' in text
    assert "first = up(name)" in text


def test_data_has_every_step_with_its_statements() -> None:
    data = as_data(plan(), done("expand/public.orders/columns"), Limits())

    assert [step["key"] for step in data["steps"]] == [step.key for step in STEPS]
    assert data["steps"][0]["state"] == "done"
    assert data["steps"][0]["locks"] == [{"table": TABLE, "mode": "ACCESS EXCLUSIVE"}]
    assert data["steps"][0]["held"] == "moment"
    assert data["steps"][1]["rows"] == 3_000_000
    (back,) = [step for step in data["steps"] if step["rollback_only"]]
    assert (back["locks"], back["rows"]) == ([], None), "it does nothing going forward"


def test_findings_come_with_rule_place_remedy_and_totals() -> None:
    finding = Finding(rule="SAF-12", severity="warning", message="old snapshots", where="orders", hint="End them.")
    text = shown(plan(findings=(finding,)))

    assert "warning SAF-12: old snapshots" in text
    assert "where: orders" in text
    assert "hint:  End them." in text
    assert "0 errors, 1 warning, 0 notes" in text


def test_markup_in_names_is_shown_as_it_is() -> None:
    step = STEPS[0].model_copy(update={"title": "add [bold]columns[/bold] [red]"})

    assert "add [bold]columns[/bold] [red]" in shown(plan(steps=(step,)))


def test_applications_are_told_of_types_columns_and_rules() -> None:
    altered = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}
    dropped = {"drop_column": {"table": "orders", "column": "note"}}
    rules = tuple(
        Requirement(name=f"public.orders.{c} is not null", table="public.orders", kind="not null", violations="")
        for c in ("id", "first")
    )
    told = "\n".join(notices(plan(altered, dropped, requirements=rules)))

    assert "public.orders.id becomes bigint" in told
    assert "cached plan must not change result type" in told
    assert "select * from public.orders returns additional columns" in told
    assert "refuses rows that break: public.orders.first is not null" in told
    assert "refuses rows that break: public.orders.id" not in told
    assert "after contract, statements that name public.orders.note fail" in told


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        ({"rename_table": {"from": "orders", "to": "sales"}}, "public.orders has both names, orders and sales"),
        (
            {"rename_table": {"from": "orders", "to": "sales"}},
            "after contract, statements that name public.orders fail",
        ),
        ({"drop_table": {"name": "orders"}}, "after contract, statements that name public.orders fail"),
        ({"drop_constraint": {"table": "orders", "name": "c"}}, "public.orders no longer refuses rows that break c"),
        (
            {
                "move_column": {
                    "table": "orders",
                    "column": "note",
                    "to": "orders",
                    "to_column": "remark",
                    "on": {"a": "b"},
                }
            },
            "public.orders.note and public.orders.remark follow each other when a transaction commits",
        ),
        ({"drop_index": {"name": "i"}}, "can no longer be planned with the index i"),
    ],
)
def test_applications_are_told_of_tables_and_constraints(operation: dict[str, Any], sentence: str) -> None:
    assert sentence in "\n".join(notices(plan(operation)))


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        ({"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}, "public.orders.id becomes bigint"),
        ({"alter_column": {"table": "orders", "column": "id", "up": "id"}}, "public.orders.id shows its new values"),
        ({"alter_column": {"table": "orders", "column": "id", "nullable": False}}, "public.orders.id takes no NULL"),
        ({"add_column": {"table": "orders", "column": {}}}, "select * from public.orders returns other columns"),
        ({"drop_column": {"table": "orders", "column": "note"}}, "from the swap on, statements that name public"),
        ({"rename_column": {"table": "orders", "from": "note", "to": "n"}}, "that name public.orders.note fail"),
        ({"create_constraint": {"table": "orders", "name": "c"}}, "refuses rows that break c; until then"),
        ({"drop_constraint": {"table": "orders", "name": "c"}}, "no longer refuses rows that break c; a rollback"),
        ({"drop_index": {"name": "i"}}, "from the swap on, statements can no longer be planned with the index i"),
        ({"rebuild_table": {"table": "orders"}}, "each write to public.orders takes about twice as long"),
    ],
)  # fmt: skip
def test_applications_are_told_what_a_shadow_table_means_to_them(operation: dict[str, Any], sentence: str) -> None:
    """There is one shape at a time: nothing is there from expand on, and what goes, goes at the swap."""
    told = "\n".join(notices(plan(operation).model_copy(update={"strategy": "shadow_table"})))
    assert sentence in told
    assert "until contract" not in told


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        ({"add_column": {"table": "orders", "column": {}}}, "an INSERT without a list of columns fails"),
        ({"drop_column": {"table": "orders", "column": "note"}}, "until contract, a column that is dropped is there"),
    ],
)
def test_applications_are_told_what_happens_in_place_on_mariadb(operation: dict[str, Any], sentence: str) -> None:
    given = plan(operation)
    told = notices(given.model_copy(update={"catalogue": given.catalogue.model_copy(update={"engine": "mysql"})}))
    assert sentence in "\n".join(told)
    assert "dual write" not in "\n".join(told)


def test_applications_are_told_which_version_to_use() -> None:
    told = notices(plan().model_copy(update={"version": "public_v2"}))
    assert told[0].startswith("applications that put public_v2 first")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (125, "2 min 5 s"), (3599, "59 min"), (7320, "2 h 2 min")]
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_no_time_left_is_told_before_one_per_cent() -> None:
    assert eta(9, 1000, 5.0) is None
    assert eta(10, 1000, 5.0) == 198
    assert eta(10, 1000, 0.0) is None


def test_the_phase_is_that_of_the_first_step_left() -> None:
    keys = [step.key for step in STEPS]

    assert phase_of(plan(), done(), S.RUNNING, gated=False) == "expand"
    assert phase_of(plan(), done(*keys[:1]), S.RUNNING, gated=False) == "backfill"
    assert phase_of(plan(), done(*keys[:3]), S.RUNNING, gated=False) == "validate"
    assert phase_of(plan(), done(*keys[:3]), S.RUNNING, gated=True) == "constrain"
    assert phase_of(plan(), done(*keys[:3]), S.ROLLING_BACK, gated=True) == "rollback"
    assert phase_of(plan(), done(*keys[:6]), S.COMPLETE, gated=True) == ""


TEXT = """\
migration: first
operations:
  - add_column:
      table: orders
      up: wrong(name)
"""


def test_a_path_gets_its_line() -> None:
    assert place("operations[0].add_column.up", TEXT, "a.yaml") == "a.yaml:5:11 (operations[0].add_column.up)"
    assert place("operations[0].add_column", TEXT, "a.yaml") == "a.yaml:3:5 (operations[0].add_column)"


@pytest.mark.parametrize("path", ["public.orders", "localhost:5432/app", "", "orders"])
def test_what_is_no_path_in_the_spec_is_left_alone(path: str) -> None:
    assert place(path, TEXT, "a.yaml") == path


def test_a_spec_is_a_path() -> None:
    assert is_spec("a.yaml")
    assert is_spec("./a")
    assert not is_spec("first")


def moment(state: MigrationState, epoch: int = 1, *begun: str) -> _Moment:
    now = datetime.now(UTC)
    summary = MigrationSummary(
        id="first", strategy="", profile="", database="main", state=state, epoch=epoch, attempt_epoch=1, run_id=None,
        flow_run_id=None, executor=None, author="ada", plan_digest="", spec_digest="", message="", created_at=now,
        updated_at=now, swapped_at=None,
    )  # fmt: skip
    return _Moment(summary=summary, begun=frozenset((key, epoch) for key in begun))


NOBODY = _Moment(summary=None)
RESUME = "partially applied, run: changeover resume first (or rollback first)"


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (NOBODY, NOBODY, "nothing changed"),
        (NOBODY, moment(S.PLANNED), "nothing changed"),
        # Refused by the preflight of its own run: taken back, but no step was begun.
        (NOBODY, moment(S.ROLLED_BACK), "nothing changed"),
        (NOBODY, moment(S.ROLLED_BACK, 1, "expand"), "rolled back"),
        (moment(S.ROLLED_BACK, 1, "expand"), moment(S.ROLLED_BACK, 1, "expand"), "nothing changed"),
        (moment(S.FAILED), moment(S.ROLLED_BACK, 2), "rolled back"),
        (NOBODY, moment(S.FAILED, 1, "expand"), RESUME),
        (moment(S.RUNNING), moment(S.RUNNING), "nothing changed"),
        (moment(S.RUNNING), moment(S.RUNNING, 2), RESUME),
        (moment(S.COMPLETE), moment(S.COMPLETE, 2), "nothing changed"),
        (moment(S.COMPLETE), moment(S.CONTRACTING, 2), "partially applied, run: changeover contract first"),
        (moment(S.COMPLETE), moment(S.ROLLING_BACK, 2), "partially applied, run: changeover rollback first"),
        (moment(S.RUNNING), moment(S.COMPLETE, 2), "applied: the migration is complete"),
    ],
)
def test_the_verdict_tells_what_became_of_the_data(before: _Moment, now: _Moment, verdict: str) -> None:
    assert _verdict("first", before, now) == verdict


def test_an_error_of_ours_is_found_behind_others() -> None:
    ours = GateError("no")
    wrapped = RuntimeError("prefect")
    wrapped.__cause__ = ours

    assert expected(wrapped) is ours
    assert expected(RuntimeError("another")) is None


def test_a_surprise_is_told_without_secrets() -> None:
    told = _surprise(psycopg.OperationalError("connection to postgresql://me:hunter22@db/app failed\nDETAIL: x"))

    assert "hunter22" not in str(told)
    assert "DETAIL" not in str(told)
    assert told["what"] == "psycopg.OperationalError: connection to postgresql://me:***@db/app failed"
