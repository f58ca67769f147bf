"""A MariaDB server of a test session, and a fresh database on it."""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pymysql

from tasks.engines.postgresql.account import Account
from tasks.engines.postgresql.embedded import free_port
from tasks.engines.postgresql.watchdog import Watchdog
from tests.servers.missing import missing

OWN_SERVER = "CHANGEOVER_TEST_MARIADB_URL"
BINARY = Path("/usr/sbin/mariadbd")
INSTALL = Path("/usr/bin/mariadb-install-db")
_PAGES = ("--innodb-log-file-size=8M", "--innodb-data-file-path=ibdata1:4M:autoextend")
_SERVER = (
    "--bind-address=127.0.0.1",
    "--server-id=1",
    "--log-bin=bin",
    "--binlog-format=ROW",
    "--binlog-row-metadata=FULL",
    "--gtid-strict-mode=1",
    "--log-slave-updates=1",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=0",
    "--sync-binlog=0",
    "--performance-schema=0",
    "--skip-name-resolve",
    "--innodb-use-native-aio=0",
)


@dataclass(frozen=True, kw_only=True)
class MariaServer:
    """A server on which tests may make databases of their own."""

    url: str
    """As a user who may create databases; it names none."""
    pid: int | None = None
    """Of the server, when it is ours."""

    def url_of(self, database: str) -> str:
        """Give the URL of a database on the server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))


@contextmanager
def server() -> Iterator[MariaServer]:
    """Give the server of the environment, or Debian's MariaDB for as long as the context lasts.

    Where MariaDB is not installed the test is skipped; in CI it fails.
    """
    url = os.environ.get(OWN_SERVER)
    if url:
        yield MariaServer(url=url)
        return
    if not (BINARY.exists() and INSTALL.exists()):
        missing("MariaDB is missing: run `apt-get install mariadb-server`")
    with ExitStack() as running:
        for last in (False, False, True):
            try:
                ours = running.enter_context(_started())
                break
            except AssertionError:
                # Somebody else may have taken the port in between.
                if last:
                    raise
        yield ours


@contextmanager
def _started() -> Iterator[MariaServer]:
    account, watchdog, port = Account.choose(), Watchdog(), free_port()
    with ExitStack() as ending:
        ending.callback(watchdog.release)
        home = watchdog.folder(account.temporary_folder(in_memory=True), prefix="changeover-maria-", mode=0o700)
        os.chown(home, account.uid, account.gid)
        log = ending.enter_context((home / "log").open("w+b"))
        _install(home / "d", account)
        process = watchdog.spawn(
            [BINARY, "--no-defaults", f"--datadir={home / 'd'}", f"--port={port}", f"--socket={home / 's'}",
             f"--pid-file={home / 'p'}", f"--tmpdir={home}", *_SERVER, *_PAGES],
            output=log, environment={"PATH": "/usr/sbin:/usr/bin:/bin"}, account=account.popen(),
        )  # fmt: skip
        ending.callback(process.wait)
        ending.callback(process.kill)
        ours = MariaServer(url=f"mysql+pymysql://root@127.0.0.1:{port}", pid=process.pid)
        _until_ready(process, ours.url, home / "log")
        yield ours


@contextmanager
def fresh_database(on: MariaServer) -> Iterator[str]:
    """Make an empty database, give its URL, and drop it."""
    name = f"changeover_test_{secrets.token_hex(6)}"
    with connected(on.url) as conn, conn.cursor() as cursor:
        cursor.execute(f"create database `{name}` character set utf8mb4")
    try:
        yield on.url_of(name)
    finally:
        with connected(on.url) as conn, conn.cursor() as cursor:
            cursor.execute(
                "select id from information_schema.processlist where db = %s and id <> connection_id()", (name,)
            )
            for (session,) in cursor.fetchall():
                # It may have ended by itself.
                with suppress(pymysql.err.OperationalError):
                    cursor.execute(f"kill {session}")
            cursor.execute(f"drop database if exists `{name}`")


@contextmanager
def connected(url: str, **options: Any) -> Iterator["pymysql.Connection[Any]"]:
    """Open a session with a URL; it is autocommit unless told otherwise, and closed at the end."""
    parts = urlsplit(url)
    conn = pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username or "", password=parts.password or "",
        database=parts.path.lstrip("/") or None, ssl_disabled=True,
        **{"autocommit": True, "charset": "utf8mb4", **options},
    )  # fmt: skip
    try:
        yield conn
    finally:
        if conn.open:
            conn.close()


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements as an application would; return the rows of the last one."""
    with connected(url) as conn, conn.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def _install(data: Path, account: Account) -> None:
    subprocess.run(
        [INSTALL, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db",
         *_PAGES],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, **account.popen(),
    )  # fmt: skip


def _until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with connected(url):
                return
        except pymysql.err.MySQLError:
            time.sleep(0.05)
    raise AssertionError(f"MariaDB did not start: {log.read_text(errors='replace')[-2000:]}")
