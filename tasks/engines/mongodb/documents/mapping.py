"""From the operations of a spec to pairs of fields: how each side is made of the other."""

from collections.abc import Sequence

from tasks.engines.mongodb.documents.conversions import convert, fails
from tasks.engines.mongodb.documents.expressions import (
    REMOVE,
    Expression,
    Path,
    is_missing,
    plain,
    read,
    read_all,
    same,
    stands_in_the_way,
    to_text,
)
from tasks.engines.mongodb.documents.stages import made_by
from tasks.model.collection_documents import AddField, ChangeType, DocumentsSpec, RemoveField, RenameField, Transform
from tasks.model.document_steps import FieldPair


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
            case Transform() as one:
                found.append(_transformed(name, one))
            case AddField() as one:
                found.append(_added(name, one))
    return tuple(found)


def removed_by(spec: DocumentsSpec) -> tuple[Path, ...]:
    """Return the paths that go with the contract, and have no successor."""
    return tuple(path_of(one.asked.field) for one in spec.operations if isinstance(one.asked, RemoveField))


def _renamed(name: str, old: Path, new: Path) -> FieldPair:
    forth, back = to_text(read(old)), to_text(read(new))
    blocked = to_text(_has_no_place(new, old)) if len(old) > 1 else ""
    return FieldPair(name=name, olds=(old,), news=(new,), watched=forth, up=forth, down=back, unfit_down=blocked)


def _has_no_place(new: Path, old: Path) -> Expression:
    return {"$and": [{"$not": [is_missing(read(new))]}, stands_in_the_way(old)]}


def _added(name: str, one: AddField) -> FieldPair:
    value: Expression = plain(one.value) if one.value is not None else {"$literal": one.default}
    text = to_text(value)
    return FieldPair(name=name, news=(path_of(one.field),), watched=text, up=text)


def _converted(name: str, one: ChangeType) -> FieldPair:
    old, new = path_of(one.field), path_of(one.to)
    instead = None if one.unfit == "null" else REMOVE
    return FieldPair(
        name=name,
        olds=(old,),
        news=(new,),
        watched=to_text(read(old)),
        up=to_text(convert(read(old), one.type, instead)),
        down=to_text(convert(read(new), one.back, read(old))),
        unfit=to_text(fails(read(old), one.type)),
        unfit_down=to_text({"$or": [fails(read(new), one.back), _has_no_place(new, old)]}),
        policy=one.unfit,
    )


def _transformed(name: str, one: Transform) -> FieldPair:
    olds, news = ([path_of(field) for field in fields] for fields in (one.from_, one.to))
    old, new = read_all(olds), read_all(news)
    up, down = made_by(one.up, olds, news), made_by(one.down, news, olds)
    becomes = _becomes(one, olds, news)
    # What does not come out of it again has no place on the old side: a rollback refuses it.
    again = made_by(one.up, olds, news, _document(olds, "$$becomes"))
    differs = {"$let": {"vars": {"becomes": becomes}, "in": {"$not": [same(new, again)]}}}
    lost = {"$let": {"vars": {"back": down}, "in": {"$or": [is_missing("$$back"), differs]}}}
    # Of what gives nothing the other side stays what it is.
    kept = {"$cond": [is_missing("$$back"), old, becomes]}
    back = {"$cond": [is_missing(new), REMOVE, {"$let": {"vars": {"back": down}, "in": kept}}]}
    return FieldPair(
        name=name,
        olds=tuple(olds),
        news=tuple(news),
        watched=to_text(old),
        up=to_text(up),
        down=to_text(back),
        unfit=to_text({"$and": [{"$not": [is_missing(old)]}, is_missing(up)]}),
        unfit_down=to_text({"$and": [{"$not": [is_missing(new)]}, lost]}),
    )


def _becomes(one: Transform, olds: Sequence[Path], news: Sequence[Path]) -> Expression:
    """Return what the old side becomes by `$$back`, which `down` has made.

    Of several fields one that is not in it goes, if `down` makes it of what `up` makes of the old side now: then the
    new application has left it out. Otherwise the new side never held it, and it stays; so does one of which comes
    null, as of expressions of null, and which is not null. But where `$$back` gives the new value, and with such a
    field `up` would make another one, `down` takes it away on purpose, and it goes.
    """
    if len(olds) == 1:
        return "$$back"
    stays: dict[str, Expression] = {}
    missing: list[Expression] = []
    for path in olds:
        old, back, came = read(path), read(path, "$$back"), {"$type": read(path, "$$came")}
        never = {"$and": [{"$in": [came, ["missing", "null"]]}, {"$ne": [came, {"$type": old}]}]}
        stays[path[0]] = {"$cond": [{"$and": [is_missing(back), never]}, old, REMOVE]}
        missing.append({"$and": [is_missing(back), {"$not": [is_missing(old)]}]})
    round_trip = made_by(one.down, news, olds, _document(news, "$$forth"))
    merged = {"$let": {"vars": {"stays": stays}, "in": _merged(one, olds, news)}}
    beside = {"$let": {"vars": {"came": round_trip}, "in": merged}}
    # Only where it matters: stages may fail on what is there.
    again = {"$let": {"vars": {"forth": made_by(one.up, olds, news)}, "in": beside}}
    return {"$cond": [{"$or": missing}, again, "$$back"]}


def _merged(one: Transform, olds: Sequence[Path], news: Sequence[Path]) -> Expression:
    """Return `$$back` with what of `$$stays` does not spoil it: all together, or else one field after the other."""

    def gives_new(old_side: str) -> Expression:
        return same(read_all(news), made_by(one.up, olds, news, old_side))

    # In this order: without a field that stays `up` may fail.
    spoilt = {"$and": [{"$not": [gives_new("$$more")]}, gives_new("$$value")]}
    chosen = {"$cond": [spoilt, "$$value", "$$more"]}
    step = {"$let": {"vars": {"more": {"$mergeObjects": ["$$value", "$$this"]}}, "in": chosen}}
    tried = ["$$stays", *({path[0]: read(path, "$$stays")} for path in olds)]
    whole = {"$reduce": {"input": tried, "initialValue": "$$back", "in": step}}
    # Sides are compared as documents, in which the order counts.
    return {"$let": {"vars": {"whole": whole}, "in": read_all(olds, "$$whole")}}


def _document(paths: Sequence[Path], value: Expression) -> Expression:
    """Return the document that has at paths what `read_all` gives."""
    return value if len(paths) > 1 else {paths[0][0]: value}
