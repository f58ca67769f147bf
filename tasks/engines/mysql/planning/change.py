"""What a spec asks of one table: the ALTER of it, or of its shadow, and what fills each column from the other side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.engines.mysql.dialect import Dialect
from tasks.engines.mysql.names import quote, quoted
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError
from tasks.model.operations import (
    AddColumn,
    AlterColumn,
    AnyOperation,
    CreateIndex,
    DropColumn,
    DropIndex,
    RebuildTable,
    RenameColumn,
)
from tasks.model.operations.column import CheckConstraint
from tasks.model.operations.text import is_serial

_QUOTED = r"`(?:[^`]|``)*`|'(?:[^'\\]|''|\\.)*'|\"(?:[^\"\\]|\"\"|\\.)*\""
"""Names and texts, in sessions where a backslash escapes."""
_COMMENT = r"/\*(?!M?!).*?\*/|--\s[^\n]*|#[^\n]*"
"""What the server does not read: it does read `/*! ... */`."""
NO_FOREIGN_KEYS = "a migration on MariaDB adds no foreign keys, and drops none"
AFTERWARDS = "Leave out those that the table has, which are carried over. Add new ones, or drop them, afterwards."
_TEXTS = ("char", "varchar", "text", "tinytext", "mediumtext", "longtext", "enum", "set")


@dataclass(kw_only=True)
class Change:
    """The new table, by what makes it from the old one."""

    table: Table
    clauses: list[str] = field(default_factory=list)
    """Of one ALTER TABLE."""
    definition: str = ""
    """What follows `create table` and the name, instead of clauses."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Old name to new."""
    up: dict[str, str] = field(default_factory=dict)
    """New column to the author's expression over the old row."""
    down: dict[str, str] = field(default_factory=dict)
    """Old column to the author's expression over the new row."""
    lossy: set[str] = field(default_factory=set)
    """Columns whose old value `down` need not bring back."""
    added: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    dropped_indexes: list[str] = field(default_factory=list)
    unique: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """New unique keys: name, and columns of the old table."""

    @property
    def leaving(self) -> list[str]:
        """Names of columns that the new table does not know; to the server, another case is no other name."""
        return [*self.dropped, *(old for old, new in self.renamed.items() if old.lower() != new.lower())]

    def say(self, asked: RebuildTable) -> None:
        """Take over what is said of columns. Raises SpecError for columns that the old table does not have."""
        for name in (*(asked.renamed or ()), *(asked.dropped or ())):
            _existing(self, name, computed=True)
        for name in asked.down or ():
            _existing(self, name)
        self.renamed |= asked.renamed or {}
        self.dropped |= set(asked.dropped or ())
        self.up |= asked.up or {}
        self.down |= asked.down or {}
        self.lossy |= set(self.down) if asked.lossy else set()

    def build(self, name: str) -> list[str]:
        """Return the statements that make the new table, empty."""
        if self.definition:
            return [f"create table {quote(name)} {self.definition}"]
        alter = [f"alter table {quote(name)} {', '.join(self.clauses)}"] if self.clauses else []
        return [f"create table {quote(name)} like {quote(self.table.name)}", *alter]


def change_of(operations: Sequence[AnyOperation], table: Table, dialect: Dialect) -> Change:
    """Return what the operations ask for. Raises SpecError for what is not done on MariaDB."""
    change = Change(table=table)
    for number, operation in enumerate(operations):
        try:
            _add(change, operation, dialect)
        except SpecError as error:
            error.where = f"operations[{number}].{operation.kind}"
            raise
    return change


