"""One TOML file of a profile: found, read, and searched for secrets before anything else looks at it."""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path

from profiles.problems import PLACE_OF_URL, Problem

SHIPPED = Path(__file__).parent
PREFECTS_OWN = "profiles"
"""`profiles.toml` beside the profiles is Prefect's file, in Prefect's words."""

# Deliberately broad: a password with a slash or an at sign in it, not encoded, is a password too.
_PASSWORD = re.compile(r"://[^\s/?#]*:\S+@|[?&](?:ssl)?password=\S", re.IGNORECASE)
_CONNINFO = re.compile(r"\b(?:ssl)?password\s*=\s*\S", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file as read, with what is wrong with it."""

    path: Path
    data: dict[str, object]
    problems: tuple[Problem, ...] = ()


def folders() -> tuple[Path, ...]:
    """Return the folders in which a bare name is looked up, in order.

    First CHANGEOVER_PROFILES, then `profiles` of the working directory, then the profiles of the project.
    """
    given = os.environ.get("CHANGEOVER_PROFILES")
    return (*([Path(given)] if given else []), Path.cwd() / "profiles", SHIPPED)


def names() -> tuple[str, ...]:
    """Return the bare names that can be loaded, sorted."""
    found = {path.stem for folder in folders() for path in folder.glob("*.toml")}
    return tuple(sorted(found - {PREFECTS_OWN}))


def find(name_or_path: str | Path, beside: Path | None = None, not_again: tuple[Path, ...] = ()) -> Path | Problem:
    """Find the file of a bare name, or of a path, which is relative to `beside` when given.

    A bare name skips the files of `not_again`, so that a profile may extend the shipped one of its own name.
    """
    text = str(name_or_path)
    if text.endswith(".toml") or "/" in text or os.sep in text:
        path = (beside or Path()) / Path(text).expanduser()
        if path.is_file():
            return path.resolve()
        return Problem(file=text, key="", reason="there is no such file", hint="Give the path of a TOML file.")
    places = ([beside] if beside else []) + list(folders())
    candidates = [place / f"{text}.toml" for place in places if text != PREFECTS_OWN]
    for candidate in candidates:
        if candidate.is_file() and candidate.resolve() not in not_again:
            return candidate.resolve()
    near = get_close_matches(text, names(), n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Use one of: {', '.join(names())}; or give a path."
    again = any(candidate.is_file() for candidate in candidates)
    reason = "it leads back to itself" if again else f"there is no profile of the name {text!r}"
    return Problem(file=str(beside or text), key="", reason=reason, hint=hint)


def read(path: Path) -> Document:
    """Read one file; whatever is wrong with it is in `problems`, and nothing is raised."""
    file = str(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
        return _broken(path, Problem(file=file, key="", reason=reason, hint="Make the file readable."))
    except UnicodeDecodeError:
        return _broken(path, Problem(file=file, key="", reason="it is not UTF-8", hint="Save it as UTF-8."))
    secrets = [f"line {number}" for number, line in enumerate(text.split("\n"), 1) if _PASSWORD.search(line)]
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        wrong = Problem(file=file, key="", reason=f"it is not TOML: {error}", hint="Correct the syntax.")
        return _broken(path, *_leaks(file, secrets), wrong)
    leaves = list(_leaves(data))
    # Escapes can hide a password from a search by line, but not from one by value.
    hidden = [] if secrets else [key for key, value in leaves if _holds_password(value) or _holds_password(key)]
    times = [_unquoted(file, key) for key, value in leaves if isinstance(value, date | time)]
    return Document(path=path, data=data, problems=(*_leaks(file, secrets or hidden), *times))


def _broken(path: Path, *problems: Problem) -> Document:
    return Document(path=path, data={}, problems=problems)


def _holds_password(value: object) -> bool:
    return isinstance(value, str) and bool(_PASSWORD.search(value) or _CONNINFO.search(value))


def _leaks(file: str, keys: list[str]) -> Iterator[Problem]:
    for key in keys:
        shown = "" if _holds_password(key) else key
        yield Problem(file=file, key=shown, reason="a URL with a password is in the file", hint=PLACE_OF_URL)


def _unquoted(file: str, key: str) -> Problem:
    reason = "a date or a time is not allowed here"
    return Problem(file=file, key=key, reason=reason, hint='Write it as text in quotes, for example "02:00".')


def _leaves(data: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _leaves(value, f"{path}.{number}")
    else:
        yield path, data
