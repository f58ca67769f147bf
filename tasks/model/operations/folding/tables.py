"""What one spec does to a table that it makes itself: the table is made whole, as it shall be in the end.

Nobody has seen it any other way and it has no rows, so `up`, `down` and what becomes of rows say nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from tasks.model.operations.add_column import AddColumn
from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.base import Operation, Part
from tasks.model.operations.column import ColumnDefinition, Generated
from tasks.model.operations.create_constraint import CreateConstraint
from tasks.model.operations.create_index import CreateIndex, IndexField
from tasks.model.operations.create_table import (
    CreatedConstraint,
    CreateTable,
    TableConstraint,
    TableForeignKeyReference,
)
from tasks.model.operations.drop_column import DropColumn
from tasks.model.operations.drop_constraint import DropConstraint
from tasks.model.operations.drop_multicolumn_constraint import DropMulticolumnConstraint
from tasks.model.operations.folding.entries import ApartError
from tasks.model.operations.folding.names_within import UncertainError, mentions, with_other_names
from tasks.model.operations.rename_column import RenameColumn
from tasks.model.operations.rename_constraint import RenameConstraint
from tasks.model.operations.text import is_serial

Kind = TypeVar("Kind", bound=Part)

WHOLE = "Write it into the create_table, or put it into a migration of its own."


def part_of_table(table: CreateTable, op: Operation) -> CreateTable:
    """Return a new table as it is after one more operation. Raises ApartError."""
    found: CreateTable | None = None
    match op:
        case AddColumn():
            found = remade(table, columns=(*table.columns, op.column))
        case AlterColumn():
            found = _altered(table, op)
        case DropColumn():
            found = _without_column(table, op.column)
        case RenameColumn():
            found = _renamed(table, op)
        case CreateConstraint():
            found = _constrained(table, op)
        case DropConstraint() | DropMulticolumnConstraint():
            found = _without_constraint(table, op.name)
        case RenameConstraint():
            found = _renamed_constraint(table, op.from_, op.to)
    if found is None:
        raise ApartError(f"{op.kind} cannot be part of a create_table", WHOLE)
    return found


def remade(table: CreateTable, **changes: Any) -> CreateTable:
    """Return a table with some of its parts exchanged, checked as a whole."""
    return checked(CreateTable, {**_parts(table), **changes})


def checked(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Make a part of a spec; what is wrong with it is why it cannot be made."""
    try:
        return kind(**values)
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False)
        said = first.get("ctx", {})
        raise ApartError(
            f"put together with what comes before, it is wrong: {said.get('reason', first['msg'])}",
            str(said.get("hint", WHOLE)),
        ) from None


def _parts(part: CreateTable | ColumnDefinition) -> dict[str, Any]:
    return {name: getattr(part, name) for name in type(part).model_fields}


def _column(table: CreateTable, name: str) -> ColumnDefinition:
    found = next((column for column in table.columns if column.name == name), None)
    if found is None:
        raise ApartError(
            f"the table {table.name!r}, made by this spec, has no column {name!r} by then",
            f"It has: {', '.join(column.name for column in table.columns)}.",
        )
    return found


def _exchanged(table: CreateTable, name: str, **changes: Any) -> tuple[ColumnDefinition, ...]:
    made = checked(ColumnDefinition, {**_parts(_column(table, name)), **changes})
    return tuple(made if column.name == name else column for column in table.columns)


def _altered(table: CreateTable, op: AlterColumn) -> CreateTable:
    column = _column(table, op.column)
    changes: dict[str, Any] = {}
    if is_serial(column.type) and (op.type is not None or op.sets_default or op.drops_default):
        raise ApartError(f"{op.column} is {column.type}, which brings its own type and default", WHOLE)
    if op.orphans == "archive":
        raise ApartError("a table that the same spec makes has no rows to archive", "Remove orphans and archive.")
    if op.type is not None:
        if column.default is not None and not (op.sets_default or op.drops_default):
            raise ApartError(f"the default of {op.column} was written for another type", "Write default, too.")
        changes["type"] = op.type
    if op.nullable is not None:
        changes["nullable"] = op.nullable
    if op.sets_default or op.drops_default:
        changes["default"] = op.default
    if op.sets_comment:
        changes["comment"] = op.comment
    if op.generated is not None or op.drops_identity:
        changes["generated"] = op.generated
    found = remade(table, columns=_exchanged(table, op.column, **changes))
    for constraint in op.constraints():
        found = _constrained(found, constraint)
    return found