def _add(change: Change, operation: AnyOperation, dialect: Dialect) -> None:
    match operation:
        case AlterColumn():
            _alter(change, operation, dialect)
        case AddColumn():
            _add_column(change, operation)
        case DropColumn():
            _drop_column(change, operation)
        case RenameColumn():
            _existing(change, operation.from_)
            change.renamed[operation.from_] = operation.to
            change.clauses.append(f"rename column {quote(operation.from_)} to {quote(operation.to)}")
        case CreateIndex():
            _create_index(change, operation)
        case DropIndex():
            change.dropped_indexes.append(operation.name)
            change.clauses.append(f"drop index {quote(operation.name)}")
        case RebuildTable(order_by=(_, *_)):
            raise SpecError(
                "MariaDB stores rows in the order of the primary key",
                hint="Remove order_by, or write `options: drop primary key, add primary key (...)`.",
            )
        case RebuildTable() if operation.partition_by is not None or operation.unpartition:
            raise SpecError(
                "partition_by and unpartition are those of PostgreSQL",
                hint="Write `options: partition by ...`, or `options: remove partitioning`, as in ALTER TABLE.",
            )
        case RebuildTable(columns=None, primary_key=None, definition=None):
            change.clauses.append(_within_the_table(operation.options or "force"))
            change.say(operation)
        case _:
            raise SpecError(
                f"{operation.kind.replace('_', ' ')} is not there on MariaDB",
                hint="Use add_, alter_, drop_ or rename_column, create_index, drop_index, or rebuild_table.",
            )


def _read_by_the_server(text: str) -> str:
    """Return what the server reads of it as words: `?` for each name and text in quotes, and no comments."""
    bare = re.sub(f"{_QUOTED}|{_COMMENT}", lambda one: "?" if one[0][0] in "`'\"" else " ", text, flags=re.DOTALL)
    return re.sub(r"/\*M?!\d*|\*/", " ", bare)


def without_rows(definition: str, full_name: str) -> str:
    """Refuse a definition that fills the table: it is carried out when it is planned, on the server itself."""
    if re.search(
        r"(?<![\w$])(?:select|values(?!\s+(?:in|less)\b))(?![\w$])", _read_by_the_server(definition), re.IGNORECASE
    ):
        raise filled(full_name)
    return _without_foreign_keys(definition)


def _without_foreign_keys(text: str) -> str:
    """Refuse foreign keys: to try one would hold up who writes to the parent."""
    if re.search(r"\b(?:references|foreign\s+key)\b", _read_by_the_server(text), re.IGNORECASE):
        raise SpecError(NO_FOREIGN_KEYS, hint=AFTERWARDS)
    return text


def filled(full_name: str) -> SpecError:
    """Say that the definition is not only one."""
    return SpecError(
        "the new table is to be empty, and its definition fills it",
        where=full_name,
        hint="Take the SELECT out of the definition.",
    )


def _within_the_table(clauses: str) -> str:
    """Refuse clauses that take rows out of another table, or the new table away: they are tried when it is planned."""
    found = re.search(
        r"\b(exchange\s+partition|convert\s+(?:table|partition)|(?:discard|import)\s+(?:tablespace|partition)"
        r"|rename(?!\s+(?:column|index|key)\b))",
        _read_by_the_server(clauses),
        re.IGNORECASE,
    )
    if found:
        raise SpecError(
            f"{' '.join(found[0].split())!r} reaches beyond the table, and what it does is not taken back",
            hint="Do that by ALTER TABLE before or after the migration.",
        )
    return _without_foreign_keys(clauses)


def _existing(change: Change, name: str, *, computed: bool = False) -> Column:
    column = change.table.column(name)
    if column is None:
        raise SpecError(
            f"{change.table.full_name} has no column {name!r}",
            hint="It has: " + ", ".join(c.name for c in change.table.columns) + ".",
        )
    if column.generated is not None and not computed:
        raise SpecError(
            f"{name!r} is a generated column",
            hint="Write `rebuild_table` with `options`, as in ALTER TABLE, and with `renamed` or `dropped`.",
        )
    return column


