"""What the tables will be after the swap, as far as a plan says, and what differs from that without being named."""

import re
from collections.abc import Iterator, Mapping

from tasks.model.base import Record
from tasks.model.catalogue import Catalogue, Column, Constraint, Dependent, OwnedSequence, Table
from tasks.model.catalogue_difference import PARTS, compare, name_of
from tasks.model.names import OWN_PREFIX, OWN_TRIGGERS

_ALL = ""
"""Among names: everything that is there is named."""
_COLUMNS = ("columns", "referenced", "referenced_columns", "update_columns")
"""Fields in which parts name columns."""
_SETTLED = ("type", "nullable", "default")
"""What is known of each column of the new shape; the rest is known of those that the plan does not name."""


_NULL = re.compile(r"NULL(::|\Z)", re.IGNORECASE)


class TableAfter(Record):
    """One table that exists before the migration."""

    before: str
    """Full name."""
    after: str
    """Full name after the swap."""
    columns: tuple[Column, ...]
    """Of the new shape, as plain statements would make them."""
    made: tuple[str, ...] = ()
    """Indexes and constraints that the plan adds, or gives these names."""
    identified: bool = False
    """The plan changes the replica identity."""


class Outcome(Record):
    """The tables of a plan after its swap."""

    tables: tuple[TableAfter, ...]
    named: tuple[str, ...]
    """Every name in the statements that change the catalogue."""
    gone: tuple[str, ...] = ()
    """Constraints, indexes and views that it drops or renames, and whose names nothing has afterwards."""


def unnamed(outcome: Outcome, before: Catalogue, found: Catalogue) -> tuple[str, ...]:
    """Return a sentence for each difference that the plan does not name, and for each column that is not what it says.

    What the plan does not name is exactly as it was. What hangs on a column that it names, an index or a view, is
    there still. Of a column of the new shape, type, nullability and default are known.
    """
    return tuple(sentence for table in outcome.tables for sentence in _of_table(outcome, table, before, found))


def _of_table(outcome: Outcome, table: TableAfter, before: Catalogue, found: Catalogue) -> Iterator[str]:
    old, new = before.table(table.before), found.table(table.after)
    if old is None or new is None:
        yield f"{table.after}: the table is gone"
        return
    if len(outcome.tables) > 1 or table.before != table.after:
        moved = {one.before: one.after for one in outcome.tables if one.before != one.after}
        old, new = _among_others(old, moved), _among_others(new, {after: after for after in moved.values()})
    if table.identified:
        old, new = _unidentified(old), _unidentified(new)
    named = set(outcome.named)
    if table.before != table.after:
        # Every definition names the table, and a view has the other name.
        named |= {_ALL, old.name, new.name}
    known = {(field, name_of(noun, part)) for field, noun in PARTS.items() for part in getattr(old, field)}
    drawn = {column.name for column in new.columns if column.identity}
    keyed = {name for index in new.indexes if index.primary for name in index.columns}
    wanted = _kept(old, named, known).model_copy(
        update={"schema_name": new.schema_name, "name": new.name, "columns": _columns(old, table, named, drawn, keyed)}
    )
    here = _kept(new, named, known)
    settled = {column.name for column in wanted.columns if column.name in named}
    columns = tuple(
        _settled(column, drawn, keyed) if column.name in settled else column
        for column in here.columns
        if column.name not in named or column.name in settled
    )
    here = here.model_copy(update={"columns": _sorted(columns)})
    yield from compare(_alone(before, wanted), _alone(before, here))
    yield from _lost(old, new, named, set(outcome.gone))
    there = (
        {one.name for one in new.indexes} | {one.name for one in new.constraints} | {one.name for one in new.inbound}
    )
    yield from (f"{table.after}: {name} was never made, or is gone" for name in table.made if name not in there)


def _unidentified(table: Table) -> Table:
    indexes = tuple(index.model_copy(update={"replica_identity": False}) for index in table.indexes)
    return table.model_copy(update={"replica_identity": "default", "indexes": indexes})


def _among_others(table: Table, moved: Mapping[str, str]) -> Table:
    """Call other tables of the plan what they are called afterwards, and leave out texts in which they may stand."""
    return table.model_copy(
        update={
            "inbound": tuple(
                key.model_copy(update={"table": moved.get(key.table, key.table)}) for key in table.inbound
            ),
            "constraints": tuple(_refers(one, moved) for one in table.constraints),
            "policies": tuple(one.model_copy(update={"definition": ""}) for one in table.policies),
            "dependents": tuple(_called(one, moved) for one in table.dependents),
        }
    )


