# ruff: noqa: E501 - SQL reads better in long lines than folded
"""Specs as a stranger would write them against a schema that grew for years: many oddities in one table at once."""

from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection
from tests.conformance.together import together

CASES = [
    Case(
        name="reserved words everywhere",
        schema="""
            create table "order" ("select" int, "from" text, "user" text not null default 'x', "group" numeric(6, 2), "when" date,
              primary key ("select", "from"));
            create index "table" on "order" ("group"); create index "index" on "order" ("user", "from");
            insert into "order" select i, 'k' || i, 'u' || i % 3, i / 3.0, date '2024-01-01' + i from generate_series(-9, 9) i;
        """,
        operations=[
            {"rename_column": {"table": "order", "from": "user", "to": "column"}},
            {
                "alter_column": {
                    "table": "order",
                    "column": "group",
                    "type": "numeric(12,4)",
                    "up": '"group"',
                    "down": '"group"',
                }
            },
            {
                "add_column": {
                    "table": "order",
                    "column": {"name": "end", "type": "text"},
                    "up": """"from" || '/' || "select" """,
                }
            },
            {"drop_column": {"table": "order", "column": "when"}},
            {"create_index": {"name": "primary", "table": "order", "columns": ["end", "group"]}},
        ],
        writes="""insert into "order" values (100, 'new', 'w', 1.5, null); update "order" set "user" = 'z', "group" = -1 where "select" = 3;
            delete from "order" where "select" = -4; update "order" set "select" = 500, "from" = 'moved' where "select" = 4""",
        after="""insert into "order" ("select", "from", "column", "group", "end") values (101, 'n', 'w', 2.25, 'n/101');
            update "order" set "column" = 'y' where "select" = 5""",
        back="""insert into "order" values (101, 'n', 'w', 2.25); update "order" set "user" = 'y' where "select" = 5""",
    ),
    Case(
        name="quotes, dots, dollars and blanks in names",
        schema="""
            create table "a b ""c"" $1 %s" ("pk %I" uuid primary key, "x'y" int, "Ünï ☃" text, "$co$" text check ("$co$" <> ''));
            insert into "a b ""c"" $1 %s" select md5(i::text)::uuid, nullif(i, 3), 'é' || i, '$$' || i from generate_series(1, 20) i;
            comment on column "a b ""c"" $1 %s"."x'y" is 'it''s $$ "quoted" \\ %s';
        """,
        operations=[
            {
                "alter_column": {
                    "table": 'a b "c" $1 %s',
                    "column": "x'y",
                    "type": "bigint",
                    "up": '"x\'y" * 10',
                    "down": '"x\'y" / 10',
                }
            },
            {"rename_column": {"table": 'a b "c" $1 %s', "from": "$co$", "to": "%(name)s"}},
            {
                "add_column": {
                    "table": 'a b "c" $1 %s',
                    "column": {"name": ";drop", "type": "text", "nullable": True},
                    "up": '"Ünï ☃" || \' -- \' || "$co$" -- the end',
                }
            },
        ],
    ),
    Case(
        name="three column key of odd types",
        schema="""
            create type mood as enum ('z', 'a', 'm'); create domain code as text collate "C" check (value ~ '^[A-Z ]*$');
            create table t (m mood, c code, at timestamptz, v int not null, primary key (m, c, at));
            insert into t select (enum_range(null::mood))[1 + i % 3], chr(65 + i % 20), timestamptz '2024-03-31 00:59:59.999999+00' + i * interval '7 min', i
              from generate_series(1, 60) i;
        """,
        operations=[
            {"alter_column": {"table": "t", "column": "v", "type": "text", "up": "v::text", "down": "v::int"}},
            {"alter_column": {"table": "t", "column": "m", "type": "text", "up": "m::text", "down": "m::mood"}},
        ],
        writes="insert into t values ('a', 'NEW', 'infinity', -1); update t set at = at + interval '1 us' where v < 9; delete from t where m = 'z' and v > 50",
        after="insert into t values ('m', 'LATE', '-infinity', '77')",
        back="insert into t values ('m', 'LATE', '-infinity', 77)",
    ),
    Case(
        name="self reference, partial unique, generated and checks over all of them",
        schema="""
            create table node (
              id bigint primary key, parent bigint references node deferrable initially deferred, path text not null, deleted boolean not null default false,
              depth int generated always as (length(path) - length(replace(path, '/', ''))) stored,
              weight int default 1 check (weight > 0), constraint sane check (deleted or path <> ''));
            create unique index live on node (path) where not deleted;
            create index by_weight on node (weight desc nulls last) include (path) where weight > 1;
            insert into node (id, parent, path, deleted, weight) select i * -7, case when i > 1 then (i / 2) * -7 end, '/' || i, i % 5 = 0, 1 + i % 4 from generate_series(1, 30) i;
        """,
        operations=[
            {
                "alter_column": {
                    "table": "node",
                    "column": "weight",
                    "type": "bigint",
                    "up": "weight * 1000",
                    "down": "weight / 1000",
                }
            },
            {"rename_column": {"table": "node", "from": "parent", "to": "parent_id"}},
            {"alter_column": {"table": "node", "column": "deleted", "default": "true"}},
        ],
        writes="insert into node (id, parent, path) values (1, -7, '/new'); update node set deleted = not deleted where id = -14; delete from node where id = -210",
        after="insert into node (id, parent_id, path, deleted, weight) values (2, 1, '/two', false, 3000); update node set weight = 9000 where id = -7",
        back="insert into node (id, parent, path, deleted, weight) values (2, 1, '/two', false, 3); update node set weight = 9 where id = -7",
    ),
    Case(
        name="several operations on one column and on what is made of it",
        schema="""
            create table t (id int primary key, a text not null, b text, unique (a, b));
            insert into t select i, 'a' || i, nullif('b' || i, 'b3') from generate_series(1, 20) i;
            create view v as select id from t;
        """,
        operations=[
            {
                "add_column": {
                    "table": "t",
                    "column": {
                        "name": "n",
                        "type": "int",
                        "check": {"name": "n_positive", "constraint": "n > 0"},
                        "unique": True,
                    },
                    "up": "substr(a, 2)::int",
                }
            },
            {"alter_column": {"table": "t", "column": "a", "type": "varchar(40)", "up": "a", "down": "a"}},
            {
                "alter_column": {
                    "table": "t",
                    "column": "b",
                    "nullable": False,
                    "up": "coalesce(b, '')",
                    "down": "nullif(b, '')",
                }
            },
            {"create_index": {"name": "both", "table": "t", "columns": ["n", "a"]}},
        ],
    ),
    Case(
        name="an empty table of every kind of column",
        schema="""
            create type pair as (n int, s text);
            create table t (id smallint primary key generated always as identity, j jsonb default '{}', a text[] not null default '{}', p pair, r int4range, x xml, b bit varying(9), h tsvector);
        """,
        operations=[
            {"alter_column": {"table": "t", "column": "j", "type": "text", "up": "j::text", "down": "j::jsonb"}},
            {
                "alter_column": {
                    "table": "t",
                    "column": "a",
                    "type": "jsonb",
                    "default": "'[]'",
                    "up": "to_jsonb(a)",
                    "down": "array(select jsonb_array_elements_text(a))",
                }
            },
            {
                "add_column": {
                    "table": "t",
                    "column": {"name": "low", "type": "int", "nullable": True},
                    "up": "lower(r)",
                }
            },
            {"drop_column": {"table": "t", "column": "p", "down": "null::pair", "lossy": True}},
        ],
        writes="""insert into t (id, j, a, r) overriding system value values (9, '{"b": 1.00}', array['x', 'NULL', '"'], '[1,5)')""",
    ),
    Case(
        name="the key of a table that points at itself",
        schema="create table t (id int primary key, parent bigint references t); insert into t select i, nullif(i / 2, 0) from generate_series(1, 9) i;",
        operations=[{"alter_column": {"table": "t", "column": "id", "type": "bigint", "up": "id", "down": "id"}}],
        writes="insert into t values (20, 20), (21, 20)",
    ),
    Case(
        name="one row without a value",
        schema="create table t (id uuid primary key, v int); insert into t values (md5('x')::uuid, null);",
        operations=[
            {"alter_column": {"table": "t", "column": "v", "type": "bigint", "up": "v", "down": "v"}},
            {"rename_column": {"table": "t", "from": "id", "to": "uuid"}},
        ],
        after="insert into t (uuid, v) values (md5('y')::uuid, 5)",
        back="insert into t (id, v) values (md5('y')::uuid, 5)",
    ),
    Case(
        name="rows of megabytes beside rows of nothing",
        schema="""
            create table t (id int primary key, body text, small text storage external);
            insert into t select i, case when i % 2 = 0 then repeat(md5(i::text), 60000) end, repeat('x', i * 500) from generate_series(1, 10) i;
        """,
        operations=[
            {
                "add_column": {
                    "table": "t",
                    "column": {"name": "digest", "type": "text", "nullable": True},
                    "up": "md5(body)",
                }
            },
            {
                "alter_column": {
                    "table": "t",
                    "column": "body",
                    "type": "bytea",
                    "up": "convert_to(body, 'UTF8')",
                    "down": "convert_from(body, 'UTF8')",
                }
            },
        ],
        writes="update t set body = body || '!' where id = 4; update t set small = 'y' where id = 6",
    ),
    Case(
        name="table in another schema, named like one in front of it",
        schema="""
            create schema "Odd Schema"; create table t (id int primary key, n text); insert into t values (1, 'decoy');
            create table "Odd Schema".t (id int primary key, n int); insert into "Odd Schema".t select i, nullif(i / 2, 0) from generate_series(1, 9) i;
        """,
        operations=[
            {"alter_column": {"table": "Odd Schema.t", "column": "n", "type": "bigint", "up": "n", "down": "n"}},
            {
                "add_column": {
                    "table": "Odd Schema.t",
                    "column": {"name": "t", "type": "int", "nullable": True},
                    "up": "t.n + t.id",
                }
            },
        ],
        plain=[
            'alter table "Odd Schema".t add t int',
            'update "Odd Schema".t set t = n + id',
            'alter table "Odd Schema".t alter n type bigint',
        ],
    ),
    Case(
        name="two tables that point at each other",
        schema="""
            create table a (id int primary key, b_id int not null, n int); create table b (id int primary key, a_id int not null, n int);
            insert into a select i, i, i from generate_series(1, 9) i; insert into b select i, i, i from generate_series(1, 9) i;
            alter table a add foreign key (b_id) references b deferrable initially deferred; alter table b add foreign key (a_id) references a;
        """,
        operations=[
            {"alter_column": {"table": "a", "column": "b_id", "type": "bigint", "up": "b_id", "down": "b_id"}},
            {"rename_column": {"table": "b", "from": "a_id", "to": "owner"}},
            {"drop_column": {"table": "a", "column": "n"}},
        ],
        writes="insert into a values (50, 51, 1); insert into b values (51, 50, 1)",
    ),
]


@each(together(CASES, names="t"))
def test_cycle(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()
