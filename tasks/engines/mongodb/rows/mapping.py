"""The columns that documents become: those of the spec, then one for each other field that was seen."""

from collections.abc import Iterator
from typing import Literal

from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.rows.asked import Asked, added_name
from tasks.engines.mongodb.rows.columns import TYPES, Taker
from tasks.engines.mongodb.rows.decode import kind_of
from tasks.engines.mongodb.rows.held import ANY, HeldType, Types
from tasks.engines.mongodb.rows.sample import Field, Seen
from tasks.engines.mongodb.rows.shape import CONSTANT, REST
from tasks.engines.mongodb.values import UnfitError
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX
from tasks.model.transfer import ID, TransferSpec
from tasks.model.transfer_columns import ColumnRule
from tasks.model.transfer_steps import POSITION, TransferColumn

Path = tuple[str, ...]


def columns_of(wanted: TransferSpec, asked: Asked, seen: Seen, taker: Taker) -> Iterator[TransferColumn]:
    """Yield the columns: `_id` first, what the spec names, other fields as they were seen, and the rest."""
    types = TYPES[taker]
    given = {
        name: _path(name, rule) for name, rule in wanted.columns.items() if rule.constant is None and rule.up is None
    }
    omitted = [tuple(path.split(".")) for path in wanted.omit]
    _refuse_paths(given, omitted)
    keys = [name for name, path in given.items() if path[0] == ID]
    if not keys:
        yield _column(types, ID, ColumnRule(), (ID,), seen.at((ID,)), "transfer.columns (_id)")
        if wanted.array:
            yield _place(types, wanted.place)
    for number, (name, rule) in enumerate(wanted.columns.items()):
        at = f"transfer.columns.{name}"
        if rule.constant is not None:
            yield _constant(types, name, rule, at)
        elif rule.up is not None:
            field = added_name(number)
            made = _column(types, name, rule, (field,), seen.at((field,)), at)
            yield made.model_copy(
                update={"expression": to_text(asked.added[added_name(number)]), "text": made.expression}
            )
        else:
            yield _column(types, name, rule, given[name], seen.at(given[name]), at)
        if wanted.array and keys[-1:] == [name]:
            yield _place(types, wanted.place)
    if wanted.rest is None:
        yield from _unnamed(types, wanted, seen, [*given.values(), (ID,)], omitted)
        return
    if wanted.rest in wanted.columns or wanted.rest == ID:
        raise SpecError("there is a column of this name", where="transfer.rest", hint="Choose another name.")
    _refuse_name(types, wanted.rest, "transfer.rest")
    yield TransferColumn(
        name=wanted.rest, type=types.rest, nullable=True, expression="", source_type=REST, text="", unfit="tag",
        nulls="missing", form=types.form_of(HeldType(name=types.rest)),
    )  # fmt: skip


def _unnamed(
    types: Types, wanted: TransferSpec, seen: Seen, taken: list[Path], omitted: list[Path]
) -> Iterator[TransferColumn]:
    """Yield a column for each field that was seen and that the spec does not name."""
    # An element is looked into where all of them are documents; else it is one value.
    inside = bool(wanted.array) and set(seen.at(wanted.array).kinds) == {"document"}
    for path in _others(seen, (), taken, omitted, (*wanted.array, "") if inside else wanted.array):
        name = "_".join(path)
        if name in wanted.columns:
            raise SpecError(
                f"the field {'.'.join(path)} has no column, and {name} is that of another",
                where=f"transfer.columns.{name}",
                hint="Name it in `columns`, under another name, or in `omit`; or give `rest`.",
            )
        yield _column(types, name, ColumnRule(), path, seen.at(path), f"transfer.columns ({'.'.join(path)})")


def key_of_table(columns: tuple[TransferColumn, ...]) -> tuple[str, ...]:
    """Return the columns of the key: those of `_id`, and the place of an element."""
    names = [one.name for one in columns if one.expression.split(".")[0] == ID]
    return (*names, *(one.name for one in columns if one.expression == POSITION))


def _place(types: Types, name: str) -> TransferColumn:
    _refuse_name(types, name, "transfer.position")
    of = HeldType(name=types.chosen({"number"}, 32, key=True))
    return TransferColumn(
        name=name, type=of.written, nullable=False, expression=POSITION, source_type="number", text="",
        form=types.form_of(of),
    )  # fmt: skip


def _path(name: str, rule: ColumnRule) -> Path:
    return tuple((rule.column or name).split("."))


def _refuse_paths(given: dict[str, Path], omitted: list[Path]) -> None:
    """Refuse a field that is read twice, is within another that is read, or is left out."""
    for name, path in given.items():
        at = f"transfer.columns.{name}"
        if not all(path):
            raise SpecError("a path has an empty name", where=at, hint="Write names with single dots between them.")
        if path[0] == ID and len(path) > 2:
            raise SpecError("the key is of fields of _id", where=at, hint="Write _id, or _id and one name.")
        for other, second in given.items():
            if other != name and second == path[: len(second)]:
                raise SpecError(
                    f"{'.'.join(path)} is in {other} already", where=at, hint="Read a field once, or only fields of it."
                )
    for number, path in enumerate(omitted):
        if path[0] == ID or any(path == one[: len(path)] or one == path[: len(one)] for one in given.values()):
            raise SpecError(
                f"{'.'.join(path)} is read",
                where=f"transfer.omit[{number}]",
                hint="Leave out fields that no column is of; _id is always read.",
            )


