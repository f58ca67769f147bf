# ruff: noqa: E501 - one case a line reads better than one folded
"""What a plan announces about constraints is what the server locks, parents of foreign keys included."""

from typing import Any

import pytest

from tests.conformance.constraints import T, alter, create, drop, drop_multi, rename
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_locks_announced import WAYS, surprises

KEY = {"references": {"table": "p", "columns": ["id"]}}
SPECS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "create unique and check": ("", [create("unique", "a", "b"), create("check", name="l", check="a > 0")]),
    "create foreign key": ("", [create("foreign_key", "c", **KEY)]),
    "create foreign key by other values": ("", [create("foreign_key", "c", up={"c": "nullif(c, 7)"}, down={"c": "c"}, **KEY)]),
    "create primary key": ("alter table t drop constraint t_pkey", [create("primary_key", "a")]),
    "drop check": ("alter table t add constraint k check (a > 0)", [drop()]),
    "drop foreign key": ("alter table t add constraint k foreign key (c) references p (id)", [drop()]),
    "drop foreign key by down": ("alter table t add constraint k foreign key (c) references p (id)", [drop(down="nullif(c, 7)")]),
    "drop unique": ("alter table t add constraint k unique (a, b)", [drop_multi()]),
    "rename": ("alter table t add constraint k foreign key (c) references p (id)", [rename()]),
    "rename of an altered column": ("alter table t add constraint k foreign key (c) references p (id)", [rename(), alter("c", up="c", down="c")]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SPECS)
def test_no_lock_is_a_surprise(name: str, way: str, conn: Connection, url: str) -> None:
    """There, and back, from both sides of the swap."""
    schema, operations = SPECS[name]
    conn.execute((T + schema).encode())
    migration = Migration(url, operations)
    migration.begin()
    assert surprises(migration, way, url) == []
