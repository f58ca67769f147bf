"""What a gate must not do: leak, write, hang on to connections, trip over a name, or pass by accident."""

import gc
import json
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tasks.model.names import MAX_BYTES, quote
from validations.checks import Gate, QueryCheck, RowCheck
from validations.gates import evaluate

PASSWORD = "s3cret$HOME${HOME}%25{0}"

many = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
names = texts.filter(lambda name: 0 < len(name.encode()) <= MAX_BYTES)
tables = names.filter(lambda name: "." not in name)


@pytest.fixture
def url(database: str) -> str:
    """The test's database, by a URL with a password in it."""
    parts = urlsplit(database)
    password = "".join(f"%{ord(character):02x}" for character in PASSWORD)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}"))


@pytest.fixture
def orders(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table orders (id int primary key, code text, number int)")
        connection.execute("insert into orders select g, g::text, g from generate_series(1, 100) g")
        yield connection


def rows(name: str = "number", **changes: Any) -> RowCheck:
    values: dict[str, Any] = {
        "table": "public.orders",
        "key": ("id",),
        "stored": "number",
        "computed": "code::int",
        "source": "orders",
    }
    return RowCheck(name=name, **(values | changes))


def gate(*checks: RowCheck | QueryCheck, suites: tuple[str, ...] = ()) -> Gate:
    return Gate(name="before_swap", migration="test", checks=checks, suites=suites)


def _suite(folder: Path, kind: str, **kwargs: Any) -> str:
    (folder / "suite.json").write_text(
        json.dumps({"name": "suite", "expectations": [{"type": kind, "kwargs": kwargs}]})
    )
    return str(folder / "suite.json")


def test_no_secret_and_no_value_gets_out(
    url: str,
    orders: psycopg.Connection[Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    orders.execute("update orders set code = 'classified' where id = 3")
    orders.execute("update orders set code = '770000077' where id = 4")
    orders.execute(
        "create function whole(code text) returns int immutable language plpgsql as $$ begin return code; end $$"
    )
    query = "select * from {batch} where code::int < 0"
    suite = _suite(tmp_path, "unexpected_rows_expectation", unexpected_rows_query=query) + "@orders"
    checks = (
        rows("cast"),
        rows("function", computed="whole(code)"),
        rows("differs", stored="code", computed="id::text"),
        QueryCheck(name="query", table="public.orders", violations="select code from orders where id = 3"),
    )
    result = evaluate(gate(*checks, suites=(suite,)), url)
    assert [check.evaluated for check in result.checks] == [False, False, True, True, False]
    assert not any(check.passed for check in result.checks)
    broken = url.replace(f":{urlsplit(url).port}", ":1")
    unreachable = evaluate(gate(*checks, suites=(suite,)), broken)
    out, err = capfd.readouterr()
    everything = [repr(result), result.model_dump_json(), repr(unreachable), caplog.text, out, err]
    for secret in (PASSWORD, PASSWORD[:6], urlsplit(url).password or "", "classified", "770000077"):
        assert not any(secret in text for text in everything)
    assert (out, err) == ("", "")


def test_a_server_that_is_not_there_fails_every_check(url: str, tmp_path: Path) -> None:
    broken = url.replace(f":{urlsplit(url).port}", ":1")
    suite = _suite(tmp_path, "expect_column_values_to_be_unique", column="id") + "@orders"
    result = evaluate(gate(rows("one"), rows("two"), suites=(suite,)), broken)
    assert [check.name for check in result.checks] == ["one", "two", suite]
    assert not any(check.passed or check.evaluated for check in result.checks)
    assert {check.message for check in result.checks} == {"could not be evaluated: No server listens there"}


def test_a_url_that_cannot_be_read_fails_every_check_and_is_not_shown() -> None:
    result = evaluate(gate(rows("one"), suites=("a:b@c",)), f"oracle://root:{PASSWORD}@localhost/x")
    assert [check.name for check in result.checks] == ["one", "a:b@c"]
    assert not any(check.passed or check.evaluated for check in result.checks)
    assert "s3cret" not in repr(result)
    assert "The URL of the database does not begin with postgresql://" in result.checks[0].message


def test_a_pooler_fails_the_gate(orders: psycopg.Connection[Any], pooled: str) -> None:
    (check,) = evaluate(gate(rows()), pooled).checks
    assert (check.passed, check.evaluated) == (False, False)
    assert check.message == ("could not be evaluated: There is a connection pooler between Changeover and the server")


def test_a_connection_that_is_lost_on_the_way_fails_the_check(url: str, orders: psycopg.Connection[Any]) -> None:
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            killed.extend(
                pid
                for pid, _ in orders.execute(
                    """
                    select pid, pg_terminate_backend(pid) from pg_stat_activity
                    where application_name = 'changeover test gate' and query like '%pg_sleep%' and state = 'active'
                    """
                )
            )
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    slow = rows("slow", stored="(select id from pg_sleep(20))", computed="id", where="id = 1")
    result = evaluate(gate(slow, rows("quick")), url)
    thread.join()
    assert [(check.passed, check.evaluated) for check in result.checks] == [(False, False), (True, True)]
    assert "57P01" in result.checks[0].message or "lost" in result.checks[0].message


def test_rows_hidden_by_a_policy_fail_the_gate(url: str, database: str, orders: psycopg.Connection[Any]) -> None:
    role = f"changeover_gate_{urlsplit(database).path[-12:]}"
    orders.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
    try:
        orders.execute(sql.SQL("grant select on orders to {}").format(sql.Identifier(role)))
        reader = urlunsplit(urlsplit(url)._replace(netloc=urlsplit(url).netloc.replace("postgres:", f"{role}:")))
        assert evaluate(gate(rows()), reader).passed
        orders.execute("alter table orders enable row level security")
        orders.execute("create policy half on orders using (id % 2 = 0)")
        (check,) = evaluate(gate(rows()), reader).checks
    finally:
        orders.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
        orders.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    assert (check.passed, check.evaluated) == (False, False)
    assert check.message.startswith("could not be evaluated: 42501")


def test_limits_of_the_database_do_not_stop_a_gate(url: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute(
        sql.SQL("alter database {} set statement_timeout = '100ms'").format(sql.Identifier(orders.info.dbname))
    )
    slow = rows(stored="(select id from pg_sleep(0.3))", computed="id", where="id = 1")
    assert evaluate(gate(slow), url).passed


def test_a_check_cannot_write(url: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute("create function erase() returns int language sql as $$ delete from orders; select 1 $$")
    check = QueryCheck(name="erase", table="public.orders", violations="select erase()")
    (result,) = evaluate(gate(check), url, values_in_reports=True).checks
    assert (result.passed, result.evaluated) == (False, False)
    assert "25006" in result.message
    assert orders.execute("select count(*) from orders").fetchone() == (100,)


def test_no_connection_stays_open(url: str, orders: psycopg.Connection[Any], tmp_path: Path) -> None:
    suite = _suite(tmp_path, "expect_column_values_to_be_unique", column="id") + "@orders"
    orders.execute("update orders set number = 0 where id = 3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good, bad = rows("good"), rows("bad", computed="nonesuch")
        evaluate(gate(good, bad, suites=(suite, "nonesuch:suite@orders")), url, values_in_reports=True)
        gc.collect()
    for _ in range(50):
        (left,) = orders.execute(
            "select count(*) from pg_stat_activity where application_name = 'changeover test gate'"
        ).fetchone() or (None,)
        if left == 0:
            break
        time.sleep(0.02)
    assert left == 0


def test_the_context_of_the_caller_is_current_again(url: str, orders: psycopg.Connection[Any]) -> None:
    import great_expectations as gx
    from great_expectations.data_context.data_context.context_factory import project_manager
    from great_expectations.exceptions.exceptions import DataContextRequiredError

    mine = gx.get_context(mode="ephemeral")
    try:
        assert evaluate(gate(rows()), url).passed
        assert project_manager.get_current_project() is mine
    finally:
        project_manager.set_project(None)
    assert evaluate(gate(rows()), url).passed
    with pytest.raises(DataContextRequiredError):
        project_manager.get_current_project()


def test_gates_of_several_threads_do_not_mix(url: str, orders: psycopg.Connection[Any]) -> None:
    found: dict[str, bool] = {}

    def work(name: str, seconds: float) -> None:
        slow = rows(name, stored=f"(select id from pg_sleep({seconds}))", computed="id", where="id = 1")
        found[name] = evaluate(gate(slow), url).passed

    first = threading.Thread(target=work, args=("first", 0.5))
    second = threading.Thread(target=work, args=("second", 1.0))
    first.start()
    # The second begins while the first is at work, and ends after it.
    while orders.execute("select 1 from pg_stat_activity where query ~ 'pg_sleep[(]0.5[)]'").fetchone() is None:
        time.sleep(0.02)
    second.start()
    first.join()
    second.join()
    assert found == {"first": True, "second": True}


@many
@given(schema=names, table=tables, column=names, literal=texts)
@example(schema='a"b', table="{batch}", column="%s:c::int", literal="{0} %(x)s :y '' \\ $1 $$")
@example(schema="a.b", table=";--", column="/*", literal="*/ {{}} %% {")
def test_no_character_has_a_meaning_of_its_own(
    database: str, url: str, schema: str, table: str, column: str, literal: str
) -> None:
    quoted = "'" + literal.replace("'", "''") + "'"
    relation = f"{quote(schema)}.{quote(table)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"drop schema if exists {quote(schema)} cascade".encode())
        connection.execute(f"create schema {quote(schema)}".encode())
        try:
            connection.execute(f"create table {relation} ({quote(column)} text)".encode())
            connection.execute(f"insert into {relation} values ({quoted}), ('the other')".encode())
            same = RowCheck(
                name=literal,
                table=f"{schema}.{table}",
                key=(column,),
                stored=quote(column),
                computed=f"{quoted}::text",
                source=f"{relation} as {quote(table)}",
            )
            query = QueryCheck(
                name=table,
                table=f"{schema}.{table}",
                violations=f"select {quote(column)} from {relation} where {quote(column)} <> {quoted}",
            )
            result = evaluate(gate(same, query), url, values_in_reports=True)
        finally:
            connection.execute(f"drop schema {quote(schema)} cascade".encode())
    assert [(check.name, check.unexpected, check.examples) for check in result.checks] == [
        (literal, 1, ("the other",)),
        (table, 1, ("the other",)),
    ]


@pytest.mark.parametrize("name", ['a"b', "{batch}", "%s", ":c", "Übung", "'", "a b;--", "$1", "COUNT(*)"])
def test_a_suite_reads_any_table(url: str, database: str, tmp_path: Path, name: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"create schema {quote(name)}".encode())
        connection.execute(f"create table {quote(name)}.{quote(name)} ({quote(name)} int)".encode())
        connection.execute(f"insert into {quote(name)}.{quote(name)} values (1), (null)".encode())
    suite = _suite(tmp_path, "expect_column_values_to_not_be_null", column=name)
    (check,) = evaluate(gate(suites=(f"{suite}@{name}.{name}",)), url).checks
    assert (check.passed, check.evaluated, check.unexpected) == (False, True, 1), check.message


@many
@given(value=texts)
@example(value='" is fine, "')
@example(value='code" and "orders')
def test_no_value_is_repeated(database: str, url: str, value: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("drop table if exists orders")
        connection.execute("create table orders (id int primary key, code text, number int)")
        connection.execute("insert into orders values (1, %s, 1)", (f"x{value}",))
        cast, name = evaluate(gate(rows("cast"), rows("name", computed="code::regclass::oid::int")), url).checks
    assert cast.message == 'could not be evaluated: 22P02 invalid input syntax for type integer: "…"'
    assert not name.evaluated
    if len(value) > 5:
        assert value not in name.message
