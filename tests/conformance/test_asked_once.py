"""What a statement of an application pays for dual write: who it is, is asked once, and by whoever may write."""

from tasks.model.steps import Phase
from tests.conformance.drive import Connection, Migration

TABLE = """
alter default privileges revoke execute on functions from public;
create table t (id int primary key, a text); insert into t select i, 'a' from generate_series(1, 5) i;
create role asked_application; grant all on t to asked_application;
"""
ADD = {"add_column": {"table": "t", "column": {"name": "b", "type": "text", "nullable": True}, "up": "upper(a)"}}
CALLS = """
select p.proname::text, s.calls from pg_stat_xact_user_functions s join pg_proc p on p.oid = s.funcid
where s.schemaname = 'changeover' order by 1
"""


def test_a_statement_asks_once_whose_it_is_and_by_whoever_may_write(conn: Connection, url: str) -> None:
    conn.execute(TABLE.encode())
    try:
        migration = Migration(url, [ADD])
        migration.begin()
        migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
        conn.execute("set track_functions = 'all'")
        with conn.transaction():
            conn.execute("set local role asked_application; update t set a = 'b' where id <= 3")
            conn.execute("reset role")
            calls = {str(name).rpartition("_")[0]: count for name, count in conn.execute(CALLS.encode()).fetchall()}
        assert calls == {"not_ours": 1, "dual_write": 3}
        # Each statement asks anew, also one whose plan is kept.
        conn.execute(
            "prepare again as update t set a = 'c' where id = 4; execute again; set vacuum_cost_page_hit = 9973"
        )
        conn.execute("set vacuum_cost_page_hit = 9973; update t set a = 'd' where id = 4; execute again")
        conn.execute("reset vacuum_cost_page_hit")
        assert conn.execute("select b from t order by id").fetchall() == [("B",), ("B",), ("B",), ("C",), (None,)]
        conn.execute("execute again; update t set a = 'e' where id = 4")
        assert conn.execute("select b from t where id = 4").fetchone() == ("E",)
        migration.run(Phase.BACKFILL)
        migration.roll_back()
        assert conn.execute("select proname from pg_proc where proname like 'not\\_ours%'").fetchall() == []
    finally:
        conn.execute("drop owned by asked_application; drop role asked_application")
