# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for several operations on one table or column: the same as one after the other, as migrations of their own."""

from collections.abc import Sequence
from typing import Any

import pytest

from tasks.engines.postgresql.drift import refuse_drift_since
from tasks.model.errors import ChangeoverError
from tasks.model.spec import MigrationSpec
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.plain import plainly
from tests.legs import EVERY_LEG

T = """
create table p (id int primary key, code text unique);
insert into p select i, 'c' || i from generate_series(1, 9) i;
create table t (id int primary key, a text, n int, b text not null default 'b', p int);
create index t_a on t (a);
alter table t add constraint n_small check (n < 1000);
grant select, insert on t to public;
insert into t select i, case when i % 3 <> 0 then 'A' || i end, case when i % 4 <> 0 then i end, 'b' || i, abs(i) % 9 + 1
from generate_series(-10, 20) i;
"""
W = "insert into t (id, a, n, p) values (100, 'A100', 100, 1), (101, 'x', null, null); update t set n = -n where id < 0;"
Body = dict[str, Any]


def op(kind: str, table: str = "t", **body: object) -> Body:
    return {kind: {"table": table, **body}}


def rename_table(old: str, new: str) -> Body:
    return {"rename_table": {"from": old, "to": new}}


def rename(old: str, new: str, table: str = "t") -> Body:
    return op("rename_column", table, **{"from": old, "to": new})


def add(name: str, up: str | None = None, table: str = "t", **column: object) -> Body:
    column = {"name": name, "type": "int", "nullable": True, **column}
    return op("add_column", table, column=column, **({"up": up} if up else {}))


def alter(name: str, table: str = "t", **body: object) -> Body:
    return op("alter_column", table, column=name, **body)


def check(name: str, condition: str, table: str = "t") -> Body:
    return op("create_constraint", table, name=name, type="check", check=condition)


def unique(name: str, *columns: str, table: str = "t") -> Body:
    return op("create_constraint", table, name=name, type="unique", columns=[*columns])


def index(name: str, *columns: str, table: str = "t", **more: object) -> Body:
    return op("create_index", table, name=name, columns=[*columns], **more)


def create(name: str, *columns: Body, **more: object) -> Body:
    return {"create_table": {"name": name, "columns": [{"type": "int", **one} for one in columns], **more}}


def one_by_one(*operations: Body) -> list[str]:
    """The plain statements of each operation, one after the other."""
    specs = [MigrationSpec.model_validate({"migration": "m", "operations": [one]}) for one in operations]
    return [statement for spec in specs for statement in plainly(spec)]


def case(name: str, *operations: Body, plain: Sequence[str] = (), **more: Any) -> Case:
    said = plain or one_by_one(*operations)
    return Case(name=name, schema=T, operations=operations, plain=said, **{"writes": W, **more})


