"""Two schemas held against each other, from the side of an application that knows the first."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Literal

from tasks.model.base import Record
from tasks.model.catalogue import Catalogue, Column, Constraint, Index, Table
from validations.compatibility.types import fit

Kind = Literal["breaking", "needs transformation", "warning"]
KINDS: tuple[Kind, ...] = ("breaking", "needs transformation", "warning")
_ALIKE = 0.6


class Change(Record):
    """A difference that somebody will notice."""

    kind: Kind
    where: str
    """Table, or `table.column`."""
    what: str
    recommendation: str


def _change(kind: Kind, where: str, what: str, recommendation: str) -> Change:
    return Change(kind=kind, where=where, what=what, recommendation=recommendation)


def changes(old: Catalogue, new: Catalogue, *, renamed: Mapping[str, str] | None = None) -> tuple[Change, ...]:
    """Return what differs, the worst first.

    `renamed` maps `schema.table` and `schema.table.column` of the old schema to bare new names, where they are known;
    other renames are guessed, and said to be.
    """
    known = dict(renamed or {})
    return ordered(change for table in old.tables for change in _of_table(table, new, known))


def ordered(found: Iterable[Change]) -> tuple[Change, ...]:
    """Return changes, the worst first."""
    return tuple(sorted(found, key=lambda change: (KINDS.index(change.kind), change.where, change.what)))


def _of_table(table: Table, new: Catalogue, renamed: Mapping[str, str]) -> Iterator[Change]:
    name = renamed.get(table.full_name)
    now = new.table(f"{table.schema_name}.{name}" if name else table.full_name)
    if now is None:
        alike = _alike_table(table, new)
        said = f"removed; {alike} has the same columns: perhaps renamed" if alike else "removed"
        yield _change(
            "breaking", table.full_name, said, "Keep it, or a view of its name, until no application reads it."
        )
        return
    if name:
        yield _change(
            "breaking",
            table.full_name,
            f"renamed to {name}",
            "Deploy applications that use the new name before contract.",
        )
    yield from _of_columns(table, now, renamed)
    yield from _of_constraints(table, now)


def _alike_table(table: Table, new: Catalogue) -> str:
    columns = {(column.name, column.type) for column in table.columns}
    same = (t for t in new.tables if columns and {(c.name, c.type) for c in t.columns} == columns)
    return next((t.full_name for t in same), "")


def _of_columns(table: Table, now: Table, renamed: Mapping[str, str]) -> Iterator[Change]:
    olds = {column.name for column in table.columns}
    taken = {renamed.get(f"{table.full_name}.{name}", name) for name in olds}
    for column in table.columns:
        where = f"{table.full_name}.{column.name}"
        name = renamed.get(where)
        found = now.column(name or column.name)
        if found is None:
            alike = _alike_column(column, [c for c in now.columns if c.name not in olds])
            said = f"removed; perhaps renamed to {alike}" if alike else "removed"
            yield _change("breaking", where, said, "Use rename_column, or drop_column with `down`.")
            continue
        if name:
            yield _change(
                "breaking", where, f"renamed to {name}", "Deploy applications that use the new name before contract."
            )
        yield from _of_column(where, column, found)
    for column in now.columns:
        if column.name not in taken and not column.nullable and not _filled(column):
            yield _change(
                "breaking",
                f"{table.full_name}.{column.name}",
                "added NOT NULL and without a default: old INSERTs fail",
                "Give it a default, or `up` and time until contract.",
            )


def _filled(column: Column) -> bool:
    return column.default is not None or bool(column.identity) or column.generated is not None


def _alike_column(column: Column, candidates: list[Column]) -> str:
    same = [c.name for c in candidates if c.type == column.type]
    best = max(same, key=lambda n: SequenceMatcher(None, n, column.name).ratio(), default="")
    return best if best and SequenceMatcher(None, best, column.name).ratio() >= _ALIKE else ""


def _of_column(where: str, old: Column, new: Column) -> Iterator[Change]:
    match fit(old.type, new.type):
        case "narrower":
            yield _change(
                "needs transformation",
                where,
                f"narrowed from {old.type} to {new.type}",
                "Give `up` for values that do not fit; changeover validate counts them.",
            )
        case "other":
            yield _change(
                "needs transformation", where, f"changed from {old.type} to {new.type}", "Give `up` and `down`."
            )
        case "wider":
            yield _change(
                "warning",
                where,
                f"widened from {old.type} to {new.type}",
                "Let applications read the wider type before they meet such values.",
            )
    if old.nullable and not new.nullable:
        yield _change(
            "breaking",
            where,
            "must no longer be NULL",
            "Give `up` for rows that are NULL, and let applications write it first.",
        )
    elif not old.nullable and new.nullable:
        yield _change("warning", where, "may be NULL", "Let applications expect NULL first.")
    if _filled(old) and not _filled(new):
        kind: Kind = "warning" if new.nullable else "breaking"
        yield _change(
            kind,
            where,
            "lost what filled it when nothing was given",
            "Keep the default, or let applications give the value first.",
        )
    elif old.default != new.default:
        yield _change(
            "warning",
            where,
            f"has the default {new.default or 'none'} instead of {old.default or 'none'}",
            "Check who relies on it.",
        )
    if (old.collation or "") != (new.collation or ""):
        yield _change(
            "warning", where, "sorts and compares by another collation", "Check ORDER BY, ranges, and what is unique."
        )
    if old.generated is None and new.generated is not None:
        yield _change(
            "breaking", where, "is generated: it can no longer be written", "Let applications stop writing it first."
        )


def _of_constraints(table: Table, now: Table) -> Iterator[Change]:
    rules = {_rule(constraint) for constraint in now.constraints}
    for constraint in table.constraints:
        if now.constraint(constraint.name) is None and _rule(constraint) not in rules:
            yield _change(
                "warning",
                table.full_name,
                f"lost the {constraint.kind} constraint {constraint.name}",
                "Check who relies on it; ON CONFLICT needs its unique key.",
            )
    before = {_rule(constraint) for constraint in table.constraints}
    for constraint in now.constraints:
        was = table.constraint(constraint.name)
        if _rule(constraint) in before or constraint.kind == "trigger":
            continue
        if was is None:
            said = f"got the {constraint.kind} constraint {constraint.name}: rows that break it are refused"
        else:
            said = f"has another {constraint.kind} constraint {constraint.name}: rows that break it are refused"
        yield _change(
            "breaking",
            table.full_name,
            said,
            "Let applications keep to it first; validate counts rows that do not.",
        )
    yield from _of_unique_indexes(table, now)


def _rule(constraint: Constraint) -> tuple[object, ...]:
    """Return what a constraint demands, whatever its name; a definition of MariaDB leaves out of which columns."""
    other = (constraint.referenced_table or "").rpartition(".")[2]
    return (constraint.kind, constraint.columns, other, constraint.referenced_columns, constraint.definition)


def _of_unique_indexes(table: Table, now: Table) -> Iterator[Change]:
    for index in _unique_without(table, now):
        yield _change(
            "warning",
            table.full_name,
            f"lost the unique index {index.name}",
            "ON CONFLICT on its columns fails without it.",
        )
    for index in _unique_without(now, table):
        yield _change(
            "breaking",
            table.full_name,
            f"got the unique index {index.name}: rows that break it are refused",
            "Let applications keep to it first; validate counts rows that do not.",
        )


def _unique_without(one: Table, other: Table) -> Iterator[Index]:
    """Give the unique indexes of the one that the other has neither by name nor on the same columns."""
    plain = {tuple(sorted(i.columns)) for i in other.indexes if i.unique and not i.partial and not i.expressions}
    for index in one.indexes:
        covered = not index.partial and not index.expressions and tuple(sorted(index.columns)) in plain
        if index.unique and not index.constraint and other.index(index.name) is None and not covered:
            yield index
