# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for rows that a new foreign key would refuse, and that move to a table of their own."""

from typing import Any

import psycopg
import pytest

from tasks.model.errors import ChangeoverError, StepError
from tasks.model.steps import ConcurrentIndex, Phase, Step
from tests.conformance import tables
from tests.conformance.crowd import Crowd, Member
from tests.conformance.cycle import Case, Cycle, State, each, state
from tests.conformance.drive import Connection, Migration


def constraint(**body: Any) -> dict[str, Any]:
    given = {"name": "c_p", "type": "foreign_key", "orphans": "archive"}
    return {"create_constraint": given | {"references": {"table": "p", "columns": ["id"]}} | body}


SCHEMA = """
create table p (id int primary key);
create table c (id int generated always as identity primary key, p_id int, n int not null default 1,
  twice int generated always as (n * 2) stored not null, note text unique);
insert into p select generate_series(1, 10);
insert into c (p_id, note) select i % 15, 'n' || i from generate_series(1, 60) i;
insert into c (p_id, note) values (null, 'none');
"""
ODD = """
create table "The P" (a int, "B b" text, primary key (a, "B b"));
create table "C" ("k 1" int, k2 text, "x'" int, y text, primary key ("k 1", k2));
insert into "The P" select i, 'b' || i from generate_series(1, 5) i;
insert into "C" select i, 'k', i % 8, 'b' || i % 8 from generate_series(1, 20) i;
insert into "C" select i, 'k', null, 'b9' from generate_series(21, 25) i;
"""
ASKED = constraint(table="c", columns=["p_id"])
CASES = [
    Case(
        name="orphans in an archive",
        schema=SCHEMA,
        operations=[ASKED],
        plain=(
            "create table c_orphans (like c); alter table c_orphans add column archived_at timestamptz not null default clock_timestamp(),"
            " add column archived_by text not null default 'm'",
            "with gone as (delete from c where p_id not in (select id from p) returning *)"
            " insert into c_orphans (id, p_id, n, twice, note) select * from gone",
            "alter table c add constraint c_p foreign key (p_id) references p (id)",
        ),
        writes="insert into c (id, p_id, note) overriding system value values (101, 99, 'late'), (102, 3, 'good'); delete from c where id = 11; update c set p_id = 1 where id = 12; insert into p values (13)",
        after="insert into c (id, p_id, note) overriding system value values (103, 4, 'after'); update c set n = 7 where p_id = 1",
        back="insert into c (id, p_id, note) overriding system value values (103, 4, 'after'); update c set n = 7 where p_id = 1",
    ),
    Case(
        name="orphans in an archive, by alter_column",
        schema=SCHEMA,
        operations=[{"alter_column": {"table": "c", "column": "p_id", "orphans": "archive", "archive": "gone",
                     "references": {"name": "c_p", "table": "p", "column": "id", "on_delete": "CASCADE"}}}],
        plain=(
            "create table gone (like c); alter table gone add column archived_at timestamptz not null default clock_timestamp(),"
            " add column archived_by text not null default 'm'",
            "with away as (delete from c where p_id not in (select id from p) returning *)"
            " insert into gone (id, p_id, n, twice, note) select * from away",
            "alter table c add constraint c_p foreign key (p_id) references p (id) on delete cascade",
        ),
        writes="insert into c (id, p_id, note) overriding system value values (101, 99, 'late'); insert into p values (13)",
        after="insert into c (id, p_id, note) overriding system value values (103, 4, 'after')",
        back="insert into c (id, p_id, note) overriding system value values (103, 4, 'after')",
    ),
    Case(
        name="orphans in an archive, of two columns, quoted names",
        schema=ODD,
        operations=[
            constraint(
                table="C", columns=["x'", "y"], archive="Old C", references={"table": "The P", "columns": ["a", "B b"]}
            )
        ],
        plain=(
            """create table "Old C" (like "C"); alter table "Old C" add column archived_at timestamptz not null default clock_timestamp(), add column archived_by text not null default 'm'""",
            """with gone as (delete from "C" where "x'" is not null and y is not null and not exists (select from "The P" where a = "x'" and "B b" = y) returning *)
            insert into "Old C" ("k 1", k2, "x'", y) select * from gone""",
            """alter table "C" add constraint c_p foreign key ("x'", y) references "The P" (a, "B b")""",
        ),
        ends=False,
    ),
]  # fmt: skip


class ArchiveCycle(Cycle):
    """Compare rows; when each was archived is the clock's."""

    def back_before_swap(self) -> None:
        """Rows have moved by then, as a rule that is new holds by then; and they come back."""
        before = state(self.conn)
        self.migration.begin()
        self.migration.before_swap()
        self.migration.roll_back()
        self._same(before)

    def _same_data(self, wanted: State) -> None:
        found = tables.data(self.conn, wanted.columns)
        assert _timeless(found) == _timeless(wanted.data)


