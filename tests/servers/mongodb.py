"""A MongoDB server of a test session, a replica set of one, and a fresh database on it."""

import importlib.util
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tasks.engines.postgresql.account import Account
from tasks.engines.postgresql.embedded import free_port
from tasks.engines.postgresql.watchdog import Watchdog
from tests.servers.missing import missing

OWN_SERVER = "CHANGEOVER_TEST_MONGODB_URL"
_SERVER = (
    *("--bind_ip", "127.0.0.1", "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"),
    *("--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"),
    *("--setParameter", "enableTestCommands=1"),
)


@dataclass(frozen=True, kw_only=True)
class MongoServer:
    """A server on which tests may make databases of their own."""

    hosts: str
    options: str = ""

    def url_of(self, database: str) -> str:
        """Give the URL of a database on the server."""
        return f"mongodb://{self.hosts}/{database}{self.options}"


@contextmanager
def server() -> Iterator[MongoServer]:
    """Give the server of the environment, or the one of the wheel for as long as the context lasts.

    Where the wheel is not installed the test is skipped; in CI it fails.
    """
    url = os.environ.get(OWN_SERVER)
    if url:
        hosts, _, options = url.removeprefix("mongodb://").partition("/?")
        yield MongoServer(hosts=hosts.rstrip("/"), options=f"?{options}" if options else "")
        return
    with replica_set(1) as (running, _):
        yield running


@contextmanager
def replica_set(members: int, *options: str) -> Iterator[tuple[MongoServer, Mapping[int, "subprocess.Popen[bytes]"]]]:
    """Give a replica set of the wheel's server, and the processes of its members by their ports."""
    # By its place: the package that it belongs to needs not be there.
    found = importlib.util.find_spec("fiftyone")
    folders = list(found.submodule_search_locations or []) if found else []
    binary = next((path for folder in folders if (path := Path(folder) / "db" / "bin" / "mongod").exists()), None)
    if binary is None:
        missing("MongoDB is missing: run `make install`")
    watchdog, processes = Watchdog(), dict[int, "subprocess.Popen[bytes]"]()
    with ExitStack() as ending:
        ending.callback(watchdog.release)
        home = watchdog.folder(
            Account.choose().temporary_folder(in_memory=True), prefix="changeover-mongo-", mode=0o700
        )
        log = ending.enter_context((home / "log").open("w+b"))
        for number in range(members):
            port = free_port()
            (home / f"d{number}").mkdir()
            process = watchdog.spawn(
                [binary, "--dbpath", home / f"d{number}", "--port", str(port), *_SERVER, *options],
                output=log, environment={"PATH": "/usr/bin:/bin"},
            )  # fmt: skip
            ending.callback(process.wait)
            ending.callback(process.kill)
            processes[port] = process
        _until_primary(processes, home / "log")
        hosts = ",".join(f"127.0.0.1:{port}" for port in processes)
        yield MongoServer(hosts=hosts, options="?replicaSet=rs0"), processes


@contextmanager
def fresh_database(on: MongoServer) -> Iterator[str]:
    """Name an empty database, give its URL, and drop it."""
    name = f"changeover_test_{secrets.token_hex(6)}"
    try:
        yield on.url_of(name)
    finally:
        with MongoClient(on.url_of(name)) as client:
            client.drop_database(name)


def _until_primary(processes: Mapping[int, "subprocess.Popen[bytes]"], log: Path) -> None:
    """Form the set, the first member of which becomes the primary, and wait until all of them belong to it."""
    deadline, first = time.monotonic() + 60, next(iter(processes))
    members = [
        {"_id": number, "host": f"127.0.0.1:{port}", "priority": 1 if number else 2}
        for number, port in enumerate(processes)
    ]
    config = {"_id": "rs0", "members": members, "settings": {"electionTimeoutMillis": 1000}}
    while all(one.poll() is None for one in processes.values()) and time.monotonic() < deadline:
        try:
            with MongoClient("127.0.0.1", first, directConnection=True, serverSelectionTimeoutMS=500) as client:
                if client.admin.command("hello").get("setName") is None:
                    client.admin.command("replSetInitiate", config)
                states = [one["state"] for one in client.admin.command("replSetGetStatus")["members"]]
                if client.admin.command("hello").get("isWritablePrimary") and set(states) <= {1, 2}:
                    return
        except PyMongoError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"MongoDB did not start: {log.read_text(errors='replace')[-2000:]}")
