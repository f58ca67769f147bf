"""Debian's PgBouncer in transaction mode, in front of a database."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from tasks.engines.postgresql.account import Account
from tasks.engines.postgresql.embedded import free_port
from tasks.engines.postgresql.watchdog import Watchdog
from tests.servers.missing import missing

BINARY = Path("/usr/sbin/pgbouncer")


@contextmanager
def running_pgbouncer(url: str) -> Iterator[str]:
    """Start PgBouncer in front of the database of a URL, and give the URL that goes through it.

    All clients share one server connection. Where PgBouncer is not installed the test is skipped; in CI it
    fails.
    """
    if not BINARY.exists():
        missing("PgBouncer is missing: run `apt-get install pgbouncer`")
    account, watchdog, port, target = Account.choose(), Watchdog(), free_port(), urlsplit(url)
    with ExitStack() as ending:
        ending.callback(watchdog.release)
        home = watchdog.folder(account.temporary_folder(), prefix="changeover-pgbouncer-", mode=0o711)
        settings = _configure(home, target, port, account)
        log = ending.enter_context((home / "log").open("w+b"))
        process = watchdog.spawn([BINARY, settings], output=log, environment={}, account=account.popen())
        ending.callback(process.wait)
        ending.callback(process.kill)
        _until_listening(process, port, home / "log")
        yield urlunsplit(target._replace(netloc=f"{target.username}@127.0.0.1:{port}"))


def _configure(home: Path, target: SplitResult, port: int, account: Account) -> Path:
    settings = home / "pgbouncer.ini"
    settings.touch(mode=0o600)
    os.chown(settings, account.uid, account.gid)
    password = f" password={target.password}" if target.password else ""
    settings.write_text(
        "[databases]\n"
        f"* = host={target.hostname} port={target.port or 5432} user={target.username}{password}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n"
    )
    return settings


def _until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"PgBouncer did not start: {log.read_text()}")
