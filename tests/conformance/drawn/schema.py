"""A table with random columns, keys and belongings, between a parent and a child; and its rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tasks.model.names import quote
from tests.conformance.drawn.kinds import KINDS, MADE, UUID, Kind, Value

Row = dict[str, Value]
Key = tuple[str, ...]
NAMES = ("a", "B", "Order", 'q"u', "select", "ünï", "a b", "it's", "100%", "x" * 50, "_n", "{c}")
TABLES = ("t", "T x", "user", 'p"%s', "größe")
ACTIONS = ("no action", "cascade", "set null")
PARENTS = ("1", "2", "3")
ORPHAN = "9"
INDEXES = ("plain", "partial", "expression", "unique", "unique partial", "included", "hash", "descending")


def literal(value: Value, kind: Kind) -> str:
    """Return a value as SQL."""
    return f"null::{kind.sql}" if value is None else "'" + value.replace("'", "''") + f"'::{kind.sql}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """A column of the table as it is at first."""

    name: str
    kind: Kind
    nullable: bool = True
    default: Value = None
    identity: str = ""
    """`always` or `by default`, of a key."""
    of: "Column | None" = None
    """The column that it is computed from: how long its text is."""
    parent: bool = False
    """It refers, or can refer, to a row of the parent."""

    @property
    def pool(self) -> tuple[str, ...]:
        """Values that applications write."""
        return (*PARENTS, ORPHAN) if self.parent else self.kind.values

    def definition(self) -> str:
        """Return what CREATE TABLE says of it."""
        if self.of is not None:
            text = f"coalesce(length({quote(self.of.name)}), 0)"
            return f"{quote(self.name)} {self.kind.sql} generated always as ({text}) stored"
        default = f" default {literal(self.default, self.kind)}" if self.default is not None else ""
        identity = f" generated {self.identity} as identity" if self.identity else ""
        return f"{quote(self.name)} {self.kind.sql}{default}{identity}{'' if self.nullable else ' not null'}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What rows must keep to."""

    name: str
    columns: tuple[str, ...]
    """Read or unique, by their names in the shape that it belongs to."""
    unique: bool = False
    keeps: Callable[[Mapping[str, Value]], bool] = lambda row: True
    """Whether a row meets it; of what is unique, whether it counts."""
    constraint: bool = True
    """False: an index."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index that is no constraint."""

    name: str
    definition: str
    columns: tuple[str, ...]


@dataclass(kw_only=True, repr=False)
class Schema:
    """Everything that is there before the migration."""

    table: str
    columns: list[Column]
    key: tuple[str, ...]
    keyed: str
    """`primary key`, or `unique` without one."""
    rules: list[Rule] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    """Their definitions."""
    indexes: list[Index] = field(default_factory=list)
    on_parent: str | None = None
    """What becomes of a row whose parent is deleted; None: there is no foreign key."""
    on_row: str | None = None
    """What becomes of a child when its row is deleted, or gets another key; None: there is no child."""
    more: list[str] = field(default_factory=list)
    """Comments, privileges, a view."""
    seen: tuple[str, ...] = ()
    """What the view of a user shows."""
    logged: bool = False
    """A trigger of the user's notes each write."""
    rows: list[Row] = field(default_factory=list)
    parents: set[str] = field(default_factory=lambda: {*PARENTS})
    """Those that are there."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print what a person would write."""
        printer.text(";\n".join(self.statements()))

    def column(self, name: str) -> Column:
        """Return a column by its name."""
        return next(one for one in self.columns if one.name == name)

    @property
    def parent(self) -> Column | None:
        """The column that refers, or can refer, to a parent."""
        return next((one for one in self.columns if one.parent), None)

    @property
    def keys(self) -> list[Column]:
        """The columns of the key."""
        return [self.column(name) for name in self.key]

    def key_of(self, row: Mapping[str, Value]) -> Key:
        """Return what a row is called by."""
        return tuple(str(row[name]) for name in self.key)

    def computed(self, row: Row) -> Row:
        """Return a row with what the database computes."""
        of = {one.name: one.of for one in self.columns if one.of is not None}
        return row | {name: str(len(row[source.name] or "")) for name, source in of.items()}

    def statements(self) -> list[str]:
        """Return what makes it, with its rows."""
        t = quote(self.table)
        listed = ", ".join(map(quote, self.key))
        parts = [*(one.definition() for one in self.columns), f"constraint t_key {self.keyed} ({listed})"]
        made = [
            MADE,
            "create table parent (id integer primary key, note text)",
            f"insert into parent select unnest(array[{', '.join(PARENTS)}])",
            f"create table {t} ({', '.join([*parts, *self.constraints])})",
        ]
        if self.parent is not None and self.on_parent is not None:
            made.append(
                f"alter table {t} add constraint t_parent foreign key ({quote(self.parent.name)})"
                f" references parent on delete {self.on_parent}"
            )
        if self.on_row is not None:
            own = ", ".join(f"r{i} {one.kind.sql}" for i, one in enumerate(self.keys))
            made.append(
                f"create table child (id integer primary key, {own}, constraint child_row foreign key"
                f" ({', '.join(f'r{i}' for i, _ in enumerate(self.keys))}) references {t} ({listed})"
                f" on delete {self.on_row} on update {self.on_row})"
            )
        made += [one.definition for one in self.indexes]
        made += self.more
        given = [one for one in self.columns if one.of is None]
        for row in self.rows:
            values = ", ".join(literal(row[one.name], one.kind) for one in given)
            names = ", ".join(quote(one.name) for one in given)
            made.append(f"insert into {t} ({names}) overriding system value values ({values})")
        if self.logged:
            made += [
                "create table log (what text not null)",
                "create function note_it() returns trigger language plpgsql as"
                " $$ begin insert into public.log values (tg_op); return null; end $$",
                f"create trigger noted after insert or update or delete on {t} for each row execute function note_it()",
            ]
        return made


