"""Load a profile by name or path, and resolve the URL of one of its databases."""

import json
import os
from difflib import get_close_matches
from pathlib import Path

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from profiles.document import Document, find, read
from profiles.model import Database, Profile
from profiles.problems import PLACE_OF_URL, Problem, as_error, explain
from tasks.model.errors import ProfileError


def load(name_or_path: str | Path) -> Profile:
    """Load a profile, with everything that it extends.

    A bare name is looked up in the folder of CHANGEOVER_PROFILES, in `profiles` of the working directory, and
    among the profiles of the project; anything with a slash or the ending `.toml` is a path.
    `extends` names the profile that this one adds to: tables are merged key by key, all else is replaced.
    Raises ProfileError, once, with every problem of every file.
    """
    chain, problems = _chain(name_or_path)
    if not chain or any(not document.data and document.problems for document in chain):
        raise as_error(problems)
    data = _merged(chain)
    profile, errors = _checked(data)
    said = {problem.key for problem in problems}
    for error in errors:
        found = explain(error, _origin(chain, error["loc"]))
        if found.key not in said:
            problems.append(found)
    problems.extend(_without_url(data, chain))
    if problems or profile is None:
        raise as_error(problems)
    return profile


def resolve_url(profile: Profile, database_name: str) -> SecretStr:
    """Return the URL of a database of the profile: from its variable, or else from its Prefect Secret block.

    Raises ProfileError that names the variable or the block, never what it holds.
    """
    database = profile.databases.get(database_name)
    if database is None:
        near = get_close_matches(database_name, profile.databases, n=1, cutoff=0.5)
        known = ", ".join(sorted(profile.databases))
        hint = f"Did you mean {near[0]}?" if near else f"Use one of: {known}."
        what = f"the profile has no database of the name {database_name!r}"
        raise ProfileError(what, where=f"profile {profile.name}", hint=hint)
    where = f"profile {profile.name}, databases.{database_name}"
    if database.url_env and (url := os.environ.get(database.url_env, "").strip()):
        return SecretStr(url)
    if database.url_secret:
        return _from_block(database.url_secret, database, where)
    if database.url_env:
        what = f"the environment variable {database.url_env} is not set"
        hint = f"Set {database.url_env} to the URL of the database, or name a Secret block with url_secret."
        raise ProfileError(what, where=where, hint=hint)
    raise ProfileError("nothing says where the URL is", where=where, hint=PLACE_OF_URL)


def _from_block(block: str, database: Database, where: str) -> SecretStr:
    # Only here: Prefect takes most of a second to import, and most profiles need nothing of it.
    from prefect.blocks.system import Secret  # noqa: PLC0415

    reason = "it does not hold text"
    try:
        value = Secret.load(block).get()  # type: ignore[union-attr]
        if isinstance(value, str) and value.strip():
            return SecretStr(value.strip())
    except Exception as error:  # noqa: BLE001 - a missing block and a missing server come as a dozen kinds
        # Only the kind: the message of a validation error may quote what the block holds.
        reason = type(error).__name__
    also = f", and the environment variable {database.url_env} is not set" if database.url_env else ""
    raise ProfileError(
        f"the Prefect Secret block {block} could not be read ({reason}){also}",
        where=where,
        hint=f"Create the Secret block {block} with the URL of the database, or set the variable of url_env.",
    )


def _chain(name_or_path: str | Path) -> tuple[list[Document], list[Problem]]:
    """Read the profile and everything that it extends, itself first."""
    chain: list[Document] = []
    problems: list[Problem] = []
    wanted: object = str(name_or_path)
    while wanted is not None:
        seen = tuple(document.path for document in chain)
        at = Problem(file=str(seen[-1]), key="extends", reason="", hint="") if seen else None
        if not isinstance(wanted, str) or not wanted:
            problems.append(_moved(at, "it should be the name or the path of a profile", "Write it in quotes."))
            break
        path = find(wanted, seen[-1].parent if seen else None, seen)
        if isinstance(path, Problem):
            problems.append(_moved(at, path.reason, path.hint) if at else path)
            break
        if path in seen:
            hint = "Let the last profile of the chain extend nothing."
            problems.append(_moved(at, "it leads back to a profile that extends this one", hint))
            break
        chain.append(read(path))
        problems.extend(chain[-1].problems)
        wanted = chain[-1].data.get("extends")
    return chain, problems


def _moved(at: Problem | None, reason: str, hint: str) -> Problem:
    file, key = (at.file, at.key) if at else ("profile", "")
    return Problem(file=file, key=key, reason=reason, hint=hint)


def _merged(chain: list[Document]) -> dict[str, object]:
    data: dict[str, object] = {}
    for document in reversed(chain):
        # A name is never inherited: an overlay of `local` that forgets it must not call itself local.
        data = _overlaid(data, {"name": document.path.stem, **document.data})
    data.pop("extends", None)
    return data


def _overlaid(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = _overlaid(below, value) if both else value  # type: ignore[arg-type]
    return result


def _checked(data: dict[str, object]) -> tuple[Profile | None, list[ErrorDetails]]:
    # Strict, so that `true` is no number; by way of JSON, because Python input would have to be tuples.
    try:
        return Profile.model_validate_json(json.dumps(data, default=str), strict=True), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_input=False)


def _without_url(data: dict[str, object], chain: list[Document]) -> list[Problem]:
    databases = data.get("databases")
    tables = databases.items() if isinstance(databases, dict) else ()
    return [
        Problem(
            file=_origin(chain, ("databases", name)),
            key=f"databases.{name}",
            reason="nothing says where the URL is",
            hint=PLACE_OF_URL,
        )
        for name, table in tables
        if isinstance(table, dict) and not table.keys() & {"url_env", "url_secret"}
    ]


def _origin(chain: list[Document], path: tuple[str | int, ...]) -> str:
    """Return the file that has the last word on a key; the profile itself when none has it."""
    for document in chain:
        if _has(document.data, path):
            return str(document.path)
    return str(chain[0].path)


def _has(value: object, path: tuple[str | int, ...]) -> bool:
    for part in path:
        if isinstance(value, list):
            return True
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True