ON_P = {"name": "on_p", "table": "p", "column": "id"}
ID = {"name": "id", "pk": True}
CASES = [
    case(
        "new table",
        create("m", ID, {"name": "x", "nullable": True}, {"name": "y", "type": "text", "nullable": True, "default": "'y'", "comment": "c"}),
        add("z", "x + 1", table="m"),
        alter("z", "m", type="bigint", up="z", down="z"),
        alter("y", "m", default="'why'", comment=None, check={"name": "m_y", "constraint": "length(y) > 1"}),
        rename("y", "reason", "m"),
        index("m_reason", "reason", table="m", predicate="reason <> 'x'"),
        rename("x", "ex", "m"),
        alter("ex", "m", nullable=False, up="coalesce(ex, 0)", down="ex"),
        check("m_ex", "ex < id or reason = 'why'", "m"),
        op("create_constraint", "m", name="m_p", type="foreign_key", columns=["ex"], references={"table": "p", "columns": ["id"]}),
        unique("m_u", "ex", "reason", table="m"),
        op("drop_constraint", "m", name="m_ex"),
        op("rename_constraint", "m", **{"from": "m_u", "to": "m_once"}),
        op("drop_column", "m", column="z", down="0"),
    ),
    case("new table, other name", create("m", ID), add("x", table="m"), create("o", ID, {"name": "m_id", "references": {"name": "o_m", "table": "m", "column": "id"}}),
         rename_table("m", "k"), index("k_x", "x", table="k"), alter("x", "k", unique={"name": "k_u"}),
         plain=["create table k (id int not null, x int, constraint m_pkey primary key (id)); alter table k rename constraint m_pkey to k_pkey",
                *one_by_one(create("o", ID, {"name": "m_id", "references": {"name": "o_m", "table": "k", "column": "id"}}), index("k_x", "x", table="k"), unique("k_u", "x", table="k"))]),
    case("new column", add("c", "n", type="bigint"), rename("c", "d"), alter("d", nullable=False, up="coalesce(d, id)", down="d"), alter("d", check={"name": "d_id", "constraint": "d < 5000"}, comment="D"), index("t_d", "d")),
    case("new column with defaults", add("c", default="1"), alter("c", default="2"), add("d", type="text"), alter("d", default="'x'"), alter("d", unique={"name": "d_u"})),
    case("rename, in place", rename("a", "c"), alter("c", default="'x'", comment="C"), alter("c", check={"name": "c_k", "constraint": "c <> '?'"}), index("t_c", "c", "n")),
    case("in place, rename", alter("b", default="'x'"), alter("n", check={"name": "n_k", "constraint": "n > -500"}), rename("n", "m"), index("t_b", "b"), rename("b", "c")),
    case("foreign key, rename", alter("p", references=ON_P), rename("p", "q"), rename("q", "r")),
    case("rename and drop", rename("a", "c"), op("drop_column", column="c", down="b"), rename("n", "m"), add("e", "m + 1")),
    case("alter twice", alter("n", check={"name": "n_k", "constraint": "n <> 12345"}), alter("n", type="bigint", up="n", down="n"), alter("n", comment="N")),
    case("converted twice", alter("n", type="bigint", up="coalesce(n, 0) * 2", down="(nullif(n, 0) / 2)::int"), alter("n", type="numeric", up="n + 0.5", down="(n - 0.5)::bigint", comment="N")),
    case("rename table", rename_table("t", "u"), add("c", "n + u.id", table="u"), index("u_a", "a", "c", table="u"), check("u_n", "n < 500", "u")),
    case("rename table, restrictions", alter("b", check={"name": "b_k", "constraint": "b <> ''"}), rename_table("t", "u"), unique("u_id", "id", "a", table="u"), alter("b", "u", default="'bb'", comment="B")),
    case("rename table, rename column", rename_table("t", "u"), rename("a", "c", "u"), alter("c", "u", default="'x'"), unique("u_c", "id", "c", table="u"), alter("p", "u", references=ON_P),
         after="insert into u (id, n) values (200, 2); update u set c = 'new' where id = 5; delete from u where id = 6",
         back="insert into t (id, a, n) values (200, 'x', 2); update t set a = 'new' where id = 5; delete from t where id = 6"),
    case("rename table, convert", rename_table("t", "u"), alter("n", "u", type="bigint", up="coalesce(n, 0)", down="nullif(n, 0)::int", nullable=False), op("drop_column", "u", column="a", down="'?'"), op("set_replica_identity", "u", identity={"type": "full"}),
         plain=["alter table t alter n type bigint using coalesce(n, 0), alter n set not null; alter table t drop a; alter table t rename to u; alter table u replica identity full"]),
    case("convert under another name", rename("p", "q"), alter("q", type="bigint", nullable=False, up="coalesce(q, 0)", down="nullif(q, 0)::int", default="4", check={"name": "q_k", "constraint": "q >= 0"}), unique("q_u", "q", "id"),
         after="insert into t (id, q) values (200, 3); update t set q = 9 where id = 1; insert into t (id) values (201)", back="insert into t (id, p) values (200, 3); update t set p = 9 where id = 1; insert into t (id, p) values (201, 4)",
         plain=["alter table t rename p to q; update t set q = coalesce(q, 0); alter table t alter q type bigint, alter q set default 4, alter q set not null, add constraint q_k check (q >= 0), add constraint q_u unique (q, id)"]),
    case("convert, rename all", alter("b", nullable=True, up="b", down="coalesce(b, '-')", lossy=True), rename("b", "c"), rename_table("t", "u"), alter("c", "u", unique={"name": "c_u"}), writes="update t set b = b || '!' where id = 3"),
    case("rename a parent", rename_table("p", "q"), alter("p", references={"name": "on_q", "table": "q", "column": "id"}), alter("code", "q", comment="C")),
    case("made and taken back", add("c"), op("drop_column", column="c"), create("m", ID), {"drop_table": {"name": "m"}}, index("t_x", "b"), {"drop_index": {"name": "t_x"}}, rename_table("p", "q"), rename_table("q", "r")),
]  # fmt: skip


USUAL = {"new table", "rename table, rename column", "convert, rename all"}
"""All the others where CHANGEOVER_EVERY_LEG is set."""


