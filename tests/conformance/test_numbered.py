"""A new column that numbers the rows: what stands in its way is said while there is a way back."""

from typing import Any

import psycopg
import pytest

from tasks.model.errors import SpecError
from tasks.model.steps import Phase
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_versions import baseline

TABLE = "create table t (id int primary key, name text); insert into t select i, 'n' from generate_series(1, 9) i;"


def numbers(url: str, kind: str = "serial", **more: Any) -> Migration:
    return Migration(url, [{"add_column": {"table": "t", "column": {"name": "no", "type": kind}}}], **more)


def test_what_others_let_draw_from_the_sequence_is_named_while_there_is_a_way_back(conn: Connection, url: str) -> None:
    conn.execute(TABLE.encode())
    baseline(url)
    made = numbers(url, version_schema="v2")
    made.begin()
    made.before_swap()
    assert made.before_rollback() == []
    made.swap()
    conn.execute(
        "create table u (no int default nextval('t_no_seq'));"
        "alter table t alter name set default nextval('t_no_seq')::text"
    )
    assert sorted(made.before_rollback()) == [
        "default value for column name of table t",
        "default value for column no of table u",
    ]
    conn.execute("drop table u; alter table t alter name drop default")
    made.roll_back()


def test_an_owner_who_cannot_have_the_sequence_is_named_by_the_plan(conn: Connection, url: str) -> None:
    conn.execute(TABLE.encode())
    conn.execute(
        "drop role if exists numbers_migrator, numbers_owner; create role numbers_owner;"
        "create role numbers_migrator login password 'p' in role numbers_owner;"
        "grant usage on schema changeover to numbers_migrator;"
        "grant select on all tables in schema changeover to numbers_migrator;"
        "grant create on schema public to numbers_migrator; alter table t owner to numbers_owner"
    )
    try:
        made = numbers(url.replace("//postgres@", "//numbers_migrator:p@"))
        with pytest.raises(SpecError, match="permission denied for schema public") as refused:
            made.engine.plan(made.spec)
        assert refused.value.where.endswith("column.type")
        assert refused.value.hint == "Give who migrates, and the owner of the table, the right to create in its schema."
        conn.execute("grant create on schema public to numbers_owner")
        made.engine.plan(made.spec)
    finally:
        conn.execute("drop owned by numbers_migrator, numbers_owner; drop role numbers_migrator, numbers_owner")


def test_rows_of_which_not_each_can_get_a_number_are_refused_before_the_run(conn: Connection, url: str) -> None:
    conn.execute("create table t (id int primary key); insert into t select generate_series(1, 32767)")
    made = numbers(url, "smallserial")
    plan = made.engine.plan(made.spec)
    assert made.engine.examine(plan, values_in_reports=False).passed
    conn.execute("insert into t values (0)")
    found = made.engine.examine(plan, values_in_reports=False)
    name = "public.t has no more rows than smallserial has numbers, 32767"
    assert [one.name for one in found.checks if not one.passed] == [name]
    assert [one.name for one in made.engine.plan(numbers(url).spec).requirements if "numbers" in one.name] == []
    kind = {"identity": {"sequence_options": "increment by -1000 minvalue -32767000"}}
    column = {"name": "no", "type": "int", "generated": kind}
    given = Migration(url, [{"add_column": {"table": "t", "column": column}}])
    found = given.engine.examine(given.engine.plan(given.spec), values_in_reports=False)
    name = name.replace("smallserial", "the identity no")
    assert [one.name for one in found.checks if not one.passed] == [name]
    conn.execute("delete from t where id = 0")
    assert given.engine.examine(given.engine.plan(given.spec), values_in_reports=False).passed


def test_a_new_application_that_overtakes_the_sequence_is_named_after_the_swap(conn: Connection, url: str) -> None:
    conn.execute(TABLE.encode())
    baseline(url)
    made = numbers(url, version_schema="v2")
    made.begin()
    made.before_swap()
    conn.execute("insert into public_v2.t (id, no) values (10, 1000)")
    made.run(Phase.SWAP)
    ahead = "the sequences of public.t are ahead of its rows"
    assert made.failures("after_swap", sequences=True) == [f"{ahead}: 1"]
    conn.execute("select setval('t_no_seq', 1000)")
    assert made.failures("after_swap", sequences=True) == []


def test_an_identity_goes_on_where_rows_were_numbered_and_is_watched(conn: Connection, url: str) -> None:
    """There, back and there again; ALWAYS holds from the swap on, and what others let draw from it is named."""
    conn.execute(TABLE.encode())
    identity = {"identity": {"sequence_options": "start with 100"}}
    column = {"name": "no", "type": "bigint", "generated": identity}
    made = Migration(url, [{"add_column": {"table": "t", "column": column}}])
    for _ in range(2):
        made.begin()
        made.before_swap()
        conn.execute("insert into t values (50, 'n'); delete from t where id = 50")
        made.swap()
        assert made.failures("after_swap", sequences=True) == []
        assert conn.execute("insert into t values (51, 'n') returning no").fetchone() == (110,)
        with pytest.raises(psycopg.errors.GeneratedAlways):
            conn.execute("insert into t values (52, 'n', 1)")
        conn.execute("alter table t alter name set default nextval('t_no_seq')::text; delete from t where id = 51")
        assert made.before_rollback() == ["default value for column name of table t"]
        conn.execute("alter table t alter name drop default")
        made.roll_back()
    conn.execute("create sequence t_no_seq")
    with pytest.raises(SpecError, match="already has a relation t_no_seq"):
        made.engine.plan(made.spec)