def _timeless(data: tables.Data) -> dict[str, list[tuple[str | None, ...]]]:
    shown = {}
    for name, rows in data.items():
        columns = name.partition(" (")[2].removesuffix(")").split(", ")
        shown[name] = sorted(
            (
                tuple(value for column, value in zip(columns, row, strict=True) if column != "archived_at")
                for row in rows
            ),
            key=repr,
        )
    return shown


@each(CASES)
def test_there_and_back_and_to_the_end(case: Case, conn: Connection, url: str) -> None:
    ArchiveCycle(case, conn, url).all_legs()


def test_a_row_that_finds_its_parent_stays(conn: Connection, url: str) -> None:
    """It was listed, and is looked at once more; so is one that somebody points elsewhere."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, [ASKED])
    migration.begin()
    migration.run(Phase.EXPAND)
    migration.pass_gate("before_swap")
    assert migration.plan is not None
    steps = migration.plan.phase(Phase.CONSTRAIN)
    for step in steps:
        if "/archive for " in step.key:
            conn.execute("insert into p values (11)")
            conn.execute("update c set p_id = 1 where p_id = 12")
        migration.forward(step)
    assert conn.execute("select distinct p_id from c_orphans order by 1").fetchall() == [(0,), (13,), (14,)]
    assert conn.execute("select count(*) from c").fetchone() == (61 - 12,)
    audited = conn.execute(
        "select (detail ->> 'rows')::int from changeover.audit where subject like '%/archived for c_p'"
    )
    assert audited.fetchall() == [(12,)]
    # Before the swap, and so with the foreign key still there.
    migration.roll_back()
    assert conn.execute("select count(*) from c").fetchone() == (61,)
    assert tables.leftovers(conn) == []


def test_a_rollback_asks_whether_there_is_room(conn: Connection, url: str) -> None:
    """Somebody has taken what an archived row had."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, [ASKED])
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("insert into c (p_id, note) select 1, note from c_orphans limit 1")
    assert migration.before_rollback() == ["no row of public.c has the place of an archived one in c_note_key"]
    conn.execute("delete from c where note in (select note from c_orphans)")
    migration.roll_back()


class Writer(Member):
    """An application that makes and removes parents, and rows that refer to something or nothing."""

    expected = (psycopg.errors.ForeignKeyViolation,)
    """What the rule is for, once it is there."""

    def transaction(self, conn: Connection) -> None:
        """Write one row."""
        key = self.random.randint(1, 20)
        conn.execute(
            self.random.choice((
                "insert into c (p_id) values (%(k)s)", "update c set n = n + 1 where id = %(k)s", "delete from c where id = %(k)s",
                "insert into p values (%(k)s) on conflict do nothing", "delete from p where id = %(k)s", "update c set p_id = %(k)s where id = %(k)s + 3",
            )),
            {"k": key},
        )  # fmt: skip


