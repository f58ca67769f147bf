"""What is known of the rows before a migration begins: every question on a real server."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest

from profiles.model import Database, Limits
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.status import CheckResult

Operation = Mapping[str, Any]


@pytest.fixture
def shop(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            create table customers (id int primary key);
            insert into customers select generate_series(1, 5);
            create table orders (id int primary key, code text, amount numeric, customer int, "When" text);
            insert into orders select g, g::text, g, 1 + g % 5, '2024-01-01' from generate_series(1, 20) g;
            """
        )
        yield connection


def plan_of(database: str, *operations: Operation) -> tuple[PostgresEngine, Plan]:
    engine = PostgresEngine(
        url=database,
        database=Database(url_env="UNUSED", search_path="public"),
        limits=Limits(),
        migration="m",
        run_id="t",
    )
    return engine, engine.plan(MigrationSpec.model_validate({"migration": "m", "operations": list(operations)}))


def asked(database: str, *operations: Operation, values: bool = True) -> dict[str, CheckResult]:
    engine, plan = plan_of(database, *operations)
    result = engine.examine(plan, values_in_reports=values)
    assert result.gate == "before_run"
    assert result.passed == (bool(result.checks) and all(check.passed for check in result.checks))
    return {check.name: check for check in result.checks}


def alter(column: str, **what: Any) -> Operation:
    return {"alter_column": {"table": "orders", "column": column, **what}}


def failed(checks: Mapping[str, CheckResult]) -> dict[str, CheckResult]:
    return {name: check for name, check in checks.items() if not check.passed}


def only(checks: Mapping[str, CheckResult]) -> CheckResult:
    (check,) = failed(checks).values()
    return check


def mended(connection: psycopg.Connection[Any], check: CheckResult, value: str = "") -> None:
    """Run the statement that the report proposes, with what only people know filled in."""
    assert check.fix
    statement = check.fix.replace("<value>", value)
    statement = statement.replace("<keys of those rows>", ", ".join(f"({key})" for key in check.examples))
    connection.execute(statement.encode())


