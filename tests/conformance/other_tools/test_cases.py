"""The tests of pgroll and of Reshape, as cases of our own: what comes in and out of each version; or why not."""

from collections.abc import Sequence

import pytest

from tests.conformance.drive import Connection
from tests.conformance.other_tools.cases import Case, plan, read, refusal, stopped, walk
from tests.legs import each_once

CASES = read()
WALKED = [case for case in CASES if case.walked]


def shows(case: Case) -> list[str]:
    """Tell what a case shows: kinds of operations, and what is altered of a column."""
    altered = [
        f"{key} {one['alter_column'][key]}" if key == "nullable" else key
        for one in case.operations
        if "alter_column" in one
        for key in one["alter_column"]
        if key != "table"
    ]
    return [*(kind for one in case.operations for kind in one), *altered]


ELSEWHERE = {"sql", "denormalize", "move_column", "create_table"}
"""Beside a table that is renamed no statements are taken; the others are walked by default where they belong."""
TOGETHER = each_once([one for one in WALKED if one.back and not ELSEWHERE & {*shows(one)}], shows)


def named(cases: Sequence[Case]) -> list[object]:
    """Give each its name."""
    return [pytest.param(case, id=case.name.replace(" ", "-")) for case in cases]


def test_those_of_each_operation_in_one_migration(conn: Connection, url: str) -> None:
    walk(TOGETHER, conn, url)


@pytest.mark.every_leg
@pytest.mark.parametrize("case", named(WALKED))
def test_each_by_itself(case: Case, conn: Connection, url: str) -> None:
    walk([case], conn, url)


@pytest.mark.parametrize("case", named([case for case in CASES if case.gate]))
@pytest.mark.every_leg
def test_a_gate_stops_it(case: Case, conn: Connection, url: str) -> None:
    assert stopped(case, conn, url)


def test_the_plan_says_why_not(conn: Connection, url: str) -> None:
    """Each refusal for the reason that there is, with a remedy."""
    said = {}
    for case in (one for one in CASES if one.refused):
        conn.execute(case.schema.encode())
        said[case.name] = refusal(lambda one=case: plan(one, url))  # type: ignore[misc]
        assert case.refused in said[case.name], (case.name, said[case.name])
        assert "hint:" in said[case.name]
    assert len(said) > 15