def _alter(change: Change, asked: AlterColumn, dialect: Dialect) -> None:
    column = _existing(change, asked.column)
    if "generated" in asked.model_fields_set:
        raise SpecError("an identity or an expression of a column is not changed on MariaDB", hint="Remove generated.")
    if asked.references is not None:
        raise SpecError(NO_FOREIGN_KEYS, hint=AFTERWARDS)
    name = change.renamed.get(asked.column, asked.column)
    if asked.type or asked.nullable is not None or asked.sets_default or asked.drops_default or asked.sets_comment:
        change.clauses.append(f"modify column {quote(name)} {_definition(column, asked, dialect)}")
    if asked.check is not None:
        change.clauses.append(_check(asked.check))
    if asked.unique is not None:
        change.clauses.append(f"add unique index {quote(asked.unique.name)} ({quote(name)})")
    if asked.up is not None:
        change.up[asked.column] = asked.up
    if asked.down is not None:
        change.down[asked.column] = asked.down
        change.lossy |= {asked.column} if asked.lossy else set()


def _definition(column: Column, asked: AlterColumn, dialect: Dialect) -> str:
    kind = asked.type or column.type
    words = [kind]
    if column.collation and kind.split("(")[0].lower() in _TEXTS and "character set" not in kind.lower():
        words.append(f"collate {column.collation}")
    nullable = column.nullable if asked.nullable is None else asked.nullable
    words.append("null" if nullable else "not null")
    if asked.sets_default:
        words.append(f"default {asked.default}")
    elif not asked.drops_default and column.default is not None and column.default != "NULL":
        words.append(f"default {dialect.default(column.default, column.options)}")
    if column.identity:
        words.append("auto_increment")
    words += [option for option in column.options if option.startswith("on update") or option == "invisible"]
    comment = asked.comment if asked.sets_comment else column.comment
    if comment:
        words.append(f"comment {quoted(comment)}")
    words += [option for option in column.options if option.startswith("check ")]
    return " ".join(words)


def _add_column(change: Change, asked: AddColumn) -> None:
    column = asked.column
    if is_serial(column.type):
        raise SpecError(
            f"{column.type} on MariaDB is a unique bigint unsigned with auto_increment",
            hint="Write `rebuild_table` with the whole definition.",
        )
    if column.generated is not None:
        raise SpecError(f"{column.name} fills itself", hint="Write `rebuild_table` with the whole definition.")
    if column.references is not None:
        raise SpecError(NO_FOREIGN_KEYS, hint=AFTERWARDS)
    words = [quote(column.name), column.type, "null" if column.nullable else "not null"]
    if column.default is not None:
        words.append(f"default {column.default}")
    if column.comment:
        words.append(f"comment {quoted(column.comment)}")
    change.clauses.append("add column " + " ".join(words))
    if column.check is not None:
        change.clauses.append(_check(column.check))
    if column.unique:
        change.clauses.append(f"add unique index {quote(column.name)} ({quote(column.name)})")
    change.added.add(column.name)
    if asked.up is not None:
        change.up[column.name] = asked.up


def _check(check: CheckConstraint) -> str:
    if check.no_inherit:
        raise SpecError("no table of MariaDB inherits from another", hint="Remove no_inherit.")
    return f"add constraint {quote(check.name)} {check.definition}"


def _drop_column(change: Change, asked: DropColumn) -> None:
    _existing(change, asked.column)
    for index in change.table.indexes:
        if asked.column in index.columns and index.name not in change.dropped_indexes:
            raise SpecError(
                f"{asked.column!r} is part of the index {index.name!r}, which MariaDB would change in silence",
                hint="Drop that index first, in the same spec.",
            )
    if asked.down is not None:
        change.down[asked.column] = asked.down
        change.lossy |= {asked.column} if asked.lossy else set()
    change.dropped.add(asked.column)
    change.clauses.append(f"drop column {quote(asked.column)}")


def _create_index(change: Change, asked: CreateIndex) -> None:
    plain = asked.method == "btree" and not (asked.include or asked.predicate or asked.storage_parameters)
    if not plain or any(f.column is None or f.opclass or f.collate or f.nulls for f in asked.columns):
        raise SpecError("MariaDB has no such index", hint="Name columns, and nothing else but their order.")
    listed = ", ".join(f"{quote(str(f.column))}{' desc' if f.sort == 'DESC' else ''}" for f in asked.columns)
    change.clauses.append(f"add {'unique ' if asked.unique else ''}index {quote(asked.name)} ({listed})")