def test_nulls_are_counted_named_and_mended(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set code = null where id in (3, 7)")
    check = only(asked(database, alter("code", nullable=False)))
    assert (check.verdict, check.unexpected, check.message) == ("FAILED", 2, "2 rows break it")
    assert sorted(check.examples) == ["3", "7"]
    mended(shop, check, "'none'")
    assert not failed(asked(database, alter("code", nullable=False)))
    assert shop.execute("select count(*) from orders where code = 'none'").fetchone() == (2,)


def test_what_up_mends_is_no_failure(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set code = null where id in (3, 7)")
    checks = asked(database, alter("code", nullable=False, up="coalesce(code, 'none')"))
    assert "public.orders.code is not null" in checks
    assert not failed(checks)


def test_nothing_is_shown_where_the_profile_forbids_it(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set code = 'secret' where id = 3")
    checks = asked(database, alter("code", type="int", up="code::int", down="code::text"), values=False)
    assert failed(checks)
    for check in checks.values():
        assert check.examples == ()
        assert "secret" not in check.model_dump_json()


@pytest.mark.parametrize(
    ("change", "bad", "reason", "good"),
    [
        ({"type": "int", "up": "code::int", "down": "code::text"}, "x1", "invalid text representation (22P02)", "'5'"),
        ({"type": "smallint", "up": "code::int", "down": "code::text"}, "70000",
         "numeric value out of range (22003)", "'5'"),
        ({"type": "date", "up": "('2024-01-' || code)::date", "down": "extract(day from code)::int::text"}, "45",
         "datetime field overflow (22008)", "'5'"),
        ({"type": "varchar(2)", "up": "code", "down": "code"}, "123", "string data right truncation (22001)", "'5'"),
        ({"type": "char(2)"}, "123", "string data right truncation (22001)", "'55'"),
        ({"type": "text", "up": "convert_from(decode(code, 'escape'), 'UTF8')", "down": "code"}, "\\\\377",
         "character not in repertoire (22021)", "'5'"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit(
    database: str, shop: psycopg.Connection[Any], change: dict[str, Any], bad: str, reason: str, good: str
) -> None:
    """Exactly those rows, whatever the conversion, on every version of PostgreSQL."""
    shop.execute("update orders set code = case when id < 10 then lpad(id::text, 2, '0') else id::text end")
    conversion = f"public.orders.code can hold what up gives, as {change['type']}"
    canonical = {"int": "integer", "varchar(2)": "character varying(2)", "char(2)": "character(2)"}
    for short, long in canonical.items():
        conversion = conversion.replace(f"as {short}", f"as {long}") if change["type"] == short else conversion
    assert asked(database, alter("code", **change))[conversion].verdict == "passed"
    shop.execute("update orders set code = %s where id in (4, 15)", (bad.replace("\\\\", "\\"),))
    check = asked(database, alter("code", **change))[conversion]
    assert check.message == f"2 rows: 2 × {reason}"
    assert sorted(check.examples) == ["15", "4"]
    mended(shop, check, good)
    assert asked(database, alter("code", **change))[conversion].verdict == "passed"


def test_a_rounded_number_does_not_come_back(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set amount = 1.005 where id = 2")
    check = only(asked(database, alter("amount", type="numeric(10,2)", up="amount", down="amount")))
    assert (check.name, check.unexpected, check.examples) == ("public.orders.amount comes back by down", 1, ("2",))


def test_duplicates_under_a_new_key(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set code = 'same' where id in (2, 4, 9); update orders set code = null where id > 18")
    unique = alter("code", unique={"name": "one_code"})
    check = only(asked(database, unique))
    assert (check.message, sorted(check.examples)) == ("1 group of equal rows breaks it", ["2", "4", "9"])
    mended(shop, check)
    assert shop.execute("select id from orders where code = 'same'").fetchall() == [(2,)]
    assert not failed(asked(database, unique))


def test_duplicates_that_only_up_makes(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("create unique index by_code on orders (code); update orders set code = 'A' where id = 1")
    shop.execute("update orders set code = 'a' where id = 2")
    check = failed(asked(database, alter("code", type="text", up="lower(code)", down="code")))
    assert check["public.orders stays unique by by_code"].examples == ("1", "2")
    check.pop("public.orders stays unique by by_code")
    assert list(check) == ["public.orders.code comes back by down"]


def test_values_that_the_new_type_takes_for_equal(database: str, shop: psycopg.Connection[Any]) -> None:
    """Numbers here; a collation that ignores case, which needs a server with ICU, is asked in the same way."""
    shop.execute("create unique index by_code on orders (code)")
    shop.execute("update orders set code = '1.0' where id = 1; update orders set code = '1.00' where id = 2")
    shop.execute("delete from orders where id > 2")
    check = asked(database, alter("code", type="numeric", up="code::numeric", down="code::text"))
    assert {name for name, one in check.items() if not one.passed} == {"public.orders stays unique by by_code"}


def test_orphans_under_a_new_foreign_key(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set customer = 77 where id in (5, 6); update orders set customer = null where id = 7")
    reference = alter("customer", references={"name": "of_customer", "table": "customers", "column": "id"})
    check = only(asked(database, reference))
    assert (check.message, sorted(check.examples)) == ("2 rows break it", ["5", "6"])
    mended(shop, check)
    assert not failed(asked(database, reference))


def test_rows_that_break_a_new_check(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set amount = -1 where id in (5, 6); update orders set amount = null where id = 7")
    rule = alter("amount", check={"name": "positive", "constraint": "amount > 0"})
    check = only(asked(database, rule))
    assert (check.message, sorted(check.examples)) == ("2 rows break it", ["5", "6"])
    assert check.fix.startswith('update "public"."orders" set <column> = <value> where ("id") in (')


@pytest.mark.parametrize("demand", ["check (amount > 5)", "not null code"])
def test_rows_that_break_what_nobody_validated(database: str, shop: psycopg.Connection[Any], demand: str) -> None:
    shop.execute(f"update orders set code = null where id < 6; alter table orders add constraint c {demand} not valid")
    engine, plan = plan_of(database, alter("When", type="date", up='"When"::date', down='"When"::text'))
    found = only({check.name: check for check in engine.examine(plan, values_in_reports=True).checks})
    assert "breaks c, which is not validated" in found.name
    assert (found.message, found.examples) == ("5 rows break it", ("1", "2", "3", "4", "5"))


def test_a_new_column_that_up_leaves_null(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("""update orders set "When" = '' where id = 5""")
    column = {"name": "day", "type": "date", "nullable": False}
    operation = {"add_column": {"table": "orders", "column": column, "up": "nullif(\"When\", '')::date"}}
    check = only(asked(database, operation))
    assert (check.name, check.examples) == ("public.orders.day is not null", ("5",))
    mended(shop, check, "'2024-02-02'")
    assert not failed(asked(database, operation))


def test_an_empty_table_and_a_key_of_two_columns(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute('create table "Odd ""one" (a int, "B c" text, v text, primary key (a, "B c"))')
    change = {"alter_column": {"table": 'Odd "one', "column": "v", "type": "int", "up": "v::int", "down": "v::text"}}
    assert not failed(asked(database, change))
    shop.execute("""insert into "Odd ""one" values (1, 'x', '1'), (2, 'y', 'no'), (3, 'z', null)""")
    found = failed(asked(database, change))
    assert found['public.Odd "one.v can hold what up gives, as integer'].examples == ("2, y",)


def test_a_table_without_a_key_has_no_keys_to_show(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("create table loose_rows (a int); insert into loose_rows values (1), (1), (null)")
    rule = {"alter_column": {"table": "loose_rows", "column": "a", "nullable": False}}
    assert only(asked(database, rule)).unexpected == 1


def test_rows_hidden_by_a_policy_are_not_passed_over(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute(
        """
        alter table orders enable row level security;
        create role seeing_nothing login password 'x';
        grant usage on schema public to seeing_nothing; grant select on orders to seeing_nothing;
        """
    )
    _, plan = plan_of(database, alter("code", nullable=False))
    from tasks.engines.postgresql.before_run import examine

    try:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("set role seeing_nothing")
            result = examine(conn, plan, values_in_reports=True)
    finally:
        shop.execute("drop owned by seeing_nothing; drop role seeing_nothing")
    assert [check.verdict for check in result.checks] == ["NOT EVALUATED"]
    assert not result.passed


def test_nothing_is_left_behind(database: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("update orders set code = 'x' where id = 1")
    engine, plan = plan_of(database, alter("code", type="int", up="code::int", down="code::text"))
    with engine.connect("test") as conn:
        from tasks.engines.postgresql.before_run import examine

        assert not examine(conn, plan, values_in_reports=True).passed
        assert not examine(conn, plan, values_in_reports=True).passed
        left = conn.execute("select count(*) from pg_proc where proname = 'changeover_refusal'").fetchone()
        assert left == (0,)
        assert conn.execute("select count(*) from pg_locks where relation = 'orders'::regclass").fetchone() == (0,)


@pytest.mark.parametrize("operations", [[{"create_index": {"name": "i", "table": "orders", "columns": {"code": {}}}}]])
def test_where_nothing_is_asked_of_rows_nothing_is_checked(
    database: str, shop: psycopg.Connection[Any], operations: Sequence[Operation]
) -> None:
    assert asked(database, *operations) == {}
