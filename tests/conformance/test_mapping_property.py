"""The dual-write trigger against its rules, said once more in Python.

Before the swap: an INSERT that gives none of the new columns is filled by `up`, any other by `down`. An UPDATE
that changes what `up` reads is filled by `up`; one that changes new columns by `down`, after columns that were
never filled got theirs by `up`. Where nothing has to come back, new columns that a statement gives stand. A nullable
column that is only dropped is left alone. After the swap: an INSERT that gives an old column is filled by `up`, any
other by `down`; an UPDATE that changes a new column that `down` reads by `down`, one that changes an old column by
`up`, and one that changes only what both shapes have by `down`. What raises is NULL, and counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tasks.model.names import quote
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration

Row = dict[str, object]
Change = Mapping[str, object]
Expression = Callable[[Row], object]

TABLE = "create table t (id int primary key, full_name text, f text, l text, a text, n int, d text, other int)"
LAST = "case when position(' ' in full_name) > 0 then substr(full_name, position(' ' in full_name) + 1) end"
OPERATIONS: list[dict[str, Any]] = [
    {"add_column": {"table": "t", "column": {"name": "first", "type": "text", "nullable": True},
                    "up": "split_part(full_name, ' ', 1)"}},
    {"add_column": {"table": "t", "column": {"name": "last", "type": "text", "nullable": True}, "up": LAST}},
    {"drop_column": {"table": "t", "column": "full_name", "down": "first || coalesce(' ' || last, '')"}},
    {"add_column": {"table": "t", "column": {"name": "fl", "type": "text", "nullable": True}, "up": "f || ' ' || l"}},
    {"drop_column": {"table": "t", "column": "f", "down": "split_part(fl, ' ', 1)"}},
    {"drop_column": {"table": "t", "column": "l", "down": "split_part(fl, ' ', 2)"}},
    {"rename_column": {"table": "t", "from": "a", "to": "z"}},
    {"alter_column": {"table": "t", "column": "n", "type": "text", "up": "(100 / n)::text", "down": "n::int"}},
    {"drop_column": {"table": "t", "column": "d", "down": "'d' || other", "lossy": True}},
    {"add_column": {"table": "t", "column": {"name": "e", "type": "int", "nullable": True}, "up": "6 / other"}},
]  # fmt: skip


def part(value: object, number: int) -> object:
    """Do what split_part does at a blank."""
    if value is None:
        return None
    parts = str(value).split(" ")
    return parts[number - 1] if len(parts) >= number else ""


def last(row: Row) -> object:
    """What follows the first blank."""
    _, blank, rest = str(row["full_name"] or "").partition(" ")
    return rest if blank else None


def name(row: Row) -> object:
    """The two parts together; without a first one there is none."""
    if row["first"] is None:
        return None
    return row["first"] if row["last"] is None else f"{row['first']} {row['last']}"


def joined(row: Row) -> object:
    """NULL if either is."""
    return None if row["f"] is None or row["l"] is None else f"{row['f']} {row['l']}"


def hundred(row: Row) -> object:
    """Divide as the server does, towards zero; raises for zero."""
    n = row["n"]
    if n is None:
        return None
    assert isinstance(n, int)
    return str(100 // n if n > 0 else -(100 // -n))


def six(other: object) -> object:
    """Divide, towards zero; raises for zero."""
    return None if other is None else int(6 / int(str(other)))


def whole(row: Row) -> object:
    """Raises for what is not a number."""
    return None if row["n new"] is None else int(str(row["n new"]))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Columns that depend on each other, under names that do not move: `n new` is the text, `n` the number."""

    up: Mapping[str, Expression]
    down: Mapping[str, Expression]
    reads_up: Sequence[str]
    reads_down: Sequence[str]
    hidden: bool = False


GROUPS = [
    Group(up={"first": lambda r: part(r["full_name"], 1), "last": last}, down={"full_name": name},
          reads_up=["full_name"], reads_down=["first", "last"]),
    Group(up={"fl": joined}, down={"f": lambda r: part(r["fl"], 1), "l": lambda r: part(r["fl"], 2)},
          reads_up=["f", "l"], reads_down=["fl"]),
    Group(up={"z": lambda r: r["a"]}, down={"a": lambda r: r["z"]}, reads_up=["a"], reads_down=["z"]),
    Group(up={"n new": hundred}, down={"n": whole}, reads_up=["n"], reads_down=["n new"], hidden=True),
    Group(up={}, down={"d": lambda r: None if r["other"] is None else f"d{r['other']}"}, reads_up=[],
          reads_down=["other"]),
    Group(up={"e": lambda r: six(r["other"])}, down={}, reads_up=["other"], reads_down=[]),
]  # fmt: skip
COLUMNS = ["full_name", "first", "last", "f", "l", "fl", "a", "z", "n", "n new", "d", "other", "e"]


