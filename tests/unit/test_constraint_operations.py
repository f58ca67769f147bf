# ruff: noqa: E501 - one case a line reads better than one folded
"""The operations on constraints: what they accept, tell about themselves, and refuse, at its place."""

from textwrap import dedent, indent

import pytest

from tasks.model.operations import (
    AnyOperation,
    CreateConstraint,
    DropConstraint,
    DropMulticolumnConstraint,
    RenameConstraint,
)
from tasks.model.operations.conversions import converted, is_column
from tasks.model.source import InvalidSpecError, parse

HERE = "▸"


def spec(*bodies: str) -> str:
    listed = (indent("- " + indent(dedent(body).strip(), "  ").lstrip(), "  ") for body in bodies)
    return "migration: m\noperations:\n" + "\n".join(listed) + "\n"


def accept(body: str) -> AnyOperation:
    (operation,) = parse(spec(body), "m.yaml").operations
    return operation


def refuse(text: str, path: str, reason: str, hint: str) -> None:
    """The one problem stands at the mark, under this path."""
    before, _, after = text.partition(HERE)
    with pytest.raises(InvalidSpecError) as caught:
        parse(before + after, "m.yaml")
    (problem,) = caught.value.problems
    assert (problem.reason, problem.hint) == (reason, hint)
    assert problem.path == path
    assert problem.line == before.count("\n") + 1
    assert problem.column == len(before) - before.rfind("\n")


def claimed(operation: AnyOperation) -> dict[str, str]:
    return {f"{'.'.join(map(str, claim.at))}={claim.column}": str(claim.manner) for claim in operation.claims()}


def test_the_forms_of_pgroll() -> None:
    unique = accept("""
        create_constraint:
          type: unique
          table: tickets
          name: unique_zip_name
          columns:
            - sellers_name
            - sellers_zip
          up: {sellers_name: sellers_name, sellers_zip: sellers_zip}
          down: {sellers_name: sellers_name, sellers_zip: sellers_zip}
        """)
    assert isinstance(unique, CreateConstraint)
    assert (unique.columns, unique.converted) == (("sellers_name", "sellers_zip"), ())
    check = accept("""
        create_constraint:
          type: check
          table: tickets
          name: check_zip_name
          columns: [sellers_name, sellers_zip]
          check: sellers_name = 'alice' OR sellers_zip > 0
          up:
            sellers_name: sellers_name
            sellers_zip: SELECT CASE WHEN sellers_zip <= 0 THEN 123 ELSE sellers_zip END
          down: {sellers_name: sellers_name, sellers_zip: sellers_zip}
        """)
    assert isinstance(check, CreateConstraint)
    assert check.converted == ("sellers_zip",)
    assert claimed(check) == {"up.sellers_name=sellers_name": "reads", "up.sellers_zip=sellers_zip": "changes"}
    key = accept("""
        create_constraint:
          type: foreign_key
          table: tickets
          name: fk_sellers
          columns: [sellers_name, sellers_zip]
          references: {table: sellers, columns: [name, zip], on_delete: CASCADE, match_type: FULL}
        """)
    assert isinstance(key, CreateConstraint)
    assert (key.tables, key.referenced) == (("tickets",), ("sellers",))
    assert claimed(key) == {"columns.0=sellers_name": "reads", "columns.1=sellers_zip": "reads"}
    dropped = accept("drop_constraint: {table: posts, name: title_length, up: title, down: 'lpad(title, 4)'}")
    assert dropped == DropConstraint(table="posts", name="title_length", up="title", down="lpad(title, 4)")
    several = accept("drop_multicolumn_constraint: {table: t, name: c, up: {a: a, b: b}, down: {a: a, b: upper(b)}}")
    assert isinstance(several, DropMulticolumnConstraint)
    assert several.converted == ("b",)
    renamed = accept("rename_constraint: {table: people, from: name_length, to: name_length_check}")
    assert renamed == RenameConstraint(table="people", from_="name_length", to="name_length_check")


@pytest.mark.parametrize(
    "body",
    [
        "create_constraint: {table: t, name: k, type: primary_key, columns: [a, b]}",
        "create_constraint: {table: t, name: k, type: check, check: a > 0, no_inherit: true}",
        "create_constraint: {table: t, name: k, type: unique, columns: [a], up: {a: a + 1}, lossy: true}",
        "create_constraint: {table: t, name: k, type: unique, columns: [a], deferrable: true}",
        "create_constraint: {table: t, name: k, type: exclusion, exclude: {elements: a with &&, predicate: a > 0}}",
        "drop_constraint: {table: t, name: k}",
        "drop_multicolumn_constraint: {table: t, name: k, down: {a: a + 1}, lossy: true}",
        "rename_constraint: {table: t, from: a, to: b}",
    ],
)  # fmt: skip
def test_written_again_it_is_the_same(body: str) -> None:
    operation = accept(body)
    assert type(operation).model_validate(operation.model_dump(mode="json")) == operation


