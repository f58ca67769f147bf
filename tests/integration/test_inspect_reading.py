"""Reading the catalogue: of one moment, whatever the session looks like, and fast."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from tasks.engines.postgresql.catalogue import query
from tasks.engines.postgresql.catalogue.estimate import SAMPLE_PAGES
from tasks.engines.postgresql.inspect import estimates, inspect
from tasks.model.catalogue_difference import compare
from tasks.model.errors import ProfileError, SpecError, TransientError
from tests.integration.shop import read_shop, shop_on, table


@pytest.fixture(scope="module", params=["postgres", "postgres16"])
def shop_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with shop_on(request.getfixturevalue(request.param)) as url:
        yield url


@pytest.fixture
def shop(shop_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(shop_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


SETTINGS = (
    "set search_path to shop, pg_catalog, public; set datestyle to german; set intervalstyle to iso_8601;"
    " set timezone to 'Asia/Tokyo'; set quote_all_identifiers to on; set extra_float_digits to -5;"
    " set bytea_output to escape"
)


def test_no_setting_of_the_session_matters_and_none_is_changed(shop: psycopg.Connection[Any]) -> None:
    plain = read_shop(shop)
    shop.execute(SETTINGS)
    every = "select name, setting from pg_settings order by name"
    before = shop.execute(every).fetchall()

    assert compare(plain, read_shop(shop)) == ()
    assert compare(plain, inspect(shop, [t.full_name for t in plain.tables], "public, pg_catalog")) == ()
    assert shop.execute(every).fetchall() == before
    with shop.transaction():
        assert read_shop(shop).fingerprint == plain.fingerprint
        assert shop.execute(every).fetchall() == before
        with pytest.raises(SpecError):
            inspect(shop, ["no_such_table"], "shop")
        assert shop.execute(every).fetchall() == before


def test_a_role_without_any_privilege_reads_the_same(shop: psycopg.Connection[Any]) -> None:
    plain = read_shop(shop)
    shop.execute("set role the_reader")
    # Schemas that a role may not use are not on its search path.
    names = [t.full_name for t in plain.tables]
    assert compare(plain, inspect(shop, names, "")) == ()


def test_an_idle_connection_stays_idle_and_a_transaction_goes_on(database: str) -> None:
    with psycopg.connect(database) as conn, psycopg.connect(database, autocommit=True) as other:
        other.execute("create table t (id int)")
        inspect(conn, ["t"], "public")
        idle = conn.info.transaction_status
        conn.execute("alter table t add note text")
        # Within a transaction its own changes count, and its locks are kept.
        assert [column.name for column in table(conn, "t").columns] == ["id", "note"]
        assert (idle, conn.info.transaction_status) == (TransactionStatus.IDLE, TransactionStatus.INTRANS)
        held = other.execute("select exists (select from pg_locks where relation = 't'::regclass and granted)")
        assert held.fetchone() == (True,)


def test_all_is_of_one_moment(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as other:

        class Interrupted(psycopg.Cursor[Any]):
            def execute(self, sent: Any, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
                if sent == query("indexes"):
                    other.execute("create index late on t (id); create statistics late on id, more from t")
                return super().execute(sent, *arguments, **options)

        other.execute("create table t (id int, more int)")
        with psycopg.connect(database, autocommit=True, cursor_factory=Interrupted) as conn:
            found = table(conn, "t")
        assert (found.indexes, found.dependents) == ((), ())
        assert [index.name for index in table(other, "t").indexes] == ["late"]


@pytest.mark.parametrize(
    "change", ["drop index t_note_idx", "drop trigger quiet on t", "drop view v", "drop table t cascade"]
)
def test_what_is_dropped_while_it_is_read_is_noticed(database: str, change: str) -> None:
    with psycopg.connect(database) as conn, psycopg.connect(database, autocommit=True) as other:
        other.execute("create table t (id int default 1, note text); create index t_note_idx on t (note)")
        other.execute("create trigger quiet before update on t execute function suppress_redundant_updates_trigger()")
        other.execute("create view v as select id from t")
        conn.execute("set transaction isolation level repeatable read")
        conn.execute("select")
        other.execute(change.encode())
        with pytest.raises(TransientError, match="changed while it was being read"):
            inspect(conn, ["t"], "public")


def test_names_follow_the_search_path(conn: psycopg.Connection[Any]) -> None:
    conn.execute('create schema a; create schema "B c"; create table a.t (one int); create table "B c".t (two int)')
    conn.execute('create table public.t (three int); create table "B c"."T" (four int)')

    def means(names: list[str], path: str) -> list[str]:
        return [found.full_name for found in inspect(conn, names, path).tables]

    assert means(["t"], '"$user", missing, a, public') == ["a.t"]
    assert means(["t"], 'public,"B c"') == ["public.t"]
    assert means(["t", "T"], '"B c", a') == ["B c.T", "B c.t"]
    assert means(["B c.t", "t", "public.t"], "public") == ["B c.t", "public.t"]
    assert means([], "public") == []


def test_missing_tables_are_named_with_what_was_probably_meant(shop: psycopg.Connection[Any]) -> None:
    with pytest.raises(SpecError) as raised:
        inspect(shop, ["order", "regions", "Weird.Schema.shadow", "public.item"], "shop")

    assert raised.value.what == "tables order, Weird.Schema.shadow, public.item do not exist"
    assert raised.value.hint.startswith("Correct the name; there are: orders, ")
    assert "items" in raised.value.hint
    with pytest.raises(SpecError, match="table orders does not exist") as raised:
        inspect(shop, ["orders"], "public")
    assert raised.value.hint == "Correct the name; there are: shop.orders."
    with pytest.raises(SpecError) as raised:
        inspect(shop, ["xyzzy"], "shop")
    assert raised.value.hint == "Correct the name, add its schema, or create the table first."


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("orders_pkey", "orders_pkey is an index, not a table"),
        ("orders_id_seq", "orders_id_seq is a sequence, not a table"),
        ("pg_catalog.pg_class", "pg_catalog.pg_class belongs to the database system"),
    ],
)
def test_what_is_no_table_of_the_application_is_refused(shop: psycopg.Connection[Any], name: str, what: str) -> None:
    with pytest.raises(SpecError) as raised:
        inspect(shop, [name], "shop")
    assert raised.value.what == what


def test_a_search_path_that_cannot_be_read_is_refused(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(ProfileError, match="not a list of schemas"):
        inspect(conn, ["t"], "public,,")
    assert conn.info.transaction_status == TransactionStatus.IDLE


def test_fifty_tables_take_as_many_queries_as_one_and_little_time(database: str) -> None:
    sent: list[object] = []

    class Counting(psycopg.Cursor[Any]):
        def execute(self, statement: Any, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
            sent.append(statement)
            return super().execute(statement, *arguments, **options)

    columns = ", ".join(f"c{number} text default 'x'" for number in range(16))
    with psycopg.connect(database, autocommit=True, cursor_factory=Counting) as conn:
        for number in range(50):
            parent = f"parent bigint references t{max(number - 1, 0)}"
            conn.execute(f"create table t{number} (id bigserial primary key, {columns}, {parent})".encode())
            conn.execute(f"create index on t{number} (lower(c1)); create view v{number} as table t{number}".encode())
        one, fifty = ["t1"], [f"t{number}" for number in range(50)]
        inspected: dict[int, list[tuple[int, float]]] = {1: [], 50: []}
        for names in [one, fifty] * 10:
            sent.clear()
            start = perf_counter()
            found = inspect(conn, names, "public")
            inspected[len(names)].append((len(sent), perf_counter() - start))
    assert len(found.tables) == 50
    assert {queries for queries, _ in inspected[50]} == {queries for queries, _ in inspected[1]}
    assert min(seconds for _, seconds in inspected[50]) < 15 * min(seconds for _, seconds in inspected[1])


def test_estimates(conn: psycopg.Connection[Any]) -> None:
    conn.execute("create table counted (id int, note text) with (autovacuum_enabled = false)")
    conn.execute("create table analysed (like counted) with (autovacuum_enabled = false)")
    conn.execute("create table large (like counted) with (autovacuum_enabled = false)")
    conn.execute("create table emptied (like counted) with (autovacuum_enabled = false)")
    conn.execute("create table parts (id int) partition by range (id); create view v as table counted")
    for number in range(3):
        start = number * 1000
        conn.execute(
            f"create table p{number} partition of parts for values from ({start}) to ({start + 1000})".encode()
        )
    conn.execute("insert into parts select generate_series(0, 2499); analyze p1")
    conn.execute("vacuum emptied")
    conn.execute("insert into counted select n, repeat('x', 100) from generate_series(1, 1234) n")
    conn.execute("insert into analysed table counted; analyze analysed; insert into analysed table counted")
    conn.execute("insert into emptied table counted")
    conn.execute("insert into large select n, repeat('x', 1900) from generate_series(1, 12000) n")
    names = ["counted", "analysed", "large", "emptied", "parts", "v"]
    tables = [table(conn, name) for name in names]

    found = {estimate.table: estimate for estimate in estimates(conn, tables)}

    assert list(found) == [f"public.{name}" for name in names]
    assert found["public.counted"].rows == found["public.emptied"].rows == 1234
    assert found["public.parts"].rows == 2500
    assert (found["public.v"].rows, found["public.v"].bytes) == (0, 0)
    # Analysed with half of its rows, and now twice as large.
    assert found["public.analysed"].rows == pytest.approx(2468, rel=0.05)
    assert found["public.large"].bytes > SAMPLE_PAGES * 8192
    assert found["public.large"].rows == pytest.approx(12000, rel=0.01)
    row = conn.execute(
        "select pg_table_size('large'), sum(pg_table_size(oid)) from pg_class where relname ~ '^p[0-2]$'"
    )
    assert row.fetchone() == (found["public.large"].bytes, found["public.parts"].bytes)
    assert conn.info.transaction_status == TransactionStatus.IDLE
    assert estimates(conn, []) == ()
