"""What a shadow table demands is asked before the run: by keys, never by values, and with what mends it."""

from typing import Any

import pytest

from tasks.model.status import CheckResult
from tests.conformance.drive import Connection, Migration
from tests.legs import EVERY_LEG

ROWS = """
create table t (id int, "Part" int, mail text, n int, primary key ("Part", id));
insert into t select g, g % 3, 'person' || g || '@example.org', g from generate_series(1, 9) as g;
"""


def alter(column: str, **body: Any) -> dict[str, Any]:
    return {"alter_column": {"table": "t", "column": column, **body}}


def rule(name: str, **body: Any) -> dict[str, Any]:
    return {"create_constraint": {"table": "t", "name": name, **body}}


def excluding(elements: str, **body: Any) -> dict[str, Any]:
    return rule("x", type="exclusion", exclude={"elements": elements, **body})


def index(name: str, columns: list[Any], **body: Any) -> dict[str, Any]:
    return {"create_index": {"table": "t", "name": name, "columns": columns, "unique": True, **body}}


BY_PART = {
    "rebuild_table": {
        "table": "t",
        "partition_by": {
            "strategy": "list",
            "columns": ["Part"],
            "partitions": [{"name": "t_few", "values": [0, 1]}, {"name": "t_two", "values": [2]}],
        },
    }
}
CASES: dict[str, tuple[list[dict[str, Any]], str, str, list[str], str]] = {
    "not null": (
        [alter("n", nullable=False)],
        "update t set n = null where id in (4, 5)",
        "public.t.n is not null",
        ["1, 4", "2, 5"],
        "77",
    ),
    "not null of what up reads": (
        [alter("n", type="text", nullable=False, up="n::text", down="n::int")],
        "update t set n = null where id = 4",
        "public.t.n is not null",
        ["1, 4"],
        "77",
    ),
    "unique": (
        [rule("u", type="unique", columns=["mail"])],
        "update t set mail = 'same@example.org' where id in (2, 4, 6); update t set mail = null where id in (7, 8)",
        "public.t is unique by u",
        ["0, 6", "1, 4", "2, 2"],
        "",
    ),
    "unique by what up makes of it": (
        [
            alter("mail", type="text", up="lower(mail)", down="mail", lossy=True),
            rule("u", type="unique", columns=["mail"]),
        ],
        "update t set mail = 'PERSON3@example.org' where id = 4",
        "public.t is unique by u",
        ["0, 3", "1, 4"],
        "",
    ),
    "exclusion": (
        [excluding("int4range(n, n, '[]') with =, int4range(id, id + 2) with &&")],
        "update t set n = 3 where id in (4, 5, 9)",
        "no two rows of public.t exclude each other by x",
        ["0, 3", "1, 4", "2, 5"],
        "",
    ),
    "exclusion of what up gives, of some rows": (
        [
            alter("mail", type="text", up="lower(mail)", down="mail", lossy=True),
            excluding("mail with =", index_method="btree", predicate="n < 9"),
        ],
        "update t set mail = 'PERSON3@example.org' where id in (4, 9)",
        "no two rows of public.t exclude each other by x",
        ["0, 3", "1, 4"],
        "",
    ),
    "unique index of an expression": (
        [index("u", [{"expression": "lower(mail)"}])],
        "update t set mail = 'PERSON3@example.org' where id = 4; update t set mail = null where id in (7, 8)",
        "public.t is unique by u",
        ["0, 3", "1, 4"],
        "",
    ),
    "unique index of some rows, with nulls": (
        [index("u", ["mail"], predicate="n > 2 and id < 8", nulls_not_distinct=True)],
        "update t set mail = 'same@example.org' where id in (1, 2, 3); update t set mail = null where id in (6, 7, 8)",
        "public.t is unique by u",
        ["0, 6", "1, 7"],
        "",
    ),
    "check": (
        [rule("c", type="check", check="n > 1 and mail <> 'a'")],
        "select",
        "every row of public.t meets c",
        ["1, 1"],
        "77",
    ),
    "partition": (
        [BY_PART],
        'update t set "Part" = 5 where id = 9',
        "every row of public.t has a partition",
        ["5, 9"],
        "1",
    ),
    "down": (
        [alter("mail", type="text", up="lower(mail)", down="mail")],
        "update t set mail = 'PERSON3@example.org' where id = 3",
        "what public.t has had comes back by down",
        ["0, 3"],
        "",
    ),
    "down that reads what is renamed": (
        [
            {"rename_column": {"table": "t", "from": "n", "to": "m"}},
            {"drop_column": {"table": "t", "column": "mail", "down": "'person' || m || '@example.org'"}},
        ],
        "update t set n = 40 where id = 4",
        "what public.t has had comes back by down",
        ["1, 4"],
        "",
    ),
}  # fmt: skip
LONG = (
    "exclusion",
    "unique index of some rows, with nulls",
    "exclusion of what up gives, of some rows",
    "unique index of an expression",
)
COLUMN = {"check": "n", "partition": '"Part"'}


