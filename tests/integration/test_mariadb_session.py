"""A session with MariaDB lasts as long as a run does, whatever the server and its user are set to."""

import socket
from collections.abc import Iterator

import pymysql
import pytest

from profiles.model import Probes
from tasks.engines.mysql.address import options
from tasks.engines.mysql.probe_queries import read_probe
from tasks.engines.mysql.session import connect
from tests.servers.mariadb import run
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
    """A server whose administrator bounds sessions: far above what any other test needs."""
    before = [run(maria_database, f"select @@global.{name}")[0][0] for name in BOUNDS]
    run(maria_database, *(f"set global {name} = 900" for name in BOUNDS))
    try:
        yield maria_database
    finally:
        run(maria_database, *(f"set global {name} = {value}" for name, value in zip(BOUNDS, before, strict=True)))


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
