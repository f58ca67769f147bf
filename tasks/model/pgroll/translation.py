"""From the document of a pgroll file to the mapping of a spec, with the same paths wherever that is possible."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tasks.model.document import Document, Problem
from tasks.model.pgroll.operations import operation
from tasks.model.pgroll.reader import Reader

_TOP = ("name", "operations", "version_schema")
_LONGEST = 63


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What a spec of ours would say."""

    value: Any
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """What a reader of the file should know, a sentence each."""


def translate(document: Document, file: str) -> Translation:
    """Say in our words what a file of pgroll asks for; its name is that of the migration."""
    if not isinstance(document.value, dict):
        return Translation(value=document.value, problems=(), notes=())
    stem = PurePath(file).stem
    name = migration_name(stem)
    reader = Reader(document)
    value: dict[str, Any] = {"migration": name if 0 < len(name) <= _LONGEST else "unnamed"}
    listed = document.value.get("operations")
    if isinstance(listed, list):
        value["operations"] = [operation(one, ("operations", number), reader) for number, one in enumerate(listed)]
    elif "operations" in document.value:
        value["operations"] = listed
    if document.value.get("version_schema") not in (None, ""):
        value["version_schema"] = document.value["version_schema"]
    _top(reader)
    notes = (*_named(document.value.get("name"), stem, name), *reader.notes())
    problems = (*_stem(stem, name, file), *reader.problems)
    return Translation(value=value, problems=problems, notes=notes)


def looks_like(value: Any) -> bool:
    """Tell whether a text that should be a spec of ours has but the keys of a file of pgroll."""
    return isinstance(value, dict) and "operations" in value and value.keys() <= {*_TOP}


def migration_name(stem: str) -> str:
    """Return the name that the stem of a file gives to a migration; empty when nothing of it can be used."""
    return re.sub(r"[^a-z0-9_-]", "_", stem.lower()).lstrip("_-")


def _stem(stem: str, name: str, file: str) -> Iterator[Problem]:
    if name and len(name) <= _LONGEST:
        return
    reason = f"the name of the file, {stem[:80]!r}, cannot be that of a migration"
    hint = f"Rename {PurePath(file).name}: at most {_LONGEST} letters and digits, the first one of them."
    yield Problem(line=1, column=1, path="", reason=reason, hint=hint)


def _top(reader: Reader) -> None:
    for key in reader.document.value:
        if key in _TOP:
            continue
        hint = f"Write one of {', '.join(_TOP)}."
        if key == "migration":
            hint = "This is a spec of Changeover's own: leave out pgroll:."
        reader.refuse((key,), f"unknown key {key!r} in a file of pgroll", hint)


def _named(written: Any, stem: str, name: str) -> Iterator[str]:
    if name != stem:
        yield f"the migration is called {name}, after its file {stem}: names have small letters, digits, _ and -"
    if isinstance(written, str) and written not in ("", stem, name):
        yield f"the name {written!r} in the file is not used: a migration of pgroll is called like its file"
