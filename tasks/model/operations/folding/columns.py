"""What one spec does to a column of a table that exists, step by step, as what it comes to."""

from collections.abc import Mapping
from typing import Any

from tasks.model.operations.add_column import AddColumn
from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.base import Manner, Operation
from tasks.model.operations.create_constraint import CreateConstraint
from tasks.model.operations.create_index import CreateIndex
from tasks.model.operations.drop_column import DropColumn
from tasks.model.operations.folding.entries import OF_ITS_OWN, ApartError, Entry, Operations
from tasks.model.operations.folding.names_within import mentions
from tasks.model.operations.folding.tables import by_names, checked, excluded_by, index_by
from tasks.model.operations.folding.values import converted_twice, filled
from tasks.model.operations.rename_column import RenameColumn
from tasks.model.operations.text import is_serial

_OF_VALUES = ("type", "up", "down", "lossy")
_CONSTRAINTS = ("check", "unique", "references", "orphans", "archive")


def take_rename(all_of: Operations, number: int, op: RenameColumn) -> None:
    """Give a column another name, whatever was done to it before."""
    before = column_entry(all_of, op.table, op.from_)
    if before is None:
        uses = _rename_uses(all_of, number, op)
        all_of.add(number, op)
        _after_all(all_of, uses)
        if uses:
            others = ", ".join(dict.fromkeys(all_of.name(one.number) for one in uses))
            all_of.note(number, f"and {others} take effect together")
        return
    all_of.one_after_the_other(before.number, number)
    _free(all_of, op)
    match before.operation:
        case RenameColumn() as first:
            _rename_uses(all_of, number, op)
            _unnamed(all_of, op)
            if first.from_ == op.to:
                all_of.remove(before)
                all_of.note(number, f"takes back {all_of.name(before.number)}: nothing is left of both")
            else:
                before.operation = first.model_copy(update={"to": op.to})
                all_of.note(number, f"is part of {all_of.name(before.number)}")
        case AddColumn() as first:
            _rename_uses(all_of, number, op)
            before.operation = first.model_copy(update={"column": _named(first, op.to)})
            _unnamed(all_of, op)
            all_of.note(number, f"is part of {all_of.name(before.number)}")
        case AlterColumn() as first:
            _once(before)
            _together(first)
            rest, constraints = _apart(first)
            if rest is None:
                all_of.remove(before)
            else:
                before.operation = rest
            uses = _rename_uses(all_of, number, op)
            all_of.add(number, op)
            _after_all(all_of, uses)
            for constraint in constraints:
                all_of.add(before.number, _constraint_by(constraint, {op.from_: op.to}))
            all_of.note(number, f"and {all_of.name(before.number)} take effect together")
        case _:
            raise ApartError(f"{all_of.name(before.number)} gives the column {op.from_} its values", OF_ITS_OWN)


def take_drop(all_of: Operations, number: int, op: DropColumn) -> None:
    """Drop a column, whatever was done to it before."""
    before = column_entry(all_of, op.table, op.column)
    if before is None or not isinstance(before.operation, RenameColumn | AddColumn | AlterColumn):
        all_of.add(number, op)
        return
    all_of.one_after_the_other(before.number, number)
    _unused(all_of, op.table, op.column, before)
    match before.operation:
        case RenameColumn() as first:
            all_of.remove(before)
            all_of.add(number, op.model_copy(update={"column": first.from_}))
            all_of.note(number, f"takes the place of {all_of.name(before.number)}")
        case AddColumn():
            all_of.remove(before)
            all_of.note(number, f"takes back {all_of.name(before.number)}: nothing is left of both")
        case AlterColumn() as first:
            if first.archiving is not None:
                raise ApartError(f"{all_of.name(before.number)} moves rows to another table", OF_ITS_OWN)
            if first.converts and op.down is not None:
                raise ApartError(
                    f"`down` gives a value for what {all_of.name(before.number)} makes of the column, and that would"
                    " have to be taken back, too",
                    f"Leave out {all_of.name(before.number)}: the column goes anyway.",
                )
            all_of.remove(before)
            all_of.add(number, op)
            all_of.note(number, f"takes the place of {all_of.name(before.number)}")


