"""Which column is filled by what, in both directions, once the shape of the new table is known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.engines.mysql.key_ranges import kind_of
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.planning.change import Change
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError

_LISTED = ("enum", "set")
_TEXTS = ("char", "varchar", "text", "tinytext", "mediumtext", "longtext", "enum", "set", "json")


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A column, and the expression over the other side's row that fills it."""

    column: Column
    expression: str
    same: str = ""
    """The column of the other side, when nothing is computed."""


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """A table and its shadow."""

    old: Table
    new: Table
    key: tuple[str, ...]
    """Of the old table."""
    new_key: tuple[str, ...]
    forward: tuple[Filled, ...]
    """What fills the new table."""
    backward: tuple[Filled, ...]
    """What fills the old one."""


def mapping_of(change: Change, new: Table) -> Mapping:
    """Return how rows go over, and back. Raises SpecError where they could not be told apart, or would change."""
    old = change.table
    key = next((index.columns for index in old.indexes if index.primary), ())
    if not key:
        raise SpecError(
            f"{old.full_name} has no primary key",
            where=old.full_name,
            hint="Add one; without it, no row can be told from another.",
        )
    new_key = tuple(change.renamed.get(column, column) for column in key)
    for column in key:
        if column in change.up or column in change.down or column in change.dropped:
            raise SpecError(
                f"{column!r} is part of the primary key, by which rows are found on both sides",
                where=old.full_name,
                hint="Leave its values as they are; its type may change without up and down.",
            )
    if next((index.columns for index in new.indexes if index.primary), ()) != new_key:
        raise SpecError("the new table has another primary key", where=old.full_name, hint="Leave it as it is.")
    for column, new_column in zip(key, new_key, strict=True):
        _comparable(old, old.column(column), new.column(new_column))
    back = {new_name: old_name for old_name, new_name in change.renamed.items()}
    forward = [f for c in new.columns if c.generated is None and (f := _forward(change, c, back)) is not None]
    backward = [f for c in old.columns if c.generated is None and (f := _backward(change, c)) is not None]
    made = Mapping(old=old, new=new, key=key, new_key=new_key, forward=tuple(forward), backward=tuple(backward))
    for filled in (*made.forward, *made.backward):
        _same_everywhere(filled, old, new)
    return made


def _forward(change: Change, column: Column, back: dict[str, str]) -> Filled | None:
    source = back.get(column.name, column.name)
    if source in change.up:
        return Filled(column=column, expression=change.up[source])
    if column.name in change.up:
        return Filled(column=column, expression=change.up[column.name])
    if column.name in change.added:
        return None  # its default
    return Filled(column=column, expression=quote(source), same=source)


def _backward(change: Change, column: Column) -> Filled | None:
    if column.name in change.down:
        return Filled(column=column, expression=change.down[column.name])
    if column.name in change.dropped:
        return None  # its default, or NULL
    if column.name in change.up:
        raise SpecError(
            f"`up` changes the values of {column.name!r}, and nothing brings them back",
            where=change.table.full_name,
            hint="Give `down`.",
        )
    target = change.renamed.get(column.name, column.name)
    return Filled(column=column, expression=quote(target), same=target)


def _comparable(table: Table, was: Column | None, now: Column | None) -> None:
    """Refuse texts of a key that the server does not compare: of one character set, in two collations."""
    assert was is not None
    assert now is not None
    told = {was.collation or "", now.collation or ""}
    if len(told) == 2 and charset(was) == charset(now) and not any(one.endswith("_bin") for one in told):
        raise SpecError(
            f"{was.name!r} is part of the primary key, and its collation would change from {was.collation} to"
            f" {now.collation}: the server does not compare such texts",
            where=table.full_name,
            hint="Let it keep its collation. Instead of `convert to`, write `collate` for what the table gives new"
            " columns, and `modify column` for each other text.",
        )


def _same_everywhere(filled: Filled, old: Table, new: Table) -> None:
    """Refuse a conversion whose outcome depends on who writes."""
    other = (old.column(filled.same) or new.column(filled.same)) if filled.same else None
    if other is not None and {word(other.type), word(filled.column.type)} == {"timestamp", "datetime"}:
        raise SpecError(
            f"between timestamp and datetime, {filled.column.name!r} depends on the time zone of whoever writes",
            where=old.full_name,
            hint="Keep the type, or let every application set the same time_zone and convert by hand.",
        )


def same_order(mapping: Mapping) -> bool:
    """Tell whether both tables tell their keys apart, and put them in order, in the same way."""
    pairs = [
        (was, now)
        for name, new_name in zip(mapping.key, mapping.new_key, strict=True)
        if (was := mapping.old.column(name)) is not None and (now := mapping.new.column(new_name)) is not None
    ]
    try:
        return all(kind_of(was.type) == kind_of(now.type) and was.collation == now.collation for was, now in pairs)
    except KeyError:
        return False


def word(column_type: str) -> str:
    """Return the name of a type without its length."""
    found = re.match(r"[a-z0-9]+", column_type.lower())
    return found[0] if found else ""


def charset(column: Column) -> str:
    """Return the character set of the values of a column; empty where they have none."""
    return (column.collation or "").partition("_")[0]


def is_text(column: Column) -> bool:
    """Tell whether values have a character set."""
    return word(column.type) in _TEXTS


def as_stored(filled: Filled, expression: str) -> str:
    """Return an expression as the column would hold its value, so that both sides can be compared exactly."""
    column = filled.column
    kind = column.type.lower()
    if is_text(column):
        return _as_text(filled, f"({expression}\n)")
    if word(kind) == "decimal":
        size = re.search(r"\([0-9, ]+\)", kind)
        return f"cast(({expression}\n) as decimal{size[0] if size else '(10,0)'})"
    if word(kind) in ("tinyint", "smallint", "mediumint", "int", "bigint"):
        return f"cast(({expression}\n) as {'unsigned' if 'unsigned' in kind else 'signed'})"
    if word(kind) in ("date", "datetime", "time"):
        return f"cast(({expression}\n) as {kind})"
    if word(kind) == "float":
        return f"cast(({expression}\n) as float)"
    return f"({expression}\n)"


def _as_text(filled: Filled, expression: str) -> str:
    """Return its bytes; where it is computed, what the column makes of it: what is only carried over loses nothing."""
    column = filled.column
    kind, text = word(column.type), f"convert({expression} using {charset(column) or 'utf8mb4'})"
    if kind in _LISTED and not filled.same:
        return f"{text} collate {column.collation}" if column.collation else text
    # What a column of fixed length is padded with is not read back.
    padded = kind == "char" and not filled.same
    return f"cast({f'trim(trailing from {text})' if padded else text} as binary)"


def row_key(columns: Sequence[Column], expressions: Sequence[str]) -> str:
    """Return a key as a hash, to be kept beside a rejection: whatever its types, it is of one length."""
    values = [as_stored(Filled(column=c, expression=e), e) for c, e in zip(columns, expressions, strict=True)]
    return f"unhex(sha2(concat_ws(',', {', '.join(f'hex(cast({value} as binary))' for value in values)}), 256))"


def image(column: Column, expression: str) -> str:
    """Return the stored side: of texts the bytes, because collations call different texts equal.

    Not of a value of a list, which is stored as the list writes it: the other side says whether bytes are compared.
    """
    return f"cast({expression} as binary)" if is_text(column) and word(column.type) not in _LISTED else expression
