"""The spec as a whole: what can stand together, its digest, its JSON Schema, and how it round-trips."""

import copy
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.model.operations import AddColumn, RenameColumn, Sql
from tasks.model.operations.column import ColumnDefinition
from tasks.model.spec import BoundSuite, MigrationSpec
from tests.unit.documents import FULL, SCHEMA, add, alter, convert, create, drop, foreign_key, index, rename
from tests.unit.refusals import refused, spec

# One operation a column.


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        (rename("c", "d"), alter("c"), "alter_column.column"),
        (alter("d"), rename("c", "d"), "rename_column.to"),
        (drop("c"), alter("c"), "alter_column.column"),
        (drop("c"), drop("c"), "drop_column.column"),
        (drop("c"), add("c"), "add_column.column.name"),
        (drop("c"), rename("b", "c"), "rename_column.to"),
        (rename("a", "b"), add("b"), "add_column.column.name"),
        (add("c"), add("c"), "add_column.column.name"),
        (index("i", "c"), drop("c"), "drop_column.column"),
        (rename("a", "b"), index("i", "a"), "create_index.columns.0.column"),
    ],
)
def test_two_operations_on_one_column_are_refused(first: dict[str, Any], second: dict[str, Any], where: str) -> None:
    ((at, reason, hint),) = refused(first, second)
    (kind,) = first
    assert at == f"operations.1.{where}"
    assert reason.startswith(f"operations[0].{kind} already concerns the column t.")
    assert reason.endswith(", and the two do not make one operation")
    assert hint == "Say it in one operation, or put the second one into a migration of its own."


def test_an_index_comes_after_its_column() -> None:
    assert refused(index("i", "c"), add("c")) == [
        (
            "operations.1.add_column.column.name",
            "operations[0] uses the column t.c before it is there",
            "Put add_column before create_index.",
        )
    ]


@pytest.mark.parametrize(
    "operations",
    [
        (add("c"), index("i", "c")),
        (add("c"), index("i", "c"), index("j", "c", "d")),
        (alter("c", nullable=False), index("i", "c")),
        (index("i", "c"), alter("c", default=None)),
        (convert("c"), index("i", "a", "c")),
        (index("i", "c"), convert("c")),
        (rename("a", "b"), index("i", "b")),
        (add("c"), add("d"), drop("e"), rename("f", "g"), convert("h")),
        (add("c", "t"), add("c", "u")),
        (add("c", "app.t"), add("c", "public.t")),
        (create("n", "id"), index("i", "id", table="n")),
        (create("n", "id"), create("o", "id"), add("n_id", **foreign_key("n"))),
        (create("n", "id", constraints=[{"name": "f", "type": "foreign_key", "columns": ["id"],
                                         "references": {"table": "n", "columns": ["id"]}}]),),
    ],
)  # fmt: skip
def test_operations_that_can_stand_together(operations: tuple[dict[str, Any], ...]) -> None:
    assert len(spec(*operations).operations) == len(operations)


@pytest.mark.parametrize("together", [(add("c", "t"), add("d", "public.t")), (add("c", "app.t"), drop("d", "t"))])
def test_a_table_is_spelt_one_way(together: tuple[dict[str, Any], ...]) -> None:
    ((at, reason, hint),) = refused(*together)
    assert at in ("operations.1.add_column", "operations.1.drop_column")
    assert "may be the same table as" in reason
    assert hint == "Write both with their schema, or both without."


def test_a_referenced_table_is_spelt_the_same_way() -> None:
    ((at, reason, _),) = refused(drop("c", "public.u"), add("d", "t", **foreign_key("u")))
    assert (at, reason) == ("operations.1.add_column", "'u' may be the same table as 'public.u'")


# New tables and names.


def test_a_table_is_created_once() -> None:
    assert refused(create("n", "a"), create("n", "b")) == [
        (
            "operations.1.create_table.name",
            "operations[0] already gives the name 'n', unique among tables and indexes",
            "Choose another name, or remove one of the two.",
        )
    ]


