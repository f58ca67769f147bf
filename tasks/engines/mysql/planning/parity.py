"""Queries that must return no row: what the gates ask of a table and its shadow.

One statement is one snapshot, and an application's write commits to both tables at once: so whatever differs in it
differs in truth, however many write meanwhile.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tasks.engines.mysql.names import quote, quoted
from tasks.engines.mysql.planning.mapping import (
    Filled,
    Mapping,
    as_stored,
    charset,
    image,
    is_text,
    row_key,
    same_order,
    word,
)
from tasks.model.catalogue import Column, Table
from tasks.model.names import OWN_PREFIX

_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_NUMBERS = (*_BITS, "decimal", "float", "double")
_MOMENTS = ("date", "datetime", "timestamp", "time")


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Queries about rows that a unique key would take for equal."""

    groups: str
    """Their values, a row for a group."""
    rows: str
    """Their keys."""
    fix: str
    """Deletes all but the first of each group."""


@dataclass(frozen=True, kw_only=True)
class Unfit:
    """A question about values that the new table would not hold as they are."""

    name: str
    rows: str
    """The keys of the rows that are in the way."""
    fix: str
    """Mends them, or shows them where nothing of them is a column's alone."""


def before_swap(mapping: Mapping, old: str, new: str) -> str:
    """Every row of the old table, carried over, is in the new one, and nothing else is."""
    found = f"{differing(mapping, old, new)} union all {superfluous(mapping, old, new)}"
    return f"{found}{_if_not_as_many(mapping, old, new)}"


def _if_not_as_many(mapping: Mapping, old: str, new: str) -> str:
    """Narrow the search for rows that the old table lacks to where both have not as many; it ends what it is added to.

    Where each row of the old table has one of its own in the new one, and both have as many, the old one lacks none:
    to count takes a tenth of the time. No two have the same one where keys are told apart in the same way on both
    sides. Where one is missing for each that is too many, those that are missing are found: with them gone, the others.
    """
    if not same_order(mapping):
        return ""
    # Other indexes do not say of each row when it was written: where somebody writes, to count by them takes tenfold.
    counts = [f"(select count(*) from {table} force index (primary))" for table in (new, old)]
    return f" and {' <> '.join(counts)}"


def differing(mapping: Mapping, old: str, new: str, within: str = "") -> str:
    """The keys of rows that the new table does not have, or has otherwise; `within`: a condition, in their names."""
    filled, pairs = mapping.forward, list(zip(mapping.key, mapping.new_key, strict=True))
    source = _named(mapping.key, old, mapping.old.name, [_computed(f, mapping.old) for f in filled], within)
    there = " and ".join(f"n.{quote(c)} = o.{OWN_PREFIX}k{i}" for i, (_, c) in enumerate(pairs))
    equal = " and ".join(
        f"{image(f.column, f'n.{quote(f.column.name)}')} <=> o.{OWN_PREFIX}v{i}" for i, f in enumerate(filled)
    )
    return (
        f"select {', '.join(f'o.{OWN_PREFIX}k{i}' for i in range(len(pairs)))} from {source} as o"
        f" left join {new} as n on {there} where n.{quote(pairs[0][1])} is null or not ({equal or 'true'})"
    )


def superfluous(mapping: Mapping, old: str, new: str, within: str = "") -> str:
    """The keys of rows that the old table does not have; `within`: a condition, in the names of the new one."""
    pairs = list(zip(mapping.key, mapping.new_key, strict=True))
    here = " and ".join(f"o.{quote(c)} = n.{quote(t)}" for c, t in pairs)
    narrowed = f"(select * from {new} force index (primary) where {within}) as n"
    source = narrowed if within else f"{new} as n force index (primary)"
    return (
        f"select {', '.join(f'n.{quote(t)}' for _, t in pairs)} from {source}"
        f" left join {old} as o on {here} where o.{quote(pairs[0][0])} is null"
    )


