"""Values of the wrong type, wherever they are in a spec: refused at their place."""

from textwrap import dedent
from typing import get_args

import pytest

from tasks.model.operations import AnyOperation
from tasks.model.source import parse
from tests.unit.refusals import at_the_mark

REST = "\noperations: [{drop_column: {table: t, column: c}}]\n"


def refuse(text: str, path: str, reason: str, hint: str) -> None:
    assert at_the_mark(text) == (path, reason, hint)


TEXT = "expected a text, found "


@pytest.mark.parametrize(
    ("text", "path", "reason", "hint"),
    [
        ("▸migraton: m", "migraton", "unknown key 'migraton'", "Did you mean 'migration'?"),
        ("migration: ▸2024", "migration", TEXT + "the value 2024", 'Put it in quotes: "2024".'),
        ("migration: ▸2024-01-31", "migration", TEXT + "the value 2024-01-31", 'Put it in quotes: "2024-01-31".'),
        ("migration: m\nowner: ▸0x1F", "owner", TEXT + "the value 31", 'Put it in quotes: "0x1F".'),
        ("migration: m\nowner: ▸1e3", "owner", TEXT + "the value 1000.0", 'Put it in quotes: "1e3".'),
        ("migration: m\nowner: ▸True", "owner", TEXT + "true", 'Put it in quotes: "True".'),
        ("migration: m\n▸owner: [a]", "owner", TEXT + "a list", "Write a text."),
        ("migration: m\n▸owner: {a: b}", "owner", TEXT + "a mapping", "Write a text."),
        ("migration: m\nowner: ▸' '", "owner", "the text is empty", "Write it, or remove the key."),
        ("migration: m\n▸owner:", "owner", "the value is empty", "Write a value, or remove the key."),
        ("migration: m\n▸owner: ~", "owner", "the value is empty", "Write a value, or remove the key."),
        (
            "migration: M",
            "migration",
            "'M' is no name of a migration",
            "Use at most 63 small letters, digits, _ and -, the first a letter or a digit.",
        ),
        (
            "migration: m\nstrategy: ▸sideways",
            "strategy",
            "the text 'sideways' is not a value of strategy",
            "Write one of cross_database, expand_contract, shadow_table.",
        ),
        ("migration: m\nsoak: ▸'60'", "soak", "expected a number, found the text '60'",
         "Write a number, without quotes."),
        ("migration: m\nsoak: ▸-1", "soak", "Input should be greater than or equal to 0", "Correct the value."),
        ("migration: m\n▸soak:", "soak", "the value is empty", "Write a value, or remove the key."),
        (
            "migration: m\ngates: ▸strict",
            "gates",
            "expected a mapping, found the text 'strict'",
            "Write keys, each with a colon and its value.",
        ),
        (
            "migration: m\ngates: {before_swap: ▸a.b:c}",
            "gates.before_swap",
            "expected a list, found the text 'a.b:c'",
            "Write a list: [a, b], or one item a line after a dash.",
        ),
        (
            "migration: m\ngates: {before_swap: [a.b:c, ▸a.b]}",
            "gates.before_swap[1]",
            "'a.b' names no suite",
            "Write package.module:function for a factory, or the path of a suite that ends with .json.",
        ),
        (
            "migration: m\ngates: {▸before_swp: []}",
            "gates.before_swp",
            "unknown key 'before_swp'",
            "Did you mean 'before_swap'?",
        ),
        (
            "migration: m\ngates: {▸x: []}",
            "gates.x",
            "unknown key 'x'",
            "Write one of after_swap, before_contract, before_run, before_swap.",
        ),
        (
            "migration: m\nbackfill: {user_triggers: ▸Bypas}",
            "backfill.user_triggers",
            "the text 'Bypas' is not a value of user_triggers",
            "Did you mean 'bypass'?",
        ),
        (
            "migration: m\nbackfill: {key: ▸id}",
            "backfill.key",
            "expected a mapping, found the text 'id'",
            "Write keys, each with a colon and its value.",
        ),
        (
            "migration: m\nbackfill: {key: {▸t: []}}",
            "backfill.key.t",
            "there is nothing in it",
            "Write at least one item.",
        ),
        (
            "migration: m\nbackfill:\n  key:\n    ▸app.t: [a]",
            "backfill.key['app.t']",
            "no operation changes a table 'app.t' that exists",
            "Remove it.",
        ),
        (
            "migration: m\nbackfill: {key: {t: [a, ▸'']}}",
            "backfill.key.t[1]",
            "a name cannot be empty",
            "Correct the value.",
        ),
    ],
)  # fmt: skip
def test_values_of_the_spec(text: str, path: str, reason: str, hint: str) -> None:
    if "migraton" in text:
        text = "migration: m\n" + text
    refuse(text.replace("migration: M", "migration: ▸M") + REST, path, reason, hint)


def operations(body: str) -> str:
    return "migration: m\noperations:\n" + dedent(body)