@pytest.mark.parametrize(
    ("expression", "column", "same"), [(None, "a", True), ("a", "a", True), (" A\n", "a", True), ('"a"', "a", True), ('"A b"', "A b", True), ("A", "A", False), ("a + 0", "a", False), ("b", "a", False), ("(a)", "a", False)]
)  # fmt: skip
def test_a_column_that_only_names_itself_stays_in_place(expression: str | None, column: str, same: bool) -> None:
    assert is_column(expression, column) is same


def test_either_direction_makes_a_new_column() -> None:
    assert converted({"a": "a", "b": "b"}, {"a": "a", "b": "-b", "c": "lower(c)"}) == ("b", "c")
    assert converted(None, None) == ()


def test_names_that_are_given_and_names_that_are_there() -> None:
    made = accept("create_constraint: {table: s.t, name: k, type: unique, columns: [a]}")
    assert [(one.space, one.name) for one in made.new_names()] == [
        ("constraints of s.t", "k"),
        ("tables and indexes of schema s", "k"),
    ]
    check = accept("create_constraint: {table: t, name: k, type: check, check: a > 0}")
    assert [one.space for one in check.new_names()] == ["constraints of t"]
    excluding = accept("create_constraint: {table: t, name: k, type: exclusion, exclude: {elements: a with =}}")
    assert [one.space for one in excluding.new_names()] == ["constraints of t", "tables and indexes"]
    renamed = accept("rename_constraint: {table: t, from: a, to: b}")
    assert [one.name for one in renamed.known_names()] == ["a"]
    assert [one.name for one in renamed.new_names()] == ["b", "b"]
    assert [one.name for one in accept("drop_constraint: {table: t, name: k}").known_names()] == ["k"]


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        ("type: exclusion, exclude: {elements: a with =}, ▸columns: [a]", ".columns", "a constraint of type exclude has no columns", "Remove columns."),
        ("type: exclude, exclude: {elements: a with =}, ▸up: {a: a + 1}", ".up", "a constraint of type exclude has no up", "Remove up, and convert it with alter_column."),
        ("type: unique, columns: [a], ▸exclude: {elements: a with =}", ".exclude", "a constraint of type unique has no exclude", "Remove exclude."),
        ("type: ▸index, columns: [a]", ".type", "the text 'index' is not a value of type", "Write one of check, exclude, exclusion, foreign_key, primary_key, unique."),
        ("type: unique, columns: [a], check: ▸a > 0", ".check", "a constraint of type unique has no check", "Remove check."),
        ("type: unique, columns: [a, ▸a, b]", ".columns[1]", "the column 'a' is named twice", "Remove one of the two."),
        ("type: foreign_key, columns: [a, b], references: {table: p, ▸columns: [x]}", ".references.columns", "2 columns cannot point to 1", "Name as many columns on both sides."),
        ("type: check, check: a > 0, deferrable: ▸true", ".deferrable", "a check constraint cannot be deferred", "Remove deferrable."),
        ("type: unique, columns: [a], initially_deferred: ▸true", ".initially_deferred", "a constraint that is initially deferred has to be deferrable", "Add deferrable: true."),
        ("type: unique, columns: [a], no_inherit: ▸true", ".no_inherit", "a constraint of type unique has no no_inherit", "Remove no_inherit."),
        ("type: unique, columns: [a], up: {b: ▸b}", ".up.b", "the constraint does not cover the column 'b'", "Name it under columns, or convert it with alter_column."),
        ("type: primary_key, columns: [a], up: {a: ▸'NULL'}", ".up.a", "up gives NULL to 'a'; a column of the primary key is never NULL", "Choose another value."),
        ("type: unique, columns: [a], up: {a: a}, lossy: ▸true", ".lossy", "lossy says something about down, and nothing is converted", "Remove lossy."),
        ("type: unique, columns: [a], ▸up: {}", ".up", "there is nothing in it", "Write at least one item."),
    ],
)  # fmt: skip
def test_create_constraint_refuses(body: str, path: str, reason: str, hint: str) -> None:
    text = spec(f"create_constraint: {{table: t, name: k, {body}}}")
    refuse(text, f"operations[0].create_constraint{path}", reason, hint)


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        ("drop_constraint: {table: t, name: k, lossy: ▸true}", "drop_constraint.lossy", "lossy says something about down, and nothing is converted", "Remove lossy."),
        ("drop_multicolumn_constraint: {table: t, name: k, down: {a: a}, lossy: ▸true}", "drop_multicolumn_constraint.lossy", "lossy says something about down, and nothing is converted", "Remove lossy."),
        ("drop_multicolumn_constraint: {table: t, name: k, down: ▸a}", "drop_multicolumn_constraint.down", "expected a mapping, found the text 'a'", "Write keys, each with a colon and its value."),
        ("rename_constraint: {table: t, from: k, to: ▸k}", "rename_constraint.to", "both names are the same", "Choose another name."),
    ],
)  # fmt: skip
def test_the_others_refuse(body: str, path: str, reason: str, hint: str) -> None:
    refuse(spec(body), f"operations[0].{path}", reason, hint)


