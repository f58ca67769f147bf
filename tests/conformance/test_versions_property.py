"""Random tables, random operations, random writes through both versions, against an oracle of a few lines.

Every change here can be taken back without loss, so there is one truth: the row as the old version knows it.
The new version has to show the same row through the change, whoever wrote it and when.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from tasks.model.names import quote
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration

EXAMPLES = int(os.environ.get("CHANGEOVER_EXAMPLES", "0"))
"""More than usual, and others each time."""
Row = dict[str, object]
NUMBERS = st.sampled_from([None, 0, 1, -7, 2**31 - 2])
WORDS = st.sampled_from([None, "", "a", "A b", "é'\"", "x" * 300])
KEYS = st.integers(1, 6)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A change of one column that loses nothing."""

    operations: Callable[[str, str, str], list[dict[str, Any]]]
    """Of table, column and the new name."""
    there: Callable[[Any], Any]
    """The value as the new version knows it; not called for NULL."""
    renamed: bool = False


def _alter(**more: str) -> Callable[[str, str, str], list[dict[str, Any]]]:
    return lambda t, c, _: [
        {"alter_column": {"table": t, "column": c, **{k: v.replace("{c}", quote(c)) for k, v in more.items()}}}
    ]


def _move(kind: str, up: str, down: str) -> Callable[[str, str, str], list[dict[str, Any]]]:
    return lambda t, c, n: [
        {"add_column": {"table": t, "column": {"name": n, "type": kind, "nullable": True}, "up": up.format(quote(c))}},
        {"drop_column": {"table": t, "column": c, "down": down.format(quote(n))}},
    ]


def _rename(table: str, column: str, new: str) -> list[dict[str, Any]]:
    return [{"rename_column": {"table": table, "from": column, "to": new}}]


