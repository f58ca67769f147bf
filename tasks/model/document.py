"""A YAML 1.2 or JSON text as plain values that remember where they stood.

The text is composed into nodes and turned into values here, not by a constructor of the library: every node
knows its place, every duplicate key is found, and aliases cannot grow without bound.
"""

import re
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

MAX_SIZE = 1024 * 1024
"""In bytes."""
MAX_VALUES = 100_000
"""With every alias counted as often as it is used."""
MAX_DEPTH = 40

Location = tuple[str | int, ...]

_PREFIX = "tag:yaml.org,2002:"
_SCALARS = {_PREFIX + name for name in ("str", "int", "float", "bool", "null", "timestamp")}
_MERGE = _PREFIX + "merge"
# Line breaks to YAML 1.1 and, in part, to the library: within a text it would turn U+0085 into a space.
_SEPARATORS = re.compile("[\x85\u2028\u2029]")


@dataclass(frozen=True, kw_only=True, order=True)
class Problem:
    """Something in a text that its author has to change. Lines and columns count from 1."""

    line: int
    column: int
    path: str
    """For example `operations[0].add_column.table`; empty: the whole text."""
    reason: str
    hint: str


class UnreadableError(Exception):
    """The text is no YAML at all, or more than can be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A value found by its path, or what is left of the way to it."""

    path: Location
    """With the keys as they are in the text."""
    node: Node
    """The value, or the innermost one around it that exists."""
    line: int
    column: int


