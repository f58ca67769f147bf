# ruff: noqa: E501 - one case a line reads better than one folded
"""What random schemas have found, each as small as it gets."""

import pytest

from tasks.model.errors import SpecError
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.test_versions import Client, baseline

T = """
create table t (id int primary key, a int, b text not null default 'b');
insert into t select i, nullif(i % 4, 0), 'b' || i from generate_series(1, 9) i;
"""
KEY = {"rename_column": {"table": "t", "from": "id", "to": "Key %"}}
CHECK = {"alter_column": {"table": "t", "column": "a", "check": {"name": "k", "constraint": "a < 100"}}}


def test_a_check_is_evaluated_where_the_key_gets_another_name(conn: Connection, url: str) -> None:
    conn.execute(T.encode())
    made = Migration(url, [CHECK, KEY])
    made.begin()
    made.run(*BEFORE_SWAP[:-1])
    conn.execute("update t set a = 100 where id = 2")
    assert [one.partition(":")[0] for one in made.failures("before_swap")] == ["public.t meets k"]
    conn.execute("update t set a = 99 where id = 2")
    made.pass_gate("before_swap")


NOTHING_COMPARES = {
    "with the parent": (
        "create table p (id int primary key); alter table t add constraint t_a foreign key (a) references p",
        {"alter_column": {"table": "t", "column": "a", "type": "text", "up": "a::text", "down": "a::int"}},
    ),
    "with the child": (
        "create table k (t int constraint k_t references t)",
        {"alter_column": {"table": "t", "column": "id", "type": "text", "up": "id::text", "down": "id::int"}},
    ),
    "by an index": (
        "create table p (id int primary key)",
        {
            "alter_column": {
                "table": "t",
                "column": "a",
                "type": "numeric",
                "up": "a",
                "down": "a::int",
                "references": {"name": "t_a", "table": "p", "column": "id"},
            }
        },
    ),
}


@pytest.mark.parametrize("name", NOTHING_COMPARES)
def test_a_foreign_key_that_cannot_be_is_refused_when_it_is_planned(name: str, conn: Connection, url: str) -> None:
    schema, operation = NOTHING_COMPARES[name]
    conn.execute((T.replace("nullif(i % 4, 0)", "null") + schema).encode())
    with pytest.raises(SpecError, match="cannot be implemented") as refused:
        Migration(url, [operation]).begin()
    assert "types that compare" in refused.value.hint


def test_both_versions_find_a_renamed_key_on_conflict(conn: Connection, url: str) -> None:
    conn.execute(T.encode())
    baseline(url, "v1")
    made = Migration(url, [KEY], name="v2", version_schema="v2")
    made.begin()
    made.run(*BEFORE_SWAP[:-1])
    with Client.of(url, "v1") as old, Client.of(url, "v2") as new:

        def both(number: int) -> None:
            insert = 'insert into t ("Key %%", a) values (%s, 50) on conflict ("Key %%") do update set a = t.a + 1 returning a'
            assert new.rows(insert, number) == [(50,)]
            insert = "insert into t (id) values (%s) on conflict (id) do update set a = t.a + 1 returning id, a"
            assert old.rows(insert, number) == [(number, 51)]
            assert new.rows('update t set "Key %%" = "Key %%" + 100 where "Key %%" = %s returning a', number) == [(51,)]
            assert old.rows("select a from t where id = %s", number + 100) == [(51,)]
            assert old.rows("delete from t where id = %s returning id", number + 100) == [(number + 100,)]

        both(20)
        made.pass_gate("before_swap")
        made.run(BEFORE_SWAP[-1])
        both(21)
        made.swap()
        both(22)
        made.pass_gate("after_swap")
        made.roll_back()
        assert len(old.rows("select id from t")) == 9
