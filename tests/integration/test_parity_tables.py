"""Shapes of tables: keys, missing keys, columns, and what cannot be read."""

from collections.abc import Callable

import psycopg
import pytest

from tasks.model.errors import PreflightError
from validations.parity.compare import Options, Table, compare
from validations.parity.report import Comparison, Kind, Verdict

ROWS = 3_000


def sql(url: str, *statements: str) -> None:
    """Carry out statements."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def diff(url: str, a: str = "a", b: str = "b", **options: object) -> Comparison:
    """Compare two tables of one database."""
    tables = (Table(url=url, database="main", name=name) for name in (a, b))
    return compare(*tables, Options(**options))  # type: ignore[arg-type]


def found(result: Comparison) -> set[tuple[Kind, tuple[str, ...]]]:
    """Return what differs, by kind and key."""
    return {(one.kind, one.key) for one in result.differences}


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("id integer", "n - 1500"),
        ("id bigint", "(n - 1500) * 1000000000000000"),
        ("id text", "'Ä' || n || ' ' || repeat('z', n % 3)"),
        ("id uuid", "md5(n::text)::uuid"),
        ("id numeric", "n / 8.0"),
        ("id timestamptz", "timestamptz '2020-01-01' + n * interval '1 microsecond'"),
        ('"I d" date', "date '0001-01-01' + n - 1500"),
        ("id char(9)", "n::text"),
    ],
)
def test_keys_of_every_kind(new_database: Callable[[], str], key: str, make: str) -> None:
    """The first row, the last, one that only A has, and one that only B has: these, and no others."""
    urls = new_database(), new_database()
    for url in urls:
        sql(
            url,
            f"create table a ({key} primary key, v text)",
            f"insert into a select {make}, 'v' || n from generate_series(1, {ROWS}) as n",
        )
    sql(urls[1], f"update a set v = 'other' where v in ('v1', 'v{ROWS}')", "delete from a where v = 'v77'")
    with psycopg.connect(urls[0], autocommit=True) as conn:
        column = key.rpartition(" ")[0]
        rows = conn.execute(f"select {column}::text, v from a where v in ('v1', 'v{ROWS}', 'v77', 'v78')".encode())
        named = {str(v): str(k).rstrip() for k, v in rows}
        conn.execute("delete from a where v = 'v78'")

    a, b = (Table(url=url, database="main", name="a") for url in urls)
    result = compare(a, b, Options(lag=0))

    assert {(one.kind, one.key[0].rstrip()) for one in result.differences} == {
        (Kind.CHANGED, named["v1"]),
        (Kind.CHANGED, named[f"v{ROWS}"]),
        (Kind.MISSING, named["v77"]),
        (Kind.EXTRA, named["v78"]),
    }
    assert (result.rows_a, result.rows_b) == (ROWS - 1, ROWS - 1)


def test_a_composite_key_and_another_order_of_columns(database: str) -> None:
    sql(
        database,
        'create table a (tenant smallint, "N o" text, v int, w text, primary key (tenant, "N o"))',
        'create table b (w text, v int, "N o" text, tenant smallint, unique ("N o", tenant))',
        'alter table b alter "N o" set not null, alter tenant set not null',
        "insert into a select n % 3, 'k' || n / 3, n, 'w' from generate_series(1, 900) as n",
        'insert into b (tenant, "N o", v, w) table a',
    )
    assert diff(database).verdict is Verdict.EQUAL

    sql(database, "update b set v = null where tenant = 1 and \"N o\" = 'k7'")
    result = diff(database)

    assert result.key == ("tenant", "N o")
    assert [(one.key, one.columns) for one in result.differences] == [(("1", "k7"), ("v",))]
    assert result.differences[0].a == ()
    shown = diff(database, values_in_reports=True).differences[0]
    assert (shown.a, shown.b) == (("22",), (None,))


def test_without_a_key_rows_are_counted(database: str) -> None:
    sql(
        database,
        "create table a (v int, w text)",
        "create table b (v int, w text)",
        "insert into a values (1, 'x'), (1, 'x'), (2, null), (2, null), (3, '')",
        "insert into b values (3, ''), (2, null), (1, 'x'), (2, null), (1, 'x')",
    )
    assert diff(database).verdict is Verdict.EQUAL

    sql(database, "delete from b where ctid = (select min(ctid) from b where v = 1)", "insert into b values (3, null)")
    result = diff(database)

    assert result.key == ()
    assert {(one.kind, one.rows_a, one.rows_b) for one in result.differences} == {
        (Kind.CHANGED, 2, 1),
        (Kind.EXTRA, 0, 1),
    }


def test_types_that_hold_the_same_values(database: str) -> None:
    sql(
        database,
        "create table a (id int primary key, t varchar(9), f real)",
        "create table b (id bigint primary key, t text, f float8)",
        "insert into a values (-1, 'x', 0.5), (2, null, 0.1)",
        "insert into b values (-1, 'x', 0.5), (2, null, 0.1)",
    )
    result = diff(database)

    assert [(one.key, one.columns) for one in result.differences] == [(("2",), ("f",))]
    assert "id is integer in A and bigint in B" in result.notes


def test_expressions_are_part_of_the_comparison(database: str) -> None:
    sql(
        database,
        "create table a (id int primary key, full_name text)",
        "create table b (id int primary key, first text, last text)",
        "insert into a values (1, 'Ada Lovelace'), (2, '100% Grace')",
        "insert into b values (1, 'Ada', 'Lovelace'), (2, '100%', 'Graec')",
    )
    up = {"first": "split_part(full_name, ' ', 1) -- up", "last": "split_part(full_name, ' ', 2)"}

    result = diff(database, mapped=up, ignored=["full_name"])

    assert [(one.key, one.columns) for one in result.differences] == [(("2",), ("last",))]
    with pytest.raises(PreflightError, match="a has no first, last"):
        diff(database)
    with pytest.raises(PreflightError, match="b has no full_name"):
        diff(database, mapped=up)
    with pytest.raises(PreflightError, match="the expression for last is refused"):
        diff(database, mapped=up | {"last": "nobody"}, ignored=["full_name"])
    with pytest.raises(PreflightError, match="there is no column nobody"):
        diff(database, mapped=up, ignored=["full_name", "nobody"])


def test_empty_tables_are_equal_and_everything_is_found_against_one(database: str) -> None:
    sql(database, "create table a (id int primary key)", "create table b (id int primary key)")
    assert (diff(database).verdict, diff(database).rows_a) == (Verdict.EQUAL, 0)

    sql(database, "insert into a select generate_series(-2500, 2500)")
    assert len(diff(database, limit=10_000).differences) == 5001
    result = diff(database, limit=10)
    assert (len(result.differences), result.complete) == (10, False)


def test_partitions_views_and_children(database: str) -> None:
    sql(
        database,
        "create table a (id int primary key, v text) partition by range (id)",
        "create table a1 partition of a for values from (0) to (10)",
        "create table a2 partition of a for values from (10) to (20)",
        "create table b (id int primary key, v text)",
        "create view shown as table b",
        "create table parent (id int primary key, v text)",
        "create table child () inherits (parent)",
        "insert into a values (1, 'x'), (11, 'y')",
        "insert into b table a",
        "insert into parent values (1, 'x')",
        "insert into child values (11, 'y')",
    )
    assert diff(database).verdict is Verdict.EQUAL
    assert diff(database, b="shown").verdict is Verdict.EQUAL
    assert diff(database, b="parent").verdict is Verdict.EQUAL

    sql(database, "insert into child values (1, 'x')")
    result = diff(database, b="parent")
    assert [(one.rows_a, one.rows_b) for one in result.differences] == [(1, 2)]


def test_what_cannot_be_read_is_not_equal(database: str) -> None:
    sql(
        database,
        "create table a (id int primary key)",
        "create table b (id int primary key)",
        "do $$ begin create role parity_reader login; exception when duplicate_object then null; end $$",
        "grant select on a to parity_reader",
        "create view broken as select id, 1 / (id - 1) as v from a",
        "create table whole (id int, v int)",
        "insert into a values (1)",
    )
    as_reader = database.replace("postgres@", "parity_reader@")
    with pytest.raises(PreflightError, match=r"main\.public\.b cannot be read: permission denied"):
        diff(as_reader)
    with pytest.raises(PreflightError, match="there is no table nobody"):
        diff(database, b="nobody")
    with pytest.raises(PreflightError, match="division by zero"):
        diff(database, a="broken", b="whole")

    sql(
        database,
        "grant select on b to parity_reader",
        "alter table b enable row level security",
        "create policy visible on b using (id > 5)",
    )
    with pytest.raises(PreflightError, match="row-level security"):
        diff(as_reader)