def take_alteration(all_of: Operations, number: int, op: AlterColumn) -> None:
    """Alter a column, whatever was done to it before."""
    before = column_entry(all_of, op.table, op.column)
    if before is None or not isinstance(before.operation, RenameColumn | AddColumn | AlterColumn):
        all_of.add(number, op)
        return
    all_of.one_after_the_other(before.number, number)
    if op.orphans == "archive":
        raise ApartError("rows go to another table, which is made like this one, and the column is altered", OF_ITS_OWN)
    match before.operation:
        case RenameColumn() as first:
            _together(op)
            rest, constraints = _apart(op)
            if rest is not None:
                _restrict_first(all_of, before, number, rest.model_copy(update={"column": first.from_}))
            for constraint in constraints:
                all_of.add(number, constraint)
            all_of.note(number, f"and {all_of.name(before.number)} take effect together")
        case AddColumn() as first:
            rest, constraints = _apart(op)
            if rest is not None:
                before.operation = _added(first, rest)
                _said_of_new(all_of, before, first, number, rest)
            for constraint in constraints:
                all_of.add(number, constraint)
            all_of.note(number, f"is part of {all_of.name(before.number)}")
        case AlterColumn() as first:
            before.twice |= first.converts and op.converts
            before.operation = _both(first, op)
            all_of.note(number, f"is part of {all_of.name(before.number)}")
            _said_by(all_of, before, first, number, op)


def take_constraint(all_of: Operations, number: int, op: CreateConstraint) -> None:
    """Add a constraint; what it converts of columns that were made or renamed before is an alteration of theirs."""
    before = [column_entry(all_of, op.table, column) for column in op.converted]
    ours = [one for one in before if one is not None and isinstance(one.operation, RenameColumn | AddColumn)]
    if not ours or op.type == "primary_key":
        all_of.add(number, op)
        return
    for column in op.converted:
        up, down = (op.up or {}).get(column), (op.down or {}).get(column)
        values = {"table": op.table, "column": column, "up": up, "down": down, "lossy": op.lossy}
        take_alteration(all_of, number, AlterColumn(**{key: value for key, value in values.items() if value}))
    all_of.add(number, op.model_copy(update={"up": None, "down": None, "lossy": False}))


def _restrict_first(all_of: Operations, renaming: Entry, number: int, op: AlterColumn) -> None:
    """Alter a column by the name that it has in the database, before it gets another."""
    for entry in all_of.entries:
        first = entry.operation
        if isinstance(first, AlterColumn) and (first.table, first.column) == (op.table, op.column):
            if first.converts and op.converts:
                entry.twice = True
                _once(entry)
            entry.operation = _both(first, op)
            _said_by(all_of, entry, first, number, op)
            return
    all_of.before(renaming, number, op)


def column_entry(all_of: Operations, table: str, column: str) -> Entry | None:
    """Return the operation that has made, renamed or altered a column, by the name that it has by now."""
    gone = (e.operation for e in all_of.entries if isinstance(e.operation, RenameColumn))
    if any((one.table, one.from_) == (table, column) for one in gone):
        return None
    for entry in all_of.entries:
        for claim in entry.operation.claims():
            changed = claim.manner not in (Manner.READS, Manner.REMOVES, Manner.RENAMES)
            if changed and (claim.table, claim.column) == (table, column):
                return entry
    return None


def _free(all_of: Operations, op: RenameColumn) -> None:
    """A name that is taken, or that only the swap makes free."""
    for entry in all_of.of_table(op.table):
        first = entry.operation
        back = isinstance(first, RenameColumn) and (first.from_, first.to) == (op.to, op.from_)
        if not back and any((claim.table, claim.column) == (op.table, op.to) for claim in first.claims()):
            raise ApartError(f"{all_of.name(entry.number)} concerns the column {op.to} already", OF_ITS_OWN)


def _unused(all_of: Operations, table: str, column: str, before: Entry) -> None:
    for entry in all_of.of_table(table):
        if entry is before:
            continue
        texts = [text for text in _texts(entry.operation) if text is not None]
        named = any((claim.table, claim.column) == (table, column) for claim in entry.operation.claims())
        if named or any(mentions(text, column) for text in texts):
            raise ApartError(
                f"{all_of.name(entry.number)} uses the column {column}, which is to be dropped",
                f"Remove {all_of.name(entry.number)}, or put the second one into a migration of its own.",
            )


