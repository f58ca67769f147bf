# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for constraints that are dropped or renamed, in place and by way of new columns."""

from tests.conformance.constraints import COMMENT, T, W, add, alter, create, drop, drop_multi, rename
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection
from tests.conformance.together import together

DROPPED = [
    Case(name="check", schema=add("check (a > 0)", COMMENT), operations=[drop()], writes=W),
    Case(name="check not valid", schema=add("check (id > 5) not valid"), operations=[drop()]),
    Case(name="check not enforced", schema=add("check (id > 5) not enforced"), operations=[drop()]),
    Case(
        name="foreign key not enforced",
        schema=add("foreign key (d) references p (id) not enforced"),
        operations=[drop()],
    ),
    Case(
        name="check of two",
        schema=add("check (a > 0 and b is not null) no inherit"),
        operations=[drop_multi()],
        writes=W,
    ),
    Case(
        name="foreign key",
        schema=add("foreign key (a, b) references p on delete cascade on update set null", COMMENT),
        operations=[drop()],
        writes=W,
        after="delete from t where id = 6; delete from p where x = 6",
        back="delete from t where id = 6; delete from p where x = 6",
    ),
    Case(
        name="foreign key deferred",
        schema=add("foreign key (a, b) references p match full deferrable initially deferred"),
        operations=[drop_multi()],
        writes=W,
    ),
    Case(name="foreign key not valid", schema=add("foreign key (d) references p (id) not valid"), operations=[drop()]),
    Case(name="foreign key to itself", schema=add("foreign key (a) references t"), operations=[drop()], writes=W),
    Case(
        name="unique",
        schema=add("unique (a)", COMMENT + "comment on index k is 'index'"),
        operations=[drop()],
        writes=W,
    ),
    Case(
        name="unique of two",
        schema=add("unique nulls not distinct (b, a) include (d) with (fillfactor = 70)"),
        operations=[drop()],
        writes=W,
    ),
    Case(
        name="unique deferred",
        schema=add("unique (a) deferrable initially deferred", COMMENT),
        operations=[drop_multi()],
        writes=W,
    ),
    Case(
        name="unique clustered", schema=add("unique (a)", "alter table t cluster on k"), operations=[drop()], writes=W
    ),
    Case(
        name="check by down",
        schema=add("check (length(b) > 1)", COMMENT),
        operations=[drop(up="b", down="case when length(b) > 1 then b else lpad(b, 2, '-') end")],
        plain=["alter table t drop constraint k"],
        writes=W,
        after="insert into t (id, b) values (50, 'x'); update t set b = 'y' where id = 2",
        back="insert into t (id, b) values (50, '-x'); update t set b = '-y' where id = 2",
    ),
    Case(
        name="check of two by down",
        schema=add("check (a >= d)"),
        operations=[drop_multi(up={"a": "a", "d": "d"}, down={"a": "greatest(a, d)", "d": "d"})],
        writes=W,
        after="insert into t (id, a, d) values (50, 1, 7); update t set a = -5 where id = 3",
        back="insert into t (id, a, d) values (50, 7, 7); update t set a = d where id = 3",
    ),
    Case(
        name="check of two by other values of both",
        schema=add("check (a >= d)"),
        operations=[drop_multi(up={"a": "-a", "d": "-d"}, down={"a": "-a", "d": "-d"})],
        writes=W,
        after="update t set a = -50 where id = 3",
        back="update t set a = 50 where id = 3",
    ),
    Case(
        name="unique by down",
        schema=add("unique (b)"),
        operations=[drop(down="case when b ~ '^[a-z]+[0-9]+$' then b else b || id end")],
        plain=["alter table t drop constraint k"],
        writes=W,
        after="insert into t (id, b) values (50, 'x'), (51, 'x')",
        back="insert into t (id, b) values (50, 'x50'), (51, 'x51')",
    ),
    Case(
        name="foreign key by down",
        schema=add("foreign key (c) references p (id)"),
        operations=[drop(down="case when c <= 400 then c end")],
        plain=["alter table t drop constraint k"],
        writes=W,
        after="insert into t (id, c) values (50, 999)",
        back="insert into t (id, c) values (50, null)",
    ),
    Case(
        name="beside another on the column",
        schema=add("check (a > 0)", "alter table t add constraint l check (a < 99); create index i on t (a)"),
        operations=[drop(down="greatest(a, 1)")],
        plain=["alter table t drop constraint k"],
        writes=W,
    ),
    Case(
        name="of an altered column",
        schema=add("check (a > 0)", "alter table t add constraint l unique (a)"),
        operations=[alter("a", type="text", up="a::text", down="a::int"), drop()],
        writes=W,
    ),
    Case(
        name="unique of an altered column",
        schema=add("unique (a)"),
        operations=[alter("a", type="bigint", up="a", down="a"), drop()],
        writes=W,
    ),
    Case(
        name="unique of a renamed column",
        schema=add("unique (a, b)"),
        operations=[{"rename_column": {"table": "t", "from": "a", "to": "aa"}}, drop()],
    ),
    Case(
        name="check of a renamed column",
        schema=add("check (a > 0)"),
        operations=[{"rename_column": {"table": "t", "from": "a", "to": "aa"}}, drop()],
    ),
    Case(
        name="of a dropped column",
        schema=add("unique (a, c)"),
        operations=[{"drop_column": {"table": "t", "column": "c", "down": "a * 10", "lossy": True}}, drop()],
    ),
    Case(
        name="and another made",
        schema=add("check (a > 0)"),
        operations=[drop(), create("check", name="l", check="a > -5")],
        writes=W,
    ),
]
RENAMED = [
    Case(name="check", schema=add("check (a > 0)", COMMENT), operations=[rename()], writes=W),
    Case(name="check not valid", schema=add("check (id > 5) not valid"), operations=[rename()]),
    Case(name="foreign key", schema=add("foreign key (a, b) references p"), operations=[rename()], writes=W),
    Case(name="unique", schema=add("unique (a)", COMMENT), operations=[rename()], writes=W),
    Case(
        name="primary key",
        schema=T + "create table child (t int references t);",
        operations=[rename("t_pkey")],
        writes=W,
    ),
    Case(name="exclusion", schema=add("exclude using btree (a with =)"), operations=[rename()], writes=W),
    Case(name="not null", schema=T + "alter table t add constraint k not null a;", operations=[rename()], writes=W),
    Case(name="not null by its usual name", schema=T, operations=[rename("t_id_not_null")], writes=W),
    Case(
        name="check of an altered column",
        schema=add("check (a > 0)", COMMENT),
        operations=[alter("a", type="bigint", up="a", down="a"), rename()],
        writes=W,
    ),
    Case(
        name="unique of an altered column",
        schema=add("unique (a, b) deferrable", COMMENT),
        operations=[alter("a", type="bigint", up="a", down="a"), rename()],
        writes=W,
    ),
    Case(
        name="primary key of an altered column",
        schema=T,
        operations=[alter("id", type="bigint", up="id", down="id"), rename("t_pkey")],
        writes=W,
    ),
    Case(
        name="of a renamed column",
        schema=add("unique (a)"),
        operations=[{"rename_column": {"table": "t", "from": "a", "to": "aa"}}, rename()],
    ),
    Case(
        name="two",
        schema=add("check (a > 0)", "alter table t add constraint l unique (a)"),
        operations=[rename(), rename("l", "y")],
        writes=W,
    ),
]
QUOTED = """
create schema "S x"; create table "S x"."P "" q" ("k 1" int, "K" text, primary key ("k 1", "K"));
insert into "S x"."P "" q" select i, 'p' || i from generate_series(1, 40) i;
create table "S x"."T t" (id int primary key, "a 1" int, "B""b" text, "order" int);
insert into "S x"."T t" select i, i, 'p' || i, i from generate_series(1, 20) i;
"""
QT = "S x.T t"
QUOTED_CASES = [
    Case(
        name="create",
        schema=QUOTED,
        operations=[
            {"create_constraint": {"table": QT, "name": 'U "u', "type": "unique", "columns": ["a 1", 'B"b']}},
            {
                "create_constraint": {
                    "table": QT,
                    "name": "F {table}",
                    "type": "foreign_key",
                    "columns": ["a 1", 'B"b'],
                    "references": {"table": 'S x.P " q', "columns": ["k 1", "K"]},
                }
            },
            {
                "create_constraint": {
                    "table": QT,
                    "name": "C'c",
                    "type": "check",
                    "columns": ["order"],
                    "check": '"order" > 0',
                    "up": {"order": '"order"'},
                    "down": {"order": "order"},
                }
            },
        ],
        plain=[
            'alter table "S x"."T t" add constraint "U ""u" unique ("a 1", "B""b")',
            'alter table "S x"."T t" add constraint "F {table}" foreign key ("a 1", "B""b") references "S x"."P "" q"',
            'alter table "S x"."T t" add constraint "C\'c" check ("order" > 0)',
        ],
    ),
    Case(
        name="drop by down",
        schema=QUOTED
        + 'alter table "S x"."T t" add constraint "{table} k" check ("order" > "a 1" - 5); comment on constraint "{table} k" on "S x"."T t" is \'c\';'
        ' alter table "S x"."T t" add constraint "{table} u" unique ("B""b"); alter table "S x"."T t" add constraint "f k" foreign key ("a 1", "B""b") references "S x"."P "" q"',
        operations=[
            {
                "drop_multicolumn_constraint": {
                    "table": QT,
                    "name": "{table} k",
                    "down": {"order": 'greatest("order", "a 1")'},
                }
            },
            {"drop_constraint": {"table": QT, "name": "{table} u"}},
            {"rename_constraint": {"table": QT, "from": "f k", "to": 'f "z'}},
        ],
        plain=[
            'alter table "S x"."T t" drop constraint "{table} k"',
            'alter table "S x"."T t" drop constraint "{table} u"',
            'alter table "S x"."T t" rename constraint "f k" to "f ""z"',
        ],
        after='update "S x"."T t" set "order" = 0 where id = 9',
        back='update "S x"."T t" set "order" = 9 where id = 9',
    ),
]


@each([*together([*DROPPED, *RENAMED], names="t p k l z"), *QUOTED_CASES])
def test_cycle(case: Case, conn: Connection, url: str) -> None:
    """All legs, compared with the plain statements."""
    Cycle(case, conn, url).all_legs()