@pytest.mark.parametrize("name", [name for name in CASES if EVERY_LEG or name not in LONG])
def test_it_is_asked_named_by_keys_and_mended(name: str, conn: Connection, url: str) -> None:
    operations, spoil, check, keys, value = CASES[name]
    conn.execute(ROWS.encode())
    migration = Migration(url, operations, strategy="shadow_table")
    plan = migration.engine.plan(migration.spec)

    def failed(*, values: bool = True) -> list[CheckResult]:
        found = migration.engine.examine(plan, values_in_reports=values)
        return [one for one in found.checks if not one.passed]

    if name != "check":
        assert failed() == []
    conn.execute(spoil.encode())

    (one,) = failed()
    assert (one.name, one.evaluated, sorted(one.examples)) == (check, True, keys)
    assert "example.org" not in " ".join((one.message, *one.examples))
    assert [(hidden.name, hidden.examples) for hidden in failed(values=False)] == [(check, ())]
    if one.fix.startswith("select"):
        assert len(conn.execute(one.fix.encode()).fetchall()) == len(keys)
        return
    rows = conn.execute("select count(*) from t").fetchone()
    conn.execute(one.fix.replace("<value>", value).replace("<column>", COLUMN.get(name, "<column>")).encode())
    assert failed() == []
    gone = len(keys) - 1 if one.fix.startswith("delete") else 0
    assert rows == (conn.execute("select count(*) from t").fetchall()[0][0] + gone,)


def test_a_down_that_fails_is_found_before_the_copy(conn: Connection, url: str) -> None:
    """Also where the value may be lost: after the swap each has to be made."""
    conn.execute(ROWS.encode())
    conn.execute("update t set n = 0 where id = 3")
    operations = [alter("n", type="bigint", up="n", down="(9 / n)::int", lossy=True)]
    migration = Migration(url, operations, strategy="shadow_table")
    found = migration.engine.examine(migration.engine.plan(migration.spec), values_in_reports=True)
    assert [(one.name, one.evaluated) for one in found.checks if not one.passed] == [
        ("what public.t has had comes back by down", False)
    ]


@pytest.mark.parametrize("strategy", ["shadow_table", "expand_contract"])
def test_a_key_may_be_called_anything(strategy: str, conn: Connection, url: str) -> None:
    conn.execute(b"create table t (n int, place int, mail text, primary key (n, place))")
    conn.execute(b"insert into t select i, i, 'same' from generate_series(1, 3) i")
    migration = Migration(url, [rule("u", type="unique", columns=["mail"])], strategy=strategy)
    plan = migration.engine.plan(migration.spec)
    (one,) = [one for one in migration.engine.examine(plan, values_in_reports=True).checks if not one.passed]
    assert (one.evaluated, sorted(one.examples)) == (True, ["1, 1", "2, 2", "3, 3"])
    conn.execute(one.fix.encode())
    assert conn.execute("select n, place from t").fetchall() == [(1, 1)]


SPANS = """
create table t (next int, earlier int, room int, span numrange, primary key (next, earlier));
insert into t select i, -i, nullif(i % 4, 3), case i % 17 when 0 then 'empty' when 1 then null else numrange(
  case when i % 13 > 0 then (i * 7919) % 400 / 2.0 end,
  case when i % 11 > 0 then (i * 7919) % 400 / 2.0 + i % 3 end, (array['[]', '[)', '(]', '()'])[1 + i % 4]) end
from generate_series(1, 150) i;
"""
BOX = "box(point({0}next, 0), point({0}next + {0}room, 1))"
ELEMENTS = {
    "span with &&": "one.span && other.span",
    # Without a room it is all of them.
    "numrange(room, room, '[]') with =, span with &&": "one.room is not distinct from other.room"
    " and one.span && other.span",
    f"{BOX.format('')} with &&": f"{BOX.format('one.')} && {BOX.format('other.')}",
}


def test_rows_that_exclude_each_other_are_all_found_whichever_way(conn: Connection, url: str) -> None:
    """Without ends, with none of them or both, empty, NULL; and what is shown leaves no two of them."""
    conn.execute(SPANS.encode())
    met = (
        "select next from t as one where exists (select from t as other where {} and one.next <> other.next) order by 1"
    )
    for elements, condition in ELEMENTS.items():
        migration = Migration(url, [excluding(elements)], strategy="shadow_table")
        (asked,) = [
            one for one in migration.engine.plan(migration.spec).requirements if "exclude each other" in one.name
        ]
        wanted = conn.execute(met.format(condition).encode()).fetchall()
        found = conn.execute(f"select next from ({asked.violations}) as found order by 1".encode()).fetchall()
        assert found == wanted
        assert wanted
        with conn.transaction(force_rollback=True):
            conn.execute(asked.fix.encode())
            assert conn.execute(met.format(condition).encode()).fetchall() == []
            conn.execute(f"alter table t add exclude using gist ({elements})".encode())
