"""Specs as authors write them, and refusals held against the mark at which they have to stand."""

from collections.abc import Callable
from textwrap import dedent, indent
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.model.document import Problem
from tasks.model.operations import AnyOperation
from tasks.model.source import InvalidSpecError, parse
from tasks.model.spec import MigrationSpec

HERE = "▸"
Refusal = tuple[str, str, str]
"""Path, reason and hint."""


def problems(text: str, read: Callable[[str], object] | None = None) -> tuple[Problem, ...]:
    """Everything that is wrong with a text."""
    with pytest.raises(InvalidSpecError) as caught:
        (read or (lambda text: parse(text, "m.yaml")))(text)
    return caught.value.problems


def at_the_mark(text: str, read: Callable[[str], object] | None = None) -> Refusal:
    """Say what is wrong with a text; it is one thing, and it stands at the mark."""
    before, mark, after = text.partition(HERE)
    assert mark
    (problem,) = problems(before + after, read)
    assert (problem.line, problem.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
    return problem.path, problem.reason, problem.hint


def one_operation(body: str) -> str:
    """A spec of one operation."""
    return "migration: m\noperations:\n" + indent("- " + indent(dedent(body).strip(), "  ").lstrip(), "  ") + "\n"


def accept(body: str) -> AnyOperation:
    """Read an operation."""
    (operation,) = parse(one_operation(body), "m.yaml").operations
    return operation


def refuse(body: str, path: str, reason: str, hint: str) -> None:
    """The one problem of an operation stands at the mark, under this path."""
    assert at_the_mark(one_operation(body)) == (f"operations[0].{path}", reason, hint)


def spec(*operations: Any, **more: Any) -> MigrationSpec:
    """A spec of these operations."""
    return MigrationSpec.model_validate({"migration": "m", "operations": list(operations), **more})


def refused(*operations: Any, **more: Any) -> list[Refusal]:
    """Why these operations cannot stand together."""
    with pytest.raises(ValidationError) as caught:
        spec(*operations, **more)
    return [
        (".".join(map(str, error["loc"])), error["ctx"]["reason"], error["ctx"]["hint"])
        for error in caught.value.errors()
    ]
