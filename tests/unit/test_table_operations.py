"""Operations on whole tables and on indexes: what they accept, what they refuse, what they cannot stand beside."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError

from tasks.model.operations import CreateIndex, DropIndex, DropTable, RenameTable, SetReplicaIdentity
from tasks.model.operations.create_index import IndexField
from tasks.model.operations.set_replica_identity import ReplicaIdentity
from tasks.model.source import parse
from tasks.model.spec import MigrationSpec
from tests.unit.refusals import accept, refuse

SCHEMA = Draft202012Validator(MigrationSpec.model_json_schema())
DROP: dict[str, Any] = {"drop_table": {"name": "t"}}
RENAME: dict[str, Any] = {"rename_table": {"from": "t", "to": "u"}}
INDEX: dict[str, Any] = {"drop_index": {"name": "i"}}
IDENTITY: dict[str, Any] = {"set_replica_identity": {"table": "t", "identity": {"type": "full"}}}
COLUMN: dict[str, Any] = {"drop_column": {"table": "t", "column": "c"}}
CHILD: dict[str, Any] = {
    "create_table": {
        "name": "c",
        "columns": [{"name": "x", "type": "int", "references": {"name": "f", "table": "t", "column": "id"}}],
    }
}


def spec(*operations: dict[str, Any]) -> MigrationSpec:
    return MigrationSpec.model_validate({"migration": "m", "operations": list(operations)})


def refused(*operations: dict[str, Any]) -> list[tuple[str, str, str]]:
    with pytest.raises(ValidationError) as caught:
        spec(*operations)
    return [
        (".".join(map(str, error["loc"])), error["ctx"]["reason"], error["ctx"]["hint"])
        for error in caught.value.errors()
    ]


def test_what_pgroll_writes_is_accepted() -> None:
    assert accept("drop_table: {name: products}") == DropTable(name="products")
    assert accept("rename_table: {from: app.users, to: customers}") == RenameTable(from_="app.users", to="customers")
    assert accept("drop_index: {name: app.idx_fruits_name}") == DropIndex(name="app.idx_fruits_name")
    assert accept("set_replica_identity: {table: fruits, identity: {type: full}}") == SetReplicaIdentity(
        table="fruits", identity=ReplicaIdentity(type="full")
    )
    assert accept("set_replica_identity: {table: t, identity: {type: index, index: i}}") == SetReplicaIdentity(
        table="t", identity=ReplicaIdentity(type="index", index="i")
    )


@pytest.mark.parametrize("operation", [DROP, RENAME, INDEX, IDENTITY])
def test_a_dump_reads_as_the_same(operation: dict[str, Any]) -> None:
    document = spec(operation).model_dump(mode="json", exclude_defaults=True)
    assert document["operations"] == [operation]
    assert parse(json.dumps(document), "m.json") == spec(operation)
    assert SCHEMA.is_valid({"migration": "m", "operations": [operation]})


def test_tables_and_what_else_may_stand_beside() -> None:
    assert (DropTable(name="t").tables, DropTable(name="t").alone_on) == (("t",), ("t",))
    rename = RenameTable(from_="s.t", to="u")
    assert (rename.tables, rename.alone_on) == (("s.t",), ("s.t",))
    assert [(new.name, new.space) for new in rename.new_names()] == [("u", "tables and indexes of schema s")]
    assert (DropIndex(name="i").tables, DropIndex(name="i").alone_on) == ((), ())
    identity = SetReplicaIdentity(table="t", identity=ReplicaIdentity(type="nothing"))
    assert (identity.tables, identity.alone_on) == (("t",), ())


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        (
            "rename_table: {from: t, to: ▸t}",
            "rename_table.to",
            "both names are the same",
            "Choose another name.",
        ),
        (
            "rename_table: {from: app.t, to: ▸t}",
            "rename_table.to",
            "both names are the same",
            "Choose another name.",
        ),
        (
            "rename_table: {from: app.t, to: ▸app.u}",
            "rename_table.to",
            "a table stays in its schema when it is renamed",
            "Write the new name alone, without a schema and a dot.",
        ),
        (
            "set_replica_identity: {table: t, identity: {type: ▸index}}",
            "set_replica_identity.identity.type",
            "which index is not said",
            "Add index, with its name.",
        ),
        (
            "set_replica_identity: {table: t, identity: {type: full, index: ▸i}}",
            "set_replica_identity.identity.index",
            "a replica identity of type full has no index",
            "Remove index, or write type: index.",
        ),
        (
            "set_replica_identity: {table: t, identity: {type: ▸key}}",
            "set_replica_identity.identity.type",
            "the text 'key' is not a value of type",
            "Write one of default, full, index, nothing.",
        ),
    ],
)
def test_what_says_nothing_is_refused(body: str, path: str, reason: str, hint: str) -> None:
    refuse(body, path, reason, hint)


@pytest.mark.parametrize("other", [IDENTITY, COLUMN, CHILD])
def test_nothing_stands_beside_a_table_that_goes(other: dict[str, Any]) -> None:
    (other_kind,) = other
    for operations, number in (((DROP, other), 1), ((other, DROP), 0)):
        assert refused(*operations) == [
            (
                f"operations.{number}.{other_kind}",
                f"operations[{1 - number}].drop_table concerns the whole table 't'",
                "Put the two into migrations of their own, one after the other.",
            )
        ]


@pytest.mark.parametrize("other", [IDENTITY, COLUMN, CHILD])
def test_a_table_is_called_by_the_name_that_it_has_by_then(other: dict[str, Any]) -> None:
    (kind,) = other
    assert refused(RENAME, other) == [
        (f"operations.1.{kind}", "operations[0].rename_table gives the table 't' the name 'u'", "Write 'u'.")
    ]
    assert len(spec(other, RENAME).folding.operations) == 2


@pytest.mark.parametrize(("first", "second"), [(DROP, DROP), (DROP, RENAME)])
def test_a_table_goes_once(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert "operations[0].drop_table concerns the whole table 't'" in [
        reason for _, reason, _ in refused(first, second)
    ]


@pytest.mark.parametrize(
    ("operation", "thing"), [(INDEX, "the end of the index 'i'"), (IDENTITY, "the replica identity of 't'")]
)
def test_what_is_settled_once(operation: dict[str, Any], thing: str) -> None:
    (kind,) = operation
    assert refused(operation, operation) == [
        (f"operations.1.{kind}", f"operations[0] already decides {thing}", "Remove one of the two.")
    ]


def test_the_new_name_is_given_once() -> None:
    other = {"rename_table": {"from": "o", "to": "u"}}
    assert [at for at, _, _ in refused(RENAME, other)] == ["operations.1.rename_table.to"]
    made = {"create_table": {"name": "u", "columns": [{"name": "x", "type": "int"}]}}
    assert [at for at, _, _ in refused(RENAME, made)] == ["operations.1.create_table.name"]


def test_what_may_stand_together() -> None:
    other = {"drop_table": {"name": "o"}}
    more = {"drop_index": {"name": "j"}}
    assert len(spec(RENAME, other, INDEX, more).operations) == 4
    assert len(spec(IDENTITY, COLUMN, INDEX).operations) == 3


# What create_index takes beside columns.


def test_an_index_takes_expressions_and_further_columns() -> None:
    operation = accept(
        "create_index: {name: i, table: t, unique: true, nulls_not_distinct: true, include: [d],"
        " columns: [{expression: lower(c), collate: C, sort: DESC}, e]}"
    )
    assert operation == CreateIndex(
        name="i",
        table="t",
        columns=(IndexField(expression="lower(c)", collate="C", sort="DESC"), IndexField(column="e")),
        include=("d",),
        unique=True,
        nulls_not_distinct=True,
    )
    assert [claim.column for claim in operation.claims()] == ["e", "d"]
    assert SCHEMA.is_valid({"migration": "m", "operations": [{"create_index": operation.model_dump(mode="json")}]})


@pytest.mark.parametrize(
    ("body", "path", "reason", "hint"),
    [
        (
            "columns: [{column: a, expression: ▸b}]",
            "columns[0].expression",
            "both a column and an expression are given",
            "Write one of the two.",
        ),
        (
            "columns: [▸{sort: DESC}]",
            "columns[0]",
            "neither a column nor an expression is given",
            "Write one of the two.",
        ),
        (
            "▸columns: {a: {expression: b}}",
            "columns",
            "'a' is a column, not an expression",
            "Remove expression.",
        ),
        (
            "columns: [a], nulls_not_distinct: ▸true",
            "nulls_not_distinct",
            "only a unique index compares NULLs",
            "Remove nulls_not_distinct, or add unique: true.",
        ),
        (
            "columns: [a], method: gin, ▸include: [b]",
            "include",
            "an index of method gin holds no further columns",
            "Remove include, or use method: btree.",
        ),
        (
            "columns: [a], include: [b, ▸a]",
            "include[1]",
            "the index holds the column 'a' already",
            "Remove it from include.",
        ),
        (
            "columns: [a], include: [b, ▸b]",
            "include[1]",
            "the index holds the column 'b' already",
            "Remove it from include.",
        ),
    ],
)
def test_an_index_refuses(body: str, path: str, reason: str, hint: str) -> None:
    refuse(f"create_index: {{name: i, table: t, {body}}}", f"create_index.{path}", reason, hint)


def test_a_column_that_is_only_included_has_to_be_there() -> None:
    index = {"create_index": {"name": "i", "table": "t", "columns": ["a"], "include": ["c"]}}
    assert [at for at, _, _ in refused(COLUMN, index)] == ["operations.1.create_index.include.0"]


@pytest.mark.parametrize(
    ("said", "field", "reason"),
    [
        ({"definition": "create table t (id int)", "options": "force"}, "options", "the definition says that already"),
        ({"definition": "create table t (id int)", "columns": ["id"]}, "columns", "the definition says that already"),
        ({"renamed": {"a": "b"}}, "renamed", "it belongs to options or a definition"),
        ({"up": {"a": "b"}}, "up", "it belongs to options or a definition"),
        ({"options": "force", "dropped": ["a", "a"]}, "dropped", "'a' is listed twice"),
    ],
)
def test_a_rebuilt_table_is_described_in_one_way(said: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MigrationSpec.model_validate(
            {"migration": "m", "strategy": "shadow_table", "operations": [{"rebuild_table": {"table": "t", **said}}]}
        )
    (error,) = caught.value.errors()
    assert (error["loc"][-1], error["ctx"]["reason"]) == (field, reason)