def kept_step(mapping: Mapping, old: str, new: str, migration: str, *, as_rounded: bool) -> str:
    """The old table has kept step: the same keys, and each row is still what `up` makes of the old one, or was written.

    Then the old one is what `down` makes of it. A row that was lost, or written on one side alone, is neither. Left out
    are the rows that the old table has refused, and that were noted, since the run began: such a row is what a new
    application meant, and does not keep the old table from being dropped; that something was noted the rollback asks
    for. `as_rounded`: what an old type that is coarser has rounded is no difference.
    """
    forward, backward = mapping.forward, mapping.backward
    back = _rounded if as_rounded else _computed
    of_old = [_computed(f, mapping.old) for f in forward] + [_stored(b) for b in backward]
    of_new = [_stored(f) for f in forward] + [back(b, mapping.new) for b in backward]
    o = _named(mapping.key, old, mapping.old.name, of_old)
    n = _named(mapping.new_key, new, mapping.old.name, of_new)
    join = " and ".join(f"n.{OWN_PREFIX}k{i} = o.{OWN_PREFIX}k{i}" for i in range(len(mapping.key)))
    equal = [f"n.{OWN_PREFIX}v{i} <=> o.{OWN_PREFIX}v{i}" for i in range(len(of_old))]
    still, since = (" and ".join(some) or "true" for some in (equal[: len(forward)], equal[len(forward) :]))
    keys = {one: ", ".join(f"{one}.{OWN_PREFIX}k{i}" for i in range(len(mapping.key))) for one in "on"}
    columns = [column for name in mapping.new_key if (column := mapping.new.column(name)) is not None]
    refused = (
        f"{row_key(columns, [f'n.{OWN_PREFIX}k{i}' for i in range(len(columns))])} in (select r.row_key"
        " from changeover_rejections as r join changeover_migrations as m on m.id = r.migration"
        f" where m.id = {quoted(migration)} and r.id > m.attempt_rejection and r.direction = 'down'"
        " and r.row_key is not null)"
    )
    return (
        f"select {keys['o']} from {o} as o left join {n} as n on {join}"
        f" where n.{OWN_PREFIX}k0 is null or (not (({still}) or ({since})) and not {refused})"
        f" union all select {keys['n']} from {n} as n left join {o} as o on {join}"
        # In these words the server asks for no hash before it knows that the row is missing.
        f" where o.{OWN_PREFIX}k0 is null and case when o.{OWN_PREFIX}k0 is null then not {refused} end"
        f"{_if_not_as_many(mapping, old, new)}"
    )


def comes_back(mapping: Mapping, old: str, columns: Collection[str]) -> str:
    """Return a query for the rows of which `down` makes others than they are, of what `up` makes of them; or nothing.

    Asked of the old table alone, so that it can be asked before there is a new one.
    """
    asked = [b for b in mapping.backward if not b.same and b.column.name in columns]
    if not asked:
        return ""
    made = {f.column.name: f for f in mapping.forward}
    new = [f"{_as_new(made.get(c.name), c)} as {quote(c.name)}" for c in mapping.new.columns if c.generated is None]
    keys = [f"{OWN_PREFIX}k{n}" for n in range(len(mapping.key))]
    was = [f"{quote(column)} as {name}" for column, name in zip(mapping.key, keys, strict=True)]
    was += [f"{_stored(b)} as {OWN_PREFIX}v{n}" for n, b in enumerate(asked)]
    alias = quote(mapping.old.name)
    wrong = " or ".join(f"not ({_computed(b, mapping.new)} <=> {OWN_PREFIX}v{n})" for n, b in enumerate(asked))
    rows = f"select {', '.join([*was, *new])} from {old} as {alias}"
    return f"select {', '.join(keys)} from ({rows}) as {alias} where {wrong}"


def _as_new(filled: Filled | None, column: Column) -> str:
    """Return what a column of the new table would hold; without anything that fills it, its default."""
    if filled is None:
        return column.default or "null"
    return f"({filled.expression}\n)" if is_text(column) else as_stored(filled, filled.expression)