@pytest.mark.parametrize(
    ("first", "second", "at", "space"),
    [
        (index("i", "a"), index("i", "b"), "create_index.name", "tables and indexes"),
        (index("i", "a", table="t"), index("i", "a", table="u"), "create_index.name", "tables and indexes"),
        (
            index("i", "a", table="s.t"),
            index("i", "a", table="s.u"),
            "create_index.name",
            "tables and indexes of schema s",
        ),
        (create("n", "a"), index("n", "a", table="t"), "create_index.name", "tables and indexes"),
        (
            index("k", "a", table="u"),
            alter("c", unique={"name": "k"}),
            "alter_column.unique.name",
            "tables and indexes",
        ),
        (
            alter("b", check={"name": "k", "constraint": "b > 0"}),
            add("c", check={"name": "k", "constraint": "c > 0"}),
            "add_column.column.check.name",
            "constraints of t",
        ),
        (
            add("c", references={"name": "k", "table": "u", "column": "d"}),
            alter("b", check={"name": "k", "constraint": "b > 0"}),
            "alter_column.check.name",
            "constraints of t",
        ),
    ],
)
def test_a_name_is_given_once(first: dict[str, Any], second: dict[str, Any], at: str, space: str) -> None:
    ((where, reason, _),) = refused(first, second)
    assert where == f"operations.1.{at}"
    assert reason.startswith("operations[0] already gives the name ")
    assert reason.endswith(f", unique among {space}")


def test_names_within_one_new_table() -> None:
    constraints = [{"name": "k", "type": "unique", "columns": ["a"]}, {"name": "k", "type": "check", "check": "a"}]
    assert [at for at, _, _ in refused(create("n", "a", constraints=constraints))] == [
        "operations.0.create_table.constraints.1.name"
    ]


def test_the_same_names_in_different_spaces() -> None:
    check = {"name": "k", "constraint": "c > 0"}
    spec(add("c", "t", check=check), add("c", "u", check=check))
    spec(index("i", "a", table="r.t"), index("i", "a", table="s.t"))


@pytest.mark.parametrize(
    ("operation", "at", "hint"),
    [
        (drop("b", "n"), "drop_column", "It has: amount."),
        (alter("b", "n"), "alter_column", "It has: amount."),
        (rename("b", "c", "n"), "rename_column", "It has: amount."),
        (index("i", "amont", table="n"), "create_index.columns.0.column", "Did you mean 'amount'?"),
    ],
)
def test_the_columns_of_a_new_table_are_known(operation: dict[str, Any], at: str, hint: str) -> None:
    ((where, reason, remedy),) = refused(create("n", "amount"), operation)
    assert (where, remedy) == (f"operations.1.{at}", hint)
    assert reason.startswith("the table 'n', made by this spec, has no column ")


@pytest.mark.parametrize(
    "operation",
    [
        index("i", "x", table="n"),
        add("c", "t", **foreign_key("n")),
        {"create_table": {"name": "o", "columns": [{"name": "n_id", "type": "int", **foreign_key("n")}]}},
    ],
)
def test_a_new_table_comes_first(operation: dict[str, Any]) -> None:
    (kind,) = operation
    assert refused(operation, create("n", "id")) == [
        (
            f"operations.0.{kind}",
            "it needs the table 'n', which operations[1] makes only later",
            "Put the create_table of 'n' first.",
        )
    ]


def test_every_conflict_is_told_at_once() -> None:
    problems = refused(drop("c"), drop("c"), drop("c"), rename("c", "d"), rename("e", "d"))
    assert [at for at, _, _ in problems] == [
        "operations.1.drop_column.column",
        "operations.2.drop_column.column",
        "operations.3.rename_column.from",
        "operations.4.rename_column.to",
    ]


# The rest of the spec.


@pytest.mark.parametrize("name", ["a", "0", "2024-01-01_widen-ids", "a" * 63])
def test_names_of_migrations(name: str) -> None:
    assert MigrationSpec(migration=name, operations=(Sql(up="select 1"),)).migration == name


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a.b", "a b", "a" * 64, "a\n", "é"])
def test_names_that_are_none(name: str) -> None:
    ((at, reason, hint),) = refused(drop("c"), migration=name)
    assert at == "migration"
    assert reason == f"{name!r} is no name of a migration"
    assert hint == "Use at most 63 small letters, digits, _ and -, the first a letter or a digit."


@pytest.mark.parametrize("database", ["postgresql://bob:hunter2@db/app", "a b", "", "-a", "x" * 64])
def test_a_database_is_a_name_and_never_shown_when_it_is_none(database: str) -> None:
    ((at, reason, hint),) = refused(drop("c"), database=database)
    assert (at, hint) == ("database", "Put the URL where the profile says, and write its name here.")
    assert reason == "database is a name that the profile knows, made of letters, digits, _, . and -"


