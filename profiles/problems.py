"""What is wrong with a profile: collected, put into words, and raised as one error.

A message names file, key, reason and remedy, and never quotes a value: a value may be a password.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from profiles.model import Profile
from tasks.model.errors import ProfileError

PLACE_OF_URL = "Name the variable that holds the URL with url_env, or a Prefect Secret block with url_secret."
# Keys that people try, and that would put a password into a file.
FORBIDDEN = frozenset({"url", "uri", "dsn", "conninfo", "password", "connection", "connection_string"})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing to correct."""

    file: str
    key: str
    """Path of the key, joined with full stops, or `line N`; empty: the whole file."""
    reason: str
    hint: str
    """An imperative sentence."""

    @property
    def where(self) -> str:
        """File and key."""
        return f"{self.file}: {self.key}" if self.key else self.file


def as_error(problems: Sequence[Problem]) -> ProfileError:
    """Make one error of all problems, in the order found."""
    if len(problems) == 1:
        only = problems[0]
        return ProfileError(only.reason, where=only.where, hint=only.hint)
    lines = [f"  {problem.where}: {problem.reason}. {problem.hint}" for problem in problems]
    return ProfileError(
        "\n".join([f"the profile has {len(problems)} problems", *lines]),
        where=", ".join(dict.fromkeys(problem.file for problem in problems)),
        hint="Correct every line above, then run again.",
    )


def explain(error: ErrorDetails, file: str) -> Problem:
    """Put an error of pydantic into words."""
    path = error["loc"]
    key = ".".join(map(str, path))
    if error["type"] == "extra_forbidden":
        return unknown_key(path, file)
    if error["type"] == "missing":
        description = _description(path)
        return Problem(file=file, key=key, reason="it is missing", hint=f"Add the key. {description}".strip())
    hint = error.get("ctx", {}).get("hint") or f"Correct the value. {_description(path)}".strip()
    reason = error["msg"].replace("Input should", "it should", 1)
    if error["type"] == "string_pattern_mismatch":
        reason = "it does not have the form that is asked for"
    return Problem(file=file, key=key, reason=reason[0].lower() + reason[1:], hint=str(hint))


def unknown_key(path: Sequence[str | int], file: str) -> Problem:
    """Refuse a key that the model does not have, and name the one that was probably meant."""
    key, name = ".".join(map(str, path)), str(path[-1])
    if name in FORBIDDEN:
        return Problem(file=file, key=key, reason="it does not belong in a file", hint=PLACE_OF_URL)
    known = sorted(_fields(path[:-1]))
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Remove it, or use one of: {', '.join(known)}."
    return Problem(file=file, key=key, reason="unknown key", hint=hint)


def _description(path: Sequence[str | int]) -> str:
    fields = _fields(path[:-1]) if path else {}
    field = fields.get(str(path[-1])) if path else None
    return " ".join((field.description or "").split()) if field else ""


def _fields(path: Sequence[str | int]) -> dict[str, Any]:
    """Return the fields of the table at `path`; empty when there is no such table."""
    kind: object = Profile
    for part in path:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif (model := _model(kind)) and str(part) in model.model_fields:
            kind = model.model_fields[str(part)].annotation
        else:
            return {}
    model = _model(kind)
    return dict(model.model_fields) if model else {}


def _model(kind: object) -> type[BaseModel] | None:
    """Return the record that an annotation names, through `| None`."""
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
