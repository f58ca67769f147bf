"""Reading the catalogue: everything that hangs on a table is there."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tasks.engines.postgresql.inspect import inspect
from tasks.model.catalogue import Dependent, Index
from tasks.model.catalogue_difference import compare
from tests.integration.shop import make_shop, read_shop, roles, shop_on, table
from tests.servers.postgres import PostgresServer


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


def test_the_table_itself(shop: psycopg.Connection[Any]) -> None:
    orders = table(shop, "orders")

    assert orders.full_name == "shop.orders"
    assert (orders.kind, orders.persistence, orders.owner) == ("table", "permanent", "The Owner")
    assert orders.comment == "orders of the shop"
    assert orders.grants[1] == 'the_reader=a*r*/"The Owner"'
    assert orders.grants[0].startswith('"The Owner"=arwd')
    assert orders.options == ("autovacuum_enabled=false", "fillfactor=80", "toast.autovacuum_enabled=false")
    assert (orders.access_method, orders.replica_identity) == ("heap", "index")
    assert (orders.row_security, orders.force_row_security) == (True, False)
    assert table(shop, "scratch").persistence == "unlogged"


def test_columns(shop: psycopg.Connection[Any]) -> None:
    columns = {column.name: column for column in table(shop, "orders").columns}

    assert list(columns)[:5] == ["country", "id", "number", "state", "total"]
    assert columns["country"].collation == 'pg_catalog."POSIX"'
    assert columns["region"].collation is None
    assert (columns["id"].identity, columns["id"].nullable, columns["id"].type) == ("always", False, "bigint")
    assert columns["number"].default == "nextval('shop.orders_number_seq'::regclass)"
    assert columns["state"].default == "'open'::shop.state"
    assert (columns["gross"].generated, columns["gross"].default) == ("(total + tax)", None)
    assert columns["region"].options == ("n_distinct=-0.5",)
    assert columns['weird "name'].type == "shop.cents"
    note = columns["note"]
    assert (note.storage, note.compression, note.statistics_target) == ("external", "pglz", 500)
    assert (note.comment, note.grants) == ("it's a note", ('the_reader=w/"The Owner"',))
    assert (columns["tax"].storage, columns["tax"].compression, columns["tax"].statistics_target) == ("main", "", None)


def test_indexes(shop: psycopg.Connection[Any]) -> None:
    orders = table(shop, "orders")
    every = tuple(column.name for column in orders.columns)

    assert orders.index("orders_lower_idx") == Index(
        name="orders_lower_idx",
        definition="CREATE INDEX orders_lower_idx ON shop.orders USING btree (lower(note), ((total + tax)))"
        " INCLUDE (state) WHERE (tax > (1)::numeric)",
        columns=("state",),
        referenced=("state", "total", "tax", "note"),
        partial=True,
        expressions=True,
        statistics_targets=("2=99",),
        comment="an index",
    )
    indexes = {index.name: index for index in orders.indexes}
    primary, number, weird = indexes["orders_pkey"], indexes["orders_number_key"], indexes["orders weird"]
    assert (primary.primary, primary.unique, primary.replica_identity) == (True, True, True)
    assert (primary.columns, primary.referenced, primary.constraint) == (("country", "id"),) * 2 + ("orders_pkey",)
    assert (number.immediate, number.columns) == (False, ("number", "state"))
    assert (weird.clustered, weird.constraint, weird.columns) == (True, None, ('weird "name',))
    assert indexes["orders_whole_idx"].referenced == every


def test_constraints(shop: psycopg.Connection[Any]) -> None:
    orders = table(shop, "orders")
    constraints = {constraint.name: constraint for constraint in orders.constraints}

    assert {name: constraint.kind for name, constraint in constraints.items()} == {
        "late": "trigger",
        "orders_area_excl": "exclusion",
        "orders_number_key": "unique",
        "orders_parent_fkey": "foreign key",
        "orders_pkey": "primary key",
        "orders_region_fkey": "foreign key",
        "orders_total_check": "check",
        "orders_whole": "check",
        'weird "check': "check",
    }
    parent, number = constraints["orders_parent_fkey"], constraints["orders_number_key"]
    assert (parent.referenced_table, parent.referenced_columns) == ("shop.orders", ("country", "id"))
    assert (parent.columns, parent.deferrable, parent.deferred) == (("parent_country", "parent_id"), True, True)
    assert parent.comment == "a key"
    assert (number.columns, number.deferrable, number.deferred) == (("number",), True, False)
    assert constraints['weird "check'].columns == ('weird "name',)
    assert not constraints["orders_whole"].validated
    assert len(constraints["orders_whole"].columns) == len(orders.columns)
    assert constraints["orders_region_fkey"].definition == (
        "FOREIGN KEY (country, region) REFERENCES shop.regions(country, code) ON UPDATE CASCADE"
    )


def test_foreign_keys_that_point_here(shop: psycopg.Connection[Any]) -> None:
    items, own = table(shop, "orders").inbound

    assert (items.table, items.name, items.comment) == ("shop.items", "items_order_fkey", "from items")
    assert (items.columns, items.referenced_columns) == (("country", "order_id"), ("country", "id"))
    assert (own.table, own.name) == ("shop.orders", "orders_parent_fkey")


def test_triggers_hide_nothing_of_ours(shop: psycopg.Connection[Any]) -> None:
    triggers = {trigger.name: trigger for trigger in table(shop, "orders").triggers}

    assert list(triggers) == ["changed", "emptied", "late", "touch", "zzz_changeover_mine"]
    touch, changed, emptied = triggers["touch"], triggers["changed"], triggers["emptied"]
    assert (touch.timing, touch.events, touch.row) == ("before", ("insert", "update"), True)
    assert (touch.update_columns, touch.referenced) == (("total", "tax"), ("total", "tax", "note"))
    assert (touch.comment, touch.enabled, changed.enabled) == ("a trigger", "origin", "always")
    assert (emptied.events, emptied.row, emptied.timing) == (("truncate",), False, "after")
    assert [t.full_name for t in read_shop(shop).tables if t.name.startswith("_changeover_")]


def test_policies_and_sequences(shop: psycopg.Connection[Any]) -> None:
    orders = table(shop, "orders")
    everybody, mine = orders.policies
    identity, serial = orders.sequences

    assert everybody.definition == "as permissive for insert to public with check ((note <> 'x'::text))"
    assert mine.definition == (
        "as restrictive for select to \"The Owner\", the_reader using ((state = 'open'::shop.state))"
    )
    assert (mine.referenced, mine.comment) == (("state",), "a policy")
    assert (identity.name, identity.column, identity.identity) == ("shop.orders_id_seq", "id", True)
    assert identity.definition == (
        "as bigint start with 10 increment by 5 minvalue 1 maxvalue 9223372036854775807 cache 1 no cycle"
    )
    assert (serial.column, serial.identity, serial.comment) == ("number", False, "a sequence")
    assert serial.grants == ('"The Owner"=rwU/"The Owner"', 'the_reader=U/"The Owner"')


def test_dependents(shop: psycopg.Connection[Any]) -> None:
    found = {(d.kind, d.name): d for d in table(shop, "orders").dependents}

    assert {key: dependent.columns for key, dependent in found.items()} == {
        ("column", "shop.archive.old"): (),
        ("column", "shop.whole.o"): (),
        ("default", "shop.items.number"): ("number",),
        ("function", "shop.describe(o shop.orders)"): (),
        ("function", "shop.tax_of(bigint)"): ("id", "tax"),
        ("generated column", "gross"): ("total", "tax"),
        ("index", "shop.by_region_idx"): ("region",),
        ("materialized view", "shop.by_region"): ("region",),
        ("policy", "shop.items.theirs"): ("id", "tax"),
        ("publication", "everything"): (),
        ("publication", "part_of"): ("country", "id", "total"),
        ("publication", "shop_wide"): (),
        ("rule", "shop.items.mirror"): ("id", "note"),
        ("rule", "shop.orders.no_delete"): ("tax",),
        ("statistics", "shop.orders_stats"): ("country", "total", "region"),
        ("view", "shop.open_orders"): ("id", "state", "total"),
        ("view", "shop.open_totals"): ("id", "state", "total"),
        ("view", "shop.whole"): ("note",),
    }
    assert {d.name: d.through for d in found.values() if d.through} == {
        "shop.by_region_idx": "shop.by_region",
        "shop.open_totals": "shop.open_orders",
    }
    assert found["publication", "part_of"].definition == (
        "for table shop.orders (country, id, total) where ((id > 3)), publishing insert delete"
    )
    assert found["view", "shop.open_orders"].definition.startswith(
        "create view shop.open_orders with (security_barrier=true) as\n SELECT"
    )
    assert found["statistics", "shop.orders_stats"].definition == (
        "CREATE STATISTICS shop.orders_stats (ndistinct, mcv) ON country, region, (total * 2::numeric)"
        " FROM shop.orders; alter statistics shop.orders_stats set statistics 250"
    )


def test_definitions_of_views_can_be_run_again(shop: psycopg.Connection[Any]) -> None:
    before = read_shop(shop)
    with shop.transaction(force_rollback=True):
        shop.execute("drop view shop.open_totals, shop.open_orders")
        orders = before.table("shop.orders")
        assert orders
        for name in ("shop.open_orders", "shop.open_totals"):
            (view,) = (d for d in orders.dependents if d.name == name)
            shop.execute(view.definition.encode())
        assert compare(before, read_shop(shop)) == ()


def test_inheritance_partitions_and_views(shop: psycopg.Connection[Any]) -> None:
    found = {found.name: found for found in read_shop(shop).tables}

    assert (found["animals"].children, found["dogs"].parents) == (("shop.dogs",), ("shop.animals",))
    events, part = found["events"], found["events_2024"]
    assert (events.kind, events.partition_key, events.children) == (
        "partitioned table", "RANGE (at)", ("shop.events_2024",)
    )  # fmt: skip
    assert part.partition_bound == "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"
    assert [key.name for key in events.inbound] == ["event_notes_fkey"]
    assert [key.name for key in found["event_notes"].constraints] == ["event_notes_fkey"]
    view, stored = found["open_orders"], found["by_region"]
    assert (view.kind, stored.kind) == ("view", "materialized view")
    assert "shop.orders" in view.query
    assert "shop.orders" in stored.query
    assert (view.options, [d.name for d in view.dependents]) == (("security_barrier=true",), ["shop.open_totals"])


@pytest.fixture
def shop_roles(postgres: PostgresServer) -> Iterator[None]:
    with roles(postgres):
        yield


def test_the_same_table_elsewhere_has_the_same_fingerprint(shop_roles: None, new_database: Callable[[], str]) -> None:
    first, second = new_database(), new_database()
    with psycopg.connect(first, autocommit=True) as one, psycopg.connect(second, autocommit=True) as two:
        make_shop(one)
        # Other object ids, another order of columns on disk, and a second life of everything.
        two.execute("create table filler (id serial primary key, note text)")
        make_shop(two)
        two.execute("alter table shop.orders add junk int; alter table shop.orders drop junk")
        two.execute("insert into shop.regions values ('es', 'm', 'Madrid')")
        two.execute('drop schema shop cascade; drop schema "Weird.Schema" cascade')
        two.execute("drop publication part_of, everything, shop_wide")
        make_shop(two)
        two.execute("alter table shop.orders add junk int; alter table shop.orders drop junk")

        assert compare(read_shop(one), read_shop(two)) == ()
        assert read_shop(one).fingerprint == read_shop(two).fingerprint


def test_not_null_constraints_are_shown_where_they_say_more(conn: psycopg.Connection[Any]) -> None:
    conn.execute("create table t (id int primary key, a int not null, b int constraint b_given not null)")
    conn.execute(f"create table {'l' * 60} (id int not null)")
    eighteen = conn.info.server_version >= 180000
    if eighteen:
        conn.execute("alter table t add c int, add d int, add constraint c_later not null c not valid")
        conn.execute("alter table t add constraint d_mine not null d no inherit")
        conn.execute("comment on constraint t_a_not_null on t is 'why'")
    found = table(conn, "t")

    assert [(c.name, c.validated, c.comment) for c in found.constraints if c.kind == "not null"] == (
        [("b_given", True, None), ("c_later", False, None), ("d_mine", True, None), ("t_a_not_null", True, "why")]
        if eighteen
        else []
    )
    assert [c.name for c in found.columns if c.nullable] == (["c"] if eighteen else [])
    assert table(conn, "l" * 60).constraints == ()


def test_virtual_generated_columns(conn: psycopg.Connection[Any]) -> None:
    how = "virtual" if conn.info.server_version >= 180000 else "stored"
    conn.execute(f"create table t (a int, b int generated always as (a + 1) {how})".encode())
    column = table(conn, "t").column("b")
    assert column
    assert (column.generated, column.virtual) == ("(a + 1)", how == "virtual")


def test_an_index_that_failed_to_build_is_not_valid(conn: psycopg.Connection[Any]) -> None:
    conn.execute("create table t (id int); insert into t values (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute("create unique index concurrently broken on t (id)")
    assert [(index.name, index.valid) for index in table(conn, "t").indexes] == [("broken", False)]


def test_tablespaces(conn: psycopg.Connection[Any]) -> None:
    name = f"space_of_{conn.info.dbname}"
    conn.execute("set allow_in_place_tablespaces to on")
    conn.execute(f"create tablespace {name} location ''".encode())
    try:
        conn.execute(f"create table t (id int primary key using index tablespace {name}) tablespace {name}".encode())
        found = table(conn, "t")
        assert (found.tablespace, found.indexes[0].tablespace) == (name, name)
    finally:
        conn.execute("drop table if exists t")
        conn.execute(f"drop tablespace {name}".encode())


def test_subscriptions_that_write_into_a_table(new_database: Callable[[], str]) -> None:
    source, target = new_database(), new_database()
    with psycopg.connect(source, autocommit=True) as one, psycopg.connect(target, autocommit=True) as two:
        one.execute("create table t (id int primary key); create publication sent for table t")
        two.execute("create table t (id int primary key)")
        two.execute(
            f"create subscription received connection '{source}' publication sent"
            " with (create_slot = false, enabled = false, slot_name = none)".encode()
        )
        assert table(two, "t").dependents == (Dependent(kind="subscription", name="received", columns=()),)
        two.execute("drop subscription received")


def test_what_the_server_numbers_for_itself_is_no_option(conn: psycopg.Connection[Any]) -> None:
    """The minor releases of November 2026 keep a number with every column, another one after each change of a type."""
    conn.execute("create table t (id int primary key)")
    conn.execute("alter table t alter id set (n_distinct = -0.5)")
    conn.execute(
        "update pg_attribute set attoptions = '{pg_attver=38137872}' || attoptions where attrelid = 't'::regclass"
        " and attname = 'id'"
    )
    assert inspect(conn, ["t"], "public").tables[0].columns[0].options == ("n_distinct=-0.5",)
