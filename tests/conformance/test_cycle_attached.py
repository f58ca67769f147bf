# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for columns with everything that PostgreSQL can attach to one."""

from collections.abc import Iterable, Iterator, Sequence

from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection
from tests.legs import EVERY_LEG

ROWS = "select i, i * 10, 'A' || i, case when i % 3 <> 0 then i end from generate_series(1, 30) i"
ROLES = """
do $$ begin create role conformance_reader; exception when duplicate_object then null; end $$;
"""


def table(columns: str = "id int primary key", more: str = "") -> str:
    return f"create table t ({columns}, k int, a text, n int); insert into t (id, k, a, n) {ROWS}; {more}"


def alter(column: str, **rest: object) -> dict[str, object]:
    return {"alter_column": {"table": "t", "column": column, **rest}}


def rename(old: str, new: str = "z") -> dict[str, object]:
    return {"rename_column": {"table": "t", "from": old, "to": new}}


def drop(column: str, **rest: object) -> dict[str, object]:
    return {"drop_column": {"table": "t", "column": column, **rest}}


WIDEN_ID = alter("id", type="bigint", up="id", down="id")
WIDEN_N = alter("n", type="bigint", up="n", down="n")
UPPER = alter("a", up="lower(a)", down="upper(a)")
CHANGES = {"widen": WIDEN_N, "rename": rename("n"), "default": alter("n", default="3")}
ATTACHED = {
    "btree": "create index i# on t (n)",
    "desc nulls first": "create index i# on t (n desc nulls first)",
    "several columns": "create index i# on t (k, n, a)",
    "unique index": "create unique index i# on t (n)",
    "unique index nulls not distinct": "update t set n = -id where n is null; create unique index i# on t (n) nulls not distinct",
    "unique constraint": "alter table t add constraint u# unique (n)",
    "unique constraint of two": "alter table t add constraint u# unique (k, n)",
    "unique constraint include": "alter table t add constraint u# unique (k) include (n)",
    "unique constraint deferrable": "alter table t add constraint u# unique (n) deferrable",
    "unique constraint deferred": "alter table t add constraint u# unique (n) deferrable initially deferred",
    "unique nulls not distinct": "update t set n = -id where n is null; alter table t add constraint u# unique nulls not distinct (n)",
    "expression": "create index i# on t ((n + 1))",
    "expression of two": "create index i# on t ((n + k), a)",
    "expression cast": "create index i# on t ((n::text))",
    "partial": "create index i# on t (a) where n > 3",
    "partial unique": "create unique index i# on t (n) where n > 3",
    "include": "create index i# on t (a) include (n)",
    "hash": "create index i# on t using hash (n)",
    "brin": "create index i# on t using brin (n) with (pages_per_range = 4)",
    "fillfactor": "create index i# on t (n) with (fillfactor = 70)",
    "commented index": "create index i# on t (n); comment on index i# is 'it''s'",
    "statistics of an expression": "create index i# on t ((n + 1)); alter index i# alter column 1 set statistics 77",
    "twice": "create index i# on t (n); create index j# on t (n, a)",
    "same column twice": "create index i# on t (n, (n + 1), n)",
    "check": "alter table t add constraint c# check (n > -1)",
    "check of two": "alter table t add constraint c# check (n is null or n <= k)",
    "check not valid": "alter table t add constraint c# check (n > 0) not valid",
    "check no inherit": "alter table t add constraint c# check (n > -1) no inherit",
    "commented check": "alter table t add constraint c# check (n > -1); comment on constraint c# on t is 'why'",
    "foreign key": "create table p# (id int primary key); insert into p# select generate_series(1, 30);"
    " alter table t add constraint f# foreign key (n) references p# on delete cascade on update set null",
    "foreign key deferred": "create table p# (id int primary key); insert into p# select generate_series(1, 30);"
    " alter table t add constraint f# foreign key (n) references p# deferrable initially deferred",
    "foreign key not valid": "create table p# (id int primary key); insert into p# values (29);"
    " alter table t add constraint f# foreign key (n) references p# not valid",
    "foreign key of two": "create table p# (x int, y int, primary key (x, y)); insert into p# select i * 10, i from generate_series(1, 30) i;"
    " alter table t add constraint f# foreign key (k, n) references p# (x, y)",
    "foreign key match full": "create table p# (x int, y int, primary key (x, y)); insert into p# select i * 10, i from generate_series(1, 30) i;"
    " update t set n = id; alter table t add constraint f# foreign key (k, n) references p# (x, y) match full",
    "set null of one column": "create table p# (x int, y int, primary key (x, y)); insert into p# select i * 10, i from generate_series(1, 30) i;"
    " update t set n = id; alter table t add constraint f# foreign key (k, n) references p# (x, y) on delete set null (n)",
    "inbound": "alter table t add unique (n); create table c# (t_n int references t (n)); insert into c# values (1), (2), (null)",
    "inbound deferred": "alter table t add unique (n); create table c# (t_n int);"
    " insert into c# values (1), (2), (null); alter table c# add constraint q# foreign key (t_n) references t (n)"
    " on update cascade deferrable initially deferred",
    "inbound not valid": "alter table t add unique (n); create table c# (t_n int);"
    " insert into c# values (99); alter table c# add constraint q# foreign key (t_n) references t (n) not valid",
    "inbound of two": "alter table t add constraint u# unique (k, n); create table c# (x int, y int);"
    " insert into c# values (10, 1); alter table c# add constraint q# foreign key (x, y) references t (k, n) on delete cascade",
    "grants": ROLES + "grant select (n), update (n), references (n) on t to conformance_reader;"
    " grant select (n) on t to public; grant insert (n) on t to conformance_reader with grant option",
    "statistics target": "alter table t alter column n set statistics 321",
    "options": "alter table t alter column n set (n_distinct = -0.5)",
    "comment": "comment on column t.n is 'it''s \\ here'",
    "default": "alter table t alter column n set default 1 + 2",
    "sequence default": "create sequence sq# start 1000 increment 5; alter table t alter column n set default nextval('sq#')",
    "not null": "update t set n = 0 where n is null; alter table t alter column n set not null",
    "commented key": "comment on constraint t_pkey on t is 'key'; comment on index t_pkey is 'index'",
    "commented unique": "alter table t add constraint u# unique (n); comment on constraint u# on t is 'u'; comment on index u# is 'index'",
    "named commented not null": "update t set n = 0 where n is null; alter table t add constraint odd# not null n; comment on constraint odd# on t is 'x'",
    "commented inbound": "alter table t add unique (n); create table c# (t_n int constraint f# references t (n)); comment on constraint f# on c# is 'f'",
    "clustered unique": "alter table t add constraint u# unique (n); alter table t cluster on u#",
    "named not null": "update t set n = 0 where n is null; alter table t add constraint odd# not null n",
    "reloptions": "alter table t set (fillfactor = 80, autovacuum_enabled = false)",
    "replica identity full": "alter table t replica identity full",
    "clustered": "create index i# on t (n); alter table t cluster on i#",
    "publication": "create publication pub# for table t",
    "statement trigger": "create function quiet#() returns trigger language plpgsql as 'begin return null; end';"
    " create trigger tr# after insert on t for each statement execute function quiet#()",
    "row trigger": "create function same#() returns trigger language plpgsql as 'begin return new; end';"
    " create trigger tr# before insert on t for each row execute function same#()",
}
"""By name, with # for the number of the one of several on one table."""
TOGETHER = [
    "btree, desc nulls first, several columns, unique index, expression, expression of two, expression cast, partial",
    "partial unique, include, hash, brin, fillfactor, commented index, statistics of an expression, twice, same column twice",
    "unique constraint, unique constraint of two, unique constraint include, unique constraint deferrable,"
    " unique constraint deferred, commented unique, clustered unique",
    "unique index nulls not distinct, unique nulls not distinct, reloptions, comment, options, statistics target, grants, default",
    "check, check of two, check not valid, check no inherit, commented check, sequence default, commented key",
    "foreign key, foreign key deferred, foreign key not valid, foreign key of two, publication",
    "foreign key match full, set null of one column, replica identity full",
    "inbound, inbound deferred, inbound not valid, inbound of two, commented inbound",
    "not null, clustered, statement trigger, row trigger",
    "named commented not null",
    "named not null",
]
"""What one table has at once where not each is walked by itself: alike before, and none in the way of another."""
RENAMED = [
    "several columns, unique constraint, unique constraint include, unique constraint deferrable, expression of two,"
    " partial unique, include, same column twice",
    "check of two, foreign key of two, grants, statistics target, comment, sequence default",
    "set null of one column, inbound of two",
    "named not null",
]
"""The original column stays, with all that it has; only its indexes get a copy."""
ALSO = {"clustered": "alter table t cluster on i#", "clustered unique": "alter table t cluster on u#"}


