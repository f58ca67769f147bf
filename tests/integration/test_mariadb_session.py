"""A session with MariaDB lasts as long as a run does, whatever the server and its user are set to."""

import socket
import threading
import time
from collections.abc import Iterator

import pymysql
import pytest

from profiles.model import Probes
from tasks.engines.mysql.address import options
from tasks.engines.mysql.probe_queries import read_probe
from tasks.engines.mysql.session import connect
from tasks.engines.mysql.sessions import end_orphans, register
from tasks.engines.mysql.transient import is_transient
from tasks.ledger.install import install
from tasks.model.errors import StepError
from tests.servers.mariadb import connected, run
from validations.parity.mariadb import SETTINGS

BOUNDS = (
    "max_statement_time",
    "idle_transaction_timeout",
    "idle_readonly_transaction_timeout",
    "idle_write_transaction_timeout",
)
SHOWN = f"select {', '.join(f'@@{name}' for name in (*BOUNDS, 'wait_timeout'))}"
UNBOUNDED = (0, 0, 0, 0, 31_536_000)


@pytest.fixture
def bounded(maria_database: str) -> Iterator[str]:
    """A server whose administrator bounds sessions, far above what any other test needs, and keeps no warnings."""
    set_ = {**dict.fromkeys(BOUNDS, 900), "max_error_count": 0}
    before = [run(maria_database, f"select @@global.{name}")[0][0] for name in set_]
    run(maria_database, *(f"set global {name} = {value}" for name, value in set_.items()))
    try:
        yield maria_database
    finally:
        run(maria_database, *(f"set global {name} = {value}" for name, value in zip(set_, before, strict=True)))


def test_neither_a_statement_nor_a_pause_ends_it(bounded: str) -> None:
    with connect(bounded) as conn:
        assert conn.execute(SHOWN).fetchone() == UNBOUNDED
        read_probe(conn, "select seq from seq_1_to_3", Probes(runs=1))
        assert conn.execute(SHOWN).fetchone() == UNBOUNDED
        opened = conn.raw._sock  # type: ignore[attr-defined]
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
    with pymysql.connect(**options(bounded), init_command=SETTINGS) as raw, raw.cursor() as cursor:
        cursor.execute(SHOWN)
        assert cursor.fetchone() == UNBOUNDED


def test_a_warning_is_an_error_whatever_stands_before_it(bounded: str) -> None:
    """A server may keep none; and what it would only note, as a space behind a number, may be more than it keeps."""
    with connect(bounded) as conn:
        last = "convert(if(seq = 90, '€', 'a') using {})"
        asked = f"select sum(cast(concat(seq, ' ') as int)), max({last}) from seq_1_to_90"
        with pytest.raises(StepError, match="the server warns: 1977"):
            conn.execute(asked.format("latin2"))
        assert conn.execute(asked.format("cp1250")).fetchone() == (4095, "€")


def test_ddl_of_a_dead_run_comes_to_its_end_before_its_session_is_ended(maria_database: str) -> None:
    """A RENAME that is ended half way loses triggers: this one ends by itself, and what is idle then is ended."""
    run(maria_database, "create table t (id int) engine=InnoDB")
    met = list[int]()
    with connect(maria_database) as dead, connect(maria_database) as ours, connected(maria_database) as reader:
        install(ours)
        register(dead, "m", "first", "test")
        with reader.cursor() as cursor:
            cursor.execute("begin")
            cursor.execute("select * from t")

        def rename() -> None:
            try:
                dead.execute("set statement lock_wait_timeout = 1 for rename table t to u")
            except pymysql.err.OperationalError as error:
                met.append(error.args[0])

        working = threading.Thread(target=rename)
        working.start()
        time.sleep(0.2)
        assert end_orphans(ours, "m", "second") == 1
        working.join()
    assert met == [1205]


def test_a_session_that_is_lost_amid_an_answer_is_tried_again(maria_database: str) -> None:
    """Rows come as they are read: where the server has gone by then, the driver says so, not what it stumbles on."""
    with connect(maria_database) as conn:
        session = conn.execute("select connection_id()").fetchone()[0]
        rows = conn.stream("select seq, repeat('x', 2000) from seq_1_to_100000")
        next(rows)
        run(maria_database, f"kill {session}")
        with pytest.raises(pymysql.err.OperationalError) as lost:
            list(rows)
        assert is_transient(lost.value)
        assert conn.closed
