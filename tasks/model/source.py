"""From the text of a spec to the spec, or to everything that is wrong with the text.

Nothing is read from a file here: the caller does that, and says where the text comes from.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.nodes import Node

from tasks.model.document import Document, Location, Problem, Spot, UnreadableError, show
from tasks.model.errors import SpecError
from tasks.model.pgroll.translation import looks_like, translate
from tasks.model.spec import MigrationSpec

Schema = Mapping[str, Any]

PGROLL = "pgroll:"
"""Before the path of a migration file of pgroll."""
_SHOWN = 60
"""Characters of a value in a message."""


class InvalidSpecError(SpecError):
    """The text of a spec is wrong; `problems` tells each place, by line."""

    def __init__(self, origin: str, problems: tuple[Problem, ...]) -> None:
        first, *others = problems
        if others:
            listed = "".join(f"\n  {_line(origin, one)}\n    hint: {one.hint}" for one in problems)
            what, where = f"the spec has {len(problems)} problems{listed}", origin
            hint = "Correct each of them."
        else:
            what, where, hint = first.reason, _place(origin, first), first.hint
        super().__init__(what, where=where, hint=hint)
        self.origin = origin
        self.problems = problems


def _place(origin: str, problem: Problem) -> str:
    place = f"{origin}:{problem.line}:{problem.column}"
    return f"{place} ({problem.path})" if problem.path else place


def _line(origin: str, problem: Problem) -> str:
    return f"{_place(origin, problem)}: {problem.reason}"


def is_spec(target: str) -> bool:
    """Tell the path of a spec, or of a file of pgroll, from the name of a migration."""
    return "/" in target or target.endswith((".yaml", ".yml", ".json")) or target.startswith(PGROLL)


def file_of(origin: str) -> str:
    """Return the path to read, without what says that it is a file of pgroll."""
    return origin.removeprefix(PGROLL)


def parse(text: str, origin: str) -> MigrationSpec:
    """Read a spec from YAML 1.2 or JSON; `origin`, for example a file name, stands in the messages.

    After `pgroll:`, the text is that of a migration file of pgroll. Raise InvalidSpecError, a SpecError, that lists
    every problem found.
    """
    file = file_of(origin)
    try:
        document = Document(text)
        foreign = translate(document, file) if file != origin else None
    except UnreadableError as error:
        raise InvalidSpecError(file, (error.problem,)) from None
    value = document.value if foreign is None else foreign.value
    problems = [*document.problems, *(foreign.problems if foreign else ())]
    spec = None
    try:
        spec = MigrationSpec.model_validate(value)
    except ValidationError as error:
        # pydantic does not count items that are wrong: a list is too short only when it is empty.
        errors = [one for one in error.errors(include_url=False) if one["type"] != "too_short" or not one["input"]]
        problems += _unreported(problems, [_problem(document, one, file) for one in errors])
    if foreign is None:
        problems += _unreported(problems, _nulls(document, problems))
    if spec is None or problems:
        raise InvalidSpecError(file, tuple(sorted(problems)))
    return spec


def notes(text: str, origin: str) -> tuple[str, ...]:
    """Return what to tell people about the way a text was read that `parse` takes: of a spec of ours, nothing."""
    return translate(Document(text), file_of(origin)).notes if origin.startswith(PGROLL) else ()


def find(text: str, location: Location) -> Spot:
    """Return where a text that `parse` takes says what a location of the spec is about."""
    return Document(text).find(location)


def _unreported(known: list[Problem], found: Iterable[Problem]) -> list[Problem]:
    """Leave out what only follows from a problem that is known already."""
    paths = {one.path for one in known}
    return [one for one in found if one.path not in paths]


def _problem(document: Document, error: ErrorDetails, file: str) -> Problem:
    spot = document.find(error["loc"], at_key=error["type"] == "extra_forbidden")
    reason, hint = _explain(error, spot)
    if error["loc"] in (("migration",), ("name",)) and looks_like(document.value):
        hint = f"For a file of pgroll, use changeover plan {PGROLL}{file}; for a spec, add migration and a name."
    return Problem(line=spot.line, column=spot.column, path=show(spot.path), reason=reason, hint=hint)


def _nulls(document: Document, known: list[Problem]) -> Iterator[Problem]:
    """Refuse keys that were left empty: half-written, they would count as not given."""
    around = {one.path for one in known}
    for path in document.nulls:
        schemas = list(_schemas(path))
        allowed = not schemas or any("null" in _types(one) for one in schemas)
        if not allowed and show(path[:-1]) not in around:
            spot = document.find(path, at_key=True)
            yield Problem(
                line=spot.line,
                column=spot.column,
                path=show(path),
                reason="the value is empty",
                hint="Write a value, or remove the key.",
            )


_WANTED = {
    "bool_type": ("true or false", "Write true or false."),
    "float_type": ("a number", "Write a number, without quotes."),
    "tuple_type": ("a list", "Write a list: [a, b], or one item a line after a dash."),
    "model_type": ("a mapping", "Write keys, each with a colon and its value."),
    "dict_type": ("a mapping", "Write keys, each with a colon and its value."),
}


def _explain(error: ErrorDetails, spot: Spot) -> tuple[str, str]:
    """Return reason and hint, in the words of the author's text rather than in those of Python."""
    last = str(spot.path[-1]) if spot.path else ""
    value = error["input"]
    match error["type"]:
        case "refused":
            return error["ctx"]["reason"], error["ctx"]["hint"]
        case "missing":
            words = f"the key {last!r} is missing", f"Add {last}."
        case "extra_forbidden":
            words = f"unknown key {last!r}", _closest(last, _keys(spot.path[:-1]))
        case "literal_error":
            words = f"{_shown(value)} is not a value of {last}", _closest(str(value), _values(spot.path))
        case "string_type":
            words = f"expected a text, found {_shown(value)}", _quoted(spot.node)
        case "too_short":
            words = "there is nothing in it", "Write at least one item."
        case kind if kind in _WANTED:
            wanted, hint = _WANTED[kind]
            words = f"expected {wanted}, found {_shown(value)}", hint
        case "value_error":
            words = _split(error["msg"].removeprefix("Value error, "))
        case _:
            words = error["msg"], "Correct the value."
    return words