def _unnamed(all_of: Operations, op: RenameColumn) -> None:
    """Refuse to forget a name that a column had only in between, where an expression may mean the column by it."""
    for entry in all_of.of_table(op.table):
        if op.table in entry.operation.tables:
            unnamed_since(all_of, entry, op.from_)


def unnamed_since(all_of: Operations, entry: Entry, name: str) -> None:
    """Raise ApartError if an expression of an operation may mean what is not called so any more."""
    if any(mentions(text, name) for text in _texts(entry.operation) if text is not None):
        raise ApartError(
            f"an expression of {all_of.name(entry.number)} names {name!r}, which is called so only in between",
            f"Let {all_of.name(entry.number)} come last, or put it into a migration of its own.",
        )


def _texts(op: Operation) -> list[str | None]:
    match op:
        case AddColumn():
            computed = op.column.generated.expression if op.column.generated else None
            return [op.up, op.column.check.constraint if op.column.check else None, computed]
        case AlterColumn():
            return [op.up, op.down, op.check.constraint if op.check else None]
        case DropColumn():
            return [op.down]
        case CreateIndex():
            return [op.predicate, *(one.expression for one in op.columns)]
        case CreateConstraint():
            excluded = (op.exclude.elements, op.exclude.predicate) if op.exclude is not None else ()
            return [op.check, *excluded, *(op.up or {}).values(), *(op.down or {}).values()]
    return [text for key in ("up", "down") if isinstance(text := getattr(op, key, None), str)]


def _rename_uses(all_of: Operations, number: int, op: RenameColumn) -> list[Entry]:
    """Indexes and constraints that were asked for before the column got its name are on it by the new one."""
    names = {op.from_: op.to}
    changed = []
    for entry in all_of.of_table(op.table):
        first = entry.operation
        if op.table not in first.tables:
            # It refers to the table: its own columns are of another one.
            continue
        if isinstance(first, CreateIndex):
            entry.operation = index_by(first, names)
        elif isinstance(first, CreateConstraint) and not first.up and not first.down:
            entry.operation = _constraint_by(first, names)
        if entry.operation != first:
            all_of.one_after_the_other(entry.number, number)
            changed.append(entry)
    return changed


def _after_all(all_of: Operations, entries: list[Entry]) -> None:
    """Carry out last what needs the name."""
    all_of.remove(*entries)
    all_of.entries += entries


def _constraint_by(one: CreateConstraint, names: Mapping[str, str]) -> CreateConstraint:
    excluded_by(one, names, "Write rename_column first, and the elements by the new name.")
    columns = tuple(names.get(column, column) for column in one.columns or ())
    reference = one.references
    if reference is not None:
        some = tuple(names.get(column, column) for column in reference.on_delete_set_columns)
        reference = reference.model_copy(update={"on_delete_set_columns": some})
    return one.model_copy(
        update={
            "columns": columns if one.columns is not None else None,
            "references": reference,
            "check": by_names(one.check, names) if one.check is not None else None,
        }
    )


def _named(first: AddColumn, name: str) -> Any:
    column = first.column
    check = column.check
    if check is not None:
        check = check.model_copy(update={"constraint": by_names(check.constraint, {column.name: name})})
    return column.model_copy(update={"name": name, "check": check})


def _together(op: AlterColumn) -> None:
    """Refuse what cannot be altered in the same migration as the name."""
    if (op.drops_default and not op.converts) or "generated" in op.model_fields_set or op.orphans != "reject":
        raise ApartError("what applications of the old name rely on goes, and the column gets another name", OF_ITS_OWN)


def _apart(op: AlterColumn) -> tuple[AlterColumn | None, list[CreateConstraint]]:
    """Return an alteration without the constraints that it adds, and those."""
    left = op.model_fields_set - {*_CONSTRAINTS}
    constraints = [
        one.model_copy(update={"orphans": op.orphans}) if one.references is not None else one
        for one in op.constraints()
    ]
    rest = AlterColumn(**{key: getattr(op, key) for key in left}) if left - {"table", "column", "lossy"} else None
    return rest, constraints