TWICE = "Remove one of the two, or put it into a migration of its own."
LATER = "Choose another name, or give it in a later migration."
APART = "Say it in one operation, or put the second one into a migration of its own."
DROP = "drop_constraint: {table: t, name: k}"
UNIQUE = "create_constraint: {table: t, name: u, type: unique, columns: [a, b]}"


@pytest.mark.parametrize(
    ("first", "second", "path", "reason", "hint"),
    [
        (DROP, "drop_multicolumn_constraint: {table: t, name: ▸k}", "drop_multicolumn_constraint.name", "operations[0].drop_constraint already concerns 'k'", TWICE),
        (DROP, "rename_constraint: {table: t, from: ▸k, to: z}", "rename_constraint.from", "operations[0].drop_constraint already concerns 'k'", TWICE),
        (DROP, "create_constraint: {table: t, name: ▸k, type: check, check: a > 0}", "create_constraint.name", "until the swap the name 'k' belongs to what operations[0] concerns", LATER),
        ("rename_constraint: {table: t, from: k, to: l}", "rename_constraint: {table: t, from: z, to: ▸k}", "rename_constraint.to", "until the swap the name 'k' belongs to what operations[0] concerns", LATER),
        (UNIQUE, "create_index: {table: x, name: ▸u, columns: [c]}", "create_index.name", "operations[0] already gives the name 'u', unique among tables and indexes", "Choose another name, or remove one of the two."),
        (UNIQUE, "drop_column: {table: t, column: ▸a}", "drop_column.column", "operations[0].create_constraint already concerns the column t.a, and the two do not make one operation", APART),
        (
            "drop_column: {table: t, column: b}",
            "create_constraint: {table: t, name: u, type: unique, columns: [a, ▸b]}",
            "create_constraint.columns[1]",
            "operations[0].drop_column already concerns the column t.b, and the two do not make one operation",
            APART,
        ),
        (
            "alter_column: {table: t, column: a, type: bigint}",
            "drop_multicolumn_constraint: {table: t, name: k, down: {a: ▸abs(a)}}",
            "drop_multicolumn_constraint.down.a",
            "operations[0].alter_column already concerns the column t.a, and the two do not make one operation",
            APART,
        ),
    ],
)  # fmt: skip
def test_what_cannot_stand_together(first: str, second: str, path: str, reason: str, hint: str) -> None:
    refuse(spec(first, second), f"operations[1].{path}", reason, hint)


@pytest.mark.parametrize(
    "bodies",
    [
        (UNIQUE, "create_constraint: {table: t, name: l, type: unique, columns: [b, c]}"),
        (UNIQUE, "alter_column: {table: t, column: a, type: bigint}"),
        (UNIQUE, "alter_column: {table: t, column: a, nullable: false}"),
        ("rename_column: {table: t, from: z, to: a}", UNIQUE),
        ("add_column: {table: t, column: {name: a, type: int, nullable: true}}", UNIQUE),
        (DROP, "drop_constraint: {table: other, name: k}", "rename_constraint: {table: t, from: l, to: m}"),
        (DROP, "alter_column: {table: t, column: a, type: bigint}"),
    ],
)  # fmt: skip
def test_what_can_stand_together(bodies: tuple[str, ...]) -> None:
    assert len(parse(spec(*bodies), "m.yaml").operations) == len(bodies)


def test_a_new_column_comes_before_its_constraint() -> None:
    refuse(
        spec(UNIQUE, "add_column: {table: t, column: {name: ▸a, type: int, nullable: true}}"),
        "operations[1].add_column.column.name",
        "operations[0] uses the column t.a before it is there",
        "Put add_column before create_constraint.",
    )
