# ruff: noqa: E501 - one statement a line reads better than one folded
"""Operations of which each has a table of its own: what one version writes, the other reads, at every moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.test_versions import Client, baseline
from tests.legs import each_once


@dataclass(frozen=True, kw_only=True)
class Case:
    """An operation, and what applications of both versions write; `{k}` is a number that nobody has used."""

    schema: str
    operations: Sequence[Mapping[str, Any]]
    by_old: str
    by_new: str
    shown_to_old: str
    shown_to_new: str
    seen: tuple[object, object]
    """What the versions are shown of what the old one wrote."""
    seen_by_new: tuple[object, object]
    """What they are shown of what the new one wrote."""
    stored: Sequence[tuple[str, object]] = ()
    """What is refused to new applications after the swap, or what they may do from then on: with the error, or None."""


def on(table: str, kind: str, **body: Any) -> dict[str, Any]:
    return {kind: {"table": table} | body}


CASES: dict[str, Case] = {
    "denormalize": Case(
        schema="create table o (id int primary key, name text); create table l (id int primary key, o_id int references o); create index on l (o_id);"
        "insert into o select i, 'n' || i from generate_series(1, 9) i; insert into l select i, i from generate_series(1, 9) i",
        operations=[{"denormalize": {"table": "o", "column": "name", "to": "l", "to_column": "o_name", "on": {"id": "o_id"}}}],
        by_old="insert into o values ({k}, 'a'); insert into l values ({k}, {k}); update o set name = 'b' where id = {k}",
        by_new="insert into o values ({k}, 'c'); insert into l (id, o_id) values ({k}, {k}); update o set name = 'd' where id = {k}",
        shown_to_old="select name from o join l on o_id = o.id where l.id = {k}",
        shown_to_new="select o_name from l where id = {k}",
        seen=("b", "b"),
        seen_by_new=("d", "d"),
    ),
    "a column that numbers rows": Case(
        schema="create table z (id int primary key, name text); insert into z select i, 'n' from generate_series(1, 9) i;"
        "grant select on z to pg_monitor; grant insert (id) on z to pg_monitor;"
        "create view z_names as select id, name from z; create view z_ids as select id from z_names;"
        "grant insert on z_names to pg_signal_backend; grant insert (id) on z_ids to pg_checkpoint",
        operations=[on("z", "add_column", column={"name": "no", "type": "bigserial", "unique": True})],
        by_old="set role pg_monitor; insert into z (id) values ({k}); set role pg_signal_backend; insert into z_names values (1{k}, '');"
        "set role pg_checkpoint; insert into z_ids values (2{k}); reset role",
        by_new="insert into z (id) values ({k}); insert into z (id, no) values (-{k}, -{k})",
        shown_to_old="select id - {k} from z where id = {k}",
        shown_to_new="select no > 0 from z where id = {k}",
        seen=(0, True),
        seen_by_new=(0, True),
        stored=[("insert into z values (0, '', 1)", psycopg.errors.UniqueViolation)],
    ),
    "drop a constraint of several columns": Case(
        schema="create table m (id int primary key, lo int, hi int, constraint m_order check (lo < hi));"
        "insert into m select i, i, i + 1 from generate_series(1, 9) i",
        operations=[on("m", "drop_multicolumn_constraint", name="m_order", down={"lo": "least(lo, hi - 1)"})],
        by_old="insert into m values ({k}, 3, 7); update m set lo = 4 where id = {k}",
        by_new="insert into m values ({k}, 3, 7); update m set lo = 9 where id = {k}",
        shown_to_old="select lo from m where id = {k}",
        shown_to_new="select lo from m where id = {k}",
        seen=(4, 4),
        seen_by_new=(6, 9),
    ),
    "drop a check": Case(
        schema="create table c (id int primary key, n int default 5, constraint c_n check (n > 0));"
        "insert into c select i, i from generate_series(1, 9) i",
        operations=[on("c", "drop_constraint", name="c_n", down="greatest(n, 1)")],
        by_old="insert into c (id) values ({k})",
        by_new="insert into c values ({k}, -3) on conflict (id) do update set n = -3",
        shown_to_old="select n from c where id = {k}",
        shown_to_new="select n from c where id = {k}",
        seen=(5, 5),
        seen_by_new=(1, -3),
    ),
    "drop a foreign key": Case(
        schema="create table fp (id int primary key); insert into fp select generate_series(1, 9);"
        "create table f (id int primary key, fp_id int constraint f_fp references fp); insert into f select i, i from generate_series(1, 9) i",
        operations=[on("f", "drop_constraint", name="f_fp", down="case when exists (select from fp where fp.id = fp_id) then fp_id end")],
        by_old="insert into f values ({k}, 3)",
        by_new="insert into f values ({k}, 99)",
        shown_to_old="select fp_id from f where id = {k}",
        shown_to_new="select fp_id from f where id = {k}",
        seen=(3, 3),
        seen_by_new=(None, 99),
    ),
    "drop a unique constraint": Case(
        schema="create table q (id int primary key, code text constraint q_code unique); insert into q select i, 'c' || i from generate_series(1, 9) i",
        operations=[on("q", "drop_constraint", name="q_code", down="case code when 'same' then code || id else code end")],
        by_old="insert into q values ({k}, 'c{k}')",
        by_new="insert into q values ({k}, 'same')",
        shown_to_old="select replace(code, '{k}', '#') from q where id = {k}",
        shown_to_new="select replace(code, '{k}', '#') from q where id = {k}",
        seen=("c#", "c#"),
        seen_by_new=("same#", "same"),
    ),
    "check with up and down": Case(
        schema="create table k (id int primary key, a int, b int not null default 1); insert into k select i, i - 5, i from generate_series(1, 9) i",
        operations=[on("k", "create_constraint", name="k_a", type="check", check="a >= 0 and b > 0", up={"a": "greatest(a, 0)"}, down={"a": "a"})],
        by_old="insert into k (id, a) values ({k}, -7)",
        by_new="insert into k (id, a) values ({k}, 8)",
        shown_to_old="select a from k where id = {k}",
        shown_to_new="select a from k where id = {k}",
        seen=(-7, 0),
        seen_by_new=(8, 8),
        stored=[("update k set a = -1 where id = 1", psycopg.errors.CheckViolation)],
    ),
    "unique with up and down": Case(
        schema="create table n (id int primary key, code text); insert into n select i, 'c' from generate_series(1, 9) i",
        operations=[on("n", "create_constraint", name="n_code", type="unique", columns=["code"], up={"code": "code || '-' || id"}, down={"code": "split_part(code, '-', 1)"}, lossy=True)],
        by_old="insert into n values ({k}, 'o')",
        by_new="insert into n values ({k}, 'w-{k}')",
        shown_to_old="select code from n where id = {k}",
        shown_to_new="select replace(code, '{k}', '#') from n where id = {k}",
        seen=("o", "o-#"),
        seen_by_new=("w", "w-#"),
        stored=[("update n set code = 'c-1' where id = 2", psycopg.errors.UniqueViolation)],
    ),
    "foreign key with up and down": Case(
        schema="create table rp (id int primary key); insert into rp select generate_series(1, 5);"
        "create table r (id int primary key, rp_id int); insert into r select i, i from generate_series(1, 9) i",
        operations=[on("r", "create_constraint", name="r_rp", type="foreign_key", columns=["rp_id"], references={"table": "rp", "columns": ["id"]},
                       up={"rp_id": "case when exists (select from rp where rp.id = rp_id) then rp_id end"}, down={"rp_id": "rp_id"})],
        by_old="insert into r values ({k}, 99)",
        by_new="insert into r values ({k}, 4)",
        shown_to_old="select rp_id from r where id = {k}",
        shown_to_new="select rp_id from r where id = {k}",
        seen=(99, None),
        seen_by_new=(4, 4),
        stored=[("update r set rp_id = 99 where id = 1", psycopg.errors.ForeignKeyViolation)],
    ),
    "sql": Case(
        schema="create table s (id int primary key, note text)",
        operations=[{"sql": {"up": "create table s_log as select note from s; create function s_logs() returns trigger language plpgsql as $$ begin"
                             " insert into public.s_log values (new.note); return new; end $$;"
                             " create trigger logs after insert on s for each row execute function s_logs()",
                             "down": "drop trigger logs on s; drop function s_logs(); drop table s_log"}}],
        by_old="insert into s values ({k}, 'o{k}')",
        by_new="insert into s values ({k}, 'o{k}')",
        shown_to_old="select replace(note, '{k}', '#') from s where id = {k}",
        shown_to_new="select count(*) from s_log where note = 'o{k}'",
        seen=("o#", 1),
        seen_by_new=("o#", 1),
    ),
    "replace an enum": Case(
        schema="create type e_old as enum ('open', 'payed'); create table e (id int primary key, state e_old not null default 'open');"
        "insert into e select i, case when i > 5 then 'payed' else 'open' end::e_old from generate_series(1, 9) i; create index on e (state)",
        operations=[
            {"create_type": {"name": "e_new", "values": ["open", "paid", "lost"]}},
            on("e", "alter_column", column="state", type="e_new", default="'open'", lossy=True,
               up="(case state when 'payed' then 'paid' else state::text end)::e_new",
               down="(case state when 'paid' then 'payed' when 'lost' then 'open' else state::text end)::e_old"),
            {"drop_type": {"name": "e_old"}},
        ],
        by_old="insert into e values ({k}); update e set state = 'payed' where id = {k}",
        by_new="insert into e values ({k}, 'paid'); update e set state = 'lost' where id = {k}",
        shown_to_old="select state::text from e where id = {k}",
        shown_to_new="select state::text from e where id = {k}",
        seen=("payed", "paid"),
        seen_by_new=("open", "lost"),
    ),
    "more values of an enum": Case(
        schema="create type g_mood as enum ('sad', 'ok'); create table g (id int primary key, mood g_mood default 'ok')",
        operations=[{"alter_type": {"name": "g_mood", "add_values": [{"value": "good", "before": "ok"}]}}],
        by_old="insert into g values ({k}, 'sad')",
        by_new="insert into g values ({k}, 'good')",
        shown_to_old="select mood::text from g where id = {k}",
        shown_to_new="select mood::text from g where id = {k}",
        seen=("sad", "sad"),
        seen_by_new=("good", "good"),
    ),
    "a rule of a domain": Case(
        schema="create domain percent as int; create table d (id int primary key, off percent); insert into d select i, i from generate_series(1, 9) i",
        operations=[{"alter_type": {"name": "percent", "check": {"name": "percent_range", "constraint": "value between 0 and 100"}}}],
        by_old="insert into d values ({k}, 3)",
        by_new="insert into d values ({k}, 4) returning off",
        shown_to_old="select off from d where id = {k}",
        shown_to_new="select off from d where id = {k}",
        seen=(3, 3),
        seen_by_new=(4, 4),
        stored=[("update d set off = 101 where id = 1", psycopg.errors.CheckViolation)],
    ),
    "a type, a reference and a unique constraint at once": Case(
        schema="create table ap (id bigint primary key); insert into ap select generate_series(1, 2000);"
        "create table a (id int primary key, ap_id int); insert into a select i, i from generate_series(1, 9) i",
        operations=[on("a", "alter_column", column="ap_id", type="bigint", up="abs(ap_id)", down="ap_id", lossy=True, unique={"name": "a_once"},
                       references={"name": "a_ap", "table": "ap", "column": "id"})],
        by_old="insert into a values ({k}, -{k})",
        by_new="insert into a values ({k}, {k})",
        shown_to_old="select abs(ap_id) - {k} from a where id = {k}",
        shown_to_new="select ap_id - {k} from a where id = {k}",
        seen=(0, 0),
        seen_by_new=(0, 0),
        stored=[
            ("update a set ap_id = 1 where id = 2", psycopg.errors.UniqueViolation),
            ("update a set ap_id = 5000 where id = 2", psycopg.errors.ForeignKeyViolation),
        ],
    ),
    "a reference and a unique constraint in place": Case(
        schema="create table bp (id int primary key); insert into bp select generate_series(1, 2000);"
        "create table b (id int primary key, bp_id int); insert into b select i, i from generate_series(1, 9) i",
        operations=[on("b", "alter_column", column="bp_id", unique={"name": "b_once"}, references={"name": "b_bp", "table": "bp", "column": "id"})],
        by_old="insert into b values ({k}, {k})",
        by_new="insert into b values ({k}, {k}) on conflict (id) do nothing",
        shown_to_old="select bp_id - {k} from b where id = {k}",
        shown_to_new="select bp_id - {k} from b where id = {k}",
        seen=(0, 0),
        seen_by_new=(0, 0),
        stored=[
            ("update b set bp_id = 1 where id = 2", psycopg.errors.UniqueViolation),
            ("update b set bp_id = 5000 where id = 2", psycopg.errors.ForeignKeyViolation),
        ],
    ),
    "orphans become NULL": Case(
        schema="create table hp (id int primary key); insert into hp select generate_series(1, 5);"
        "create table h (id int primary key, hp_id int); insert into h select i, i from generate_series(1, 9) i",
        operations=[on("h", "alter_column", column="hp_id", orphans="set_null", references={"name": "h_hp", "table": "hp", "column": "id"})],
        by_old="insert into h values ({k}, 99)",
        by_new="insert into h values ({k}, 4)",
        shown_to_old="select hp_id from h where id = {k}",
        shown_to_new="select hp_id from h where id = {k}",
        seen=(99, None),
        seen_by_new=(4, 4),
        stored=[("update h set hp_id = 99 where id = 1", psycopg.errors.ForeignKeyViolation)],
    ),
}  # fmt: skip
TOGETHER = each_once([*CASES.values()], lambda case: [kind for operation in case.operations for kind in operation])


class World:
    """Cases on one database, and the clients of both versions."""

    def __init__(self, cases: Sequence[Case], conn: Connection, url: str) -> None:
        self.cases, self.conn, self.url = cases, conn, url
        self.written: list[tuple[Case, int, tuple[object, object]]] = []
        self.before: list[tuple[Case, int, tuple[object, object]]] = []
        """What was written before a rollback: of that the old version alone has a right to know it."""
        for case in cases:
            conn.execute(case.schema.encode())
        baseline(url)
        operations = [operation for case in cases for operation in case.operations]
        self.migration = Migration(url, operations, version_schema="v2")
        self.key = 1000

    def write(self, old: Client, new: Client | None) -> None:
        """Let each version write to every table, and both read it at once; then look at all that was written before."""
        for case in self.cases:
            for client, statements, seen in (
                (old, case.by_old, case.seen),
                (new, case.by_new, case.seen_by_new),
            ):
                if client is not None:
                    self.key += 1
                    client.conn.execute(statements.format(k=self.key).encode())
                    self.written.append((case, self.key, seen))
        self.look(old, new)

    def look(self, old: Client | None, new: Client | None) -> None:
        """Compare what the versions show with what they have to."""
        for case, key, seen in (*self.before, *self.written):
            if old is not None:
                assert old.rows(case.shown_to_old.format(k=key)) == [(seen[0],)], (case.shown_to_old, key)
        for case, key, seen in self.written:
            if new is not None:
                assert new.rows(case.shown_to_new.format(k=key)) == [(seen[1],)], (case.shown_to_new, key)

    def over(self, old: Client, new: Client) -> None:
        """Go to the swap, with writes at every halt."""
        self.migration.begin()
        self.migration.run(*BEFORE_SWAP[:2])
        self.write(old, None)
        self.migration.run(*BEFORE_SWAP[2:-1])
        self.migration.pass_gate("before_swap")
        self.write(old, new)
        self.migration.run(BEFORE_SWAP[-1])
        self.write(old, new)
        self.migration.swap()
        self.write(old, new)
        for case in self.cases:
            for statement, refused in case.stored:
                with pytest.raises(refused):  # type: ignore[call-overload]
                    new.conn.execute(statement.encode())


def walk(cases: Sequence[Case], conn: Connection, url: str) -> None:
    """Over, back, over, and to the end."""
    world = World(cases, conn, url)
    before = tables.catalogue(conn)
    with Client.of(url, "v1") as old, Client.of(url, "v2") as new:
        world.over(old, new)
        world.migration.pass_gate("after_swap")
        world.migration.roll_back()
        world.before, world.written = world.written, []
        world.look(old, None)
        assert tables.catalogue(conn) == before
        assert tables.leftovers(conn) == []
        world.over(old, new)
        world.migration.contract()
        world.look(None, new)
    assert tables.leftovers(conn) == []


def test_each_version_sees_what_the_other_writes(conn: Connection, url: str) -> None:
    """In one migration: by default one case for each kind of operation."""
    walk(TOGETHER, conn, url)


@pytest.mark.every_leg
@pytest.mark.parametrize("name", CASES)
def test_each_by_itself(name: str, conn: Connection, url: str) -> None:
    walk([CASES[name]], conn, url)
