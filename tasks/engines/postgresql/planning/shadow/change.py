"""What the operations of a spec make of a table: tried on an empty twin, by the plain statements of anybody.

The server then says what every default, index and check looks like afterwards, and which columns are gone.
"""

from dataclasses import dataclass, field

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.checks.require import column_of, fillable
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.operations.create_index import definition
from tasks.engines.postgresql.planning.rehearsal import Rehearsal
from tasks.engines.postgresql.planning.shadow.build import draws
from tasks.model.catalogue import Column, Dependent, Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import (
    AddColumn,
    AlterColumn,
    CreateConstraint,
    CreateIndex,
    DropColumn,
    Operation,
    RebuildTable,
    RenameColumn,
)
from tasks.model.operations.partition_by import PartitionBy
from tasks.model.operations.text import is_serial

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
    renamed: dict[str, str] = field(default_factory=dict)
    """Old name to new; everything else speaks of the old table by the one, and of the new table by the other."""
    lossy: set[str] = field(default_factory=set)
    """Columns whose old value may be lost."""
    altered: dict[str, str] = field(default_factory=dict)
    """Columns with another type or other values, and where the spec says so."""
    restricted: bool = False
    """One of the two tables refuses what the other one takes."""
    computed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Columns that are generated from now on: the expression as the server prints it, and where the spec says so.

    New ones, too.
    """
    written: dict[str, str] = field(default_factory=dict)
    """Columns that were generated, and that applications write from now on: where the spec says so."""
    indexes: list[tuple[CreateIndex, str]] = field(default_factory=list)
    """Those that are new, and where the spec says so."""
    last: list[tuple[str, str]] = field(default_factory=list)
    """Where the spec says so, and a clause of ALTER TABLE for when all columns are there."""
    keys_come: list[tuple[CreateConstraint, str]] = field(default_factory=list)
    """Foreign keys, and where the spec says so."""
    keys_gone: set[str] = field(default_factory=set)
    called: dict[str, str] = field(default_factory=dict)
    """Constraints with another name: the old one to the new one."""
    identity: tuple[str, str] | None = None
    """The replica identity, as a clause, and where the spec says so."""
    order: tuple[str, ...] | None = None
    primary_key: tuple[tuple[str, ...], str] | None = None
    key_name: str = ""
    """Of a primary key where there was none."""
    order_where: str = ""
    order_by: tuple[str, ...] = ()
    """Columns of the old table, in whose order its rows are copied."""
    partition_by: PartitionBy | None = None
    unpartition: bool = False

    def apply(self, op: Operation, where: str) -> None:
        """Carry out one operation on the twin. Raises SpecError."""
        match op:
            case AlterColumn():
                self._alter(op, where)
            case AddColumn():
                self._add(op, where)
            case DropColumn():
                self._drop(op, where)
            case RenameColumn():
                column_of(self.table, op.from_, where)
                self.attempt(where, f"rename column {quote(op.from_)} to {quote(op.to)}")
                self.renamed[op.from_] = op.to
            case RebuildTable():
                self._rebuild(op, where)
            case CreateIndex():
                self._index(op, where)
            case _:
                raise SpecError(
                    f"{op.kind} does not need a shadow table",
                    where=where,
                    hint="Put it into a spec of its own with `strategy: expand_contract`.",
                )

    def attempt(self, where: str, *actions: str) -> None:
        """Carry out clauses of ALTER TABLE on the twin. Raises SpecError."""
        with self.rehearsal.blaming(
            where, "Drop what stands in the way before the migration, or correct the operation."
        ):
            for action in actions:
                self.rehearsal.conn.execute(f"alter table {self.twin} {action}")

    def _alter(self, op: AlterColumn, where: str) -> None:
        column = column_of(self.table, op.column, where)
        if op.generated is not None or op.drops_identity:
            self._generate(op, column, f"{where}.generated")
        name = quote(op.column)
        if column.generated is not None and not op.drops_identity:
            raise SpecError(f"{op.column} is a generated column", where=where, hint="Drop it, and add it again later.")
        if op.type is not None:
            self.attempt(where, f"alter column {name} type {op.type} using (null::{op.type})")
        if op.converts:
            self.altered[op.column] = where
        if op.up is not None:
            self.ups[op.column] = (op.up, f"{where}.up")
        if op.down is not None:
            self.downs[op.column] = (op.down, f"{where}.down")
        if op.lossy:
            self.lossy.add(op.column)
        if op.nullable is not None:
            self.attempt(where, f"alter column {name} {'drop' if op.nullable else 'set'} not null")
            self.restricted |= op.nullable != column.nullable
        if op.sets_default or op.drops_default:
            self.attempt(where, f"alter column {name} {f'set default {op.default}' if op.default else 'drop default'}")
        if op.sets_comment:
            self._comment(op.column, op.comment)

    def _generate(self, op: AlterColumn, column: Column, where: str) -> None:
        if op.computes is None and column.generated is None:
            raise SpecError(
                "an identity comes, or goes, without a shadow table",
                where=where,
                hint="Put it into a spec of its own with `strategy: expand_contract`.",
            )
        if op.computes is None:
            if column.virtual:
                raise SpecError(
                    f"{op.column} is a virtual column, which has no values that could be kept",
                    where=where,
                    hint="Add a column, with the expression as `up`, and drop this one.",
                )
            self.attempt(where, f"alter column {quote(op.column)} drop expression")
            self.written[op.column] = where
        elif column.generated is not None or column.identity or draws(self.table, op.column):
            raise SpecError(
                f"{op.column} fills itself already", where=where, hint="Take that away in a migration of its own first."
            )
        else:
            collation = f" collate {column.collation}" if column.collation else ""
            printed = self._printed(op.computes, op.column, f"{column.type}{collation}", where)
            self.computed[op.column] = (printed, where)

    def _printed(self, expression: str, column: str, type_name: str, where: str) -> str:
        """Try an expression on the table as it is, and return it as the server writes it down."""
        trial, conn = quote("_changeover_computed"), self.rehearsal.conn
        with self.rehearsal.blaming(where, "Write an immutable expression over columns that do not change."):
            conn.execute(f"create temporary table {trial} (like {self.rehearsal.old} including generated)")
            conn.execute(f"alter table {trial} drop column if exists {quote(column)}")
            conn.execute(
                f"alter table {trial} add column {quote(column)} {type_name}"
                f" generated always as ({expression}\n) stored"
            )
        row = conn.execute(
            "select pg_catalog.pg_get_expr(adbin, adrelid) from pg_catalog.pg_attrdef d join pg_catalog.pg_attribute a"
            " on a.attrelid = d.adrelid and a.attnum = d.adnum where d.adrelid = %s::regclass and a.attname = %s",
            (f"pg_temp.{trial}", column),
        ).fetchone()
        conn.execute(f"drop table {trial}")
        assert row is not None
        return str(row[0])

    @property
    def recomputed(self) -> dict[str, str]:
        """Columns that are there, and are generated from now on, with the expression."""
        return {name: expression for name, (expression, _) in self.computed.items() if name not in self.added}

    def filled_by_themselves(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """Return the columns as they are once those that shall be generated are."""
        return tuple(
            column.model_copy(update={"generated": self.computed[column.name][0], "default": None})
            if column.name in self.computed
            else column
            for column in columns
        )

    def dependents(self, columns: tuple[Column, ...]) -> tuple[Dependent, ...]:
        """Return what depends on the new table, to whose generated columns those belong that the others read."""
        kept = [d for d in self.table.dependents if d.kind != "generated column" or d.name not in self.written]
        order = [column.name for column in columns]
        for name, (expression, where) in self.computed.items():
            read = self.rehearsal.reads(self.rehearsal.old, expression, where).columns
            named = tuple(sorted(read, key=order.index))
            if named:
                # A constant depends on nothing.
                kept.append(Dependent(kind="generated column", name=name, columns=named, definition=expression))
        return tuple(sorted(kept, key=lambda d: (d.kind == "publication", d.kind.encode(), d.name.encode())))

    def _add(self, op: AddColumn, where: str) -> None:
        column = op.column
        if column.unique or column.check is not None or column.references is not None:
            raise SpecError(
                "a constraint is not added together with its column here",
                where=where,
                hint="Write create_constraint beside it.",
            )
        if is_serial(column.type):
            raise SpecError(
                f"{column.type} in a table that is copied has no order of its rows to number them by",
                where=where,
                hint="Add it by expand_contract, in a migration of its own.",
            )
        if op.up is None and not (column.nullable or column.generated) and column.default is None:
            raise SpecError(
                f"{column.name} is not nullable and nothing fills it", where=where, hint="Add up, or a default."
            )
        if column.generated is not None:
            self._add_computed(op, where)
            return
        default = f" default {column.default}" if column.default is not None else ""
        self.attempt(where, f"add column {quote(column.name)} {column.type}{default}")
        if not column.nullable:
            self.attempt(where, f"alter column {quote(column.name)} set not null")
        self.added.append(column.name)
        if op.up is not None:
            self.ups[column.name] = (op.up, f"{where}.up")
        self._comment(column.name, column.comment)

    def _add_computed(self, op: AddColumn, where: str) -> None:
        column, place = op.column, f"{where}.column.generated"
        expression = column.generated.expression if column.generated is not None else None
        if expression is None:
            raise SpecError(
                f"{column.name} numbers rows, and in a table that is copied they have no order to number them by",
                where=place,
                hint="Add it in a migration of its own with `strategy: expand_contract`, which needs no copy for it.",
            )
        self.computed[column.name] = (self._printed(expression, column.name, column.type, place), place)
        not_null = "" if column.nullable else " not null"
        self.attempt(
            place,
            f"add column {quote(column.name)} {column.type} generated always as ({expression}\n) stored{not_null}",
        )
        self.added.append(column.name)
        self._comment(column.name, column.comment)

    def _comment(self, column: str, text: str | None) -> None:
        value = literal(text) if text is not None else "null"
        self.rehearsal.conn.execute(f"comment on column {self.twin}.{quote(column)} is {value}".encode())

    def _drop(self, op: DropColumn, where: str) -> None:
        fillable(op, column_of(self.table, op.column, where), where)
        self.attempt(where, f"drop column {quote(op.column)}")
        self.dropped.append(op.column)
        if op.lossy:
            self.lossy.add(op.column)
        if op.down is not None:
            self.downs[op.column] = (op.down, f"{where}.down")

    def _rebuild(self, op: RebuildTable, where: str) -> None:
        self.order, self.order_where = op.columns, f"{where}.columns"
        if op.primary_key is not None:
            self.primary_key = (op.primary_key, f"{where}.primary_key")
        self.partition_by, self.unpartition = op.partition_by, op.unpartition
        self.order_by = op.order_by or ()

    def _index(self, op: CreateIndex, where: str) -> None:
        self.indexes.append((op, where))

    def walk(self, key: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns along which rows that are known by this key are copied."""
        return (*self.order_by, *(column for column in key if column not in self.order_by))

    def require_order(self, key: tuple[str, ...]) -> None:
        """Refuse an order that cannot be walked in batches. Raises SpecError.

        Without an index every batch would sort the table, and with one of fewer columns all rows of the same values;
        among NULLs nobody finds the next row.
        """
        if not self.order_by:
            return
        where = f"{self.order_where.removesuffix('.columns')}.order_by"
        for name in self.order_by:
            if column_of(self.table, name, where).nullable:
                raise SpecError(f"{name} may be NULL", where=where, hint="Order by columns that are NOT NULL.")
        columns = self.walk(key)
        if not self._sorted_by(columns):
            raise SpecError(
                f"no index begins with {', '.join(columns)}",
                where=where,
                hint="Build one concurrently before the migration, on those columns, ascending, in that order.",
            )

    def _sorted_by(self, columns: tuple[str, ...]) -> bool:
        """Tell whether an index of the table begins with these columns, sorted as `order by` sorts them."""
        row = self.rehearsal.conn.execute(
            """
            select exists (
              select from pg_catalog.pg_index i
              join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_am m on m.oid = c.relam
              where i.indrelid = %(table)s::regclass and m.amname = 'btree' and i.indisvalid and i.indpred is null
                and i.indnkeyatts >= cardinality(%(columns)s::text[])
                and not exists (
                  select from unnest(%(columns)s::text[]) with ordinality as wanted (name, n)
                  left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attname = wanted.name
                    and a.attnum = i.indkey[n - 1] and a.attcollation = i.indcollation[n - 1] and i.indoption[n - 1] = 0
                  left join pg_catalog.pg_opclass o on o.oid = i.indclass[n - 1] and o.opcdefault
                  where a.attnum is null or o.oid is null
                )
            )
            """,
            {"table": quote_qualified(self.table.full_name), "columns": list(columns)},
        ).fetchone()
        return bool(row and row[0])

    def finish(self) -> None:
        """Look what generated columns read, make indexes, and exchange the primary key, when all columns are there."""
        moving = {*self.dropped, *self.altered, *self.ups, *self.computed, *self.written, *self.renamed}
        for column, (expression, where) in self.computed.items():
            read = {*self.rehearsal.reads(self.rehearsal.old, expression, where).columns} & moving
            if read:
                raise SpecError(
                    f"the expression of {column} reads {', '.join(sorted(read))}, which this spec changes",
                    where=where,
                    hint="Put the two into migrations of their own, one after the other.",
                )
        for op, where in self.indexes:
            with self.rehearsal.blaming(where, "Correct the index: it is made on the columns of the new table."):
                self.rehearsal.conn.execute(definition(op).replace("{table}", self.twin, 1).encode())
        for where, clause in self.last:
            self.attempt(where, clause)
        self._exchange_key()
        if self.identity is not None:
            self.attempt(self.identity[1], f"replica identity {self.identity[0]}")

    def _exchange_key(self) -> None:
        if self.primary_key is None:
            return
        columns, where = self.primary_key
        present = next((c for c in self.table.constraints if c.kind == "primary key"), None)
        name = self.key_name or f"{self.table.name}_pkey"
        if present is not None:
            name = self.called.get(present.name, present.name)
        listed = ", ".join(quote(column) for column in columns)
        if present is not None:
            self.attempt(where, f"drop constraint {quote(name)}")
        self.attempt(where, f"add constraint {quote(name)} primary key ({listed})")
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

    def converted(self, new: Table) -> set[str]:
        """Return the columns whose old values are not all new ones as they are."""
        return {column for column in self.altered if not self.widens(column, new)}

    def widens(self, column: str, new: Table) -> bool:
        """Tell whether every old value of a column is a new one as it is."""
        before, after = self.table.column(column), new.column(column)
        assert before is not None
        assert after is not None
        plain = column not in self.ups and column not in self.downs
        return plain and after.type in (before.type, *_WIDER.get(before.type, ()))
