# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for constraints that are made, in place and by way of new columns."""

from tests.conformance.constraints import NO_KEY, SAME, P, T, W, alter, create
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection
from tests.conformance.together import together

RESTRICTED = """;
do $$ begin delete from p where x = 4; raise 'deleted'; exception when restrict_violation or foreign_key_violation then null; end $$;
do $$ begin update p set id = 0 where x = 4; raise 'updated'; exception when restrict_violation or foreign_key_violation then null; end $$
"""
"""Nobody touches what a row refers to. A server below 18 says it by the code of every foreign key."""
CREATED = [
    Case(name="unique", schema=T, operations=[create("unique", "a")], writes=W),
    Case(name="unique of two", schema=T, operations=[create("unique", "b", "a")], writes=W),
    Case(name="unique that keeps its values", schema=T, operations=[create("unique", "a", "b", **SAME)], writes=W),
    Case(name="unique deferrable", schema=T, operations=[create("unique", "a", "b", deferrable=True)], writes=W),
    Case(
        name="unique deferred",
        schema=T,
        operations=[create("unique", "a", deferrable=True, initially_deferred=True)],
        writes=W,
    ),
    Case(
        name="unique by other values",
        schema=T + "update t set b = 'same' where id in (3, 5);",
        operations=[create("unique", "b", up={"b": "b || '-' || id"}, down={"b": "regexp_replace(b, '-[0-9]+$', '')"})],
        writes=W,
        after="insert into t (id, b) values (50, 'x-50'); update t set b = 'y-2' where id = 2",
        back="insert into t (id, b) values (50, 'x'); update t set b = 'y' where id = 2",
    ),
    Case(name="check", schema=T, operations=[create("check", check="a > 0 or b is null")], writes=W),
    Case(
        name="check with columns",
        schema=T,
        operations=[create("check", "a", "b", check="a > 0 or b like 'p%'", **SAME)],
        writes=W,
    ),
    Case(
        name="check no inherit", schema=T, operations=[create("check", check="a > 0 -- so", no_inherit=True)], writes=W
    ),
    Case(
        name="check by other values",
        schema=T + "update t set c = -1 where id in (3, 5);",
        operations=[
            create(
                "check",
                "b",
                "c",
                check="b = 'p1' or c > 0",
                up={"b": "b", "c": "case when b <> 'p1' and c <= 0 then 123 else c end"},
                down={"b": "b", "c": "c"},
            )
        ],
        writes=W + "insert into t (id, b, c) values (33, 'x', -7)",
        after="update t set c = 7 where id = 4",
        # Through a swap and back the rows that were cleansed keep their old values, until they are written.
        back="update t set c = 7 where id = 4",
    ),
    Case(
        name="check by other values of two",
        schema=T,
        operations=[
            create(
                "check",
                "a",
                "c",
                check="a > 100 and (c > 100 or c is null)",
                up={"a": "a + 100", "c": "c + 100"},
                down={"a": "a - 100", "c": "c - 100"},
            )
        ],
        writes=W,
        after="insert into t (id, a, c) values (60, 160, 260); update t set c = 333 where id = 4",
        back="insert into t (id, a, c) values (60, 60, 160); update t set c = 233 where id = 4",
    ),
    Case(
        name="foreign key",
        schema=T,
        operations=[create("foreign_key", "c", references={"table": "p", "columns": ["id"]})],
        writes=W,
    ),
    Case(name="foreign key of two", schema=T, operations=[create("foreign_key", "a", "b", references=P)], writes=W),
    Case(
        name="foreign key in the other order",
        schema=T,
        operations=[create("foreign_key", "b", "a", references={"table": "p", "columns": ["y", "x"]})],
        writes=W,
    ),
    Case(
        name="foreign key with actions",
        schema=T,
        operations=[create("foreign_key", "a", "b", references={**P, "on_delete": "CASCADE", "on_update": "SET NULL"})],
        writes=W,
        after="delete from p where x = 4; update p set y = 'q' where x = 5",
        back="delete from t where id = 4; update t set a = null, b = null where id = 5; delete from p where x = 4; update p set y = 'q' where x = 5",
    ),
    Case(
        name="foreign key that sets some columns",
        schema=T,
        operations=[
            create(
                "foreign_key",
                "a",
                "b",
                up={"b": "trim(b)"},
                down={"b": "b"},
                references={**P, "on_delete": "SET NULL", "on_delete_set_columns": ["b"]},
            )
        ],
        writes=W,
        after="delete from p where x = 4",
        back="update t set b = null where id = 4; delete from p where x = 4",
    ),
    Case(
        name="foreign keys with the other actions",
        schema=T + "alter table t alter a set default 40; alter table t alter b set default 'p40';",
        operations=[
            create("foreign_key", "a", "b", references={**P, "on_delete": "SET DEFAULT", "on_update": "CASCADE"}),
            create(
                "foreign_key",
                "c",
                name="l",
                references={"table": "p", "columns": ["id"], "on_delete": "RESTRICT", "on_update": "RESTRICT"},
            ),
        ],
        writes=W,
        after="update p set y = 'q' where x = 5; delete from p where x = 6" + RESTRICTED,
        back="update t set b = 'q' where id = 5; update t set a = 40, b = 'p40' where id = 6; update p set y = 'q' where x = 5;"
        " delete from p where x = 6",
        ends=False,
    ),
    Case(
        name="foreign key match full",
        schema=T + "update t set a = null, b = null where id = 7;",
        operations=[create("foreign_key", "a", "b", references={**P, "match_type": "FULL"})],
        writes=W,
    ),
    Case(
        name="foreign key deferred",
        schema=T,
        operations=[create("foreign_key", "a", "b", references=P, deferrable=True, initially_deferred=True)],
        writes=W,
    ),
    Case(
        name="foreign key to itself",
        schema=T,
        operations=[create("foreign_key", "a", references={"table": "t", "columns": ["id"]})],
        writes=W,
    ),
    Case(
        name="foreign key by other values",
        schema=T + "update t set c = 12345 where id in (3, 5);",
        operations=[
            create(
                "foreign_key",
                "c",
                references={"table": "p", "columns": ["id"]},
                up={"c": "case when c < 1000 then c end"},
                down={"c": "c"},
            )
        ],
        writes=W,
        after="update t set c = 20 where id = 4",
        back="update t set c = 20 where id = 4",
    ),
    Case(
        name="foreign key to a table of the spec",
        schema=T + "update t set c = null;",
        operations=[
            {"create_table": {"name": "n", "columns": [{"name": "id", "type": "int", "pk": True}]}},
            create("foreign_key", "c", references={"table": "n", "columns": ["id"]}),
        ],
    ),
    Case(name="primary key", schema=NO_KEY, operations=[create("primary_key", "id")], writes=W),
    Case(
        name="primary key of two that may be null",
        schema=NO_KEY,
        operations=[create("primary_key", "a", "b")],
        writes=W,
    ),
    Case(
        name="primary key not null already",
        schema=NO_KEY + "alter table t alter a set not null;",
        operations=[create("primary_key", "a")],
        writes=W,
    ),
    Case(
        name="primary key by other values",
        schema=NO_KEY + "alter table t add unique (id);",
        operations=[create("primary_key", "c", up={"c": "coalesce(c, -id)"}, down={"c": "nullif(c, -id)"})],
        writes=W,
        after="insert into t (id, c) values (70, 700)",
        back="insert into t (id, c) values (70, 700)",
    ),
    Case(
        name="on an altered column",
        schema=T,
        operations=[alter("a", type="bigint", up="a", down="a"), create("unique", "a", "b")],
        writes=W,
    ),
    Case(
        name="check on an altered column",
        schema=T,
        operations=[alter("a", type="bigint", up="a", down="a"), create("check", "a", check="a > 0")],
        writes=W,
    ),
    Case(
        name="foreign key from an altered column",
        schema=T,
        operations=[alter("a", type="bigint", up="a", down="a"), create("foreign_key", "a", "b", references=P)],
        writes=W,
    ),
    Case(
        name="on a renamed column",
        schema=T,
        operations=[{"rename_column": {"table": "t", "from": "a", "to": "aa"}}, create("unique", "aa", "b")],
    ),
    Case(
        name="primary key on a renamed column",
        schema=NO_KEY + "alter table t add unique (id); alter table t alter id set not null;",
        operations=[{"rename_column": {"table": "t", "from": "a", "to": "aa"}}, create("primary_key", "aa")],
        plain=["alter table t add constraint k primary key (a)", "alter table t rename column a to aa"],
    ),
    Case(
        name="on an added column",
        schema=T,
        operations=[
            {"add_column": {"table": "t", "column": {"name": "n", "type": "int"}, "up": "id * 2"}},
            create("unique", "n", "a"),
        ],
        writes=W,
    ),
    Case(
        name="two at once",
        schema=T,
        operations=[create("unique", "a", "b"), create("check", name="l", check="a > 0")],
        writes=W,
    ),
]


@each(together(CREATED, names="t p k l n"))
def test_cycle(case: Case, conn: Connection, url: str) -> None:
    """All legs, compared with the plain statements."""
    Cycle(case, conn, url).all_legs()
