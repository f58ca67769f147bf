"""Files of pgroll that say what cannot be said here, and such as are none: refused at their place."""

import json
from textwrap import dedent
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.model.document import Problem
from tasks.model.operations import AnyOperation
from tasks.model.source import InvalidSpecError, notes, parse
from tests.unit.refusals import HERE
from tests.unit.test_pgroll import ONE, problems, refuse


def test_an_unknown_key_at_the_top() -> None:
    refuse(
        "▸operation: x\noperations: [{drop_table: {name: t}}]",
        "operation",
        "unknown key 'operation' in a file of pgroll",
        "Write one of name, operations, version_schema.",
    )


def test_a_spec_of_ours_is_no_file_of_pgroll() -> None:
    (problem,) = problems("migration: m\n" + ONE)
    assert problem.hint == "This is a spec of Changeover's own: leave out pgroll:."


def test_errors_stand_where_the_file_has_them() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse(
            dedent("""\
                name: m
                operations:
                  - add_column:
                      table: t
                      column: {name: c, type: int, nullabel: true}
                      up: null
                  - alter_column:
                      table: u
                      column: a
                      check: {name: k, constraint: a > 0, no_inherit: 7}
                      references: {name: f, table: t, column: c, match_type: partial}
                      up: a
                      down: a
                """),
            "pgroll:db/m.yaml",
        )
    assert caught.value.origin == "db/m.yaml"
    assert [(one.line, one.column, one.path) for one in caught.value.problems] == [
        (5, 36, "operations[0].add_column.column.nullabel"),
        (10, 55, "operations[1].alter_column.check.no_inherit"),
        (11, 62, "operations[1].alter_column.references.match_type"),
    ]


@pytest.mark.parametrize(
    ("operation", "path", "hint"),
    [
        ("create_constraint: {table: t, name: f, type: foreign_key, columns: [a],"
         " references: {table: u, columns: [c], on_delete: set null, on_delete_set_columns: [▸b]}}",
         "references.on_delete_set_columns[0]", "Name one of its columns"),
        ("create_constraint: {table: t, name: f, type: foreign_key, columns: [a],"
         " references: {table: u, columns: [c], ▸on_delete_set_columns: [a]}}",
         "references.on_delete_set_columns", "Write on_delete: SET NULL"),
        ("create_constraint: {table: t, name: u, type: unique, columns: [a], ▸index_parameters: {tablespace: s}}",
         "index_parameters", "Remove them: pgroll does not"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_with_a_remedy(operation: str, path: str, hint: str) -> None:
    before, _, after = f"operations:\n  - {operation}".partition(HERE)
    (problem,) = problems(before + after)
    assert problem.path == f"operations[0].{operation.partition(':')[0]}.{path}"
    assert problem.hint.startswith(hint)
    assert problem.column == len(before) - before.rfind("\n")


@pytest.mark.parametrize(
    "text", ["[]", "a text", "operations: 7", "operations: [7, {sql: 7}, {a: 1, b: 2}]", "name: m"]
)
def test_what_is_no_migration_at_all_is_refused_with_a_place(text: str) -> None:
    assert all(one.line == 1 for one in problems(text))


KINDS = [one.kind for one in get_args(AnyOperation)]
KEYS = [
    "table",
    "name",
    "column",
    "columns",
    "constraints",
    "up",
    "down",
    "type",
    "check",
    "references",
    "unique",
    "exclude",
    "generated",
    "identity",
    "index_parameters",
    "default",
    "comment",
    "nullable",
    "no_inherit",
]
LEAVES = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "t", "a", "check", "primary_key", "SELECT 1"])
PARTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
OPERATIONS = st.dictionaries(
    st.sampled_from(KINDS), PARTS | st.dictionaries(st.sampled_from(KEYS), PARTS), min_size=1, max_size=1
)


@given(st.lists(OPERATIONS, max_size=4))
def test_values_of_the_wrong_kind_are_refused_not_stumbled_over(operations: list[Any]) -> None:
    text = json.dumps({"operations": operations})
    found: tuple[Problem, ...] = ()
    try:
        parse(text, "pgroll:m.json")
        assert all(notes(text, "pgroll:m.json"))
    except InvalidSpecError as error:
        found = error.problems
    assert all(one.line == 1 and one.reason and one.hint for one in found)
