"""drop_table: what is kept of the table, and what keeps it from being dropped."""

import gzip
import json
from pathlib import Path

import pytest

from tasks.model.errors import PreflightError
from tasks.model.steps import LockMode, Phase, ShortTransaction
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration

FAMILY = """
create table p (id int primary key);
create table t (id int primary key references p, "a b" text, f float8[] default '{1.5,NULL}', g int generated always as
  (id * 2) stored, j jsonb, k json);
create table c (id int primary key references t, x numeric);
insert into p select generate_series(1, 500);
insert into t (id, "a b", j) select i, case when i % 3 = 0 then E'\\t\\\\' else 'ü' || i end, '{"x": null}'
  from generate_series(1, 500) i;
insert into c select i, 'NaN' from generate_series(1, 500) i;
"""
DROPS = [{"drop_table": {"name": "t"}}, {"drop_table": {"name": "c"}}]


def test_the_copy_restores_to_the_same_rows(conn: Connection, url: str, tmp_path: Path) -> None:
    """Of every column, in files that COPY reads; the manifest says which columns and types there are."""
    conn.execute(FAMILY)
    migration = Migration(url, DROPS)
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("update t set \"a b\" = 'late' where id = 7")
    assert migration.plan is not None
    records = [migration.engine.dump(target, tmp_path, swapped=True) for target in migration.plan.dumps]
    assert [(record.table, record.rows) for record in records] == [("public.c", 500), ("public.t", 500)]
    assert records[1].columns == ("id", "a b", "f", "g", "j", "k")
    before = tables.data(conn, {"public.t": ["id", "a b", "f", "g", "j", "k"]})
    migration.contract()
    assert tables.names(conn) == ["public.p"]
    manifest = json.loads((tmp_path / records[1].file).with_suffix(".json").read_text())
    assert manifest["columns"] == list(records[1].columns)
    columns = ", ".join(f'"{name}" {kind}' for name, kind in zip(manifest["columns"], manifest["types"], strict=True))
    conn.execute(f"create table t ({columns})".encode())
    with gzip.open(tmp_path / records[1].file) as file, conn.cursor().copy("copy t from stdin (format binary)") as copy:
        copy.write(file.read())
    assert tables.data(conn, {"public.t": ["id", "a b", "f", "g", "j", "k"]}) == before


def test_children_first_in_one_statement_with_their_parents_locked(conn: Connection, url: str) -> None:
    """Dropping a foreign key locks the table that it points to, too."""
    conn.execute(FAMILY)
    migration = Migration(url, DROPS)
    migration.begin()
    assert migration.plan is not None
    (step,) = migration.plan.phase(Phase.CONTRACT)
    assert isinstance(step.action, ShortTransaction)
    assert step.action.forward == ('drop table "public"."c", "public"."t"',)
    assert [(lock.table, lock.mode) for lock in step.action.locks] == [
        (f'"public"."{name}"', LockMode.ACCESS_EXCLUSIVE) for name in ("c", "p", "t")
    ]
    assert migration.plan.risk == "HIGH"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("create view v as select id, j from t", "rule _RETURN on view v"),
        ("create table o (x int constraint late references t)", "constraint late on table o"),
        ("create function f(x t) returns int language sql as 'select 1'", "function f(t)"),
    ],
)
def test_what_is_built_on_it_later_keeps_it(statement: str, named: str, conn: Connection, url: str) -> None:
    """The gate before the end names it; without it the table goes."""
    conn.execute(FAMILY)
    migration = Migration(url, DROPS)
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute(statement.encode())
    assert migration.failures("after_swap") == ["nothing else depends on public.t: 1"]
    assert migration.plan is not None
    asked = next(r for r in migration.plan.requirements if r.name == "nothing else depends on public.t")
    assert conn.execute(asked.violations.encode()).fetchall() == [(named,)]
    conn.execute(statement.split(" as ")[0].replace("create", "drop").split(" (")[0].split(" returns")[0].encode())
    migration.contract()
    assert tables.names(conn) == ["public.p"]


def test_another_migration_waits(conn: Connection, url: str) -> None:
    """Nothing else begins on a table that is about to go, though no trigger stands on it."""
    conn.execute(FAMILY)
    first = Migration(url, DROPS)
    first.begin()
    column = {"name": "z", "type": "int", "nullable": True}
    second = Migration(url, [{"add_column": {"table": "t", "column": column}}], name="second")
    with pytest.raises(PreflightError, match=r"another migration of public\.t is not contracted yet: m"):
        second.begin()
    first.before_swap()
    first.roll_back()
    second.begin()
