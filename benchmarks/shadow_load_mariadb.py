"""What applications feel while a table of MariaDB is made anew: by us, by one statement, by pt-online-schema-change."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from benchmarks import specs
from benchmarks.felt import IDLE, OURS, Began, Load, felt, idle, results
from benchmarks.parity_mariadb import SERVER
from benchmarks.result import Result, Sizes
from benchmarks.server import template
from benchmarks.shadow import on_mariadb
from benchmarks.shadow_load import through_flow
from benchmarks.surroundings import Surroundings
from tasks.engines.mysql.session import connect

NAMES = ("shadow_p99_mariadb", "shadow_stall_mariadb", "shadow_failed_mariadb", "shadow_p99_pt_osc")
_PEER = "pt-online-schema-change"


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Make a table anew in each way, once, under the same load; nothing where there is no MariaDB."""
    server = os.environ.get(SERVER)
    if not server:
        return []
    spec = specs.write(place.folder, "shadow_load_mariadb", specs.REBUILD, strategy="shadow_table")
    ways: dict[str, Callable[[str], Began]] = {
        IDLE: lambda _: idle(),
        OURS: lambda url: through_flow(place, url, spec),
        "one insert ... select": _one_statement,
    }
    if program := shutil.which(_PEER):
        ways[_PEER] = lambda url: _peer(program, url)
    found = {}
    with template(place.postgres, sizes.rows, indexed=True) as name:
        for way, does in ways.items():
            with on_mariadb(place.postgres.url_of(name), server) as (url, pid):
                load = Load(partial(connect, url), sizes.rows)
                found[way] = felt(load, pid, partial(does, url))
    measured = results(NAMES[:3], found, sizes)
    if peer := found.get(_PEER):
        against = round(found[OURS].latency.p99_ms / peer.latency.p99_ms, 3)
        measured.append(Result(name=NAMES[3], measured=against, goal=0.05, unit="x", detail=peer.said()))
    return measured


def _one_statement(url: str) -> Began:
    began = time.monotonic()
    with connect(url) as conn:
        conn.execute("create table copied like orders")
        conn.execute("set session innodb_lock_wait_timeout = 600")
        conn.execute("insert into copied select * from orders lock in share mode")
    return [("statement", began)]


def _peer(program: str, url: str) -> Began:
    began = time.monotonic()
    parts = urlsplit(url)
    where = f"h={parts.hostname},P={parts.port},u={parts.username},D={parts.path.lstrip('/')},t=orders"
    command = [program, "--execute", "--no-version-check", "--alter", "engine=InnoDB", where]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return [("peer", began)]
