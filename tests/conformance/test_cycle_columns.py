# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for operations on single columns."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection
from tests.legs import EVERY_LEG

T = """
create table p (id int primary key, code text unique);
insert into p select i, 'c' || i from generate_series(1, 9) i;
create table t (id int primary key, a text, n int, b text not null default 'b');
insert into t select i, case when i % 3 <> 0 then 'A' || i end, case when i % 4 <> 0 then i end, 'b' || i
from generate_series(-10, 20) i;
"""
W = "insert into t (id, a, n) values (100, 'A100', 100), (101, null, null); update t set a = 'A_' || id where id < 0;"


def alter(column: str, **rest: object) -> dict[str, object]:
    return {"alter_column": {"table": "t", "column": column, **rest}}


ADDED: Mapping[str, Mapping[str, Any]] = {
    "nullable": {"nullable": True},
    "constant default": {"default": "7"},
    "constant default nullable": {"default": "7", "nullable": True},
    "constant with check": {"default": "7", "check": {"name": "k#", "constraint": "c# > 0"}},
    "constant with comment": {"default": "7", "comment": "x"},
    "references nullable deferrable": {
        "nullable": True,
        "type": "text",
        "references": {
            "name": "fk#",
            "table": "p",
            "column": "code",
            "deferrable": True,
            "initially_deferred": True,
        },
    },
    "up": {"up": "coalesce(n, 0) + id"},
    "up nullable": {"up": "n + id", "nullable": True},
    "up default": {"up": "coalesce(n, 0) + id", "default": "5"},
    "up check": {
        "up": "id * 2",
        "check": {"name": "even#", "constraint": "c# % 2 = 0 and c# <> id + 12345678", "no_inherit": True},
    },
    "up unique": {"up": "id * 2", "unique": True},
    "up unique nullable": {"up": "nullif(id, 3)", "unique": True, "nullable": True},
    "up references": {
        "up": "abs(id) % 9 + 1",
        "references": {"name": "fk#", "table": "p", "column": "id", "on_delete": "CASCADE"},
        "comment": "it's",
    },
    "everything": {
        "up": "abs(id) % 9 + 1",
        "default": "1",
        "references": {"name": "fk#", "table": "p", "column": "id"},
        "check": {"name": "positive#", "constraint": "c# > 0"},
        "comment": "everything",
    },
    "varchar": {"up": "upper(b)", "type": "varchar(20)"},
    "array": {"up": "array[a, b]", "type": "text[]"},
    "jsonb": {"up": "jsonb_build_object('a', a)", "type": "jsonb"},
    "json": {"up": "json_build_object('a', a)", "type": "json"},
    "stable default": {"type": "timestamptz", "default": "now()"},
    "volatile default": {"type": "uuid", "default": "gen_random_uuid()"},
    "volatile default nullable": {"type": "float8", "default": "random()", "nullable": True},
    "serial": {"type": "serial", "unique": True},
}
"""Columns, by name, with # for the number of the one of several that are added at once."""
VOLATILE = {"stable default", "volatile default", "volatile default nullable", "serial"}


def add(number: int, name: str) -> dict[str, object]:
    column = {"name": "c#", "type": "int", **ADDED[name]}
    up = {"up": column.pop("up")} if "up" in column else {}
    found: dict[str, object] = json.loads(json.dumps({"table": "t", "column": column, **up}).replace("#", str(number)))
    return {"add_column": found}


def added(name: str, *groups: Collection[str]) -> Iterator[Case]:
    """A case of each group; of each of its members where CHANGEOVER_EVERY_LEG is set."""
    for group in groups:
        for names in [[one] for one in group] if EVERY_LEG else [group]:
            yield Case(
                name=f"{name} {', '.join(names)}",
                schema=T,
                operations=[add(number, one) for number, one in enumerate(names)],
                computed=not VOLATILE.intersection(names),
                writes=W,
            )


