"""Case folders in the format of gh-ost's `localtests`, walked by a shadow table on MariaDB.

`create.sql` makes the table `gh_ost_test`, and an EVENT that writes to it every second. Of `extra_args` the last
`--alter` counts. `orig_columns`, `ghost_columns` and `order_by` say what is compared; `expect_failure`, what has to be
said instead; `expect_table_structure`, what the new table has; `sql_mode`, that of the server; `ignore_versions`, on
what it is left out. `before.sql` and `after.sql` stand around the run, `destroy.sql` after all. `test.sh` drives gh-ost
itself, and is not read.
"""

import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from tasks.engines.mysql.translate import translated
from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance.maria import Shadow
from tests.servers.mariadb import run

TABLE = "gh_ost_test"
_PROBE = "changeover_probe"
_SERVER = "mariadb.org"
"""How MariaDB calls itself: in the version, and in the comment to it."""
_CHANGED = re.compile(r"\bchange\s+(?:column\s+)?`?(\w+)`?\s+`?(\w+)`?", re.IGNORECASE)
_RENAMED = re.compile(r"\brename\s+column\s+`?(\w+)`?\s+to\s+`?(\w+)`?", re.IGNORECASE)
_DROPPED = re.compile(r"\bdrop\s+column\s+`?(\w+)`?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One folder."""

    folder: Path

    @classmethod
    def all_of(cls, folder: Path) -> list["Case"]:
        """Return the cases in a folder that are not left out on MariaDB, by their names."""
        made = [cls(folder=one.parent) for one in sorted(folder.glob("*/create.sql"))]
        return [one for one in made if not one.left_out]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name

    def text(self, file: str, otherwise: str = "") -> str:
        """Return what a file says."""
        path = self.folder / file
        return path.read_text(encoding="utf-8").strip() if path.exists() else otherwise

    @property
    def left_out(self) -> bool:
        """Whether it is not for MariaDB."""
        wanted = self.text("ignore_versions")
        return bool(wanted) and re.match(wanted, _SERVER, re.IGNORECASE) is not None

    @property
    def alter(self) -> str:
        """What follows the name of the table in ALTER TABLE."""
        words = shlex.split(self.text("extra_args").replace("\\`", "`"))
        said = [word.removeprefix("--alter=") for word in words if word.startswith("--alter=")]
        said += [after for word, after in pairwise(words) if word == "--alter"]
        return said[-1] if said else "engine=innodb"

    @property
    def _bare(self) -> str:
        """The same without what stands in quotes."""
        return re.sub(r"'[^']*'|\"[^\"]*\"", "''", self.alter)

    def operation(self, url: str) -> Mapping[str, Any]:
        """Return the change as an operation of ours; what becomes of columns is read from the clauses."""
        old = _columns(url, TABLE)
        renamed = dict(pair for pattern in (_CHANGED, _RENAMED) for pair in pattern.findall(self._bare))
        renamed = {one: other for one, other in renamed.items() if one in old and one.lower() != other.lower()}
        dropped = [name for name in _DROPPED.findall(self._bare) if name in old]
        said: dict[str, Any] = {"table": TABLE, "options": self.alter}
        again = [name for name in dropped if re.search(rf"\badd\s+column\s+`?{name}\b", self._bare, re.IGNORECASE)]
        if again:
            new = self._tried(url)
            said |= {"up": {name: new[name] for name in again}, "down": {name: name for name in again}, "lossy": True}
        gone = [name for name in dropped if name not in again]
        return {"rebuild_table": said | ({"renamed": renamed} if renamed else {}) | ({"dropped": gone} if gone else {})}

    def _tried(self, url: str) -> Mapping[str, str]:
        """Return the columns of the new table and their defaults: a column that goes and comes again keeps no value."""
        run(url, f"create table {_PROBE} like {TABLE}", f"alter table {_PROBE} {self.alter}")
        try:
            return _columns(url, _PROBE)
        finally:
            run(url, f"drop table {_PROBE}")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a case."""

    refused: str | None = None
    """What was said, where something was."""
    old: list[tuple[Any, ...]] | None = None
    new: list[tuple[Any, ...]] | None = None
    """What both tables hold after the swap, in what is to be compared."""
    structure: str = ""


def walk(case: Case, url: str) -> Outcome:
    """Over, with the event at every halt, and back; or what was said against it. Everything is as before then."""
    with _globals_kept(url):
        if (case.folder / "sql_mode").exists():
            run(url, f"set global sql_mode = '{case.text('sql_mode')}'")
        feed(url, case.text("create.sql"))
        feed(url, case.text("before.sql"))
        try:
            return _over_and_back(case, url)
        finally:
            feed(url, case.text("after.sql"))
            feed(url, case.text("destroy.sql"))


def _over_and_back(case: Case, url: str) -> Outcome:
    shadow = None
    try:
        shadow = Shadow(url, [case.operation(url)], batch_rows=10)
        shadow.begin()
        shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
        _await_event(url)
        shadow.forward(Phase.BACKFILL, Phase.INDEX)
        _await_event(url)
        shadow.forward(Phase.RECONCILE)
        refused = _refused_by_gate(shadow)
        if refused is None:
            shadow.forward(Phase.SWAP)
            _await_event(url)
            assert shadow.violations("after_swap") == 0
            compared = _compared(case, url)
            shadow.back()
            return compared
    except ChangeoverError as error:
        refused = str(error)
    except pymysql.err.MySQLError as error:
        refused = str(translated(error, TABLE))
    _hold_event(url)
    feed(url, case.text("after.sql"))
    if shadow is not None and shadow.epoch:
        shadow.back()
    return Outcome(refused=refused)


def _refused_by_gate(shadow: Shadow) -> str | None:
    assert shadow.plan is not None
    with shadow.engine.connect("test") as conn:
        asked = [one for one in shadow.plan.requirements if one.gate == "before_swap"]
        broken = [one.name for one in asked if shadow.engine.count(conn, one.violations)]
    return f"the gate says no: {', '.join(broken)}" if broken else None


def _compared(case: Case, url: str) -> Outcome:
    """Let nobody write, and read both tables."""
    _hold_event(url)
    (kept,) = (name for (name,) in run(url, "show tables") if name.endswith("_old"))
    order = f" order by {case.text('order_by')}" if case.text("order_by") else ""
    both = [
        run(url, f"select {columns} from `{table}`{order}")
        for table, columns in (
            (kept, case.text("orig_columns", "*")),
            (TABLE, case.text("ghost_columns", "*")),
        )
    ]
    old, new = ([*rows] if order else sorted(rows, key=repr) for rows in both)
    return Outcome(old=old, new=new, structure=run(url, f"show create table {TABLE}")[0][1])


def feed(url: str, text: str) -> None:
    """Give statements to the client of the server, which knows `delimiter`."""
    if not text:
        return
    to = urlsplit(url)
    subprocess.run(
        ["mariadb", "--protocol=tcp", f"--host={to.hostname}", f"--port={to.port or 3306}",
         f"--user={unquote(to.username or 'root')}", "--default-character-set=utf8mb4", to.path.lstrip("/")],
        input=text, text=True, check=True, capture_output=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "MYSQL_PWD": unquote(to.password or "")},
    )  # fmt: skip


def _columns(url: str, table: str) -> dict[str, str]:
    query = (
        "select column_name, coalesce(column_default, 'null') from information_schema.columns"
        f" where table_schema = database() and table_name = '{table}' order by ordinal_position"
    )
    return dict(run(url, query))


def _events(url: str) -> list[tuple[Any, ...]]:
    query = "select event_name, last_executed from information_schema.events where event_schema = database()"
    return run(url, f"{query} and status = 'ENABLED'")


def _await_event(url: str) -> None:
    """Wait until the event, if there is one, has written once more."""
    before = _events(url)
    deadline = time.monotonic() + 20
    while before and time.monotonic() < deadline:
        if _events(url) != before:
            return
        time.sleep(0.05)
    assert not before, "the scheduler of the server does not run the event"


def _hold_event(url: str) -> None:
    """Keep the event from beginning, and wait until it has ended."""
    for name, _ in _events(url):
        run(url, f"alter event `{name}` disable")
    others = "select count(*) from information_schema.processlist where db = database() and id <> connection_id()"
    deadline = time.monotonic() + 20
    while run(url, others) != [(0,)] and time.monotonic() < deadline:
        time.sleep(0.05)


@contextmanager
def _globals_kept(url: str) -> Iterator[None]:
    """Set back whatever a case, or what it runs, sets for all sessions of the server."""
    # Where the binary log is, the server says itself.
    query = (
        "select variable_name, global_value, variable_type from information_schema.system_variables"
        " where read_only = 'NO' and variable_scope <> 'SESSION ONLY' and variable_name not like 'GTID%'"
    )
    before = run(url, query)
    try:
        yield
    finally:
        now = {name: value for name, value, _ in run(url, query)}
        for name, value, kind in before:
            if now[name] != value:
                words = kind.startswith(("VARCHAR", "ENUM", "SET", "BOOLEAN", "FLAGSET"))
                run(url, f"set global {name} = {repr(value) if words else value}")


@contextmanager
def events_on(url: str) -> Iterator[None]:
    """Let the server run events."""
    ((before,),) = run(url, "select @@global.event_scheduler")
    run(url, "set global event_scheduler = on")
    try:
        yield
    finally:
        run(url, f"set global event_scheduler = {'on' if before == 'ON' else 'off'}")
