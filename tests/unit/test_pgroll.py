"""Files of pgroll as they are: names, words, defaults, and the place of everything that cannot be said."""

import json
from textwrap import dedent, indent
from typing import Any

import pytest

from tasks.model.document import Problem
from tasks.model.operations import DropTable
from tasks.model.source import InvalidSpecError, file_of, find, is_spec, notes, parse
from tasks.model.spec import MigrationSpec
from tests.unit.refusals import at_the_mark
from tests.unit.refusals import problems as problems_of


def read(text: str, file: str = "m.yaml") -> MigrationSpec:
    return parse(dedent(text), f"pgroll:{file}")


def body(text: str, number: int = 0) -> dict[str, Any]:
    """One operation of a file, given as a list of YAML, in our words."""
    spec = read("operations:\n" + indent(dedent(text), "  "))
    (said,) = spec.model_dump(mode="json", exclude_defaults=True)["operations"][number].values()
    assert isinstance(said, dict)
    return said


def problems(text: str, file: str = "m.yaml") -> tuple[Problem, ...]:
    return problems_of(text, lambda text: read(text, file))


def refuse(text: str, path: str, reason: str, hint: str) -> None:
    assert at_the_mark(dedent(text), read) == (path, reason, hint)


# The file and its name.

ONE = "operations: [{drop_table: {name: t}}]"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("03_add_note.yaml", "03_add_note"),
        ("db/migrations/004-Widen.Ids.json", "004-widen_ids"),
        ("A b.yml", "a_b"),
        ("_x.yaml", "x"),
        ("Ünïcode.yaml", "n_code"),
    ],
)
def test_a_migration_is_called_like_its_file(file: str, name: str) -> None:
    assert parse(ONE, f"pgroll:{file}").migration == name


def test_another_name_than_that_of_the_file_is_said() -> None:
    assert notes(ONE, "pgroll:03_add_note.yaml") == ()
    (note,) = notes(ONE, "pgroll:db/004-Widen.yaml")
    assert note.startswith("the migration is called 004-widen, after its file 004-Widen")


def test_a_name_in_the_file_is_taken_note_of_when_it_differs() -> None:
    assert notes("name: m\n" + ONE, "pgroll:m.yaml") == ()
    (note,) = notes("name: other\n" + ONE, "pgroll:m.yaml")
    assert note == "the name 'other' in the file is not used: a migration of pgroll is called like its file"
    assert parse("name: other\n" + ONE, "pgroll:m.yaml").migration == "m"


@pytest.mark.parametrize("file", ["___.yaml", f"{'a' * 64}.yaml"])
def test_a_file_whose_name_cannot_be_used_is_refused(file: str) -> None:
    (problem,) = problems(ONE, file)
    assert problem.line == 1
    assert problem.reason.startswith("the name of the file")


def test_the_prefix_makes_a_file_of_a_target() -> None:
    assert is_spec("pgroll:x")
    assert (file_of("pgroll:a/b.yaml"), file_of("a/b.yaml")) == ("a/b.yaml", "a/b.yaml")
    assert parse(ONE, "pgroll:m.yaml").spec_digest == parse("migration: m\n" + ONE, "m.yaml").spec_digest


def test_a_version_schema_is_taken_over() -> None:
    assert read("version_schema: v2\n" + ONE).version_schema == "v2"
    assert read("version_schema: ''\n" + ONE).version_schema is None
    assert read(ONE).version_schema is None


def test_json_as_pgroll_writes_it() -> None:
    text = json.dumps(
        {
            "name": "m",
            "operations": [
                {"add_column": {"table": "t", "up": "", "column": {"name": "c", "type": "int", "nullable": True}}},
                {"sql": {"up": "select 1", "down": "", "onComplete": True}},
            ],
        },
        indent=2,
    )
    first, second = parse(text, "pgroll:m.json").model_dump(mode="json", exclude_defaults=True)["operations"]
    assert first == {"add_column": {"table": "t", "column": {"name": "c", "type": "int", "nullable": True}}}
    assert second == {"sql": {"up": "select 1", "on_complete": True}}


