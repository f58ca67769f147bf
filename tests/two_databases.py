"""The profile of two databases, for tests of what moves data from one to the other."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.engines.mysql.session import connect
from tests.servers.remains import soon

WAITS = "select 1 from information_schema.processlist where state like 'Waiting for table %' and time_ms > 400"


def write_profile(
    folder: Path, *, ledger_of: str = "", on_failure: str = "", shards: int = 2, **environment: str
) -> Path:
    """Write a profile with databases by name, each with the variable that has its URL.

    `ledger_of` names the one whose ledger is in `main`.
    """
    lines = ['name = "two"', f'evidence = "{folder}/evidence"']
    lines += [f'on_failure = "{on_failure}"'] if on_failure else []
    lines += ["[runner]", f"shards = {shards}"]
    for name, variable in environment.items():
        lines += [f"[databases.{name}]", f'url_env = "{variable}"']
        lines += ['ledger = "main"'] if name == ledger_of else []
    path = folder / "two.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_copy(folder: Path, table: str, to: str, *, database: str = "main", **transfer: Any) -> str:
    """Write the spec of a copy of a table, and give its path."""
    spec = folder / "copy.json"
    whole = {"table": table, "to": {"database": to, "table": table}, **transfer}
    written = {"migration": "copy", "database": database, "strategy": "cross_database", "transfer": whole}
    spec.write_text(json.dumps(written))
    return str(spec)


def between(folder: Path, monkeypatch: pytest.MonkeyPatch, *, ledger_of: str = "", **urls: str) -> str:
    """Give the path of a profile of the databases at these URLs."""
    variables = {name: f"{name.upper()}_OF_TWO_URL" for name in urls}
    for name, url in urls.items():
        monkeypatch.setenv(variables[name], url)
    return str(write_profile(folder, ledger_of=ledger_of, **variables))


def acts_in_order(monkeypatch: pytest.MonkeyPatch, **acts: tuple[object, str]) -> list[str]:
    """Return what will name each of these acts, given by where it is and how it is called there, as it begins."""
    begun: list[str] = []

    def spied(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def begin(*given: Any, **named: Any) -> Any:
            begun.append(name)
            return act(*given, **named)

        return begin

    for name, (where, called) in acts.items():
        monkeypatch.setattr(where, called, spied(name, getattr(where, called)))
    return begun


@contextmanager
def begun_meanwhile(
    monkeypatch: pytest.MonkeyPatch, where: object, called: str, url: str, statement: str
) -> Iterator[None]:
    """Have somebody begin a statement on MariaDB when an act is first called, and wait until it has waited."""
    act, begun = getattr(where, called), list[threading.Thread]()

    def execute() -> None:
        with connect(url, lock_timeout_ms=10_000) as conn:
            conn.execute(statement)

    def act_then(*given: Any) -> Any:
        if not begun:
            begun.append(threading.Thread(target=execute))
            begun[0].start()
            with connect(url) as conn:
                assert soon(lambda: conn.execute(WAITS).fetchone() is not None)
        return act(*given)

    monkeypatch.setattr(where, called, act_then)
    yield
    monkeypatch.setattr(where, called, act)
    begun[0].join(20)
    assert not begun[0].is_alive()
