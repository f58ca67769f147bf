"""The updates that make of a document what it has to be. Each is a function of the document alone.

A document has a marker of ours, which holds what either shape was when both were last brought into step. By it, and by
nothing else, an update knows which side has been written since. So it may be repeated, come late, come twice, or
meet a write: the server reads and writes a document at once, and a write that comes later is found by the next update.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from tasks.engines.mongodb.documents.expressions import (
    REMOVE,
    Expression,
    Path,
    from_text,
    is_document,
    is_missing,
    put,
    put_all,
    read,
    read_all,
    same,
    to_text,
)
from tasks.model.document_steps import FieldPair, Reshape

Stage = dict[str, Any]
Prefer = Literal["old", "new"]
"""Which side wins where both were written, or where nobody can tell: before the swap the old one, then the new one."""


def in_step(action: Reshape, prefer: Prefer) -> list[Stage]:
    """Bring both shapes into step: what has been written since the last time is carried to the other side."""
    return [stage for pair in action.pairs for stage in _in_step(action.marker, pair, prefer)]


def both_ways(action: Reshape) -> Reshape:
    """Leave out the fields from which nothing is carried back: what gives them may fail on a document."""
    return action.model_copy(update={"pairs": tuple(pair for pair in action.pairs if pair.down)})


def followed(action: Reshape, prefer: Prefer) -> list[list[Stage]]:
    """Return what brings into step, and what still does where the server refuses to change a document by the first."""
    whole, rest = in_step(action, prefer), in_step(both_ways(action), prefer)
    return [whole, rest] if rest and rest != whole else [whole]


def withdrawn(action: Reshape) -> list[Stage]:
    """Leave the old shape alone, with what has been written to the new one; nothing of ours stays.

    A document whose new value has no place in the old shape stays as it is, for somebody to look at.
    """
    # Of new fields that go nothing is made any more: `up` may fail on a document of today.
    nothing = [pair.model_copy(update={"up": to_text(REMOVE)}) for pair in action.pairs if pair.down]
    stages = in_step(action.model_copy(update={"pairs": tuple(nothing)}), "old")
    for pair in action.pairs:
        carried = _is_carried_back(pair) if pair.down else True
        stages.append({"$replaceWith": put_all(pair.news, {"$cond": [carried, REMOVE, read_all(pair.news)]})})
    # The last that was put into a document is the first that is taken away.
    for pair in reversed(action.pairs):
        stages += _unmade((action.marker, pair.name, "found"), pair.news)
    return [*stages, *_unmarked(action, [(pair.name, pair.news) for pair in action.pairs])]


def contracted(action: Reshape, kept: Sequence[str] = ()) -> list[Stage]:
    """Leave the new shape alone, with what the old application has written at last; nothing of ours stays.

    A document whose old value has no place in the new shape stays as it is, unless its pair is among those
    that are `kept` elsewhere.
    """
    stages = in_step(action, "new")
    stages += [{"$replaceWith": put(path, REMOVE)} for path in action.removed]
    for pair in action.pairs:
        if pair.olds:
            carried = True if pair.name in kept else {"$or": [_are_there(pair.news), is_missing(read_all(pair.olds))]}
            stages.append({"$replaceWith": put_all(pair.olds, {"$cond": [carried, REMOVE, read_all(pair.olds)]})})
        stages += _unmade((action.marker, pair.name, "found"), pair.news)
        stages += _unmade((action.marker, pair.name, "found_old"), pair.olds)
    return [*stages, *_unmarked(action, [(pair.name, pair.olds) for pair in action.pairs if pair.olds])]


def concerned(action: Reshape, does: Literal["withdraw", "contract"]) -> dict[str, Any]:
    """Return a filter for the documents that have something to lose by it."""
    paths = action.gone if does == "contract" else action.news
    there = [{"$expr": _is_there(path)} for path in paths]
    return {"$or": [*there, *([{action.marker: {"$exists": True}}] if action.pairs else [])]}


def out_of_step(pair: FieldPair, marker: str) -> Expression:
    """Tell whether the two sides are not what the mapping gives, whatever the marker says."""
    new = read_all(pair.news)
    up = same(new, from_text(pair.up))
    if pair.down:
        return {"$not": [{"$or": [up, same(read_all(pair.olds), from_text(pair.down))]}]}
    # A new application may give the field any value: then it is the one of the marker.
    held = (marker, pair.name)
    known = {"$and": [is_document(read(held)), same(new, read((*held, "new")))]}
    return {"$not": [{"$or": [up, known]}]}


def known(action: Reshape) -> Expression:
    """Tell whether it is known which side of every pair was written last.

    It is not where a side that was taken away was written once more: the marker is gone by then, and whichever side
    gave way would be lost. Such a document is left for somebody to look at.
    """
    unknown: list[Expression] = [
        {
            "$and": [
                {"$not": [is_document(read((action.marker, pair.name)))]},
                _are_there(pair.olds),
                _are_there(pair.news),
                out_of_step(pair, action.marker),
            ]
        }
        for pair in action.pairs
        if pair.down
    ]
    return {"$not": [{"$or": unknown or [False]}]}


def has_no_old(pair: FieldPair, marker: str) -> Expression:
    """Tell whether a new value cannot become an old one, and is neither what that gives nor about to be overwritten."""
    held = (marker, pair.name)
    old_changed, new_changed = _changed(held, pair)
    overwritten = {"$and": [is_document(read(held)), old_changed, {"$not": [new_changed]}]}
    # In this order: where there is none, or it is overwritten, `up` may fail on what is there now.
    kept = {"$or": [overwritten, same(read_all(pair.news), from_text(pair.up))]}
    return {"$and": [_are_there(pair.news), {"$not": [kept]}, from_text(pair.unfit_down)]}


def not_carried(action: Reshape) -> Expression:
    """Tell whether something was written to a new field that the old one does not have, and should."""
    written: list[Expression] = [
        {
            "$and": [
                {"$eq": [_winner((action.marker, pair.name), pair, "new"), "new"]},
                {"$not": [same(read_all(pair.olds), from_text(pair.down))]},
            ]
        }
        for pair in action.pairs
        if pair.down
    ]
    return {"$or": written or [False]}


def _is_carried_back(pair: FieldPair) -> Expression:
    new = read_all(pair.news)
    unfit = from_text(pair.unfit_down) if pair.unfit_down else False
    carried = {"$and": [{"$not": [unfit]}, same(read_all(pair.olds), from_text(pair.down))]}
    return {"$or": [is_missing(new), same(new, from_text(pair.up)), carried]}


def _in_step(marker: str, pair: FieldPair, prefer: Prefer) -> Iterator[Stage]:
    held = (marker, pair.name)
    new, up = read_all(pair.news), from_text(pair.up)

    def noted(**facts: Expression) -> Stage:
        kept = {name: read((*held, name)) for name in ("found", "found_old")}
        return {"$set": {f"{marker}.{pair.name}": {"$mergeObjects": [kept | facts]}}}

    yield noted(wins=_winner(held, pair, prefer))
    old_wins, new_wins = ({"$eq": [read((*held, "wins")), side]} for side in ("old", "new"))
    wins = read((*held, "wins"))
    yield noted(wins=wins, found=_found((*held, "found"), pair.news, up, old_wins))
    yield {"$replaceWith": put_all(pair.news, {"$cond": [old_wins, up, new]})}
    if pair.down:
        old, down = read_all(pair.olds), from_text(pair.down)
        yield noted(wins=wins, found_old=_found((*held, "found_old"), pair.olds, down, new_wins))
        yield {"$replaceWith": put_all(pair.olds, {"$cond": [new_wins, down, old]})}
    yield noted(old=from_text(pair.watched), new=new)


def _winner(held: Sequence[str], pair: FieldPair, prefer: Prefer) -> Expression:
    """Say which side has been written since the last time: `old`, `new`, or `none`, and then both stay as they are."""
    path = tuple(held)
    new, watched = read_all(pair.news), from_text(pair.watched)
    old_changed, new_changed = _changed(path, pair)
    # Both are one value: written anew by the side that wins, it is exact, also where numbers in documents are compared.
    neither: Expression = prefer if pair.up == pair.watched and pair.down else "none"
    if pair.down:
        # One had no place on the other side, and may have one now.
        one_sided = [
            {"case": {"$and": [is_missing(new), {"$not": [is_missing(watched)]}]}, "then": "old"},
            {"case": {"$and": [is_missing(watched), {"$not": [is_missing(new)]}]}, "then": "new"},
        ]
        neither = {"$switch": {"branches": one_sided, "default": neither}}
    known = {
        "$switch": {
            "branches": [
                {"case": {"$and": [old_changed, new_changed]}, "then": prefer},
                {"case": old_changed, "then": "old"},
                {"case": new_changed, "then": "new"},
            ],
            "default": neither,
        }
    }
    # Nothing was in step yet. What has only the new field was written by a new application; of both nobody can tell.
    only_new = {"$and": [_are_there(pair.news), is_missing(watched) if pair.down else True]}
    both = {"$and": [_are_there(pair.news), {"$not": [same(new, from_text(pair.up))]}]}
    unknown = {
        "$switch": {
            "branches": [{"case": only_new, "then": "new"}, {"case": both, "then": prefer}],
            "default": "old",
        }
    }
    return {"$cond": [is_document(read(path)), known, unknown]}


def _changed(held: Path, pair: FieldPair) -> tuple[Expression, Expression]:
    """Tell of either side whether it was written since the marker was."""
    sides = (from_text(pair.watched), read((*held, "old"))), (read_all(pair.news), read((*held, "new")))
    old, new = ({"$not": [same(now, before)]} for now, before in sides)
    return old, new


def _found(known: Path, paths: Sequence[Path], value: Expression, puts: Expression) -> Expression:
    """Say how many levels on the way to a field were there before we put something into it."""
    # Several have no dots.
    path = paths[0]
    missing = [{"case": is_missing(read(path[: end + 1])), "then": end} for end in range(len(path) - 1)]
    if not missing:
        return REMOVE
    makes = {"$and": [puts, {"$not": [is_missing(value)]}]}
    first = {"$cond": [makes, {"$switch": {"branches": missing, "default": REMOVE}}, REMOVE]}
    return {"$cond": [_is_there(known), read(known), first]}


def _unmarked(action: Reshape, gone: Sequence[tuple[str, Sequence[Path]]]) -> Iterator[Stage]:
    """Take the marker away, where everything that has to go is gone.

    What is said of a pair that is gone goes, also where another one stays: it would say that somebody has removed it.
    """
    for name, paths in gone:
        held = (action.marker, name)
        yield {"$replaceWith": put(held, {"$cond": [_are_there(paths), read(held), REMOVE]})}
    if action.pairs:
        left: Expression = {"$or": [_are_there(paths) for _, paths in gone] or [False]}
        yield {"$replaceWith": put((action.marker,), {"$cond": [left, read((action.marker,)), REMOVE]})}


def _unmade(found: Path, paths: Sequence[Path]) -> Iterator[Stage]:
    """Take away the documents that were made on the way to a field, the innermost first, where nothing is in."""
    for path in (whole[:end] for whole in paths for end in range(len(whole) - 1, 0, -1)):
        ours = {"$and": [_is_there(found), {"$gt": [len(path), read(found)]}, _is_empty(path)]}
        yield {"$replaceWith": put(path, {"$cond": [ours, REMOVE, read(path)]})}


def _is_there(path: Sequence[str]) -> Expression:
    return _are_there([tuple(path)])


def _are_there(paths: Sequence[Path]) -> Expression:
    return {"$not": [is_missing(read_all(paths))]}


def _is_empty(path: Sequence[str]) -> Expression:
    return {"$eq": [read(tuple(path)), {"$literal": {}}]}
