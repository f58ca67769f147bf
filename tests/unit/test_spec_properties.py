"""Whatever spec can be built can be written as YAML or JSON, read again, and is the same."""

import io
import json
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from tasks.model.names import MAX_BYTES, OWN_PREFIX
from tasks.model.source import InvalidSpecError, parse
from tasks.model.spec import MigrationSpec
from tests.legs import TIMES

# Other people's processes decide how fast this machine is.
SLOW = settings(suppress_health_check=[HealthCheck.too_slow])
SCHEMA = Draft202012Validator(MigrationSpec.model_json_schema())

# Every character but NUL and surrogates, which neither the database nor UTF-8 has; and but U+0085, for which
# the YAML that ruamel writes is wrong.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\x85")
TEXTS = st.text(CHARACTERS, min_size=1, max_size=40).filter(str.strip)
EXPRESSIONS = TEXTS.filter(lambda text: not text.rstrip().endswith(";") and text.strip().lower() != "null")
TYPES = st.sampled_from(["bigint", "numeric(12, 2)", 'app."Mood"[]', "text", "timestamp(3) with time zone"])
NAMES = st.text(CHARACTERS, min_size=1, max_size=MAX_BYTES).filter(
    lambda name: len(name.encode()) <= MAX_BYTES and not name.startswith(OWN_PREFIX)
)
TABLES = NAMES.filter(lambda name: "." not in name)
ACTIONS = st.sampled_from(["NO ACTION", "RESTRICT", "CASCADE"])
BOOLEANS = st.booleans()


