"""The same change by the statements that one would run with the application stopped: the oracle of the cycle."""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.names import quote
from tasks.model.operations import (
    AddColumn,
    AlterColumn,
    AlterType,
    CreateIndex,
    CreateTable,
    CreateType,
    DropColumn,
    DropIndex,
    DropTable,
    DropType,
    RenameColumn,
    RenameTable,
    SetReplicaIdentity,
    Sql,
)
from tasks.model.operations.column import CheckConstraint, ColumnDefinition, ForeignKeyReference
from tasks.model.operations.create_index import IndexField
from tasks.model.spec import MigrationSpec
from tests.conformance.plain_constraints import dropped_constraints, new_constraints


def plainly(spec: MigrationSpec) -> list[str]:
    """Return the statements, in an order in which every expression sees the old values."""
    found: list[str] = []
    for turn in (_tables, _new_columns, dropped_constraints, _conversions, _renames, _drops, _restrictions, _indexes):
        found += turn(spec)
    for turn in (new_constraints, _whole):
        found += turn(spec)
    return found


def _table(name: str) -> str:
    return ".".join(quote(part) for part in name.split(".", 1)) if name.startswith("s.") else quote(name)


def _tables(spec: MigrationSpec) -> Iterator[str]:
    yield from _types(spec)
    for op in spec.operations:
        if isinstance(op, Sql):
            yield op.up
        if not isinstance(op, CreateTable):
            continue
        parts = [f"{quote(c.name)} {c.type}{_default(c.default)}{_not_null(c.nullable)}" for c in op.columns]
        parts += [f"unique ({quote(c.name)})" for c in op.columns if c.unique]
        parts += [_check(c.check) for c in op.columns if c.check]
        parts += [_references(c.name, c.references) for c in op.columns if c.references]
        if keys := [quote(c.name) for c in op.columns if c.pk]:
            parts.append(f"primary key ({', '.join(keys)})")
        yield f"create table {_table(op.name)} ({', '.join(parts)})"


def _types(spec: MigrationSpec) -> Iterator[str]:
    for op in spec.operations:
        if isinstance(op, CreateType) and op.domain is not None:
            check = f" {_check(op.domain.check)}" if op.domain.check else ""
            yield f"create domain {_table(op.name)} as {op.domain.type}{_default(op.domain.default)}{check}"
        elif isinstance(op, CreateType):
            yield f"create type {_table(op.name)} as enum ({', '.join(literal(value) for value in op.values or ())})"
        elif isinstance(op, AlterType) and op.check is not None:
            yield f"alter domain {_table(op.name)} add {_check(op.check)} not valid"
        elif isinstance(op, AlterType):
            for one in op.add_values or ():
                place = f" before {literal(one.before)}" if one.before else ""
                place += f" after {literal(one.after)}" if one.after else ""
                yield f"alter type {_table(op.name)} add value if not exists {literal(one.value)}{place}"


def _new_columns(spec: MigrationSpec) -> Iterator[str]:
    fills: dict[str, list[str]] = {}
    for op in spec.operations:
        if not isinstance(op, AddColumn):
            continue
        table, name = _table(op.table), quote(op.column.name)
        default = "" if op.up else _default(op.column.default)
        yield f"alter table {table} add column {name} {op.column.type}{default}"
        if op.up:
            fills.setdefault(table, []).append(f"{name} = ({op.up}\n)")
    for table, assignments in fills.items():
        yield f"update {table} set {', '.join(assignments)}"
    for op in spec.operations:
        if not isinstance(op, AddColumn):
            continue
        alter = f"alter table {_table(op.table)} alter column {quote(op.column.name)}"
        if op.up and op.column.default:
            yield f"{alter} set default {op.column.default}"
        if not op.column.nullable:
            yield f"{alter} set not null"


def _conversions(spec: MigrationSpec) -> Iterator[str]:
    """One statement a table: an expression may read a column that another one converts."""
    changes: dict[str, list[str]] = {}
    for op in spec.operations:
        if isinstance(op, AlterColumn) and op.converts:
            column = quote(op.column)
            kind = op.type or f"{{type of {op.table}.{op.column}}}"
            changes.setdefault(op.table, []).append(f"alter column {column} type {kind} using ({op.up or column}\n)")
            if op.drops_default or op.sets_default:
                yield f"alter table {_table(op.table)} alter column {column} drop default"
    for op in spec.operations:
        if isinstance(op, AlterColumn) and op.nullable is True:
            yield f"alter table {_table(op.table)} alter column {quote(op.column)} drop not null"
    for table, actions in changes.items():
        yield f"alter table {_table(table)} {', '.join(actions)}"
    for op in spec.operations:
        if not isinstance(op, AlterColumn):
            continue
        alter = f"alter table {_table(op.table)} alter column {quote(op.column)}"
        if op.nullable is False:
            yield f"{alter} set not null"
        if op.drops_default or op.sets_default:
            yield f"{alter} set default {op.default}" if op.default else f"{alter} drop default"
        if op.generated is not None and op.generated.identity is not None:
            yield f"{alter} add generated {op.generated.identity.user_specified_values} as identity"
        if op.sets_comment:
            yield _comment(op.table, op.column, op.comment)


