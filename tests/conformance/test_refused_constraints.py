# ruff: noqa: E501 - one case a line reads better than one folded
"""What cannot be done to a constraint is refused at planning, with the remedy; what a rollback could not hold, before it."""

from typing import Any

import pytest

from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration

T = """
create table p (x int, y text, id int unique, primary key (x, y));
insert into p select i, 'p' || i, i * 10 from generate_series(1, 40) i;
create table t (id int primary key, a int, b text, c int);
insert into t select i, i, 'p' || i, i * 10 from generate_series(1, 20) i;
"""
Operation = dict[str, dict[str, Any]]


def create(kind: str, *columns: str, **rest: Any) -> Operation:
    return {
        "create_constraint": {
            "table": "t",
            "name": "k",
            "type": kind,
            **({"columns": columns} if columns else {}),
            **rest,
        }
    }


def drop(name: str = "k", table: str = "t", **rest: Any) -> Operation:
    return {"drop_constraint": {"table": table, "name": name, **rest}}


def drop_multi(**rest: Any) -> Operation:
    return {"drop_multicolumn_constraint": {"table": "t", "name": "k", **rest}}


def rename(old: str = "k", new: str = "z", table: str = "t") -> Operation:
    return {"rename_constraint": {"table": table, "from": old, "to": new}}


def alter(column: str, table: str = "t") -> Operation:
    return {"alter_column": {"table": table, "column": column, "type": "bigint", "up": column, "down": column}}