@pytest.mark.parametrize("suite", ["suites:users", "app.suites.users:strict_1", "suites/users.json", "/a b.json"])
def test_suites(suite: str) -> None:
    assert spec(drop("c"), gates={"before_swap": [suite]}).gates.before_swap == (BoundSuite(suite=suite),)


@pytest.mark.parametrize("suite", ["suites", "app.suites", "app:users:x", "a b:c", "1a:b", ".json", ":f", "a.:f"])
def test_suites_that_are_none(suite: str) -> None:
    ((at, reason, _),) = refused(drop("c"), gates={"after_swap": [suite]})
    assert (at, reason) == ("gates.after_swap.0.suite", f"{suite!r} names no suite")


def test_a_suite_with_arguments() -> None:
    bound = {"suite": "a.b:c@t", "arguments": {"by": ["x"], "limit": 1}}
    written = spec(drop("c"), gates={"before_contract": ["a:b", bound]})
    assert written.gates.before_contract == (
        BoundSuite(suite="a:b"),
        BoundSuite(suite="a.b:c@t", arguments={"by": ["x"], "limit": 1}),
    )
    dumped = written.model_dump(mode="json", exclude_defaults=True)
    assert dumped["gates"] == {"before_contract": ["a:b", bound]}
    assert MigrationSpec.model_validate(dumped) == written
    assert SCHEMA.is_valid(dumped)
    file = {"suite": "x.json", "arguments": {"a": 1}}
    assert refused(drop("c"), gates={"before_run": [file]}) == [
        ("gates.before_run.0.arguments", "a suite in JSON takes no arguments", "Remove them.")
    ]


def test_backfill_key() -> None:
    assert spec(drop("c", "app.t"), backfill={"key": {"app.t": ["a", "b"]}}).backfill.key == {"app.t": ("a", "b")}
    assert refused(drop("c", "users"), backfill={"key": {"user": ["a"]}}) == [
        ("backfill.key.user", "no operation changes a table 'user' that exists", "Did you mean 'users'?")
    ]
    assert refused(create("n", "a"), backfill={"key": {"n": ["a"]}}) == [
        ("backfill.key.n", "no operation changes a table 'n' that exists", "Remove it.")
    ]


def test_what_is_not_given() -> None:
    plain = spec(drop("c"))
    assert (plain.strategy, plain.database, plain.soak) == ("expand_contract", "main", None)
    assert (plain.gates.before_swap, plain.gates.after_swap) == ((), ())
    assert plain.backfill.user_triggers == "refuse"


@pytest.mark.parametrize("soak", [-1, float("inf"), float("nan"), "60", True])
def test_soak_is_a_number_of_seconds(soak: object) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(drop("c"), soak=soak)
    assert [error["loc"] for error in caught.value.errors()] == [("soak",)]


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ("drop_column", "an operation is a mapping"),
        (None, "an operation is a mapping"),
        ({}, "an operation has one key, its kind; here there are: none"),
        ({**add("c"), **drop("d")}, "an operation has one key, its kind; here there are: 'add_column', 'drop_column'"),
        ({"drop_colum": {}}, "unknown operation 'drop_colum'"),
    ],
)  # fmt: skip
def test_what_is_no_operation(operation: Any, reason: str) -> None:
    assert ("operations.0", reason) in [(at, why) for at, why, _ in _with_context(operation)]


