# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for columns that go to a table of their own, a row for a row."""

from typing import Any

import pytest

from tasks.model.errors import ChangeoverError
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection, Migration


def split(**body: Any) -> dict[str, Any]:
    return {"split_table": body}


SCHEMA = """
create table u (id int primary key, name text, bio text not null default 'none', photo text);
insert into u select i, 'n' || i, 'b' || i, nullif('p' || i % 4, 'p0') from generate_series(1, 30) i;
"""
PLAIN = (
    "create table d (u_id int not null, bio text default 'none' not null, photo text, primary key (u_id), constraint d_fkey foreign key (u_id) references u (id) on delete cascade on update cascade)",
    "revoke all on d from current_user; grant all on d to current_user",
    "insert into d select id, bio, photo from u",
    "alter table u drop column bio, drop column photo",
)
ODD = """
create table "T One" ("a k" int, "B" text, "v' x" jsonb, w numeric, k1 int, primary key ("B", "a k"));
comment on column "T One"."v' x" is 'it''s';
insert into "T One" select i, 'b' || i % 3, case when i % 4 > 0 then jsonb_build_object('i', i) end, nullif(i % 2, 1) from generate_series(1, 20) i;
"""
CASES = [
    Case(
        name="a row for every row",
        schema=SCHEMA,
        operations=[split(table="u", columns=["bio", "photo"], to="d", key={"id": "u_id"})],
        plain=PLAIN,
        writes="insert into u (id, name) values (101, 'x'); insert into u (id, bio, photo) values (102, 'b', 'p'), (103, 'b', null);"
        " update u set bio = 'up', photo = null where id = 3; delete from u where id = 4; update u set id = 201 where id = 5;"
        " update u set id = 202, bio = 'both' where id = 6; delete from u where id = 7; insert into u (id, bio) values (7, 'again')",
        after="update d set bio = 'new' where u_id = 8; insert into u (id, name) values (301, 'i'); insert into d values (301, 'i', 'j');"
        " delete from u where id = 9; update u set id = 203 where id = 10; update d set photo = 'moved' where u_id = 11; update u set id = 204 where id = 11;"
        " delete from u where id = 12; insert into u (id) values (12); insert into d values (12, 'back', 'b')",
        back="update u set bio = 'new' where id = 8; insert into u values (301, 'i', 'i', 'j'); delete from u where id in (9, 12);"
        " update u set id = 203 where id = 10; update u set photo = 'moved', id = 204 where id = 11; insert into u (id, bio, photo) values (12, 'back', 'b')",
    ),
    Case(
        name="a row where there is something to say, composite key, quoted names",
        schema=ODD,
        operations=[split(table="T One", columns=["v' x", "w"], to="s 2", key={"a k": "K"}, when_null="no_row")],
        plain=(
            """create table "s 2" ("B" text not null, "K" int not null, "v' x" jsonb, w numeric, primary key ("B", "K"), constraint "s 2_fkey" foreign key ("B", "K") references "T One" ("B", "a k") on delete cascade on update cascade)""",
            """revoke all on "s 2" from current_user; grant all on "s 2" to current_user; comment on column "s 2"."v' x" is 'it''s'""",
            """insert into "s 2" select "B", "a k", "v' x", w from "T One" where "v' x" is not null or w is not null""",
            """alter table "T One" drop column "v' x", drop column w""",
        ),
        writes="""update "T One" set "v' x" = '{"n": 1.0}' where "a k" = 3; update "T One" set w = null, "v' x" = null where "a k" = 6; update "T One" set w = 1.0 where "a k" = 12;
            delete from "T One" where "a k" = 4; update "T One" set "B" = 'q' where "a k" = 5; insert into "T One" ("a k", "B") values (101, 'x')""",
        after="""update "s 2" set w = 1.00 where "K" = 12; delete from "s 2" where "K" = 8; insert into "s 2" ("K", "B", w) values (101, 'x', 7);
            delete from "T One" where "a k" = 10""",
        back="""update "T One" set w = 1.00 where "a k" = 12; update "T One" set w = null, "v' x" = null where "a k" = 8; update "T One" set w = 7 where "a k" = 101; delete from "T One" where "a k" = 10""",
    ),
    Case(
        name="no rows",
        schema="create table a (id int primary key, v text, w text);",
        operations=[split(table="a", columns=["v"], to="b")],
        plain=(
            "create table b (id int not null, v text, primary key (id), constraint b_fkey foreign key (id) references a (id) on delete cascade on update cascade)",
            "revoke all on b from current_user; grant all on b to current_user",
            "alter table a drop column v",
        ),
    ),
]  # fmt: skip


@each(CASES)
def test_there_and_back_and_to_the_end(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()


REFUSED = {
    "no primary key": ("create table t (id int unique not null, v text);", split(table="t", columns=["v"], to="d"), "no primary key"),
    "the key itself": ("create table t (id int primary key, v text);", split(table="t", columns=["id"], to="d"), "belongs to the primary key"),
    "not of the key": ("create table t (id int primary key, v text, n int);", split(table="t", columns=["v"], to="d", key={"n": "m"}), "n does not belong to the primary key"),
    "held by a check": ("create table t (id int primary key, v text constraint c check (v > ''));", split(table="t", columns=["v"], to="d"), "is held by c"),
    "referred to": ("create table t (id int primary key, v text unique); create table r (v text constraint f references t (v));", split(table="t", columns=["v"], to="d"), "is held by f"),
    "a table that is there": ("create table t (id int primary key, v text); create table d ();", split(table="t", columns=["v"], to="d"), "public.d exists"),
    "a view reads it": ("create table t (id int primary key, v text); create view w as select v from t;", split(table="t", columns=["v"], to="d"), "the view public.w reads v"),
    "inherited": ("create table p (id int primary key, v text); create table t (primary key (id)) inherits (p);", split(table="t", columns=["v"], to="d"), "inheritance"),
    "policies": ("create table t (id int primary key, v text); alter table t enable row level security;", split(table="t", columns=["v"], to="d"), "row security"),
    "a sequence": ("create table t (id int primary key, v serial);", split(table="t", columns=["v"], to="d"), "draws from a sequence"),
    "generated": ("create table t (id int primary key, v text generated always as ('x') stored);", split(table="t", columns=["v"], to="d"), "generated column"),
    "no row for what is not null": ("create table t (id int primary key, v text not null);", split(table="t", columns=["v"], to="d", when_null="no_row"), "v is NOT NULL"),
    "never NULL": ("create domain e as text not null; create table t (id int primary key, v e);", split(table="t", columns=["v"], to="d"), "does not allow null"),
    "no row for the default of a domain": ("create domain e as text default 'e'; create table t (id int primary key, v e);", split(table="t", columns=["v"], to="d", when_null="no_row"), "v has a default"),
    "a trigger would fire": (
        "create table t (id int primary key, v text); create function f() returns trigger language plpgsql as 'begin return new; end';"
        " create trigger g before update on t for each row execute function f();", split(table="t", columns=["v"], to="d"), "would fire the triggers g",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """With what stands in the way."""
    schema, asked, what = REFUSED[name]
    conn.execute(schema.encode())
    with pytest.raises(ChangeoverError, match=what):
        Migration(url, [asked]).begin()
