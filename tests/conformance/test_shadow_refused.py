# ruff: noqa: E501 - one case a line reads better than one folded
"""What a shadow table cannot carry over is refused at planning, with what to do instead."""

from typing import Any

import pytest

from tasks.model.errors import ChangeoverError
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_cycle_attached import alter, drop, table

FILLED = "update t set n = id; alter table t alter k set not null, alter n set not null; create unique index on t (k);"
REKEY = {"rebuild_table": {"table": "t", "primary_key": ["k"]}}
REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "publication of a dropped column": ("create publication p for table t (id, n)", drop("n"), "the publication p cannot send", "out of the publication"),
    "publication with a condition on it": ("create publication p for table t where (n > 1) with (publish = 'insert')", drop("n"), "the publication p cannot send", "out of the publication"),
    "publication of the key": (FILLED + "create publication p for table t (id, n)", REKEY, "the publication p cannot send", "out of the publication"),
    "statistics of a dropped column": ("create statistics st on k, n from t", drop("n"), "the statistics public.st reads n", "Drop the statistics"),
    "dropped and nobody fills it": (FILLED, drop("n"), "n is NOT NULL without a default", "Give `down`"),
    "identity that comes": (FILLED, alter("k", generated={"identity": {"user_specified_values": "ALWAYS"}}), "an identity comes", "expand_contract"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    more, operation, what, hint = REFUSED[name]
    conn.execute(table(more=more).encode())
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, [operation], strategy="shadow_table").begin()
    assert what in refused.value.what
    assert hint in (refused.value.hint or "")
    assert tables.leftovers(conn) == []


def test_a_publication_keeps_what_it_says(conn: Connection, url: str) -> None:
    """Also beside its schema, and where it sends less than would need the key."""
    published = "create publication p for table t where (n > 1), tables in schema public with (publish = 'insert')"
    conn.execute(table(more=FILLED + published).encode())
    migration = Migration(url, [drop("a"), REKEY], strategy="shadow_table")
    migration.begin()
    migration.before_swap()
    migration.swap()
    migration.roll_back()