def _others(seen: Seen, within: Path, taken: list[Path], omitted: list[Path], into: Path) -> Iterator[Path]:
    """Yield fields that were seen and have no column; of documents on the way `into` something their fields."""
    for name in seen.names(within):
        path = (*within, name)
        if path in omitted or path in taken or "." in name or name.startswith(("$", OWN_PREFIX)) or not name:
            continue
        if any(one[: len(path)] == path for one in taken) or into[: len(path)] == path != into:
            yield from _others(seen, path, taken, omitted, into)
        else:
            yield path


def _column(types: Types, name: str, rule: ColumnRule, path: Path, found: Field, at: str) -> TransferColumn:
    _refuse_name(types, name, at)
    key = path[0] == ID
    of, kind = _held(types, rule, found, path, at)
    # "1" and "1.0" are two texts, and one number; with a scale, only one of them fits.
    if key and (of.name in types.json or kind == ANY or (kind == "string" and of == HeldType(name="numeric"))):
        raise SpecError(
            f"{'.'.join(path)} is the key, and {of.written} does not tell its values apart as MongoDB does",
            where=at,
            hint="Give a type that holds one kind of value, text for texts of numbers; of an _id that is a document,"
            " name its fields: `a: _id.a`.",
        )
    if key and (rule.nulls is not None or rule.unfit not in ("fail", "reject")):
        raise SpecError("a key is never null", where=at, hint="Leave out `nulls`; `unfit` is fail or reject.")
    _refuse_policy(types, rule, of, at)
    return TransferColumn(
        name=name, type=of.written, nullable=not key, expression=".".join(path), source_type=kind, text="",
        unfit=rule.unfit, nulls=_nulls(types, rule, of, found), form=types.form_of(of),
    )  # fmt: skip


def _held(types: Types, rule: ColumnRule, found: Field, path: Path, at: str) -> tuple[HeldType, str]:
    if rule.type is None and not found.kinds:
        raise SpecError(
            f"nothing tells what {'.'.join(path)} holds: no document that was looked at has a value there",
            where=at,
            hint="Give a `type`; or name the field in `omit`.",
        )
    chosen = rule.type
    if chosen is None:
        chosen = types.chosen(set(found.kinds), found.whole, key=path[0] == ID)
    of = types.type_of(chosen)
    if of is None:
        raise SpecError(
            f"{rule.type} is no type that documents are copied into",
            where=at,
            hint=types.listed,
        )
    kind = types.kind_for(of, found.kinds, rule.unfit)
    if kind is None:
        raise SpecError(
            f"{of.written} holds no value of the kind {', '.join(sorted(found.kinds))}",
            where=at,
            hint="Give another `type`, or none: the plan then chooses one.",
        )
    return of, kind


def _refuse_policy(types: Types, rule: ColumnRule, of: HeldType, at: str) -> None:
    if (rule.unfit == "tag" and of.name not in types.json) or (rule.unfit == "string" and of.name not in types.texts):
        raise SpecError(
            f"nothing becomes {'extended JSON' if rule.unfit == 'tag' else 'text'} in a column of {of.written}",
            where=at,
            hint=f"`string` is for {' and '.join(types.texts)}, `tag` for {' and '.join(types.json)}; else write fail,"
            " reject or null.",
        )


def _nulls(types: Types, rule: ColumnRule, of: HeldType, found: Field) -> Literal["null", "missing", "both"]:
    if rule.nulls is not None:
        return rule.nulls
    # JSON has a null of its own.
    return "missing" if of.name in types.json or not found.nulls else "null"


def _constant(types: Types, name: str, rule: ColumnRule, at: str) -> TransferColumn:
    _refuse_name(types, name, at)
    assert rule.constant is not None
    of = types.type_of(rule.type or types.constants[type(rule.constant)])
    try:
        if of is None:
            raise UnfitError("unknown")
        kind = kind_of(rule.constant)
        if types.kind_for(of, {kind: 1}, "fail") is None:
            raise UnfitError("of another kind")
        types.maker(kind, of, "fail")(rule.constant)
    except UnfitError:
        raise SpecError(f"{rule.type} does not hold it", where=at, hint="Give another `type`, or none.") from None
    return TransferColumn(
        name=name, type=of.written, nullable=False, expression="", source_type=CONSTANT,
        text=to_text({"v": rule.constant}), form=types.form_of(of),
    )  # fmt: skip


def _refuse_name(types: Types, name: str, at: str) -> None:
    if not types.takes_name(name) or "\x00" in name:
        raise SpecError(
            f"{types.database} does not take {name[:80]!r} as the name of a column",
            where=at,
            hint="Name the field in `columns`, under another name of at most 63 bytes; or in `omit`.",
        )
