# ruff: noqa: E501 - one case a line reads better than one folded
"""What a shadow table cannot carry over is refused at planning, with what to do instead."""

from dataclasses import replace
from typing import Any

import pytest

from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_cycle_attached import alter, drop, rename, table

FILLED = "update t set n = id; alter table t alter k set not null, alter n set not null; create unique index on t (k);"
REKEY = {"rebuild_table": {"table": "t", "primary_key": ["k"]}}


def defined(definition: str, **rest: object) -> dict[str, Any]:
    """A table as it is written down."""
    return {"rebuild_table": {"table": "t", "definition": definition, **rest}}


REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "publication of a dropped column": ("create publication p for table t (id, n)", drop("n"), "the publication p cannot send", "out of the publication"),
    "publication with a condition on it": ("create publication p for table t where (n > 1) with (publish = 'insert')", drop("n"), "the publication p cannot send", "out of the publication"),
    "publication of the key": (FILLED + "create publication p for table t (id, n)", REKEY, "the publication p cannot send", "out of the publication"),
    "statistics of a dropped column": ("create statistics st on k, n from t", drop("n"), "the statistics public.st reads n", "Drop the statistics"),
    "dropped and nobody fills it": (FILLED, drop("n"), "n is NOT NULL without a default", "Give `down`"),
    "index whose name is in use": ("create table low (x int)", {"create_index": {"table": "t", "name": "low", "columns": ["k"]}}, "the name low is in use", "another name"),
    "foreign key that comes, to the table itself": ("", {"create_constraint": {"table": "t", "name": "f", "type": "foreign_key", "columns": ["k"], "references": {"table": "t", "columns": ["id"]}}}, "a foreign key to itself", "afterwards"),
    "foreign key to what is no key": ("create table o (id int)", {"create_constraint": {"table": "t", "name": "f", "type": "foreign_key", "columns": ["k"], "references": {"table": "o", "columns": ["id"]}}}, "no unique constraint", "correct the operation"),
    "foreign key that archives": ("create table o (id int primary key)", alter("k", references={"name": "f", "table": "o", "column": "id"}, orphans="set_null"), "not converted or archived", "expand_contract"),
    "second primary key": ("", {"create_constraint": {"table": "t", "name": "f", "type": "primary_key", "columns": ["k"]}}, "has a primary key already", "rebuild_table"),
    "name of another constraint": (FILLED + "create table o (k int references t (k)); alter table t add constraint c foreign key (n) references t", {"rename_constraint": {"table": "t", "from": "c", "to": "t_pkey"}}, "already has a constraint t_pkey", "another name"),
    "replica identity that is not there": ("", {"set_replica_identity": {"table": "t", "identity": {"type": "index", "index": "low"}}}, 'index "low" for table "t" does not exist', "correct the operation"),
    "publication without an identity": ("create publication p for table t", {"set_replica_identity": {"table": "t", "identity": {"type": "nothing"}}}, "the publication p", "out of the publication"),
    "constraint that converts": ("", {"create_constraint": {"table": "t", "name": "f", "type": "unique", "columns": ["k"], "up": {"k": "id"}, "down": {"k": "k"}}}, "not converted", "expand_contract"),
    "check that makes no sense": ("", {"create_constraint": {"table": "t", "name": "f", "type": "check", "check": "nothing > 1"}}, 'column "nothing" does not exist', "correct the operation"),
    "constraint with a new column": ("", {"add_column": {"table": "t", "column": {"name": "z", "type": "int", "nullable": True, "unique": True}}}, "not added together", "Write create_constraint"),
    "primary key that goes": ("", {"drop_constraint": {"table": "t", "name": "t_pkey"}}, "a primary key is not dropped: without one nothing tells", "rebuild_table with primary_key"),
    "parent of others": ("create table o (x int) inherits (t)", alter("k", type="bigint"), "public.t inherits from, or is inherited by, other tables", "Detach it first"),
    "child of another": ("create table o (a text); alter table t inherit o", alter("k", type="bigint"), "public.t inherits from, or is inherited by, other tables", "Detach it first"),
    "exclusion by what cannot be": ("", {"create_constraint": {"table": "t", "name": "f", "type": "exclude", "exclude": {"elements": "k with &&"}}}, "no default operator class", "correct the operation"),
    "constraint that another table refers to": ("alter table t add constraint u unique (k); create table o (k int constraint o_fk references t (k))", {"drop_constraint": {"table": "t", "name": "u"}}, "o_fk of public.o refers to k", "Drop the foreign key"),
    "constraint that the table itself refers to": ("update t set n = null; alter table t add constraint u unique (k), add constraint own_fk foreign key (n) references t (k)", {"drop_constraint": {"table": "t", "name": "u"}}, "own_fk of public.t refers to k", "Drop the foreign key"),
    "constraint that is not there": ("", {"drop_constraint": {"table": "t", "name": "x"}}, "no constraint 'x'", "Correct"),
    "column that numbers rows": ("", {"add_column": {"table": "t", "column": {"name": "no", "type": "serial"}}}, "no order of its rows", "expand_contract"),
    "index of a constraint": ("", {"drop_index": {"name": "t_pkey"}}, "behind the constraint t_pkey", "drop_constraint"),
    "index of another table": ("create table o (id int); create index oi on o (id)", {"drop_index": {"name": "oi"}}, "has no index oi", "Correct"),
    "index of another schema": ("create index low on t (n)", {"drop_index": {"name": "s.low"}}, "has no index s.low", "Correct"),
    "name that a view reads": ("create view v as select a from t", rename("a"), "the view public.v reads a", "Drop the view"),
    "name that a publication sends": ("create publication p for table t (id, a)", rename("a"), "the publication p reads a", "Drop the publication"),
    "name of a key": ("", rename("id"), "no unique key of public.t", "stay"),
    "name that is computed from": ("alter table t add g int generated always as (n + 1) stored", rename("n"), "the generated column g reads n", "Drop the generated column"),
    "name that a trigger's function says": ("create function g() returns trigger language plpgsql as 'begin new.n := 1; return new; end'; create trigger g before insert on t for each row execute function g()", rename("n"), "the function of the trigger g names n", "Drop the trigger"),
    "dropped, and a trigger's function says it": ("create function g() returns trigger language plpgsql as 'begin new.n := 1; return new; end'; create trigger g before insert on t for each row execute function g()", drop("n"), "the function of the trigger g names n", "Drop the trigger"),
    "down by the clock": ("alter table t add made timestamptz not null default '2020-02-02'", drop("made", down="now()"), "of made can differ", "the row alone"),
    "up by the date": ("", alter("a", up="a || current_date", down="a"), "of a can differ", "the row alone"),
    "up by the age": ("", alter("a", up="a || age(timestamp '2020-02-02')", down="a"), "of a can differ", "the row alone"),
    "up by who asks": ("", alter("a", up="a || current_user", down="a"), "of a can differ", "the row alone"),
    "definition under another name": (FILLED, defined("create table u (id int primary key, k int, a text, n int)"), "does not begin with `create table t (`", "present name"),
    "definition of two statements": (FILLED, defined("create table t (id int primary key, k int, a text, n int); drop table t"), "cannot insert multiple commands", "one CREATE TABLE"),
    "definition without a column": (FILLED, defined("create table t (id int primary key, k int, a text)"), "nothing says what becomes of the column n", "dropped"),
    "definition that keeps what is dropped": (FILLED, defined("create table t (id int primary key, k int, a text, n int)", dropped=["n"]), "n is dropped, and in the definition", "one of the two"),
    "definition that renames what is not there": (FILLED, defined("create table t (id int primary key, k int, a text, n int)", renamed={"x": "n"}), "no column 'x'", "Correct"),
    "definition that computes what is not there": (FILLED, defined("create table t (id int primary key, k int, a text, n int)", up={"x": "n"}), "no column 'x'", "Correct"),
    "definition without a key": (FILLED, defined("create table t (id int, k int not null, a text, n int not null)"), "has no primary key", "Write the one"),
    "definition with a serial": (FILLED, defined("create table t (id serial primary key, k int not null, a text, n int not null)"), "id would draw from a sequence", "nextval"),
    "definition with other foreign keys": ("create table o (id int primary key)", defined("create table t (id int primary key, k int references o, a text, n int)"), "other foreign keys", "expand_contract"),
    "definition with partitions": (FILLED, defined("create table t (id int primary key, k int, a text, n int) partition by hash (id)"), "partitions are not said", "partition_by"),
    "definition with other storage": (FILLED, defined("create table t (id int primary key, k int, a text, n int) with (fillfactor = 70)"), "another options", "expand_contract"),
    "definition with an exclusion that says more": (FILLED, defined("create table t (id int primary key, k int not null, a text, n int not null, exclude (n with =) with (fillfactor = 50))"), "fillfactor", "expand_contract"),
    "definition with another collation": (FILLED, defined('create table t (id int primary key, k int not null, a text collate "C", n int not null)'), "changes the collation of a", "expand_contract"),
    "definition with a new identity": (FILLED, defined("create table t (id int primary key, k int not null, a text, n int not null, z int generated always as identity)"), "z is an identity", "expand_contract"),
    "definition with a weaker key": ("alter table t add constraint u unique nulls not distinct (k)", defined("create table t (id int primary key, k int, a text, n int unique nulls not distinct)"), "UNIQUE NULLS NOT DISTINCT (n)", "expand_contract"),
    "definition with a default of what was computed": ("alter table t add g int generated always as (k * 2) stored", defined("create table t (id int primary key, k int, a text, n int, g int default 0)"), "default of g", "expand_contract"),
    "definition that computes no more, and converts": ("alter table t add g int generated always as (k * 2) stored", defined("create table t (id int primary key, k int, a text, n int, g bigint)"), "not done in one go", "expand_contract"),
    "definition with storage": ("", defined("create table t (id int primary key, k int, a text, n int, z text storage external)"), "storage of z", "expand_contract"),
    "definition that nobody reads": (FILLED, defined("create table t (id int primary key, k nonesuch)"), 'type "nonesuch" does not exist', "one CREATE TABLE"),
    "identity that comes": (FILLED, alter("k", generated={"identity": {"user_specified_values": "ALWAYS"}}), "an identity comes", "expand_contract"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    more, operation, what, hint = REFUSED[name]
    conn.execute(table(more=more).encode())
    # An index has no table in a spec: another operation names it.
    operations = [operation, alter("n", type="bigint")] if "drop_index" in operation else [operation]
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, operations, strategy="shadow_table").begin()
    assert what in refused.value.what
    assert hint in (refused.value.hint or "")
    assert tables.leftovers(conn) == []