class Document:
    """Hold the values of a text, the problems found while reading them, and the place of each value.

    Raise UnreadableError when there is nothing to hold.
    """

    def __init__(self, text: str) -> None:
        self._yaml = YAML(typ="safe", pure=True)
        self.problems: list[Problem] = []
        self.nulls: list[Location] = []
        """Paths of values that were left empty, or written as null."""
        self._values = 0
        self._entries: dict[int, dict[str | int, tuple[str, Node, Node]]] = {}
        self.root = self._compose(text)
        self.value = self._construct(self.root, ())

    def _compose(self, text: str) -> Node:
        if len(text.encode(errors="surrogatepass")) > MAX_SIZE:
            raise _unreadable(0, 0, "the text is larger than 1 MiB", "Split the migration.")
        separator = _SEPARATORS.search(text)
        if separator:
            raise _character(text, separator.start(), ord(separator.group()))
        try:
            root: Node | None = self._yaml.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line, mark.column) if mark else (0, 0)
            hint = "Correct the indentation, quotes or brackets here."
            raise _unreadable(line, column, _syntax(error), hint) from None
        except ReaderError as error:
            raise _character(text, error.position, error.character) from None
        except YAMLError as error:
            raise _unreadable(0, 0, str(error).splitlines()[0], "Correct the YAML.") from None
        except RecursionError:
            raise _too_deep(0, 0) from None
        if root is None:
            raise _unreadable(0, 0, "the text is empty", "Write at least migration and operations.")
        return root

    def _construct(self, node: Node, path: Location) -> Any:
        self._values += 1
        line, column = node.start_mark.line, node.start_mark.column
        if len(path) > MAX_DEPTH:
            raise _too_deep(line, column)
        if self._values > MAX_VALUES:
            raise _unreadable(line, column, f"there are more than {MAX_VALUES} values", "Use fewer aliases.")
        if isinstance(node, MappingNode) and self._known_tag(node, path, {_PREFIX + "map"}):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and self._known_tag(node, path, {_PREFIX + "seq"}):
            return [self._construct(one, (*path, number)) for number, one in enumerate(node.value)]
        if isinstance(node, ScalarNode) and self._known_tag(node, path, _SCALARS):
            return self._scalar(node, path)
        return None

    def _known_tag(self, node: Node, path: Location, known: set[str]) -> bool:
        if str(node.tag) in known:
            return True
        tag = str(node.tag).replace(_PREFIX, "!!")
        self._problem(node, path, f"the tag {tag} is not known here", "Remove the tag, or quote the text.")
        return False

    def _mapping(self, node: MappingNode, path: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = _joined(key.value) if isinstance(key, ScalarNode) else None
            if name is None:
                self._problem(key, path, "this cannot be a key", "Write a simple text before the colon.")
            elif str(key.tag) == _MERGE:
                reason = "merge keys are not part of YAML 1.2"
                self._problem(key, (*path, "<<"), reason, "Write the keys out, or use an alias as a value.")
            elif name in values:
                reason = f"the key {name!r} is given twice, first in line {lines[name]}"
                self._problem(key, (*path, name), reason, "Remove one of the two.")
            else:
                lines[name] = key.start_mark.line + 1
                values[name] = self._construct(value, (*path, name))
        return values

    def _scalar(self, node: ScalarNode, path: Location) -> Any:
        try:
            value = self._yaml.constructor.construct_object(node)
        except (YAMLError, ValueError):
            tag = str(node.tag).replace(_PREFIX, "!!")
            self._problem(node, path, f"{node.value!r} is not of the type {tag}", "Correct the value.")
            return None
        if value is None:
            self.nulls.append(path)
        text = _joined(value) if isinstance(value, str) else value
        if text is None and value is not None:
            self._problem(node, path, "the text contains half of a surrogate pair", "Correct the escape.")
        return text

    def _problem(self, node: Node, path: Location, reason: str, hint: str) -> None:
        mark = node.start_mark
        self.problems.append(
            Problem(line=mark.line + 1, column=mark.column + 1, path=show(path), reason=reason, hint=hint)
        )

    def find(self, location: Location, *, at_key: bool = False) -> Spot:
        """Find a value, or the innermost one that exists on the way to it.

        A scalar is found where it stands, everything else, and whatever `at_key` asks for, at its key.
        """
        node, mark = self.root, self.root.start_mark
        path: Location = ()
        for done, part in enumerate(location):
            child = self._child(node, part)
            if child is None:
                # Beyond a scalar there is nothing that an author could have left out.
                path = path if isinstance(node, ScalarNode) else (*path, *location[done:])
                break
            key, key_node, node = child
            path = (*path, key)
            own = isinstance(node, ScalarNode) and node.value != "" and not at_key
            mark = node.start_mark if own or key_node is None else key_node.start_mark
        return Spot(path=path, node=node, line=mark.line + 1, column=mark.column + 1)

    def _child(self, node: Node, part: str | int) -> tuple[str | int, Node | None, Node] | None:
        """Return the key as it is in the text, its node if it has one, and the value."""
        if isinstance(node, MappingNode):
            if id(node) not in self._entries:
                self._entries[id(node)] = _entries(node)
            return self._entries[id(node)].get(part)
        if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            return part, None, node.value[part]
        return None


def _entries(node: MappingNode) -> dict[str | int, tuple[str, Node, Node]]:
    """Return what a mapping holds by its keys, and by their numbers: some mappings are lists to the model."""
    entries: dict[str | int, tuple[str, Node, Node]] = {}
    for number, (key, value) in enumerate(node.value):
        name = _joined(key.value) if isinstance(key, ScalarNode) else None
        if name is not None:
            entries[number] = (name, key, value)
            entries.setdefault(name, (name, key, value))
    return entries


def show(path: Location) -> str:
    """Write a path the way people do: `operations[0].add_column.table`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def _joined(value: str) -> str | None:
    """Join surrogate pairs: JSON may write one character as two escapes. None: one of a pair is missing."""
    try:
        return value.encode("utf-16", errors="surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def _syntax(error: MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return ", ".join(parts) or "the text is no YAML"


def _unreadable(line: int, column: int, reason: str, hint: str) -> UnreadableError:
    return UnreadableError(Problem(line=line + 1, column=column + 1, path="", reason=reason, hint=hint))


def _character(text: str, position: int, character: int) -> UnreadableError:
    before = text[:position]
    column = len(before) - (before.rfind("\n") + 1)
    reason = f"the character U+{character:04X} cannot stand in YAML"
    return _unreadable(before.count("\n"), column, reason, "Remove it, or write it as an escape.")


def _too_deep(line: int, column: int) -> UnreadableError:
    return _unreadable(line, column, "the values are nested too deeply", "Remove the nesting, or the alias.")