def _constrained(table: CreateTable, op: CreateConstraint) -> CreateTable:
    if op.archives:
        raise ApartError("a table that the same spec makes has no rows to archive", "Remove what says so.")
    given = {key: getattr(op, key) for key in ("name", "type", "check", "references", "exclude", "no_inherit")}
    given |= {"deferrable": op.deferrable, "initially_deferred": op.initially_deferred}
    given["columns"] = None if op.type == "check" else op.columns
    for name in op.columns or ():
        _column(table, name)
    _free_name(table, op.name)
    if op.type in ("unique", "primary_key") and op.columns in _unique(table):
        # Within one CREATE TABLE PostgreSQL makes one index of both, by the first name.
        raise ApartError("the new table has a unique constraint on these columns already", "Remove one of the two.")
    columns = table.columns
    if op.type == "primary_key":
        # Its columns are never NULL, whatever was said before.
        columns = tuple(
            column.model_copy(update={"nullable": False}) if column.name in (op.columns or ()) else column
            for column in columns
        )
    return remade(table, columns=columns, constraints=(*table.constraints, CreatedConstraint(**given)))


def _unique(table: CreateTable) -> Iterator[tuple[str, ...] | None]:
    keys = tuple(column.name for column in table.columns if column.pk)
    yield from ((column.name,) for column in table.columns if column.unique)
    yield from (one.columns for one in table.constraints if one.type in ("unique", "primary_key"))
    if keys:
        yield keys


def _free_name(table: CreateTable, name: str) -> None:
    of_columns = [part for column in table.columns for part in (column.check, column.references) if part]
    if any(one.name == name for one in (*of_columns, *table.constraints)):
        raise ApartError(f"the table has a constraint {name!r} already", "Choose another name.")


def _without_column(table: CreateTable, name: str) -> CreateTable:
    column = _column(table, name)
    rest = tuple(one for one in table.columns if one is not column)
    texts = [text for other in rest for text in _texts(other)] + [t for one in table.constraints for t in _of(one)]
    named = any(name in (one.columns or ()) or name in _included(one) for one in table.constraints)
    parts: tuple[ColumnDefinition | CreatedConstraint, ...] = (*rest, *table.constraints)
    named = named or any(name in _referred(one, table.name) for one in parts)
    if named or column.pk or any(mentions(text, name) for text in texts):
        raise ApartError(
            f"a constraint, or another column, of the new table uses the column {name!r}",
            "Leave both out of the create_table.",
        )
    return remade(table, columns=rest)


def _referred(one: ColumnDefinition | CreatedConstraint, table: str) -> tuple[str, ...]:
    """Return the columns of the table itself that a foreign key of it points to."""
    if one.references is None or one.references.table != table:
        return ()
    reference = one.references
    return reference.columns if isinstance(reference, TableForeignKeyReference) else (reference.column,)


def texts_of_table(table: CreateTable) -> list[str]:
    """Return the conditions and expressions of a new table."""
    texts = [text for column in table.columns for text in _texts(column)]
    return texts + [text for one in table.constraints for text in _of(one)]


def _included(one: CreatedConstraint) -> tuple[str, ...]:
    return one.index_parameters.include_columns if one.index_parameters is not None else ()


def _texts(column: ColumnDefinition) -> list[str]:
    computed = column.generated.expression if column.generated is not None else None
    return [text for text in (column.check.constraint if column.check else None, computed) if text is not None]


def _of(one: CreatedConstraint) -> list[str]:
    excluded = (one.exclude.elements, one.exclude.predicate) if one.exclude is not None else ()
    return [text for text in (one.check, *excluded) if text is not None]


def _renamed(table: CreateTable, op: RenameColumn) -> CreateTable:
    _column(table, op.from_)
    names = {op.from_: op.to}
    columns = tuple(_column_by(column, names, table.name) for column in table.columns)
    constraints = tuple(_constraint_by(one, names, table.name) for one in table.constraints)
    return remade(table, columns=columns, constraints=constraints)


def _column_by(column: ColumnDefinition, names: Mapping[str, str], table: str) -> ColumnDefinition:
    changes: dict[str, Any] = {"name": names.get(column.name, column.name)}
    if column.references is not None and column.references.table == table:
        referenced = names.get(column.references.column, column.references.column)
        changes["references"] = column.references.model_copy(update={"column": referenced})
    if column.check is not None:
        check = by_names(column.check.constraint, names)
        changes["check"] = column.check.model_copy(update={"constraint": check})
    if column.generated is not None and column.generated.expression is not None:
        changes["generated"] = Generated(expression=by_names(column.generated.expression, names))
    return column.model_copy(update=changes)


