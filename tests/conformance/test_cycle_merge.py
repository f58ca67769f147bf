# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for a table with a row for a row that goes into the one that it belongs to."""

from typing import Any

import pytest

from tasks.engines.postgresql.planning.dual_write import OURS
from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection, Migration
from tests.legs import EVERY_LEG


def merge(**body: Any) -> dict[str, Any]:
    return {"merge_tables": body}


SCHEMA = """
create table u (id int primary key, name text);
create table d (u_id int primary key references u on delete cascade on update cascade, bio text not null default 'none', photo text);
insert into u select i, 'n' || i from generate_series(1, 30) i;
insert into d select i, 'b' || i, nullif('p' || i % 4, 'p0') from generate_series(1, 30) i where i % 7 > 0;
"""
CASES = [
    Case(
        name="a table into another",
        schema=SCHEMA,
        operations=[merge(table="u", **{"from": "d"}, columns={"bio": "life"})],
        plain=(
            "alter table u add column life text, add column photo text",
            "update u set life = d.bio, photo = d.photo from d where d.u_id = u.id",
            "drop table d",
        ),
        writes="insert into u values (101, 'x'), (102, 'y'); insert into d (u_id) values (101); insert into d values (102, 'b', 'p');"
        " update d set bio = 'up', photo = null where u_id = 3; delete from u where id = 4; update u set id = 201 where id = 5;"
        " delete from d where u_id = 6; insert into d values (7, 'b', null); update u set id = 207 where id = 14",
        after="update u set life = 'new' where id = 8; insert into u values (301, 'i', 'j', 'k'), (302, 'l', null, null); delete from u where id = 9;"
        " update u set life = null, photo = null where id = 10; update u set photo = 'moved' where id = 11; update u set id = 204 where id = 11",
        back="update d set bio = 'new' where u_id = 8; insert into u values (301, 'i'), (302, 'l'); insert into d values (301, 'j', 'k'); delete from u where id = 9;"
        " delete from d where u_id = 10; update d set photo = 'moved' where u_id = 11; update u set id = 204 where id = 11",
    ),
    Case(
        name="a table into another, composite key, quoted names, no rows",
        schema="""create table "T One" ("a k" int, "B" text, primary key ("B", "a k"));
            create table "s 2" ("x" text, "K" int, "v' x" jsonb, primary key ("K", "x"), foreign key ("x", "K") references "T One" ("B", "a k") on delete cascade);
            comment on column "s 2"."v' x" is 'it''s';""",
        operations=[merge(table="T One", **{"from": "s 2"})],
        plain=(
            """alter table "T One" add column "v' x" jsonb; comment on column "T One"."v' x" is 'it''s'""",
            """update "T One" t set "v' x" = s."v' x" from "s 2" s where t."a k" = s."K" and t."B" = s.x""",
            'drop table "s 2"',
        ),
        writes="""insert into "T One" values (1, 'b'), (2, 'b'); insert into "s 2" values ('b', 1, '{"n": 1.0}')""",
        after="""update "T One" set "v' x" = '{"n": 1.00}' where "a k" = 1""",
        back="""update "s 2" set "v' x" = '{"n": 1.00}' where "K" = 1""",
    ),
]


