"""What applications that know the old schema meet in the new one: of two databases, and of a plan."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from profiles.model import Database, Limits
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.engines.postgresql.inspect import inspect
from tasks.engines.postgresql.planning.shadow.definition import written_out
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Risk
from tests.conformance.maria import Shadow
from tests.servers.mariadb import connected, run
from validations.compatibility.changes import changes
from validations.compatibility.document_shape import of_documents
from validations.compatibility.plan_shape import of_plan
from validations.compatibility.types import Fit, fit

OLD = """
create table kept (
    id int primary key, wide varchar(20), shrunk varchar(20), amount numeric(10,2), at timestamptz, "Odd" text,
    needed text not null default 'x', optional text, status text, gone int, check (wide <> ''), unique (shrunk));
create table removed (a int);
create table called_otherwise (first text, second int);
"""
NEW = """
create table kept (
    id bigint primary key, wide text, shrunk varchar(10), amount numeric(12,4), at timestamp, "Odd" text,
    needed text, optional text not null, state text, added int not null, unique (optional));
create unique index one_state on kept (state);
create table renamed (first text, second int);
"""


def engine(url: str) -> PostgresEngine:
    return PostgresEngine(url=url, database=Database(url_env="UNUSED"), limits=Limits(), migration="m", run_id="t")


def plan_of(url: str, *operations: dict[str, Any]) -> Plan:
    spec = MigrationSpec.model_validate({"migration": "m", "operations": list(operations)})
    return engine(url).plan(spec)


def test_two_databases(new_database: Callable[[], str]) -> None:
    before, after = new_database(), new_database()
    for url, text in ((before, OLD), (after, NEW)):
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(text.encode())
    old = engine(before).inspect(["kept", "removed", "called_otherwise"])
    new = engine(after).inspect(["kept", "renamed"])
    found = {(change.kind, change.where, change.what) for change in changes(old, new)}
    assert found == {
        ("breaking", "public.removed", "removed"),
        ("breaking", "public.called_otherwise", "removed; public.renamed has the same columns: perhaps renamed"),
        ("breaking", "public.kept.gone", "removed"),
        ("breaking", "public.kept.status", "removed; perhaps renamed to state"),
        ("breaking", "public.kept.added", "added NOT NULL and without a default: old INSERTs fail"),
        ("breaking", "public.kept.optional", "must no longer be NULL"),
        ("breaking", "public.kept",
         "got the unique constraint kept_optional_key: rows that break it are refused"),
        ("breaking", "public.kept", "got the unique index one_state: rows that break it are refused"),
        ("needs transformation", "public.kept.shrunk",
         "narrowed from character varying(20) to character varying(10)"),
        ("needs transformation", "public.kept.at",
         "changed from timestamp with time zone to timestamp without time zone"),
        ("warning", "public.kept.id", "widened from integer to bigint"),
        ("warning", "public.kept.wide", "widened from character varying(20) to text"),
        ("warning", "public.kept.amount", "widened from numeric(10,2) to numeric(12,4)"),
        ("warning", "public.kept.needed", "may be NULL"),
        ("warning", "public.kept.needed", "lost what filled it when nothing was given"),
        ("warning", "public.kept", "lost the check constraint kept_wide_check"),
        ("warning", "public.kept", "lost the unique constraint kept_shrunk_key"),
    }  # fmt: skip
    assert changes(old, old) == ()
    assert changes(old, new)[0].kind == "breaking"
    assert all(change.recommendation for change in changes(old, new))


def test_the_shape_that_a_plan_leads_to(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(OLD.encode())
    plan = plan_of(
        database,
        {"rename_column": {"table": "kept", "from": "status", "to": "state"}},
        {"alter_column": {"table": "kept", "column": "amount", "type": "numeric(8,2)", "up": "amount", "down": "amount",
                          "nullable": False}},
        {"drop_column": {"table": "kept", "column": "gone", "down": "0"}},
        {"add_column": {"table": "kept", "column": {"name": "born", "type": "int", "nullable": False}, "up": "id"}},
        {"create_constraint": {"name": "short", "table": "kept", "type": "check", "check": "length(wide) < 9"}},
        {"drop_table": {"name": "removed"}},
    )  # fmt: skip
    assert {(change.kind, change.where, change.what) for change in of_plan(plan)} == {
        ("breaking", "public.kept.status", "renamed to state"),
        ("breaking", "public.kept.gone", "removed"),
        ("breaking", "public.removed", "removed"),
        ("breaking", "public.kept.amount", "must no longer be NULL"),
        ("breaking", "public.kept", "got the check constraint short: rows that break it are refused"),
        ("needs transformation", "public.kept.amount", "narrowed from numeric(10,2) to numeric(8,2)"),
    }


def test_what_is_refused_from_then_on(database: str) -> None:
    """Unique indexes, cleaned columns and domains refuse rows as constraints do; a lost index fails ON CONFLICT."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "create domain level as int; create table t (id int primary key, a text, b text, l level, m level)"
        )
        conn.execute("create unique index once on t (a); create table other (n int)")
    plan = plan_of(
        database,
        {"create_index": {"name": "each", "table": "t", "columns": ["b"], "unique": True}},
        {"drop_index": {"name": "once"}},
        {"clean_column": {"table": "t", "column": "b", "rules": ["trim"], "check": "trimmed"}},
        {"alter_type": {"name": "level", "check": {"name": "positive", "constraint": "value > 0"}}},
        {"create_index": {"name": "fast", "table": "other", "columns": ["n"]}},
    )
    assert {(change.kind, change.where, change.what) for change in of_plan(plan)} == {
        ("breaking", "public.t", "got the unique index each: rows that break it are refused"),
        ("breaking", "public.t", "got the check constraint trimmed: rows that break it are refused"),
        ("breaking", "public.t", "got the check constraint positive: rows that break it are refused"),
        ("warning", "public.t", "lost the unique index once"),
    }


