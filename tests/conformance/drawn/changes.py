"""Operations drawn for a schema, one after the other, each by the names of by then; and the shape they lead to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tasks.model.names import quote
from tests.conformance.drawn.kinds import CONVERSIONS, KINDS, Conversion, Kind, Value
from tests.conformance.drawn.schema import NAMES, PARENTS, Column, Row, Rule, Schema, literal

Body = dict[str, Any]
Way = Callable[[Value], Value]


@dataclass(kw_only=True, eq=False)
class Field:
    """A column of the new shape."""

    name: str
    kind: Kind
    nullable: bool
    column: Column | None
    """In the old shape; None: only the new one has it."""
    default: Value = None
    ways: list[tuple[Way, Way]] = field(default_factory=list)
    """What the old value becomes, and how it comes back, one conversion after the other."""
    later: bool = False
    """Its default is another one, for both versions, from the swap on."""
    made: Callable[[Row], Value] | None = None
    """What rows that are there have, and those that the old version writes before the swap, if not the default."""
    up: Column | None = None
    """The column of which `made` is made."""
    relaxed: bool = False
    """It can be NULL by now; what the old version sees then is another value."""
    pinned: bool = False
    """It stays, for the sake of `up`; that reads it as it was."""
    of: Column | None = None

    def there(self, value: Value) -> Value:
        """Return what the new version shows of a value of the old one."""
        for way, _ in self.ways:
            value = way(value)
        return value

    def back(self, value: Value) -> Value:
        """Return what the old version shows of a value of the new one."""
        for _, way in reversed(self.ways):
            value = way(value)
        return value

    @property
    def plain(self) -> bool:
        """Whether it is as it was."""
        return self.column is not None and self.name == self.column.name and not self.ways


@dataclass(frozen=True, kw_only=True)
class NewRule:
    """What the new shape asks for beside what the old one does."""

    name: str
    fields: tuple[Field, ...]
    unique: bool = False
    keeps: Callable[[Sequence[Value]], bool] = lambda values: True

    def rule(self) -> Rule:
        """Return it by the last names of its columns."""
        names = tuple(one.name for one in self.fields)
        return Rule(
            name=self.name, columns=names, unique=self.unique, keeps=lambda row: self.keeps([row[n] for n in names])
        )


@dataclass(kw_only=True, repr=False)
class Change:
    """Operations, and the shape that they lead to."""

    schema: Schema
    table: str
    fields: list[Field]
    operations: list[Body] = field(default_factory=list)
    gone: dict[Column, Value] = field(default_factory=dict)
    """Columns that are dropped, with what `down` gives them."""
    without_down: set[Column] = field(default_factory=set)
    rules: list[NewRule] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    """Constraints of the old shape that the new one does not have."""
    parents_stay: bool = False
    """What becomes of a row without its parent is another thing before and after."""
    names: list[str] = field(default_factory=list)
    """Those that nothing has yet."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print what a person would write."""
        printer.text(str(self.operations))

    def on(self, kind: str, **body: Any) -> None:
        """Ask for one more operation on the table."""
        self.operations.append({kind: {"table": self.table, **body}})

    def kept(self, rule: Rule) -> bool:
        """Tell whether a rule of the old shape holds in the new one."""
        return rule.name not in self.dropped and not any(one.name in rule.columns for one in self.gone)

    @property
    def loose(self) -> list[Field]:
        """Columns that may be changed, beside the key."""
        return [one for one in self.kept_somehow if not one.pinned]

    @property
    def kept_somehow(self) -> list[Field]:
        """Columns that may have another name, or other values, beside the key."""
        key = self.schema.key
        return [o for o in self.fields if o.of is None and (o.column is None or o.column.name not in key)]

    def name(self) -> str:
        """Take a name that nothing has."""
        return self.names.pop(0)

    def values(self, one: Field) -> list[Value]:
        """Return what the rows that are there have in a column of the new shape."""
        if one.column is None:
            return [one.default] * bool(self.schema.rows)
        return [one.there(row[one.column.name]) for row in self.schema.rows]


@st.composite
def changes(draw: st.DrawFn, schema: Schema) -> Change:
    """Draw one to four operations."""
    names = draw(st.permutations([one for one in NAMES if all(one != c.name for c in schema.columns)]))
    change = Change(
        schema=schema,
        table=schema.table,
        fields=[
            Field(name=one.name, kind=one.kind, nullable=one.nullable, column=one, default=one.default, of=one.of)
            for one in schema.columns
        ],
        names=[*names, *(f"more {i}" for i in range(9))],
    )
    wanted = draw(st.integers(1, 4))
    for _ in range(wanted * 4):
        if len(change.operations) < wanted:
            DRAWN[draw(st.sampled_from(sorted(DRAWN)))](draw, change)
    if not change.operations:
        _add(draw, change)
    return change