NUMERIC = {
    "keep": Kind(operations=lambda *_: [], there=lambda v: v),
    "rename": Kind(operations=_rename, there=lambda v: v, renamed=True),
    "widen": Kind(operations=_alter(type="bigint", up="{c}", down="{c}"), there=lambda v: v),
    "to text": Kind(operations=_alter(type="text", up="{c}::text", down="{c}::int"), there=str),
    "shift": Kind(operations=_alter(up="-{c}", down="-{c}"), there=lambda v: -v),
    "move": Kind(operations=_move("bigint", "{} + 1::bigint", "({} - 1)::int"), there=lambda v: v + 1, renamed=True),
}
TEXTUAL = {
    "keep": NUMERIC["keep"],
    "rename": NUMERIC["rename"],
    "mark": Kind(operations=_alter(up="'<' || {c}", down="substr({c}, 2)"), there=lambda v: "<" + v),
    "to bytes": Kind(
        operations=_alter(type="bytea", up="convert_to({c}, 'UTF8')", down="convert_from({c}, 'UTF8')"),
        there=lambda v: v.encode(),
    ),
    "move": Kind(operations=_move("varchar(400)", "{} || '!'", "left({}, -1)"), there=lambda v: v + "!", renamed=True),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table, and what happens to it."""

    old: str
    number: bool
    kind: str

    @property
    def change(self) -> Kind:
        return (NUMERIC if self.number else TEXTUAL)[self.kind]

    @property
    def new(self) -> str:
        return f"{self.old} now" if self.change.renamed else self.old

    def there(self, value: object) -> object:
        return None if value is None else self.change.there(value)


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    """One to four columns, at least one of which changes."""
    count = draw(st.integers(1, 4))
    found = []
    for i in range(count):
        number = draw(st.booleans())
        kinds = NUMERIC if number else TEXTUAL
        kind = draw(st.sampled_from([k for k in kinds if i or k != "keep"]))
        found.append(Column(old=draw(st.sampled_from(["c", "Order", 'q"u'])) + str(i), number=number, kind=kind))
    return found


@dataclass(frozen=True, kw_only=True)
class Write:
    """One statement; values as the old version knows them."""

    version: Literal["old", "new"]
    what: Literal["insert", "update", "delete", "upsert", "key"]
    key: int
    values: Mapping[int, object]
    """By the number of the column."""
    to: int


def writes(listed: list[Column]) -> st.SearchStrategy[list[Write]]:
    values = st.fixed_dictionaries({}, optional={i: NUMBERS if c.number else WORDS for i, c in enumerate(listed)})
    one = st.builds(
        Write,
        version=st.sampled_from(["old", "new"]),
        what=st.sampled_from(["insert", "insert", "update", "update", "update", "delete", "upsert", "key"]),
        key=KEYS,
        values=values,
        to=KEYS,
    )
    return st.lists(one, max_size=8)


class World:
    """The database, and what has to be in it."""

    def __init__(self, url: str, listed: list[Column]) -> None:
        self.url = url
        self.columns = listed
        self.truth: dict[int, Row] = {}

    def write(self, conn: Connection, one: Write) -> None:
        """Send a statement, and do the same to the truth."""
        new = one.version == "new"
        given = {self.columns[i]: v for i, v in one.values.items()}
        named = {quote(c.new if new else c.old): c.there(v) if new else v for c, v in given.items()}
        old = {c.old: v for c, v in given.items()}
        listed = ", ".join(("id", *named))
        places = ", ".join(["%s"] * (len(named) + 1))
        sets = ", ".join(f"{name} = %s" for name in named)
        match one.what:
            case "insert":
                query = f"insert into t ({listed}) values ({places}) on conflict do nothing"
                self._run(conn, query, one.key, *named.values())
                self.truth.setdefault(one.key, {c.old: None for c in self.columns} | old)
            case "upsert" if named:
                query = f"insert into t ({listed}) values ({places}) on conflict (id) do update set {sets}"
                self._run(conn, query, one.key, *named.values(), *named.values())
                self.truth[one.key] = self.truth.get(one.key, {c.old: None for c in self.columns}) | old
            case "update" if named:
                self._run(conn, f"update t set {sets} where id = %s", *named.values(), one.key)
                if one.key in self.truth:
                    self.truth[one.key] |= old
            case "delete":
                self._run(conn, "delete from t where id = %s", one.key)
                self.truth.pop(one.key, None)
            case "key" if one.to not in self.truth:
                self._run(conn, "update t set id = %s where id = %s", one.to, one.key)
                if one.key in self.truth:
                    self.truth[one.to] = self.truth.pop(one.key)

    def _run(self, conn: Connection, query: str, *values: object) -> None:
        conn.execute(query.encode(), values)

    def check(self, conn: Connection, version: Literal["old", "new"]) -> None:
        """Compare everything that a version shows."""
        names = [c.old if version == "old" else c.new for c in self.columns]
        shown = ", ".join(quote(name) for name in names)
        found = {key: values for key, *values in conn.execute(f"select id, {shown} from t".encode()).fetchall()}
        wanted = {
            key: [row[c.old] if version == "old" else c.there(row[c.old]) for c in self.columns]
            for key, row in self.truth.items()
        }
        assert found == wanted, version

    def connect(self, schema: str) -> Connection:
        return psycopg.connect(self.url, autocommit=True, options=f"-c search_path={schema}")


def _create(conn: Connection, listed: list[Column]) -> None:
    definitions = ", ".join(f"{quote(c.old)} {'int' if c.number else 'text'}" for c in listed)
    conn.execute(f"create table t (id int primary key, {definitions})".encode())


def _version(url: str, name: str, operations: list[dict[str, Any]]) -> Migration:
    made = Migration(url, operations, name=name, version_schema=name, batch_rows=2)
    made.begin()
    made.before_swap()
    return made


def both_ways_and_to_the_end(url: str, conn: Connection, number: int, data: st.DataObject) -> None:
    """Write through v1; through both, before the swap and after it; roll back; and once more to the end."""
    listed = data.draw(columns())
    event(", ".join(sorted({c.kind for c in listed})))
    operations = [op for c in listed for op in c.change.operations("t", c.old, c.new)]
    first, second = f"a{number}", f"b{number}"
    world = World(url, listed)
    _create(conn, listed)
    baseline = _version(url, first, [])
    baseline.swap()
    baseline.contract()
    before = tables.catalogue(conn)
    with world.connect(f"public_{first}") as old, world.connect(f"public_{second}") as new:
        both = {"old": old, "new": new}

        def apply(only: str | None = None) -> None:
            for one in data.draw(writes(listed)):
                if only is None or one.version == only:
                    world.write(both[one.version], one)
            for version in ("old", "new") if only is None else ("old",):
                world.check(both[version], version)

        apply(only="old")
        made = _version(url, second, operations)
        apply()
        made.swap()
        apply()
        made.pass_gate("after_swap")
        made.roll_back()
        world.check(old, "old")
        assert tables.catalogue(conn) == before
        made.begin()
        made.before_swap()
        apply()
        made.swap()
        made.contract()
        world.check(new, "new")
    assert tables.leftovers(conn) == []


def test_random_changes_through_both_versions(conn: Connection, url: str) -> None:
    numbers = iter(range(1, 10_000))

    @settings(
        max_examples=EXAMPLES or 6, database=None, derandomize=not EXAMPLES,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def agree(data: st.DataObject) -> None:
        number = next(numbers)
        try:
            both_ways_and_to_the_end(url, conn, number, data)
        finally:
            conn.execute("drop table if exists t cascade")
            conn.execute(f"drop schema if exists public_a{number}, public_b{number} cascade".encode())
            # What Hypothesis broke off leaves more than the tables.
            for (name,) in conn.execute(
                "select proname from pg_proc where proname ~ '^(dual_write|not_ours)_'"
            ).fetchall():
                conn.execute(f"drop function changeover.{name}".encode())
            conn.execute("delete from changeover.versions; update changeover.migrations set state = 'rolled back'")

    agree()