KEYS = "Write keys, each with a colon and its value."
KINDS = ", ".join(one.kind for one in get_args(AnyOperation))


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        ("  - ▸drop_colum: {table: t}", "", "unknown operation 'drop_colum'", "Did you mean 'drop_column'?"),
        ("  - ▸shrink: {}", "", "unknown operation 'shrink'", f"Write one of {KINDS}."),
        ("  - ▸drop_column", "", "an operation is a mapping", f"Write one of {KINDS}, and a colon."),
        (
            "  - ▸drop_column:\n    table: t\n    column: c",
            "",
            "an operation has one key, its kind; here there are: 'drop_column', 'table', 'column'",
            "Begin each operation with a dash of its own, and indent what belongs to it below its kind.",
        ),
        ("  - ▸drop_column:", ".drop_column", "expected a mapping, found nothing", KEYS),
        ("  - ▸drop_column: [t, c]", ".drop_column", "expected a mapping, found a list", KEYS),
        ("  - ▸drop_column: {table: t}", ".drop_column.column", "the key 'column' is missing", "Add column."),
        ("  - ▸rename_column: {table: t, to: b}", ".rename_column.from", "the key 'from' is missing", "Add from."),
        (
            "  - drop_column: {table: t, column: ▸5}",
            ".drop_column.column",
            TEXT + "the value 5",
            'Put it in quotes: "5".',
        ),
        (
            f"  - drop_column: {{table: t, column: ▸{'x' * 64}}}",
            ".drop_column.column",
            "the name is 64 bytes long; the database allows 63",
            "Shorten it.",
        ),
        (
            "  - drop_column: {table: ▸app., column: c}",
            ".drop_column.table",
            "a name cannot be empty",
            "Correct the value.",
        ),
        (
            "  - drop_column: {table: t, column: c, lossy: ▸yes, down: a}",
            ".drop_column.lossy",
            "expected true or false, found the text 'yes'",
            "Write true or false.",
        ),
        (
            "  - drop_column:\n      table: t\n      column: c\n      ▸down:",
            ".drop_column.down",
            "the value is empty",
            "Write a value, or remove the key.",
        ),
        (
            "  - alter_column: {table: t, column: c, nullable: true, ▸unique: }",
            ".alter_column.unique",
            "the value is empty",
            "Write a value, or remove the key.",
        ),
        (
            "  - add_column: {table: t, column: {name: c, type: int, default: ▸0}}",
            ".add_column.column.default",
            TEXT + "the value 0",
            'Put it in quotes: "0".',
        ),
        (
            "  - add_column: {table: t, column: {name: c, type: bool, default: ▸false}}",
            ".add_column.column.default",
            TEXT + "false",
            'Put it in quotes: "false".',
        ),
        (
            "  - add_column:\n      table: t\n      ▸column:\n        name: c\n      up: a",
            ".add_column.column.type",
            "the key 'type' is missing",
            "Add type.",
        ),
        (
            "  - add_column: {table: t, up: a, column: {name: c, type: int, ▸zone: {}}}",
            ".add_column.column.zone",
            "unknown key 'zone'",
            "Write one of check, comment, default, generated, name, nullable, pk, references, type, unique.",
        ),
        (
            "  - add_column: {table: t, up: a, column: {name: c, type: int, references: {name: f, table: u, column: d,"
            " on_delete: ▸cascade}}}",
            ".add_column.column.references.on_delete",
            "the text 'cascade' is not a value of on_delete",
            "Did you mean 'CASCADE'?",
        ),
        (
            "  - create_index: {name: i, table: t, columns: [c], method: ▸btre}",
            ".create_index.method",
            "the text 'btre' is not a value of method",
            "Did you mean 'btree'?",
        ),
        (
            "  - create_index:\n      name: i\n      table: t\n      columns: {a: , b: {opclass: {▸nam: x, name: y}}}",
            ".create_index.columns.b.opclass.nam",
            "unknown key 'nam'",
            "Did you mean 'name'?",
        ),
    ],
)  # fmt: skip
def test_values_of_operations(body: str, path: str, reason: str, hint: str) -> None:
    refuse(operations(body), f"operations[0]{path}", reason, hint)


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("▸[]", "expected a mapping, found a list", KEYS),
        ("▸just a text", "expected a mapping, found the text 'just a text'", KEYS),
        ("▸12", "expected a mapping, found the value 12", KEYS),
        ("▸null", "expected a mapping, found nothing", KEYS),
    ],
)
def test_the_whole_is_a_mapping(text: str, reason: str, hint: str) -> None:
    refuse(text, "", reason, hint)


def test_operations_are_a_list_with_something_in_it() -> None:
    hint = "Add one; or version_schema, to show the shape as it is under a name."
    refuse("migration: m\n▸operations: []", "operations", "there is no operation", hint)
    refuse("migration: m\n▸operations: {}", "operations", "expected a list, found a mapping",
           "Write a list: [a, b], or one item a line after a dash.")  # fmt: skip
    refuse("migration: m\n▸operations:", "operations", "expected a list, found nothing",
           "Write a list: [a, b], or one item a line after a dash.")  # fmt: skip
    refuse("▸migration: m", "operations", "there is no operation", hint)


def test_a_conflict_is_told_where_the_second_operation_names_the_column() -> None:
    refuse(
        operations("""\
            - rename_column: {table: t, from: a, to: b}
            - add_column:
                table: t
                column:
                  type: int
                  name: ▸b
                up: a
            """),
        "operations[1].add_column.column.name",
        "operations[0].rename_column already concerns the column t.b, and the two do not make one operation",
        "Say it in one operation, or put the second one into a migration of its own.",
    )


def test_keys_that_look_like_numbers_stay_texts() -> None:
    refuse("migration: m\n▸1: a" + REST, "['1']", "unknown key '1'",
           "Write one of backfill, database, description, documents, gates, migration, operations, owner, probes, soak,"
           " strategy, ticket, transfer, version_schema.")  # fmt: skip
    spec = parse(operations("  - create_index: {name: i, table: t, columns: {1: {}, true: {}}}"), "m.yaml")
    assert [claim.column for claim in spec.operations[0].claims()] == ["1", "true"]
