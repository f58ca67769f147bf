"""What has to be in the database, whoever wrote it and when: the oracle, which knows rows as the old version does.

It sends statements only where it knows what they come to. One that breaks a rule which holds in both shapes has to
fail. One that breaks another rule is not sent: until the swap the old rules hold, and the new ones come meanwhile.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from tasks.model.names import quote
from tests.conformance.drawn.changes import Change, Field
from tests.conformance.drawn.kinds import Value
from tests.conformance.drawn.schema import PARENTS, Column, Key, Row, Rule, Schema, fits
from tests.conformance.drawn.writes import Version, Write
from tests.conformance.drive import Connection


class _UnknownError(Exception):
    """What a statement would come to is not this oracle's to say."""


class _RefusedError(Exception):
    """The database has to refuse the statement."""


@dataclass(kw_only=True)
class World:
    """The truth."""

    schema: Schema
    change: Change
    rows: dict[Key, Row] = field(default_factory=dict)
    extra: dict[Key, dict[str, Value]] = field(default_factory=dict)
    """What only the new version shows."""
    children: dict[int, Key | None] = field(default_factory=dict)
    logged: Counter[str] = field(default_factory=Counter)
    swapped: bool = False
    migrated: bool = False
    sent: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.rows = {self.schema.key_of(row): row for row in self.schema.rows}

    # What the change is.

    @property
    def only_new(self) -> list[Field]:
        return [one for one in self.change.fields if one.column is None]

    def new_row(self, row: Row) -> Row:
        """Return a row as the new version shows it, but for what only that has."""
        return {one.name: one.there(row[one.column.name]) for one in self.change.fields if one.column is not None}

    def new_rules(self) -> list[Rule]:
        """Return what the new shape asks for: the rules that stay, of the new values, and new ones."""
        names = {one.column.name: one.name for one in self.change.fields if one.column is not None}
        found = [one.rule() for one in self.change.rules]
        for rule in self.schema.rules:
            if self.change.kept(rule) and all(column in names for column in rule.columns):
                found.append(_carried(rule, names))
        return found

    def begun(self) -> None:
        """There is something that only the new version knows."""
        self.migrated = True
        for key, row in self.rows.items():
            self.extra[key] = {one.name: self._made(one, row) for one in self.only_new}

    def rolled_back(self) -> None:
        """Nothing of the new shape is left."""
        self.migrated = self.swapped = False
        self.extra = {}

    def _made(self, one: Field, row: Row) -> Value:
        return one.made(row) if one.made is not None else one.default

    # What a statement comes to.

    def write(self, conn: Connection, one: Write) -> None:
        """Send it, and do the same to the truth; or look that it fails, and changes nothing."""
        before = self._copy()
        try:
            query, values = self._statement(one)
            self._fit(before)
        except _UnknownError:
            self._restore(before)
            return
        except _RefusedError:
            self._restore(before)
            self.refused += 1
            query, values = self._refused
            with pytest.raises(psycopg.IntegrityError):
                conn.execute(query.encode(), values)
            return
        self.sent += 1
        conn.execute(query.encode(), values)

    def _copy(self) -> dict[str, Any]:
        return {
            "rows": {key: dict(row) for key, row in self.rows.items()},
            "extra": {key: dict(row) for key, row in self.extra.items()},
            "children": dict(self.children),
            "logged": Counter(self.logged),
            "parents": set(self.schema.parents),
        }

    def _restore(self, before: dict[str, Any]) -> None:
        self.rows, self.extra, self.children = before["rows"], before["extra"], before["children"]
        self.logged = before["logged"]
        self.schema.parents.clear()
        self.schema.parents.update(before["parents"])

    def _fit(self, before: dict[str, Any]) -> None:
        """Look whether all rows keep to all rules."""
        rows = list(self.rows.values())
        plain = {one.column.name for one in self.change.fields if one.column is not None and not one.ways}
        for rule in self.schema.rules:
            if not _hold([rule], rows):
                sure = self.change.kept(rule) and {*rule.columns} <= plain
                raise _RefusedError if sure else _UnknownError
        if not self.fits_the_new():
            raise _UnknownError

    def _new_rows(self) -> list[Row]:
        return [
            self.new_row(row) | {one.name: self._made(one, row) for one in self.only_new} | self.extra.get(key, {})
            for key, row in self.rows.items()
        ]

    def fits_the_new(self) -> bool:
        """Tell whether the rows that are there keep to the rules of the new shape."""
        return _hold(self.new_rules(), self._new_rows())

    def _statement(self, one: Write) -> tuple[str, list[Value]]:
        """Return what to send, with the truth changed by it."""
        handle = getattr(self, f"_{one.what}")
        self._refused = ("", [])
        query, values = handle(one)
        self._refused = (query, values)
        return query, values

    def _table(self, version: Version) -> str:
        return _q(self.change.table if version == "new" and self.shown else self.schema.table)

    shown = True
    """The new version has the new name of the table."""

    def _names(self, version: Version) -> dict[str, str]:
        """Map columns of the old shape to what a version calls them."""
        if version == "old":
            return {one.name: one.name for one in self.schema.columns}
        return {one.column.name: one.name for one in self.change.fields if one.column is not None}

    def _given(self, one: Write) -> tuple[dict[str, Value], Row, dict[str, Value]]:
        """Return the columns and values to send, what they mean in the old shape, and in that of the new one alone."""
        sent: dict[str, Value] = {}
        old: Row = {}
        # A NULL that is written out cannot be told from a column left out.
        inserts = one.what in ("insert", "upsert")
        for name, value in one.values.items():
            field_ = self._field(name)
            if one.version == "old":
                sent[name] = old[name] = value
                if value is None and inserts and self._unsaid(field_, "old"):
                    raise _UnknownError
            elif field_ is not None:
                shown = field_.there(value)
                sent[field_.name], old[name] = shown, field_.back(shown)
                if shown is None and inserts and self._unsaid(field_, "new"):
                    raise _UnknownError
                if field_.there(old[name]) != shown:
                    raise _UnknownError
        extra: dict[str, Value] = {}
        if one.version == "new":
            for only in self.only_new:
                if only.name in one.extra and (only.made is None or self.swapped):
                    sent[only.name] = extra[only.name] = one.extra[only.name]
        return sent, old, extra

    def _field(self, name: str) -> Field | None:
        return next((o for o in self.change.fields if o.column is not None and o.column.name == name), None)

    def _unsaid(self, one: Field | None, version: Version) -> bool:
        """Tell whether NULL, beside a default of the other shape, could be taken for what was left out."""
        if one is None:
            # It goes, and `down` gives it a value.
            return self.swapped
        if one.column is None or not one.ways:
            return False
        if version == "new" and not self.swapped:
            return one.column.default is not None
        return version == "old" and self.swapped and one.default is not None

    def _fresh(self, one: Write, sent: Mapping[str, Value]) -> Row:
        """Return what a new row has in the columns of the old shape that a statement leaves out."""
        row: Row = dict(zip(self.schema.key, one.key, strict=True))
        for column in self.schema.columns:
            if column.name in self.schema.key or column.of is not None:
                continue
            field_ = self._field(column.name)
            if field_ is None:
                row[column.name] = self._of_gone(column, one.version)
            elif field_.name in sent or (one.version == "old" and column.name in sent):
                row[column.name] = None
            else:
                row[column.name] = self._left_out(column, field_, one.version)
        return row

    def _of_gone(self, column: Column, version: Version) -> Value:
        if column in self.change.without_down:
            return column.default
        if version == "old":
            return self.change.gone[column] if self.swapped and column.default is None else column.default
        if self.swapped:
            return self.change.gone[column]
        return column.default if column.nullable or column.default is not None else self.change.gone[column]

    def _left_out(self, column: Column, one: Field, version: Version) -> Value:
        if not one.ways:
            return one.default if one.later and self.swapped else column.default
        if version == "old":
            if column.default is None and self._unsaid(one, "old"):
                raise _UnknownError
            return column.default
        if one.default is None and (column.default is not None or one.relaxed):
            raise _UnknownError
        shown = one.default if one.default is not None else (None if one.nullable else one.there(None))
        if one.there(one.back(shown)) != shown:
            raise _UnknownError
        return one.back(shown)

    def _new_extra(self, one: Write, row: Row, given: Mapping[str, Value]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for only in self.only_new if self.migrated else []:
            if only.name in given:
                found[only.name] = given[only.name]
            elif only.made is None or (only.default is not None and (self.swapped or one.version == "new")):
                found[only.name] = only.default
            elif self.swapped and only.nullable:
                found[only.name] = None
            else:
                found[only.name] = only.made(row)
        return found

    def _again(self, key: Key, row: Row, changed: Mapping[str, Value]) -> None:
        """Until the swap, what `up` reads is followed."""
        for only in self.only_new if self.migrated and not self.swapped else []:
            if only.up is not None and only.up.name in changed and only.made is not None:
                self.extra[key][only.name] = only.made(row)

    def _put(self, key: Key, row: Row, extra: dict[str, Value]) -> None:
        self.rows[key] = self.schema.computed(row)
        self.extra[key] = extra

    def _keyed(self, version: Version, key: Key) -> dict[str, Value]:
        """Return the key by the names of a version, as it shows it."""
        names = self._names(version)
        found: dict[str, Value] = {}
        for name, value in zip(self.schema.key, key, strict=True):
            field_ = self._field(name)
            found[names[name]] = field_.there(value) if version == "new" and field_ is not None else value
        return found

    def _insert(self, one: Write) -> tuple[str, list[Value]]:
        sent, old, extra = self._given(one)
        query, values = self._inserting(one, sent)
        if one.key in self.rows:
            # The key is taken.
            row = self._fresh(one, sent) | old
            self._refused = (query, values)
            if any(self._field(name) and self._field(name).ways for name in self.schema.key):  # type: ignore[union-attr]
                raise _UnknownError
            if not self._alone(row):
                raise _UnknownError
            raise _RefusedError
        row = self._fresh(one, sent) | old
        self._put(one.key, row, self._new_extra(one, row, extra))
        self.logged["INSERT"] += 1
        return query, values

    def _alone(self, row: Row) -> bool:
        row = self.schema.computed(row)
        shown = self.new_row(row) | {one.name: self._made(one, row) for one in self.only_new}
        old, new = ([rule for rule in rules if not rule.unique] for rules in (self.schema.rules, self.new_rules()))
        return fits(old, row, []) and fits(new, shown, [])

    def _inserting(self, one: Write, sent: Mapping[str, Value]) -> tuple[str, list[Value]]:
        keyed = self._keyed(one.version, one.key)
        listed = ", ".join(_q(name) for name in (*keyed, *sent))
        places = ", ".join(["%s"] * (len(keyed) + len(sent)))
        query = f"insert into {self._table(one.version)} ({listed}) overriding system value values ({places})"
        return query, [*keyed.values(), *sent.values()]

    def _upsert(self, one: Write) -> tuple[str, list[Value]]:
        sent, old, extra = self._given(one)
        if not sent or any(self._field(n) is None or self._field(n).ways for n in self.schema.key):  # type: ignore[union-attr]
            raise _UnknownError
        query, values = self._inserting(one, sent)
        keyed = ", ".join(_q(name) for name in self._keyed(one.version, one.key))
        query += f" on conflict ({keyed}) do update set {_sets(sent)}"
        fresh = self._fresh(one, sent) | old
        if one.key not in self.rows:
            self._put(one.key, fresh, self._new_extra(one, fresh, extra))
            self.logged["INSERT"] += 1
        else:
            if not self._alone(fresh):
                # NOT NULL and CHECK are asked of the row to insert, too.
                raise _UnknownError
            self._updated(one.key, self._said(one, one.key, old), extra)
        return query, [*values, *sent.values()]

    def _said(self, one: Write, key: Key, old: Row) -> Row:
        """Return what a statement changes: what the new version shows already says nothing of the old value."""
        if one.version == "old":
            return old
        shown = {f.column.name: f.there for f in self.change.fields if f.column is not None}
        return {c: v for c, v in old.items() if shown[c](self.rows[key][c]) != shown[c](v)}

    def _updated(self, key: Key, old: Row, extra: Mapping[str, Value]) -> None:
        row = self.rows[key] | old
        self.rows[key] = self.schema.computed(row)
        if self.migrated:
            self.extra[key] |= extra
            self._again(key, row, old)
        self.logged["UPDATE"] += 1

    def _update(self, one: Write) -> tuple[str, list[Value]]:
        sent, old, extra = self._given(one)
        if not sent:
            raise _UnknownError
        if one.key in self.rows:
            self._updated(one.key, self._said(one, one.key, old), extra)
        where, values = _where(self._keyed(one.version, one.key))
        return f"update {self._table(one.version)} set {_sets(sent)} where {where}", [*sent.values(), *values]

    def _all(self, one: Write) -> tuple[str, list[Value]]:
        """Many rows by one statement."""
        sent, old, extra = self._given(one)
        if not sent:
            raise _UnknownError
        for key in self.rows:
            self._updated(key, self._said(one, key, old), extra)
        return f"update {self._table(one.version)} set {_sets(sent)}", [*sent.values()]

    def _delete(self, one: Write) -> tuple[str, list[Value]]:
        where, values = _where(self._keyed(one.version, one.key))
        query = f"delete from {self._table(one.version)} where {where}"
        self._refused = (query, values)
        if one.key in self.rows:
            self._remove(one.key)
        return query, values

    def _remove(self, key: Key) -> None:
        self._children(key, None)
        del self.rows[key]
        self.extra.pop(key, None)
        self.logged["DELETE"] += 1

    def _children(self, key: Key, to: Key | None) -> None:
        """Do to the children what their foreign key says."""
        mine = [child for child, row in self.children.items() if row == key]
        if mine and self.schema.on_row == "no action":
            raise _RefusedError
        for child in mine:
            if self.schema.on_row == "set null":
                self.children[child] = None
            elif to is None:
                del self.children[child]
            else:
                self.children[child] = to

    def _key(self, one: Write) -> tuple[str, list[Value]]:
        """Another key for a row."""
        where, values = _where(self._keyed(one.version, one.key))
        sent = self._keyed(one.version, one.to)
        query = f"update {self._table(one.version)} set {_sets(sent)} where {where}"
        self._refused = (query, [*sent.values(), *values])
        if one.to in self.rows or any(column.identity == "always" for column in self.schema.keys):
            raise _UnknownError
        if one.key in self.rows:
            self._children(one.key, one.to)
            row = self.rows.pop(one.key) | dict(zip(self.schema.key, one.to, strict=True))
            extra = self.extra.pop(one.key, {})
            self._put(one.to, row, extra)
            self._again(one.to, row, dict.fromkeys(self.schema.key))
            self.logged["UPDATE"] += 1
        return self._refused

    def _child(self, one: Write) -> tuple[str, list[Value]]:
        """A child comes, or goes."""
        if self.schema.on_row is None:
            raise _UnknownError
        if one.number in self.children:
            del self.children[one.number]
            return "delete from child where id = %s", [str(one.number)]
        places = [f"r{i}" for i, _ in enumerate(self.schema.key)]
        query = f"insert into child (id, {', '.join(places)}) values ({', '.join(['%s'] * (1 + len(places)))})"
        keyed = [self._shown_key(name, value) for name, value in zip(self.schema.key, one.key, strict=True)]
        self._refused = (query, [str(one.number), *keyed])
        if one.key not in self.rows:
            raise _RefusedError
        self.children[one.number] = one.key
        return self._refused

    def _shown_key(self, name: str, value: Value) -> Value:
        return value

    def _parent(self, one: Write) -> tuple[str, list[Value]]:
        """A parent goes, or comes back."""
        parent = PARENTS[one.number % len(PARENTS)]
        if parent not in self.schema.parents:
            self.schema.parents.add(parent)
            return "insert into parent (id) values (%s)", [parent]
        query = "delete from parent where id = %s"
        self._refused = (query, [parent])
        column = self.schema.parent
        mine = [key for key, row in self.rows.items() if column is not None and row[column.name] == parent]
        if mine and self.change.parents_stay:
            raise _UnknownError
        if mine and self.schema.on_parent == "no action":
            raise _RefusedError
        for key in mine:
            if self.schema.on_parent == "cascade":
                self._remove(key)
            elif self.schema.on_parent == "set null" and column is not None:
                self._updated(key, {column.name: None}, {})
        self.schema.parents.discard(parent)
        return query, [parent]

    # What a version has to show.

    def check(self, conn: Connection, version: Version, *, rows: bool = False) -> None:
        """Compare everything that a version shows; or only its rows."""
        if version == "old":
            wanted = list(self.rows.values())
            names = [one.name for one in self.schema.columns]
        else:
            wanted = self._new_rows()
            names = [one.name for one in self.change.fields]
        shown = ", ".join(f"{_q(name)}::text" for name in names)
        found = conn.execute(f"select {shown} from {self._table(version)}".encode(), []).fetchall()
        listed = sorted([tuple(row[name] for name in names) for row in wanted], key=repr)
        missing, surplus = [row for row in listed if row not in found], [row for row in found if row not in listed]
        wrong = f"{version}, {names}: not there {missing}, not expected {surplus}"
        assert (missing, surplus, len(found)) == ([], [], len(listed)), wrong
        if rows:
            return
        if self.schema.on_row is not None:
            keys = ", ".join(f"r{i}::text" for i, _ in enumerate(self.schema.key))
            children = {number: key for number, *key in conn.execute(f"select id, {keys} from child".encode())}
            assert children == {
                number: [None] * len(self.schema.key) if key is None else list(key)
                for number, key in self.children.items()
            }
        if self.schema.seen:
            shown = ", ".join(f"{_q(name)}::text" for name in self.schema.seen)
            seen = conn.execute(f"select {shown} from public.seen".encode(), []).fetchall()
            listed = [tuple(row[name] for name in self.schema.seen) for row in self.rows.values()]
            assert sorted(seen, key=repr) == sorted(listed, key=repr)
        if self.schema.logged:
            log = conn.execute("select what, count(*) from public.log group by what").fetchall()
            assert dict(log) == {what: number for what, number in self.logged.items() if number}


def _carried(rule: Rule, names: Mapping[str, str]) -> Rule:
    return Rule(
        name=rule.name,
        columns=tuple(names[column] for column in rule.columns),
        unique=rule.unique,
        keeps=lambda row: rule.keeps({old: row[new] for old, new in names.items()}),
    )


def _hold(rules: list[Rule], rows: list[Row]) -> bool:
    return all(fits(rules, row, [other for other in rows if other is not row]) for row in rows)


def _q(name: str) -> str:
    """Quote a name for psycopg, too."""
    return quote(name).replace("%", "%%")


def _sets(sent: Mapping[str, Value]) -> str:
    return ", ".join(f"{_q(name)} = %s" for name in sent)


def _where(keyed: Mapping[str, Value]) -> tuple[str, list[Value]]:
    return " and ".join(f"{_q(name)} = %s" for name in keyed), [*keyed.values()]
