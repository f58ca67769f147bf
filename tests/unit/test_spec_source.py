"""From text to spec: every refusal with its place, its reason and its hint."""

import json
import pickle
from textwrap import dedent

import pytest

from tasks.model.document import MAX_SIZE
from tasks.model.errors import DataChanged, SpecError
from tasks.model.operations import AddColumn, DropColumn, Sql
from tasks.model.source import InvalidSpecError, parse
from tests.unit.refusals import HERE, at_the_mark, problems

GOOD = """\
# Emails become case-insensitive.
migration: lower-emails
owner: data@example.org
operations:
  - add_column:
      table: app.users
      column:
        name: email_key
        type: text
        unique: true
      up: |
        lower(
          email)
  - drop_column: {table: app.users, column: nick, down: "email_key", lossy: true}
gates:
  before_swap: [app.suites:users]
backfill:
  key: {app.users: [tenant, id]}
  user_triggers: bypass
soak: 60
"""


def refuse(text: str, path: str, reason: str, hint: str) -> None:
    assert at_the_mark(text) == (path, reason, hint)


def test_a_good_spec() -> None:
    spec = parse(GOOD, "m.yaml")
    first, second = spec.operations
    assert isinstance(first, AddColumn)
    assert isinstance(second, DropColumn)
    assert first.up == "lower(\n  email)\n"
    assert (second.down, second.lossy) == ("email_key", True)
    assert [bound.suite for bound in spec.gates.before_swap] == ["app.suites:users"]
    assert spec.backfill.key == {"app.users": ("tenant", "id")}
    assert spec.soak == 60


def test_json_is_yaml_too() -> None:
    spec = parse(GOOD, "m.yaml")
    dump = spec.model_dump(mode="json")
    for text in (
        json.dumps(dump),
        json.dumps(dump, indent="\t", sort_keys=True),
        "\ufeff" + json.dumps(dump, indent=1),
    ):
        again = parse(text, "m.json")
        assert (again, again.spec_digest) == (spec, spec.spec_digest)


def test_json_may_escape_characters_beyond_the_basic_plane() -> None:
    for up in ("'😀'", "'\x85'", "'\u00e9/\u2028'", "'\U0010ffff\\'"):
        text = json.dumps({"migration": "m", "operations": [{"sql": {"up": up}}]}, ensure_ascii=True)
        assert parse(text, "m.json").operations == (Sql(up=up),)
    index = '{"name": "i", "table": "t", "columns": {"\\ud83d\\ude00": null}}'
    text = f'{{"migration": "m", "operations": [{{"create_index": {index}}}]}}'
    assert [claim.column for claim in parse(text, "m.json").operations[0].claims()] == ["😀"]


def test_half_a_character_is_no_key() -> None:
    refuse('{"migration": "m", ▸"\\ud83d": 1, "operations": [{"drop_column": {"table": "t", "column": "c"}}]}', "",
           "this cannot be a key", "Write a simple text before the colon.")  # fmt: skip


def test_lines_may_end_as_on_windows() -> None:
    spec = parse(GOOD, "m.yaml")
    assert parse(GOOD.replace("\n", "\r\n"), "m.yaml") == spec
    (problem,) = problems(GOOD.replace("soak", "soka").replace("\n", "\r\n"))
    assert (problem.line, problem.column) == (20, 1)


def test_anchors_and_standard_tags() -> None:
    spec = parse(
        dedent("""\
            migration: !!str 2024
            operations:
              - drop_column: {table: &users app.users, column: a}
              - add_column: {table: *users, column: &c {name: b, type: int}, up: !!str 5}
              - add_column: {table: app.teams, column: *c, up: a}
            """),
        "m.yaml",
    )
    assert spec.migration == "2024"
    assert [one.tables for one in spec.operations] == [("app.users",)] * 2 + [("app.teams",)]


