# ruff: noqa: E501 - one case a line reads better than one folded
"""What cannot be carried is refused at planning: what, where and what to do, and nothing is changed."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from tasks.model.errors import ChangeoverError
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration

T = "create table t (id int primary key, a text, n int, m int); insert into t select i, i, i, i from generate_series(1, 9) i;"
WIDEN = {"alter_column": {"table": "t", "column": "n", "type": "bigint", "up": "n", "down": "n"}}
WIDEN_ID = {"alter_column": {"table": "t", "column": "id", "type": "bigint", "up": "id", "down": "id"}}
RENAME = {"rename_column": {"table": "t", "from": "m", "to": "z"}}
DROP = {"drop_column": {"table": "t", "column": "n"}}
SAME = "create function same() returns trigger language plpgsql as 'begin return new; end';"
REFUSED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "view": ("create view v as select n from t", [WIDEN]),
    "view of a dropped column": ("create view v as select n from t", [DROP]),
    "materialized view": ("create materialized view v as select n from t", [WIDEN]),
    "generated column reads it": ("alter table t add g int generated always as (n + 1) stored", [WIDEN]),
    "policy": ("create policy p on t using (n > 1)", [WIDEN]),
    "trigger of the column": (SAME + "create trigger x after update of n on t for each row execute function same()", [WIDEN]),
    "trigger that would come later": (SAME + "create trigger zzzz before insert on t for each row execute function same()", [WIDEN]),
    "trigger on update": (SAME + "create trigger a after update on t for each row execute function same()", [WIDEN]),
    "exclusion": ("alter table t add constraint e exclude using btree (n with =)", [WIDEN]),
    "key without overlaps": (
        "create table o (a int4range, v int4range, n int, primary key (a, v without overlaps))",
        [{"alter_column": {"table": "o", "column": "v", "up": "v * v", "down": "v"}}],
    ),
    "walk along a key without overlaps": (
        "create table o (a int4range, v int4range, n int, primary key (a, v without overlaps))",
        [{"alter_column": {"table": "o", "column": "n", "type": "bigint", "up": "n", "down": "n"}}],
    ),
    "no key": ("alter table t drop constraint t_pkey", [WIDEN]),
    "key with NULLs": ("alter table t drop constraint t_pkey; create unique index on t (m)", [WIDEN]),
    "partial key": ("alter table t drop constraint t_pkey; create unique index on t (id) where id > 0", [WIDEN]),
    "both sides of a self reference": ("alter table t add foreign key (n) references t", [WIDEN_ID, WIDEN]),
    "inbound to a dropped column": ("alter table t add unique (n); create table c (x int references t (n))", [DROP]),
    "index on renamed and altered": ("create index on t (n, m)", [WIDEN, RENAME]),
    "partition": ("alter table t rename to o; create table t (id int primary key, n int, m int) partition by range (id)", [WIDEN]),
    "inherited": ("create table k () inherits (t)", [WIDEN]),
    "down of an identity": ("alter table t add s int generated always as identity",
                            [{"drop_column": {"table": "t", "column": "s", "down": "n"}}]),
    "down of a generated column": ("alter table t add s int generated always as (m) stored",
                                   [{"drop_column": {"table": "t", "column": "s", "down": "m"}}]),
    "drop of the key": ("", [{"drop_column": {"table": "t", "column": "id"}}]),
    "drop of a column that must be given": ("alter table t alter n set not null", [DROP]),
    "identity to text": ("alter table t add s int generated always as identity",
                         [{"alter_column": {"table": "t", "column": "s", "type": "text", "up": "s::text", "down": "s::int"}}]),
    "nullable without down": ("alter table t alter n set not null", [{"alter_column": {"table": "t", "column": "n", "nullable": True}}]),
    "unknown column": ("", [{"rename_column": {"table": "t", "from": "nn", "to": "z"}}]),
    "name taken": ("", [{"rename_column": {"table": "t", "from": "n", "to": "m"}}]),
    "up of another type": ("", [{"add_column": {"table": "t", "column": {"name": "c", "type": "int"}, "up": "a || 'x'"}}]),
    "up of the row": ("", [{"add_column": {"table": "t", "column": {"name": "c", "type": "text"}, "up": "t::text"}}]),
    "up of two values": ("", [{"add_column": {"table": "t", "column": {"name": "c", "type": "text"}, "up": "a, n"}}]),
    "up with a statement": ("", [{"add_column": {"table": "t", "column": {"name": "c", "type": "text"}, "up": "a) from t; drop table t; --"}}]),
    "up with an aggregate": ("", [{"add_column": {"table": "t", "column": {"name": "c", "type": "int"}, "up": "max(n)"}}]),
    "up that reads the new column": ("", [{"add_column": {"table": "t", "column": {"name": "c", "type": "int"}, "up": "c + 1"}}]),
    "replica identity": ("update t set n = id; alter table t alter n set not null; create unique index i on t (n);"
                         " alter table t replica identity using index i", [WIDEN]),
    "function reads it": ("create function f() returns bigint language sql begin atomic select sum(n) from t; end", [WIDEN]),
    "statistics object": ("create statistics s on n, m from t", [WIDEN]),
    "publication of columns": ("create publication p for table t (id, n)", [WIDEN]),
    "rule that rewrites updates": ("create rule r as on update to t do also notify t", [WIDEN]),
    "check of the whole row": ("alter table t add constraint c check (t is not null)", [WIDEN]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """The catalogue is as before, and the message helps."""
    schema, operations = REFUSED[name]
    conn.execute((T + schema).encode())
    before = tables.catalogue(conn)
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, operations).begin()
    assert refused.value.what
    assert refused.value.where
    assert refused.value.hint
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_row_security_that_holds_for_the_role_of_the_run(conn: Connection, url: str) -> None:
    """Rows that a policy hides would be missed; the owner without FORCE sees them all."""
    conn.execute(T.encode())
    conn.execute(
        "create role not_above_policies login; grant all on schema public to not_above_policies;"
        " grant usage on schema changeover to not_above_policies;"
        " grant select on all tables in schema changeover to not_above_policies;"
        " alter table t owner to not_above_policies; alter table t enable row level security, force row level security"
    )
    theirs = urlsplit(url)
    theirs = theirs._replace(netloc="not_above_policies@" + theirs.netloc.rpartition("@")[2])
    try:
        with pytest.raises(ChangeoverError, match="holds for this role, too") as refused:
            Migration(theirs.geturl(), [WIDEN]).begin()
        assert "bypassrls" in refused.value.hint
    finally:
        conn.execute("alter table t owner to current_user; drop owned by not_above_policies")
        conn.execute("drop role not_above_policies")


@pytest.mark.parametrize("strategy", ["expand_contract", "shadow_table"])
def test_who_is_told_to_drop_a_policy_is_told_what_that_means(strategy: str, conn: Connection, url: str) -> None:
    """The rows stand open, or are shut, for as long as it is away."""
    conn.execute((T + "create policy p on t using (n > 1)").encode())
    with pytest.raises(ChangeoverError, match="the policy p reads n") as refused:
        Migration(url, [DROP], strategy=strategy).begin()
    assert "finds no rows" in refused.value.hint
    assert "unguarded" in refused.value.hint
