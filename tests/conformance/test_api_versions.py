"""A view for a service: made, used, listed, followed through a rename, refused where it would break, dropped."""

from typing import Any

import psycopg
import pytest

from tasks.engines.postgresql.planning.checks.obstacles import API_MARK
from tasks.ledger.versions import api_versions
from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration

SCHEMA = """
create table users (id int primary key, "full Name" text not null, mail text, closed boolean not null default false);
insert into users values (1, 'Ann Lee', 'A@x', false), (2, 'Bo', null, true);
do $$ begin create role api_shop; exception when duplicate_object then null; end $$;
grant select, insert, update, delete on users to api_shop;
"""


ASK = """select * from "user ""Api\"\"\"(%s, 'Dee') order by id"""


def create(**body: Any) -> dict[str, Any]:
    columns = {"id": "id", "name": '"full Name"', "mail": "lower(mail)"}
    given = {
        "name": "users_api_v1",
        "table": "users",
        "columns": columns,
        "predicate": "not closed",
        "roles": ["api_shop"],
        "functions": {
            'user "Api"': {
                "parameters": {"wanted": "int", "or Not": "text"},
                "predicate": 'id = wanted or name = "or Not"',
            }
        },
    }
    return {"create_api_version": given | body}


def carried_out(url: str, name: str, operation: dict[str, Any]) -> Migration:
    """Run a migration up to its contract."""
    migration = Migration(url, [operation], name=name)
    migration.begin()
    migration.run(Phase.EXPAND)
    assert migration.plan is not None
    migration.engine.refuse_drift_since(migration.ledger, migration.plan)
    migration.before_swap()
    migration.swap()
    return migration


def test_from_the_first_to_the_last(conn: Connection, url: str) -> None:
    """A service reads and writes through it, and sees nothing of a rename below it."""
    conn.execute(SCHEMA.encode())
    before = tables.catalogue(conn)
    made = carried_out(url, "made", create(writable=True))
    conn.execute("""create view built as select * from "user ""Api\"\"\"(1, 'x')""")
    assert made.before_rollback() == ["rule _RETURN on view built"]
    conn.execute("drop view built")
    made.roll_back()
    assert tables.catalogue(conn) == before
    carried_out(url, "made", create(writable=True)).contract()

    def seen() -> list[tuple[object, ...]]:
        return conn.execute("select * from users_api_v1 order by id").fetchall()

    with conn.transaction():
        conn.execute("set local role api_shop")
        assert seen() == [(1, "Ann Lee", "a@x")]
        assert conn.execute(ASK, (1,)).fetchall() == [(1, "Ann Lee", "a@x")]
        assert conn.execute(ASK, (2,)).fetchall() == []
        conn.execute("insert into users_api_v1 (id, name) values (3, 'Cy')")
        conn.execute("update users_api_v1 set name = 'Dee' where id = 1")
    carried_out(url, "renamed", {"rename_column": {"table": "users", "from": "full Name", "to": "name"}}).contract()
    assert seen() == [(1, "Dee", "a@x"), (3, "Cy", None)]
    assert conn.execute(ASK, (3,)).fetchall() == [(1, "Dee", "a@x"), (3, "Cy", None)]
    conn.execute("set role pg_monitor")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="for function"):
        conn.execute(ASK, (3,))
    conn.execute("reset role")
    with pytest.raises(ChangeoverError, match=r"the function public\.user .* reads mail") as refused:
        Migration(url, [{"drop_column": {"table": "users", "column": "mail"}}], name="breaks").begin()
    assert "drop_api_version" in refused.value.hint
    assert "users_api_v1" in refused.value.hint
    (listed,) = api_versions(conn, API_MARK)
    assert (listed.name, listed.migration, listed.roles) == ("public.users_api_v1", "made", ("api_shop",))
    assert listed.functions == ('public.user "Api"(wanted integer, "or Not" text)',)
    over = carried_out(url, "over", {"drop_api_version": {"name": "users_api_v1"}})
    assert len(seen()) == 2
    conn.execute("create view built as select id from users_api_v1")
    assert over.failures("after_swap") == ["nothing else depends on public.users_api_v1: 1"]
    conn.execute("drop view built; create function theirs(users_api_v1) returns int language sql return 1")
    assert over.failures("after_swap") == ["nothing else depends on public.users_api_v1: 1"]
    conn.execute("drop function theirs")
    over.contract()
    with pytest.raises(psycopg.errors.UndefinedTable):
        seen()
    assert conn.execute("select count(*) from pg_proc where proname = 'user \"Api\"'").fetchone() == (0,)
    assert tables.leftovers(conn) == []


REFUSED = {
    "no such column": (create(columns={"x": "nothing"}), 'column "nothing" does not exist'),
    "no such role": (create(roles=["nobody_at_all"]), "there is no role nobody_at_all"),
    "a stranger": (create(roles=["pg_monitor"]), r"pg_monitor may not read public\.users"),
    "not to be written": (
        create(columns={"n": "generate_series(1, id)"}, predicate=None, writable=True, functions={}),
        "could not write",
    ),
    "a predicate": (
        create(functions={"f": {"parameters": {"x": "int"}, "predicate": "mail = x"}}),
        "operator does not exist",
    ),
    "a predicate of two": (
        create(functions={"f": {"parameters": {"x": "int"}, "predicate": "true); delete from users; select (true"}}),
        "syntax error|one expression|SPEC",
    ),
    "a function that is there": (
        create(functions={"taken": {"parameters": {"x": "int"}, "predicate": "id = x"}}),
        "already exists with same argument types",
    ),
    "a name that is there": (create(name="users_pkey"), r"public\.users_pkey exists already"),
    "not ours": ({"drop_api_version": {"name": "users"}}, r"public\.users is no API version"),
}


def test_refused_before_anything_changes(conn: Connection, url: str) -> None:
    """With what stands in the way."""
    conn.execute(SCHEMA.encode())
    conn.execute("create function taken(int) returns int language sql return 1")
    for asked, what in REFUSED.values():
        with pytest.raises(ChangeoverError, match=what):
            Migration(url, [asked]).begin()
