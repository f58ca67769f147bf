"""Operations on columns: every contradiction that they refuse, at its place."""

import pytest

from tasks.model.operations.column import ColumnDefinition
from tests.unit.refusals import accept, refuse


def test_add_column_needs_a_value_for_existing_rows() -> None:
    reason = "rows that exist would have no value for 'c', which is not nullable"
    hint = "Add up or default, or set nullable: true."
    refuse("""
        add_column:
          table: t
          ▸column: {name: c, type: int}
        """, "add_column.column.nullable", reason, hint)  # fmt: skip
    refuse("""
        add_column:
          table: t
          column: {name: c, type: int, nullable: ▸false}
        """, "add_column.column.nullable", reason, hint)  # fmt: skip
    for enough in ("column: {name: c, type: int, default: '0'}", "column: {name: c, type: int}, up: a + 1"):
        accept(f"add_column: {{table: t, {enough}}}")


def test_add_column_has_no_primary_key() -> None:
    refuse("""
        add_column:
          table: t
          column: {name: c, type: int, pk: ▸true}
          up: a
        """, "add_column.column.pk", "a table that exists gets no primary key by a new column",
        "Write unique: true, and let a later migration exchange the primary key.")  # fmt: skip


@pytest.mark.parametrize("serial", ["serial", "BIGSERIAL", "smallserial", "serial8"])
def test_a_serial_is_filled_by_nothing_else(serial: str) -> None:
    refuse(f"""
        add_column:
          table: t
          column: {{name: c, type: {serial}}}
          up: ▸id
        """, "add_column.up",
        f"{serial} draws a number for each row",
        "Remove up; or write integer or bigint, and a sequence of your own in default.")  # fmt: skip


def test_add_column_up_is_not_null() -> None:
    refuse("""
        add_column:
          table: t
          column: {name: c, type: int}
          up: ▸"NULL"
        """, "add_column.up", "up gives NULL to 'c', which is not nullable",
        "Choose another value, or set nullable: true.")  # fmt: skip


# column definitions


def column(body: str) -> str:
    return f"create_table: {{name: t, columns: [{{name: c, {body}}}]}}"


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        (
            "type: int, default: ▸'null'",
            "default",
            "the default is NULL and the column is not nullable",
            "Choose another default, or set nullable: true.",
        ),
        (
            "type: int, pk: true, nullable: ▸true",
            "nullable",
            "a column of the primary key is never NULL",
            "Remove nullable: true.",
        ),
        (
            "type: bigserial, default: ▸'1'",
            "default",
            "bigserial brings its own default",
            "Remove the default, or write integer or bigint as the type.",
        ),
        (
            "type: serial, nullable: ▸true",
            "nullable",
            "serial is never NULL",
            "Remove nullable: true, or write integer or bigint as the type.",
        ),
        (
            "type: int, references: {name: f, table: u, column: d, on_delete: ▸SET NULL}",
            "references.on_delete",
            "on_delete would set a column to NULL that is not nullable",
            "Set nullable: true, or choose another action.",
        ),
        (
            "type: int, references: {name: f, table: u, column: d, on_update: ▸SET NULL}",
            "references.on_update",
            "on_update would set a column to NULL that is not nullable",
            "Set nullable: true, or choose another action.",
        ),
        (
            "type: int, references: {name: f, table: u, column: d, initially_deferred: ▸true}",
            "references.initially_deferred",
            "a constraint that is initially deferred has to be deferrable",
            "Add deferrable: true.",
        ),
        (
            "type: ▸bigint not  NULL default 0",
            "type",
            "a type is only a type; this one goes on with 'not null'",
            "Use the keys nullable, default, unique, pk, check and references for the rest.",
        ),
        (
            "type: ▸bigint generated always as identity",
            "type",
            "a type is only a type; this one goes on with 'generated always'",
            "Use the key generated, in create_table.",
        ),
        ("type: ▸' '", "type", "the text is empty", "Write it, or remove the key."),
        (
            "type: int, default: ▸now();",
            "default",
            "an expression does not end with a semicolon",
            "Remove the semicolon.",
        ),
        (
            'type: int, default: ▸"a\\0b"',
            "default",
            "the text contains the character U+0000",
            "Remove that character.",
        ),
        (
            "type: int, check: {name: ▸_changeover_x, constraint: c > 0}",
            "check.name",
            "names that start with '_changeover_' are kept for Changeover",
            "Choose another.",
        ),
    ],
)
def test_column_definition_refuses(body: str, path: str, reason: str, hint: str) -> None:
    refuse(column(body), f"create_table.columns[0].{path}", reason, hint)


@pytest.mark.parametrize(
    "kind", ["numeric(12, 2)", "timestamp(3) with time zone", '"not null"', 'app."Mood"[]', "bit varying(5)"]
)
def test_types_of_every_form(kind: str) -> None:
    assert ColumnDefinition(name="c", type=kind).type == kind


def test_a_nullable_column_may_be_set_to_null() -> None:
    accept(column("type: int, nullable: true, default: 'null', references: {name: f, table: u, column: d, on_delete: SET NULL}"))  # noqa: E501 # fmt: skip


# alter_column


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        (
            "type: int, up: a, down: b, nullable: false, default: ▸'NULL'",
            ".default",
            "the default is NULL and the column is not nullable",
            "Choose another default, or set nullable: true.",
        ),
        (
            "nullable: false, references: {name: f, table: u, column: d, on_delete: ▸SET NULL}",
            ".references.on_delete",
            "on_delete would set a column to NULL that is not nullable",
            "Set nullable: true, or choose another action.",
        ),
        (
            "nullable: false, up: ▸'null', down: c",
            ".up",
            "up gives NULL to a column that is not to be nullable",
            "Choose another value, or remove nullable: false.",
        ),
        (
            "type: ▸serial, up: a, down: b",
            ".type",
            "serial is not a type to change to",
            "Write integer or bigint.",
        ),
        (
            "nullable: true, lossy: ▸true",
            ".lossy",
            "lossy says something about down, and nothing is converted",
            "Remove lossy.",
        ),
        (
            "orphans: ▸archive, type: text, references: {name: k, table: u, column: d}",
            ".orphans",
            "rows go to another table, which is made like this one, and the column is altered, too",
            "Put what is altered beside the foreign key into a migration of its own.",
        ),
        (
            "archive: ▸old, references: {name: k, table: u, column: d}",
            ".archive",
            "nothing is archived",
            "Write orphans: archive, or remove archive.",
        ),
    ],
)
def test_alter_column_refuses(body: str, path: str, reason: str, hint: str) -> None:
    refuse(f"alter_column: {{table: t, column: c, {body}}}", f"alter_column{path}", reason, hint)


def test_alter_column_alters_something() -> None:
    refuse("▸alter_column: {table: t, column: c}", "alter_column", "nothing is to be altered",
           "Add one of type, nullable, default, check, unique, references, comment, generated, up.")  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "nullable: false",
        "default: null",
        "comment: null",
        "check: {name: k, constraint: c > 0}",
        "unique: {name: k}",
        "references: {name: k, table: u, column: d}",
        "orphans: archive, archive: old, references: {name: k, table: u, column: d}",
        "up: lower(c), down: c, lossy: true",
        "type: bigint",
        "type: bigint, up: c",
        "nullable: true, down: 'coalesce(c, 0)'",
    ],
)
def test_each_change_alone_is_enough(change: str) -> None:
    accept(f"alter_column: {{table: t, column: c, {change}}}")
