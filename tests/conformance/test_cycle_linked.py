# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for changes that span two tables: a column that moves along a key or a foreign key."""

from typing import Any

from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection


def move(**body: Any) -> dict[str, Any]:
    return {"move_column": body}


ONE = """
create table u (id int primary key, mail text not null default 'none', n int);
create table p (u_id int primary key references u on delete cascade on update cascade, photo text);
insert into u select i, 'm' || i, nullif(i % 5, 0) from generate_series(1, 30) i;
insert into p select i, 'p' || i from generate_series(1, 30) i;
"""
TO_CHILD = [move(table="u", column="mail", to="p", on={"id": "u_id"})]
TO_CHILD_PLAINLY = (
    "alter table p add column mail text",
    "update p set mail = u.mail from u where u.id = p.u_id",
    "alter table u drop column mail",
)
MANY = """
create table c (id int primary key, code text, city text);
create table o (id int primary key, c_id int references c on delete cascade, region text, note text);
create index on o (c_id);
insert into c select i, 'c' || i from generate_series(1, 12) i;
insert into o select i, i % 10 + 1, 'r' || i % 10 + 1 from generate_series(1, 40) i;
""".replace("'r' || i % 10 + 1", "'r' || (i % 10 + 1)")
TO_PARENT = [move(table="o", column="region", to="c", to_column="area", on={"c_id": "id"})]
TO_PARENT_PLAINLY = (
    "alter table c add column area text",
    "update c set area = (select max(region) from o where c_id = c.id)",
    "alter table o drop column region",
)
ODD = """
create table "T One" ("a k" int, "B" text, "v' x" jsonb, value text default 'no', k1 int default 7, primary key ("a k", "B"));
create table "s 2" ("x" text, "K" int, id serial primary key, value text default 'no', k1 int default 7, unique ("K", "x"));
insert into "T One" ("a k", "B", "v' x") select i, 'b' || i % 3, jsonb_build_object('i', i) from generate_series(1, 20) i;
insert into "s 2" (x, "K") select 'b' || i % 3, i from generate_series(1, 20) i;
"""
CASES = [
    Case(
        name="one to one, to the child",
        schema=ONE,
        operations=TO_CHILD,
        plain=TO_CHILD_PLAINLY,
        writes="insert into u (id) values (101), (102); insert into u (id, mail) values (103, 'x');"
        " insert into p (u_id) values (101), (103); update u set mail = 'old' where id = 3; delete from u where id = 4;"
        " update u set id = 201 where id = 5; update p set photo = 'z' where u_id = 6; delete from p where u_id = 102;"
        " insert into p (u_id) values (102)",
        after="update p set mail = 'new' where u_id = 7; insert into u (id, n) values (301, 1); insert into p (u_id, mail) values (301, 'i');"
        " delete from u where id = 8; update u set id = 202 where id = 9",
        back="update u set mail = 'new' where id = 7; insert into u (id, n, mail) values (301, 1, 'i'); insert into p (u_id) values (301);"
        " delete from u where id = 8; update u set id = 202 where id = 9",
    ),
    Case(
        name="many to one, to the parent",
        schema=MANY,
        operations=TO_PARENT,
        plain=TO_PARENT_PLAINLY,
        writes="insert into c (id) values (101); insert into o (id, c_id, region) values (101, 101, 'n'), (102, 101, 'n');"
        " update o set region = 'up' where c_id = 3; delete from o where c_id = 4; update o set c_id = 101, region = 'n' where id = 5;"
        " insert into o (id) values (103); delete from c where id = 6",
        after="update c set area = 'new' where id = 7; insert into o (id, c_id) values (201, 8); update o set c_id = 9 where id = 10;"
        " insert into c (id, area) values (102, 'w'); insert into o (id, c_id) values (202, 102); update c set area = null where id = 2",
        back="update o set region = 'new' where c_id = 7; insert into o (id, c_id, region) values (201, 8, 'r8'); update o set c_id = 9, region = 'r9' where id = 10;"
        " insert into c (id) values (102); insert into o (id, c_id, region) values (202, 102, 'w'); update o set region = null where c_id = 2",
    ),
    Case(
        name="many to one, the greatest",
        schema=MANY + "update o set region = region || id % 7;",
        operations=[move(table="o", column="region", to="c", on={"c_id": "id"}, when_differ="max")],
        plain=(
            "alter table c add column region text",
            "update c set region = (select max(region) from o where c_id = c.id)",
            "alter table o drop column region",
        ),
        writes="update o set region = 'zz' where id = 3; update o set region = null where c_id = 5; delete from o where id = 7",
        after="update c set region = 'new' where id = 8",
        back="update o set region = 'new' where c_id = 8",
    ),
    Case(
        name="one to many, to the children",
        schema=MANY,
        operations=[move(table="c", column="code", to="o", on={"id": "c_id"}, lossy=True)],
        plain=(
            "alter table o add column code text",
            "update o set code = c.code from c where c.id = o.c_id",
            "alter table c drop column code",
        ),
        writes="insert into o (id, c_id) values (101, 5), (102, null); update c set code = 'x' where id = 5; update o set c_id = 7 where id = 3;"
        " delete from c where id = 2; update c set code = null where id = 8",
        after="update o set code = 'new' where c_id = 5; update o set code = 'one' where c_id = 9",
        back="update c set code = 'new' where id = 5; update c set code = 'one' where id = 9",
    ),
    Case(
        name="a copy in the children",
        schema=MANY,
        operations=[
            {"denormalize": {"table": "c", "column": "code", "to": "o", "to_column": "c_code", "on": {"id": "c_id"}}}
        ],
        plain=("alter table o add column c_code text", "update o set c_code = c.code from c where c.id = o.c_id"),
        writes="insert into o (id, c_id) values (101, 5), (102, null); update c set code = 'x' where id = 5; update o set c_id = 7 where id = 3;"
        " delete from c where id = 2",
        after="update c set code = 'new' where id = 5; update o set c_code = 'new' where c_id = 5; insert into o (id, c_id, c_code) values (201, 8, 'c8')",
        back="update c set code = 'new' where id = 5; insert into o (id, c_id) values (201, 8)",
    ),
    Case(
        name="composite key, quoted names",
        schema=ODD,
        operations=[move(table="T One", column="v' x", to="s 2", on={"a k": "K", "B": "x"})],
        plain=(
            """alter table "s 2" add column "v' x" jsonb""",
            """update "s 2" s set "v' x" = t."v' x" from "T One" t where t."a k" = s."K" and t."B" = s.x""",
            """alter table "T One" drop column "v' x\"""",
        ),
        writes="""update "T One" set "v' x" = '{"n": 1.0}' where "a k" = 3; delete from "T One" where "a k" = 4; update "s 2" set x = 'q' where "K" = 5; update "T One" set "B" = 'q' where "a k" = 5""",
        after="""update "s 2" set "v' x" = '{"n": 1.00}' where "K" = 3""",
        back="""update "T One" set "v' x" = '{"n": 1.00}' where "a k" = 3""",
    ),
    Case(
        name="no rows",
        schema="create table a (id int primary key, v text); create table b (id int primary key);",
        operations=[move(table="a", column="v", to="b", on={"id": "id"})],
        plain=("alter table b add column v text", "alter table a drop column v"),
    ),
]


@each(CASES)
def test_there_and_back_and_to_the_end(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()