def _one(draw: st.DrawFn, fields: Sequence[Field]) -> Field | None:
    return draw(st.sampled_from(fields)) if fields else None


def _rename(draw: st.DrawFn, change: Change) -> None:
    keys = [one for one in change.fields if one.column is not None and one.column.name in change.schema.key]
    one = _one(draw, [*change.kept_somehow, *keys])
    if one is not None:
        new = change.name()
        change.on("rename_column", **{"from": one.name, "to": new})
        one.name = new


def _known(way: Callable[[str], str]) -> Way:
    return lambda value: None if value is None else way(value)


def _converted(one: Field, conversion: Conversion, *, typed: bool) -> Body:
    column = quote(one.name)
    body = {"up": conversion.up.replace("{c}", column), "down": conversion.down.replace("{c}", column)}
    if conversion.to is None and typed:
        body["type"] = one.kind.sql
    elif conversion.to is not None:
        one.kind = KINDS[conversion.to]
        body["type"] = one.kind.sql
        if one.default is not None:
            one.default = conversion.there(one.default)
            body["default"] = literal(one.default, one.kind)
    one.ways.append((_known(conversion.there), _known(conversion.back)))
    return body


def _conversions(change: Change, one: Field) -> list[Conversion]:
    key = one.column is not None and one.column.name in change.schema.key
    names = ("widen", "as text") if key or (one.column is not None and one.column.parent) else ()
    return [c for c in CONVERSIONS if one.kind.name in c.of and (not names or c.name in names)]


def _convert(draw: st.DrawFn, change: Change) -> None:
    keys = [one for one in change.fields if one.column is not None and one.column.name in change.schema.key]
    found = [one for one in (*change.kept_somehow, *keys) if one.column is not None and _conversions(change, one)]
    one = _one(draw, found)
    if one is not None:
        name = one.name
        conversion = draw(st.sampled_from(_conversions(change, one)))
        change.on("alter_column", column=name, **_converted(one, conversion, typed=draw(st.booleans())))


def _fill(draw: st.DrawFn, change: Change) -> None:
    loose = [o for o in change.kept_somehow if o.nullable and o.kind.sorted]
    found = [o for o in loose if o.column is not None and not o.column.parent]
    one = _one(draw, found)
    if one is None or one.column is None:
        return
    filled = draw(st.sampled_from(one.kind.values))
    column, value = quote(one.name), literal(filled, one.kind)
    up, down = f"coalesce({column}, {value})", f"nullif({column}, {value})"
    typed = {"type": one.kind.sql} if draw(st.booleans()) else {}
    change.on("alter_column", column=one.name, nullable=False, up=up, down=down, lossy=True, **typed)
    one.ways.append((lambda v: filled if v is None else v, lambda v: None if v == filled else v))
    one.nullable = False


def _relax(draw: st.DrawFn, change: Change) -> None:
    one = _one(draw, [one for one in change.loose if not one.nullable and one.column is not None])
    if one is not None:
        column, value = quote(one.name), literal(draw(st.sampled_from(one.kind.values)), one.kind)
        up, down = column, f"coalesce({column}, {value})"
        change.on("alter_column", column=one.name, nullable=True, up=up, down=down)
        change.dropped.add(f"not null {one.column.name}" if one.column is not None else "")
        one.nullable = one.relaxed = True
        one.ways.append((lambda v: v, lambda v: v))


def _not_null(draw: st.DrawFn, change: Change) -> None:
    one = _one(draw, [one for one in change.loose if one.nullable and None not in change.values(one)])
    if one is not None and one.column is not None:
        change.on("alter_column", column=one.name, nullable=False)
        one.nullable = False
        change.rules.append(NewRule(name="not null", fields=(one,), keeps=lambda values: values[0] is not None))


def _default(draw: st.DrawFn, change: Change) -> None:
    one = _one(draw, [one for one in change.loose if one.column is None or not one.column.identity])
    if one is None:
        return
    if one.default is not None and one.nullable and draw(st.booleans()):
        change.on("alter_column", column=one.name, default=None)
        value = None
    else:
        value = draw(st.sampled_from(one.kind.values if one.column is None or not one.column.parent else PARENTS))
        change.on("alter_column", column=one.name, default=literal(value, one.kind))
    if one.column is None and one.made is None:
        one.made = _always(one.default)
    one.default, one.later = value, True