class Oracle:
    """The table as it has to be."""

    def __init__(self, swapped: bool) -> None:
        self.swapped = swapped
        self.rows: dict[int, Row] = {}
        self.rejections = 0

    def insert(self, key: int, given: Change) -> None:
        """INSERT, unless the key is taken."""
        if key in self.rows:
            return
        row: Row = dict.fromkeys(COLUMNS) | dict(given)
        for group in GROUPS:
            if not self.swapped:
                new = group.up and all(row[c] is None for c in group.up)
                if new:
                    self._fill(row, group.up)
                elif group.up:
                    self._fill(row, group.down)
            else:
                public = () if group.hidden else group.down
                old = any(row[c] is not None for c in public)
                self._fill(row, group.up if old else group.down)
        self.rows[key] = row

    def update(self, key: int, given: Change) -> None:
        """UPDATE of one row."""
        if key not in self.rows:
            return
        before, row = self.rows[key], self.rows[key] | dict(given)
        if any(before[c] != row[c] for c in COLUMNS):
            for group in GROUPS:
                self._update_group(group, before, row)
        self.rows[key] = row

    def _update_group(self, group: Group, before: Row, row: Row) -> None:
        def changed(columns: Sequence[str]) -> bool:
            return any(before[c] != row[c] for c in columns)

        if self.swapped:
            if changed([c for c in group.reads_down if c in group.up]):
                self._fill(row, group.down)
            elif not group.hidden and changed(list(group.down)):
                self._fill(row, group.up)
            elif changed(group.reads_down):
                self._fill(row, group.down)
        elif group.up and changed(group.reads_up) and (group.down or not changed(list(group.up))):
            self._fill(row, group.up)
        elif group.up and changed(list(group.up)):
            if len(group.up) > 1:
                for column, expression in group.up.items():
                    if row[column] is None and before[column] is None:
                        self._fill(row, {column: expression})
            self._fill(row, group.down)
        elif group.up and all(row[c] is None for c in group.up):
            self._fill(row, group.up)

    def _fill(self, row: Row, wanted: Mapping[str, Expression]) -> None:
        try:
            values = {column: expression(row) for column, expression in wanted.items()}
        except (ValueError, ZeroDivisionError):
            values = dict.fromkeys(wanted)
            self.rejections += 1
        row.update(values)


TEXT = st.sampled_from([None, "", "A", "A B", "A B C", " ", "é 'x"])
DIGITS = st.sampled_from([None, "7", "-12", "junk", ""])
NUMBER = st.sampled_from([None, 0, 1, -3, 250])


def change(swapped: bool) -> st.SearchStrategy[Change]:
    """Some of the columns that an application can name, with values."""
    columns = dict.fromkeys(("full_name", "first", "last", "f", "l", "fl", "a", "z", "d"), TEXT)
    columns |= dict.fromkeys(("other", "e"), NUMBER)
    columns |= {"n new": DIGITS} if swapped else {"n": NUMBER}
    return st.fixed_dictionaries({}, optional=columns)


def statements(swapped: bool) -> st.SearchStrategy[list[tuple[str, int, Change]]]:
    """A few statements on a few rows."""
    one = st.tuples(st.sampled_from(["insert", "update", "update"]), st.integers(1, 3), change(swapped))
    return st.lists(one, min_size=1, max_size=12)


class Server:
    """The table as it is."""

    def __init__(self, conn: Connection, swapped: bool) -> None:
        self.conn = conn
        self.names = {c: c for c in COLUMNS}
        self.names |= {"n new": "n", "n": "_changeover_old_n"} if swapped else {"n new": "_changeover_new_n"}

    def run(self, what: str, key: int, given: Change) -> None:
        """Send one statement, as an application would."""
        columns = [quote(self.names[c]) for c in given]
        if what == "insert":
            listed, places = ", ".join(["id", *columns]), ", ".join(["%s"] * (len(given) + 1))
            text = f"insert into t ({listed}) values ({places}) on conflict do nothing"
            self.conn.execute(text.encode(), (key, *given.values()))
        elif given:
            assignments = ", ".join(f"{column} = %s" for column in columns)
            self.conn.execute(f"update t set {assignments} where id = %s".encode(), (*given.values(), key))

    def rows(self) -> dict[int, Row]:
        """Read everything."""
        shown = ", ".join(quote(self.names[c]) for c in COLUMNS)
        found = self.conn.execute(f"select id, {shown} from t".encode()).fetchall()
        return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in found}

    def rejections(self) -> int:
        """Count the rejections."""
        row = self.conn.execute("select count(*) from changeover.rejections").fetchone()
        assert row is not None
        return int(row[0])


def compare(conn: Connection, swapped: bool, examples: int) -> None:
    """Let both meet the same statements."""
    server = Server(conn, swapped)

    @settings(
        max_examples=examples, database=None, derandomize=True,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(statements(swapped))
    def agree(todo: list[tuple[str, int, Change]]) -> None:
        oracle = Oracle(swapped)
        conn.execute("truncate t")
        before = server.rejections()
        for what, key, given_values in todo:
            if what == "insert" and key in oracle.rows:
                continue
            getattr(oracle, what)(key, given_values)
            server.run(what, key, given_values)
        assert server.rows() == oracle.rows
        assert server.rejections() - before == oracle.rejections

    agree()


def test_before_the_swap(conn: Connection, url: str) -> None:
    """The old shape is the truth."""
    conn.execute(TABLE)
    migration = Migration(url, OPERATIONS)
    migration.begin()
    migration.run(*BEFORE_SWAP[:2])
    compare(conn, swapped=False, examples=250)


def test_after_the_swap(conn: Connection, url: str) -> None:
    """The new shape is the truth."""
    conn.execute(TABLE)
    migration = Migration(url, OPERATIONS)
    migration.begin()
    migration.before_swap()
    migration.swap()
    compare(conn, swapped=True, examples=250)