def emptied(mapping: Mapping, old: str, new: str) -> str:
    """The first and the last row of the new table are in the old one: they are not, once it was truncated."""
    keys = ", ".join(quote(c) for c in mapping.new_key)
    ends = " union all ".join(
        f"(select {keys} from {new} order by {', '.join(f'{quote(c)} {way}' for c in mapping.new_key)} limit 1)"
        for way in ("asc", "desc")
    )
    same = " and ".join(
        f"o.{quote(c)} = {_in_words_of(mapping.old, c, f'n.{quote(t)}')}"
        for c, t in zip(mapping.key, mapping.new_key, strict=True)
    )
    return f"select 1 from ({ends}) as n left join {old} as o on {same} where o.{quote(mapping.key[0])} is null limit 1"


def truncated(mapping: Mapping, old: str, new: str, migration: str) -> str:
    """The first and the last row of the old table are in the new one, unless that has refused some: see `emptied`."""
    keys = ", ".join(quote(c) for c in mapping.key)
    ends = " union all ".join(
        f"(select {keys} from {old} order by {', '.join(f'{quote(c)} {way}' for c in mapping.key)} limit 1)"
        for way in ("asc", "desc")
    )
    same = " and ".join(
        f"n.{quote(t)} = {_in_words_of(mapping.new, t, f'o.{quote(c)}')}"
        for c, t in zip(mapping.key, mapping.new_key, strict=True)
    )
    return (
        f"select 1 from ({ends}) as o left join {new} as n on {same} where n.{quote(mapping.new_key[0])} is null"
        " and not exists (select 1 from changeover_rejections"
        f" where migration = {quoted(migration)} and direction = 'up') limit 1"
    )


def _in_words_of(table: Table, name: str, expression: str) -> str:
    """Convert a text, so that the other table's index finds it."""
    column = table.column(name)
    if column is None or column.collation is None:
        return expression
    return f"convert({expression} using {charset(column)}) collate {column.collation}"


def duplicates(mapping: Mapping, old: str, columns: tuple[str, ...]) -> Duplicates:
    """Values that would be there twice under a unique key of the new table, by the collations that its columns have."""
    filled = {f.column.name: f for f in mapping.forward}
    asked = [filled[column] for column in columns]
    values = [_as_told_apart(mapping.new, one) for one in asked]
    names = [f"{OWN_PREFIX}v{number}" for number in range(len(columns))]
    # Named, because a number in GROUP BY means a column.
    made = ", ".join(f"{value} as {name}" for value, name in zip(values, names, strict=True))
    known, by = " and ".join(f"{name} is not null" for name in names), ", ".join(names)
    keys = ", ".join(map(quote, mapping.key))
    table = f"{old} as {quote(mapping.old.name)}"
    groups = f"select {by} from (select {made} from {table}) as d where {known} group by {by} having count(*) > 1"
    numbered = (
        f"select {keys}, row_number() over (partition by {by} order by {keys}) as {OWN_PREFIX}n"
        f" from (select {keys}, {made} from {table}) as v where {known}"
    )
    equal = f"select {keys} from (select {keys}, {made} from {table}) as v where ({by}) in ({groups})"
    return Duplicates(
        groups=groups,
        rows=equal,
        # Read from a table that is made for it: the server deletes from none that it reads.
        # Where characters are lost, rows look equal that are not.
        fix=f"select * from {table} where ({keys}) in ({equal})"
        if any(_other_characters(f.column, mapping.old.column(f.same)) for f in asked if is_text(f.column))
        else f"delete from {old} where ({keys}) in (select {keys} from ({numbered}) as d where {OWN_PREFIX}n > 1)",
    )


def _as_told_apart(table: Table, filled: Filled) -> str:
    if is_text(filled.column):
        return _in_words_of(table, filled.column.name, f"({filled.expression}\n)")
    return as_stored(filled, filled.expression)