LONG = "a_name_that_is_so_long_that_the_name_of_its_new_column_is_cut"


@pytest.mark.parametrize("strategy", ["expand_contract", "shadow_table"])
def test_types_are_those_of_the_catalogue(database: str, strategy: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"create table t (id int primary key, {LONG} varchar(40))".encode())
    alter = {"alter_column": {"table": "t", "column": LONG, "type": "varchar(80)"}}
    spec = MigrationSpec.model_validate({"migration": "m", "strategy": strategy, "operations": [alter]})
    assert [(change.kind, change.what) for change in of_plan(engine(database).plan(spec))] == [
        ("warning", "widened from character varying(40) to character varying(80)")
    ]


def test_types_are_those_of_the_catalogue_on_mariadb(maria_database: str) -> None:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("create table t (id int primary key, v varchar(40), unique key once (v))")
    alter = {"alter_column": {"table": "t", "column": "id", "type": "bigint"}}
    plan = Shadow(maria_database, [alter, {"drop_index": {"name": "once"}}]).begin()
    assert [(change.kind, change.what) for change in of_plan(plan)] == [
        ("warning", "lost the unique index once"),
        ("warning", "widened from int(11) to bigint(20)"),
    ]


@pytest.mark.parametrize("engine_name", ["postgresql", "mariadb"])
def test_a_table_that_is_written_down(database: str, maria_database: str, engine_name: str) -> None:
    table = "create table t (id int primary key, a int, b int)"
    rebuild = {"table": "t", "definition": "create table t (id bigint primary key, c int)", "renamed": {"a": "c"},
               "dropped": ["b"]}  # fmt: skip
    operations = [{"rebuild_table": rebuild}]
    if engine_name == "postgresql":
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(table)
        spec = MigrationSpec.model_validate({"migration": "m", "strategy": "shadow_table", "operations": operations})
        plan = engine(database).plan(spec)
    else:
        run(maria_database, table)
        plan = Shadow(maria_database, operations).begin()
    found = [(change.kind, change.where.rpartition(".")[2], change.what.split()[0]) for change in of_plan(plan)]
    assert found == [("breaking", "a", "renamed"), ("breaking", "b", "removed"), ("warning", "id", "widened")]


