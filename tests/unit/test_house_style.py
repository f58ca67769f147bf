"""Sizes that keep a room liveable, and a docstring on everything public."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "validations", "profiles", "examples", "benchmarks")
LONGEST = 500
MEDIAN = 150
OURS = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EVERYTHING = [*OURS, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "docs").rglob("*.py"))]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines(path: Path) -> int:
    """Count the lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def name(path: Path) -> str:
    """Name a file as people do."""
    return str(path.relative_to(ROOT))


def undocumented(path: Path) -> Iterator[str]:
    """Give what is public in a module and has no docstring.

    Private is what begins with an underscore, is inside of something private, or inside of a function; special
    methods, overloads and the `...` of a Protocol's members explain themselves by what they implement.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree):
        yield f"{name(path)}:1"
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if not isinstance(node, (ast.ClassDef, *FUNCTIONS)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not _is_overload(node):
            yield f"{name(path)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            pending += node.body


def _is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list)


def test_no_file_is_longer_than_a_room() -> None:
    """Nobody reads a file of a thousand lines."""
    too_long = {name(path): lines(path) for path in EVERYTHING if lines(path) > LONGEST}
    assert too_long == {}


def test_the_median_file_is_short() -> None:
    """Most files are read in one look."""
    assert median(lines(path) for path in OURS) < MEDIAN


@pytest.mark.parametrize("path", OURS, ids=name)
def test_everything_public_has_a_docstring(path: Path) -> None:
    """Modules, classes, functions, methods and properties."""
    assert list(undocumented(path)) == []


def test_docstrings_say_something() -> None:
    """A docstring is a sentence: it ends like one in its first paragraph."""
    wrong = []
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and (text := ast.get_docstring(node)):
                first = text.split("\n\n")[0].strip().rstrip("*")
                if not first.endswith((".", ":", "?", "!", "`", "```")):
                    wrong.append(f"{name(path)}:{getattr(node, 'lineno', 1)} {first[-40:]!r}")
    assert wrong == []
