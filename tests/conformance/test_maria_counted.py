"""What is counted before a shadow table on MariaDB: rows that its new shape cannot hold, or tell apart."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conformance.maria import Shadow
from tests.servers.mariadb import run


@pytest.mark.parametrize(
    ("column", "change", "name", "fine", "bad"),
    [
        ("n int", {"type": "tinyint"}, "every n fits into tinyint(4)", ["127", "-128", "null"], ["128", "-129"]),
        ("n int", {"type": "smallint unsigned"}, "every n fits into smallint(5) unsigned", ["65535", "0"], ["-1"]),
        ("n bigint unsigned", {"type": "bigint"}, "every n fits into bigint(20)", ["9223372036854775807"],
         ["9223372036854775808"]),
        ("n decimal(10,3) unique", {"type": "decimal(4,2)"}, "every n fits into decimal(4,2)", ["99.99", "-99.99"],
         ["99.994", "99.995", "-100"]),
        ("n decimal(10,3) unique", {"type": "decimal(4,2)", "up": "n", "down": "n", "lossy": True},
         "no duplicates under the unique key n", ["1.991", "2.004"], ["1.99"]),
        ("n datetime(6)", {"type": "datetime"}, "every n fits into datetime", ["'2020-01-01'", "null"],
         ["'2020-01-01 00:00:00.1'"]),
        ("n datetime", {"type": "date"}, "every n fits into date", ["'2020-01-01'"], ["'2020-01-01 00:00:01'"]),
        ("n double", {"type": "float"}, "every n fits into float", ["0.5e0"], ["0.1e0"]),
        ("n bigint", {"type": "double"}, "every n fits into double", ["9007199254740992", "-7"], ["9007199254740993"]),
        ("n decimal(20,2)", {"type": "double"}, "every n fits into double", ["0.1"], ["123456789012345678.91"]),
        ("n int", {"type": "int", "up": "n * 2", "down": "n div 4"}, "what t has comes back by down",
         ["0", "null"], ["2", "3"]),
        ("n int", {"nullable": False}, "no n is NULL", ["0"], ["null"]),
        ("n varchar(9)", {"type": "int", "up": "length(n)", "down": "repeat('x', n)"}, "what t has comes back by down",
         ["'xx'", "''"], ["'X'"]),
        ("n double", {"type": "int"}, "every n fits into int(11)", ["7e0", "null"], ["1.1e0"]),
        ("n varchar(9)", {"type": "enum('Red','blue')"}, "every n fits into enum('Red','blue')",
         ["'Red'", "'blue'", "null"], ["'red'", "'Red '", "'green'"]),
        ("n varchar(9)", {"type": "enum('Red','it''s')", "up": "trim(n)", "down": "n", "lossy": True},
         "every n fits into enum('Red','it''s')", ["'red'", "' Red'", "'it''s'", "null"], ["'green'"]),
        ("n int", {"type": "tinyint", "up": "n * 2", "down": "n div 2"}, "every n fits into tinyint(4)",
         ["63"], ["64"]),
        ("n varchar(9)", {"type": "char(9)"}, "every n fits into char(9)", ["'b'"], ["'b '"]),
        ("n text", {"type": "text character set latin1"}, "every n fits into text", ["'é'", "'?'"], ["'😀'", "'ł'"]),
        ("n varchar(9) collate utf8mb4_bin unique",
         {"type": "varchar(9) character set utf8mb4 collate utf8mb4_general_ci"},
         "no duplicates under the unique key n", ["'a'", "'b'", "null", "null"], ["'A'", "'B '"]),
    ],
)  # fmt: skip
def test_what_a_new_type_cannot_hold_is_counted_before_the_run(
    maria_database: str, column: str, change: Mapping[str, Any], name: str, fine: list[str], bad: list[str]
) -> None:
    """Numbers beyond it, characters that its set does not have, texts that its collation takes for equal.

    Each with the keys of the rows, where that is allowed, and a statement that mends them.
    """
    run(maria_database, f"create table t (id int primary key auto_increment, {column}) character set utf8mb4",
        *(f"insert into t (n) values ({value})" for value in fine))  # fmt: skip
    shadow = Shadow(maria_database, [{"alter_column": {"table": "t", "column": "n", **change}}])
    assert shadow.engine.examine(shadow.begin(), values_in_reports=False).passed
    assert shadow.plan is not None
    run(maria_database, *(f"insert into t (n) values ({value})" for value in bad))
    found = shadow.engine.examine(shadow.plan, values_in_reports=False)
    (one,) = (one for one in found.checks if not one.passed)
    database = f"{maria_database.rpartition('/')[2]}."
    assert (one.name.replace(database, ""), one.unexpected, one.examples) == (name, len(bad), ())
    assert one.message.startswith(f"{len(bad)} ")
    (shown,) = (c for c in shadow.engine.examine(shadow.plan, values_in_reports=True).checks if not c.passed)
    assert {str(key) for key in range(len(fine) + 1, len(fine) + len(bad) + 1)} <= set(shown.examples)
    run(maria_database, one.fix.replace("<value>", "0" if name.endswith("NULL") else "null"))
    assert shadow.engine.examine(shadow.plan, values_in_reports=False).passed == one.fix.startswith(
        ("update", "delete")
    )


@pytest.mark.parametrize(
    ("column", "change", "value"),
    [
        ("n date", {"type": "int"}, "'2020-01-31'"),
        ("n date", {"type": "int", "up": "n", "down": "n"}, "'2020-01-31'"),
        ("n varbinary(9)", {"type": "varchar(9) character set latin1"}, "x'C3A9'"),
        ("n int, m int default 1, unique k (n, m)", {"type": "bigint", "up": "0", "down": "0", "lossy": True}, "1"),
    ],
)
def test_what_a_new_type_does_hold_is_not_in_the_way(
    maria_database: str, column: str, change: Mapping[str, Any], value: str
) -> None:
    """Neither a date that is a number, nor bytes, nor a constant in a unique key."""
    run(maria_database, f"create table t (id int primary key, {column})", f"insert into t (id, n) values (1, {value})")
    shadow = Shadow(maria_database, [{"alter_column": {"table": "t", "column": "n", **change}}])
    found = shadow.engine.examine(shadow.begin(), values_in_reports=False)
    assert all(one.passed for one in found.checks), found


def test_rows_that_look_equal_because_characters_are_lost_are_not_to_be_deleted(maria_database: str) -> None:
    run(maria_database, "create table t (id int primary key, n varchar(9) unique) character set utf8mb4",
        "insert into t values (1, '?'), (2, 'ł'), (3, '中')")  # fmt: skip
    change = {"table": "t", "column": "n", "type": "varchar(9) character set latin1"}
    shadow = Shadow(maria_database, [{"alter_column": change}])
    found = shadow.engine.examine(shadow.begin(), values_in_reports=False).checks
    assert [one.fix.split()[0] for one in found if not one.passed] == ["select", "select"]


def test_what_need_not_come_back_is_not_asked(maria_database: str) -> None:
    run(maria_database, "create table t (id int primary key, n int)", "insert into t values (1, 3)")
    change = {"table": "t", "column": "n", "up": "n * 2", "down": "n div 4", "lossy": True}
    shadow = Shadow(maria_database, [{"alter_column": change}])
    assert shadow.engine.examine(shadow.begin(), values_in_reports=False).passed


def test_what_only_makes_the_server_warn_has_not_been_counted_and_the_rest_has(maria_database: str) -> None:
    """Under a unique key a character that the new set does not have is no duplicate, and no reason to tell nothing."""
    run(maria_database, "create table t (id int primary key, n varchar(9) unique) character set utf8mb4",
        "insert into t values (1, 'ł')")  # fmt: skip
    change = {"table": "t", "column": "n", "type": "varchar(9) character set latin1"}
    shadow = Shadow(maria_database, [{"alter_column": change}])
    found = shadow.engine.examine(shadow.begin(), values_in_reports=False).checks
    assert [(one.name, one.passed, one.evaluated, one.unexpected) for one in found] == [
        ("no duplicates under the unique key n", False, False, 0),
        ("every n fits into varchar(9)", False, True, 1),
    ]