def test_under_writers(conn: Connection, url: str) -> None:
    """No row is in both places, and none in neither."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, [ASKED])
    with Crowd([Writer(url, f"writer {number}", str(number)) for number in range(3)]) as writers:
        migration.begin()
        migration.before_swap()
        migration.swap()
        writers.work(100)
        migration.pass_gate("after_swap")
    assert conn.execute("select count(*) from c join c_orphans o using (id)").fetchone() == (0,)
    assert conn.execute(
        "select count(*) from c where p_id is not null and p_id not in (select id from p)"
    ).fetchone() == (0,)
    all_of_them = conn.execute(
        "select id, p_id, n from c union all select id, p_id, n from c_orphans order by 1"
    ).fetchall()
    migration.roll_back()
    assert conn.execute("select id, p_id, n from c order by 1").fetchall() == all_of_them


REFUSED = {
    "somebody refers to it": ("create table d (c_id int references c);", "may be referred to, by d_c_id_fkey of public.d"),
    "a trigger would fire": (
        "create function f() returns trigger language plpgsql as 'begin return old; end'; create trigger g before delete on c for each row execute function f();",
        "would fire the triggers g",
    ),
    "an archive that is there": ("create table c_orphans ();", "public.c_orphans exists already"),
    "a column of ours": ("alter table c add column archived_at date;", "which the archive needs for itself"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """With what stands in the way."""
    also, what = REFUSED[name]
    conn.execute((SCHEMA + also).encode())
    with pytest.raises(ChangeoverError, match=what):
        Migration(url, [ASKED]).begin()


DOUBLES = """
create table u (id int primary key, mail text, at date, n int default 0);
create index u_mail on u (mail);
insert into u select i, 'm' || i % 8, nullif(date '2020-01-01' + i % 5, '2020-01-01') from generate_series(1, 40) i;
insert into u values (50, null, null), (51, null, null), (52, 'alone', null);
"""
UNIQUE = {
    "create_constraint": {
        "table": "u", "name": "u_mail_key", "type": "unique", "columns": ["mail"], "duplicates": "archive",
        "survivor": {"keep": "greatest", "column": "at"},
    }
}  # fmt: skip
GONE = "select id from (select id, row_number() over (partition by mail order by at desc nulls last, id) as place from u where mail is not null) d where place > 1"
DUPLICATES = [
    Case(
        name="duplicates in an archive",
        schema=DOUBLES,
        operations=[UNIQUE],
        plain=(
            "create table u_duplicates (like u); alter table u_duplicates add column archived_at timestamptz not null default clock_timestamp(),"
            " add column archived_by text not null default 'm'",
            f"with gone as (delete from u where id in ({GONE}) returning *) insert into u_duplicates (id, mail, at, n) select * from gone",
            "alter table u add constraint u_mail_key unique (mail)",
        ),
        writes="insert into u values (60, 'm1', '2030-01-01'), (61, 'alone', null); update u set mail = 'm2' where id = 52; delete from u where id = 12",
        after="insert into u values (70, 'new', null); update u set n = 5 where mail = 'm3'",
        back="insert into u values (70, 'new', null); update u set n = 5 where id = (select id from u where mail = 'm3' order by at desc nulls last, id limit 1)",
    ),
]


@pytest.mark.parametrize("case", DUPLICATES, ids=lambda case: case.name)
def test_of_duplicates_one_stays(case: Case, conn: Connection, url: str) -> None:
    """The one that the spec says; the others come back on a rollback."""
    ArchiveCycle(case, conn, url).all_legs()


class Doubler(Member):
    """An application that knows no rule, and writes the same values again and again until it is refused."""

    expected = (psycopg.errors.UniqueViolation,)

    def transaction(self, conn: Connection) -> None:
        """Write one row."""
        key = self.random.randint(100, 10_000_000)
        conn.execute(
            self.random.choice((
                "insert into u values (%(k)s, 'm' || %(k)s %% 9, '2021-01-01')",
                "update u set mail = 'm' || %(k)s %% 9 where id = (select id from u order by id offset %(k)s %% 5 limit 1)",
                "delete from u where id = (select id from u order by id offset %(k)s %% 7 limit 1)",
            )),
            {"k": key},
        )  # fmt: skip


def carried_out(migration: Migration, step: Step) -> bool:
    """Carry out a step, as people do who are told to run again."""
    try:
        migration.forward(step)
    except StepError as error:
        if "has duplicates" not in error.what:
            raise
        return False
    return True


def test_duplicates_under_writers(conn: Connection, url: str) -> None:
    """They are moved as long as they come; in the end one of each is left, and a rollback brings all back."""
    conn.execute(DOUBLES.encode())
    migration = Migration(url, [UNIQUE])
    with Crowd([Doubler(url, f"writer {number}", str(number)) for number in range(2)]) as writers:
        migration.begin()
        migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
        assert migration.plan is not None
        for step in migration.plan.phase(Phase.CONSTRAIN):
            assert any(carried_out(migration, step) for _ in range(20))
        migration.swap()
        writers.work(50)
    assert conn.execute("select count(*), count(distinct mail) from u where mail is not null").fetchone() in [
        (n, n) for n in range(20)
    ]
    assert conn.execute("select count(*) from u join u_duplicates using (id)").fetchone() == (0,)
    both = conn.execute("select id, mail from u union all select id, mail from u_duplicates order by 1").fetchall()
    migration.roll_back()
    assert conn.execute("select id, mail from u order by 1").fetchall() == both
    assert tables.leftovers(conn) == []


def test_who_was_the_one_that_stays_goes_when_a_better_one_comes(conn: Connection, url: str) -> None:
    """No note is of the row itself; and those that equal one noted row may be more than go at a time."""
    conn.execute(DOUBLES.encode())
    migration = Migration(url, [UNIQUE])
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    assert migration.plan is not None
    for step in migration.plan.phase(Phase.CONSTRAIN):
        if "/index " in step.key:
            assert isinstance(step.action, ConcurrentIndex)
            conn.execute("insert into u select i, 'm1', date '2030-01-01' + i % 7 from generate_series(100, 149) i")
            moved = [conn.execute(step.action.drain.replace("{most}", "4").encode()).fetchone() for _ in range(60)]
            assert max(moved) == (8,)
            assert moved[-1] == (0,)
            conn.execute("insert into u values (99, 'm1', '2040-01-01')")
        migration.forward(step)
    assert conn.execute("select id from u where mail = 'm1'").fetchall() == [(99,)]
    migration.roll_back()
    assert conn.execute("select count(*) from u where mail = 'm1'").fetchone() == (56,)


def test_duplicates_need_an_index(conn: Connection, url: str) -> None:
    """Each row that moves looks for the one that stays."""
    conn.execute((DOUBLES + "drop index u_mail").encode())
    with pytest.raises(ChangeoverError, match=r"no index of public\.u begins with mail"):
        Migration(url, [UNIQUE]).begin()