def test_a_publication_keeps_what_it_says(conn: Connection, url: str) -> None:
    """Also beside its schema, and where it sends less than would need the key."""
    published = "create publication p for table t where (n > 1), tables in schema public with (publish = 'insert')"
    identity = "alter table t alter k add generated by default as identity;"
    conn.execute(table(more=FILLED + identity + published).encode())
    migration = Migration(url, [drop("a"), REKEY], strategy="shadow_table")
    migration.begin()
    assert migration.plan is not None
    linter = {one.severity for one in migration.plan.findings if one.rule.startswith("squawk")}
    assert linter == {"note"}, "it warns of what is ours, or was not called"
    assert {"SHD-03", "SHD-04"} <= {one.rule for one in migration.findings}
    migration.before_swap()
    migration.swap()
    migration.roll_back()


def test_too_little_room_is_refused_before_the_shadow_is_made_and_not_after(conn: Connection, url: str) -> None:
    """As much as the table and its indexes have now, and one index more; the plan shows it."""
    conn.execute(table(more="insert into t (id) select generate_series(1000, 3000)").encode())
    migration = Migration(url, [{"rebuild_table": {"table": "t"}}], strategy="shadow_table")
    plan = migration.engine.plan(migration.spec)
    assert [one.message for one in plan.findings if one.rule == "SHD-02"]
    row = conn.execute("select pg_total_relation_size('t'), pg_relation_size('t_pkey')").fetchone()
    assert row is not None
    for spare, wanted in ((0, []), (-1, ["SHD-10"])):
        limits = migration.engine.limits.model_copy(update={"room": sum(row) + spare})
        found = replace(migration.engine, limits=limits).preflight(plan)
        assert [one.rule for one in found if one.severity == "error"] == wanted
    migration.begin()
    migration.run(Phase.EXPAND)
    assert replace(migration.engine, limits=limits).preflight(plan) == ()