def _with_context(operation: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(ValidationError) as caught:
        spec(operation)
    return [
        (".".join(map(str, e["loc"])), e["ctx"]["reason"], e["ctx"]["hint"])
        for e in caught.value.errors()
        if e["type"] == "refused"
    ]


# Python, dumps and digest.


def test_python_code_passes_operations_as_they_are() -> None:
    operations = (
        AddColumn(table="t", column=ColumnDefinition(name="c", type="int", default="0")),
        RenameColumn(table="t", from_="a", to="b"),
        Sql(up="select 1", on_complete=True),
    )
    assert MigrationSpec(migration="m", operations=operations).operations == operations
    assert spec(operations[0], rename("a", "b"), operations[2]).operations == operations


def test_dumps_parse_to_the_same_spec() -> None:
    full = MigrationSpec.model_validate(FULL)
    dumps: list[Any] = [
        full.model_dump(),
        full.model_dump(mode="json"),
        full.model_dump(by_alias=True),
        full.model_dump(by_alias=False),
        full.model_dump(exclude_defaults=True),
        full.model_dump(exclude_unset=True),
    ]
    for dump in dumps:
        again = MigrationSpec.model_validate(dump)
        assert (again, again.spec_digest) == (full, full.spec_digest)
    for copied in (MigrationSpec.model_validate_json(full.model_dump_json()), copy.deepcopy(full)):
        assert (copied, copied.spec_digest) == (full, full.spec_digest)
    assert pickle.loads(pickle.dumps(full)).spec_digest == full.spec_digest


def test_a_dump_is_the_document() -> None:
    dump = spec(alter("c", default=None)).model_dump(mode="json", exclude_defaults=True)
    assert dump == {"migration": "m", "operations": [{"alter_column": {"table": "t", "column": "c", "default": None}}]}


def test_the_digest_is_of_the_meaning() -> None:
    plain = spec(add("c"), {"create_index": {"name": "i", "table": "t", "columns": ["a"]}})
    written_out = spec(
        add("c", unique=False, pk=False),
        {"create_index": {"columns": {"a": {}}, "table": "t", "name": "i", "method": "btree"}},
        strategy="expand_contract",
        gates={},
        backfill={"user_triggers": "refuse"},
    )
    assert plain.spec_digest == written_out.spec_digest
    assert len(plain.spec_digest) == 64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (alter("c", nullable=True), alter("c", nullable=True, default=None)),
        (alter("c", nullable=True), alter("c", nullable=True, comment=None)),
        (alter("c", nullable=True), alter("c", nullable=False)),
        (add("c"), add("c", default="0")),
        (index("i", "a", "b"), index("i", "b", "a")),
    ],
)
def test_another_meaning_has_another_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert spec(one).spec_digest != spec(other).spec_digest


def test_the_order_of_operations_is_part_of_the_digest() -> None:
    assert spec(add("a"), add("b")).spec_digest != spec(add("b"), add("a")).spec_digest
    assert spec(add("a")).spec_digest != spec(add("a"), migration="n").spec_digest


def test_a_shadow_table_and_versions_are_refused_beside_each_other() -> None:
    assert refused(add("a"), strategy="shadow_table", version_schema="v") == [
        (
            "version_schema",
            "a shadow table has one shape at a time, and no versions",
            "Remove version_schema, or write `strategy: expand_contract`.",
        )
    ]