def _constraint_by(one: CreatedConstraint, names: Mapping[str, str], table: str) -> CreatedConstraint:
    changes: dict[str, Any] = {"columns": _listed(one.columns, names)}
    if one.check is not None:
        changes["check"] = by_names(one.check, names)
    excluded_by(one, names, WHOLE)
    if one.index_parameters is not None:
        included = _listed(one.index_parameters.include_columns, names)
        changes["index_parameters"] = one.index_parameters.model_copy(update={"include_columns": included})
    if one.references is not None:
        own = one.references.table == table
        referenced = _listed(one.references.columns, names) if own else one.references.columns
        changed = {"columns": referenced, "on_delete_set_columns": _listed(one.references.on_delete_set_columns, names)}
        changes["references"] = one.references.model_copy(update=changed)
    return one.model_copy(update=changes)


def excluded_by(one: TableConstraint, names: Collection[str], hint: str) -> None:
    """Refuse other names for columns that an exclusion constraint may name. Raises ApartError."""
    for text in (one.exclude.elements, one.exclude.predicate or "") if one.exclude is not None else ():
        if any(mentions(text, name) for name in names):
            raise ApartError(f"the exclusion constraint {one.name!r} may name the column", hint)


def _listed(columns: tuple[str, ...] | None, names: Mapping[str, str]) -> tuple[str, ...] | None:
    return None if columns is None else tuple(names.get(column, column) for column in columns)


def by_names(expression: str, names: Mapping[str, str]) -> str:
    """Return an expression with other names of columns. Raises ApartError where that is not certain."""
    try:
        return with_other_names(expression, names)
    except UncertainError:
        raise ApartError(
            f"whether {' or '.join(map(repr, names))} means the column in `{expression}` cannot be told for certain",
            "Write the expression by the last name of the column, or put the two into migrations of their own.",
        ) from None


def index_by(index: CreateIndex, names: Mapping[str, str]) -> CreateIndex:
    """Return an index over columns that have other names."""
    return index.model_copy(
        update={
            "columns": tuple(_field_by(field, names) for field in index.columns),
            "include": _listed(index.include, names),
            "predicate": by_names(index.predicate, names) if index.predicate is not None else None,
        }
    )


def _field_by(field: IndexField, names: Mapping[str, str]) -> IndexField:
    return field.model_copy(
        update={
            "column": names.get(field.column, field.column) if field.column is not None else None,
            "expression": by_names(field.expression, names) if field.expression is not None else None,
        }
    )


def index_uses(index: CreateIndex, column: str) -> bool:
    """Tell whether an index could need a column."""
    texts = [field.expression for field in index.columns if field.expression] + [index.predicate or ""]
    named = {*(field.column for field in index.columns), *(index.include or ())}
    return column in named or any(mentions(text, column) for text in texts)


def _without_constraint(table: CreateTable, name: str) -> CreateTable:
    left = tuple(one for one in table.constraints if one.name != name)
    if len(left) < len(table.constraints):
        return remade(table, constraints=left)
    for column in table.columns:
        for key in ("check", "references"):
            if getattr(getattr(column, key), "name", None) == name:
                return remade(table, columns=_exchanged(table, column.name, **{key: None}))
        if column.unique and name == _usual(table, column.name):
            return remade(table, columns=_exchanged(table, column.name, unique=False))
    raise _no_constraint(table, name)


def _usual(table: CreateTable, column: str) -> str:
    """Return the name that PostgreSQL chooses, unless it is too long or taken."""
    return f"{table.name.rpartition('.')[2]}_{column}_key"


def _no_constraint(table: CreateTable, name: str) -> ApartError:
    return ApartError(
        f"the table {table.name!r}, made by this spec, has no constraint {name!r} by then",
        "Name one that the create_table, or what follows it, gives a name.",
    )


def _renamed_constraint(table: CreateTable, old: str, new: str) -> CreateTable:
    _free_name(table, new)
    for one in table.constraints:
        if one.name == old:
            named = one.model_copy(update={"name": new})
            return remade(table, constraints=tuple(named if other is one else other for other in table.constraints))
    for column in table.columns:
        for key in ("check", "references"):
            part = getattr(column, key)
            if part is not None and part.name == old:
                named_part = part.model_copy(update={"name": new})
                return remade(table, columns=_exchanged(table, column.name, **{key: named_part}))
        if column.unique and old == _usual(table, column.name):
            unique = CreatedConstraint(name=new, type="unique", columns=(column.name,))
            columns = _exchanged(table, column.name, unique=False)
            return remade(table, columns=columns, constraints=(*table.constraints, unique))
    raise _no_constraint(table, old)