def collisions(mapping: Mapping) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Unique keys of the new table under which what was told apart may be equal: other collations, or other values."""
    filled = {f.column.name: f for f in mapping.forward}
    for index in mapping.new.indexes:
        if index.unique and index.columns and all(column in filled for column in index.columns):
            sources = [(filled[c].column, mapping.old.column(filled[c].same or "")) for c in index.columns]
            if any(was is None or was.collation != now.collation for now, was in sources):
                yield index.name, index.columns


def unfit(mapping: Mapping, old: str) -> Iterator[Unfit]:
    """Values that would not fit, or be others once they are stored, and NULLs where there may be none."""
    keys = ", ".join(f"{quote(c)}" for c in mapping.key)
    for filled in mapping.forward:
        column = filled.column
        source = mapping.old.column(filled.same) if filled.same else None
        if source is not None and (source.type, source.nullable, source.collation) == (
            column.type,
            column.nullable,
            column.collation,
        ):
            continue
        value = f"({filled.expression}\n)"
        where = f"{old} as {quote(mapping.old.name)}"
        if broken := " or ".join((*_too_much(column, source, value), *_changed(mapping, filled, source))):
            # An UPDATE that meets such characters in its condition fails.
            shown = not filled.same or bool(_other_characters(column, source))
            yield _unfit(f"every {column.name} fits into {column.type}", filled, keys, where, broken, shown=shown)
        if not column.nullable and (source is None or source.nullable):
            null = f"{value} is null"
            yield _unfit(f"no {column.name} is NULL", filled, keys, where, null, shown=not filled.same)


def _unfit(name: str, filled: Filled, keys: str, where: str, broken: str, *, shown: bool) -> Unfit:
    mend = f"update {where} set {quote(filled.same)} = <value> where {broken}"
    return Unfit(
        name=name,
        rows=f"select {keys} from {where} where {broken}",
        fix=f"select * from {where} where {broken}" if shown else mend,
    )


def _too_much(column: Column, source: Column | None, value: str) -> Iterator[str]:
    """Give conditions, of which the one that is true says why a value does not fit."""
    kind = column.type.lower()
    room = re.fullmatch(r"(?:var)?char\(([0-9]+)\)", kind)
    if room:
        yield f"char_length({value}) > {room[1]}"
    if word(kind) == "char" and source is not None and is_text(source):
        yield f"{value} like '% '"
    if lacking := _other_characters(column, source):
        there, back = f"convert({value} using {lacking})", "convert({} using utf8mb4)"
        yield f"not (cast({back.format(there)} as binary) <=> cast({back.format(value)} as binary))"
    # Others are no numbers before they are converted, and what cannot be is for the copy to say.
    if source is None or word(source.type) in _NUMBERS:
        # A date is compared as one, unless it is made a number.
        yield from _beyond(kind, f"({value} + 0)")


def _changed(mapping: Mapping, filled: Filled, source: Column | None) -> Iterator[str]:
    """Give conditions for values that the new type makes others, in silence: rounds, cuts off, spells differently."""
    column, value = filled.column, f"({filled.expression}\n)"
    kind = word(column.type)
    if kind == "enum":
        labels = re.findall(r"'(?:[^']|'')*'", column.type)
        if source is not None and is_text(source):
            # Carried over as it is: 'RED' would become 'red'.
            spelt = ", ".join(f"cast(_utf8mb4 {label} as binary)" for label in labels)
            yield f"cast(convert({value} using utf8mb4) as binary) not in ({spelt})"
        elif source is None:
            yield f"{_in_words_of(mapping.new, column.name, value)} not in ({', '.join(labels)})"
    elif source is not None and any(kind in some and word(source.type) in some for some in (_NUMBERS, _MOMENTS)):
        yield f"not ({value} <=> {_rounded(filled, mapping.old)})"


def _other_characters(column: Column, source: Column | None) -> str:
    """Return the character set of a column that may lack what is there; empty: it lacks nothing."""
    kept = charset(column)
    return "" if kept in ("", "utf8mb4") or (source and charset(source) in ("", kept)) else kept


def _beyond(kind: str, value: str) -> Iterator[str]:
    """Give conditions for numbers that a type does not hold once they are rounded, half away from zero."""
    name, unsigned = word(kind), "unsigned" in kind
    size = re.match(r"decimal\(([0-9]+),([0-9]+)\)", kind)
    if bits := _BITS.get(name):
        low, high = ("0", 2**bits - 1) if unsigned else (f"{2 ** (bits - 1)}", 2 ** (bits - 1) - 1)
        yield from (f"{value} <= -{low}.5", f"{value} >= {high}.5")
    elif size is not None:
        whole, part = "9" * (int(size[1]) - int(size[2])) or "0", int(size[2])
        low = f"0.{'0' * part}5" if unsigned else f"{whole}.{'9' * part}5"
        yield from (f"{value} <= -{low}", f"{value} >= {whole}.{'9' * part}5")


def _computed(filled: Filled, source: Table) -> str:
    column = source.column(filled.same) if filled.same else None
    if column is not None and not is_text(filled.column) and not is_text(column):
        # Values of one kind are compared as they are: no rounding hides a loss.
        return _exact_as_double(filled, column) or filled.expression
    if column is not None and _of_the_same_characters(filled.column, column):
        # Its bytes are there already: to convert them costs as much as to compare them.
        return image(filled.column, filled.expression)
    return as_stored(filled, filled.expression)


def _of_the_same_characters(column: Column, source: Column) -> bool:
    listed = {word(column.type), word(source.type)} & {"enum", "set"}
    return charset(column) == charset(source) != "" and not listed


def _exact_as_double(filled: Filled, source: Column) -> str:
    """Return a value that is NULL where a DOUBLE cannot hold it; empty: compared as it is, that would be seen.

    A DOUBLE and a number of another type are compared as doubles: what it has lost is lost on both sides.
    """
    if word(filled.column.type) != "double" or word(source.type) not in ("bigint", "decimal"):
        return ""
    value = f"({filled.expression}\n)"
    return f"if(abs({value}) < 1e34 and cast(cast({value} as double) as decimal(65,30)) <> {value}, null, {value})"


def _rounded(filled: Filled, source: Table) -> str:
    """Like `_computed`, but as the column rounds it. What it cannot hold at all stays as it is, without a warning."""
    kind, value = filled.column.type.lower(), f"({filled.expression}\n)"
    made, column = _computed(filled, source), source.column(filled.same)
    if column is None or (is_text(column) and word(kind) != "char"):
        return made
    match word(kind):
        case "char":
            made = as_stored(filled, f"trim(trailing ' ' from {value})")
        case "binary":
            made = f"rpad({value}, greatest(length({value}), {re.sub('[^0-9]', '', kind)}), 0x00)"
        case "decimal":
            scale = re.search(r",\s*([0-9]+)\)", kind)
            made = f"if(abs({value}) < 1e34, cast({value} as decimal(65,{scale[1] if scale else 0})), {value})"
        case "tinyint" | "smallint" | "mediumint" | "int" | "bigint":
            made = f"round({value})"
        case "float":
            made = f"if(abs({value}) < 3.4e38, cast({value} as float), {value})"
        case "date" | "time" | "datetime" | "timestamp":
            made = f"cast({value} as {kind.replace('timestamp', 'datetime')})"
    return made


def _stored(filled: Filled) -> str:
    return image(filled.column, quote(filled.column.name))


def _named(key: tuple[str, ...], table: str, alias: str, values: list[str], within: str = "") -> str:
    """Name columns anew, so that an author's expression sees the columns of one table only."""
    made = ", ".join(
        [f"{quote(column)} as {OWN_PREFIX}k{number}" for number, column in enumerate(key)]
        + [f"{text} as {OWN_PREFIX}v{number}" for number, text in enumerate(values)]
    )
    # In the order in which the rows lie, in both tables; an index that has all columns would ask for them in another.
    narrowed = f" where {within}" if within else ""
    return f"(select {made} from {table} as {quote(alias)} force index (primary){narrowed})"
