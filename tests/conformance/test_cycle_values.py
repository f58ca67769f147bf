# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for keys and values of every kind: what PostgreSQL can store has to arrive, to the last bit."""

from collections.abc import Mapping, Sequence

from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection
from tests.legs import EVERY_LEG

KEYS = {
    "uuid": ("uuid", "md5(i::text)::uuid"),
    "text": ('text collate "C"', "'k' || i || repeat('''\\\"', i % 3)"),
    "text collated": ("text", "chr(64 + i) || 'é' || i"),
    "negative": ("int", "i * -1000"),
    "gaps": ("bigint", "i * 9007199254740993"),
    "numeric": ("numeric", "i / 7.0"),
    "timestamptz": ("timestamptz", "'2020-01-01'::timestamptz + i * interval '1.000001 s'"),
    "date": ("date", "case i when 1 then '-infinity'::date when 2 then 'infinity' else '2000-02-28'::date + i end"),
    "bytea": ("bytea", "decode(lpad(to_hex(i), 4, '0'), 'hex')"),
    "double": ("float8", "case i when 1 then 'NaN'::float8 when 2 then '-infinity' else i / 3.0 end"),
    "enum": ("mood", "(enum_range(null::mood))[i]"),
    "domain": ("positive", "i"),
    "boolean": ("boolean", "i = 1"),
    "inet": ("inet", "'10.0.0.0'::inet + i"),
    "interval": ("interval", "i * interval '1 month 2 days 3.5 s'"),
    "char": ("char(9)", "'c' || i"),
    "array": ("int[]", "array[i, i % 2]"),
    "composite type": ("pair", "row(i, 'x' || i)::pair"),
    "range": ("int4range", "int4range(i, i + 5)"),
}
TYPES = (
    "create type mood as enum ('e', 'd', 'c', 'b', 'a'); create domain positive as int check (value > 0);"
    " create type pair as (n int, s text);"
)
ROWS = {"boolean": 2, "enum": 5}


def key_case(names: Sequence[str]) -> Case:
    """A table for each kind of key, changed together."""
    schema, operations = [TYPES], []
    for n, name in enumerate(names):
        kind, value = KEYS[name]
        schema.append(
            f"create table t{n} (k {kind} primary key, v int);"
            f" insert into t{n} select {value}, nullif(i, 4) from generate_series(1, {ROWS.get(name, 23)}) i;"
        )
        operations += [
            {"alter_column": {"table": f"t{n}", "column": "v", "type": "bigint", "up": "v", "down": "v"}},
            {"add_column": {"table": f"t{n}", "column": {"name": "c", "type": "text"}, "up": "k::text"}},
        ]
    return Case(name=f"key - {', '.join(names)}", ends=False, schema=" ".join(schema), operations=operations)


def key_cases() -> list[Case]:
    """Several tables in one case; a case for each where CHANGEOVER_EVERY_LEG is set."""
    names = list(KEYS)
    at_once = 1 if EVERY_LEG else 5
    return [key_case(names[first : first + at_once]) for first in range(0, len(names), at_once)]


VALUES = {
    "json": ("json", """'{"b":1, "a" : [1.0,1.00], "a":2}'::json"""),
    "jsonb": ("jsonb", """'{"b":1.00, "a" : [1.0, null]}'::jsonb"""),
    "json null": ("jsonb", "'null'::jsonb"),
    "text array": ("text[]", """array['a', null, 'NULL', '', '{', '"', '\\']"""),
    "odd array": ("int[]", "'[5:6]={1,2}'::int[]"),
    "empty array": ("int[][]", "'{}'::int[]"),
    "numeric": (
        "numeric",
        "case i when 1 then 1.0 when 2 then 1.00 when 3 then 'NaN' when 4 then 'Infinity' else 1e-30 end",
    ),
    "float": (
        "float8",
        "case i when 1 then '-0'::float8 when 2 then 'NaN' when 3 then '-Infinity' when 4 then 0.1 + 0.2 else 5e-324 end",
    ),
    "real": ("real", "case i when 1 then '-0'::real when 2 then 'NaN' else 0.1 end"),
    "timestamptz": (
        "timestamptz",
        "case i when 1 then 'infinity'::timestamptz when 2 then '-infinity' else '4713-01-01 BC' end",
    ),
    "timestamp": ("timestamp", "'2021-03-28 02:30:00.000001'"),
    "timetz": ("timetz", "'04:05:06.789-08:30'"),
    "interval": ("interval", "case i when 1 then '1 mon'::interval when 2 then '30 days' else '720:00:00' end"),
    "bytea": ("bytea", "'\\x00ff27225c'"),
    "huge": ("text", "case when i = 2 then repeat(md5(i::text), 100000) else '' end"),
    "char": ("char(5)", "case i when 1 then '' else 'a ' end"),
    "text blanks": ("text", "case i when 1 then '' when 2 then ' ' when 3 then E'\\\\N' else E'\\n\\t' end"),
    "enum": ("mood", "'b'"),
    "domain": ("positive", "i"),
    "composite": ("pair", "case i when 1 then row(null, null)::pair else row(1, 'x')::pair end"),
    "bits": ("bit varying(9)", "b'1011'"),
    "money": ("money", "12.34::money"),
    "point": ("point", "point(i, '-0')"),
    "tsvector": ("tsvector", "'a fat cat'::tsvector"),
    "multirange": ("int4multirange", "'{[1,3),[5,7)}'"),
    "oid and regclass": ("regclass", "'pg_class'::regclass"),
    "macaddr": ("macaddr", "'08:00:2b:01:02:03'"),
    "enum array": ("mood[]", "array['a', null]::mood[]"),
}


