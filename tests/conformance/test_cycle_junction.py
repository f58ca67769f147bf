# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for references that become rows of a table between the two."""

from typing import Any

import pytest

from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection, Migration
from tests.conformance.together import together


def junction(**body: Any) -> dict[str, Any]:
    return {"extract_junction": body}


SCHEMA = """
create table authors (id int primary key, name text);
create table books (id int primary key, author_id int constraint of_author references authors, title text default '');
insert into authors select i, 'a' || i from generate_series(1, 9) i;
insert into books select i, nullif(i % 5, 0), 'b' || i from generate_series(1, 30) i;
comment on column books.author_id is 'who wrote it';
"""
BETWEEN = (
    "create table written (book_id int not null, author_id int not null, primary key (book_id, author_id),"
    " constraint written_fkey foreign key (book_id) references books on delete cascade on update cascade,"
    " constraint written_author_id_fkey foreign key (author_id) references authors on delete cascade on update cascade)",
    "create index written_author_id_idx on written (author_id); comment on column written.author_id is 'who wrote it'",
)
ODD = """
create table "O ther" ("k 1" text unique, n int);
create table "T One" ("a k" int, "B" text, "v' x" text not null references "O ther" ("k 1") on delete cascade, k1 int, primary key ("B", "a k"));
create index on "T One" ("v' x");
insert into "O ther" select 'o''' || i, i from generate_series(1, 4) i;
insert into "T One" select i, 'b' || i % 3, 'o''' || i % 4 + 1, i from generate_series(1, 20) i;
"""
TAGS = """
create table tags (id int primary key, name text);
create table posts (id int primary key, tags {});
insert into tags select i, 't' || i from generate_series(1, 10) i;
insert into posts select i, {} from generate_series(1, 20) i;
"""
TAGGED = (
    "create table tagged (post_id int not null, tag_id int not null, primary key (post_id, tag_id),"
    " constraint tagged_fkey foreign key (post_id) references posts on delete cascade on update cascade,"
    " constraint tagged_tag_id_fkey foreign key (tag_id) references tags on delete cascade on update cascade)",
    "create index tagged_tag_id_idx on tagged (tag_id)",
)
CASES = [
    Case(
        name="one reference",
        schema=SCHEMA,
        operations=[junction(table="books", column="author_id", references="authors", to="written", key={"id": "book_id"})],
        plain=(*BETWEEN, "insert into written select id, author_id from books where author_id is not null", "alter table books drop column author_id"),
        writes="insert into books values (101, null), (102, 3); update books set author_id = 7 where id = 1; update books set author_id = null where id = 2;"
        " delete from books where id = 3; update books set id = 201 where id = 4; update books set id = 202, author_id = 8 where id = 6; delete from books where id = 7; insert into books values (7, 9);"
        " update books set author_id = null where author_id = 4; delete from authors where id = 4; update books set author_id = 1 where id = 5;"
        " update books set author_id = null where author_id = 2; update authors set id = 20 where id = 2",
        after="insert into books (id) values (301); insert into written values (301, 5); delete from written where book_id = 8; update written set author_id = 6 where book_id = 11;"
        " delete from written where book_id = 12; insert into written values (12, 1); update books set id = 203 where id = 13; delete from books where id = 16;"
        " insert into written values (17, 9); delete from written where (book_id, author_id) = (17, 2); insert into written values (18, 9); delete from written where (book_id, author_id) = (18, 9);"
        " delete from written where author_id = 3; update authors set id = 30 where id = 3; insert into written values (23, 9), (9, 8); update authors set id = 80 where id = 8",
        back="insert into books values (301, 5); update books set author_id = null where id = 8; update books set author_id = 6 where id = 11; update books set author_id = 1 where id = 12;"
        " update books set id = 203 where id = 13; delete from books where id = 16; update books set author_id = 9 where id = 17;"
        " update books set author_id = null where author_id = 3; update authors set id = 30 where id = 3; update books set author_id = 9 where id = 23;"
        " insert into authors values (80, 'a8'); update books set author_id = 80 where author_id = 8 or id = 9; delete from authors where id = 8",
    ),
    Case(
        name="one reference that is never NULL, composite key, quoted names",
        schema=ODD,
        operations=[junction(table="T One", column="v' x", references="O ther", to="s 2", key={"a k": "K"}, reference="R f")],
        plain=(
            """create table "s 2" ("B" text not null, "K" int not null, "R f" text not null, primary key ("B", "K", "R f"), constraint "s 2_fkey" foreign key ("B", "K") references "T One" ("B", "a k") on delete cascade on update cascade, constraint "s 2_R f_fkey" foreign key ("R f") references "O ther" ("k 1") on delete cascade on update cascade)""",
            """create index "s 2_R f_idx" on "s 2" ("R f")""",
            """insert into "s 2" select "B", "a k", "v' x" from "T One" """,
            """alter table "T One" drop column "v' x" """,
        ),
        writes="""update "T One" set "v' x" = 'o''1' where "a k" = 3; delete from "T One" where "a k" = 4; update "T One" set "B" = 'q' where "a k" = 5; insert into "T One" values (101, 'x', 'o''2');
            delete from "O ther" where n = 3""",
        after="""insert into "T One" values (102, 'y'); insert into "s 2" values ('y', 102, 'o''4'); update "s 2" set "R f" = 'o''4' where "R f" = 'o''2'; delete from "O ther" where n = 2""",
        back="""insert into "T One" values (102, 'y', 'o''4'); update "T One" set "v' x" = 'o''4' where "v' x" = 'o''2'; delete from "O ther" where n = 2""",
    ),
    Case(
        name="an array",
        schema=TAGS.format("int[] not null default '{}'", "case i % 3 when 0 then '{}' else array[i % 5 + 1, 9] end"),
        operations=[junction(table="posts", column="tags", references="tags", to="tagged", key={"id": "post_id"}, reference="tag_id")],
        plain=(*TAGGED, "insert into tagged select id, unnest(tags) from posts", "alter table posts drop column tags"),
        writes="insert into posts values (101, default), (102, '{3,1}'); update posts set tags = tags || 7 where id = 1; update posts set tags = '{2}' where id = 2; delete from posts where id = 4;"
        " update posts set id = 201 where id = 5; update posts set id = 202, tags = array_remove(tags, 9) where id = 7; update posts set tags = '{}' where id = 8; update posts set tags = array_remove(tags, 6); delete from tags where id = 6",
        after="insert into posts (id) values (301); insert into tagged values (301, 5), (301, 2), (1, 8); delete from tagged where post_id = 10; delete from tagged where (post_id, tag_id) = (11, 9);"
        " update tagged set tag_id = 8 where (post_id, tag_id) = (13, 9); update posts set id = 203 where id = 14; delete from tags where id = 7; insert into tagged values (3, 1)",
        back="insert into posts values (301, '{5,2}'); update posts set tags = tags || 8 where id = 1; update posts set tags = '{}' where id = 10; update posts set tags = array_remove(tags, 9) where id = 11;"
        " update posts set tags = array_replace(tags, 9, 8) where id = 13; update posts set id = 203 where id = 14; update posts set tags = array_remove(tags, 7); delete from tags where id = 7; update posts set tags = '{1}' where id = 3",
    ),
    Case(
        name="a list in a text",
        schema=TAGS.format("text", "nullif(concat_ws('; ', nullif(i % 4, 0), 9 + i % 2), '9')"),
        operations=[junction(table="posts", column="tags", references="tags", to="tagged", key={"id": "post_id"}, reference="tag_id", delimiter=";")],
        plain=(*TAGGED, "insert into tagged select id, btrim(e)::int from posts, unnest(string_to_array(tags, ';')) e where btrim(e) <> ''", "alter table posts drop column tags"),
        writes="insert into posts values (101, ' 3;1 ;'), (102, ''); update posts set tags = '5' where id = 1; delete from posts where id = 4",
        after="insert into posts (id) values (301); insert into tagged values (301, 5); delete from tagged where (post_id, tag_id) = (11, 3)",
        back="insert into posts values (301, '5'); update posts set tags = '10' where id = 11",
    ),
    Case(
        name="a key that is generated, and the other one called like the column",
        schema="create table o (n int primary key, code text generated always as ('c' || n) stored unique); insert into o select generate_series(1, 4);"
        " create table t (id int primary key, o_code text constraint f references o (code) on delete set null); insert into t select i, 'c' || i from generate_series(1, 4) i",
        operations=[junction(table="t", column="o_code", references="o", to="j", key={"id": "o_code"}, reference="code")],
        plain=(
            "create table j (o_code int not null, code text not null, primary key (o_code, code), constraint j_fkey foreign key (o_code) references t on delete cascade on update cascade,"
            " constraint j_code_fkey foreign key (code) references o (code) on delete cascade on update cascade); create index j_code_idx on j (code)",
            "insert into j select id, o_code from t where o_code is not null",
            "alter table t drop column o_code",
        ),
        after="delete from o where n = 2; update o set n = 13 where n = 3",
        back="delete from o where n = 2; insert into o values (13); update t set o_code = 'c13' where id = 3; delete from o where n = 3",
        ends=False,
    ),
    Case(
        name="no rows",
        schema="create table o (id uuid primary key); create table t (id int primary key, o_id uuid constraint f references o);",
        operations=[junction(table="t", column="o_id", references="o", to="j")],
        plain=(
            "create table j (id int not null, o_id uuid not null, primary key (id, o_id), constraint j_fkey foreign key (id) references t on delete cascade on update cascade,"
            " constraint j_o_id_fkey foreign key (o_id) references o on delete cascade on update cascade); create index j_o_id_idx on j (o_id)",
            "alter table t drop column o_id",
        ),
    ),
]  # fmt: skip