def _renames(spec: MigrationSpec) -> Iterator[str]:
    for op in spec.operations:
        if isinstance(op, RenameColumn):
            yield f"alter table {_table(op.table)} rename column {quote(op.from_)} to {quote(op.to)}"


def _drops(spec: MigrationSpec) -> Iterator[str]:
    for op in spec.operations:
        if isinstance(op, DropColumn):
            yield f"alter table {_table(op.table)} drop column {quote(op.column)}"


def _restrictions(spec: MigrationSpec) -> Iterator[str]:
    for op in spec.operations:
        column: AlterColumn | ColumnDefinition
        if isinstance(op, AddColumn):
            column, name = op.column, op.column.name
            unique = f"unique ({quote(name)})" if column.unique else None
        elif isinstance(op, AlterColumn):
            column, name = op, op.column
            unique = f"constraint {quote(op.unique.name)} unique ({quote(name)})" if op.unique else None
        else:
            continue
        parts = [unique] if unique else []
        parts += [_check(column.check)] if column.check else []
        parts += [_references(name, column.references)] if column.references else []
        yield from (f"alter table {_table(op.table)} add {part}" for part in parts)
        if isinstance(op, AddColumn) and op.column.comment:
            yield _comment(op.table, name, op.column.comment)


def _indexes(spec: MigrationSpec) -> Iterator[str]:
    for op in spec.operations:
        if isinstance(op, CreateIndex):
            unique = "unique " if op.unique else ""
            what = f"create {unique}index {quote(op.name)} on {_table(op.table)} using {op.method}"
            what += f" ({', '.join(_field(field) for field in op.columns)})"
            what += f" include ({', '.join(map(quote, op.include))})" if op.include else ""
            what += " nulls not distinct" if op.nulls_not_distinct else ""
            what += f" with ({op.storage_parameters})" if op.storage_parameters else ""
            yield what + (f" where {op.predicate}" if op.predicate else "")


def _field(field: IndexField) -> str:
    parts = [quote(field.column) if field.column else f"({field.expression}\n)"]
    parts += [f"collate {quote(field.collate)}"] if field.collate else []
    if field.opclass:
        parts.append(field.opclass.name + (f" ({', '.join(field.opclass.params)})" if field.opclass.params else ""))
    parts += [field.sort] if field.sort else []
    parts += [f"nulls {field.nulls}"] if field.nulls else []
    return " ".join(parts)


def _whole(spec: MigrationSpec) -> Iterator[str]:
    if tables := [_table(op.name) for op in spec.operations if isinstance(op, DropTable)]:
        yield f"drop table {', '.join(tables)}"
    for op in spec.operations:
        if isinstance(op, RenameTable):
            yield f"alter table {_table(op.from_)} rename to {quote(op.to)}"
        elif isinstance(op, DropType):
            yield f"drop type {_table(op.name)}"
        elif isinstance(op, DropIndex):
            yield f"drop index {_table(op.name)}"
        elif isinstance(op, SetReplicaIdentity):
            index = f"using index {quote(op.identity.index)}" if op.identity.index else op.identity.type
            yield f"alter table {_table(op.table)} replica identity {index}"


def _default(default: str | None) -> str:
    return f" default {default}" if default is not None else ""


def _not_null(nullable: bool) -> str:
    return "" if nullable else " not null"


def _check(check: CheckConstraint) -> str:
    return f"constraint {quote(check.name)} check ({check.constraint}\n){' no inherit' if check.no_inherit else ''}"


def _references(column: str, key: ForeignKeyReference) -> str:
    deferrable = " deferrable" if key.deferrable else ""
    deferrable += " initially deferred" if key.initially_deferred else ""
    return (
        f"constraint {quote(key.name)} foreign key ({quote(column)}) references {_table(key.table)}"
        f" ({quote(key.column)}) match {key.match_type} on delete {key.on_delete} on update {key.on_update}{deferrable}"
    )


def _comment(table: str, column: str, text: str | None) -> str:
    value = "null" if text is None else "'" + text.replace("'", "''") + "'"
    return f"comment on column {_table(table)}.{quote(column)} is {value}"