@pytest.mark.parametrize(
    ("operation", "told"),
    [(drop("a"), True), (alter("id", type="bigint"), False), ({"rebuild_table": {"table": "t"}}, False)],
)
def test_what_needs_no_copy_is_told(operation: dict[str, Any], told: bool, conn: Connection, url: str) -> None:
    conn.execute(table().encode())
    migration = Migration(url, [operation], strategy="shadow_table")
    found = migration.engine.plan(migration.spec).findings
    assert ("SHD-09" in {one.rule for one in found}) == told


ORDERS = {
    "NULLs": ("k", "k may be NULL", ""),
    "no index": ("n", "no index begins with n, id", ""),
    "index of it alone": ("n", "no index begins with n, id", "create index on t (n)"),
    "key only included": ("n", "no index begins with n, id", "create index on t (n) include (id)"),
    "another direction": ("n", "no index begins with n, id", "create index on t (n, id desc)"),
    "another collation": ("a", "no index begins with a, id", 'create index on t (a collate "C", id)'),
    "another class": ("a", "no index begins with a, id", "create index on t (a text_pattern_ops, id)"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_that_cannot_be_walked_is_refused(name: str, conn: Connection, url: str) -> None:
    column, what, index = ORDERS[name]
    filled = "update t set n = id, a = coalesce(a, ''); alter table t alter n set not null, alter a set not null;"
    conn.execute(table(more=filled + index).encode())
    operation = {"rebuild_table": {"table": "t", "order_by": [column]}}
    with pytest.raises(ChangeoverError, match=what):
        Migration(url, [operation], strategy="shadow_table").begin()


def test_rows_that_a_new_rule_refuses_are_found_before_anything_is_done(conn: Connection, url: str) -> None:
    """By the values that they will have; NULL breaks no check. Later ones are noted, and the swap waits for them."""
    conn.execute(table(more="update t set n = id; update t set n = null where id = 4").encode())
    check = {"create_constraint": {"table": "t", "name": "d", "type": "check", "check": "t.n <> 8"}}
    unique = {"create_constraint": {"table": "t", "name": "u", "type": "unique", "columns": ["n"]}}
    operations = [alter("n", up="n + 1", down="n - 1"), check, unique]
    migration = Migration(url, operations, strategy="shadow_table")
    plan = migration.engine.plan(migration.spec)

    def broken() -> list[tuple[str, int]]:
        found = migration.engine.examine(plan, values_in_reports=False).checks
        return [(one.name, one.unexpected) for one in found if not one.passed]

    assert broken() == [("every row of public.t meets d", 1)]
    conn.execute("update t set n = 70 where id = 7; insert into t (id, n) values (500, 70)")
    assert broken() == [("public.t is unique by u", 1)]
    conn.execute("delete from t where id = 500")
    assert broken() == []
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    conn.execute("update t set n = 7 where id = 7")
    with pytest.raises(ChangeoverError, match="cannot be carried over"):
        migration.run(Phase.INDEX, Phase.RECONCILE)
    conn.execute("update t set n = 70 where id = 7")
    migration.run(Phase.INDEX, Phase.RECONCILE, Phase.CONSTRAIN)
    migration.swap()


def test_a_new_rule_asks_the_default_of_a_new_column(conn: Connection, url: str) -> None:
    conn.execute(table().encode())
    added = [
        {"add_column": {"table": "t", "column": {"name": name, "type": "int", "default": "7", "nullable": True}}}
        for name in "bc"
    ]
    check = {"create_constraint": {"table": "t", "name": "d", "type": "check", "check": "b > 7"}}
    unique = {"create_constraint": {"table": "t", "name": "u", "type": "unique", "columns": ["c"]}}
    migration = Migration(url, [*added, check, unique], strategy="shadow_table")
    found = migration.engine.examine(migration.engine.plan(migration.spec), values_in_reports=False).checks
    assert {one.name for one in found if not one.passed} == {
        "every row of public.t meets d",
        "public.t is unique by u",
    }


def test_what_the_old_rules_refuse_is_noted_after_the_swap(conn: Connection, url: str) -> None:
    more = "alter table t add constraint c check (k < 1000), add constraint u unique (k)"
    conn.execute(table(more=more).encode())
    dropped = [{"drop_constraint": {"table": "t", "name": name}} for name in "cu"]
    migration = Migration(url, [*dropped, alter("n", type="bigint")], strategy="shadow_table")
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("insert into t (id, k) values (500, 2000), (501, 1), (502, 1)")
    noted = conn.execute("select sqlstate from changeover.rejections where direction = 'down' order by 1").fetchall()
    assert [row[0] for row in noted] == ["23505", "23514"]
