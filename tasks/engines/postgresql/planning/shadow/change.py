"""What the operations of a spec make of a table: tried on an empty twin, by the plain statements of anybody.

The server then says what every default, index and check looks like afterwards, and which columns are gone.
"""

from dataclasses import dataclass, field

from tasks.engines.postgresql.planning.checks.require import column_of, fillable
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.rehearsal import Rehearsal
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import AddColumn, AlterColumn, DropColumn, Operation, RebuildTable

_WIDER = {
    "smallint": ("integer", "bigint"),
    "integer": ("bigint",),
}
"""Every value of the one is a value of the other."""


@dataclass(kw_only=True)
class Change:
    """The operations on one table, in terms of its columns."""

    table: Table
    twin: str
    """The empty twin, quoted and qualified: first as the table is, then as it shall be."""
    rehearsal: Rehearsal
    ups: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of columns of the new shape: expression over the old one, and where the spec says so."""
    downs: dict[str, tuple[str, str]] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    altered: dict[str, str] = field(default_factory=dict)
    """Columns with another type or other values, and where the spec says so."""
    restricted: bool = False
    """One of the two tables refuses what the other one takes."""
    order: tuple[str, ...] | None = None
    primary_key: tuple[tuple[str, ...], str] | None = None
    order_where: str = ""

    def apply(self, op: Operation, where: str) -> None:
        """Carry out one operation on the twin. Raises SpecError."""
        match op:
            case AlterColumn():
                self._alter(op, where)
            case AddColumn():
                self._add(op, where)
            case DropColumn():
                self._drop(op, where)
            case RebuildTable():
                self._rebuild(op, where)
            case _:
                raise SpecError(
                    f"{op.kind} does not need a shadow table",
                    where=where,
                    hint="Put it into a spec of its own with `strategy: expand_contract`.",
                )

    def _try(self, where: str, *actions: str) -> None:
        with self.rehearsal.blaming(
            where, "Drop what stands in the way before the migration, or correct the operation."
        ):
            for action in actions:
                self.rehearsal.conn.execute(f"alter table {self.twin} {action}")

    def _alter(self, op: AlterColumn, where: str) -> None:
        column = column_of(self.table, op.column, where)
        if op.check is not None or op.unique is not None or op.references is not None:
            raise SpecError(
                "a constraint that is added does not need a shadow table",
                where=where,
                hint="Add it by a spec of its own with `strategy: expand_contract`.",
            )
        if op.generated is not None or op.drops_identity:
            raise SpecError(
                "an identity comes, or goes, without a shadow table",
                where=f"{where}.generated",
                hint="Put it into a spec of its own with `strategy: expand_contract`.",
            )
        name = quote(op.column)
        if column.generated is not None:
            raise SpecError(f"{op.column} is a generated column", where=where, hint="Drop it, and add it again later.")
        if op.type is not None:
            self._try(where, f"alter column {name} type {op.type} using (null::{op.type})")
        if op.converts:
            self.altered[op.column] = where
        if op.up is not None:
            self.ups[op.column] = (op.up, f"{where}.up")
        if op.down is not None:
            self.downs[op.column] = (op.down, f"{where}.down")
        if op.nullable is not None:
            self._try(where, f"alter column {name} {'drop' if op.nullable else 'set'} not null")
            self.restricted |= op.nullable != column.nullable
        if op.sets_default or op.drops_default:
            self._try(where, f"alter column {name} {f'set default {op.default}' if op.default else 'drop default'}")
        if op.sets_comment:
            self._comment(op.column, op.comment)

    def _add(self, op: AddColumn, where: str) -> None:
        column = op.column
        if column.unique or column.check is not None or column.references is not None:
            raise SpecError(
                "a constraint of a new column does not need a shadow table",
                where=where,
                hint="Add it by a spec of its own with `strategy: expand_contract`.",
            )
        if op.up is None and not column.nullable and column.default is None:
            raise SpecError(
                f"{column.name} is not nullable and nothing fills it", where=where, hint="Add up, or a default."
            )
        default = f" default {column.default}" if column.default is not None else ""
        self._try(where, f"add column {quote(column.name)} {column.type}{default}")
        if not column.nullable:
            self._try(where, f"alter column {quote(column.name)} set not null")
        self.added.append(column.name)
        if op.up is not None:
            self.ups[column.name] = (op.up, f"{where}.up")
        self._comment(column.name, column.comment)

    def _comment(self, column: str, text: str | None) -> None:
        value = literal(text) if text is not None else "null"
        self.rehearsal.conn.execute(f"comment on column {self.twin}.{quote(column)} is {value}".encode())

    def _drop(self, op: DropColumn, where: str) -> None:
        fillable(op, column_of(self.table, op.column, where), where)
        self._try(where, f"drop column {quote(op.column)}")
        self.dropped.append(op.column)
        if op.down is not None:
            self.downs[op.column] = (op.down, f"{where}.down")

    def _rebuild(self, op: RebuildTable, where: str) -> None:
        self.order, self.order_where = op.columns, f"{where}.columns"
        if op.primary_key is not None:
            self.primary_key = (op.primary_key, f"{where}.primary_key")

    def finish(self) -> None:
        """Exchange the primary key, when all columns are there."""
        if self.primary_key is None:
            return
        columns, where = self.primary_key
        present = next((c for c in self.table.constraints if c.kind == "primary key"), None)
        name = present.name if present is not None else f"{self.table.name}_pkey"
        listed = ", ".join(quote(column) for column in columns)
        if present is not None:
            self._try(where, f"drop constraint {quote(name)}")
        self._try(where, f"add constraint {quote(name)} primary key ({listed})")
        self.restricted = True

    def in_order(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """Return the columns of the new table in the order that they shall have. Raises SpecError."""
        if self.order is None:
            return columns
        named = {column.name: column for column in columns}
        missing, unknown = sorted(named.keys() - {*self.order}), sorted({*self.order} - named.keys())
        if missing or unknown:
            raise SpecError(
                f"not listed: {', '.join(missing)}" if missing else f"no such column: {', '.join(unknown)}",
                where=self.order_where,
                hint="List every column of the new table once.",
            )
        return tuple(named[name] for name in self.order)

    def widens(self, column: str, new: Table) -> bool:
        """Tell whether every old value of a column is a new one as it is."""
        before, after = self.table.column(column), new.column(column)
        assert before is not None
        assert after is not None
        plain = column not in self.ups and column not in self.downs
        return plain and after.type in (before.type, *_WIDER.get(before.type, ()))