def attached_cases(change: str, groups: Sequence[str]) -> Iterator[Case]:
    """A case of each group; of each of its members where CHANGEOVER_EVERY_LEG is set."""
    for group in groups:
        for names in [[name] for name in group.split(", ")] if EVERY_LEG else [group.split(", ")]:
            yield Case(
                name=f"{change} - {', '.join(names)}",
                schema=table(more="; ".join(each_numbered(ATTACHED[name] for name in names))),
                operations=[CHANGES[change]],
                writes="update t set n = n where id < 9; delete from t where id = 29; insert into t (id, k, a, n) values (29, 290, 'x', 29)",
                also="; ".join(each_numbered(ALSO.get(name, "") for name in names)).strip("; "),
                # A renamed column stays the one that it was.
                ends=change != "rename",
            )


def each_numbered(statements: Iterable[str]) -> Iterator[str]:
    return (statement.replace("#", str(number)) for number, statement in enumerate(statements))


CASES = [
    *attached_cases("widen", TOGETHER),
    *attached_cases("rename", RENAMED),
    *attached_cases("default", ["default", "sequence default"]),
]
KEYS = {
    "serial": ("id serial primary key", "select setval('t_id_seq', 77)"),
    "bigserial": ("id bigserial primary key", "select setval('t_id_seq', 77)"),
    "identity always": ("id int generated always as identity primary key", ""),
    "identity by default": ("id int generated by default as identity (start 5 increment 3 cache 7) primary key", ""),
    "composite": ("id int, part int default 1, primary key (part, id)", ""),
    "include": ("id int, primary key (id) include (n)", ""),
    "clustered": (
        "id int primary key with (fillfactor = 50)",
        "alter table t cluster on t_pkey; comment on constraint t_pkey on t is 'c'; comment on index t_pkey is 'i'",
    ),
    "named": ("id int constraint odd primary key", ""),
    "unique beside": ("id int primary key, unique (id)", ""),
    "unique index only": ("id int not null unique", ""),
    "inbound": (
        "id int primary key",
        "create table c (t_id int references t on delete cascade); insert into c values (1), (2)",
    ),
    "inbound several": (
        "id int primary key",
        "create table c (t_id int references t, again int references t on update cascade); insert into c values (1, 2);"
        " create table d (t_id int primary key references t deferrable initially deferred); insert into d values (7)",
    ),
    "self reference": (
        "id int primary key, parent int references t",
        "update t set parent = id - 1 where id between 2 and 19",
    ),
}