def test_numbers_in_quotes_are_texts_and_yaml_is_of_version_1_2() -> None:
    spec = parse(
        "migration: no\noperations: [{add_column: {table: on, column: {name: y, type: int, default: '0'}}}]", ""
    )
    (operation,) = spec.operations
    assert isinstance(operation, AddColumn)
    assert (spec.migration, operation.table, operation.column.name) == ("no", "on", "y")


# The message.


def test_one_problem_is_told_in_three_lines() -> None:
    with pytest.raises(SpecError) as caught:
        parse(GOOD.replace("type: text", "tpye: text\n        type: text"), "specs/m.yaml")
    error = caught.value
    assert str(error) == (
        "[SPEC] unknown key 'tpye'\n"
        "  where: specs/m.yaml:9:9 (operations[0].add_column.column.tpye)\n"
        "  hint:  Did you mean 'type'?"
    )
    assert (error.exit_code, error.retryable, error.changed) == (2, False, DataChanged.NO)


def test_many_problems_are_told_together_in_the_order_of_the_text() -> None:
    text = GOOD.replace("soak: 60", "soak: long").replace("name: email_key", "name: 7").replace("owner", "owmer")
    with pytest.raises(SpecError) as caught:
        parse(text, "m.yaml")
    assert str(caught.value) == (
        "[SPEC] the spec has 3 problems\n"
        "  m.yaml:3:1 (owmer): unknown key 'owmer'\n"
        "    hint: Did you mean 'owner'?\n"
        "  m.yaml:8:15 (operations[0].add_column.column.name): expected a text, found the value 7\n"
        '    hint: Put it in quotes: "7".\n'
        "  m.yaml:20:7 (soak): expected a number, found the text 'long'\n"
        "    hint: Write a number, without quotes.\n"
        "  where: m.yaml\n"
        "  hint:  Correct each of them."
    )


def test_contradictions_in_one_operation_do_not_hide_errors_in_another() -> None:
    found = problems(
        dedent("""\
            migration: m
            operations:
              - drop_column: {table: t, column: a, lossy: true}
              - drop_column: {table: t, colum: b}
            """)
    )
    assert [(one.line, one.column, one.path) for one in found] == [
        (3, 47, "operations[0].drop_column.lossy"),
        (4, 5, "operations[1].drop_column.column"),
        (4, 29, "operations[1].drop_column.colum"),
    ]


def test_long_values_are_cut_short() -> None:
    refuse(f"migration: m\nsoak: {HERE}{'x' * 61}" + REST, "soak",
           f"expected a number, found the text '{'x' * 60}...'", "Write a number, without quotes.")  # fmt: skip


def test_the_error_travels_between_processes() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse("a: [", "m.yaml")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.problems) == (str(caught.value), caught.value.problems)


# Texts that cannot be read at all.

SYNTAX = "Correct the indentation, quotes or brackets here."


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("▸", "the text is empty", "Write at least migration and operations."),
        ("▸# only a remark\n", "the text is empty", "Write at least migration and operations."),
        (
            "migration: m\noperations: [▸",
            "while parsing a flow node, expected the node content, but found '<stream end>'",
            SYNTAX,
        ),
        ("migration: m▸: n\n", "mapping values are not allowed here", SYNTAX),
        (
            "migration: m\n▸\tdatabase: main\n",
            "while scanning for the next token, found character '\\t' that cannot start any token",
            SYNTAX,
        ),
        (
            "migration: 'm▸",
            "while scanning a quoted scalar, found unexpected end of stream",
            SYNTAX,
        ),
        ("migration: ▸*nobody\n", "found undefined alias 'nobody'", SYNTAX),
        (
            "migration: m\n▸---\nmigration: n\n",
            "expected a single document in the stream, but found another document",
            SYNTAX,
        ),
        (
            "migration: m\nowner: a▸\x07b\n",
            "the character U+0007 cannot stand in YAML",
            "Remove it, or write it as an escape.",
        ),
        *(
            (
                f'{{"owner": "a▸{separator}b"}}',
                f"the character U+{ord(separator):04X} cannot stand in YAML",
                "Remove it, or write it as an escape.",
            )
            for separator in "\x85\u2028\u2029"
        ),
        (
            "owner: ▸\ud800\n",
            "the character U+D800 cannot stand in YAML",
            "Remove it, or write it as an escape.",
        ),
        ("▸" + "[\n" * 1500, "the values are nested too deeply", "Remove the nesting, or the alias."),
    ],
)
def test_syntax(text: str, reason: str, hint: str) -> None:
    refuse(text, "", reason, hint)


