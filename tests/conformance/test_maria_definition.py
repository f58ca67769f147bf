"""The new table written down whole, on MariaDB: what becomes of every column is said, or the spec is refused."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from tasks.model.errors import SpecError
from tasks.model.steps import Phase
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.servers.mariadb import run

ORDERS = """
    create table orders (
        id int not null auto_increment primary key,
        customer varchar(40) not null,
        State varchar(20) default 'new',
        cents bigint null,
        note text null,
        code char(4) not null,
        key by_code (code)
    ) engine=InnoDB character set latin1
"""
DEFINED = """
create table `orders` (
    state varchar(30) default 'select',
    id bigint not null auto_increment,
    buyer varchar(40) not null comment 'who; not `customer`',
    euros decimal(20,2) null,
    `select` int not null default 7,
    doubled decimal(21,2) as (euros * 2) stored,
    code char(4) not null,
    primary key (id),
    unique key once (code)
) engine=InnoDB auto_increment=5000 character set utf8mb4 partition by hash (id);
"""
UNPARTITIONED = DEFINED.replace(" partition by hash (id)", "")
SAID = {
    "renamed": {"customer": "buyer"},
    "dropped": ["note", "cents"],
    "up": {"euros": "cents / 100"},
    "down": {"cents": "euros * 100"},
}


@pytest.fixture
def orders(maria_database: str) -> str:
    run(
        maria_database,
        ORDERS,
        "insert into orders (customer, state, cents, note, code)"
        " select concat('é', seq), if(seq % 3 = 0, null, 'x'), if(seq % 4 = 0, null, seq * 50), 'n', seq"
        " from seq_1_to_30",
    )
    return maria_database


def defined(definition: str = UNPARTITIONED, **said: Any) -> dict[str, Any]:
    return {"rebuild_table": {"table": "orders", "definition": definition, **SAID, **said}}


def test_over_back_and_over_again(orders: str) -> None:
    before = run(orders, "show create table orders")[0][1]
    shadow = Shadow(orders, [defined()])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    run(orders, "update orders set customer = 'late', cents = 7 where id = 20", "delete from orders where id = 21",
        "insert into orders (customer, code) values ('fresh', 'f')")  # fmt: skip
    shadow.forward(Phase.BACKFILL, Phase.INDEX)
    wanted = run(orders, "select state, id, customer, cents / 100, 7, cents / 100 * 2, code from orders order by id")
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert run(orders, "select * from orders order by id") == wanted
    run(orders, "insert into orders (buyer, euros, code) values ('after', 1.5, 'g')",
        "update orders set buyer = 'changed' where id = 1", "delete from orders where id = 2")  # fmt: skip
    assert run(orders, "select id from orders where code = 'g'") == [(5000,)]
    assert shadow.violations("after_swap") == 0
    shadow.back()
    now = run(orders, "show create table orders")[0][1]
    assert now.replace("AUTO_INCREMENT=5001", "AUTO_INCREMENT=32") == before.replace("=31", "=32")
    assert run(orders, "select id, customer, cents from orders where id in (1, 2, 20, 5000) order by id") == [
        (1, "changed", 50), (20, "late", 7), (5000, "after", 150)
    ]  # fmt: skip
    again = Shadow(orders, [defined()], name="again")
    again.begin()
    again.forward(*BEFORE_SWAP)
    assert again.violations("before_swap") == 0
    again.forward(Phase.SWAP)
    again.forward(Phase.CONTRACT)
    assert [t for (t,) in run(orders, "show tables") if not t.startswith("changeover_")] == ["orders"]
    assert run(orders, "select buyer, euros from orders where id = 5000")[0][0] == "after"


def test_clauses_of_alter_table_with_what_becomes_of_the_columns(orders: str) -> None:
    options = (
        "change customer buyer varchar(50) not null, drop column note, rename column state to State, add key (cents)"
    )
    said = {"options": options, "renamed": {"customer": "buyer"}, "dropped": ["note"]}
    before = run(orders, "select id, customer, State, cents, code from orders order by id")
    shadow = Shadow(orders, [{"rebuild_table": {"table": "orders", **said}}])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert run(orders, "select id, buyer, state, cents, code from orders order by id") == before
    run(orders, "update orders set buyer = 'after' where id = 1")
    assert shadow.violations("after_swap") == 0
    shadow.back()
    assert run(orders, "select customer, note from orders where id = 1") == [("after", "n")]


def test_rows_that_a_new_key_has_no_room_for_are_found_before_the_run(orders: str) -> None:
    run(orders, "insert into orders (customer, code) values ('one', '7')")
    shadow = Shadow(orders, [defined()])
    found = shadow.engine.examine(shadow.begin(), values_in_reports=False)
    assert [one.name for one in found.checks if one.verdict == "FAILED"] == [
        "no duplicates under the new unique key once"
    ]


@pytest.mark.parametrize(
    "options",
    [
        "exchange partition p0 with table archive",
        "add key (code), /*! convert  TABLE archive to partition p9 values less than (9) */",
        "convert partition p0 to table archive",
        "comment 'it''s', rename archive",
        'comment "\\"", rename to archive',
        "discard tablespace",
        "import /*M!partition*/ p0 tablespace",
        "add key (code) /* it's */, exchange # it's\n partition p0 with table archive",
    ],
)
def test_clauses_that_reach_beyond_the_table_are_not_even_tried(orders: str, options: str) -> None:
    run(orders, "create table archive (id int primary key)", "insert into archive values (1)")
    with pytest.raises(SpecError, match="reaches beyond the table"):
        Shadow(orders, [{"rebuild_table": {"table": "orders", "options": options}}]).begin()
    assert run(orders, "select id from archive") == [(1,)]


@pytest.mark.parametrize(
    "rows",
    [
        "as {}",
        "(\n{})",
        "/*!50000 ignore */ {} union all values (1, 1)",
        "comment 'it''s' as with many as ({}) table many",
    ],
)
def test_a_definition_that_fills_the_table_is_not_even_tried(orders: str, rows: str) -> None:
    """To plan it would copy all rows of production, in one transaction, to refuse them."""
    many = "select seq as buyer, '' as code from seq_1_to_30000000 where seq > 0"
    filled = UNPARTITIONED.replace("utf8mb4;", f"utf8mb4 {rows.format(many)}")
    began = time.monotonic()
    with pytest.raises(SpecError, match="to be empty, and its definition fills it"):
        Shadow(orders, [defined(filled)]).begin()
    assert time.monotonic() - began < 5
    values = DEFINED.replace("by hash (id)", "by list (id) (partition p values in (1, 2))")
    with pytest.raises(SpecError, match="server refuses the new shape"):
        # It has been read, and then tried.
        Shadow(orders, [defined(values)]).begin()


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (defined(UNPARTITIONED.replace("`orders`", "others")), "does not begin with `create table orders"),
        (defined("create table orders like others"), "does not begin with `create table orders"),
        (defined(dropped=["cents"]), "nothing says what becomes of 'note'"),
        (defined(renamed={"note": "buyer"}, dropped=["cents"]), "nothing says what becomes of 'customer'"),
        (defined(dropped=["note", "cents", "code"]), "'code' is still there"),
        (defined(renamed={"nobody": "buyer"}), "has no column 'nobody'"),
        (defined(up={"euro": "cents / 100"}), "there is no column 'euro'"),
        (defined(UNPARTITIONED.replace("default 7", "")), "rows that are there have no value for 'select'"),
        (
            defined(UNPARTITIONED.replace("code char(4) not null,", "").replace("unique key once (code)", "key (id)"),
                    dropped=["note", "cents", "code"]),
            "no value for 'code' on the way back",
        ),
        (defined(UNPARTITIONED.replace("engine=InnoDB", "engine=Aria")), "only InnoDB knows transactions"),
        (defined(UNPARTITIONED.replace("primary key (id)", "primary key (id, code)")), "another primary key"),
        (defined(UNPARTITIONED.replace("primary key (id)", "primary key (id")), "the server refuses the new shape"),
        (defined(UNPARTITIONED.replace("utf8mb4;", "utf8mb4 as select 'b' as buyer, '' as code")), "to be empty"),
        (defined(UNPARTITIONED.replace("utf8mb4;", "utf8mb4 /*!999999 ' */ as select 'b' as buyer, '' as code -- '")),
         "to be empty"),
        ({"rebuild_table": {"table": "orders", "options": "add system versioning"}}, "no plain table"),
        (defined(DEFINED), "the server refuses the new shape"),
        ({"rebuild_table": {"table": "orders", "options": "drop column note"}}, "becomes of 'note'"),
        ({"rebuild_table": {"table": "orders", "options": "rename column note to memo"}}, "becomes of 'note'"),
    ],
)  # fmt: skip
def test_what_is_not_said_is_refused(orders: str, operation: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        Shadow(orders, [operation]).begin()
    assert run(orders, "show tables like '%\\_changeover\\_%'") == []
