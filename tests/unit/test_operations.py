"""Each operation: what it accepts, what it tells about itself, and every contradiction it refuses, at its place."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import ValidationError

from tasks.model import operations
from tasks.model.operations import (
    AddColumn,
    AlterColumn,
    AnyOperation,
    CreateIndex,
    CreateTable,
    DropColumn,
    Operation,
    RenameColumn,
    Sql,
)
from tasks.model.operations.base import Manner
from tasks.model.operations.column import CheckConstraint, ColumnDefinition, ForeignKeyReference
from tasks.model.operations.create_index import IndexField
from tasks.model.source import InvalidSpecError
from tests.unit.refusals import accept, refuse


def test_minimal_forms() -> None:
    assert accept("create_table: {name: t, columns: [{name: id, type: bigint, pk: true}]}") == CreateTable(
        name="t", columns=(ColumnDefinition(name="id", type="bigint", pk=True),)
    )
    assert accept("add_column: {table: t, column: {name: c, type: int, nullable: true}}") == AddColumn(
        table="t", column=ColumnDefinition(name="c", type="int", nullable=True)
    )
    assert accept("rename_column: {table: t, from: a, to: b}") == RenameColumn(table="t", from_="a", to="b")
    assert accept("alter_column: {table: t, column: c, nullable: true}") == AlterColumn(
        table="t", column="c", nullable=True
    )
    assert accept("drop_column: {table: t, column: c}") == DropColumn(table="t", column="c")
    assert accept("create_index: {name: i, table: t, columns: [c]}") == CreateIndex(
        name="i", table="t", columns=(IndexField(column="c"),)
    )
    assert accept("sql: {up: select 1;}") == Sql(up="select 1;")


def test_defaults_are_those_of_pgroll() -> None:
    column = ColumnDefinition(name="c", type="int")
    assert (column.nullable, column.unique, column.pk, column.default) == (False, False, False, None)
    reference = ForeignKeyReference(name="f", table="t", column="c")
    assert (reference.on_delete, reference.on_update, reference.match_type) == ("NO ACTION",) * 2 + ("SIMPLE",)
    index = CreateIndex(name="i", table="t", columns=("c",))
    assert (index.method, index.unique, index.predicate) == ("btree", False, None)


@pytest.mark.parametrize(
    ("written", "drops", "sets"),
    [("nullable: true", False, False), ("default: null", True, False), ("default: '0'", False, True)],
)
def test_alter_column_tells_a_dropped_default_from_none_given(written: str, drops: bool, sets: bool) -> None:
    operation = accept(f"alter_column: {{table: t, column: c, {written}}}")
    assert isinstance(operation, AlterColumn)
    assert (operation.drops_default, operation.sets_default) == (drops, sets)
    again = AlterColumn.model_validate(operation.model_dump(mode="json"))
    assert (again.drops_default, again.sets_default) == (drops, sets)


@pytest.mark.parametrize(
    ("written", "sets"), [("nullable: true", False), ("comment: null", True), ("comment: hello", True)]
)
def test_alter_column_tells_a_dropped_comment_from_none_given(written: str, sets: bool) -> None:
    operation = accept(f"alter_column: {{table: t, column: c, {written}}}")
    assert isinstance(operation, AlterColumn)
    assert operation.sets_comment is sets


def test_alter_column_converts_only_with_up() -> None:
    in_place = accept("alter_column: {table: t, column: c, nullable: false, unique: {name: u}}")
    converted = accept("alter_column: {table: t, column: c, nullable: false, up: 'coalesce(c, 0)', down: c}")
    values = accept("alter_column: {table: t, column: c, up: lower(c), down: c, lossy: true}")
    assert [one.converts for one in (in_place, converted, values) if isinstance(one, AlterColumn)] == [
        False,
        True,
        True,
    ]
    assert [claim.manner for one in (in_place, converted) for claim in one.claims()] == [
        Manner.RESTRICTS,
        Manner.CHANGES,
    ]


@pytest.mark.parametrize(
    "columns",
    [
        "[a, {column: b, sort: DESC}]",
        "[{column: a}, {column: b, sort: DESC}]",
        "{a: , b: {sort: DESC}}",
        "{a: {}, b: {sort: DESC}}",
    ],
)
def test_create_index_takes_columns_in_three_forms(columns: str) -> None:
    operation = accept(f"create_index: {{name: i, table: t, columns: {columns}}}")
    assert isinstance(operation, CreateIndex)
    assert operation.columns == (IndexField(column="a"), IndexField(column="b", sort="DESC"))


@pytest.mark.parametrize("key", ["on_complete", "onComplete"])
def test_sql_takes_both_spellings(key: str) -> None:
    operation = accept(f"sql: {{up: select 1, {key}: true}}")
    assert isinstance(operation, Sql)
    assert operation.on_complete
    assert operation.model_dump() == {"up": "select 1", "on_complete": True}


def test_rename_column_is_dumped_as_it_is_written() -> None:
    assert RenameColumn(table="t", from_="a", to="b").model_dump() == {"table": "t", "from": "a", "to": "b"}


def test_tables_and_the_tables_they_reference() -> None:
    reference = ForeignKeyReference(name="f", table="app.other", column="id")
    column = ColumnDefinition(name="c", type="int", nullable=True, references=reference)
    table = {"name": "fk", "type": "foreign_key", "columns": ["c"], "references": {"table": "x", "columns": ["y"]}}
    expected: list[tuple[Operation, tuple[str, ...], tuple[str, ...]]] = [
        (CreateTable(name="n", columns=(column,), constraints=(table,)), ("n",), ("app.other", "x")),
        (AddColumn(table="t", column=column), ("t",), ("app.other",)),
        (AlterColumn(table="t", column="c", references=reference), ("t",), ("app.other",)),
        (AlterColumn(table="t", column="c", nullable=True), ("t",), ()),
        (RenameColumn(table="t", from_="a", to="b"), ("t",), ()),
        (DropColumn(table="t", column="c"), ("t",), ()),
        (CreateIndex(name="i", table="t", columns=("c",)), ("t",), ()),
        (Sql(up="select 1"), (), ()),
    ]
    for operation, tables, referenced in expected:
        assert (operation.tables, operation.referenced) == (tables, referenced), operation.kind


def kinds(of: type[Operation]) -> Iterator[type[Operation]]:
    """Give what is made of a class and is no class for others again."""
    for one in of.__subclasses__():
        yield from kinds(one) if one.__subclasses__() else [one]


def test_every_operation_is_one_that_a_spec_can_hold() -> None:
    for module in pkgutil.iter_modules(operations.__path__, "tasks.model.operations."):
        importlib.import_module(module.name)
    assert set(kinds(Operation)) == set(get_args(AnyOperation))
    assert len({one.kind for one in get_args(AnyOperation)}) == len(get_args(AnyOperation))


def test_operations_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DropColumn(table="t", column="c").table = "u"  # type: ignore[misc]


def test_contradictions_reach_python_code_too() -> None:
    with pytest.raises(ValidationError) as caught:
        AddColumn(table="t", column=ColumnDefinition(name="c", type="serial", pk=True), up="id")
    assert [error["loc"] for error in caught.value.errors()] == [("column", "pk"), ("up",)]
    assert "draws a number for each row. Remove up; or write integer or bigint" in str(caught.value)


def test_rename_column_to_itself() -> None:
    refuse("rename_column: {table: t, from: a, to: ▸a}", "rename_column.to",
           "both names are the same", "Choose another name.")  # fmt: skip


def test_drop_column_lossy_without_down() -> None:
    refuse("drop_column: {table: t, column: a, lossy: ▸true}", "drop_column.lossy",
           "lossy says something about down, which is not given", "Remove lossy, or add down.")  # fmt: skip
    accept("drop_column: {table: t, column: a, lossy: true, down: b}")


def test_sql_on_complete_with_down() -> None:
    refuse("sql: {up: a, onComplete: true, down: ▸b}", "sql.down",
           "what runs at contract is never taken back", "Remove down, or remove on_complete.")  # fmt: skip
    accept("sql: {up: a, on_complete: false, down: b}")


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        (
            "columns: [c], method: gin, unique: ▸true",
            "unique",
            "an index of method gin cannot be unique",
            "Remove unique, or use method: btree.",
        ),
        (
            "columns: {c: {sort: ▸DESC}}, method: brin",
            "columns.c.sort",
            "an index of method brin has no order",
            "Remove sort, or use method: btree.",
        ),
        (
            "columns: [{column: c, nulls: ▸LAST}], method: gist",
            "columns[0].nulls",
            "an index of method gist has no order",
            "Remove nulls, or use method: btree.",
        ),
        (
            "▸columns: [c, d], method: hash",
            "columns",
            "an index of method hash has one column",
            "Name one column, or use method: btree.",
        ),
        ("▸columns: []", "columns", "there is nothing in it", "Write at least one item."),
        ("▸columns: {}", "columns", "there is nothing in it", "Write at least one item."),
        (
            "▸columns: {c: DESC}",
            "columns",
            "the settings of the column 'c' are a mapping",
            "Write for example {sort: DESC} or {}.",
        ),
        (
            "▸columns: {c: {column: d}}",
            "columns",
            "the column 'c' is named a second time by its settings",
            "Remove column.",
        ),
        (
            "columns: ▸c",
            "columns",
            "expected a list, found the text 'c'",
            "Write a list: [a, b], or one item a line after a dash.",
        ),
        (
            "columns: {c: {sort: ▸down}}",
            "columns.c.sort",
            "the text 'down' is not a value of sort",
            "Write one of ASC, DESC.",
        ),
        (
            "columns: {c: {▸collation: C}}",
            "columns.c.collation",
            "unknown key 'collation'",
            "Did you mean 'collate'?",
        ),
    ],
)
def test_create_index_refuses(body: str, path: str, reason: str, hint: str) -> None:
    refuse(f"create_index: {{name: i, table: t, {body}}}", f"create_index.{path}", reason, hint)


@pytest.mark.parametrize(
    "body",
    [
        "columns: [c], method: hash",
        "columns: [c, d], method: gin",
        "columns: [c, d], unique: true",
        "columns: {c: {sort: DESC, nulls: LAST, collate: C}, d: {opclass: {name: gist_ops}}}",
    ],
)
def test_create_index_takes(body: str) -> None:
    accept(f"create_index: {{name: i, table: t, {body}}}")


TABLE = "create_table: {name: t, columns: [{name: a, type: int}, {name: b, type: int, nullable: true}], %s}"


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        (
            "{name: k, type: unique, columns: [a, ▸z]}",
            ".columns[1]",
            "the table has no column 'z'",
            "Name one of a, b.",
        ),
        (
            "{name: k, type: primary_key, columns: [▸b]}",
            ".columns[0]",
            "the column 'b' is nullable; a column of the primary key is never NULL",
            "Remove nullable: true from 'b'.",
        ),
        ("▸{name: k, type: unique}", ".columns", "a constraint of type unique needs columns", "Add columns."),
        ("▸{name: k, type: check}", ".check", "a constraint of type check needs check", "Add check."),
        (
            "{name: k, type: check, check: a > 0, ▸columns: [a]}",
            ".columns",
            "a constraint of type check has no columns",
            "Remove columns.",
        ),
        (
            "{name: k, type: unique, columns: [a], check: ▸a > 0}",
            ".check",
            "a constraint of type unique has no check",
            "Remove check.",
        ),
        (
            "▸{name: k, type: foreign_key, columns: [a]}",
            ".references",
            "a constraint of type foreign_key needs references",
            "Add references.",
        ),
        (
            "{name: k, type: primary_key, columns: [a], ▸references: {table: u, columns: [a]}}",
            ".references",
            "a constraint of type primary_key has no references",
            "Remove references.",
        ),
        (
            "{name: k, type: foreign_key, columns: [a, b], references: {table: u, ▸columns: [a]}}",
            ".references.columns",
            "2 columns cannot point to 1",
            "Name as many columns on both sides.",
        ),
        (
            "{name: k, type: check, check: a > 0, deferrable: ▸true}",
            ".deferrable",
            "a check constraint cannot be deferred",
            "Remove deferrable.",
        ),
        (
            "{name: k, type: unique, columns: [a], initially_deferred: ▸true}",
            ".initially_deferred",
            "a constraint that is initially deferred has to be deferrable",
            "Add deferrable: true.",
        ),
        (
            "{name: k, type: ▸exclusion}",
            ".type",
            "the text 'exclusion' is not a value of type",
            "Did you mean 'exclude'?",
        ),
    ],
)
def test_table_constraint_refuses(body: str, path: str, reason: str, hint: str) -> None:
    refuse(TABLE % f"constraints: [{body}]", f"create_table.constraints[0]{path}", reason, hint)


def test_create_table_refuses_a_column_in_a_constraint_twice() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        accept(TABLE % "constraints: [{name: k, type: unique, columns: [a, a]}]")
    assert [problem.reason for problem in caught.value.problems] == ["the column 'a' is named twice"] * 2


def test_create_table_refuses_columns_and_primary_keys_twice() -> None:
    refuse("""
        create_table:
          name: t
          columns: [{name: a, type: int}, {name: ▸a, type: text}]
        """, "create_table.columns[1].name", "the column 'a' is defined twice",
        "Remove one of the two, or name it otherwise.")  # fmt: skip
    refuse("""
        create_table:
          name: t
          columns: [{name: a, type: int, pk: true}]
          constraints: [▸{name: k, type: primary_key, columns: [a]}]
        """, "create_table.constraints[0]", "the primary key is defined twice, by pk and by a constraint",
        "Remove pk: true from the columns, or remove this constraint.")  # fmt: skip
    refuse(TABLE % "constraints: [{name: k, type: primary_key, columns: [a]},"
           " ▸{name: l, type: primary_key, columns: [a]}]",
           "create_table.constraints[1]", "the primary key is defined twice", "Remove one.")  # fmt: skip
    refuse("create_table: {name: t, ▸columns: []}", "create_table.columns",
           "there is nothing in it", "Write at least one item.")  # fmt: skip


def test_a_check_and_a_reference_on_one_column() -> None:
    operation = accept("add_column: {table: t, up: a, column: {name: c, type: int, check: {name: k, constraint: c > 0}, references: {name: f, table: u, column: d, on_delete: CASCADE}, comment: hi}}")  # noqa: E501 # fmt: skip
    assert isinstance(operation, AddColumn)
    assert operation.column.check == CheckConstraint(name="k", constraint="c > 0")
    assert operation.column.references == ForeignKeyReference(name="f", table="u", column="d", on_delete="CASCADE")
    assert operation.column.comment == "hi"