def _check(draw: st.DrawFn, change: Change) -> None:
    found = [one for one in change.loose if one.kind.sorted]
    one = _one(draw, found)
    if one is None:
        return
    free = [value for value in one.kind.values if value not in (*change.values(one), one.default)]
    if one.up is not None or not free:
        return
    bad = draw(st.sampled_from(free))
    name = f"check {len(change.operations)}"
    condition = f"{quote(one.name)} is distinct from {literal(bad, one.kind)}"
    if draw(st.booleans()):
        change.on("create_constraint", name=name, type="check", check=condition)
    else:
        change.on("alter_column", column=one.name, check={"name": name, "constraint": condition})
    change.rules.append(NewRule(name=name, fields=(one,), keeps=lambda values: values[0] != bad))


def _unique(draw: st.DrawFn, change: Change) -> None:
    one = _one(draw, [one for one in change.loose if one.kind.sorted])
    if one is None:
        return
    name = f"unique {len(change.operations)}"
    values = [value for value in change.values(one) if value is not None]
    keys = [k for k in change.fields if k.column is not None and k.column.name in change.schema.key]
    if len(set(values)) == len(values) and one.up is None and draw(st.booleans()):
        change.on("alter_column", column=one.name, unique={"name": name})
        change.rules.append(NewRule(name=name, fields=(one,), unique=True))
    else:
        change.on("create_constraint", name=name, type="unique", columns=[one.name, *(key.name for key in keys)])


def _refers(draw: st.DrawFn, change: Change) -> None:
    found = [one for one in change.loose if one.column is not None and one.column.parent and not one.ways]
    one = _one(draw, found)
    if one is not None and all(value in (None, *PARENTS) for value in change.values(one)):
        name = f"refers {len(change.operations)}"
        reference = {
            "name": name,
            "table": "parent",
            "column": "id",
            "on_delete": draw(st.sampled_from(["CASCADE", "NO ACTION"])),
        }
        change.on("alter_column", column=one.name, references=reference)
        parents = change.schema.parents
        change.rules.append(NewRule(name=name, fields=(one,), keeps=lambda values: values[0] in (None, *parents)))
        change.parents_stay = True


def _comment(draw: st.DrawFn, change: Change) -> None:
    one = _one(draw, [one for one in change.fields if one.of is None])
    if one is not None:
        change.on("alter_column", column=one.name, comment=draw(st.sampled_from([None, "it's \\ %s", "other"])))


def _add(draw: st.DrawFn, change: Change) -> None:
    name = change.name()
    sources = [one for one in change.fields if one.plain and one.of is None]
    if sources and draw(st.booleans()):
        source = draw(st.sampled_from(sources))
        assert source.column is not None
        up = f"coalesce({quote(source.name)}::text, '-')"
        change.on("add_column", column={"name": name, "type": "text"}, up=up)
        source.pinned = True
        made = _text(source.column.name)
        field = Field(name=name, kind=KINDS["text"], nullable=False, column=None, up=source.column, made=made)
        change.fields.append(field)
        return
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    default = draw(st.sampled_from([None, *kind.values]))
    nullable = default is None or draw(st.booleans())
    column: Body = {"name": name, "type": kind.sql, "nullable": nullable}
    if default is not None:
        column["default"] = literal(default, kind)
    if draw(st.booleans()):
        column["comment"] = "new %"
    change.on("add_column", column=column)
    change.fields.append(Field(name=name, kind=kind, nullable=nullable, column=None, default=default))


def _text(name: str) -> Callable[[Row], Value]:
    return lambda row: "-" if row[name] is None else row[name]


def _always(value: Value) -> Callable[[Row], Value]:
    return lambda row: value


def _move(draw: st.DrawFn, change: Change) -> None:
    """Another column with the values of one that goes."""
    found = [o for o in change.loose if o.plain and o.nullable and o.default is None and _conversions(change, o)]
    one = _one(draw, found)
    if one is None or one.column is None:
        return
    conversion = draw(st.sampled_from(_conversions(change, one)))
    name, old = change.name(), quote(one.name)
    kind = KINDS[conversion.to] if conversion.to else one.kind
    column = {"name": name, "type": kind.sql, "nullable": True}
    change.on("add_column", column=column, up=conversion.up.replace("{c}", old))
    change.on("drop_column", column=one.name, down=conversion.down.replace("{c}", quote(name)))
    one.name, one.kind = name, kind
    change.parents_stay |= one.column.parent
    one.ways.append((_known(conversion.there), _known(conversion.back)))
    change.dropped |= {rule.name for rule in change.schema.rules if one.column.name in rule.columns}


def _drop(draw: st.DrawFn, change: Change) -> None:
    one = _one(draw, [one for one in change.loose if one.column is not None and not one.ways])
    if one is None or one.column is None:
        return
    change.fields.remove(one)
    change.parents_stay |= one.column.parent
    change.rules = [rule for rule in change.rules if one not in rule.fields]
    body: Body = {"column": one.name}
    change.gone[one.column] = None
    if not (one.nullable or one.default is not None) or draw(st.booleans()):
        pool = PARENTS if one.column.parent else one.kind.values
        change.gone[one.column] = draw(st.sampled_from(pool))
        body |= {"down": literal(change.gone[one.column], one.kind)}
    else:
        change.without_down.add(one.column)
    change.on("drop_column", **body)


