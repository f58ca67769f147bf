"""Building gates and their statements: all that needs no database."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.model.catalogue import Catalogue, Column, Index, Table
from tasks.model.plan import Comparison, Plan, Requirement
from tests.legs import TIMES
from validations.checks import QueryCheck, RowCheck
from validations.gates import after_swap, before_swap
from validations.postgresql_source import PostgresSource
from validations.scans import scans
from validations.suite_sources import SuiteError, parse

COMPARISON = Comparison(
    name="orders.total", table="public.orders", key=("id",), stored="a", computed="b", source="orders"
)
REQUIREMENT = Requirement(
    name="orders.total is not null", table="public.orders", kind="not null", violations="select 1"
)


def table(name: str, *key: str) -> Table:
    columns = tuple(Column(name=column, type="integer", nullable=False) for column in key)
    primary = Index(name=f"{name}_pkey", definition="", columns=key, referenced=key, primary=True)
    return Table(schema_name="public", name=name, owner="me", columns=columns, indexes=(primary,) if key else ())


def plan(*tables: Table, **changes: Any) -> Plan:
    catalogue = Catalogue(engine="postgresql", version="18.1", tables=tables or (table("orders", "id"),))
    values: dict[str, Any] = {"spec": {}, "steps": ()}
    return Plan(
        migration="widen",
        database="main",
        spec_digest="0",
        catalogue=catalogue,
        search_path="public",
        **(values | changes),
    )


def test_each_gate_gets_what_the_plan_has_for_it() -> None:
    later, after = COMPARISON.model_copy(update={"gate": "after_swap"}), {"gate": "after_swap", "kind": "structure"}
    made = plan(comparisons=(COMPARISON, later), requirements=(REQUIREMENT, REQUIREMENT.model_copy(update=after)))
    before = before_swap(made)
    assert (before.name, before.migration) == ("before_swap", "widen")
    assert [type(check) for check in before.checks] == [RowCheck, QueryCheck]
    row, query = before.checks
    assert row == RowCheck(**COMPARISON.model_dump(exclude={"kind", "gate"}))
    assert isinstance(query, QueryCheck)
    assert (query.violations, query.structural) == ("select 1", False)
    afterwards = after_swap(made)
    assert afterwards.name == "after_swap"
    assert [type(check) for check in afterwards.checks] == [RowCheck, QueryCheck]
    assert isinstance(afterwards.checks[1], QueryCheck)
    assert afterwards.checks[1].structural


def test_a_violation_is_named_by_as_many_columns_as_the_primary_key_has() -> None:
    for key, width in (("a", "b", "c"), 3), ((), 1):
        (check,) = before_swap(plan(table("orders", *key), requirements=(REQUIREMENT,))).checks
        assert isinstance(check, QueryCheck)
        assert check.key_width == width


def test_a_suite_without_a_table_is_for_the_only_table() -> None:
    spec = {"gates": {"before_swap": ["house:complete", "suite.json", "suite.json@other.t"]}}
    assert before_swap(plan(spec=spec)).suites == (
        "house:complete@public.orders",
        "suite.json@public.orders",
        "suite.json@other.t",
    )
    assert after_swap(plan(spec=spec)).suites == ()
    two = plan(table("orders"), table("customers"), spec=spec)
    assert before_swap(two).suites == ("house:complete", "suite.json", "suite.json@other.t")


def row(name: str, **changes: Any) -> RowCheck:
    values: dict[str, Any] = {"table": "t", "key": ("id",), "stored": "a", "computed": "b", "source": "t"}
    return RowCheck(name=name, **(values | changes))


def test_row_checks_share_a_pass_only_over_the_same_rows() -> None:
    checks = (
        row("a"),
        QueryCheck(name="q", table="t", violations="select 1"),
        row("b", stored="c"),
        row("c", where="id > 3"),
        row("d", source="u"),
        row("e", exact=False),
        QueryCheck(name="r", table="t", violations="select 1"),
    )
    together = [[check.name for check in scan.columns.values()] for scan in scans(checks)]
    assert together == [["a", "b", "e"], ["c"], ["d"], ["q"], ["r"]]


@settings(max_examples=40 * TIMES)
@given(
    source=st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,2}:[a-z_]{1,8}|[^\n]{1,20}\.json", fullmatch=True),
    schema=st.text(st.characters(exclude_characters="@", exclude_categories=["Cs"]), max_size=10),
    name=st.text(st.characters(exclude_characters="@.", exclude_categories=["Cs"]), min_size=1, max_size=10),
)
def test_a_reference_is_read_as_it_was_written(source: str, schema: str, name: str) -> None:
    written = f"{source}@{schema}.{name}" if schema else f"{source}@{name}"
    assume(not written.endswith(".json"))
    reference = parse(written)
    assert (reference.source, reference.schema, reference.table) == (source, schema, name)
    assert reference.is_file == source.endswith(".json")


@pytest.mark.parametrize("wrong", ["", "@", "a:b@", "a:b@s.", "a@t", "a.b@t", "a:b:c@t", "1a:b@t", "x.yaml@t"])
def test_what_is_no_reference_is_refused(wrong: str) -> None:
    with pytest.raises(SuiteError):
        parse(wrong)


def test_the_url_of_a_session_is_not_shown() -> None:
    session = PostgresSource(url="postgresql://me:secret@host/db", migration="m" * 63, search_path="public")
    assert "secret" not in repr(session)
    assert session.application_name == f"changeover {'m' * 47} gate"


def test_the_flows_of_postgresql_load_neither_great_expectations_nor_the_drivers_of_others() -> None:
    others = "{'great_expectations', 'pymysql', 'pymongo', 'bson'}"
    flows = "flows.shadow_table, flows.cross_database, flows.rollback"
    code = f"import sys, {flows}; sys.exit(bool({others} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=root, check=False).returncode == 0
