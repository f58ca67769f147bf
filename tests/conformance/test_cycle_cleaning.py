# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for values that are cleaned, and for rows that refer to nothing."""

from typing import Any

import pytest

from tasks.model.errors import ChangeoverError
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_cycle_tables import operation

SCHEMA = r"""
create table p (id int primary key); insert into p select generate_series(1, 5);
create table t (id int primary key, e text, "C d" varchar(20) not null default ' x ', p_id int, n int not null default 1);
create index on t (e); create index on t (p_id);
insert into t (id, e, "C d", p_id) values
  (1, '  Ada@X.org ', 'GB', 1), (2, E'b\t\n  C', ' gb', null), (3, '', 'uk', 77), (4, null, E'a\\b''c', 78), (5, 'ok', 'UK', 5);
"""
CLEAN = r"nullif(lower(regexp_replace(regexp_replace(e::text, '^\s+|\s+$', '', 'g'), '\s+', ' ', 'g')), '')"


def clean(column: str, **more: Any) -> dict[str, Any]:
    """Clean a column of t."""
    return operation("clean_column", table="t", column=column, **more)


TWO = """
create table "P" (a int, "B b" text, primary key (a, "B b"));
create table "C" (id int primary key, x int not null, "y y" text);
insert into "P" select i, 'b' || i from generate_series(1, 5) i;
insert into "C" select i, i % 8, 'b' || i % 8 from generate_series(1, 20) i;
"""


def of_two(**more: Any) -> dict[str, Any]:
    references = {"table": "P", "columns": ["a", "B b"], **more}
    return operation(
        "create_constraint", table="C", name="k", type="foreign_key", columns=["x", "y y"], orphans="set_null",
        references=references,
    )  # fmt: skip


CASES = [
    Case(
        name="clean by every rule",
        schema=SCHEMA,
        operations=[
            clean("e", rules=["trim", "collapse_whitespace", "lower", "empty_to_null"], nulls=["n/a"], check="e_clean"),
            clean("C d", rules=["trim", "upper"], values={"GB": "UK", r"A\B'C": "it's"}),
        ],
        plain=[
            r"update t set e = nullif(nullif(lower(regexp_replace(regexp_replace(e, '^\s+|\s+$', '', 'g'), '\s+', ' ', 'g')), ''), 'n/a')",
            r"""update t set "C d" = case btrim(upper("C d")) when 'GB' then 'UK' when 'A\B''C' then 'it''s'
                else btrim(upper("C d")) end""",
            rf"alter table t add constraint e_clean check (not (e is distinct from case {CLEAN} when 'n/a' then null else {CLEAN} end))",
        ],
        writes="insert into t (id, e) values (7, ' A  B '); update t set e = 'N/A ' where id = 5",
        after="insert into t (id, e, \"C d\") values (8, 'a b', 'FR'); update t set e = 'new' where id = 1",
        back="insert into t (id, e, \"C d\") values (8, 'a b', 'FR'); update t set e = 'new' where id = 1",
    ),
    Case(
        name="orphans of a column",
        schema=SCHEMA,
        operations=[
            operation(
                "alter_column", table="t", column="p_id", orphans="set_null",
                references={"name": "t_p", "table": "p", "column": "id", "on_delete": "SET NULL"},
            )
        ],
        plain=[
            "update t set p_id = null where p_id not in (select id from p)",
            "alter table t add constraint t_p foreign key (p_id) references p (id) on delete set null",
        ],
        writes="insert into t (id, p_id) values (7, 99), (8, 2); update t set p_id = 98 where id = 5",
        after="insert into t (id, p_id) values (9, 3); update t set p_id = 4 where id = 3",
        back="insert into t (id, p_id) values (9, 3); update t set p_id = 4 where id = 3",
    ),
    Case(
        name="orphans of a constraint, within one table",
        schema=SCHEMA,
        operations=[
            operation(
                "create_constraint", table="t", name="t_t", type="foreign_key", columns=["p_id"], orphans="set_null",
                references={"table": "t", "columns": ["id"]},
            )
        ],
        plain=[
            "update t set p_id = null where p_id not in (select id from t)",
            "alter table t add constraint t_t foreign key (p_id) references t (id)",
        ],
        after="update t set p_id = 2 where id = 4",
        back="update t set p_id = 2 where id = 4",
    ),
    Case(
        name="orphans of two columns, one of which stays",
        schema=TWO,
        operations=[of_two()],
        plain=[
            """update "C" set "y y" = null where (x, "y y") not in (select a, "B b" from "P")""",
            """alter table "C" add constraint k foreign key (x, "y y") references "P" (a, "B b")""",
        ],
        writes="""insert into "C" values (101, 9, 'no'), (102, 1, 'b1'), (103, 9, null); update "C" set x = 7 where id = 3;
          update "C" set "y y" = 'b2' where id = 9; delete from "C" where id = 4; update "C" set id = 201 where id = 5""",
        after="""insert into "C" values (301, 2, 'b2'), (302, 9, null); update "C" set "y y" = null where id = 1""",
        back="""insert into "C" values (301, 2, 'b2'), (302, 9, null); update "C" set "y y" = null where id = 1""",
    ),
    Case(
        name="orphans of two columns, both or none",
        schema=TWO + """alter table "C" alter x drop not null; update "C" set x = null where id in (11, 12); update "C" set "y y" = null where id in (12, 13);""",
        operations=[of_two(match_type="FULL")],
        plain=[
            """update "C" set x = null, "y y" = null where x is null or "y y" is null or (x, "y y") not in (select a, "B b" from "P")""",
            """alter table "C" add constraint k foreign key (x, "y y") references "P" (a, "B b") match full""",
        ],
        writes="""insert into "C" values (101, 9, 'no'), (102, null, 'b1'), (103, null, null); update "C" set x = null where id = 2""",
        after="""update "C" set x = 3, "y y" = 'b3' where id = 11""",
        back="""update "C" set x = 3, "y y" = 'b3' where id = 11""",
    ),
]  # fmt: skip