# Words.


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("select 1", "(select 1)"),
        ("  WITH a AS (SELECT 1 AS b) SELECT b FROM a ", "(WITH a AS (SELECT 1 AS b) SELECT b FROM a)"),
        ("select 1 -- one", "(select 1 -- one\n)"),
        ("(select 1)", "(select 1)"),
        ("selected + 1", "selected + 1"),
        ("a || 'select'", "a || 'select'"),
    ],
)
def test_a_query_is_put_into_parentheses(written: str, said: str) -> None:
    text = {"operations": [{"drop_column": {"table": "t", "column": "c", "down": written}}]}
    (operation,) = parse(json.dumps(text), "pgroll:m.json").model_dump(mode="json")["operations"]
    assert operation["drop_column"]["down"] == said


def test_a_query_that_ends_with_a_semicolon_is_refused_as_any_expression_is() -> None:
    refuse(
        """\
        operations:
          - drop_column: {table: t, column: c, down: ▸select 1;}
        """,
        "operations[0].drop_column.down",
        "an expression does not end with a semicolon",
        "Remove the semicolon.",
    )


def test_null_and_an_empty_text_are_keys_that_were_left_out() -> None:
    said = body("""\
        - create_index:
            name: i
            table: t
            columns: [{column: a, collate: "", sort: "", nulls: null, opclass: {name: "", params: null}}]
            predicate: ""
            storage_parameters: ""
        """)
    assert said == {"name": "i", "table": "t", "columns": [{"column": "a"}]}


def test_yes_and_no_are_true_and_false_unless_they_are_quoted() -> None:
    said = body("- add_column: {table: t, column: {name: c, type: int, nullable: yes, unique: off}}")
    assert said["column"] == {"name": "c", "type": "int", "nullable": True}
    (problem,) = problems("operations: [{add_column: {table: t, column: {name: c, type: int, nullable: 'yes'}}}]")
    assert problem.reason == "expected true or false, found the text 'yes'"


def test_the_columns_of_an_index_in_their_three_forms() -> None:
    wanted = [{"column": "a"}, {"column": "b", "sort": "DESC"}]
    for columns in ('{a: null, b: {sort: DESC, collate: ""}}', "[{column: a}, {column: b, sort: DESC}]"):
        assert body(f"- create_index: {{name: i, table: t, columns: {columns}}}")["columns"] == wanted
    assert body("- create_index: {name: i, table: t, columns: [a]}")["columns"] == [{"column": "a"}]


def test_actions_of_a_foreign_key_are_written_in_any_case() -> None:
    said = body("""\
        - alter_column:
            table: t
            column: c
            references: {name: f, table: u, column: id, on_delete: cascade, on_update: set null, match_type: full}
            up: c
            down: c
        """)
    actions = {"on_delete": "CASCADE", "on_update": "SET NULL", "match_type": "FULL"}
    assert said["references"] == {"name": "f", "table": "u", "column": "id", **actions}


def test_a_condition_may_begin_with_check() -> None:
    said = body("- alter_column: {table: t, column: c, check: {name: k, constraint: 'CHECK (c > 0)'}, up: c, down: c}")
    assert said["check"] == {"name": "k", "constraint": "(c > 0)"}


# A table.