def fits(rules: Sequence[Rule], row: Mapping[str, Value], others: Sequence[Mapping[str, Value]]) -> bool:
    """Tell whether a row meets rules, beside others; NULLs differ from each other."""
    for rule in rules:
        if not rule.unique and not rule.keeps(row):
            return False
        mine = [row[name] for name in rule.columns]
        if rule.unique and None not in mine and rule.keeps(row):
            held = [[other[name] for name in rule.columns] for other in others if rule.keeps(other)]
            if mine in held:
                return False
    return True


def _key(draw: st.DrawFn) -> list[Column]:
    shape = draw(st.sampled_from(["int", "int", "identity", "uuid", "text", "text, int", "int, date"]))
    first, second = "id", draw(st.sampled_from(["no", "Part 2"]))
    match shape:
        case "identity":
            way = draw(st.sampled_from(["always", "by default"]))
            return [Column(name=first, kind=KINDS["int"], nullable=False, identity=way)]
        case "text, int" | "int, date":
            kinds = shape.split(", ")
            names = draw(st.permutations([first, second]))
            return [Column(name=n, kind=KINDS[k], nullable=False) for n, k in zip(names, kinds, strict=True)]
    return [Column(name=draw(st.sampled_from([first, "Id"])), kind=KINDS[shape], nullable=False)]