def test_what_a_table_that_is_written_down_demands(database: str) -> None:
    """What a list of operations would say is said of a definition."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table t (id int primary key, a int default 7, b int); insert into t values (1, 1, 1)")
    definition = (
        "create table t (id int primary key, a int, b int not null, c int default 3, unique (b), check (a > 0))"
    )
    rebuild = {"rebuild_table": {"table": "t", "definition": definition}}
    spec = MigrationSpec.model_validate({"migration": "m", "strategy": "shadow_table", "operations": [rebuild]})
    plan = engine(database).plan(spec)
    found = {(change.kind, change.where.rpartition(".")[2], change.what.partition(":")[0]) for change in of_plan(plan)}
    assert found == {
        ("breaking", "b", "must no longer be NULL"),
        ("breaking", "t", "got the check constraint t_a_check"),
        ("breaking", "t", "got the unique constraint t_b_key"),
        ("warning", "a", "lost what filled it when nothing was given"),
    }


def test_what_becomes_of_documents() -> None:
    operations = [
        {"add_field": {"field": "added"}},
        {"rename_field": {"from": "name", "to": "title"}},
        {"remove_field": {"field": "gone"}},
        {"change_type": {"field": "age", "to": "years", "type": "int", "back": "string"}},
        {
            "transform": {
                "from": ["a", "b"],
                "to": ["c"],
                "up": [{"$set": {"c": "$a"}}],
                "down": [{"$set": {"a": "$c"}}],
            }
        },
        {"create_index": {"name": "once", "keys": {"mail": 1}, "unique": True}},
        {"create_index": {"name": "often", "keys": {"town": 1}}},
        {"drop_index": {"name": "old"}},
        {"validator": {"schema": {"required": ["mail"]}}},
    ]
    documents = MigrationSpec.model_validate(
        {
            "migration": "m",
            "strategy": "expand_contract",
            "documents": {"collection": "users", "operations": operations},
        }
    ).model_dump(mode="json", exclude_defaults=True)["documents"]
    assert [(one.kind, one.where, one.what.split(":")[0]) for one in of_documents(documents)] == [
        ("breaking", "users", "got the unique index once"),
        ("breaking", "users", "what a document must be is warned of first, and refused from the contract on"),
        ("breaking", "users.a", "becomes c"),
        ("breaking", "users.b", "becomes c"),
        ("breaking", "users.gone", "removed"),
        ("breaking", "users.name", "renamed to title"),
        ("needs transformation", "users.age", "becomes years, int"),
    ]


def test_planning_a_definition_holds_no_table_of_others(database: str) -> None:
    """Its foreign keys are made and rolled back: whoever writes the tables they refer to waits for a moment at most."""
    with psycopg.connect(database, autocommit=True) as conn, psycopg.connect(database, autocommit=True) as other:
        conn.execute("create table p (id int primary key); create table t (id int primary key, p int references p)")
        rebuild = {"table": "t", "definition": "create table t (id bigint primary key, p int references p)"}
        spec = MigrationSpec.model_validate(
            {"migration": "m", "strategy": "shadow_table", "operations": [{"rebuild_table": rebuild}]}
        )
        with conn.transaction():
            assert written_out(conn, inspect(conn, ["t"], "public").tables[0], spec) is not None
            held = other.execute(
                "select distinct mode from pg_locks where relation in ('p'::regclass, 't'::regclass)"
                " and mode <> 'AccessShareLock'"
            ).fetchall()
    assert held == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("integer", "integer", "same"),
        ("integer", "bigint", "wider"),
        ("bigint", "integer", "narrower"),
        ("integer", "numeric", "wider"),
        ("integer", "numeric(9,0)", "narrower"),
        ("integer", "numeric(12,2)", "wider"),
        ("numeric", "integer", "narrower"),
        ("numeric", "numeric(10,2)", "narrower"),
        ("numeric(10,2)", "numeric(11,3)", "wider"),
        ("numeric(10,2)", "numeric(11,4)", "narrower"),
        ("real", "double precision", "wider"),
        ("double precision", "numeric", "other"),
        ("text", "character varying(9)", "narrower"),
        ("character varying", "text", "wider"),
        ("character(3)", "character(2)", "narrower"),
        ("timestamp(3) with time zone", "timestamp with time zone", "wider"),
        ("timestamp with time zone", "timestamp(0) with time zone", "narrower"),
        ("timestamp with time zone", "timestamp without time zone", "other"),
        ("integer[]", "bigint[]", "wider"),
        ("integer[]", "bigint", "other"),
        ("bit(3)", "bit(4)", "other"),
        ("mood", '"Odd type"', "other"),
        ("int(11)", "int", "same"),
        ("int(11)", "bigint", "wider"),
        ("int(11)", "bigint(20)", "wider"),
        ("int(10) unsigned", "int(11)", "narrower"),
        ("int(10) unsigned", "bigint(20)", "wider"),
        ("bigint(20)", "bigint(20) unsigned", "narrower"),
        ("mediumint(9)", "decimal(7,0)", "wider"),
        ("decimal(10,2)", "decimal(12,2)", "wider"),
        ("varchar(40)", "varchar(20)", "narrower"),
        ("varchar(40)", "text", "wider"),
        ("text", "tinytext", "narrower"),
        ("float", "double", "wider"),
        ("datetime", "datetime(3)", "wider"),
        ("timestamp(3)", "datetime(3)", "other"),
        ("enum('a','b')", "enum('b','a','c')", "wider"),
        ("enum('a','b')", "enum('a')", "narrower"),
    ],
)
def test_what_a_type_can_hold(old: str, new: str, expected: Fit) -> None:
    assert fit(old, new) == expected


@pytest.mark.parametrize(
    ("up", "down", "risk", "reason"),
    [
        ("drop table a", None, Risk.CRITICAL, "drop destroys rows, for good"),
        ("truncate a", None, Risk.CRITICAL, "truncate destroys rows, for good"),
        ("truncate a", "select 1", Risk.HIGH, "truncate destroys rows"),
        ("update a set x = 1", "select 1", Risk.HIGH, "update of every row of a table, in one transaction"),
        ("do $$ begin perform 1; end $$", None, Risk.HIGH, "a statement that the parser does not see into: do"),
        (
            "alter table a validate constraint c",
            None,
            Risk.HIGH,
            "a statement that the parser does not see into: alter",
        ),
        ("create view v as select 1", "drop view v", Risk.HIGH, "create, whose effects on applications are not known"),
    ],
)
def test_the_authors_own_sql_is_as_risky_as_it_can_be(
    database: str, up: str, down: str | None, risk: Risk, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table a (x int constraint c check (x > 0))")
    plan = plan_of(database, {"sql": {"up": up} | ({"down": down} if down else {})})
    assert plan.risk is risk
    assert f"{risk}: the author's own SQL: {reason}" in plan.risk_reasons
    assert capfd.readouterr().err == "", "the parser keeps statements to itself"


def test_what_cannot_be_parsed_is_high() -> None:
    from tasks.engines.postgresql.planning.statements import judged

    assert judged("select (((", undone=True) == ((Risk.HIGH, "a statement that cannot be parsed"),)
    assert [level for level, _ in judged("select 1; drop table a; select 2", undone=False)] == [
        Risk.HIGH, Risk.CRITICAL, Risk.HIGH,
    ]  # fmt: skip


def test_squawk_reads_the_authors_sql(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table a (x int)")
    plan = plan_of(
        database, {"sql": {"up": "create index i on a (x); alter table a alter x type bigint", "down": "drop index i"}}
    )
    warned = {finding.rule for finding in plan.findings if finding.severity == "warning"}
    assert {"squawk require-concurrent-index-creation", "squawk changing-column-type"} <= warned
    assert "squawk require-lock-timeout" not in warned
    assert any(f.rule == "squawk require-lock-timeout" and "justified" in f.message for f in plan.findings)


def test_what_the_planner_writes_needs_no_warning(database: str) -> None:
    """Every operation: each rule of squawk is kept, or does not apply for a reason that is given."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(OLD + "create table parents (id int primary key)")
    plan = plan_of(
        database,
        {"create_table": {"name": "fresh", "columns": [{"name": "id", "type": "bigint", "pk": True}]}},
        {"rename_column": {"table": "kept", "from": "status", "to": "state"}},
        {"alter_column": {"table": "kept", "column": "id", "type": "bigint", "up": "id", "down": "id"}},
        {"alter_column": {"table": "kept", "column": "optional", "nullable": False, "unique": {"name": "one"}}},
        {"drop_column": {"table": "kept", "column": "gone", "down": "0"}},
        {"add_column": {"table": "kept", "up": "1", "column": {
            "name": "parent", "type": "bigint", "nullable": False,
            "references": {"name": "fk", "table": "parents", "column": "id"}}}},
        {"create_index": {"name": "i", "table": "kept", "columns": {"wide": {}}}},
        {"drop_table": {"name": "removed"}},
        {"rename_table": {"from": "called_otherwise", "to": "named"}},
    )  # fmt: skip
    told = [f for f in plan.findings if f.rule.startswith("squawk")]
    assert [f"{f.rule}: {f.where}" for f in told if f.severity != "note"] == []
    assert told
    assert plan.risk is not Risk.CRITICAL