def test_a_table_with_everything_that_its_columns_and_constraints_can_have() -> None:
    said = body("""\
        - create_table:
            name: t
            columns:
              - {name: id, type: bigint, pk: true, nullable: true, generated: {identity: {sequence_options: start 7}}}
              - {name: n, type: serial, nullable: true}
              - {name: twice, type: int, generated: {expression: n * 2, identity: null}}
              - {name: room, type: int, comment: "", check: {name: k, constraint: room > 0, no_inherit: false}}
            constraints:
              - name: u
                type: unique
                columns: [n]
                nulls_not_distinct: true
                index_parameters: {include_columns: [id]}
              - {name: k2, type: check, columns: [n], check: n > 0, no_inherit: true, deferrable: false}
              - {name: x, type: exclude, exclude: {index_method: btree, elements: room WITH =, predicate: ""}}
              - {name: u2, type: unique, columns: [room], deferrable: true, index_parameters: {include_columns: []}}
              - name: f
                type: foreign_key
                columns: [room]
                references: {table: t, columns: [n], on_delete: cascade, on_delete_set_columns: []}
        """)
    assert said == {
        "name": "t",
        "columns": [
            {
                "name": "id",
                "type": "bigint",
                "pk": True,
                "generated": {"identity": {"sequence_options": "start 7"}},
            },
            {"name": "n", "type": "serial"},
            {"name": "twice", "type": "int", "generated": {"expression": "n * 2"}},
            {"name": "room", "type": "int", "check": {"name": "k", "constraint": "room > 0"}},
        ],
        "constraints": [
            {"name": "u", "type": "unique", "columns": ["n"], "nulls_not_distinct": True,
             "index_parameters": {"include_columns": ["id"]}},
            {"name": "k2", "type": "check", "check": "n > 0", "no_inherit": True},
            {"name": "x", "type": "exclude", "exclude": {"index_method": "btree", "elements": "room WITH ="}},
            {"name": "u2", "type": "unique", "columns": ["room"], "deferrable": True},
            {"name": "f", "type": "foreign_key", "columns": ["room"],
             "references": {"table": "t", "columns": ["n"], "on_delete": "CASCADE"}},
        ],
    }  # fmt: skip


def test_a_check_of_a_column_that_is_not_inherited_becomes_one_of_the_table() -> None:
    said = body("""\
        - create_table:
            name: t
            columns: [{name: a, type: int, check: {name: k, constraint: CHECK (a > 0), no_inherit: true}}]
        """)
    assert said["columns"] == [{"name": "a", "type": "int"}]
    assert said["constraints"] == [{"name": "k", "type": "check", "check": "(a > 0)", "no_inherit": True}]


def test_a_column_of_the_primary_key_is_not_nullable_whatever_is_wished() -> None:
    said = body("""\
        - create_table:
            name: t
            columns: [{name: a, type: int, nullable: true}, {name: b, type: int, nullable: true}]
            constraints: [{name: t_pk, type: primary_key, columns: [a]}]
        """)
    assert said["columns"] == [{"name": "a", "type": "int"}, {"name": "b", "type": "int", "nullable": True}]


def test_a_constraint_on_a_table_of_the_same_file_becomes_part_of_it() -> None:
    text = """\
        operations:
          - create_table: {name: t, columns: [{name: a, type: int, nullable: true}]}
          - create_constraint: {name: p, table: t, type: primary_key, columns: [a], up: {a: a}, down: {a: a}}
          - create_constraint: {name: k, table: t, type: check, columns: [a], check: a > 0, up: {a: a}, down: {a: '1'}}
          - drop_table: {name: u}
        """
    folding = read(text).folding
    (_, first), second = folding.operations
    said = first.model_dump(mode="json", exclude_defaults=True)
    assert said["columns"] == [{"name": "a", "type": "int"}]
    assert said["constraints"] == [
        {"name": "p", "type": "primary_key", "columns": ["a"]},
        {"name": "k", "type": "check", "check": "a > 0"},
    ]
    assert second == (3, DropTable(name="u"))
    assert folding.notes == tuple(
        f"operations[{number}].create_constraint is part of operations[0].create_table" for number in (1, 2)
    )


def test_what_comes_after_such_a_constraint_keeps_its_place() -> None:
    text = dedent("""\
        operations:
          - create_table: {name: t, columns: [{name: a, type: int}]}
          - create_constraint: {name: u, table: t, type: unique, columns: [a], up: {a: a}, down: {a: a}}
          - drop_column: {table: v, column: c, down: "1;"}
        """)
    (problem,) = problems(text)
    assert (problem.line, problem.path) == (4, "operations[2].drop_column.down")
    spot = find(text.replace(";", ""), ("operations", 2, "drop_column", "down"))
    assert (spot.line, spot.path[1]) == (4, 2)


# Columns that are altered or dropped.


@pytest.mark.parametrize(
    "changes",
    ["default: null", "default: '7'", "comment: null", "nullable: false", "unique: {name: u}"],
)
def test_expressions_that_change_nothing_are_left_out_where_that_is_the_same(changes: str) -> None:
    text = f"- alter_column: {{table: t, column: c, {changes}, up: c, down: c}}"
    said = body(text)
    assert said.keys().isdisjoint({"up", "down", "lossy"})
    assert len(said) == 3
    assert notes(f"operations:\n{text}", "pgroll:m.yaml") == (
        "t.c is altered where it is: its up and down change no value",
    )