KEYS: Mapping[str, tuple[str, ...]] = {
    "int": ("1", "2", "3", "4", "5"),
    "uuid": tuple(UUID + end for end in "12345"),
    "text": ("", "k", "K", "é'", "%s"),
    "date": ("2024-02-29", "infinity"),
}
"""Values of key columns."""


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Draw all that is there, with rows that keep to it."""
    keys = _key(draw)
    names = draw(st.permutations(NAMES))[: draw(st.integers(2, 6))]
    columns = [*keys]
    for name in names:
        kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
        nullable = draw(st.booleans())
        default = draw(st.sampled_from([None, None, *kind.values]))
        columns.append(Column(name=name, kind=kind, nullable=nullable, default=default))
    if draw(st.booleans()):
        columns.append(Column(name="parent_id", kind=KINDS["int"], parent=True))
    texts = [one for one in columns if one.kind.name in ("text", "varchar")]
    if texts and draw(st.integers(0, 3)) == 0:
        columns.append(Column(name="size", kind=KINDS["int"], of=draw(st.sampled_from(texts))))
    keyed = draw(st.sampled_from(["primary key", "primary key", "primary key", "unique"]))
    if draw(st.booleans()):
        columns = draw(st.permutations(columns))
    schema = Schema(
        table=draw(st.sampled_from(TABLES)), columns=[*columns], key=tuple(one.name for one in keys), keyed=keyed
    )
    schema.rules.append(Rule(name="t_key", columns=schema.key, unique=True))
    schema.rules += [
        Rule(name=f"not null {one.name}", columns=(one.name,), keeps=_not_null(one.name))
        for one in columns
        if not one.nullable
    ]
    if schema.parent is not None:
        schema.on_parent = draw(st.sampled_from([None, *ACTIONS]))
    if draw(st.booleans()):
        schema.on_row = draw(st.sampled_from(ACTIONS[:2] if keyed == "unique" else ACTIONS))
    _rules(draw, schema)
    _indexes(draw, schema)
    _belongings(draw, schema)
    _rows(draw, schema)
    return schema


def _not_null(name: str) -> Callable[[Mapping[str, Value]], bool]:
    return lambda row: row[name] is not None


def _refers(name: str, parents: set[str]) -> Callable[[Mapping[str, Value]], bool]:
    return lambda row: row[name] is None or row[name] in parents


def differs(name: str, value: str) -> Callable[[Mapping[str, Value]], bool]:
    """Return the meaning of a CHECK that refuses one value."""
    return lambda row: row[name] != value


def _rules(draw: st.DrawFn, schema: Schema) -> None:
    plain = [one for one in schema.columns if one.name not in schema.key and one.of is None]
    comparable = [one for one in plain if one.kind.sorted and not one.parent]
    for number, one in enumerate(comparable):
        what = draw(st.sampled_from(["", "", "", "check", "unique"]))
        if what == "check":
            bad = draw(st.sampled_from(one.kind.values))
            name = draw(st.sampled_from([f"t_c{number}", f"C {number}%"]))
            condition = f"{quote(one.name)} is distinct from {literal(bad, one.kind)}"
            schema.constraints.append(f"constraint {quote(name)} check ({condition})")
            schema.rules.append(Rule(name=name, columns=(one.name,), keeps=differs(one.name, bad)))
        elif what == "unique":
            schema.constraints.append(f"constraint t_u{number} unique ({quote(one.name)})")
            schema.rules.append(Rule(name=f"t_u{number}", columns=(one.name,), unique=True))
    if len(plain) > 1 and draw(st.integers(0, 2)) == 0:
        first, second = (one.name for one in plain[:2])
        schema.constraints.append(f"constraint t_two check (num_nonnulls({quote(first)}, {quote(second)}) > 0)")
        schema.rules.append(Rule(name="t_two", columns=(first, second), keeps=_either(first, second)))


def _either(first: str, second: str) -> Callable[[Mapping[str, Value]], bool]:
    return lambda row: row[first] is not None or row[second] is not None


def _indexes(draw: st.DrawFn, schema: Schema) -> None:
    t = quote(schema.table)
    comparable = [one for one in schema.columns if one.kind.sorted]
    for number in range(draw(st.integers(0, 3))):
        one = draw(st.sampled_from(comparable))
        kind = draw(st.sampled_from(INDEXES))
        name = draw(st.sampled_from([f"i{number}", f"I {number}%"]))
        column, key = quote(one.name), quote(schema.key[0])
        where, unique, columns = "", False, (one.name, schema.key[0])
        match kind:
            case "partial":
                body, where = f"({column})", f" where {column} is not null"
            case "expression":
                body = f"(({column} is null), {key})"
            case "unique" | "unique partial":
                others = [name for name in schema.key if name != one.name]
                columns, unique = (one.name, *others), True
                body = f"({', '.join(map(quote, columns))})"
                where = f" where {column} is not null" if "partial" in kind else ""
            case "included" if one.name != schema.key[0]:
                body = f"({column}) include ({key})"
            case "hash" if one.kind.name not in ("bits", "bytea"):
                body, columns = f"using hash ({column})", (one.name,)
            case "descending":
                body, columns = f"({column} desc nulls last)", (one.name,)
            case _:
                body, columns = f"({column})", (one.name,)
        if kind in ("partial",):
            columns = (one.name,)
        made = f"create {'unique ' if unique else ''}index {quote(name)} on {t} {body}{where}"
        schema.indexes.append(Index(name=name, definition=made, columns=columns))
        if unique:
            # Those with the key in it never refuse what the key does not.
            schema.rules.append(Rule(name=name, columns=columns, unique=True, constraint=False))


def _belongings(draw: st.DrawFn, schema: Schema) -> None:
    t = quote(schema.table)
    one = draw(st.sampled_from(schema.columns))
    if draw(st.booleans()):
        schema.more += [f"comment on table {t} is 'It''s %s'", f"comment on column {t}.{quote(one.name)} is 'A \\ %'"]
        schema.more.append(f"comment on constraint t_key on {t} is 'key'")
    grants = draw(st.sampled_from(["", "", "table", "column"]))
    if grants == "table":
        schema.more.append(f"grant select, insert on {t} to public")
        schema.more.append(f"grant all on {t} to pg_monitor with grant option")
    elif grants == "column":
        schema.more.append(f"grant select, update ({quote(one.name)}) on {t} to pg_monitor".replace("select, ", ""))
    if draw(st.integers(0, 5)) == 5:
        shown = draw(st.sampled_from(schema.columns))
        schema.seen = tuple(dict.fromkeys((*schema.key, shown.name)))
        schema.more.append(f"create view seen as select {', '.join(map(quote, schema.seen))} from {t}")
    schema.logged = draw(st.booleans())


def _rows(draw: st.DrawFn, schema: Schema) -> None:
    for key in draw(st.lists(key_values(schema), max_size=6, unique=True)):
        row: Row = dict(zip(schema.key, key, strict=True))
        for one in schema.columns:
            if one.of is None and one.name not in schema.key:
                pool = (*PARENTS, *(() if schema.on_parent else (ORPHAN,))) if one.parent else one.kind.values
                row[one.name] = draw(st.sampled_from([*pool, *([None] if one.nullable else [])]))
        row = schema.computed(row)
        if fits(schema.rules, row, schema.rows):
            schema.rows.append(row)
    if schema.parent is not None and schema.on_parent is not None:
        name = schema.parent.name
        schema.rules.append(Rule(name="t_parent", columns=(name,), keeps=_refers(name, schema.parents)))


def key_values(schema: Schema) -> st.SearchStrategy[Key]:
    """Draw what a row could be called by."""
    return st.tuples(*(st.sampled_from(KEYS[one.kind.name]) for one in schema.keys))
