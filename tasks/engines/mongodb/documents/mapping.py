"""From the operations of a spec to pairs of fields: how each side is made of the other."""

from collections.abc import Mapping
from typing import Any

from tasks.engines.mongodb.documents.expressions import (
    REMOVE,
    Expression,
    Path,
    is_missing,
    read,
    stands_in_the_way,
    to_text,
)
from tasks.model.document_steps import FieldPair
from tasks.model.documents import AddField, ChangeType, DocumentsSpec, RemoveField, RenameField


def path_of(text: str) -> Path:
    """Return the names of a path."""
    return tuple(text.split("."))


def pairs_of(spec: DocumentsSpec) -> tuple[FieldPair, ...]:
    """Return a pair for each field that gets another name, another type, or is new."""
    found: list[FieldPair] = []
    for number, operation in enumerate(spec.operations):
        name = f"f{number}"
        match operation.asked:
            case RenameField() as one:
                found.append(_renamed(name, path_of(one.from_), path_of(one.to)))
            case ChangeType() as one:
                found.append(_converted(name, one))
            case AddField() as one:
                found.append(_added(name, one))
    return tuple(found)


def removed_by(spec: DocumentsSpec) -> tuple[Path, ...]:
    """Return the paths that go with the contract, and have no successor."""
    return tuple(path_of(one.asked.field) for one in spec.operations if isinstance(one.asked, RemoveField))


def _renamed(name: str, old: Path, new: Path) -> FieldPair:
    same, back = to_text(read(old)), to_text(read(new))
    blocked = to_text(_has_no_place(new, old)) if len(old) > 1 else ""
    return FieldPair(name=name, old=old, new=new, watched=same, up=same, down=back, unfit_down=blocked)


def _has_no_place(new: Path, old: Path) -> Expression:
    return {"$and": [{"$not": [is_missing(read(new))]}, stands_in_the_way(old)]}


def _added(name: str, one: AddField) -> FieldPair:
    value: Expression = _plain(one.value) if one.value is not None else {"$literal": one.default}
    text = to_text(value)
    return FieldPair(name=name, new=path_of(one.field), watched=text, up=text)


def _converted(name: str, one: ChangeType) -> FieldPair:
    old, new = path_of(one.field), path_of(one.to)
    instead = None if one.unfit == "null" else REMOVE
    return FieldPair(
        name=name,
        old=old,
        new=new,
        watched=to_text(read(old)),
        up=to_text(_convert(read(old), one.type, instead)),
        down=to_text(_convert(read(new), one.back, read(old))),
        unfit=to_text(_fails(read(old), one.type)),
        unfit_down=to_text({"$or": [_fails(read(new), one.back), _has_no_place(new, old)]}),
        policy=one.unfit,
    )


def _convert(value: Expression, to: str, instead: Expression) -> Expression:
    """Return the converted value; of null null, of nothing nothing, and `instead` of what would lose something."""
    # Of a missing value $convert would make a null.
    missing = {"case": is_missing("$$given"), "then": REMOVE}
    fails = {"case": _fails("$$given", to), "then": instead}
    chosen = {"$switch": {"branches": [missing, fails], "default": _converted_to(to)}}
    return {"$let": {"vars": {"given": value}, "in": chosen}}


def _converted_to(to: str) -> Expression:
    return {"$convert": {"input": "$$given", "to": to, "onError": None, "onNull": None}}


def _fails(value: Expression, to: str) -> Expression:
    """Tell whether a value cannot be converted, or would be another one: 1.7 is no int, and 5 no bool."""
    there = {"$not": [{"$in": [{"$type": "$$given"}, ["missing", "null"]]}]}
    lost: list[Expression] = [{"$ne": [{"$type": "$$made"}, to]}]
    if to == "bool":
        truth = {"$and": [{"$isNumber": "$$given"}, {"$in": ["$$given", [0, 1]]}]}
        lost.append({"$not": [{"$or": [{"$eq": [{"$type": "$$given"}, "bool"]}, truth]}]})
    elif to == "date":
        lost.append({"$and": [{"$isNumber": "$$given"}, {"$ne": [{"$toLong": "$$made"}, "$$given"]}]})
    else:
        numbers = [{"$isNumber": "$$given"}, {"$isNumber": "$$made"}, {"$ne": ["$$made", "$$given"]}]
        lost.append({"$and": numbers})
    found = {"$let": {"vars": {"made": _converted_to(to)}, "in": {"$or": lost}}}
    return {"$let": {"vars": {"given": value}, "in": {"$and": [there, found]}}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