@pytest.mark.parametrize("changes", ["type: text", "nullable: true"])
def test_they_are_kept_where_the_old_column_is_needed(changes: str) -> None:
    said = body(f"- alter_column: {{table: t, column: c, {changes}, up: c, down: c}}")
    assert (said["up"], said["down"], said["lossy"]) == ("c", "c", True)


def test_an_empty_comment_is_none() -> None:
    assert body("- alter_column: {table: t, column: c, comment: '', up: '', down: ''}") == {
        "table": "t", "column": "c", "comment": None,
    }  # fmt: skip


def test_without_down_the_column_itself_is_the_old_value() -> None:
    said = body('- alter_column: {table: t, column: C, nullable: false, up: coalesce("C", 0)}')
    assert (said["down"], said["lossy"]) == ('"C"', True)
    assert "down" not in body("- alter_column: {table: t, column: c, type: int, up: c::int}")


def test_the_old_value_need_not_come_back_exactly_and_that_is_said() -> None:
    text = """\
        - drop_column: {table: t, column: a, down: "0"}
        - drop_constraint: {table: t, name: k, up: b, down: "greatest(b, 1)"}
        - drop_multicolumn_constraint: {table: u, name: k, up: {a: a}, down: {a: "abs(a)"}}
        - create_constraint: {table: v, name: k, type: unique, columns: [a], up: {a: SELECT a}, down: {a: a}}
        """
    assert all(body(text, number)["lossy"] for number in range(4))
    assert body(text, 3)["up"] == {"a": "(SELECT a)"}
    (note,) = notes("operations:\n" + dedent(text), "pgroll:m.yaml")
    assert note.endswith(
        "operations[0].drop_column, operations[1].drop_constraint, "
        "operations[2].drop_multicolumn_constraint, operations[3].create_constraint"
    )


def test_values_that_stay_need_no_way_back() -> None:
    said = body("- create_constraint: {table: t, name: k, type: unique, columns: [a], up: {a: a}, down: {a: a}}")
    assert "lossy" not in said
    assert "lossy" not in body("- drop_column: {table: t, column: a}")


def test_a_rename_as_it_was_written_before() -> None:
    spec = read("operations: [{alter_column: {table: t, column: a, name: b, up: '', down: ''}}]")
    assert spec.model_dump(mode="json")["operations"] == [{"rename_column": {"table": "t", "from": "a", "to": "b"}}]


def test_a_rename_beside_other_changes_is_refused() -> None:
    refuse(
        """\
        operations:
          - alter_column: {table: t, column: a, ▸name: b, nullable: false}
        """,
        "operations[0].alter_column.name",
        "an alter_column of pgroll that also gives the column another name is no longer known",
        "Write rename_column with from and to, in a migration of its own.",
    )


def test_what_is_the_same_in_both_is_passed_on() -> None:
    assert body("- rename_table: {from: a, to: b}") == {"from": "a", "to": "b"}
    assert body("- drop_index: {name: i}") == {"name": "i"}
    assert body("- rename_constraint: {table: t, from: a, to: b}") == {"table": "t", "from": "a", "to": "b"}
    said = body("- set_replica_identity: {table: t, identity: {type: full, index: ''}}")
    assert "index" not in said["identity"]


# The way from the other side.


@pytest.mark.parametrize("text", [ONE, "name: m\n" + ONE, "version_schema: v\n" + ONE])
def test_a_file_of_pgroll_given_as_a_spec_of_ours_gets_the_hint(text: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse(text, "db/01_x.yaml")
    hints = {one.hint for one in caught.value.problems}
    assert hints == {
        "For a file of pgroll, use changeover plan pgroll:db/01_x.yaml; for a spec, add migration and a name."
    }


def test_any_other_spec_without_a_name_does_not() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse("owner: ada\n" + ONE, "x.yaml")
    assert [one.hint for one in caught.value.problems] == ["Add migration."]
