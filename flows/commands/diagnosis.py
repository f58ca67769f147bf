"""doctor: whether this machine, this profile and this database are fit for a run."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import psycopg
import typer
from rich.table import Table
from rich.text import Text

from flows.commands.subject import engine_for
from flows.terminal import out, print_json
from profiles.loader import load as load_profile
from profiles.model import Profile
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import code_of
from tasks.engines.postgresql.address import redact, where
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.connect import require_direct, require_primary, require_version, require_writable
from tasks.engines.protocol import Engine
from tasks.ledger.install import is_installed, versions
from tasks.ledger.state import listing
from tasks.model.errors import ChangeoverError

Level = Literal["ok", "warn", "fail"]
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_PACKAGES = ("prefect", "great-expectations", "psycopg", "pydantic")
ROOM = 2 * 1024**3
"""Bytes that the evidence folder should have left: dumps of what contract destroys go there."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    level: Level
    found: str
    remedy: str = ""


def doctor(profile: str, database: str, *, as_json: bool) -> None:
    """Look at everything a run depends on; exit 1 when something would make it fail."""
    checks = tuple(_checks(profile, database))
    if as_json:
        print_json({"checks": [asdict(one) for one in checks], "ok": all(one.level != "fail" for one in checks)})
    else:
        out().print(_table(checks))
    if any(one.level == "fail" for one in checks):
        raise typer.Exit(1)


def _checks(profile: str, database: str) -> Iterator[Check]:
    yield Check(name="python", level="ok", found=f"{platform.python_version()} on {platform.system()}")
    yield from map(_package, _PACKAGES)
    yield _prefect()
    try:
        settings = load_profile(profile)
    except ChangeoverError as error:
        yield _failed("profile", error)
        return
    yield Check(name="profile", level="ok", found=f"{settings.name}: {', '.join(settings.databases)}")
    yield _evidence(settings)
    try:
        engine = engine_for(profile, database)
        with engine.connect("doctor") as conn:
            if isinstance(conn, MariaSession):
                yield from _maria(engine, conn)
                return
            yield Check(name="connection", level="ok", found=f"{where(conn)} as {conn.info.user}")
            yield from _server(conn)
            yield _ledger(conn)
            yield _locks(conn)
    except ChangeoverError as error:
        yield _failed("connection", error)
    except driver_error() as error:
        found = f"the server said {code_of(error)}"
        yield Check(name="connection", level="fail", found=found, remedy="Look at the log of the server.")
    except psycopg.Error as error:
        said = redact(error.diag.message_primary or type(error).__name__)
        yield Check(name="connection", level="fail", found=said, remedy="Look at the log of the server.")


def _maria(engine: Engine, conn: MariaSession) -> Iterator[Check]:
    yield Check(name="connection", level="ok", found=conn.place)
    try:
        engine.check()
        yield Check(name="server version", level="ok", found=conn.dialect.name)
    except ChangeoverError as error:
        yield _failed("server", error)


def _package(name: str) -> Check:
    try:
        return Check(name=name, level="ok", found=version(name))
    except PackageNotFoundError:
        return Check(name=name, level="fail", found="not installed", remedy="Install changeover with its dependencies.")


def _prefect() -> Check:
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        return Check(name="prefect api", level="ok", found="none named: each run starts a server of its own")
    place = urlsplit(url).hostname or "an unreadable URL"
    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=5) as answer:  # noqa: S310 - the user's own setting
            level: Level = "ok" if answer.status == 200 else "fail"
            found = f"{place} answers {answer.status}"
    except (URLError, OSError, ValueError) as error:
        level, found = "fail", f"{place} does not answer: {type(error).__name__}"
    remedy = "" if level == "ok" else "Start the server, or unset PREFECT_API_URL."
    return Check(name="prefect api", level=level, found=found, remedy=remedy)


def _evidence(settings: Profile) -> Check:
    folder = Path(settings.evidence)
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(parent, os.W_OK):
        remedy = "Let this user write there, or set evidence in the profile."
        return Check(name="evidence", level="fail", found=f"{folder} cannot be written", remedy=remedy)
    free = shutil.disk_usage(parent).free
    level: Level = "ok" if free >= ROOM else "warn"
    remedy = "" if level == "ok" else "Make room: dumps of what contract destroys go there."
    return Check(name="evidence", level=level, found=f"{folder}, {free / 1024**3:.1f} GiB free", remedy=remedy)


def _server(conn: Connection) -> Iterator[Check]:
    requirements: tuple[tuple[str, Callable[[Connection], object], str], ...] = (
        ("server version", require_version, f"PostgreSQL {conn.info.server_version // 10000}"),
        ("pooler", require_direct, "none between us and the server"),
        ("primary", require_primary, "it is the primary"),
        ("writable", require_writable, "transactions may write"),
    )
    for name, requirement, found in requirements:
        try:
            requirement(conn)
            yield Check(name=name, level="ok", found=found)
        except ChangeoverError as error:
            yield _failed(name, error)
    yield _role(conn)
    yield _wal(conn)


def _role(conn: Connection) -> Check:
    row = conn.execute(
        """
        select current_user, has_database_privilege(current_database(), 'create'),
               to_regnamespace('changeover') is not null
        """
    ).fetchone()
    assert row is not None
    role, may_create, exists = row
    if may_create or exists:
        return Check(name="role", level="ok", found=f"{role} may keep the ledger here")
    remedy = "Grant it: grant create on database ... to the role."
    return Check(name="role", level="fail", found=f"{role} may not create the schema of the ledger", remedy=remedy)


def _wal(conn: Connection) -> Check:
    row = conn.execute("select current_setting('wal_level')").fetchone()
    level = str(row and row[0])
    if level != "minimal":
        return Check(name="wal_level", level="ok", found=level)
    return Check(
        name="wal_level", level="warn", found=level, remedy="Without standbys or backups of the log: raise it."
    )


def _ledger(conn: Connection) -> Check:
    if is_installed(conn):
        count = len(listing(conn))
        return Check(name="ledger", level="ok", found=f"version {max(versions())}, {count} migrations")
    row = conn.execute("select to_regclass('changeover.installation') is not null").fetchone()
    if row and row[0]:
        return Check(name="ledger", level="warn", found="of another version", remedy="The next run upgrades it.")
    return Check(name="ledger", level="ok", found="not there yet: the first run makes it")


def _locks(conn: Connection) -> Check:
    row = conn.execute(
        """
        select count(distinct l.pid), string_agg(distinct a.application_name, ', ')
          from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a using (pid)
         where l.locktype = 'advisory' and l.granted and a.application_name like 'changeover %'
           and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
        """
    ).fetchone()
    if row is None or not row[0]:
        return Check(name="runs", level="ok", found="none holds a table")
    remedy = "Another run is at work: changeover status."
    return Check(name="runs", level="warn", found=f"{row[0]} sessions hold locks: {row[1]}", remedy=remedy)


def _failed(name: str, error: ChangeoverError) -> Check:
    place = f" ({error.where})" if error.where else ""
    return Check(name=name, level="fail", found=redact(error.what) + redact(place), remedy=redact(error.hint))


def _table(checks: tuple[Check, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "check", "found", "remedy"):
        table.add_column(title, overflow="fold")
    for one in checks:
        table.add_row(Text(one.level, style=_STYLES[one.level]), one.name, one.found, one.remedy)
    return table