def test_an_alias_of_what_it_stands_in() -> None:
    refuse(f"migration: m\noperations: {HERE}&a [*a]\n", "", "the values are nested too deeply",
           "Remove the nesting, or the alias.")  # fmt: skip


def test_a_text_may_have_one_mebibyte() -> None:
    padding = "#" + "x" * (MAX_SIZE - len(GOOD.encode()) - 1)
    assert parse(GOOD + padding, "m.yaml").migration == "lower-emails"
    (problem,) = problems(GOOD + padding + "x")
    assert (problem.line, problem.column) == (1, 1)
    assert (problem.reason, problem.hint) == ("the text is larger than 1 MiB", "Split the migration.")


def test_the_size_is_in_bytes() -> None:
    assert problems("é" * (MAX_SIZE // 2 + 1))[0].reason == "the text is larger than 1 MiB"


def test_aliases_do_not_grow_without_bound() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
        for before, name in zip("abcdefg", "bcdefgh", strict=True)
    )
    (problem,) = problems(bomb)
    assert (problem.reason, problem.hint) == ("there are more than 100000 values", "Use fewer aliases.")


# Texts that are YAML, and still not what a spec is written in.

REST = "\noperations: [{drop_column: {table: t, column: c}}]\n"


def test_duplicate_keys() -> None:
    refuse(f"migration: m\nowner: a\n{HERE}migration: n{REST}", "migration",
           "the key 'migration' is given twice, first in line 1", "Remove one of the two.")  # fmt: skip
    refuse("migration: m\noperations:\n  - drop_column:\n      table: t\n      column: c\n      ▸table: u\n",
           "operations[0].drop_column.table",
           "the key 'table' is given twice, first in line 4", "Remove one of the two.")  # fmt: skip


def test_duplicate_keys_do_not_hide_other_problems() -> None:
    found = problems(f"migration: m\nmigration: n\nownr: a{REST}")
    assert [(one.line, one.path) for one in found] == [(2, "migration"), (3, "ownr")]


@pytest.mark.parametrize(
    ("text", "path", "reason", "hint"),
    [
        (
            "owner: ▸!person a\nmigration: m",
            "owner",
            "the tag !person is not known here",
            "Remove the tag, or quote the text.",
        ),
        (
            "gates: ▸!!set {}\nmigration: m",
            "gates",
            "the tag !!set is not known here",
            "Remove the tag, or quote the text.",
        ),
        ("owner: ▸=\nmigration: m", "owner", "the tag !!value is not known here", "Remove the tag, or quote the text."),
        ("soak: ▸!!int a\nmigration: m", "soak", "'a' is not of the type !!int", "Correct the value."),
        ("owner: ▸!!timestamp a\nmigration: m", "owner", "'a' is not of the type !!timestamp", "Correct the value."),
        (
            "migration: m\ngates: &g {}\nbackfill:\n  ▸<<: *g",
            "backfill['<<']",
            "merge keys are not part of YAML 1.2",
            "Write the keys out, or use an alias as a value.",
        ),
        ("migration: m\n? ▸[a]\n: b", "", "this cannot be a key", "Write a simple text before the colon."),
        (
            'migration: m\nowner: ▸"\\ud83d"',
            "owner",
            "the text contains half of a surrogate pair",
            "Correct the escape.",
        ),
    ],
)  # fmt: skip
def test_what_yaml_has_and_a_spec_has_not(text: str, path: str, reason: str, hint: str) -> None:
    refuse(text + REST, path, reason, hint)