def _refers(one: Constraint, moved: Mapping[str, str]) -> Constraint:
    after = moved.get(one.referenced_table or "")
    return one.model_copy(update={"referenced_table": after, "definition": ""}) if after else one


def _called(one: Dependent, moved: Mapping[str, str]) -> Dependent:
    """Name a rule or a policy, which is called after its table, after the table as it is called afterwards."""
    here = next((before for before in moved if one.name.startswith(f"{before}.")), "")
    name = moved[here] + one.name.removeprefix(here) if here else one.name
    return one.model_copy(update={"name": name, "definition": ""})


def _columns(old: Table, table: TableAfter, named: set[str], drawn: set[str], keyed: set[str]) -> tuple[Column, ...]:
    """Return the columns of the new shape; those that the plan does not name as they were.

    What one of those is computed from may have another name now.
    """
    shape = {column.name: column for column in table.columns}
    kept = (
        column.model_copy(update={"generated": shape[column.name].generated})
        if column.generated is not None and column.name in shape
        else column
        for column in old.columns
        if column.name not in named
    )
    settled = (_settled(column, drawn, keyed) for name, column in shape.items() if name in named)
    return _sorted((*kept, *settled))


def _settled(column: Column, drawn: set[str], keyed: set[str]) -> Column:
    """Return what is known; a twin has neither identities, in place of a default, nor the NOT NULL of a new key.

    A default of NULL, which the plan may give so that the one of a domain does not apply, is none.
    """
    known = {field: getattr(column, field) for field in _SETTLED}
    known |= {"default": None} if _NULL.match(column.default or "") else {}
    known |= {"default": None} if column.name in drawn else {}
    known |= {"nullable": False} if column.name in keyed else {}
    return Column(name=column.name, **known)


def _sorted(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(sorted(columns, key=lambda column: column.name))


def _kept(table: Table, named: set[str], known: set[tuple[str, str]]) -> Table:
    """Leave out what is ours, what the plan names, and what was there and names a column that the plan names."""
    # What a key includes is known of its index alone.
    behind = {index.constraint for index in table.indexes if index.constraint and _touched(index, named)}
    parts = {
        field: tuple(
            part
            for part in getattr(table, field)
            if not _itself(part, named | behind)
            and not (_touched(part, named) and ((field, name_of(noun, part)) in known or _follows(part)))
        )
        for field, noun in PARTS.items()
        if field != "columns"
    }
    columns = tuple(column for column in table.columns if not column.name.startswith(OWN_PREFIX))
    return table.model_copy(update={**parts, "columns": columns})


def _itself(part: Record, named: set[str]) -> bool:
    """Tell whether a part is ours, or named, or stands in a schema or shows through a view that is."""
    name = str(getattr(part, "name", ""))
    names = {_last(name), _last(getattr(part, "through", ""))} - {""}
    if isinstance(part, Dependent):
        names |= set(name.split("."))
    ours = any(OWN_PREFIX in one or one.startswith(OWN_TRIGGERS) for one in names)
    return ours or not names.isdisjoint(named)


def _touched(part: Record, named: set[str]) -> bool:
    words = {word for field in _COLUMNS for word in getattr(part, field, ())}
    words |= {getattr(part, "column", ""), getattr(part, "referenced_table", "")}
    return _ALL in named or _itself(part, named) or not words.isdisjoint(named)


def _follows(part: Record) -> bool:
    """Tell whether a part comes and goes with a column, under a name that the server chooses."""
    return getattr(part, "kind", "") in ("not null", "generated column", "default") or isinstance(part, OwnedSequence)


def _lost(old: Table, new: Table, named: set[str], gone: set[str]) -> Iterator[str]:
    """Name what hung on a column that the plan names, or is named itself, and is not there any more."""
    for field, noun in PARTS.items():
        there = {name_of(noun, part) for part in getattr(new, field)}
        for part in getattr(old, field) if field != "columns" else ():
            excused = _follows(part) or _last(getattr(part, "name", "")) in gone or not _touched(part, named)
            if not excused and name_of(noun, part) not in there:
                yield f"{new.full_name}: {name_of(noun, part)} is gone"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _alone(catalogue: Catalogue, table: Table) -> Catalogue:
    return catalogue.model_copy(update={"tables": (table,)})