CHECK = "alter table t add constraint k check (a > 0);"
UNIQUE = "alter table t add constraint k unique (a);"
CHILD = "create table child (n int references t);"
P = {"table": "p", "columns": ["x", "y"]}
REFUSED: dict[str, tuple[str, list[Operation], str, str]] = {
    "create: name of a check": (CHECK, [create("unique", "b")], "already has a constraint k", "another name"),
    "create: name of a foreign key": ("alter table t add constraint k foreign key (a, b) references p;", [create("check", check="a > 0")], "already has a constraint k", "another name"),
    "create: name of an index": ("create index k on p (y);", [create("unique", "b")], "already has a relation k", "another name"),
    "create: unknown column": ("", [create("unique", "bb")], "has no column bb", "b"),
    "create: unknown column of a check": ("", [create("check", check="aa > 0")], 'column "aa" does not exist', ""),
    "create: check of two values": ("", [create("check", check="a > 0, b is null")], "syntax error", ""),
    "create: unknown column of values": ("", [create("check", check="a > 0", up={"z": "z"})], "has no column z", "id, a"),
    "create: second primary key": ("", [create("primary_key", "a")], "has a primary key already, t_pkey", "type: unique"),
    "create: two primary keys": ("alter table t drop constraint t_pkey;", [create("primary_key", "a"), create("primary_key", "c", name="l")], "has a primary key already", "type: unique"),
    "create: deferrable primary key": ("alter table t drop constraint t_pkey;", [create("primary_key", "a", deferrable=True)], "deferrable", "Leave out deferrable"),
    "create: no key to walk along": ("alter table t drop constraint t_pkey;", [create("primary_key", "a", up={"a": "a + 1"}, down={"a": "a - 1"})], "no key to walk along", "unique index"),
    "create: no such parent": ("", [create("foreign_key", "a", references={"table": "pp", "columns": ["x"]})], "there is no table pp", "search_path"),
    "create: no such column of the parent": ("", [create("foreign_key", "a", references={"table": "p", "columns": ["z"]})], "does not exist", "comparable"),
    "create: of no comparable type": ("", [create("foreign_key", "a", "b", references={"table": "p", "columns": ["y", "x"]})], "operator", "comparable"),
    "create: parent without that key": ("", [create("foreign_key", "a", references={"table": "p", "columns": ["x"]})], "has no unique constraint on x", "a key of that table"),
    "create: key of the parent with too many": ("", [create("foreign_key", "a", "b", references={"table": "p", "columns": ["id", "y"]})], "has no unique constraint on id, y", "a key of that table"),
    "create: parent whose key is deferrable": ("create table q (x int unique deferrable);", [create("foreign_key", "a", references={"table": "q", "columns": ["x"]})], "has no unique constraint", "a key of that table"),
    "create: parent that is altered": ("", [alter("id", "p"), create("foreign_key", "c", references={"table": "p", "columns": ["id"]})], "which this spec changes or drops", "of its own"),
    "create: to itself, altered": ("", [create("foreign_key", "a", references={"table": "t", "columns": ["id"]}), alter("id")], "which this spec changes or drops", "of its own"),
    "create: parent whose key is dropped": ("", [drop("p_id_key", "p"), create("foreign_key", "c", references={"table": "p", "columns": ["id"]})], "which this spec changes or drops", "of its own"),
    "create: up of another table": ("", [create("check", "a", check="a > 0", up={"a": "(select max(x) from p)"}, down={"a": "a"})], "cannot read another table", "same row"),
    "drop: periods": ("create table r (a int4range, v int4range, primary key (a, v without overlaps)); create table s (a int4range, v int4range, constraint k foreign key (a, period v) references r (a, period v));", [drop(table="s")], "compares periods of time", "Use sql"),
    "drop: disabled": ("alter table t add constraint k foreign key (a, b) references p; alter table t disable trigger all;", [drop()], "has triggers that are disabled", "Use sql"),
    "drop: unknown": (CHECK, [drop("kk")], "has no constraint kk", "k"),
    "drop: unknown and nothing like it": ("", [drop("zzz")], "has no constraint zzz", "Look at the table"),
    "drop: primary key": ("", [drop("t_pkey")], "t_pkey is the primary key, without which nothing tells", "rebuild_table with primary_key, and `strategy: shadow_table`"),
    "drop: exclusion": ("alter table t add constraint k exclude using btree (a with =);", [drop()], "exclusion constraint", "strategy: shadow_table"),
    "drop: not null": ("alter table t add constraint k not null a;", [drop()], "k is a NOT NULL", "nullable: true"),
    "drop: not null by its usual name": ("", [drop("t_id_not_null")], "is a NOT NULL", "nullable: true"),
    "drop: foreign keys rest on it": (UNIQUE + "create table child (n int references t (a));", [drop()], "foreign keys rest on k: child_n_fkey of child", "Drop those"),
    "drop: replica identity": ("alter table t alter a set not null;" + UNIQUE + "alter table t replica identity using index k;", [drop()], "replica identity", "DEFAULT"),
    "drop: becomes the replica identity": ("alter table t alter a set not null;" + UNIQUE, [drop(), {"set_replica_identity": {"table": "t", "identity": {"type": "index", "index": "k"}}}], "k", ""),
    "drop: one expression for two columns": ("alter table t add constraint k check (a < c);", [drop(down="a")], "covers 2 columns", "drop_multicolumn_constraint"),
    "drop: values of another column": (CHECK, [drop_multi(down={"b": "upper(b)"})], "does not cover the column b", "alter_column"),
    "drop: values of a column that is altered": (CHECK, [alter("a"), drop(down="greatest(a, 1)")], "already gives a other values", "of its own"),
    "drop: values of a column that is dropped": (CHECK, [{"drop_column": {"table": "t", "column": "a"}}, drop(down="greatest(a, 1)")], "already gives a other values", "of its own"),
    "drop: key that moves with its parent": (CHILD, [drop("child_n_fkey", "child"), alter("id")], "points to a column that this spec alters", "of its own first"),
    "rename: unknown": (CHECK, [rename("kk")], "has no constraint kk", "k"),
    "rename: name of another": (CHECK + "alter table t add constraint z check (c > 0);", [rename()], "already has a constraint z", "another name"),
    "rename: name of an index": (UNIQUE + "create index z on p (y);", [rename()], "already has a relation z", "another name"),
    "rename: not null of an altered column": ("alter table t add constraint k not null a;", [rename(), alter("a")], "alters or drops", "of its own"),
    "rename: of a dropped column": (CHECK, [rename(), {"drop_column": {"table": "t", "column": "a"}}], "alters or drops", "of its own"),
    "rename: key that moves with its parent": (CHILD, [rename("child_n_fkey", table="child"), alter("id")], "points to a column that this spec alters", "of its own first"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """The catalogue is as before, and the message tells what and the remedy."""
    schema, operations, what, hint = REFUSED[name]
    conn.execute((T + schema).encode())
    before = tables.catalogue(conn)
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, operations).begin()
    assert what in refused.value.what
    assert hint in refused.value.hint
    assert refused.value.where
    assert refused.value.hint
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_a_constraint_trigger_is_left_alone(conn: Connection, url: str) -> None:
    """It is in the list of constraints, and is none."""
    conn.execute(
        (T + "create function same() returns trigger language plpgsql as 'begin return new; end';"
         " create constraint trigger k after insert on t for each row execute function same()").encode()
    )  # fmt: skip
    for operation in (drop(), rename()):
        with pytest.raises(ChangeoverError, match="k is a constraint trigger") as refused:
            Migration(url, [operation]).begin()
        assert refused.value.hint.startswith("Use sql")


BROKEN: dict[str, tuple[str, Operation, str]] = {
    "unique": ("update t set b = 'same' where id in (3, 5)", create("unique", "b"), "public.t is unique by b: 1"),
    "unique of two": ("update t set b = 'same', c = 7 where id in (3, 5)", create("unique", "b", "c"), "public.t is unique by b, c: 1"),
    "check": ("update t set a = -a where id < 4", create("check", check="a > 0"), "public.t meets k: 3"),
    "foreign key": ("update t set c = -1 where id < 4", create("foreign_key", "c", references={"table": "p", "columns": ["id"]}), "public.t.c refers to p.id: 3"),
    "foreign key of two": ("update t set b = 'p9' where id < 4", create("foreign_key", "a", "b", references=P), "public.t (a, b) refers to p (x, y): 3"),
    "foreign key match full": ("update t set b = null where id < 4", create("foreign_key", "a", "b", references={**P, "match_type": "FULL"}), "public.t (a, b) refers to p (x, y): 3"),
    "by other values": ("update t set a = -a where id < 4", create("check", "a", check="a > 5", up={"a": "abs(a)"}, down={"a": "a"}), "public.t meets k: 5"),
    "primary key": ("alter table t drop constraint t_pkey; update t set a = null where id < 4", create("primary_key", "a"), "public.t.a is not null: 3"),
    "primary key of two": ("alter table t drop constraint t_pkey; update t set a = 9, b = 'x' where id < 4", create("primary_key", "a", "b"), "public.t is unique by a, b: 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_the_gate_counts_the_rows_that_break_it(name: str, conn: Connection, url: str) -> None:
    """No application met the restriction: it waits for the gate, and for approval."""
    change, operation, failure = BROKEN[name]
    conn.execute((T + change).encode())
    before = tables.catalogue(conn)
    migration = Migration(url, [operation])
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX)
    assert failure in migration.failures("before_swap")
    migration.roll_back()
    assert tables.catalogue(conn) == before


@pytest.mark.parametrize(
    "operation", [create("unique", "a"), create("primary_key", "a")], ids=["unique", "primary key"]
)
def test_a_rollback_asks_first_what_rests_on_the_new_key(operation: Operation, conn: Connection, url: str) -> None:
    """Nothing is undone while a foreign key of somebody else needs what has to go."""
    conn.execute((T + "alter table t drop constraint t_pkey").encode())
    before = tables.catalogue(conn)
    migration = Migration(url, [operation])
    migration.begin()
    migration.before_swap()
    migration.swap()
    assert migration.before_rollback() == []
    conn.execute("create table child (n int references t (a))")
    assert migration.before_rollback() == ["constraint child_n_fkey on table child"]
    conn.execute("drop table child")
    migration.roll_back()
    assert tables.catalogue(conn) == before


HELD: dict[str, tuple[str, Operation, str, str, str]] = {
    "check": (CHECK, drop(), "update t set a = -1 where id = 3", "public.t meets k", "update t set a = 1 where id = 3"),
    "check of two": ("alter table t add constraint k check (a < c);", drop_multi(), "update t set a = 99999 where id = 3", "public.t meets k", "update t set a = null where id = 3"),
    "unique": (UNIQUE, drop(), "update t set a = 4 where id = 3", "public.t is unique by k", "delete from t where id = 3"),
    "unique of two": ("alter table t add constraint k unique (a, b);", drop(), "update t set a = 4, b = 'p4' where id = 3", "public.t is unique by k", "update t set b = null where id = 3"),
    "foreign key": ("alter table t add constraint k foreign key (a, b) references p;", drop(), "update t set b = 'p4' where id = 3", "public.t refers by k", "update t set b = null where id = 3"),
    "foreign key match full": ("alter table t add constraint k foreign key (a, b) references p match full;", drop(), "update t set b = null where id = 3", "public.t refers by k", "update t set a = null where id = 3"),
    "foreign key to itself": ("alter table t add constraint k foreign key (a) references t;", drop(), "update t set a = 999 where id = 3", "public.t refers by k", "update t set a = 4 where id = 3"),
    "check by down": ("alter table t add constraint k check (length(b) > 1);", drop(down="case when b = 'x' then 'xx' else b end"), "update t set b = 'y' where id = 3", "public.t meets k", "update t set b = 'x' where id = 3"),
    "unique by down": ("alter table t add constraint k unique (b);", drop(down="case when b = 'x' then b || id else b end"), "update t set b = 'y' where id in (3, 4)", "public.t is unique by k", "update t set b = 'x' where id in (3, 4)"),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_a_rollback_asks_first_whether_the_old_constraint_could_hold(name: str, conn: Connection, url: str) -> None:
    """Dropped is dropped: the new application may break it. A rollback says which, and works once that is mended."""
    schema, operation, write, broken, mend = HELD[name]
    conn.execute((T + schema).encode())
    before = tables.catalogue(conn)
    migration = Migration(url, [operation])
    migration.begin()
    migration.before_swap()
    migration.swap()
    assert migration.before_rollback() == []
    conn.execute(write.encode())
    migration.pass_gate("after_swap")
    assert migration.before_rollback() == [broken]
    conn.execute(mend.encode())
    migration.roll_back()
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_what_relies_on_a_unique_constraint_is_warned_of(conn: Connection, url: str) -> None:
    """Old applications that stay meet its end at the swap, not at the contract."""
    conn.execute((T + UNIQUE + CHECK.replace(" k ", " l ")).encode())
    migration = Migration(url, [drop(), drop("l")])
    migration.begin()
    assert migration.plan is not None
    (finding,) = migration.findings
    assert (finding.rule, finding.severity) == ("SAF-02", "warning")
    assert "INSERT ... ON CONFLICT that relies on it fails" in finding.message
