"""The profile of two databases, for tests of what moves data from one to the other."""

from pathlib import Path

import pytest


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


def between(folder: Path, monkeypatch: pytest.MonkeyPatch, *, ledger_of: str = "", **urls: str) -> str:
    """Give the path of a profile of the databases at these URLs."""
    variables = {name: f"{name.upper()}_OF_TWO_URL" for name in urls}
    for name, url in urls.items():
        monkeypatch.setenv(variables[name], url)
    return str(write_profile(folder, ledger_of=ledger_of, **variables))
