"""The new table as its author writes it down, whole: what becomes of every column is said, never guessed.

The server reads the definition, in a schema that is rolled back, and prints it as it prints the old table: what differs
are the operations that a spec would list.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from pydantic import ValidationError

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import inspect
from tasks.engines.postgresql.transient import is_transient
from tasks.model.catalogue import Column, Constraint, Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import (
    AddColumn,
    AlterColumn,
    AnyOperation,
    CreateConstraint,
    DropColumn,
    DropConstraint,
    RebuildTable,
    RenameColumn,
)
from tasks.model.spec import MigrationSpec

_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_CREATE: Final = re.compile(rf"\s*create\s+table\s+(?:({_NAME})\s*\.\s*)?({_NAME})\s*(?=\()", re.IGNORECASE)
_BRACKET: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]""")
_SCHEMA: Final = "_changeover_defined"
_OF_COLUMNS: Final = (
    "name",
    "type",
    "nullable",
    "default",
    "identity",
    "generated",
    "collation",
    "storage",
    "compression",
)
_IN_PLACE: Final = "Leave it as it is, and change it by a spec of its own with `strategy: expand_contract`."


@dataclass(frozen=True, kw_only=True)
class Defined:
    """A definition, the table that the server makes of it, and the operations that lead there."""

    table: Table
    operations: tuple[AnyOperation, ...]
    where: str

    def as_written(self) -> tuple[dict[str, object], ...]:
        """Return the operations as a spec has them."""
        return tuple({o.kind: o.model_dump(mode="json", by_alias=True, exclude_unset=True)} for o in self.operations)

    def refuse_what_does_not_arrive(self, new: Table) -> None:
        """Refuse a definition of which the new table would lack something, whatever the reason. Raises SpecError."""
        there = {column.name: column for column in new.columns}
        lacking = [
            f"{field} of {column.name}"
            for column in self.table.columns
            for field in _OF_COLUMNS
            if column.name not in there or getattr(column, field) != getattr(there[column.name], field)
        ]
        lacking += [definition for _, definition in sorted(_demands(self.table) ^ _demands(new))]
        if lacking:
            raise SpecError(
                f"the new table would not be as it is written down: {'; '.join(lacking[:5])}",
                where=self.where,
                hint=_IN_PLACE,
            )


def written_out(conn: Connection, table: Table, spec: MigrationSpec) -> Defined | None:
    """Return what a spec with a definition asks for; None without one. Raises SpecError for what it cannot mean."""
    defined = [one for one in spec.operations if isinstance(one, RebuildTable) and one.definition is not None]
    if not defined:
        return None
    if len(spec.operations) > 1:
        raise SpecError(
            "a definition says all about the new table",
            where="operations",
            hint="Put the other operations into the definition, or leave it out.",
        )
    where = "operations[0].rebuild_table.definition"
    wanted = _read(conn, table, defined[0], where)
    found = _Differences(table, wanted, defined[0], where)
    try:
        # A rule that goes may stand in the way of a column's new type.
        operations = (*found.rules_that_go(), *found.columns(), *found.rules_that_come(), found.order())
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise SpecError(
            f"what becomes of a column is not done in one go: {said}", where=where, hint=_IN_PLACE
        ) from None
    return Defined(table=wanted, operations=operations, where=where)


def _read(conn: Connection, table: Table, asked: RebuildTable, where: str) -> Table:
    """Return the table that a definition makes; it is made, looked at, and rolled back. Raises SpecError.

    Locks: SHARE ROW EXCLUSIVE on the tables that its foreign keys refer to, until it is rolled back, at once.
    """
    definition = asked.definition or ""
    head = _CREATE.match(definition)
    if head is None or (head[1] and _plain(head[1]) != table.schema_name) or _plain(head[2]) != table.name:
        raise SpecError(
            f"it does not begin with `create table {table.name} (`",
            where=where,
            hint="Write the whole CREATE TABLE, under the present name.",
        )
    body = definition[head.end() :].rstrip().rstrip(";")
    try:
        # Back to a savepoint the locks go, too.
        with conn.transaction(force_rollback=True):
            conn.execute(f"create schema {quote(_SCHEMA)}")
            # In the protocol of binary results one message is one statement: what follows a semicolon is refused.
            with conn.cursor(binary=True) as cursor:
                cursor.execute(f"create table {quote(_SCHEMA)}.{quote(table.name)} {body}".encode())
            return inspect(conn, [f"{_SCHEMA}.{table.name}"], "pg_catalog").tables[0]
    except psycopg.Error as error:
        if is_transient(error):
            raise
        raise SpecError(
            error.diag.message_primary or type(error).__name__,
            where=where,
            hint="Write one CREATE TABLE, as the new table shall be.",
        ) from None