def _index(draw: st.DrawFn, change: Change) -> None:
    found = [one for one in change.fields if one.kind.sorted]
    one, name = draw(st.sampled_from(found)), f"index {len(change.operations)}"
    keys = [k.name for k in change.fields if k.column is not None and k.column.name in change.schema.key]
    column, included = quote(one.name), [key for key in keys if key != one.name]
    ways: list[Body] = [
        {"columns": [one.name]},
        {"columns": [{"column": one.name, "sort": "DESC", "nulls": "LAST"}]},
        {"columns": [one.name], **({"include": included} if included else {})},
        {"columns": [one.name], "predicate": f"{column} is not null"},
        {"columns": [{"expression": f"({column} is null)"}]},
        {"columns": list(dict.fromkeys([one.name, *keys])), "unique": True},
        {"columns": [one.name], "storage_parameters": "fillfactor = 70"},
    ]
    change.on("create_index", name=name, **draw(st.sampled_from(ways)))


def _drop_index(draw: st.DrawFn, change: Change) -> None:
    indexes = [one for one in change.schema.indexes if one.name not in change.dropped]
    if indexes:
        one = draw(st.sampled_from(indexes))
        change.operations.append({"drop_index": {"name": one.name}})
        change.dropped.add(one.name)


def _constraints(change: Change) -> list[str]:
    rules = [one for one in change.schema.rules if one.constraint and not one.name.startswith("not null ")]
    return [one.name for one in rules if change.kept(one)]


def _drop_constraint(draw: st.DrawFn, change: Change) -> None:
    names = [name for name in _constraints(change) if name != "t_key"]
    if names:
        name = draw(st.sampled_from(names))
        change.on("drop_multicolumn_constraint" if name == "t_two" else "drop_constraint", name=name)
        change.dropped.add(name)
        change.parents_stay |= name == "t_parent"


def _rename_constraint(draw: st.DrawFn, change: Change) -> None:
    names = _constraints(change)
    if names:
        new = f"other {len(change.operations)}"
        change.on("rename_constraint", **{"from": draw(st.sampled_from(names)), "to": new})


def _rename_table(draw: st.DrawFn, change: Change) -> None:
    new = draw(st.sampled_from(["u", "U 2", "100%"]))
    if change.table == change.schema.table:
        change.operations.append({"rename_table": {"from": change.table, "to": new}})
        change.table = new


def _primary(draw: st.DrawFn, change: Change) -> None:
    keys = [k.name for k in change.fields if k.column is not None and k.column.name in change.schema.key]
    if change.schema.keyed == "unique" and not any("primary_key" in str(one) for one in change.operations):
        change.on("create_constraint", name="primary", type="primary_key", columns=keys)


def _identity(draw: st.DrawFn, change: Change) -> None:
    one = next(o for o in change.fields if o.column is not None and o.column.name in change.schema.key)
    if one.kind.name == "int" and one.column is not None and not one.column.identity:
        given = {"identity": {"user_specified_values": "BY DEFAULT"}}
        change.on("alter_column", column=one.name, generated=given)


def _replica_identity(draw: st.DrawFn, change: Change) -> None:
    change.on("set_replica_identity", identity={"type": draw(st.sampled_from(["full", "nothing"]))})


def _table(draw: st.DrawFn, change: Change) -> None:
    name = f"made {len(change.operations)}"
    columns = [{"name": "id", "type": "int", "pk": True}, {"name": "it's", "type": "text", "default": "'%'"}]
    change.operations.append({"create_table": {"name": name, "columns": columns}})


def _type(draw: st.DrawFn, change: Change) -> None:
    if not any("alter_type" in one for one in change.operations):
        change.operations.append({"alter_type": {"name": "mood", "add_values": [{"value": "100%", "after": "sad"}]}})


DRAWN: Mapping[str, Callable[[st.DrawFn, Change], None]] = {
    "add": _add,
    "check": _check,
    "comment": _comment,
    "convert": _convert,
    "convert again": _convert,
    "default": _default,
    "drop": _drop,
    "drop constraint": _drop_constraint,
    "drop index": _drop_index,
    "fill": _fill,
    "identity": _identity,
    "index": _index,
    "move": _move,
    "not null": _not_null,
    "primary key": _primary,
    "refers": _refers,
    "relax": _relax,
    "rename": _rename,
    "rename again": _rename,
    "rename constraint": _rename_constraint,
    "rename table": _rename_table,
    "replica identity": _replica_identity,
    "table": _table,
    "type": _type,
    "unique": _unique,
}
