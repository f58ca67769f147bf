"""Shadow table on MariaDB where peers lose data, with their names. What else they lose stands where it belongs."""

import pytest

from profiles.model import Limits
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Phase
from tests.conformance.maria import Shadow
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "t", "column": "n", "type": "bigint"}}


def begun(url: str, limits: Limits | None = None) -> Shadow:
    """Twenty rows, and dual write."""
    run(
        url,
        "create table t (id int primary key, n int null, word varchar(9) null)",
        "insert into t select seq, seq, 'x' from seq_1_to_20",
    )
    shadow = Shadow(url, [WIDEN], limits=limits)
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    return shadow


def finish(shadow: Shadow) -> None:
    """Go on to the swap, by what the gate finds."""
    shadow.forward(Phase.INDEX, Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert shadow.violations("after_swap") == 0


def test_null_written_before_and_after_a_row_is_copied_is_null(maria_database: str) -> None:
    # pg-osc replays an UPDATE to NULL as the string, or leaves the old value.
    shadow = begun(maria_database)
    run(maria_database, "update t set n = null, word = null where id = 1")
    shadow.forward(Phase.BACKFILL)
    run(maria_database, "update t set n = null, word = null where id = 2", "insert into t values (21, null, null)")
    finish(shadow)
    run(maria_database, "update t set n = null, word = null where id = 3")
    assert run(maria_database, "select id from t where n is null and word is null order by id") == [
        (1,), (2,), (3,), (21,)
    ]  # fmt: skip
    shadow.back()
    assert run(maria_database, "select group_concat(id order by id) from t where n is null and word is null") == [
        ("1,2,3,21",)
    ]


def test_a_row_deleted_beside_the_copy_does_not_come_back(maria_database: str) -> None:
    # pt-online-schema-change and pg-osc bring it back, when the delete commits between reading and writing it.
    shadow = begun(maria_database, Limits(batch_rows=7, lock_patience=0.3))
    with connected(maria_database, autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("delete from t where id between 5 and 8")
        with pytest.raises(LockTimeoutError, match="locked by another transaction"):
            shadow.forward(Phase.BACKFILL)
        other.commit()
    shadow.forward(Phase.BACKFILL)
    finish(shadow)
    assert run(maria_database, "select count(*), sum(id between 5 and 8) from t") == [(16, 0)]
