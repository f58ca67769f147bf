"""Rows that a column could not leave by are found before the run, where the gate before the swap would find them."""

from typing import Any

import pytest

from tasks.model.status import CheckResult
from tasks.model.steps import Phase
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_cycle_linked import MANY, ODD, TO_PARENT, move

AGREE = "rows of public.o that belong to one row of public.c agree on region"
PLACE = "every public.o.region has a row of public.c to go to"
TO_ODD = [move(table="T One", column="v' x", to="s 2", on={"a k": "K", "B": "x"})]
# Operations, what spoils the rows, and what is said of it: the check, with the keys of rows.
CASES: dict[str, tuple[str, list[dict[str, Any]], str, dict[str, list[str]]]] = {
    "they disagree": (MANY, TO_PARENT, "update o set region = 'other' where id = 13", {AGREE: ["13", "23", "3", "33"]}),
    "one of them says nothing": (
        MANY,
        TO_PARENT,
        "update o set region = null where id in (3, 13, 23)",
        {AGREE: ["13", "23", "3", "33"]},
    ),
    "none of them says anything": (MANY, TO_PARENT, "update o set region = null where c_id = 4", {}),
    "nobody is there": (
        MANY,
        TO_PARENT,
        "insert into o values (99, null, 'lost'), (98, null, null)",
        {PLACE: ["99"]},
    ),
    "what is given up may disagree": (
        MANY.replace("references c on delete cascade", ""),
        [move(table="o", column="region", to="c", on={"c_id": "id"}, lossy=True)],
        "delete from c where id = 4; update o set region = 'other' where id = 13",
        {},
    ),
    "lossy, and they disagree": (
        MANY,
        [move(table="o", column="region", to="c", on={"c_id": "id"}, lossy=True)],
        "update o set region = 'other' where id = 13; insert into o values (99, null, 'lost')",
        {AGREE: ["13", "23", "3", "33"]},
    ),
    "the greatest": (
        MANY,
        [move(table="o", column="region", to="c", on={"c_id": "id"}, when_differ="max")],
        "update o set region = 'other' where id = 13; insert into o values (99, null, 'lost')",
        {PLACE: ["99"]},
    ),
    "composite key, quoted names": (
        ODD,
        TO_ODD,
        """delete from "s 2" where "K" in (4, 7)""",
        {"""every public.T One.v' x has a row of public.s 2 to go to""": ["4, b1", "7, b1"]},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_gate_before_the_swap_would_refuse_is_asked_before_the_run(
    name: str, conn: Connection, url: str
) -> None:
    schema, operations, spoil, expected = CASES[name]
    conn.execute(schema.encode())
    migration = Migration(url, operations)
    migration.begin()
    plan = migration.plan
    assert plan is not None

    def failed() -> list[CheckResult]:
        return [one for one in migration.engine.examine(plan, values_in_reports=True).checks if not one.passed]

    assert failed() == []
    conn.execute(spoil.encode())

    found = failed()

    assert {one.name: sorted(one.examples) for one in found} == expected
    assert all(one.evaluated and one.unexpected == len(one.examples) for one in found)
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    assert bool(migration.failures("before_swap")) == bool(expected)
    for one in found:
        conn.execute(one.fix.replace("<value>", "null").encode())
    assert failed() == []
    migration.run(Phase.INDEX, Phase.RECONCILE)
    assert migration.failures("before_swap") == []