def _demands(table: Table) -> set[tuple[str, str]]:
    return {(c.kind, c.definition) for c in table.constraints if c.kind not in ("foreign key", "trigger", "not null")}


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


class _Differences:
    """What a definition makes of a table, in the words of a spec."""

    def __init__(self, table: Table, wanted: Table, asked: RebuildTable, where: str) -> None:
        self.table, self.wanted, self.asked, self.where = table, wanted, asked, where
        self.renamed: Mapping[str, str] = asked.renamed or {}
        self.old_name = {new: old for old, new in self.renamed.items()}
        self._refuse_unknown()
        self._refuse_what_is_no_column()

    def _refuse(self, what: str, hint: str) -> SpecError:
        return SpecError(what, where=self.where, hint=hint)

    def _refuse_unknown(self) -> None:
        """Refuse names that neither table has, and a column of which nothing is said."""
        asked = self.asked
        for name in (*self.renamed, *(asked.dropped or ()), *(asked.down or {})):
            if self.table.column(name) is None:
                raise self._refuse(f"{self.table.full_name} has no column {name!r}", "Correct the name.")
        for name in (*self.renamed.values(), *(asked.up or {})):
            if self.wanted.column(name) is None:
                raise self._refuse(f"the definition has no column {name!r}", "Correct the name.")
        for column in self.table.columns:
            goes = column.name in (asked.dropped or ())
            there = self.wanted.column(self.renamed.get(column.name, column.name)) is not None
            if not goes and not there:
                raise self._refuse(
                    f"nothing says what becomes of the column {column.name}",
                    "Name it under `dropped`, or under `renamed` with its new name.",
                )
            if goes and there:
                raise self._refuse(f"{column.name} is dropped, and in the definition", "Write one of the two.")

    def _refuse_what_is_no_column(self) -> None:
        if self.wanted.partition_key or self.table.partition_key:
            raise self._refuse(
                "partitions are not said by a definition", "Write rebuild_table with partition_by, or unpartition."
            )
        same = ("kind", "persistence", "options", "tablespace", "access_method", "parents")
        for field in same:
            if getattr(self.wanted, field) != getattr(self.table, field):
                raise self._refuse(f"the definition has another {field.replace('_', ' ')}", _IN_PLACE)
        if drawn := [one.column for one in self.wanted.sequences if not one.identity]:
            raise self._refuse(
                f"{', '.join(drawn)} would draw from a sequence of its own",
                "Write the type, and as the default nextval of the sequence that is there.",
            )
        mine, theirs = (
            sorted(c.definition for c in t.constraints if c.kind == "foreign key") for t in (self.table, self.wanted)
        )
        if mine != theirs:
            raise self._refuse("the definition has other foreign keys", _IN_PLACE)

    def columns(self) -> Iterator[AnyOperation]:
        """Give what becomes of the columns; those that are renamed last, because the others say the old names."""
        up, down = self.asked.up or {}, self.asked.down or {}
        for name in self.asked.dropped or ():
            how = _given(down=down.get(name)) | {"lossy": self.asked.lossy}
            yield DropColumn.model_validate({"table": self.asked.table, "column": name} | how)
        for column in self.wanted.columns:
            old = self.table.column(self.old_name.get(column.name, column.name))
            if old is None or old.name in (self.asked.dropped or ()):
                yield self._added(column, up.get(column.name))
            elif changes := self._altered(old, column, up.get(column.name), down.get(old.name)):
                yield AlterColumn.model_validate({"table": self.asked.table, "column": old.name} | changes)
        for old_name, new_name in self.renamed.items():
            yield RenameColumn.model_validate({"table": self.asked.table, "from": old_name, "to": new_name})

    def _added(self, column: Column, up: str | None) -> AnyOperation:
        if column.identity:
            raise self._refuse(
                f"the new column {column.name} is an identity",
                "Add it by add_column with `generated`, in a spec of its own with `strategy: expand_contract`.",
            )
        if column.virtual:
            raise self._refuse(f"the new column {column.name} is virtual", "Write `stored`, or leave it out.")
        collation = f" collate {column.collation}" if column.collation else ""
        whole: dict[str, Any] = {
            "name": column.name,
            "type": f"{column.type}{collation}",
            "nullable": column.nullable,
        }
        whole |= _given(default=column.default)
        if column.generated is not None:
            whole["generated"] = {"expression": column.generated}
        return AddColumn.model_validate({"table": self.asked.table, "column": whole} | _given(up=up))

    def _altered(self, old: Column, new: Column, up: str | None, down: str | None) -> dict[str, Any]:
        for field in ("identity", "collation", "storage", "compression", "virtual"):
            typed = field == "storage" and old.type != new.type
            if getattr(old, field) != getattr(new, field) and not typed:
                raise self._refuse(f"the definition changes the {field} of {old.name}", _IN_PLACE)
        changes = _given(up=up, down=down)
        if down is not None and self.asked.lossy:
            changes["lossy"] = True
        if old.type != new.type:
            changes["type"] = new.type
        if old.nullable != new.nullable:
            changes["nullable"] = new.nullable
        if old.generated != new.generated:
            changes["generated"] = None if new.generated is None else {"expression": new.generated}
        elif old.default != new.default:
            changes["default"] = new.default
        return changes

    def rules_that_go(self) -> Iterator[AnyOperation]:
        """Give the constraints that the definition has no more, or has in other words."""
        for one in self._gone:
            yield DropConstraint.model_validate({"table": self.asked.table, "name": one.name})

    def rules_that_come(self) -> Iterator[AnyOperation]:
        """Give the checks, unique and exclusion constraints that are new, and refuse others that are."""
        kept = {one.name for one in _rules(self.table)} - {one.name for one in self._gone}
        for one in _rules(self.wanted):
            if one.name not in kept:
                yield self._created(one)

    @property
    def _gone(self) -> list[Constraint]:
        after = {one.name: one for one in _rules(self.wanted)}
        return [one for one in _rules(self.table) if one.name not in after or not self._same(one, after[one.name])]

    def _same(self, old: Constraint, new: Constraint) -> bool:
        if old.definition == new.definition:
            return True
        # Of columns that get other names the server prints the new ones.
        columns = tuple(self.renamed.get(name, name) for name in old.columns)
        return old.kind == new.kind == "unique" and columns == new.columns and bool({*old.columns} & {*self.renamed})

    def _created(self, one: Constraint) -> AnyOperation:
        if one.kind not in ("check", "unique", "exclusion"):
            raise self._refuse(f"the definition adds the {one.kind} constraint {one.name}", _IN_PLACE)
        rule: dict[str, Any] = {"table": self.asked.table, "name": one.name, "type": one.kind}
        if one.deferrable:
            rule |= {"deferrable": True, "initially_deferred": one.deferred}
        if one.kind == "unique":
            return CreateConstraint.model_validate(rule | {"columns": list(one.columns)})
        if one.kind == "exclusion":
            return CreateConstraint.model_validate(rule | {"exclude": _excluded(one.definition)})
        text = one.definition.removeprefix("CHECK ")
        inherited = text.removesuffix(" NO INHERIT")
        return CreateConstraint.model_validate(rule | {"check": inherited, "no_inherit": inherited != text})

    def order(self) -> RebuildTable:
        """Return the order of the columns, and the primary key where it is another one."""
        keys = [
            next((c.columns for c in t.constraints if c.kind == "primary key"), ()) for t in (self.table, self.wanted)
        ]
        same = tuple(self.renamed.get(name, name) for name in keys[0]) == keys[1]
        if not keys[1]:
            raise self._refuse("the definition has no primary key", "Write the one that the new table shall have.")
        return RebuildTable.model_validate(
            {"table": self.asked.table, "columns": [c.name for c in self.wanted.columns]}
            | ({} if same else {"primary_key": list(keys[1])})
        )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _excluded(definition: str) -> dict[str, str]:
    """Take apart what the server prints; what it says beyond that is missed when both tables are compared."""
    head, _, rest = definition.partition(" (")
    elements = _enclosed(rest)
    _, where, rest = rest[len(elements) :].partition(" WHERE (")
    found = {"index_method": head.removeprefix("EXCLUDE USING "), "elements": elements}
    return found | ({"predicate": _enclosed(rest)} if where else {})


def _enclosed(text: str) -> str:
    """Return what comes before the parenthesis that closes one which was opened before."""
    depth = 1
    for found in _BRACKET.finditer(text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return text[: found.start()]
    return text


def _rules(table: Table) -> Iterator[Constraint]:
    yield from (one for one in table.constraints if one.kind in ("check", "unique", "exclusion", "trigger"))