def key_case(name: str, columns: str, more: str, change: str, operation: dict[str, object]) -> Case:
    schema = f"create table t ({columns}, k int, a text, n int); insert into t (id, k, a, n) overriding system value {ROWS}; {more}"
    column = "z" if change == "rename" else "id"
    new = (
        ""
        if name.startswith("identity always")
        else f"insert into t ({column}, k) values (500, 5); update t set {column} = 501 where {column} = 500;"
    )
    after = f"{new} delete from t where {column} = 20; update t set n = 8 where {column} = 3"
    return Case(
        name=f"{change} key - {name}",
        schema=schema,
        operations=[operation],
        writes="update t set n = n; delete from t where id = 30",
        also="alter sequence t_id_seq as bigint"
        if (name, change) == ("serial", "widen")
        else "alter table t cluster on t_pkey"
        if name == "clustered"
        else "",
        after=after,
        back=after.replace("(z,", "(id,").replace("z =", "id ="),
        ends=change != "rename" or name == "inbound several",
    )


CASES += [
    key_case(name, columns, more, change, operation)
    for name, (columns, more) in KEYS.items()
    for change, operation in {"widen": WIDEN_ID, "rename": rename("id")}.items()
    if not (change == "widen" and name in ("bigserial", "self reference"))
]
CASES += [
    Case(
        name="retype self reference - child side",
        schema=table("id int primary key, parent int references t", "update t set parent = 1"),
        operations=[rename("parent")],
    ),
    Case(
        name="rename replica identity index",
        schema=table(
            more="update t set n = id; alter table t alter column n set not null; create unique index i on t (n); alter table t replica identity using index i"
        ),
        operations=[rename("n")],
    ),
    Case(
        name="rename update-of trigger",
        schema=table(
            more="create function same() returns trigger language plpgsql as 'begin return new; end';"
            " create trigger tr before update of n on t for each row when (new.n > 5) execute function same()"
        ),
        operations=[rename("n")],
        backfill={"user_triggers": "fire"},
    ),
    Case(
        name="text with index opclass",
        schema=table(
            more='create index i on t (a text_pattern_ops); create index j on t (lower(a)); create unique index u on t (a collate "C")'
        ),
        operations=[UPPER],
    ),
    Case(
        name="text collated",
        schema=table(more='alter table t alter column a type text collate "C"; create index i on t (a)'),
        operations=[UPPER],
        plain=['alter table t alter column a type text collate "C" using lower(a)'],
    ),
    Case(
        name="text to varchar with indexes",
        schema=table(
            more="create index i on t (a); create index j on t ((a || 'x')) where a is not null; alter table t add constraint c check (length(a) < 10)"
        ),
        operations=[alter("a", type="varchar(12)", up="a", down="a")],
    ),
    Case(
        name="int to text with index",
        schema=table(more="create index i on t (n); alter table t add unique (n)"),
        operations=[alter("n", type="text", up="n::text", down="n::int")],
    ),
    Case(
        name="drop with indexes",
        schema=table(
            more="create index i on t (n); create index j on t (a) where n > 2; alter table t add constraint c check (n > -5); alter table t add unique (n, k)"
        ),
        operations=[drop("n")],
    ),
    Case(
        name="drop with down and constraints",
        schema=table(more="create index i on t (n); alter table t add constraint c check (n > -5)"),
        operations=[drop("n", down="id", lossy=True)],
    ),
    Case(
        name="drop with foreign key",
        schema=table(
            more="create table p (id int primary key); insert into p select generate_series(1, 30); alter table t add foreign key (n) references p"
        ),
        operations=[drop("n")],
    ),
    Case(
        name="drop serial with down",
        schema=table("id int primary key, s serial"),
        operations=[drop("s", down="id", lossy=True)],
    ),
    Case(
        name="renumber key",
        schema=table(more="create table c (t_id int references t); insert into c values (1)").replace(
            "create table c (t_id int references t); insert into c values (1)", "select 1"
        ),
        operations=[alter("id", up="id + 1000", down="id - 1000")],
        after="insert into t (id) values (1500); update t set id = 1501 where id = 1500; delete from t where id = 1001",
        back="insert into t (id) values (500); update t set id = 501 where id = 500; delete from t where id = 1",
    ),
    Case(
        name="key to text",
        schema=table(),
        operations=[alter("id", type="text", up="'t' || id", down="substr(id, 2)::int")],
        after="insert into t (id) values ('t500')",
        back="insert into t (id) values (500)",
    ),
    Case(
        name="rename what others read: policy, generated column, views, function body, exclusion, statistics object",
        schema=table(
            more=ROLES + "alter table t enable row level security;"
            " create policy p on t to conformance_reader using (n > 3) with check (n > 4);"
            " alter table t add column g int generated always as (id * 2) stored;"
            " alter table t add column h int generated always as (n + 1) stored;"
            " create view v as select id, n from t where n > 2; create materialized view m as select id, n from t;"
            " create function f() returns bigint language sql begin atomic select sum(n) from t; end;"
            " alter table t add constraint e exclude using btree (n with =); create statistics s on n, k from t"
        ),
        operations=[rename("n")],
    ),
    Case(
        name="text storage, compression",
        schema=table(
            more="alter table t alter column a set storage external, alter column a set compression pglz;"
            " alter table t alter column k set not null"
        ),
        operations=[UPPER],
        also="alter table t alter column a set storage external, alter column a set compression pglz",
    ),
    Case(
        name="drop serial, identity, generated",
        schema=table(
            "id int primary key, s serial, i int generated always as identity, g int generated always as (id * 2) stored"
        ),
        operations=[drop("s"), drop("i"), drop("g")],
    ),
    Case(
        name="widen serial, smallserial, identity beside the key",
        schema=table("id int primary key, s serial unique, m smallserial, i int generated by default as identity"),
        operations=[
            alter("s", type="bigint", up="s", down="s"),
            alter("m", type="int", up="m", down="m"),
            alter("i", type="bigint", up="i", down="i"),
        ],
        also="alter sequence t_s_seq as bigint; alter sequence t_m_seq as int",
    ),
    Case(
        name="rename serial, identity",
        schema=table("id int primary key, s serial, i int generated always as identity"),
        operations=[rename("s"), rename("i", "y")],
    ),
    Case(
        name="generated column, view beside",
        schema=table(
            "id int primary key, g int generated always as (id * 2) stored", "create view v as select id, a from t"
        ),
        operations=[WIDEN_N],
    ),
]


@each(CASES)
def test_cycle(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()