@each(together(CASES, names="t j posts tags tagged", most=5, alone=["no rows"]))
def test_there_and_back_and_to_the_end(case: Case, conn: Connection, url: str) -> None:
    Cycle(case, conn, url).all_legs()


PAIR = "create table o (id int primary key); create table t (id int primary key, v int {});"
OF_T = {"table": "t", "column": "v", "references": "o", "to": "j"}
REFUSED = {
    "no foreign key": (PAIR.format(""), OF_T, "is no foreign key to public.o"),
    "an array of another type": ("create table o (id uuid primary key); create table t (id int primary key, v int[])", OF_T, "values of the type integer, and the key of public.o is uuid"),
    "an array, and a key of two columns": ("create table o (a int, b int, primary key (a, b)); create table t (id int primary key, v int[])", OF_T, "key of public.o has several columns"),
    "a delimiter of no text": (PAIR.format(""), OF_T | {"delimiter": ","}, "and no text"),
    "a list that has a length": ("create table o (id int primary key); create table t (id int primary key, v varchar(99))", OF_T | {"delimiter": ","}, "than fit into it"),
    "a list with a foreign key": ("create table o (id text primary key); create table t (id int primary key, v text references o)", OF_T | {"delimiter": ","}, "is held by"),
    "not validated": (PAIR.format("") + "alter table t add constraint f foreign key (v) references o not valid", OF_T, "f of public.t is not validated"),
    "unique": (PAIR.format("unique references o"), OF_T, "is held by"),
    "a check": (PAIR.format("references o constraint c check (v > 0)"), OF_T, "is held by c"),
    "a table that is there": (PAIR.format("references o") + "create table j ()", OF_T, "public.j exists"),
    "an index that is there": (PAIR.format("references o") + "create index j_v_idx on t (v)", OF_T, "public.j_v_idx exists"),
    "no primary key": ("create table o (id int primary key); create table t (v int references o)", OF_T, "no primary key"),
    "a name twice": (PAIR.format("references o"), OF_T | {"key": {"id": "x"}, "reference": "x"}, "another column 'x'"),
    "the key by its own name": (PAIR.format("references o"), OF_T | {"reference": "id"}, "two columns id"),
    "the key itself": ("create table o (id int primary key); create table t (id int primary key references o)", OF_T | {"column": "id"}, "id belongs to the primary key"),
    "policies": (PAIR.format("references o") + "alter table t enable row level security", OF_T, "row security"),
    "a view reads it": (PAIR.format("references o") + "create view w as select v from t", OF_T, "the view public.w reads v"),
    "a trigger would fire": (
        PAIR.format("references o") + "create function f() returns trigger language plpgsql as 'begin return new; end';"
        " create trigger g before update on t for each row execute function f();", OF_T, "would fire the triggers g",
    ),
    "equal and not the same": ("create table o (id numeric primary key); create table t (id int primary key, v numeric references o)", OF_T, "two values can be equal"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """With what stands in the way."""
    schema, asked, what = REFUSED[name]
    conn.execute(schema.encode())
    with pytest.raises((ChangeoverError, ValueError), match=what):
        Migration(url, [junction(**asked)]).begin()


STRANGE = {
    "a value that refers to nothing": ("'{1,7}'", "refers to rows of public.o"),
    "a value twice": ("'{1,1}'", "has no value twice"),
    "a NULL among them": ("'{1,null}'", "has no value twice"),
    "two dimensions": ("'{{1,2},{3,4}}'", "has no value twice"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_no_junction_can_say_is_counted(name: str, conn: Connection, url: str) -> None:
    """Before the run and before the swap; and what comes meanwhile fails no statement of an application."""
    value, what = STRANGE[name]
    conn.execute("create table o (id int primary key); insert into o select generate_series(1, 4)")
    conn.execute("create table t (id int primary key, v int[]); insert into t values (1, '{2}'), (2, null)")
    migration = Migration(url, [junction(**OF_T)])
    migration.begin()
    assert {"LNK-08", "LNK-09", "LNK-10"} < {one.rule for one in migration.findings}
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    conn.execute(f"insert into t values (3, {value})".encode())
    migration.run(Phase.BACKFILL, Phase.INDEX)
    assert any(what in one for one in migration.failures("before_swap"))
    conn.execute("update t set v = '{3}' where id = 3")
    migration.before_swap()
    migration.swap()
    assert conn.execute("select * from j order by 1").fetchall() == [(1, 2), (3, 3)]
    assert any(
        what in one.name for one in (migration.plan.requirements if migration.plan else ()) if one.gate == "before_run"
    )


LISTS = "create table o (id {} primary key); insert into o values ('1'), ('2'), ('3'); create table t (id int primary key, v {});"


@pytest.mark.parametrize(
    ("given", "strange"),
    [
        ("text", "1;abc"),
        ("text", "99999999999"),
        ("text", "-99999999999999999999"),
        ("text", "02;1"),
        ('text collate "C"', "7"),
    ],
)
def test_what_is_no_key_fails_no_copy(given: str, strange: str, conn: Connection, url: str) -> None:
    """It waits until it is mended, and the gate names it."""
    conn.execute((LISTS.format("int", given) + "insert into t values (1, '2'), (2, null)").encode())
    migration = Migration(url, [junction(**OF_T, delimiter=";")])
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    conn.execute("insert into t values (3, %s)", (strange,))
    migration.run(Phase.BACKFILL, Phase.INDEX)
    assert any("refers to rows of public.o" in one for one in migration.failures("before_swap"))
    conn.execute("update t set v = '3' where id = 3")
    migration.before_swap()
    migration.swap()
    assert conn.execute("select * from j order by 1").fetchall() == [(1, 2), (3, 3)]


def test_a_list_of_texts(conn: Connection, url: str) -> None:
    """Collations of their own, and a delimiter that a value can begin: what cannot stand there is not written there."""
    conn.execute((LISTS.format('text collate "POSIX"', 'text collate "C"')).encode())
    conn.execute("insert into o values ('a-'), ('-b'), ('B'); insert into t values (1, 'B--1'), (2, '-b')")
    migration = Migration(url, [junction(**OF_T, delimiter="--")])
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("insert into j values (1, 'a-'), (2, '1'); insert into j values (1, '-b')")
    assert conn.execute("select v from t order by id").fetchall() == [("B--1---b",), ("-b--1",)]
    migration.pass_gate("after_swap")
    assert len(migration.before_rollback()) == 1
    conn.execute("delete from j where v = 'a-'")
    migration.roll_back()
    assert conn.execute("select v from t order by id").fetchall() == [("B--1---b",), ("-b--1",)]
