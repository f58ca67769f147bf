"""Before the swap on MariaDB: what table and shadow have otherwise is found under writers, and repaired or refused."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from profiles.model import Limits
from tasks.engines.mysql.session import connect
from tasks.ledger.gates import count_rejections
from tasks.model.errors import LockTimeoutError, Paused, PreflightError, SpecError, StepError, TransientError
from tasks.model.status import StepState
from tasks.model.steps import Phase
from tasks.run import Run
from tasks.steps import repeat_step
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.maria_writers import Writers, difference, prepare
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}
PARTS = """
    create table parts (
        `ä b` varchar(20) collate utf8mb4_general_ci, at datetime(6), raw varbinary(4), v int null, code int not null,
        primary key (`ä b`, at, raw)
    ) character set utf8mb4
"""


def shadow_of(url: str) -> str:
    """Name the shadow, which is filled."""
    (name,) = (table for (table,) in run(url, "show tables") if table.endswith("_new"))
    return f"`{name}`"


def filled(shadow: Shadow) -> str:
    """Go as far as to the comparison."""
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX)
    return shadow_of(shadow.engine.url)


def test_planted_differences_are_repaired_under_writers(maria_database: str) -> None:
    """A value, a NULL, a row that is missing, one too many; at both ends, and in the middle of what is written."""
    prepare(maria_database, 400)
    shadow = Shadow(maria_database, [WIDEN], limits=Limits(batch_rows=60, lock_patience=20.0))
    new = filled(shadow)
    with Writers(maria_database, threads=2) as writers:
        # A row at a time, because whoever holds one and waits for another may make a writer the victim of a deadlock.
        run(
            maria_database,
            *(f"update {new} set body = 'planted' where id = {one}" for one in (1, 2, 77, 200, 400)),
            *(f"update {new} set n = null where id = {one}" for one in range(90, 100)),
            *(f"delete from {new} where id = {one}" for one in (3, 150, 399, *range(210, 230))),
            *(f"insert into {new} (id, body) values ({one}, 'never there')" for one in (-5, 900_000, 2_000_000_000)),
        )
        assert shadow.violations("before_swap") > 3
        shadow.forward(Phase.RECONCILE)
        assert shadow.violations("before_swap") == 0
        shadow.forward(Phase.SWAP)
        time.sleep(0.1)
    assert writers.failures == []
    assert difference(maria_database) == 0
    assert shadow.violations("after_swap") == 0
    shadow.back()
    with connect(maria_database) as conn:
        assert count_rejections(conn, "m") == 0


@pytest.mark.parametrize(
    "changes", [{"v": {"type": "bigint", "up": "v * 2", "down": "v / 2"}}, {"at": {"type": "datetime(6)"}}], ids=str
)
def test_rows_are_told_apart_by_whole_keys(maria_database: str, changes: Mapping[str, Any]) -> None:
    """Texts, moments and bytes, quoted, of which the first column alone names many rows."""
    run(
        maria_database, PARTS,
        "insert into parts select concat('k''', seq div 8), date_add('2026-01-01', interval seq % 4 microsecond),"
        " unhex(if(seq % 8 < 4, '', '00ff')), if(seq % 3 = 0, null, seq), seq from seq_1_to_64",
    )  # fmt: skip
    first = [{"alter_column": {"table": "parts", "column": name, **what}} for name, what in changes.items()]
    shadow = Shadow(maria_database, [*first, {"alter_column": {"table": "parts", "column": "code", "type": "bigint"}}])
    shadow.engine = replace(shadow.engine, limits=Limits(batch_rows=5))
    new = filled(shadow)
    run(maria_database, f"delete from {new} where code in (9, 10, 60)", f"update {new} set v = null where code = 11",
        f"update {new} set v = 7 where code = 12", f"update {new} set `ä b` = 'K''2' where code = 17",
        f"insert into {new} values ('zz', '2026-01-01', '', 1, 1)")  # fmt: skip
    assert shadow.violations("before_swap") >= 6
    shadow.forward(Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0


def coded(url: str, rows: int, limits: Limits) -> tuple[Shadow, str]:
    """Fill a shadow of rows with numbers that are unique."""
    run(url, "create table orders (id int primary key, code int not null unique)",
        f"insert into orders select seq, seq from seq_1_to_{rows}")  # fmt: skip
    shadow = Shadow(url, [WIDEN], limits=limits)
    return shadow, filled(shadow)


def mix_up(url: str, new: str) -> None:
    """Leave a shadow as changes do that came while its triggers were away."""
    run(url, f"update {new} set code = 9001 where id = 1", f"update {new} set code = 1 where id = 2900",
        f"update {new} set code = 2900 where id = 1", f"update {new} set id = 9000 where id = 5",
        f"update {new} set id = -3 where id = 2500", f"update {new} set code = -code where id between 20 and 40",
        f"delete from {new} where id = 1234")  # fmt: skip


CARRIED = 2 + 2 * 2 + 21 + 1


def carried(url: str) -> list[str]:
    """Return how many rows were carried over, of each time that the comparison came to its end."""
    rows = "select json_value(detail, '$.rows') from changeover_audit where subject like '%rows' and outcome = 'done'"
    return [str(count) for (count,) in run(url, f"{rows} order by seq")]


def compare(shadow: Shadow, between: Callable[[], None], counted: Callable[[int], None] = lambda _: None) -> None:
    """Compare, and tell of every moment in which it could stop, and of the last one."""
    assert shadow.plan is not None
    (step,) = shadow.plan.phase(Phase.RECONCILE)
    journal = shadow.journal(step, StepState.DONE)

    def count(rows: int) -> None:
        journal.counted(rows)
        counted(rows)

    shadow.engine.apply(step, replace(journal, between=between, counted=count))


def test_values_that_stand_in_each_others_place_are_exchanged(maria_database: str) -> None:
    """Under a unique key neither can be written before the other is gone, however far that is; nor a key that moved."""
    shadow, new = coded(maria_database, 3000, Limits())
    mix_up(maria_database, new)
    shadow.forward(Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0
    assert carried(maria_database) == [str(CARRIED)]


def test_a_comparison_that_has_to_stop_goes_on_there(maria_database: str) -> None:
    """Each attempt has time for a part of it; what is to be carried over later is not forgotten."""
    shadow, new = coded(maria_database, 3000, Limits(batch_rows=400))
    moments: list[int] = []
    compare(shadow, lambda: moments.append(0))
    mix_up(maria_database, new)
    attempts = 0
    while attempts < 20 and len(carried(maria_database)) == 1:
        attempts += 1
        left = iter(range(8))

        def stop(left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Paused("its time is over")

        with suppress(Paused):
            compare(shadow, stop)
    assert 2 < attempts < 12, moments
    assert shadow.violations("before_swap") == 0
    assert carried(maria_database) == ["0", str(CARRIED)]
    # Whoever comes to the swap again compares everything again.
    run(maria_database, f"delete from {new} where id = 2")
    compare(shadow, lambda: None)
    assert shadow.violations("before_swap") == 0


def test_the_comparison_holds_back_as_the_copy_does(maria_database: str, tmp_path: Path) -> None:
    """Before its first range it asks what the throttle asks; this one the server cannot answer."""
    prepare(maria_database, 20)
    shadow = Shadow(maria_database, [WIDEN])
    filled(shadow)
    (tmp_path / "p.toml").write_text('name = "p"\nthrottle.replica_lag_bytes = 1\ndatabases.main.url_env = "MARIA"\n')
    this = Run(migration="m", profile=str(tmp_path / "p.toml"), database="main", run_id="t", actor="ana", epoch=1)
    assert shadow.plan is not None
    (step,) = shadow.plan.phase(Phase.RECONCILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARIA", maria_database)
        with pytest.raises(PreflightError, match="replica_lag_bytes"):
            repeat_step(this, step)


def test_what_comes_meanwhile_is_compared_in_ranges_too(maria_database: str) -> None:
    """On either side: what applications write while hours are compared is much, and one statement would read it all."""
    shadow, new = coded(maria_database, 100, Limits())
    (step,) = shadow.plan.phase(Phase.RECONCILE) if shadow.plan else ()
    journal = shadow.journal(step, StepState.DONE)
    compared: list[int] = []

    def come() -> None:
        if not compared:
            run(maria_database, "insert ignore into orders select seq, seq from seq_10001_to_14000",
                f"update {new} set code = -code where id in (10001, 14000)",
                f"insert ignore into {new} select seq, seq from seq_20001_to_22000")  # fmt: skip

    def keep(conn: Any, facts: Mapping[str, Any]) -> None:
        compared.append(facts.get("compared", 0))
        journal.keep(conn, facts)

    shadow.engine.apply(step, replace(journal, between=come, keep=keep))
    assert max(compared) == 4100
    assert max(after - before for before, after in pairwise([one for one in compared if one])) <= 2000
    assert shadow.violations("before_swap") == 0
    assert carried(maria_database) == ["2002"]


def test_what_has_no_room_in_the_binary_log_at_once_is_carried_over_in_parts(maria_database: str) -> None:
    run(maria_database, "create table orders (id int primary key, body text)",
        "insert into orders select seq, repeat('x', 4000) from seq_1_to_40")  # fmt: skip
    shadow = Shadow(maria_database, [WIDEN])
    new = filled(shadow)
    run(maria_database, f"update {new} set body = repeat('y', 4000)")
    ((before,),) = run(maria_database, "select @@global.max_binlog_cache_size")
    run(maria_database, "set global max_binlog_cache_size = 65536")
    try:
        shadow.forward(Phase.RECONCILE)
    finally:
        run(maria_database, f"set global max_binlog_cache_size = {before}")
    assert shadow.violations("before_swap") == 0


def test_whoever_records_something_at_the_end_is_waited_for(maria_database: str) -> None:
    """Not the hours that it took are repeated because the audit log was held for a moment."""
    shadow, _ = coded(maria_database, 100, Limits())
    moments: list[str] = []
    with connected(maria_database, autocommit=False) as holding, holding.cursor() as cursor:

        def hold(_: int) -> None:
            moments.append("end")
            cursor.execute("select name from changeover_locks where name = 'audit' for update")
            threading.Timer(0.3, holding.rollback).start()

        compare(shadow, lambda: moments.append("range"), hold)
    assert moments == ["range", "range", "end"]


def test_a_row_that_takes_longer_than_the_budget_is_not_blamed_on_others(maria_database: str) -> None:
    shadow, new = coded(maria_database, 30, Limits(lock_budget=100, lock_patience=20.0, attempts=2))
    run(maria_database, f"delete from {new} where id in (10, 20)",
        f"create trigger slow before insert on {new} for each row set @s = if(new.id = 20, sleep(2), 0)")  # fmt: skip
    with pytest.raises(TransientError, match="a single row"):
        shadow.forward(Phase.RECONCILE)


def test_what_was_refused_once_and_fits_by_now_comes_over(maria_database: str) -> None:
    """Its key was noted when a new unique key refused it; nobody writes it again."""
    run(maria_database, "create table orders (id int primary key, code int)", "insert into orders values (1, 1)")
    unique = {"create_index": {"table": "orders", "name": "one", "columns": ["code"], "unique": True}}
    shadow = Shadow(maria_database, [WIDEN, unique])
    filled(shadow)
    run(maria_database, "insert into orders values (2, 1)")
    with pytest.raises(StepError, match="do not become equal: the server said 1062") as unequal:
        shadow.forward(Phase.RECONCILE)
    assert unequal.value.hint
    run(maria_database, "update orders set code = 3 where id = 1")
    assert shadow.violations("before_swap") == 1
    shadow.forward(Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0


def test_the_profile_may_refuse_to_repair(maria_database: str) -> None:
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN], limits=Limits(batch_rows=10, differences="refuse"))
    new = filled(shadow)
    shadow.forward(Phase.RECONCILE)
    run(maria_database, f"update {new} set body = 'planted' where id in (15, 16)")
    with pytest.raises(StepError, match=r"2 rows of .* differ") as refused:
        shadow.forward(Phase.RECONCILE)
    assert 'differences = "repair"' in refused.value.hint
    assert run(maria_database, f"select count(*) from {new} where body = 'planted'") == [(2,)]
    shadow.back()


def test_a_row_that_is_locked_is_waited_for_and_nobody_waits(maria_database: str) -> None:
    """It is not locked for longer than one try takes, and is carried over as its writer has left it."""
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN], limits=Limits(lock_patience=0.2))
    new = filled(shadow)
    run(maria_database, f"delete from {new} where id in (10, 20)")
    with connected(maria_database, autocommit=False) as holding, holding.cursor() as cursor:
        cursor.execute("select * from orders where id = 20 for update")
        with pytest.raises(LockTimeoutError, match="locked by another transaction"):
            shadow.forward(Phase.RECONCILE)
        cursor.execute("update orders set body = 'mine' where id = 20")
        shadow.engine = replace(shadow.engine, limits=Limits(lock_patience=20.0))
        waiting = threading.Thread(target=shadow.forward, args=(Phase.RECONCILE,))
        waiting.start()
        time.sleep(0.15)
        cursor.execute("update orders set n = 5 where id = 10")
        holding.commit()
        waiting.join()
    assert shadow.violations("before_swap") == 0
    assert run(maria_database, f"select body from {new} where id = 20") == [("mine",)]


def test_texts_of_a_key_in_another_collation_are_left_to_the_gate(maria_database: str) -> None:
    """Their order is another one, so there are no ranges that both tables have."""
    run(maria_database, "create table orders (id varchar(9) primary key, v int) character set latin1",
        "insert into orders select concat('k', seq), seq from seq_1_to_20")  # fmt: skip
    shadow = Shadow(
        maria_database, [{"rebuild_table": {"table": "orders", "options": "convert to character set utf8mb4"}}]
    )
    assert not shadow.begin().phase(Phase.RECONCILE)
    shadow.forward(*BEFORE_SWAP)
    assert shadow.violations("before_swap") == 0
    run(maria_database, f"update {shadow_of(maria_database)} set v = 7 where id = 'k1'")
    assert shadow.violations("before_swap") == 1
    shadow.back()
    again = {
        "rebuild_table": {"table": "orders", "options": "convert to character set latin1 collate latin1_german1_ci"}
    }
    with pytest.raises(SpecError, match="does not compare such texts"):
        Shadow(maria_database, [again], name="again").begin()
    kept = "collate latin1_german1_ci, add column note varchar(9)"
    shadow = Shadow(maria_database, [{"rebuild_table": {"table": "orders", "options": kept}}], name="kept")
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    assert shadow.violations("before_swap") == 0


def test_a_shadow_larger_than_the_room_is_refused_before_it_is_made(maria_database: str) -> None:
    """The server does not tell how much is free: the profile does."""
    prepare(maria_database, 10)
    shadow = Shadow(maria_database, [WIDEN], limits=Limits(room=1))
    plan = shadow.begin()
    assert [finding.rule for finding in shadow.engine.preflight(plan) if finding.severity == "error"] == ["SHD-10"]
    roomy = replace(shadow.engine, limits=Limits(room=10**9))
    assert [finding for finding in roomy.preflight(plan) if finding.severity == "error"] == []