def _once(entry: Entry) -> None:
    """Refuse another name for what is converted twice: `up` and `down` may mean the column by any of its names."""
    if entry.twice:
        raise ApartError("the values of the column are converted twice, and it gets another name", OF_ITS_OWN)


def _said_by(all_of: Operations, entry: Entry, first: AlterColumn, number: int, second: AlterColumn) -> None:
    """Say what is wrong where it was written: in the one of two alterations that gives it."""
    before = all_of.name(entry.number)
    given = second.model_fields_set - {"table", "column"}
    if second.converts:
        # What is wrong with the values as a whole is said of what gives them.
        entry.said |= {key: f"{before}.{key}" for key in first.model_fields_set - {"table", "column"} - given}
        entry.number = number
    for key in given:
        first_said = entry.said.get(key, f"{before}.{key}")
        both = entry.twice and key in ("up", "down") and key in first.model_fields_set
        beside = f", put together with {first_said}" if both else ""
        entry.said[key] = f"{all_of.name(number)}.{key}{beside}"


def _said_of_new(all_of: Operations, entry: Entry, first: AddColumn, number: int, op: AlterColumn) -> None:
    """Say what is wrong with a new column where it was written: in the alteration, or where it is made."""
    made, altered = all_of.name(entry.number), all_of.name(number)
    for key in ("name", "check", "unique", "references", "comment"):
        entry.said.setdefault(f"column.{key}", f"{made}.column.{key}")
    if op.up is not None:
        beside = f", put together with {entry.said.get('up', made + '.up')}" if first.up is not None else ""
        entry.said["up"] = f"{altered}.up{beside}"
    elif op.type is not None:
        entry.said["up"] = f"{altered}.type"
    of_column = [key for key in ("type", "default") if key in op.model_fields_set]
    if of_column:
        entry.said["column"] = f"{altered}.{of_column[0]}" if len(of_column) == 1 else altered
    if op.type is not None:
        entry.said["column.type"] = f"{altered}.type"


def _both(first: AlterColumn, second: AlterColumn) -> AlterColumn:
    """Return two alterations of a column as one, where each says something else."""
    if "archive" in (first.orphans, second.orphans):
        raise ApartError("rows go to another table, which is made like this one, and the column is altered", OF_ITS_OWN)
    twice = converted_twice(first, second) if first.converts and second.converts else {}
    several = {"table", "column", "comment", "default", *(_OF_VALUES if twice else ())}
    given = first.model_fields_set & second.model_fields_set - several
    if given:
        raise ApartError(f"both say {', '.join(sorted(given))}", "Say it in one of the two.")
    if "default" in first.model_fields_set and second.type is not None and "default" not in second.model_fields_set:
        raise ApartError("the default was written for the type of before", "Write default beside type.")
    if second.nullable is True and first.nullable is None and first.converts and first.down is None:
        raise ApartError("once it may be NULL, nothing brings back a value for the old shape", "Write down, too.")
    values = {key: getattr(one, key) for one in (first, second) for key in one.model_fields_set}
    if first.lossy or second.lossy:
        values["lossy"] = True
    return checked(AlterColumn, values | twice)


def _added(first: AddColumn, op: AlterColumn) -> AddColumn:
    """Return a new column as it is after an alteration; rows that exist have what both make of them."""
    column = first.column
    if "generated" in op.model_fields_set:
        raise ApartError("a column on a table that exists is made first, and computed or numbered later", OF_ITS_OWN)
    redone = op.sets_default or op.drops_default
    if (is_serial(column.type) or column.generated is not None) and (op.converts or redone or op.nullable is not None):
        raise ApartError(f"{column.name} draws its own numbers", OF_ITS_OWN)
    changes: dict[str, Any] = {}
    if op.type is not None:
        if column.default is not None and not redone:
            raise ApartError("the default was written for the type of before", "Write default beside type.")
        changes["type"] = op.type
    if op.nullable is not None:
        changes["nullable"] = op.nullable
    if redone:
        changes["default"] = op.default
    if op.sets_comment:
        changes["comment"] = op.comment
    up = filled(first, op, redone=redone)
    made = checked(type(column), {**{name: getattr(column, name) for name in type(column).model_fields}, **changes})
    return checked(AddColumn, {"table": first.table, "column": made, "up": up})
