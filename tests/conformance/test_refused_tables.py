# ruff: noqa: E501 - one case a line reads better than one folded
"""Tables that cannot be dropped or renamed, indexes that cannot go: refused at planning, with what and what to do."""

import re
from typing import Any

import pytest

from tasks.model.errors import ChangeoverError
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_cycle_tables import drop, identity, index, operation, rename

T = "create table t (id int primary key, a text, n int); insert into t select i, i, i from generate_series(1, 9) i;"
SAME = "create function same() returns trigger language plpgsql as 'begin return new; end';"
PARTITIONED = (
    "create table p (id int, n int) partition by range (id); create table p1 partition of p for values from (1) to (9);"
)
WIDEN = operation("alter_column", table="t", column="n", type="bigint", up="n", down="n")
Refusal = tuple[str, list[dict[str, Any]], str, str]
REFUSED: dict[str, Refusal] = {
    "drop: view": ("create view v as select 1 from t", [drop("t")], "the view public.v depends on public.t", "Drop the view first."),
    "drop: view of a view": ("create view v as select * from t; create view w as select 1 from v", [drop("t")], "view public.v", "Drop the view"),
    "drop: materialized view": ("create materialized view v as select id from t", [drop("t")], "the materialized view public.v", "Drop the materialized view first."),
    "drop: function": ("create function f() returns bigint language sql begin atomic select count(*) from t; end", [drop("t")], r"the function public.f\(\)", "Drop the function first."),
    "drop: function of the row": ("create function f(x t) returns int language sql as 'select 1'", [drop("t")], "the function public.f", "Drop the function first."),
    "drop: column of the row type": ("create table o (x t)", [drop("t")], "the column public.o.x", "Drop the column first."),
    "drop: default from its sequence": ("alter table t add s serial; create table o (x int default nextval('t_s_seq'))", [drop("t")], "the default public.o.x", "Drop the default first."),
    "drop: policy of another": ("create table o (x int); create policy p on o using (x in (select id from t))", [drop("t")], "the policy public.o.p", "Drop the policy first."),
    "drop: rule of another": ("create table o (x int); create rule r as on insert to o do also insert into t (id) values (new.x)", [drop("t")], "the rule public.o.r", "Drop the rule first."),
    "drop: foreign key": ("create table c (x int references t)", [drop("t")], "the foreign key c_x_fkey of public.c refers to public.t", "or drop that table in the same spec"),
    "drop: one of two children": ("create table c (x int references t); create table d (x int references t)", [drop("t"), drop("c")], "the foreign key d_x_fkey of public.d", "Drop the foreign key first"),
    "drop: publication": ('create publication "P" for table t', [drop("t")], "the publication P names public.t", 'alter publication "P" drop table "public"."t"'),
    "drop: publication with a condition": ("create publication p for table t where (id > 3)", [drop("t")], "the publication p names", "alter publication"),
    "drop: partitioned": (PARTITIONED, [drop("p")], "public.p is a partitioned table", "or changed by `sql`"),
    "drop: partition": (PARTITIONED, [drop("p1")], "public.p1 is part of a partitioned table", "with its table, public.p, or by `sql`"),
    "drop: parent": ("create table o () inherits (t)", [drop("t")], "inheritance tree", "by `sql`"),
    "drop: a view": ("create view v as select 1 as x", [drop("v")], "public.v is a view", "ordinary tables"),
    "drop: unknown": ("", [drop("tt")], "table tt does not exist", "there are: t"),
    "drop: and its index": ("create index i on t (n)", [drop("t"), operation("drop_index", name="i")], "concerns the whole table public.t", "migrations of their own"),
    "drop: and a foreign key to it": ("create table o (x int, y int primary key); alter table o add foreign key (x) references t", [drop("t"), operation("rename_column", table="o", **{"from": "x", "to": "z"})], "the foreign key o_x_fkey of public.o", "Drop the foreign key first"),
    "rename: name of a table": ("create table u (x int)", [rename("t", "u")], "already has a relation u", "Choose another name."),
    "rename: name of an index": ("create index u on t (n)", [rename("t", "u")], "already has a relation u", "Choose another name."),
    "rename: name of a type": ("create type u as enum ('x')", [rename("t", "u")], "already has a type u", "Choose another name."),
    "rename: name of a domain": ("create domain u as int", [rename("t", "u")], "already has a type u", "Choose another name."),
    "rename: a name of the system": ("", [rename("t", "pg_class")], "already means another relation", "Choose another name"),
    "rename: both get one name": ("create table o (x int)", [rename("t", "u"), rename("public.o", "u")], "the name u of public.. is given twice: to a renamed table and to a renamed table", "Choose another name."),
    "rename: a new table gets the name": ("", [rename("t", "u"), operation("create_table", name="public.u", columns=[{"name": "x", "type": "int"}])], "given twice", "Choose another name."),
    "rename: an index gets the name": ("create table o (x int)", [operation("create_index", name="u", table="public.o", columns=["x"]), rename("t", "u")], "given twice", "Choose another name."),
    "rename: partitioned": (PARTITIONED, [rename("p", "q")], "public.p is a partitioned table", "ordinary tables"),
    "rename: partition": (PARTITIONED, [rename("p1", "q")], "part of a partitioned table", "ordinary tables"),
    "rename: parent": ("create table o () inherits (t)", [rename("t", "u")], "inheritance tree", "ordinary tables"),
    "rename: view": ("create view v as select 1 as x", [rename("v", "u")], "public.v is a view", "ordinary tables"),
    "rename: no columns": ("create table z ()", [rename("z", "u")], "could not be written to", "give it one"),
    "rename: rows and columns": ("alter table t enable row level security; grant select (id) on t to public", [rename("t", "u")], "row security and privileges", "Grant SELECT on the table"),
    "rename: and its index": ("create index i on t (n)", [rename("t", "u"), operation("drop_index", name="i")], "concerns the whole table public.t", "migrations of their own"),
    "index: unknown": ("create index t_n on t (n)", [operation("drop_index", name="t_m")], "there is no index t_m", "Did you mean t_n"),
    "index: of another schema": ("create schema s; create table s.o (x int); create index only_there on s.o (x)", [operation("drop_index", name="only_there")], "there is no index only_there", "Did you mean s.only_there"),
    "index: a table": ("", [operation("drop_index", name="t")], "there is no index t", "."),
    "index: of the primary key": ("", [operation("drop_index", name="t_pkey")], "belongs to the constraint t_pkey", "drop_constraint"),
    "index: of a unique constraint": ("alter table t add constraint u unique (n)", [operation("drop_index", name="u")], "belongs to the constraint u", "drop_constraint"),
    "index: replica identity": ("create unique index i on t (id); alter table t replica identity using index i", [operation("drop_index", name="i")], "is the replica identity", "set_replica_identity"),
    "index: foreign keys rest on it": ("create unique index i on t (n); create table c (x int references t (n))", [operation("drop_index", name="i")], "foreign keys rest on the index i: c_x_fkey of c", "Drop these foreign keys"),
    "index: twice": ("create index i on t (n)", [operation("drop_index", name="i"), operation("drop_index", name="public.i")], "is dropped twice", "Remove one"),
    "index: becomes the identity": ("create unique index i on t (id)", [identity("index", "i"), operation("drop_index", name="i")], "makes the index i the replica identity", "Remove one"),
    "index: partitioned": (PARTITIONED + "create index i on p (n)", [operation("drop_index", name="i")], "partitioned table", "or changed by `sql`"),
    "identity: unknown index": ("create unique index t_n on t (n)", [identity("index", "t_m")], "has no index t_m", "Did you mean t_n"),
    "identity: not unique": ("create index i on t (id)", [identity("index", "i")], "it is not unique", "type: full"),
    "identity: nullable": ("create unique index i on t (n)", [identity("index", "i")], "n may be NULL", "type: full"),
    "identity: partial": ("create unique index i on t (id) where id > 3", [identity("index", "i")], "it is partial", "type: full"),
    "identity: expression": ("create unique index i on t ((id + 1))", [identity("index", "i")], "it has expressions", "type: full"),
    "identity: deferrable": ("alter table t alter n set not null; alter table t add constraint u unique (n) deferrable", [identity("index", "u")], "can be deferred", "type: full"),
    "identity: altered column": ("alter table t alter n set not null; create unique index i on t (n)", [identity("index", "i"), WIDEN], "covers n, which another operation alters", "afterwards"),
    "identity: dropped column": ("alter table t alter n set not null; alter table t alter n set default 1; create unique index i on t (n)", [identity("index", "i"), operation("drop_column", table="t", column="n")], "covers n, which another operation", "afterwards"),
    "identity: column that becomes nullable": ("alter table t alter n set not null; create unique index i on t (n)", [operation("alter_column", table="t", column="n", nullable=True), identity("index", "i")], "", "."),
    "identity: its constraint is dropped": ("alter table t alter n set not null; alter table t add constraint u unique (n)", [identity("index", "u"), operation("drop_constraint", table="t", name="u", up="n", down="n")], "", "."),
    "identity: its constraint goes at the swap": ("alter table t alter n set not null; alter table t add constraint u unique (n)", [operation("drop_constraint", table="t", name="u"), identity("index", "u")], "", "."),
    "identity: its constraint is renamed": ("alter table t alter n set not null; alter table t add constraint u unique (n)", [operation("rename_constraint", table="t", **{"from": "u", "to": "v"}), identity("index", "u")], "another operation renames u", "of its own"),
    "identity: that of before is renamed": ("alter table t replica identity using index t_pkey", [identity("full"), operation("rename_constraint", table="t", **{"from": "t_pkey", "to": "v"})], "another operation renames t_pkey", "of its own"),
    "identity: nothing, but published": ("create publication p for table t", [identity("nothing")], "the publication p sends updates or deletes", "type: full"),
    "identity: default without a key, but published": ("alter table t replica identity full; alter table t drop constraint t_pkey; create publication p for all tables", [identity("default")], "the publication p sends", "type: full"),
    "identity: what was is gone": ("create unique index i on t (id); alter table t replica identity using index i; drop index i", [identity("full")], "is gone", "replica identity default"),
    "create: expression over nothing": ("", [index({"expression": "lower(b)"})], 'column "b" does not exist', "."),
    "create: expression that is volatile": ("", [index({"expression": "random()"})], "IMMUTABLE", "."),
    "create: expression of a dropped column": ("", [operation("drop_column", table="t", column="a"), index({"expression": "lower(a)"})], 'column "a" does not exist', "."),
    "create: include nothing": ("", [index("n", include=["b"])], 'column "b"', "."),
    "create: parameter": ("", [index("n", storage_parameters="fillfactr = 3")], "unrecognized parameter", "."),
    "create: operator class parameter": ("", [index({"column": "n", "opclass": {"name": "int4_ops", "params": ["siglen=3"]}})], "no options", "."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """The catalogue is as before, and the message helps."""
    schema, operations, what, hint = REFUSED[name]
    conn.execute((T + schema).encode())
    before = tables.catalogue(conn)
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, operations).begin()
    assert re.search(what, refused.value.what), refused.value.what
    assert hint in (refused.value.hint or ""), refused.value.hint
    assert refused.value.where
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


COLUMN = operation("add_column", table="p", column={"name": "c", "type": "int"}, up="n")
BY_ID = {"strategy": "hash", "columns": ["id"], "partitions": [{"name": "q1"}, {"name": "q2"}]}
INSTEAD: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "made anew in other partitions": ("shadow_table", [operation("rebuild_table", table="p", partition_by=BY_ID), COLUMN]),
    "made anew in one piece": ("shadow_table", [operation("rebuild_table", table="p", unpartition=True), COLUMN]),
    "by statements": ("expand_contract", [operation("sql", up="alter table p add c int", down="alter table p drop c")]),
}  # fmt: skip


@pytest.mark.parametrize("name", INSTEAD)
def test_what_is_named_instead_of_what_is_refused_can_be_done(name: str, conn: Connection, url: str) -> None:
    strategy, operations = INSTEAD[name]
    conn.execute((PARTITIONED + "alter table p add primary key (id); insert into p values (3, 4)").encode())
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, [COLUMN]).begin()
    for named in ("`strategy: shadow_table`", "rebuild_table", "partition_by", "`unpartition: true`", "`sql`"):
        assert named in refused.value.hint
    migration = Migration(url, operations, strategy=strategy)
    migration.begin()
    migration.before_swap()
    migration.swap()
    migration.contract()
    assert conn.execute("select id, n, c is not null from p").fetchall() == [(3, 4, strategy == "shadow_table")]
