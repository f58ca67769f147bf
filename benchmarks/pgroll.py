"""pgroll itself, where it is installed: the same change, made by its own program."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import psycopg

from benchmarks import specs
from benchmarks.server import Meter, Usage

PROGRAM = "PGROLL"
"""The environment variable that names the program, where it is not on the path."""


def program() -> str | None:
    """Return the path of pgroll, if there is one."""
    return os.environ.get(PROGRAM) or shutil.which("pgroll")


def version(found: str) -> str:
    """Return what the program says of its version."""
    return _run(found, "--version").strip()


def fill(found: str, url: str, folder: Path, postmaster: int) -> Usage:
    """Start the migration, which backfills, with the batch size that pgroll has unless told otherwise."""
    path = folder / "pgroll_fill.json"
    path.write_text(json.dumps({"operations": [specs.ADD]}), encoding="utf-8")
    address = f"{url}{'&' if '?' in url else '?'}sslmode=disable"
    _run(found, "init", "--postgres-url", address)
    # It knows only tables that are in its history.
    _run(found, "baseline", "before", str(folder / "pgroll"), "--yes", "--postgres-url", address)
    with psycopg.connect(url, autocommit=True) as conn:
        meter = Meter.after_checkpoint(conn, postmaster)
        _run(found, "start", str(path), "--postgres-url", address)
        usage = meter.taken()
        missing = conn.execute(
            f"select count(*) from orders where customer is not null and {_column(conn)} is null".encode()
        ).fetchone()
    if missing is None or missing[0]:
        raise RuntimeError("pgroll has not filled every row")
    return usage


def _column(conn: psycopg.Connection[tuple[object, ...]]) -> str:
    row = conn.execute(
        "select quote_ident(attname) from pg_attribute where attrelid = 'orders'::regclass and attname like %s",
        (f"%{specs.COLUMN}",),
    ).fetchone()
    if row is None:
        raise RuntimeError("pgroll has not added the column")
    return str(row[0])


def _run(found: str, *arguments: str) -> str:
    done = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"pgroll {arguments[0]}: {done.stderr[-500:] or done.stdout[-500:]}")
    return done.stdout
