# ruff: noqa: E501 - one change a line reads better than one folded
"""What two versions of an application know of a few tables, in Python: the oracle of operations that stand together.

The truth is a row as the old version knows it, with what only the new version has beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from hypothesis import strategies as st

from tests.conformance import both_beside
from tests.conformance.both_beside import BESIDE
from tests.conformance.drive import Connection

Version = Literal["old", "new"]
Row = dict[str, Any]
SCHEMA = (
    """
create table p (id int primary key);
insert into p values (1), (2);
create table t (id int primary key, a text, b int not null default 3, c text, d text default 'd', e int, f text, k int,
  q int, constraint t_e check (e > -100), constraint t_f unique (f), constraint t_two check (b < 1000 or e < 1000));
create index t_a on t (a);
create index t_q on t (q);
create table s (id int primary key, status text not null default 'new', n int);
create table u (id int primary key, mail text, n int);
create table v (u_id int primary key references u on delete cascade on update cascade, photo text);
create table r (id int primary key, n int default 4);
create table w (id int primary key);
create type mood as enum ('sad', 'ok');
create type unused as enum ('x');
create view api_0 as select 1 as one; comment on view api_0 is 'an API version, made by Changeover: m';
"""
    + both_beside.SCHEMA
)
OLD = ("a", "b", "c", "d", "e", "f", "k", "q")
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "a": st.sampled_from([None, "", " A b", "ünï 🐘'\\"]),
    "b": st.sampled_from([0, 1, -7, 99]),
    "c": st.sampled_from([None, "x", "-"]),
    "d": st.sampled_from([None, "D"]),
    "e": st.sampled_from([None, 0, 5, -7]),
    "f": st.sampled_from([None, "1", "2", "3"]),
    "k": st.sampled_from([None, 1, 2, 3]),
    "q": st.sampled_from([None, 1, 2]),
}
KEYS = st.integers(1, 7)


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True, kw_only=True)
class Change:
    """An operation, and what becomes of a column of `t` by it."""

    operation: Mapping[str, Any]
    column: str | None = None
    """Of the old shape."""
    name: str | None = None
    """In the new shape; None if that has none."""
    there: Callable[[Any], Any] = same
    back: Callable[[Any], Any] = same
    left_out: Any = None
    """What the old version sees where the new one could say nothing."""
    only_new: bool = False
    """A column that the old version does not know, with `x` for a default."""
    stays: Callable[[Row, list[Row]], bool] | None = None
    """Whether a row stays, beside others: the rest moves to an archive when the rules come."""


def on_t(kind: str, **body: Any) -> dict[str, Any]:
    return {kind: {"table": "t"} | body}


def _alone(row: Row, others: list[Row]) -> bool:
    """The one with the greatest key stays."""
    return row["q"] is None or all(row["id"] > other["id"] for other in others if other["q"] == row["q"])


def _clean(value: str | None) -> str | None:
    return None if value is None else value.strip().lower()


CHANGES = [
    Change(operation=on_t("rename_column", **{"from": "a", "to": "z"}), column="a", name="z"),
    Change(operation=on_t("clean_column", column="a", rules=["trim", "lower"]), column="a", name="a", there=_clean),
    Change(operation=on_t("alter_column", column="b", type="bigint", up="b", down="b"), column="b", name="b"),
    Change(
        operation=on_t("alter_column", column="e", up="e + 1", down="e - 1"), column="e", name="e",
        there=lambda v: None if v is None else v + 1, back=lambda v: None if v is None else v - 1,
    ),
    Change(
        operation=on_t("alter_column", column="c", nullable=False, up="coalesce(c, '-')", down="nullif(c, '-')", lossy=True),
        column="c", name="c", there=lambda v: "-" if v is None else v, back=lambda v: None if v == "-" else v,
    ),
    Change(operation=on_t("drop_column", column="d", down="'d'", lossy=True), column="d", left_out="d"),
    Change(operation=on_t("drop_column", column="f"), column="f"),
    Change(operation=on_t("add_column", column={"name": "i", "type": "text", "nullable": True, "default": "'x'"}), only_new=True),
    Change(operation=on_t("add_column", column={"name": "h", "type": "int", "default": "7"}, up="b * 2")),
    Change(operation=on_t("alter_column", column="b", check={"name": "t_b", "constraint": "b > -100"})),
    Change(operation=on_t("alter_column", column="id", generated={"identity": {"user_specified_values": "BY DEFAULT"}})),
    Change(operation=on_t("alter_column", column="a", comment="'a remark'")),
    Change(operation=on_t("create_index", name="t_ce", columns=["c", "e"])),
    Change(operation=on_t("create_index", name="t_if", columns=["id", "f"], unique=True)),
    Change(operation=on_t("create_constraint", name="t_be", type="check", check="b > -100 or e is null")),
    Change(operation=on_t("create_constraint", name="t_uf", type="unique", columns=["f", "id"])),
    Change(operation=on_t("drop_constraint", name="t_e")),
    Change(operation=on_t("rename_constraint", **{"from": "t_f", "to": "t_ff"})),
    Change(operation={"drop_index": {"name": "t_a"}}),
    Change(operation=on_t("set_replica_identity", identity={"type": "full"})),
    Change(
        operation=on_t(
            "create_constraint", name="t_k", type="foreign_key", columns=["k"], orphans="archive",
            references={"table": "p", "columns": ["id"]},
        ),
        stays=lambda row, _: row["k"] != 3,
    ),
    Change(
        operation=on_t(
            "create_constraint", name="t_q1", type="unique", columns=["q"], duplicates="archive", archive="t_twice",
            survivor={"keep": "greatest", "column": "id"},
        ),
        stays=_alone,
    ),
    Change(operation={"extract_lookup": {"table": "s", "column": "status", "to": "statuses"}}),
    Change(operation={"move_column": {"table": "u", "column": "mail", "to": "v", "on": {"id": "u_id"}}}),
    Change(operation={"rename_table": {"from": "r", "to": "rr"}}),
    Change(operation={"create_api_version": {"name": "r_api", "table": "r", "columns": {"key": "id", "twice": "n * 2"}}}),
    Change(operation={"drop_table": {"name": "w"}}),
    Change(operation={"create_table": {"name": "x", "columns": [{"name": "id", "type": "int", "pk": True}]}}),
    Change(operation=on_t("drop_multicolumn_constraint", name="t_two")),
    Change(operation={"create_type": {"name": "feeling", "values": ["sad", "fine"]}}),
    Change(operation={"drop_type": {"name": "unused"}}),
    Change(operation={"drop_api_version": {"name": "api_0"}}),
    Change(operation={"sql": {"up": "create function one() returns int language sql return 1", "down": "drop function one()"}}),
    *(Change(operation=beside.operation) for beside in BESIDE),
    Change(operation={"alter_type": {"name": "mood", "add_values": [{"value": "good", "after": "ok"}]}}),
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Write:
    """One statement on `t`, or a few that belong together elsewhere; values as the old version knows them."""

    version: Version
    what: Literal["insert", "update", "delete", "upsert", "key", "status", "mail", "r", "beside"]
    key: int
    to: int
    values: Mapping[str, Any]
    word: str


WRITES = st.builds(
    Write,
    version=st.sampled_from(["old", "new"]),
    what=st.sampled_from(
        ["insert", "insert", "update", "update", "delete", "upsert", "key", "status", "mail", "r", "beside", "beside"]
    ),
    key=KEYS,
    to=KEYS,
    values=st.fixed_dictionaries({}, optional=VALUES),
    word=st.sampled_from(["new", "open", "päid", ""]),
)


@dataclass(kw_only=True)
class World:
    """What has to be in the database."""

    changes: list[Change]
    truth: dict[int, Row] = field(default_factory=dict)
    status: dict[int, str] = field(default_factory=dict)
    mail: dict[int, str] = field(default_factory=dict)
    r: dict[int, int] = field(default_factory=dict)
    beside: dict[str, dict[int, str]] = field(default_factory=lambda: {one.kind: {} for one in BESIDE})
    """The words of what stands beside, by kind and key."""
    archived: dict[int, Row] = field(default_factory=dict)
    ruled: bool = False
    """The new rules hold."""
    migrated: bool = False
    """There is something that only the new version knows."""

    def has(self, kind: str) -> bool:
        return any(kind in change.operation for change in self.changes)

    @property
    def of_columns(self) -> dict[str, Change]:
        return {change.column: change for change in self.changes if change.column is not None}

    @property
    def only_new(self) -> bool:
        return any(change.only_new for change in self.changes)

    def rules_come(self) -> None:
        """Move to the archive what breaks a rule, one rule after the other."""
        for change in (one for one in self.changes if one.stays is not None):
            rows = list(self.truth.values())
            going = [
                row["id"] for row in rows if change.stays and not change.stays(row, [o for o in rows if o is not row])
            ]
            self.archived |= {key: self.truth.pop(key) for key in going}
        self.ruled = True

    def rolled_back(self) -> None:
        """Everything of the old shape is there, and nothing of the new one."""
        self.truth |= self.archived
        self.archived = {}
        self.ruled = self.migrated = False
        for row in self.truth.values():
            row.pop("i", None)

    def begun(self) -> None:
        self.migrated = True
        for row in self.truth.values():
            row["i"] = "x"

    def fits(self, row: Row, key: int | None) -> bool:
        """Tell whether no rule is broken by a row that comes in place of that with a key; no application breaks one."""
        others = [one for other, one in (self.truth | self.archived).items() if other != key]
        free = all(one["id"] != row["id"] and (row["f"] is None or one["f"] != row["f"]) for one in others)
        if not free or not self.ruled:
            return free
        held = [change for change in self.changes if change.stays is not None]
        present = [one for other, one in self.truth.items() if other != key]
        return all(
            change.stays is None or (change.stays(row, present) and all(change.stays(o, [row]) for o in present))
            for change in held
        )

    def write(self, conn: Connection, one: Write) -> None:
        """Send it, and do the same to the truth."""
        match one.what:
            case "status":
                self._status(conn, one)
            case "mail":
                self._mail(conn, one)
            case "r":
                name = "rr" if one.version == "new" and self.has("rename_table") else "r"
                conn.execute(
                    f"insert into {name} (id, n) values (%s, %s) on conflict (id) do update set n = excluded.n".encode(),
                    (one.key, one.to),
                )
                self.r[one.key] = one.to
            case "beside":
                self._beside(conn, one)
            case _:
                self._row(conn, one)

    def _row(self, conn: Connection, one: Write) -> None:
        given, old = self._given(one)
        before = self.truth.get(one.key)
        new = one.version == "new"
        fresh = {"id": one.key} | dict.fromkeys(OLD) | {"b": 3, "d": "d"} | ({"i": "x"} if self.migrated else {})
        if new:
            fresh |= {c: change.left_out for c, change in self.of_columns.items() if change.name is None}
            fresh |= {c: change.back(change.there(fresh[c])) for c, change in self.of_columns.items() if change.name}
        match one.what:
            case "delete":
                conn.execute("delete from t where id = %s", (one.key,))
                self.truth.pop(one.key, None)
            case "key" if before and self.fits(before | {"id": one.to}, one.key):
                conn.execute("update t set id = %s where id = %s", (one.to, one.key))
                self.truth[one.to] = self.truth.pop(one.key) | {"id": one.to}
            case "update" if before and given and self.fits(before | old, one.key):
                conn.execute(f"update t set {_sets(given)} where id = %s".encode(), [*given.values(), one.key])
                self.truth[one.key] = before | old
            case "insert" if before or self.fits(fresh | old, one.key if one.key not in self.archived else None):
                conn.execute(f"{_insert(given)} on conflict do nothing".encode(), [one.key, *given.values()])
                self.truth.setdefault(one.key, fresh | old)
            case "upsert" if given and one.key not in self.archived and self.fits((before or fresh) | old, one.key):
                query = f"{_insert(given)} on conflict (id) do update set {_sets(given)}"
                if self.fits(fresh | old, one.key):
                    conn.execute(query.encode(), [one.key, *given.values(), *given.values()])
                    self.truth[one.key] = (before or fresh) | old

    def _beside(self, conn: Connection, one: Write) -> None:
        beside = BESIDE[one.to % len(BESIDE)]
        words, word = self.beside[beside.kind], None if one.to == one.key else one.word
        beside.write(conn, one.key, word, new=one.version == "new" and self.has(beside.kind))
        if word is None:
            words.pop(one.key, None)
        else:
            words[one.key] = word

    def _given(self, one: Write) -> tuple[Row, Row]:
        """What the statement says, and what it means in the old shape."""
        given: Row = {}
        old: Row = {}
        for column, value in one.values.items():
            change = self.of_columns.get(column, Change(operation={}, column=column, name=column))
            if one.version == "old":
                given[column] = old[column] = value
            elif change.name is not None:
                given[change.name] = change.there(value)
                old[column] = change.back(change.there(value))
        if one.version == "new" and self.only_new and one.to % 2:
            given["i"] = old["i"] = f"i{one.to}"
        return given, old

    def _status(self, conn: Connection, one: Write) -> None:
        if one.version == "new" and self.has("extract_lookup"):
            conn.execute("insert into statuses (status) values (%s) on conflict do nothing", (one.word,))
            query = (
                "insert into s (id, status_id) select %s, id from statuses where status = %s"
                " on conflict (id) do update set status_id = excluded.status_id"
            )
        else:
            query = "insert into s (id, status) values (%s, %s) on conflict (id) do update set status = excluded.status"
        conn.execute(query.encode(), (one.key, one.word))
        self.status[one.key] = one.word

    def _mail(self, conn: Connection, one: Write) -> None:
        u, v = {"mail": one.word}, {}
        if one.version == "new" and self.has("move_column"):
            u, v = v, u
        if one.key in self.mail and one.to == one.key:
            conn.execute("delete from u where id = %s", (one.key,))
            del self.mail[one.key]
            return
        with conn.transaction():
            for table, key, given in (("u", "id", u), ("v", "u_id", v)):
                columns, places = ", ".join((key, *given)), ", ".join(["%s"] * (1 + len(given)))
                on_conflict = f"({key}) do update set {_sets(given)}" if given else "do nothing"
                query = f"insert into {table} ({columns}) values ({places}) on conflict {on_conflict}"
                conn.execute(query.encode(), [one.key, *given.values(), *given.values()])
        self.mail[one.key] = one.word

    def check(self, conn: Connection, version: Version) -> None:
        """Compare everything that a version shows."""
        new = version == "new"
        shown = {c: c for c in OLD} | ({c: change.name for c, change in self.of_columns.items()} if new else {})
        columns = {column: name for column, name in shown.items() if name is not None}
        columns |= {"i": "i"} if new and self.only_new else {}
        found = conn.execute(f"select id, {', '.join(columns.values())} from t order by id".encode()).fetchall()
        there = {c: self.of_columns[c].there if new and c in self.of_columns else same for c in columns}
        assert found == [
            (key, *(there[c](row[c]) for c in columns)) for key, row in sorted(self.truth.items())
        ], version  # fmt: skip
        lookup, moved = new and self.has("extract_lookup"), new and self.has("move_column")
        status = (
            "select s.id, l.status from s left join statuses l on l.id = status_id"
            if lookup
            else "select id, status from s"
        )
        assert dict(conn.execute(status.encode()).fetchall()) == self.status, version
        assert (
            dict(conn.execute(b"select u_id, mail from v" if moved else b"select id, mail from u").fetchall())
            == self.mail
        )
        name = "rr" if new and self.has("rename_table") else "r"
        assert dict(conn.execute(f"select id, n from {name}".encode()).fetchall()) == self.r
        for beside in BESIDE:
            words = {key: beside.value(word) for key, word in self.beside[beside.kind].items()}
            assert beside.shown(conn, new=new and self.has(beside.kind)) == words, (version, beside.kind)
        if new and self.has("create_api_version"):
            twice = conn.execute("select key, twice from public.r_api").fetchall()
            assert dict(twice) == {key: 2 * n for key, n in self.r.items()}


def _sets(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = %s" for name in given)


def _insert(given: Mapping[str, Any]) -> str:
    return f"insert into t ({', '.join(('id', *given))}) values ({', '.join(['%s'] * (1 + len(given)))})"


def connect(url: str, schema: str) -> Connection:
    return psycopg.connect(url, autocommit=True, options=f"-c search_path={schema},public")