def mapping(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


def references(table: str, name: str) -> st.SearchStrategy[dict[str, Any]]:
    return mapping(
        {"name": st.just(name), "table": st.just(table), "column": NAMES},
        on_delete=ACTIONS,
        on_update=ACTIONS,
        match_type=st.sampled_from(["SIMPLE", "FULL"]),
        deferrable=st.just(True),
    )


def checks(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return mapping({"name": st.just(name), "constraint": EXPRESSIONS})


def columns(table: str, names: list[str], name: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return mapping(
        {"name": name, "type": TYPES, "default": EXPRESSIONS},
        nullable=BOOLEANS,
        unique=BOOLEANS,
        check=checks(names[0]),
        references=references(table, names[1]),
        comment=TEXTS,
    )


ORDER: dict[str, Any] = {
    "collate": NAMES,
    "sort": st.sampled_from(["ASC", "DESC"]),
    "nulls": st.sampled_from(["FIRST", "LAST"]),
    "opclass": mapping({"name": TEXTS}, params=st.lists(TEXTS, max_size=2)),
}
FIELDS = mapping({"column": NAMES}, **ORDER) | mapping({"expression": EXPRESSIONS}, **ORDER)


def alterations(table: str, names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    whole = {"table": st.just(table), "column": NAMES}
    changes = {
        "default": st.none() | EXPRESSIONS,
        "comment": st.none() | TEXTS,
        "nullable": BOOLEANS,
        "check": checks(names[0]),
        "references": references(table, names[1]),
        "unique": mapping({"name": st.just(names[2])}),
    }
    converted = mapping(whole | {"up": EXPRESSIONS, "down": EXPRESSIONS}, type=TYPES, lossy=BOOLEANS, **changes)
    in_place = mapping(whole, **changes).filter(lambda one: len(one) > len(whole))
    return converted | in_place


def constraints(table: str, names: list[str]) -> dict[str, st.SearchStrategy[dict[str, Any]]]:
    known = {"table": st.just(table), "name": st.just(names[0])}
    values = {"up": st.dictionaries(NAMES, EXPRESSIONS, min_size=1, max_size=2)}
    values["down"] = values["up"]
    covered = {"columns": st.lists(NAMES, min_size=1, max_size=3, unique=True)}
    parents = mapping({"table": st.just(names[1]), "columns": NAMES.map(lambda one: [one])}, on_delete=ACTIONS)
    return {
        "create_constraint": mapping(
            {**known, "type": st.just("check"), "check": EXPRESSIONS}, no_inherit=BOOLEANS, **values
        )
        | mapping({**known, **covered, "type": st.sampled_from(["unique", "primary_key"])}, deferrable=BOOLEANS)
        | mapping(
            {**known, "columns": NAMES.map(lambda one: [one]), "type": st.just("foreign_key"), "references": parents}
        ),
        "drop_constraint": mapping({**known, "down": EXPRESSIONS}, up=EXPRESSIONS, lossy=BOOLEANS) | mapping(known),
        "drop_multicolumn_constraint": mapping(known, **values),
        "rename_constraint": mapping({"table": st.just(table), "from": st.just(names[0]), "to": st.just(names[1])}),
    }


def operations(table: str, names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """One operation on a table of its own, with names that nothing else bears."""
    just = st.just(table)
    # Short enough for names that are made of it.
    mark = f"{names[1].encode().hex()[:24]}_{len(names[1])}"
    other = f"other_{mark}"
    bodies = {
        "create_table": mapping(
            {"name": just, "columns": columns(table, names, NAMES).map(lambda one: [one])},
            comment=TEXTS,
            constraints=mapping({"name": st.just(names[3]), "type": st.just("check"), "check": EXPRESSIONS}).map(
                lambda one: [one]
            ),
        ),
        "add_column": mapping({"table": just, "column": columns(table, names, NAMES)}, up=EXPRESSIONS),
        "rename_column": st.lists(NAMES, min_size=2, max_size=2, unique=True).map(
            lambda pair: {"table": table, "from": pair[0], "to": pair[1]}
        ),
        "alter_column": alterations(table, names),
        "drop_column": mapping({"table": just, "column": NAMES})
        | mapping({"table": just, "column": NAMES, "down": EXPRESSIONS}, lossy=BOOLEANS),
        "create_index": mapping(
            {
                "name": st.just(names[2]),
                "table": just,
                "columns": st.lists(NAMES | FIELDS, min_size=1, max_size=3)
                | st.dictionaries(NAMES, st.none() | st.just({"sort": "DESC"}), min_size=1, max_size=3),
            },
            unique=BOOLEANS,
            predicate=EXPRESSIONS,
            storage_parameters=TEXTS,
        )
        | mapping(
            {
                "name": st.just(names[2]),
                "table": just,
                "columns": st.lists(mapping({"expression": EXPRESSIONS}, **ORDER), min_size=1, max_size=2),
                "unique": st.just(True),
            },
            include=st.lists(NAMES, min_size=1, max_size=3, unique=True),
            nulls_not_distinct=BOOLEANS,
        ),
        **constraints(table, names),
        "drop_table": mapping({"name": just}),
        "rename_table": mapping({"from": just, "to": st.just(names[1])}),
        "drop_index": mapping({"name": st.just(names[1])}),
        "set_replica_identity": mapping(
            {
                "table": just,
                "identity": mapping({"type": st.sampled_from(["nothing", "default", "full"])})
                | mapping({"type": st.just("index"), "index": NAMES}),
            }
        ),
        "move_column": mapping(
            {
                "table": just,
                "column": st.just(names[0]),
                "to": st.just(other),
                "on": mapping({"k": st.just(names[2])}),
            },
            to_column=NAMES,
            lossy=BOOLEANS,
            when_differ=st.sampled_from(["refuse", "min", "max"]),
        ),
        "denormalize": mapping(
            {
                "table": just,
                "column": st.just(names[0]),
                "to": st.just(other),
                "on": mapping({"k": st.just(names[2])}),
            },
            to_column=NAMES,
        ),
        "create_api_version": mapping(
            {"table": just, "name": st.just(f"api_{mark}"), "columns": mapping({"c": EXPRESSIONS})},
            predicate=EXPRESSIONS,
            functions=st.just({f"f_{mark}": {"parameters": {"k": "int"}, "predicate": "c = k"}}),
            roles=st.just(["r"]),
        ),
        "drop_api_version": mapping({"name": st.just(names[1])}),
        "extract_lookup": mapping(
            # The name that a reference gets by itself may be too long.
            {"table": just, "column": st.just(names[0]), "to": st.just(other), "reference": st.just("r")},
            to_column=st.just("wert"),
        ),
        "extract_junction": mapping(
            {
                "table": just,
                "column": st.just(names[0]),
                "references": st.just(other),
                "to": st.just(f"between_{mark}"),
                # As there.
                "reference": st.just("r"),
            },
            key=st.just({names[3]: "the key"}),
            delimiter=st.sampled_from([",", "; ", "|"]),
        ),
        "split_table": mapping(
            {
                "table": just,
                "columns": st.lists(st.sampled_from(names[:3]), min_size=1, max_size=3, unique=True),
                "to": st.just(other),
            },
            key=st.just({names[3]: "the key"}),
            when_null=st.sampled_from(["row", "no_row"]),
        ),
        "merge_tables": mapping({"table": just, "from": st.just(other)}, columns=st.just({names[0]: names[1]})),
        "sql": mapping({"up": TEXTS}, on_complete=BOOLEANS) | mapping({"up": TEXTS, "down": TEXTS}),
    }
    if len(f"{table.rpartition('.')[2]}_r_fkey".encode()) > MAX_BYTES:
        # The foreign key to the lookup would have no name.
        del bodies["extract_lookup"]
    return st.one_of(*(st.fixed_dictionaries({kind: body}) for kind, body in bodies.items()))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(TABLES, min_size=15, max_size=15, unique=True))
    schema = draw(st.sampled_from(["", "app."]))
    groups = [names[start : start + 5] for start in range(0, draw(st.sampled_from([5, 10, 15])), 5)]
    made = [draw(operations(schema + table, rest)) for table, *rest in groups]
    suites = st.lists(st.sampled_from(["a.b:c", "suites/x.json"]), max_size=2)
    rest = draw(
        mapping(
            {"migration": st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)},
            description=TEXTS,
            owner=TEXTS,
            ticket=TEXTS,
            database=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True),
            strategy=st.just("expand_contract"),
            gates=mapping({}, before_swap=suites, after_swap=suites),
            backfill=mapping({}, user_triggers=st.sampled_from(["refuse", "bypass", "fire"])),
            soak=st.floats(0, 1e6) | st.integers(0, 10**6),
        )
    )
    return {**rest, "operations": made}


def yaml(value: Any) -> str:
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    # In flow style it writes a plain ?0, which it does not read.
    writer.default_flow_style = False
    # It forgets a backslash when it breaks a quoted text.
    writer.width = 10**6
    # The order of the columns of an index says something.
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(value, stream)
    return stream.getvalue()


def raw_json(value: Any) -> str:
    """As few escapes as possible: JSON takes some characters as they are that YAML does not."""
    text = json.dumps(value, ensure_ascii=False, indent="\t")
    return re.sub("[\x7f-\x9f\u2028\u2029\ufffe\uffff]", lambda found: f"\\u{ord(found.group()):04x}", text)


@settings(SLOW, max_examples=40 * TIMES)
@given(documents())
def test_written_and_read_again_it_is_the_same(document: dict[str, Any]) -> None:
    spec = MigrationSpec.model_validate(document)
    dump = spec.model_dump(mode="json")
    short = spec.model_dump(mode="json", exclude_defaults=True)
    for value in (document, dump, short):
        assert [error.message for error in SCHEMA.iter_errors(value)] == []
        for text in (yaml(value), json.dumps(value), raw_json(value)):
            again = parse(text, "m.yaml")
            assert again == spec
            assert again.spec_digest == spec.spec_digest
            assert again.model_dump(mode="json") == dump


@settings(SLOW, max_examples=150 * TIMES)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    """Nothing but an InvalidSpecError comes out, whatever goes in."""
    _read_or_refuse(text)


@settings(SLOW, max_examples=60 * TIMES)
@given(documents(), st.data())
def test_a_damaged_spec_is_read_or_refused_with_a_place(document: dict[str, Any], data: st.DataObject) -> None:
    text = yaml(MigrationSpec.model_validate(document).model_dump(mode="json"))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    _read_or_refuse(text[:start] + data.draw(st.text("{}[]:-?!&*#'\"|> \n\tab1", max_size=5)) + text[end:])


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["migration", "operations", "gates", "backfill", "soak", "owner"])
BODY_KEYS = st.sampled_from(["table", "column", "columns", "name", "type", "up", "references", "check", "unique"])
OPERATIONS = st.dictionaries(
    st.sampled_from(["add_column", "create_table", "create_index", "alter_column", "sql"]),
    st.dictionaries(BODY_KEYS, JUNK, max_size=4) | JUNK,
    max_size=2,
)


@settings(SLOW, max_examples=150 * TIMES)
@given(st.dictionaries(KEYS, JUNK, max_size=4), st.lists(OPERATIONS | JUNK, max_size=3) | JUNK)
def test_any_values_are_read_or_refused_with_a_place(values: dict[str, Any], listed: Any) -> None:
    _read_or_refuse(json.dumps(values | {"operations": listed}))


def _read_or_refuse(text: str) -> None:
    try:
        spec = parse(text, "m.yaml")
    except InvalidSpecError as error:
        lines = text.split("\n")
        for problem in error.problems:
            assert 1 <= problem.line <= len(lines) + 1
            assert problem.column >= 1
            assert problem.reason
            assert problem.hint.endswith((".", "?"))
    else:
        assert parse(json.dumps(spec.model_dump(mode="json")), "m.json") == spec