CALCULATED = [name for name in ADDED if "up" in ADDED[name]]
CASES = [
    *added("add", ["nullable"], CALCULATED[:7], CALCULATED[7:]),
    *added("add", [name for name in ADDED if name not in {*CALCULATED, *VOLATILE, "nullable"}], sorted(VOLATILE)),
    Case(name="rename", schema=T, operations=[{"rename_column": {"table": "t", "from": "a", "to": "z"}}], writes=W),
    Case(
        name="rename not null default",
        schema=T,
        operations=[{"rename_column": {"table": "t", "from": "b", "to": "z"}}],
        writes=W,
    ),
    Case(
        name="rename key", schema=T, operations=[{"rename_column": {"table": "t", "from": "id", "to": "z"}}], writes=W
    ),
    Case(name="drop", schema=T, operations=[{"drop_column": {"table": "t", "column": "a"}}], writes=W),
    Case(
        name="drop not null with default",
        schema=T,
        operations=[{"drop_column": {"table": "t", "column": "b"}}],
        writes=W,
    ),
    Case(
        name="drop with down",
        schema=T,
        operations=[{"drop_column": {"table": "t", "column": "b", "down": "'b' || id"}}],
        writes=W,
        after="insert into t (id) values (500)",
        back="insert into t (id, b) values (500, 'b500')",
    ),
    Case(
        name="type",
        schema=T,
        operations=[alter("n", type="text", up="n::text", down="n::int")],
        writes=W,
        after="insert into t (id, n) values (500, '77'); update t set n = '78' where id = 1",
        back="insert into t (id, n) values (500, 77); update t set n = 78 where id = 1",
    ),
    Case(name="type bigint", schema=T, operations=[alter("n", type="bigint", up="n", down="n")], writes=W),
    Case(name="type varchar", schema=T, operations=[alter("b", type="varchar(30)", up="b", down="b")], writes=W),
    Case(
        name="type key",
        schema=T,
        operations=[alter("id", type="bigint", up="id", down="id")],
        writes=W,
        after="insert into t (id, n) values (500, 77); update t set id = 501 where id = 500; delete from t where id = 5",
        back="insert into t (id, n) values (501, 77); delete from t where id = 5",
    ),
    Case(name="values", schema=T, operations=[alter("a", up="lower(a)", down="upper(a)")], writes=W),
    Case(
        name="values lossy", schema=T, operations=[alter("a", up="left(lower(a), 1)", down="a", lossy=True)], writes=W
    ),
    Case(
        name="not null by up",
        schema=T,
        operations=[alter("a", nullable=False, up="coalesce(a, '?')", down="nullif(a, '?')")],
        writes=W,
    ),
    Case(
        name="not null in place", schema=T + "delete from t where n is null;", operations=[alter("n", nullable=False)]
    ),
    Case(
        name="nullable",
        schema=T,
        operations=[alter("b", nullable=True, up="nullif(b, 'b3')", down="coalesce(b, 'b3')")],
        writes=W,
    ),
    Case(name="default in place", schema=T, operations=[alter("n", default="42")], writes=W),
    Case(name="default dropped", schema=T, operations=[alter("b", default=None)], writes=W),
    Case(
        name="default replaced",
        schema=T,
        operations=[alter("b", default="'new'")],
        writes=W,
        after="insert into t (id) values (500)",
        back="insert into t (id, b) values (500, 'new')",
    ),
    Case(
        name="check in place",
        schema=T,
        operations=[alter("n", check={"name": "k", "constraint": "n > -100", "no_inherit": True})],
        writes=W,
    ),
    Case(name="unique in place", schema=T, operations=[alter("n", unique={"name": "u"})], writes=W),
    Case(
        name="references in place",
        schema=T + "update t set n = abs(n) % 9 + 1;",
        operations=[alter("n", references={"name": "fk", "table": "p", "column": "id"})],
    ),
    Case(name="comment in place", schema=T + "comment on column t.n is 'old';", operations=[alter("n", comment="new")]),
    Case(name="comment dropped", schema=T + "comment on column t.n is 'old';", operations=[alter("n", comment=None)]),
    Case(
        name="everything in place",
        schema=T
        + "update t set n = id + 20 where n is null; update t set n = n + 1000; insert into p select i from generate_series(900, 1100) i;",
        operations=[
            alter(
                "n",
                nullable=False,
                default="950",
                check={"name": "k", "constraint": "n > 0"},
                comment="c",
                references={"name": "fk", "table": "p", "column": "id"},
            )
        ],
    ),
    Case(
        name="everything through a new column",
        schema=T + "insert into p select i from generate_series(900, 1100) i;",
        operations=[
            alter(
                "n",
                type="bigint",
                up="coalesce(n, 0) + 1000",
                down="n - 1000",
                lossy=True,
                nullable=False,
                default="950",
                check={"name": "k", "constraint": "n > 0"},
                comment="c",
                references={"name": "fk", "table": "p", "column": "id"},
            )
        ],
    ),
    Case(
        name="default with type",
        schema=T,
        operations=[alter("b", type="varchar", up="b", down="b", default="'v'")],
        writes=W,
    ),
    Case(
        name="default dropped with type",
        schema=T,
        operations=[alter("b", type="varchar", up="b", down="b", default=None)],
        writes=W,
    ),
    Case(
        name="unique with type",
        schema=T,
        operations=[alter("n", type="bigint", up="n", down="n", unique={"name": "u"})],
        writes=W,
    ),
]


@each(CASES)
def test_cycle(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()
