# ruff: noqa: E501 - one case a line reads better than one folded
"""What several operations of one spec come to, and what cannot be put together."""

from typing import Any

import pytest

from tasks.model.operations.folding.names_within import UncertainError, with_other_names
from tests.unit.documents import add, alter, convert, create, drop, index, rename
from tests.unit.refusals import refused, spec

Body = dict[str, Any]


def rename_table(old: str, new: str) -> Body:
    return {"rename_table": {"from": old, "to": new}}


def check(name: str, condition: str, table: str = "t") -> Body:
    return {"create_constraint": {"table": table, "name": name, "type": "check", "check": condition}}


def folded(*operations: Body) -> list[Body]:
    """What is carried out, as a spec would say it."""
    done = spec(*operations).folding.operations
    return [{op.kind: op.model_dump(mode="json", by_alias=True, exclude_defaults=True)} for _, op in done]


def written(*operations: Body) -> list[Body]:
    """The same for operations that stand as they are."""
    return [folded(one)[0] for one in operations]


def up(name: str, value: str, table: str = "t") -> Body:
    return {"add_column": {**add(name, table)["add_column"], "up": value}}


FOREIGN = {
    "create_constraint": {
        "table": "orders",
        "name": "f",
        "type": "foreign_key",
        "columns": ["customer_id"],
        "orphans": "set_null",
        "references": {"table": "customers", "columns": ["customer_id"]},
    }
}
SEQUENCES: dict[str, tuple[list[Body], list[Body]]] = {
    "type, not null": ([convert("c"), alter("c", nullable=False)], [alter("c", type="text", up="a", down="b", nullable=False)]),
    "two conversions": (
        [alter("c", type="int", up="c / 10", down="c * 10"), alter("c", type="text", up="'n' || c", down="substr(c, 2)", lossy=True)],
        [alter("c", type="text", up="'n' || cast((c / 10\n) as int)", down="cast((substr(c, 2)\n) as int) * 10", lossy=True)]),
    "two conversions, by casts": (
        [alter("c", type="bigint"), alter("c", type="text", default="'x'"), alter("c", nullable=False, up="coalesce(c, '')", down="c")],
        [alter("c", type="text", default="'x'", nullable=False, up="coalesce(cast((cast((\"c\"\n) as bigint)\n) as text), '')", down="cast((cast((c\n) as text)\n) as bigint)")]),
    "a conversion after none": ([alter("c", nullable=False, up="c", down="c"), alter("c", up="c + 1", down="c - 1")], [alter("c", nullable=False, up="c + 1", down="c - 1")]),
    "not null, type": ([alter("c", nullable=False), convert("c")], [alter("c", nullable=False, type="text", up="a", down="b")]),
    "the last comment, and the last default": ([alter("c", default="1", comment="a"), alter("c", default=None, comment="b")], [alter("c", default=None, comment="b")]),
    "names": ([rename("a", "b"), rename("b", "c"), rename("c", "d")], [rename("a", "d")]),
    "a name and its drop": ([rename("a", "b"), drop("b"), add("e")], [drop("a"), add("e")]),
    "changed and dropped": ([alter("c", nullable=False), drop("c")], [drop("c")]),
    "made and dropped": ([add("c"), drop("c"), add("d")], [add("d")]),
    "made under another name": ([add("a", check={"name": "k", "constraint": "a > b"}), rename("a", "c")], [add("c", check={"name": "k", "constraint": '"c" > b'})]),
    "made, and not null": ([add("a"), alter("a", nullable=False, up="coalesce(a, 7)")], [{"add_column": {"table": "t", "column": {"name": "a", "type": "int"}, "up": "coalesce(cast(null as int), 7)"}}]),
    "default after default": ([add("a", default="1"), alter("a", default="2")], [{"add_column": {**add("a", default="2")["add_column"], "up": "1"}}]),
    "default after none": ([add("a"), alter("a", default="2")], [{"add_column": {**add("a", default="2")["add_column"], "up": "null"}}]),
    "an index before the name": ([index("i", "a", "x"), rename("a", "b")], [rename("a", "b"), index("i", "b", "x")]),
    "up by either name": ([rename("a", "b"), {"add_column": {**add("c")["add_column"], "up": "b + a"}}], [rename("a", "b"), {"add_column": {**add("c")["add_column"], "up": '"a" + a'}}]),
    "down by the last name": ([{"drop_column": {"table": "t", "column": "x", "down": "a || 'a'"}}, rename("a", "b")], [{"drop_column": {"table": "t", "column": "x", "down": "\"b\" || 'a'"}}, rename("a", "b")]),
    "altered where it is, by its first name": ([rename("a", "b"), alter("b", default="'x'", unique={"name": "u"})],
        [alter("a", default="'x'"), rename("a", "b"), {"create_constraint": {"table": "t", "name": "u", "type": "unique", "columns": ["b"]}}]),
    "a conversion and a name": ([alter("c", type="text", up="c || 'c'", down="left(c, 1)"), rename("c", "d")], [alter("c", type="text", up="c || 'c'", down='left("d", 1)'), rename("c", "d")]),
    "a name and a conversion": ([rename("c", "d"), alter("d", type="text", up="d || 'd'", down="left(d, 1)"), index("i", "d")], [alter("c", type="text", up="\"c\" || 'd'", down="left(d, 1)"), rename("c", "d"), index("i", "d")]),
    "a name, and a constraint that converts": (
        [rename("a", "b"), {"create_constraint": {"table": "t", "name": "k", "type": "check", "columns": ["b"], "check": "b <> ''", "up": {"b": "coalesce(b, '-')"}, "down": {"b": "b"}, "lossy": True}}],
        [alter("a", up="coalesce(\"a\", '-')", down="b", lossy=True), rename("a", "b"), {"create_constraint": {"table": "t", "name": "k", "type": "check", "columns": ["b"], "check": "b <> ''"}}]),
    "a table by its first name": ([rename_table("t", "u"), rename_table("u", "v"), rename("a", "b", "v"), check("k", "b > 0", "v")], [rename_table("t", "v"), rename("a", "b"), check("k", "b > 0")]),
    "up by the last name of the table": ([rename_table("t", "u"), {"add_column": {**add("c", "u")["add_column"], "up": "u.a"}}], [rename_table("t", "u"), {"add_column": {**add("c")["add_column"], "up": '"t".a'}}]),
    "a reference to a table with another name": ([rename_table("p", "q"), add("c", references={"name": "f", "table": "q", "column": "id"})], [rename_table("p", "q"), add("c", references={"name": "f", "table": "p", "column": "id"})]),
    "another name, and dropped": ([rename_table("t", "u"), {"drop_table": {"name": "u"}}], [{"drop_table": {"name": "t"}}]),
    "a table made and dropped, and made": ([create("m", "a"), index("i", "a", table="m"), {"drop_table": {"name": "m"}}, create("m", "b")], [create("m", "b")]),
    "a new table": ([create("m", "a", "b"), add("c", "m"), rename("a", "d", "m"), drop("b", "m"), check("k", "d > 0", "m"), rename_table("m", "n")],
        [{"create_table": {"name": "n", "columns": [{"name": "d", "type": "int"}, {"name": "c", "type": "int", "nullable": True}], "constraints": [{"name": "k", "type": "check", "check": "d > 0"}]}}]),
    "a new table and what excludes each other in it": ([create("m", "a"), {"create_constraint": {"table": "m", "name": "x", "type": "exclusion", "exclude": {"elements": "a with =", "predicate": "a > 0"}, "deferrable": True}}],
        [create("m", "a", constraints=[{"name": "x", "type": "exclude", "exclude": {"elements": "a with =", "predicate": "a > 0"}, "deferrable": True}])]),
    "a new table that refers to itself": ([{"create_table": {"name": "m", "columns": [{"name": "a", "type": "int", "pk": True}, {"name": "b", "type": "int", "references": {"name": "k", "table": "m", "column": "a"}}]}}, rename("a", "c", "m"), rename_table("m", "n")],
        [{"create_table": {"name": "n", "columns": [{"name": "c", "type": "int", "pk": True}, {"name": "b", "type": "int", "references": {"name": "k", "table": "n", "column": "c"}}]}}]),
    "a key to a column that gets another name": (
        [FOREIGN, rename("customer_id", "ref", "customers")], [FOREIGN, rename("customer_id", "ref", "customers")]),
    "an index made and dropped": ([index("i", "a"), {"drop_index": {"name": "i"}}, add("c")], [add("c")]),
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_what_a_sequence_comes_to(name: str) -> None:
    operations, wanted = SEQUENCES[name]
    assert folded(*operations) == written(*wanted)
    assert spec(*operations).folding.notes or name.startswith(("up", "down", "a reference", "a key"))
    # It stands as it was written in what people read, and in the digest.
    assert len(spec(*operations).operations) == len(operations)


APART: dict[str, tuple[list[Body], str]] = {
    "two conversions of a type that the spec does not know": ([alter("c", up="c + 1", down="c - 1"), alter("c", up="c * 2", down="c / 2")], "depends on the type that the column has in between"),
    "two conversions by a type that cuts": ([alter("c", type="varchar(3)", up="c", down="c"), alter("c", type="text", up="c", down="c")], "nobody can tell here what varchar(3) makes"),
    "two conversions, evaluated twice": ([alter("c", type="int", up="abs(c)", down="c"), alter("c", up="c * c", down="c")], "would evaluate `abs(c)` several times"),
    "two conversions of what may be no column": ([alter("c", type="int", up="n", down="c"), alter("c", up="f(c => 1)", down="c")], "whether `f(c => 1)` reads the column"),
    "two conversions, and another name": ([alter("c", type="int", up="n", down="c"), alter("c", up="c + 1", down="c - 1"), rename("c", "d")], "converted twice, and it gets another name"),
    "two conversions around another name": ([alter("c", type="int", up="n", down="c"), rename("c", "d"), alter("d", up="d + 1", down="d - 1")], "converted twice, and it gets another name"),
    "orphans, and a conversion": ([alter("c", references={"name": "f", "table": "p", "column": "id"}, orphans="set_null"), alter("c", type="text", up="c", down="c")], "one gives NULL to rows that refer to nothing"),
    "the same twice": ([alter("c", nullable=False), alter("c", nullable=False)], "both say nullable"),
    "cleaned, and another name": ([{"clean_column": {"table": "t", "column": "a", "rules": ["trim"]}}, rename("a", "b")], "operations[0].clean_column gives the column a its values"),
    "a default that goes": ([rename("a", "b"), alter("b", default=None)], "what applications of the old name rely on goes"),
    "statements between": ([create("m", "a"), {"sql": {"up": "insert into m values (1)"}}, add("b", "m")], "operations[1].sql stands between it and operations[0].create_table"),
    "statements between a constraint and another name": ([check("k", "a > 0"), {"sql": {"up": "select 1"}}, rename("a", "b")], "operations[1].sql stands between it and operations[0].create_constraint"),
    "statements between an index and another name": ([index("i", "a"), {"sql": {"up": "comment on index i is 'i'"}}, rename("a", "b")], "operations[1].sql stands between it and operations[0].create_index"),
    "statements between another name and a conversion": ([rename("a", "b"), {"sql": {"up": "select 1"}}, alter("b", type="int", up="b::int", down="b::text")], "operations[1].sql stands between it and operations[0].rename_column"),
    "nothing left": ([add("c"), drop("c")], "one takes back the other"),
    "a table in use": ([create("m", "id"), add("c", references={"name": "f", "table": "m", "column": "id"}), {"drop_table": {"name": "m"}}], "operations[1].add_column refers to the table 'm'"),
    "a column in use": ([rename("a", "b"), index("i", "b"), drop("b")], "operations[1].create_index uses the column b"),
    "a word that may be a type": ([create("m", "date", constraints=[{"name": "k", "type": "check", "check": "date > 'today'::date"}]), rename("date", "day", "m")], "cannot be told for certain"),
    "a table without the constraint": ([create("m", "a"), {"drop_constraint": {"table": "m", "name": "k"}}], "has no constraint 'k'"),
    "NULL in a key": ([create("m", "a", constraints=[{"name": "k", "type": "primary_key", "columns": ["a"]}]), alter("a", "m")], "the column 'a' is nullable"),
    "rows of a new table": ([create("m", "a"), {"clean_column": {"table": "m", "column": "a", "rules": ["trim"]}}], "clean_column cannot be part of a create_table"),
    "a name that is gone": ([alter("a", comment="c"), rename("a", "b"), alter("a", nullable=False)], "already concerns the column t.a"),
    "a column that the table itself refers to": ([create("m", "a", "b", constraints=[{"name": "k", "type": "foreign_key", "columns": ["b"], "references": {"table": "m", "columns": ["a"]}}]), drop("a", "m")], "uses the column 'a'"),
    "statements with the name of a view": ([rename_table("t", "u"), add("c", "u"), {"sql": {"up": "alter table u set (fillfactor = 70)", "on_complete": True}}], "is that of a view until the very end"),
    "unique twice": ([create("m", "a"), alter("a", "m", unique={"name": "u"}), alter("a", "m", unique={"name": "v"})], "has a unique constraint on these columns already"),
    "a name in between, in a new column": ([rename("a", "b"), up("c", "b"), rename("b", "d"), {"rename_column": {"table": "t", "from": "e", "to": "b"}}], "operations[1].add_column names 'b', which is called so only in between"),
    "a name in between, in down": ([rename("a", "b"), {"drop_column": {"table": "t", "column": "x", "down": "b"}}, rename("b", "d"), up("b", "0")], "operations[1].drop_column names 'b'"),
    "a name in between, in a check": ([rename("a", "b"), alter("c", check={"name": "k", "constraint": "c < b"}), rename("b", "d"), add("b")], "operations[1].alter_column names 'b'"),
    "a name in between, of a new column": ([add("n"), {"drop_column": {"table": "t", "column": "x", "down": "n"}}, rename("n", "m"), add("n")], "operations[1].drop_column names 'n'"),
    "a name in between, and back": ([rename("a", "b"), up("c", "b"), rename("b", "a")], "operations[1].add_column names 'b'"),
    "a name in between, of a table": ([rename_table("t", "u"), up("c", "u.a", "u"), rename_table("u", "v")], "operations[1].add_column names 'u'"),
    "a name in between, of a new table": ([create("m", "a", constraints=[{"name": "k", "type": "check", "check": "m.a > 0"}]), rename_table("m", "n")], "a condition of the new table may name it 'm'"),
    "a column that may be excluded by": ([{"create_constraint": {"table": "t", "name": "x", "type": "exclusion", "exclude": {"elements": "a with ="}}}, rename("a", "b")], "the exclusion constraint 'x' may name the column"),
    "archived and dropped": ([alter("c", references={"name": "f", "table": "p", "column": "id"}, orphans="archive"), drop("c")], "moves rows to another table"),
    "an index of any schema": ([index("i", "a", table="s.t"), {"drop_index": {"name": "i"}}], "depends on the search path"),
    "statements at the end, between two names": ([create("m", "a"), {"sql": {"up": "insert into m values (1)", "on_complete": True}}, rename_table("m", "n")], "operations[1].sql stands between it and operations[0].create_table"),
    "statements at the end, with a column that goes": ([add("c"), {"sql": {"up": "update t set c = 1", "on_complete": True}}, drop("c")], "operations[1].sql stands between it and operations[0].add_column"),
    "a type that cuts": ([{"add_column": {"table": "t", "column": {"name": "c", "type": "char", "nullable": True}, "up": "'long'"}}, alter("c", type="text", up="c", down="c")], "nobody can tell here what char makes of a value on the way"),
    "a type that may be a domain": ([{"add_column": {"table": "t", "column": {"name": "c", "type": "short", "nullable": True}, "up": "'long'"}}, alter("c", type="text", up="c", down="c")], "nobody can tell here what short makes"),
    "an old name, made anew": ([rename_table("t", "u"), create("t", "a")], "until contract the table that operations[0].rename_table gives another name keeps this one"),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_what_stays_apart(name: str) -> None:
    operations, why = APART[name]
    assert why in " ".join(reason for _, reason, _ in refused(*operations))


PLACES: list[tuple[list[Body], str, str]] = [
    ([up("c", "n"), alter("c", type="text", up="c || 'x'")], "operations[0].add_column.up", "operations[1].alter_column.up, put together with operations[0].add_column.up"),
    ([add("c"), alter("c", up="n + 1", nullable=False)], "operations[0].add_column.up", "operations[1].alter_column.up"),
    ([add("c"), alter("c", type="texd")], "operations[0].add_column.column", "operations[1].alter_column.type"),
    ([add("c"), alter("c", type="texd")], "operations[0].add_column.column.type", "operations[1].alter_column.type"),
    ([add("c"), rename("c", "d"), alter("d", default="x")], "operations[0].add_column.column", "operations[2].alter_column.default"),
    ([add("c", check={"name": "k", "constraint": "c > 0"}), alter("c", type="int")], "operations[0].add_column.column.check.constraint", "operations[0].add_column.column.check.constraint"),
    ([alter("c", check={"name": "k", "constraint": "c > 0"}), alter("c", type="int", up="n")], "operations[1].alter_column.check.constraint", "operations[0].alter_column.check.constraint"),
    ([alter("c", type="int", up="n"), alter("c", check={"name": "k", "constraint": "c > 0"})], "operations[0].alter_column.check", "operations[1].alter_column.check"),
    ([alter("c", type="int", up="n"), alter("c", up="c + 1", down="c - 1")], "operations[1].alter_column.up", "operations[1].alter_column.up, put together with operations[0].alter_column.up"),
    ([alter("c", type="int", up="n"), alter("c", up="c + 1", down="c - 1")], "operations[1].alter_column.type", "operations[0].alter_column.type"),
    ([add("c")], "operations[0].add_column.up", "operations[0].add_column.up"),
]  # fmt: skip


@pytest.mark.parametrize(("operations", "where", "wanted"), PLACES)
def test_what_is_wrong_is_said_where_it_was_written(operations: list[Body], where: str, wanted: str) -> None:
    assert spec(*operations).folding.written_at(where) == wanted


def test_an_expression_that_reads_the_row_of_before_or_after_is_named() -> None:
    said = spec(
        convert("c"), up("d", "c || 'x'"), {"drop_column": {"table": "t", "column": "x", "down": "e"}}, convert("e")
    )
    assert said.folding.read_before == (
        "operations[1].add_column: `up` reads c as it is before the whole spec, whatever operations[0].alter_column makes of it",
        "operations[2].drop_column: `down` reads e as it will be after the whole spec, whatever operations[3].alter_column makes of it",
    )
    assert spec(up("d", "c"), convert("c"), convert("c", table="u")).folding.read_before == ()


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("upper(N) || \"n\" || 'n' -- n", "upper(\"m\") || \"m\" || 'n' -- n"),
        ("(select case when n is null then $$n$$ else t.n end)", '(select case when "m" is null then $$n$$ else "u"."m" end)'),
        ("extract(year from n) + substring(n from 1)::int", 'extract(year from "m") + substring("m" from 1)::int'),
        ("other", "other"),
        ("'n' || \"N\"", "'n' || \"N\""),
    ],
)  # fmt: skip
def test_other_names_within_an_expression(expression: str, wanted: str) -> None:
    assert with_other_names(expression, {"n": "m"}, {"t": "u"}) == wanted


@pytest.mark.parametrize(
    "expression",
    ["x::n", "n(n)", "(select n from o)", "o.n", "n.x", "n =", 'u&"n"', "f(n => 1)", "cast(n as n)", "x collate n"],
)
def test_what_may_be_no_column_is_not_certain(expression: str) -> None:
    with pytest.raises(UncertainError):
        with_other_names(expression, {"n": "m"}, {"t": "u"})


def test_a_word_that_is_a_value_is_no_column() -> None:
    with pytest.raises(UncertainError):
        with_other_names('user || "user"', {"user": "m"})
