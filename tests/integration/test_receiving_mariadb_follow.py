"""What is written to a table of PostgreSQL is noted, and what is noted becomes in MariaDB what the row is there."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from pymysql.err import OperationalError

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mysql.receiving.compare import compare
from tasks.engines.mysql.receiving.cutover import cut_over
from tasks.engines.mysql.receiving.follow import follow, make_empty, prepare
from tasks.engines.mysql.receiving.load import Taking
from tasks.engines.mysql.receiving.notes import StreamNotes
from tasks.engines.mysql.receiving.place import end_others, enroll, find, make, move
from tasks.engines.mysql.session import connect
from tasks.engines.receiving.differences import Differences
from tasks.model.errors import LockTimeoutError, PreflightError, SpecError, StepError
from tasks.model.steps import Phase, ShortTransaction
from tasks.model.transfer_steps import RowTransfer
from tests.integration.test_receiving_mariadb import engine_of, plan_of
from tests.integration.test_transfer_follow import TABLE, WRITES
from tests.legs import EVERY_LEG

RULES: dict[str, Any] = {
    "amount": {"type": "decimal(30, 4)", "unfit": "reject"},
    "note": {"up": "upper(note)"},
}
FEW = (
    "keys that change places", "a row that leaves the filter", "a row that does not fit",
    "one that does not fit, and is corrected", "everything is emptied, and rows come", "many rows at once",
)  # fmt: skip
ROWS = "insert into t select i, 'b' || i, i / 4.0, repeat('long ', 1000) || i from generate_series(1, 20) i"


class Copy:
    """A copy with its triggers, where nothing has been copied yet."""

    def __init__(self, conn: psycopg.Connection[Any], url: str, target: str) -> None:
        self.conn, self.engine, self.target = conn, engine_of(url), target
        self.rows = self.engine.rows("public")
        plan = plan_of(url, capture="triggers", where="active", columns=RULES)
        self.action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
        for step in (*plan.phase(Phase.EXPAND), *plan.phase(Phase.DUAL_WRITE)):
            if isinstance(step.action, ShortTransaction):
                for statement in step.action.forward:
                    conn.execute(statement.encode())
        with connect(target) as there:
            make(there, self.action.into, 1)

    @contextmanager
    def carrying(self) -> Iterator[tuple[Any, Any, Any]]:
        """Open what it takes to carry notes: what takes rows, the ledger, and what reads."""
        with (
            self.engine.connect("ledger") as ledger,
            connect(self.target, lock_timeout_ms=300) as there,
            self.rows.reading_notes(self.action, "follow", StreamNotes(there, self.action)) as reading,
        ):
            yield Taking(there, self.action, self.action.into.staged), ledger, reading

    def follow(self, most: int = 1000, *, cut_off: bool = False) -> int:
        """Carry what is noted; `cut_off`: the ledger is lost before it commits."""
        with self.carrying() as (taking, ledger, reading):
            prepare(taking.conn, self.action, taking.into)

            def forgetting(action: RowTransfer, numbers: list[int], conn: psycopg.Connection[Any]) -> None:
                conn.close()

            if cut_off:
                reading.forget = forgetting
            return follow(taking, ledger, reading, 1, Limits(), lambda _: None, lambda _: most)

    def compare(self) -> Differences:
        """Compare with what is staged."""
        with connect(self.target) as there, self.rows.reading("test") as reading:
            return compare(there, reading, self.action, self.action.into.staged)

    def cut(self, put: Callable[[], None], patience: float) -> None:
        """Swap, as if `put` did it."""
        journal = Journal(begin=lambda _: None, finish=lambda _: None)
        limits = Limits(lock_budget=300, lock_patience=patience)
        with self.carrying() as (taking, ledger, _):
            cut_over(taking, ledger, self.rows, 1, limits, journal, lambda *_: put())

    @property
    def notes(self) -> int:
        """How many there are."""
        row = self.conn.execute(f"select count(*) from {self.action.notes}".encode()).fetchone()
        return int(row[0]) if row else -1

    def there(self, columns: str) -> list[tuple[Any, ...]]:
        """What has come of the rows."""
        with connect(self.target) as conn:
            return list(conn.execute(f"select {columns} from {self.action.into.staged}").fetchall())


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLE.encode())
        conn.execute("alter table t drop constraint t_pkey, add primary key (a)")
        yield conn


@pytest.fixture
def copy(conn: psycopg.Connection[Any], database: str, maria_database: str) -> Copy:
    copy = Copy(conn, database, maria_database)
    conn.execute(ROWS)
    copy.follow(3)
    assert copy.compare().present == 20
    return copy


def test_what_is_written_arrives(copy: Copy) -> None:
    """Before it is carried it is no difference, for it is noted; afterwards nothing is noted, and all is equal."""
    # What is left out by default is about other code, which MongoDB shares.
    for name in WRITES if EVERY_LEG else FEW:
        write = WRITES[name]
        copy.conn.execute("delete from t")
        copy.conn.execute(ROWS)
        copy.follow()
        for statement in write.split(";"):
            copy.conn.execute(statement.encode())
        before = copy.compare()
        if not before.emptied:
            assert (before.differing, before.superfluous, before.not_noted) == (0, 0, 0), name
        assert before.equal is not before.emptied, name
        copy.follow()
        after = copy.compare()
        assert copy.notes == 0, name
        assert (after.equal, after.unsettled) == (True, 0), name
        rows = copy.conn.execute(
            "select a, amount, upper(note) from t where active and (amount is null or length(amount::text) < 25)"
        ).fetchall()
        assert sorted(copy.there("a, amount, note")) == sorted(rows), name


def test_carried_twice_or_changed_here_it_is_known(copy: Copy) -> None:
    """Cut off after MariaDB was written, the notes say the same once more; what somebody else did is a difference."""
    copy.conn.execute("update t set note = 'new' where a < 5; delete from t where a = 7")
    # A session that was closed has committed nothing.
    assert copy.follow(cut_off=True) == 5
    assert copy.notes == 5
    copy.conn.execute("update t set note = 'newer' where a = 2")
    assert copy.compare().equal
    with connect(copy.target) as there:
        into = copy.action.into.staged
        there.execute(f"update {into} set note = 'mine' where a = 9")
        there.execute(f"delete from {into} where a = 10")
        there.execute(f"insert into {into} (a, b, active) values (99, '', 1)")
    found = copy.compare()
    assert (found.differing, found.superfluous, found.unsettled, found.equal) == (2, 1, 1, False)
    copy.conn.execute("update t set a = 'NaN' where a = 1")
    with pytest.raises(StepError, match="a: no number"):
        copy.follow()
    assert copy.notes == 8
    copy.conn.execute("delete from t where a = 'NaN'")
    copy.follow()
    assert copy.compare().unsettled == 0


def test_nobody_writes_while_the_table_is_put(copy: Copy, database: str) -> None:
    """A writer in flight is waited for; then nobody writes, and everybody reads; its write is the last that arrives."""
    tried: list[bool] = []

    def put() -> None:
        with psycopg.connect(database, autocommit=True, options="-c lock_timeout=50ms") as other:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("update t set note = 'too early' where a = 3")
            assert other.execute("select count(*) from t").fetchone() == (20,)
        tried.append(True)

    with psycopg.connect(database) as other:
        other.execute("update t set note = 'in flight' where a = 3")
        with pytest.raises(LockTimeoutError, match="could not be held still"):
            copy.cut(put, patience=0.5)
        assert tried == []
        copy.conn.execute("update t set note = 'meanwhile' where a = 4")
        ending = threading.Timer(0.7, other.commit)
        ending.start()
        copy.cut(put, patience=30)
        ending.join()
    assert tried == [True]
    assert copy.notes == 0
    assert sorted(copy.there("a, note"))[2:4] == [(3, "IN FLIGHT"), (4, "MEANWHILE")]
    with connect(copy.target) as there:
        # As it is where it was put, and that was not recorded: what is written is carried until it is.
        place = find(there, copy.action.into)
        assert place is not None
        with connect(copy.target) as reader, connect(copy.target) as another, ThreadPoolExecutor(1) as pool:
            with reader.transaction():
                reader.execute(f"select * from {copy.action.into.staged}")
                moved, longest = pool.submit(move, there, place, "t", copy.action.into, 300), 0.0
                while not moved.done():
                    began = time.monotonic()
                    another.execute(f"select * from {copy.action.into.staged}")
                    longest = max(longest, time.monotonic() - began)
                    time.sleep(0.02)
                enroll(another, copy.action.into)
                renames = f"set statement lock_wait_timeout = 1 for rename table {copy.action.into.staged} to u"
                begun = pool.submit(another.execute, renames)
                time.sleep(0.2)
                end_others(there, copy.action.into)
            for tried in (moved, begun):
                with pytest.raises(OperationalError, match="1205"):
                    tried.result()
            assert longest < 0.25, "nobody stands behind it"
        move(there, place, "t", copy.action.into, 300)
    copy.conn.execute("update t set note = 'later' where a = 3")
    late: list[bool] = []

    def put_late() -> None:
        """The server lets the writers go, for it has heard nothing."""
        if not late:
            copy.conn.execute("update t set note = 'last' where a = 4")
        late.append(True)

    copy.cut(put_late, patience=30)
    assert late == [True, True]
    with connect(copy.target) as there:
        noted = there.execute("select note from t where a in (3, 4) order by a").fetchall()
        assert [one for (one,) in noted] == ["LATER", "LAST"]


def test_a_table_that_was_emptied_is_read_as_a_new_one(maria_database: str) -> None:
    """However often: else each range of a comparison, and each bite of notes, would take longer than the one before."""
    asked = "show global status like 'innodb_buffer_pool_read_requests'"
    pages = list[int]()
    with connect(maria_database) as conn:
        conn.execute("create temporary table kept (a int, index (a)) engine=InnoDB")
        for _ in range(6):
            make_empty(conn, "kept")
            conn.execute("insert into kept select seq from seq_1_to_5000")
            before = int(conn.execute(asked).fetchone()[1])
            assert conn.execute("select count(*) from kept").fetchone() == (5000,)
            pages.append(int(conn.execute(asked).fetchone()[1]) - before)
    assert pages[-1] < 2 * pages[0], pages


def test_what_would_go_unnoticed_is_refused(conn: psycopg.Connection[Any], database: str) -> None:
    with pytest.raises(PreflightError, match="partitioned"):
        plan_of(database, table="parted", capture="triggers")
    for given in (
        {"where": "id in (select a from t)"},
        {"columns": {"n": {"up": "looked_up(id)", "type": "longtext"}}},
    ):
        with pytest.raises(SpecError, match=r"reads t, too|calls looked_up"):
            plan_of(database, table="other", capture="triggers", **given)