def _split(message: str) -> tuple[str, str]:
    """Take apart `reason: remedy`, the form of the errors of `names`."""
    reason, colon, remedy = message.rpartition(": ")
    return (reason, f"{remedy[:1].upper()}{remedy[1:]}.") if colon else (message, "Correct the value.")


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"the text {_short(value)!r}" if isinstance(value, str) else f"the value {_short(str(value))}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _quoted(node: Node) -> str:
    if isinstance(node.value, str) and node.value:
        return f'Put it in quotes: "{_short(node.value)}".'
    return "Write a text."


def _closest(word: str, known: list[str]) -> str:
    folded = {one.lower(): one for one in known}
    close = get_close_matches(word.lower(), folded, n=1)
    return f"Did you mean {folded[close[0]]!r}?" if close else f"Write one of {', '.join(known)}."


@cache
def _root() -> Schema:
    return MigrationSpec.model_json_schema()


def _alternatives(schema: Schema) -> Iterator[Schema]:
    if "$ref" in schema:
        schema = _root()["$defs"][schema["$ref"].rpartition("/")[2]]
    yield schema
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _alternatives(one)


def _schemas(path: Location) -> Iterator[Schema]:
    """Yield what the JSON Schema of a spec knows about a place."""
    current = list(_alternatives(_root()))
    for part in path:
        steps = [_step(one, part) for one in current]
        current = [one for step in steps if isinstance(step, Mapping) for one in _alternatives(step)]
    yield from current


def _step(schema: Schema, part: str | int) -> object:
    if isinstance(part, int):
        return schema.get("items")
    return schema.get("properties", {}).get(part, schema.get("additionalProperties"))


def _keys(path: Location) -> list[str]:
    return sorted({key for one in _schemas(path) for key in one.get("properties", ())})


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _values(path: Location) -> list[str]:
    found = [value for one in _schemas(path) for value in (*one.get("enum", ()), one.get("const"))]
    return sorted({str(value) for value in found if value is not None})