@each(CASES if EVERY_LEG else CASES[:1])
def test_there_and_back_and_to_the_end(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()


BOTH = "create table u (id int primary key, n int); create table d (u_id int primary key references u on delete cascade, v text"
REFUSED = {
    "not tied": ("create table u (id int primary key); create table d (u_id int primary key, v text);", "does not refer to public.u"),
    "several rows": ("create table u (id int primary key); create table d (id int primary key, u_id int references u on delete cascade, v text);", "does not refer to public.u"),
    "not cascading": ("create table u (id int primary key); create table d (u_id int primary key references u, v text);", "is not ON DELETE CASCADE"),
    "held by a check": (BOTH + " check (v > ''));", "is held by d_v_check"),
    "a column that is there": (BOTH + ", n int);", "already has a column n"),
    "referred to": (BOTH + "); create table r (u_id int constraint f references d);", "the foreign key f of public.r refers to public.d"),
    "a view reads it": (BOTH + "); create view w as select v from d;", "the view public.w depends on public.d"),
    "policies": (BOTH + "); alter table d enable row level security;", "row security"),
    "never NULL": ("create domain e as text check (value is not null); " + BOTH + ", w e);", "check constraint"),
    "nothing to merge": ("create table u (id int primary key); create table d (u_id int primary key references u on delete cascade);", "no column beside its key"),
    "a trigger would fire": (
        BOTH + "); create function f() returns trigger language plpgsql as 'begin return new; end';"
        " create trigger g before insert on d for each row execute function f();", "would fire the triggers g",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """With what stands in the way."""
    schema, what = REFUSED[name]
    conn.execute(schema.encode())
    with pytest.raises(ChangeoverError, match=what):
        Migration(url, [merge(table="u", **{"from": "d"})]).begin()


def test_the_default_of_a_domain_is_nothing_that_an_old_application_says(conn: Connection, url: str) -> None:
    """It inserts the row of the first table, and only then that of the second."""
    conn.execute(
        f"create domain e as text default 'e'; {BOTH}, w e); insert into u values (1), (2); insert into d values (1, 'x')".encode()
    )
    migration = Migration(url, [merge(table="u", **{"from": "d"})])
    migration.begin()
    migration.before_swap()
    assert conn.execute("select w from u order by id").fetchall() == [("e",), (None,)]
    conn.execute("insert into u values (3)")
    conn.execute("insert into d values (3, 'y', 'z')")
    migration.swap()
    assert conn.execute("select v, w from u where id = 3").fetchone() == ("y", "z")
    migration.roll_back()


def test_before_the_swap_what_the_old_table_cannot_hold_is_taken_back(conn: Connection, url: str) -> None:
    """The old shape is the truth, and would have refused it; and the gate looks at such a row, too."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, CASES[0].operations)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    conn.execute("update u set photo = 'p' where id = 2")
    conn.execute("update d set photo = 'q' where u_id = 3")
    migration.run(Phase.BACKFILL, Phase.INDEX)
    assert conn.execute("select life, photo from u where id = 3").fetchone() == ("b3", "q")
    conn.execute("update u set life = null, photo = 'x' where id = 1")
    assert conn.execute("select life, photo from u where id < 3 order by id").fetchall() == [("b1", "x"), ("b2", "p")]
    assert conn.execute("select bio, photo from d where u_id < 3 order by 1").fetchall() == [("b1", "x"), ("b2", "p")]
    conn.execute(f"{OURS}; update u set life = null where id = 1; reset vacuum_cost_page_hit".encode())
    assert "life" in str(migration.failures("before_swap"))


def test_columns_that_become_open_to_others_are_named(conn: Connection, url: str) -> None:
    """Whoever may read the whole of a table may read the columns that it gets."""
    conn.execute(f"{BOTH}); grant select on u to public".encode())
    spec = [merge(table="u", **{"from": "d"})]
    migration = Migration(url, spec)
    migration.begin()
    (finding,) = [one for one in migration.findings if one.rule == "LNK-07"]
    assert finding.message.startswith("public may read or write public.u")
    migration.roll_back()
    conn.execute("grant select on d to public")
    again = Migration(url, spec, name="again")
    again.begin()
    assert not [one for one in again.findings if one.rule == "LNK-07"]


def test_what_the_old_table_cannot_hold_keeps_a_rollback_from_being_made(conn: Connection, url: str) -> None:
    """A new application may leave out what was NOT NULL; until it is there, there is no way back."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, CASES[0].operations)
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("update u set life = null where id = 1; insert into u (id, photo) values (101, 'p')")
    assert conn.execute("select bio from d where u_id = 1").fetchone() == ("b1",)
    migration.pass_gate("after_swap")
    assert migration.before_rollback() == ["public.d can hold what public.u says"]
    conn.execute("update u set life = 'x' where id in (1, 101)")
    migration.roll_back()
    assert conn.execute("select * from d where bio = 'x' order by 1").fetchall() == [(1, "x", "p1"), (101, "x", "p")]