@each(CASES)
def test_there_and_back_again(case: Case, conn: Connection, url: str) -> None:
    """What was cleaned is as it was after a rollback, unless it was written since."""
    Cycle(case, conn, url).all_legs()


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "not a text": (clean("p_id", rules=["trim"]), "p_id is of the type integer", "alter_column"),
    "NULL where there is none": (clean("C d", rules=["empty_to_null"]), "NOT NULL, and a rule would make NULLs", "that rule"),
    "a check that refuses what was cleaned": (
        clean("e", rules=["empty_to_null", "trim"], check="e_clean"), "the rules make '' of ' '", "cleaning twice"),
    "a check that refuses what was replaced": (
        clean("e", rules=["lower"], values={"50%": "Half"}, check="e_clean"), "the rules make 'Half' of '50%'", "cleaning twice"),
    "orphans that cannot be NULL": (
        operation("create_constraint", table="t", name="f", type="foreign_key", columns=["n"], orphans="set_null",
                  references={"table": "p", "columns": ["id"]}), "orphans could not become NULL", "Correct or delete"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """What, and what to do."""
    asked, what, hint = REFUSED[name]
    conn.execute(SCHEMA)
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, [asked]).begin()
    assert what in refused.value.what
    assert hint in (refused.value.hint or "")


def test_orphans_are_counted_where_nothing_else_is_said(conn: Connection, url: str) -> None:
    """Without `orphans`, the gate refuses."""
    conn.execute(SCHEMA)
    references = {"name": "t_p", "table": "p", "column": "id"}
    migration = Migration(url, [operation("alter_column", table="t", column="p_id", references=references)])
    migration.begin()
    assert migration.failures("before_swap") == ["public.t.p_id refers to p.id: 2"]
