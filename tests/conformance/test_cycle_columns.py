# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for operations on single columns."""

from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection

T = """
create table p (id int primary key, code text unique);
insert into p select i, 'c' || i from generate_series(1, 9) i;
create table t (id int primary key, a text, n int, b text not null default 'b');
insert into t select i, case when i % 3 <> 0 then 'A' || i end, case when i % 4 <> 0 then i end, 'b' || i
from generate_series(-10, 20) i;
"""
W = "insert into t (id, a, n) values (100, 'A100', 100), (101, null, null); update t set a = 'A_' || id where id < 0;"


def add(name: str, up: str | None = None, **column: object) -> dict[str, object]:
    body: dict[str, object] = {"table": "t", "column": {"name": "c", "type": "int", **column}}
    return {"add_column": body | ({"up": up} if up else {})}


def alter(column: str, **rest: object) -> dict[str, object]:
    return {"alter_column": {"table": "t", "column": column, **rest}}


CASES = [
    Case(name="add nullable", schema=T, operations=[add("c", nullable=True)], writes=W),
    Case(name="add constant default", schema=T, operations=[add("c", default="7")], writes=W),
    Case(name="add constant default nullable", schema=T, operations=[add("c", default="7", nullable=True)], writes=W),
    Case(
        name="add stable default",
        schema=T,
        operations=[add("c", type="timestamptz", default="now()")],
        computed=False,
        writes=W,
    ),
    Case(
        name="add volatile default",
        schema=T,
        operations=[add("c", type="uuid", default="gen_random_uuid()")],
        computed=False,
        writes=W,
    ),
    Case(
        name="add volatile default nullable",
        schema=T,
        operations=[add("c", type="float8", default="random()", nullable=True)],
        computed=False,
        writes=W,
    ),
    Case(name="add serial", schema=T, operations=[add("c", type="serial", unique=True)], computed=False, writes=W),
    Case(name="add up", schema=T, operations=[add("c", "coalesce(n, 0) + id")], writes=W),
    Case(name="add up nullable", schema=T, operations=[add("c", "n + id", nullable=True)], writes=W),
    Case(name="add up default", schema=T, operations=[add("c", "coalesce(n, 0) + id", default="5")], writes=W),
    Case(
        name="add up check",
        schema=T,
        operations=[
            add(
                "c",
                "id * 2",
                check={"name": "even", "constraint": "c % 2 = 0 and c <> id + 12345678", "no_inherit": True},
            )
        ],
        writes=W,
    ),
    Case(name="add up unique", schema=T, operations=[add("c", "id * 2", unique=True)], writes=W),
    Case(
        name="add up unique nullable",
        schema=T,
        operations=[add("c", "nullif(id, 3)", unique=True, nullable=True)],
        writes=W,
    ),
    Case(
        name="add up references",
        schema=T,
        operations=[
            add(
                "c",
                "abs(id) % 9 + 1",
                references={"name": "fk", "table": "p", "column": "id", "on_delete": "CASCADE"},
                comment="it's",
            )
        ],
        writes=W,
    ),
    Case(
        name="add references nullable deferrable",
        schema=T,
        operations=[
            add(
                "c",
                nullable=True,
                type="text",
                references={
                    "name": "fk",
                    "table": "p",
                    "column": "code",
                    "deferrable": True,
                    "initially_deferred": True,
                },
            )
        ],
        writes=W,
    ),
    Case(
        name="add everything",
        schema=T,
        operations=[
            add(
                "c",
                "abs(id) % 9 + 1",
                default="1",
                references={"name": "fk", "table": "p", "column": "id"},
                check={"name": "positive", "constraint": "c > 0"},
                comment="everything",
            )
        ],
        writes=W,
    ),
    Case(
        name="add constant with check",
        schema=T,
        operations=[add("c", default="7", check={"name": "k", "constraint": "c > 0"})],
        writes=W,
    ),
    Case(name="add constant with comment", schema=T, operations=[add("c", default="7", comment="x")], writes=W),
    Case(name="add varchar", schema=T, operations=[add("c", "upper(b)", type="varchar(20)")], writes=W),
    Case(name="add array", schema=T, operations=[add("c", "array[a, b]", type="text[]")], writes=W),
    Case(name="add jsonb", schema=T, operations=[add("c", "jsonb_build_object('a', a)", type="jsonb")], writes=W),
    Case(name="add json", schema=T, operations=[add("c", "json_build_object('a', a)", type="json")], writes=W),
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