TO = {"database": "documents", "collection": "c"}
ROWS = {"database": "documents", "table": "u"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"strategy": "expand_contract"}, "stays within one database"),
        ({"transfer": None}, "nothing says what is copied where"),
        ({"operations": [{"drop_column": {"table": "t", "column": "c"}}]}, "leaves the tables of this one"),
        ({"version_schema": "v"}, "leaves the tables of this one"),
        ({"gates": {"before_swap": ["a.b:c"]}}, "gates look at one database"),
        ({"database": "documents"}, "this is the database that is copied from"),
        ({"transfer": {"table": "t", "to": TO, "fields": {}}}, "nothing says what a document holds"),
        ({"transfer": {"table": "t", "to": {**TO, "collection": "system.x"}, "fields": {"a": "a"}}}, "no name of a"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"a": "a", "a.b": "b"}}}, "fields of its own"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"a..b": "a"}}}, "no path of a field"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"$a": "a"}}}, "no path of a field"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"_id.a": "a"}}}, "_id is one value"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"_id": {"column": "a", "unfit": "tag"}}}}, "no policies"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"a": {"column": "a", "up": "b"}}}}, "Give one of them"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"a": {}}}}, "Give one of them"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"a": {"constant": 1, "unfit": "tag"}}}}, "as it is written"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"a": {"constant": 2**63}}}}, "more than 64 bits"),
        ({"transfer": {"table": "t", "to": TO, "fields": {"a": "a"}, "omit": ["b"]}}, "tables have columns"),
        (
            {"transfer": {"table": "t", "to": {**TO, "table": "u"}, "fields": {"a": "a"}}},
            "into a collection or",
        ),
        ({"transfer": {"table": "t", "to": {"database": "documents"}}}, "into a collection or"),
        ({"transfer": {"table": "t", "to": ROWS, "fields": {"a": "a"}}}, "documents have fields"),
        ({"transfer": {"table": "t", "to": ROWS, "columns": {"a": "b"}, "omit": ["b"]}}, "is left out, and copied"),
        ({"transfer": {"table": "t", "to": ROWS, "columns": {"a": {"column": "b", "up": "c"}}}}, "one of the three"),
        ({"transfer": {"to": ROWS}}, "or documents of a collection"),
        ({"transfer": {"table": "t", "collection": "c", "to": ROWS}}, "Give one of the two"),
        ({"transfer": {"collection": "c", "to": TO, "fields": {"a": "a"}}}, "documents become rows"),
        ({"transfer": {"collection": "c", "to": ROWS, "where": "a > 1"}}, "a filter of MongoDB"),
        ({"transfer": {"collection": "c", "to": ROWS, "columns": {"a": {"up": "b"}}}}, "no SQL is evaluated"),
        ({"transfer": {"table": "t", "to": ROWS, "columns": {"a": {"up": {"$abs": "$a"}}}}}, "is one over documents"),
        ({"transfer": {"collection": "c", "to": ROWS, "columns": {"a": {"constant": 2**63}}}}, "more than 64 bits"),
        ({"transfer": {"table": "t", "to": ROWS, "where": {"a": 1}}}, "rows are chosen by SQL"),
        ({"transfer": {"table": "t", "to": ROWS, "rest": "r"}}, "no other columns"),
        ({"transfer": {"table": "t", "to": ROWS, "omit": ["x" * 64]}}, "longer than 63 bytes"),
        ({"transfer": {"table": "t", "to": ROWS, "columns": {"a": "x" * 64}}}, "longer than 63 bytes"),
        ({"transfer": {"table": "t", "to": ROWS, "columns": {"a": {"unfit": "tag"}}}}, "are about documents"),
        ({"transfer": {"table": "t", "to": ROWS, "capture": "change_stream"}}, "a table has no change stream"),
        ({"transfer": {"collection": "c", "to": ROWS, "capture": "triggers"}}, "a collection has no triggers"),
        ({"transfer": {"collection": "c", "to": ROWS, "position": "p"}}, "or give `unnest`"),
        ({"transfer": {"collection": "c", "to": ROWS, "unnest": "_id.a"}}, "no array is there"),
        ({"transfer": {"collection": "c", "to": ROWS, "unnest": "a..b"}}, "is no path of a field"),
        ({"transfer": {"collection": "c", "to": ROWS, "unnest": "a", "rest": "position"}}, "another column 'position'"),
        ({"transfer": {"collection": "c", "to": ROWS, "unnest": "a.b", "columns": {"a": {}}}}, "is within it"),
        ({"transfer": {"collection": "c", "to": ROWS, "unnest": "a.b", "omit": ["a.c"]}}, "no field of an element"),
        ({"transfer": {"table": "t", "to": ROWS, "unnest": "a"}}, "only documents have arrays"),
    ],
)
def test_a_copy_into_another_database_says_one_thing(change: dict[str, Any], reason: str) -> None:
    good = {
        "migration": "m",
        "strategy": "cross_database",
        "transfer": {"table": "t", "to": TO, "fields": {"_id": "id", "a.b": {"up": "x"}, "a.c": {"constant": True}}},
    }
    spec = MigrationSpec.model_validate(good)
    assert MigrationSpec.model_validate(spec.model_dump(mode="json", exclude_defaults=True)) == spec
    with pytest.raises(ValidationError, match=reason):
        MigrationSpec.model_validate({key: value for key, value in (good | change).items() if value is not None})


@pytest.mark.parametrize(
    ("path", "rule", "reason"),
    [
        ("_id", {"embed": {"table": "c", "fields": {"a": "a"}}}, "of the row itself"),
        ("a", {"embed": {"table": "c", "fields": {"a": "a", "a.b": "c"}}}, "fields of its own"),
        ("a", {"embed": {"table": "c", "fields": {}}}, "at least 1 item"),
        ("a", {"embed": {"table": "c", "fields": {"a": "a"}}, "type": "date"}, "policies of their own"),
        ("a", {"embed": {"table": "c", "fields": {"a": {"embed": {}}}}}, "Extra inputs are not permitted"),
        ("a", {"lookup": {"table": "c"}}, "Give one of the two"),
    ],
)
def test_rows_of_other_tables_have_fields_of_their_own(path: str, rule: dict[str, Any], reason: str) -> None:
    transfer = {"table": "t", "to": TO, "fields": {path: rule}}
    with pytest.raises(ValidationError, match=reason):
        MigrationSpec.model_validate({"migration": "m", "strategy": "cross_database", "transfer": transfer})