@each(one for one in CASES if EVERY_LEG or one.name in USUAL)
def test_cycle(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()


TOGETHER = [
    rename_table("t", "u"),
    rename("a", "c", "u"),
    alter("n", "u", type="bigint", up="coalesce(n, 0)", down="nullif(n, 0)::int", nullable=False, default="7"),
    add("d", table="u", type="text", default="'d'"),
    alter("b", "u", default="'new'"),
]


@pytest.mark.parametrize("version", [None, "v2"] if EVERY_LEG else ["v2"])
def test_both_names_show_their_shape(version: str | None, conn: Connection, url: str) -> None:
    """Each name is written to on either side of the swap, and at last there is one, with its columns in their order."""
    conn.execute(T.encode())
    migration = Migration(url, TOGETHER, version_schema=version)
    migration.begin()
    migration.run(*BEFORE_SWAP[:-1])
    assert migration.plan is not None
    refuse_drift_since(conn, migration.plan)
    migration.run(BEFORE_SWAP[-1])
    before = columns_of(conn)
    conn.execute("insert into u (id, c) values (300, 'by u'); insert into t (id, a) values (301, 'by t')")
    conn.execute("update u set c = c || '!', d = default, b = default where id = 2; update t set n = 70 where id = 3")
    assert row(conn, "select c, n, b, d from u where id = 300") == ("by u", 7, "new", "d")
    assert row(conn, "select a, n from t where id = 300") == ("by u", 7)
    assert row(conn, "select c, n, b from u where id = 301") == ("by t", 0, "b")
    assert row(conn, "select a, b from t where id = 2") == ("A2!", "new")
    assert row(conn, "select n from u where id = 3") == (70,)
    migration.swap()
    conn.execute(
        "insert into u (id, c, n) values (302, 'after', 5); update u set c = 'u' where id = 4; delete from u where id = 5"
    )
    conn.execute("update t set a = 't' where id = 7")
    assert row(conn, "select c from u where id = 7") == ("t",)
    assert row(conn, "select a, c from t where id = 4") == ("u", "u")
    assert columns_of(conn) == before
    if version is not None:
        assert row(conn, "select c, n from public_v2.u where id = 302") == ("after", 5)
    migration.contract()
    assert columns_of(conn) == before
    assert row(conn, "select relkind from pg_class where oid = 'u'::regclass") == ("r",)
    assert row(conn, "select to_regclass('t')") == (None,)
    assert row(conn, "select c, n, b, d from u where id = 300") == ("by u", 7, "new", "d")
    if version is not None:
        assert row(conn, "select c, n from public_v2.u where id = 302") == ("after", 5)


def row(conn: Connection, query: str) -> Any:
    return conn.execute(query.encode()).fetchone()


def columns_of(conn: Connection) -> list[str]:
    """What `select *` gives under the new name."""
    return [column.name for column in conn.execute("select * from u").description or ()]


REFUSED: dict[str, tuple[str, list[Body], str, str]] = {
    "columns with privileges": ("grant select (a) on t to public", [rename_table("t", "u"), add("c", table="u")], "has privileges on single columns", "of its own"),
    "converted, renamed, and in an index": ("", [rename("a", "c"), alter("c", type="varchar(9)", up="c", down="c")], "would lose the index t_a", "of its own"),
    "converted, renamed, and in a check": ("", [alter("n", type="bigint", up="n", down="n"), rename("n", "m")], "would lose the constraint n_small", "of its own"),
    "an index of a new table": ("create index i on t (n)", [create("m", ID), index("i", "id", table="m")], "already has a relation i", "another name"),
    "an index that cannot be": ("", [create("m", ID), index("i", "id", table="m", predicate="nothing > 0")], 'column "nothing" does not exist', "Correct"),
    "a key that comes later": ("", [op("create_index", name="t_b", columns=["b"], unique=True), create("m", ID, constraints=[{"name": "k", "type": "foreign_key", "columns": ["id"], "references": {"table": "t", "columns": ["n"]}}])], "has no unique constraint on n", "a second spec"),
    "an index that is not there": ("", [alter("n", comment="N"), alter("n", default="7"), {"drop_index": {"name": "t_zz"}}], "there is no index t_zz", ""),
    "values of the second": ("", [alter("n", comment="N"), add("y"), alter("n", type="bigint", up="bogus(n)", down="n")], "bogus", ""),
    "values of a new column": ("", [add("y"), alter("y", type="text", up="bogus(n)")], "bogus", ""),
    "values given twice": ("", [alter("n", type="bigint"), alter("n", up="n + bogus", down="n")], "bogus", ""),
    "renamed, converted and stored": ("alter table t alter a set storage external; drop index t_a", [rename("a", "c"), alter("c", up="c || 'x'", down="c", lossy=True)], "would lose its storage", "of its own"),
    "a name that is taken": ("create view u as select 1 as x", [rename_table("t", "u"), add("c", table="u")], "already has a relation u", "another name"),
}  # fmt: skip


AT = {
    "an index that is not there": "operations[2].drop_index.name",
    "values of the second": "operations[2].alter_column.up",
    "values of a new column": "operations[1].alter_column.up",
    "values given twice": "operations[1].alter_column.up",
}
"""Where an operation that was put together with another is wrong."""


@pytest.mark.parametrize(
    "name",
    REFUSED
    if EVERY_LEG
    else ["columns with privileges", "converted, renamed, and in a check", "a key that comes later"],
)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    schema, operations, what, hint = REFUSED[name]
    conn.execute((T + schema).encode())
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, operations).begin()
    assert what in refused.value.what
    assert hint in (refused.value.hint or "")
    assert "operations[" in (refused.value.where or "")
    if name in AT:
        assert (refused.value.where or "").startswith(AT[name])
