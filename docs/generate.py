"""Write docs/reference from the code: `python -m docs`; with --check, only tell what is out of date."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from flows.cli import app
from profiles.model import Profile
from tasks.model import errors
from tasks.model.operations import AnyOperation
from tasks.model.spec import MigrationSpec

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- Made by `make docs`: change the code, not this page. -->"
Schema = dict[str, Any]


def spec_schema() -> Schema:
    """Return the JSON Schema of a spec."""
    return MigrationSpec.model_json_schema()


def spec_page() -> str:
    """Return the reference of the spec: the whole, each operation, and the parts that they share."""
    schema = spec_schema()
    parts = schema["$defs"]
    kinds = {one.__name__: one.kind for one in AnyOperation.__args__}
    lines = [
        "# Spec",
        MADE,
        "A spec is a file in YAML 1.2 or JSON. Unknown keys are refused. "
        "[Write specs](../how-to/write-specs.md) shows one for each purpose; editors can use the "
        "[JSON Schema](spec.schema.json).",
        *_fields(schema, kinds),
        "# Operations",
        "Each operation is a mapping with its kind as the only key.",
    ]
    for name, kind in kinds.items():
        lines += [f"## {kind}", parts[name]["description"], *_fields(parts[name], kinds)]
    lines.append("# Parts")
    for name in sorted(parts.keys() - kinds.keys()):
        lines += [f"## {name}", parts[name].get("description", ""), *_fields(parts[name], kinds)]
    return _page(lines)


def profile_page() -> str:
    """Return the reference of profiles, with the tables in the order of the profile's fields."""
    schema = Profile.model_json_schema()
    parts = schema["$defs"]
    lines = [
        "# Profile",
        MADE,
        "A profile is a TOML file: where a migration runs, and under which limits. `extends` names a profile that "
        "this one adds to: tables are merged key by key, all else is replaced. Times without a unit in their "
        "meaning are seconds, integers of `limits` that are budgets or targets are milliseconds.",
        *_fields(schema, {}),
    ]
    for name in ("Database", "Limits", "Throttle", "Probes", "Window", "Runner"):
        lines += [f"## {name}", parts[name]["description"], *_fields(parts[name], {})]
    return _page(lines)


def errors_page() -> str:
    """Return the reference of errors and exit codes."""
    lines = [
        "# Errors and exit codes",
        MADE,
        "| exit code | meaning |\n|---|---|\n| 0 | done |\n| 1 | failed |\n| 2 | refused: nothing was changed |\n"
        "| 3 | paused: run again to go on |",
        "Each error says what happened, where, and what to do. The last line of a command says what became of the "
        "data: " + ", ".join(f"*{one.value}*" for one in errors.DataChanged) + ".",
        "| code | meaning | exit code | can pass by itself | who acts |\n|---|---|---|---|---|\n"
        + "\n".join(_error(kind) for kind in _kinds(errors.ChangeoverError)),
    ]
    return _page(lines)


def _kinds(kind: type[errors.ChangeoverError]) -> Iterator[type[errors.ChangeoverError]]:
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
            yield from _kinds(one)


def _error(kind: type[errors.ChangeoverError]) -> str:
    first = (kind.__doc__ or "").split("\n\n")[0]
    passes = "yes" if kind.retryable else "no"
    return f"| `{kind.code}` | {first} | {kind.exit_code} | {passes} | {kind.actor.value} |"


def cli_page() -> str:
    """Return the reference of the command line."""
    root = get_command(app)
    lines = ["# Command line", MADE, _plain(root.help or ""), _plain(root.epilog or "")]
    for words, command in _commands(root, ("changeover",)):
        lines += [f"## {' '.join(words)}", _plain(command.help or "")]
        rows = [f"| {_spelling(one)} | {_meaning(one)} |" for one in command.params]
        if rows:
            lines.append("| | |\n|---|---|\n" + "\n".join(rows))
    return _page(lines)


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


def _spelling(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{one.name.upper()}`"
    value = "" if one.is_flag else f" {one.name.upper()}"
    return ", ".join(f"`{word}{value if word.startswith('--') else ''}`" for word in one.opts)


def _meaning(one: Any) -> str:
    variable = f" Or set `{one.envvar}`." if one.envvar else ""
    default = f" Default: `{one.default}`." if isinstance(one.default, str) and one.default else ""
    return _plain(one.help or "") + default + variable


def _plain(text: str) -> str:
    return re.sub(r"\[/?[a-z ]*\]", "", text).strip()


def _fields(schema: Schema, kinds: dict[str, str]) -> list[str]:
    rows = ["| key | value | default | meaning |\n|---|---|---|---|"]
    for key, field in schema["properties"].items():
        default = "**required**" if key in schema.get("required", ()) else _default(field)
        meaning = field.get("description", "").replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{key}` | {_type(field, kinds)} | {default} | {meaning} |")
    return ["\n".join(rows)]


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default in (None, [], {}) or isinstance(default, dict) else f"`{json.dumps(default)}`"


def _type(field: Schema, kinds: dict[str, str]) -> str:
    if "$ref" in field:
        name = kinds.get(title := field["$ref"].rsplit("/", 1)[1], title)
        return f"[{name}](#{name.lower()})"
    if "enum" in field or "const" in field:
        return " or ".join(f"`{json.dumps(one)}`" for one in field.get("enum", [field.get("const")]))
    if choices := field.get("anyOf", field.get("oneOf")):
        if any("create_table" in one.get("properties", {}) for one in choices):
            return "[operation](#operations)"
        wanted = [one for one in choices if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(_type(one, kinds) for one in wanted))
    return _plain_type(field, kinds)


def _plain_type(field: Schema, kinds: dict[str, str]) -> str:
    kind = field.get("type")
    inner = field.get("additionalProperties")
    if kind == "array":
        return f"list of {_type(field['items'], kinds)}"
    if kind == "object" and isinstance(inner, dict):
        return "mapping" if "properties" in inner else f"mapping to {_type(inner, kinds)}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _page(lines: list[str]) -> str:
    return "\n\n".join(line for line in lines if line) + "\n"


def pages() -> dict[str, str]:
    """Return every generated file by its name."""
    return {
        "spec.schema.json": json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n",
        "spec.md": spec_page(),
        "profile.md": profile_page(),
        "errors.md": errors_page(),
        "cli.md": cli_page(),
    }


def outdated() -> list[str]:
    """Name the files that are not what the code says."""
    return [
        name
        for name, text in pages().items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Write what is out of date; with --check, exit with 1 if anything is."""
    names = outdated()
    if "--check" in sys.argv:
        sys.exit(f"out of date: {', '.join(names)}; run make docs" if names else 0)
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        (FOLDER / name).write_text(pages()[name], encoding="utf-8")


if __name__ == "__main__":
    main()