def value_case(name: str, values: Mapping[str, tuple[str, str]]) -> Case:
    """The same image has to come out of a renamed column, of a column through text, and of a retired one."""
    columns, made, updates, operations = [], [], [], []
    for n, (called, (kind, value)) in enumerate(values.items()):
        columns.append(f"a{n} {kind}, b{n} {kind}, d{n} {kind}")
        made.append(", ".join([f"case when i <> 6 then ({value})::{kind} end"] * 3))
        updates.append(f"a{n} = b{n}")
        through_text = {"table": "t", "column": f"b{n}", "type": "text", "up": f"b{n}::text", "down": f"b{n}::{kind}"}
        new = {"name": f"e{n}", "type": kind, "nullable": True}
        operations += [
            {"rename_column": {"table": "t", "from": f"a{n}", "to": f"z{n}"}},
            {"alter_column": {**through_text, **({"lossy": True} if called in ("money", "char") else {})}},
            {"add_column": {"table": "t", "column": new, "up": f"d{n}"}},
            {"drop_column": {"table": "t", "column": f"d{n}", "down": f"e{n}"}},
        ]
    return Case(
        name=f"value - {name}",
        ends=False,
        schema=f"{TYPES} create table t (id int primary key, {', '.join(columns)});"
        f" insert into t select i, {', '.join(made)} from generate_series(1, 7) i;",
        writes=f"insert into t select (jsonb_populate_record(t, jsonb_build_object('id', id + 100))).* from t where id > 3;"
        f" update t set {', '.join(updates)}",
        operations=operations,
    )


def value_cases() -> list[Case]:
    """One column of each type in one table; a table for each type where CHANGEOVER_EVERY_LEG is set."""
    if EVERY_LEG:
        return [value_case(name, {name: value}) for name, value in VALUES.items()]
    return [value_case("every type", VALUES)]


OTHER = [
    Case(
        name="empty table",
        schema="create table t (id int primary key, a int not null)",
        operations=[
            {"alter_column": {"table": "t", "column": "id", "type": "bigint", "up": "id", "down": "id"}},
            {"alter_column": {"table": "t", "column": "a", "type": "text", "up": "a::text", "down": "a::int"}},
        ],
        after="insert into t (id, a) values (1, '5')",
        back="insert into t (id, a) values (1, 5)",
    ),
    Case(
        name="one row",
        schema="create table t (id int primary key, a int); insert into t values (-2147483648, null)",
        operations=[
            {"alter_column": {"table": "t", "column": "id", "type": "bigint", "up": "id", "down": "id"}},
            {"add_column": {"table": "t", "column": {"name": "c", "type": "int", "nullable": True}, "up": "a"}},
        ],
    ),
    Case(
        name="composite key",
        schema="create table t (a text, b int, c date default '2020-01-01', v int, primary key (b, a, c));"
        " insert into t select 'x' || i % 4, i, date '2020-01-01' + i % 3, i from generate_series(-20, 20) i",
        operations=[
            {"add_column": {"table": "t", "column": {"name": "d", "type": "text"}, "up": "a || b"}},
            {"rename_column": {"table": "t", "from": "b", "to": "bb"}},
        ],
    ),
    Case(
        name="no primary key",
        schema="create table t (a int not null, v int); create unique index k on t (a);"
        " insert into t select i, i from generate_series(1, 20) i",
        operations=[{"alter_column": {"table": "t", "column": "v", "type": "text", "up": "v::text", "down": "v::int"}}],
    ),
    Case(
        name="chosen key",
        schema="create table t (a int primary key, b text not null unique, v int);"
        " insert into t select i, 'b' || i, i from generate_series(1, 20) i",
        backfill={"key": {"t": ["b"]}},
        operations=[{"alter_column": {"table": "t", "column": "v", "type": "text", "up": "v::text", "down": "v::int"}}],
    ),
    Case(
        name="partitioned by nothing, unlogged",
        schema="create unlogged table t (a int primary key, v int); insert into t values (1, 1)",
        operations=[{"alter_column": {"table": "t", "column": "v", "type": "text", "up": "v::text", "down": "v::int"}}],
    ),
    Case(
        name="dropped columns",
        schema="create table t (x int, a int primary key, y int, v int); alter table t drop column x, drop column y;"
        " insert into t select i, i from generate_series(1, 9) i",
        operations=[{"alter_column": {"table": "t", "column": "v", "type": "text", "up": "v::text", "down": "v::int"}}],
    ),
    Case(
        name="comments in expressions",
        schema="create table t (a int primary key, v int); insert into t values (1, 1)",
        operations=[
            {
                "alter_column": {
                    "table": "t",
                    "column": "v",
                    "type": "text",
                    "up": "v::text -- up",
                    "down": "v::int -- down",
                }
            },
            {
                "add_column": {
                    "table": "t",
                    "column": {"name": "c", "type": "text", "check": {"name": "k", "constraint": "c <> '%' -- check"}},
                    "up": "'it''s $$ % {x} ' || t.v /* x */ -- y",
                }
            },
        ],
    ),
]


@each([*key_cases(), *value_cases(), *OTHER])
def test_cycle(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()
