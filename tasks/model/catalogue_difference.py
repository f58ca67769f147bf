"""Say in words how two catalogues differ."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tasks.model.base import Record
from tasks.model.catalogue import Catalogue, Dependent, InboundForeignKey, Table, TypeDefinition

PARTS: Mapping[str, str] = {
    "columns": "column",
    "indexes": "index",
    "constraints": "constraint",
    "inbound": "foreign key",
    "triggers": "trigger",
    "policies": "policy",
    "sequences": "sequence",
    "dependents": "dependent",
}
"""Fields of `Table` that hold records, and what one of them is called."""

ROOM = 60
"""Characters shown of a long text, from a little before the place where it differs."""


def compare(before: Catalogue, after: Catalogue) -> tuple[str, ...]:
    """Return a sentence for each difference: "public.orders: column total: nullable was False, is True".

    Empty exactly when both have the same fingerprint; the version of the server does not count.
    """
    sentences: list[str] = []
    if before.engine != after.engine:
        sentences.append(f"the engine was {before.engine}, is {after.engine}")
    old = {table.full_name: table for table in before.tables}
    new = {table.full_name: table for table in after.tables}
    sentences += [f"{name}: the table is gone" for name in old if name not in new]
    sentences += [f"{name}: the table is new" for name in new if name not in old]
    for name in old:
        if name in new:
            sentences += [f"{name}: {sentence}" for sentence in _table(old[name], new[name])]
    sentences += _order("tables", old, new)
    if not sentences and before.fingerprint != after.fingerprint:
        # Names with dots or spaces in them can hide one part behind another.
        sentences.append("two parts with the same name differ")
    return tuple(sentences)


def compare_types(before: Iterable[TypeDefinition], after: Iterable[TypeDefinition]) -> tuple[str, ...]:
    """Return a sentence for each difference of types: "public.mood: the enum: parts: good is new"."""
    old, new = ({one.full_name: one for one in listed} for listed in (before, after))
    sentences = [f"{name}: the {one.kind} is gone" for name, one in old.items() if name not in new]
    sentences += [f"{name}: the {one.kind} is new" for name, one in new.items() if name not in old]
    for name in old.keys() & new.keys():
        sentences += [f"{name}: the {old[name].kind}: {sentence}" for sentence in _fields(old[name], new[name])]
    return tuple(sorted(sentences))


def _table(old: Table, new: Table) -> Iterator[str]:
    yield from _fields(old, new, leaving_out=PARTS)
    for field, noun in PARTS.items():
        was = {name_of(noun, part): part for part in getattr(old, field)}
        now = {name_of(noun, part): part for part in getattr(new, field)}
        yield from (f"{name} is gone" for name in was if name not in now)
        yield from (f"{name} is new" for name in now if name not in was)
        for name in was:
            if name in now:
                yield from (f"{name}: {sentence}" for sentence in _fields(was[name], now[name]))
        yield from _order(field, was, now)


def name_of(noun: str, part: Record) -> str:
    """Return what a part of a table is called, with the word for it."""
    match part:
        case InboundForeignKey():
            return f"{noun} {part.name} of {part.table}"
        case Dependent():
            return f"{part.kind} {part.name}"
        case _:
            return f"{noun} {getattr(part, 'name')}"  # noqa: B009 - every part has a name, Record has none


def _fields(old: Record, new: Record, leaving_out: Iterable[str] = ()) -> Iterator[str]:
    for field in type(old).model_fields:
        was, now = getattr(old, field), getattr(new, field)
        if was == now or field in leaving_out:
            continue
        word = field.replace("_", " ")
        if isinstance(was, tuple):
            yield from (f"{word}: {item} is gone" for item in was if item not in now)
            yield from (f"{word}: {item} is new" for item in now if item not in was)
            yield from _order(word, was, now)
        else:
            yield "{} was {}, is {}".format(word, *_shown(was, now))


def _order(what: str, was: Iterable[str], now: Iterable[str]) -> list[str]:
    old, new = list(was), list(now)
    same = [item for item in new if item in old] == [item for item in old if item in new]
    return [] if same else [f"{what} are in another order"]


def _shown(was: object, now: object) -> Sequence[str]:
    """Show both values; of long texts only the place where they part."""
    if not (isinstance(was, str) and isinstance(now, str)) or max(len(was), len(now)) <= 2 * ROOM:
        return repr(was), repr(now)
    shorter = min(len(was), len(now))
    apart = next((at for at in range(shorter) if was[at] != now[at]), shorter)
    start = max(apart - ROOM // 3, 0)
    return _excerpt(was, start), _excerpt(now, start)


def _excerpt(text: str, start: int) -> str:
    end = start + ROOM
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"
