"""The second pass over a draft: all operations are known, so expressions and definitions can be settled."""

from collections.abc import Mapping
from dataclasses import replace

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.checks.obstacles import visible
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.operations.create_index import resolve_index
from tasks.engines.postgresql.planning.rehearsal import Reading, Rehearsal
from tasks.engines.postgresql.planning.restrictions.constraints import resolve_check, resolve_unique
from tasks.engines.postgresql.planning.restrictions.foreign_keys import resolve_references
from tasks.engines.postgresql.planning.shape import Retired, Target
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.plan import Finding


def resolve(draft: TableDraft, places: Mapping[tuple[str, str], str]) -> None:
    """Type-check `up` and `down`, note what they read, and write down constraints and indexes.

    `places` tells where in the spec an expression stands, by direction and column.
    """
    shape, twin = draft.shape, draft.rehearsal
    shape.targets = [_target(t, draft, places.get(("up", t.name), draft.full_name)) for t in shape.targets]
    shape.retired = [_retired(r, draft, places.get(("down", r.name), draft.full_name)) for r in shape.retired]
    _refuse_generated(draft)
    _warn_of_guesses(draft)
    shape.pinned = not all(
        [twin.is_immutable(twin.old, t.up) for t in shape.targets]
        + [twin.is_immutable(twin.new, r.down) for r in shape.retired]
    )
    _check_trigger(draft)
    for name in draft.late_checks:
        resolve_check(draft, name)
    for key in draft.late_uniques:
        resolve_unique(draft, key)
    for foreign_key in draft.late_references:
        resolve_references(draft, foreign_key)
    for index, where in draft.late_indexes:
        resolve_index(draft, index, where)


def _target(target: Target, draft: TableDraft, where: str) -> Target:
    twin = draft.rehearsal
    up = target.up or _conversion(twin, twin.old, twin.new, target.name, target.type, where)
    read = twin.reads(twin.old, up, where, _parents(draft))
    twin.assigns(twin.old, twin.new, target.name, up, where)
    _warn(draft, read, where)
    volatile = bool(read.others) or twin.is_volatile(twin.old, up)
    drawn = target.name in {draft.renamed.get(one.column, one.column) for one in draft.table.sequences}
    _, default = twin.new_column(target.name)
    return replace(
        target, up=up, sources=read.columns, volatile=volatile, elsewhere=bool(read.others), drawn=drawn,
        default=None if default is None or twin.is_volatile(twin.old, default) else default,
    )  # fmt: skip


def _retired(retired: Retired, draft: TableDraft, where: str) -> Retired:
    twin = draft.rehearsal
    down = retired.down or _conversion(twin, twin.new, twin.old, retired.name, retired.type, where)
    read = twin.reads(twin.new, down, where, _parents(draft))
    twin.assigns(twin.new, twin.old, retired.name, down, where)
    _warn(draft, read, where)
    volatile = bool(read.others) or twin.is_volatile(twin.new, down)
    return replace(retired, down=down, sources=read.columns, volatile=volatile)


def _parents(draft: TableDraft) -> list[str]:
    """Return the tables that foreign keys which come or go point to: an expression may look for the parent there."""
    going = [c for c in draft.table.constraints if c.kind == "foreign key" and c.name in draft.dropped_constraints]
    found = [key.parent for key in draft.late_references]
    return found + [quote_qualified(c.referenced_table) for c in going if c.referenced_table is not None]


def _warn(draft: TableDraft, read: Reading, where: str) -> None:
    if read.others:
        for parent in _parents(draft):
            visible(draft, parent, where)
        draft.findings.append(
            Finding(
                rule="SAF-09",
                severity="warning",
                message=f"the expression reads {', '.join(read.others)}: its value is that of the moment when a row is"
                " written, does not follow later changes there, and is not compared by the gates",
                where=where,
            )
        )


def _warn_of_guesses(draft: TableDraft) -> None:
    """Say where a default that is another value each time cannot be told from a value."""
    for group in draft.shape.groups():
        unknown = [
            t.name for t in group.targets
            if t.default is None and not t.drawn and draft.rehearsal.new_column(t.name)[1] is not None
        ]  # fmt: skip
        hidden = [r.name for r in group.retired if r.hidden]
        if unknown and hidden:
            draft.findings.append(
                Finding(
                    rule="SAF-16",
                    severity="note",
                    message=f"the default of {', '.join(unknown)} is another value each time: where an old application"
                    f" inserts, after the swap, a {', '.join(hidden)} that `down` makes of the default, too, the"
                    " default stays",
                    where=draft.full_name,
                )
            )


def _refuse_generated(draft: TableDraft) -> None:
    """A BEFORE trigger meets generated columns before they are computed."""
    generated = {c.name for c in draft.table.columns if c.generated is not None}
    read_by = {t.name: t.sources for t in draft.shape.targets} | {r.name: r.sources for r in draft.shape.retired}
    for name, sources in read_by.items():
        read = generated & set(sources)
        if read:
            raise SpecError(
                f"the expression of {name} reads the generated column {', '.join(sorted(read))}",
                where=draft.full_name,
                hint="Write the expression of the generated column in its place.",
            )


def _conversion(twin: Rehearsal, source: str, target: str, name: str, type_name: str, where: str) -> str:
    """Convert without an expression of the author's: by assignment, which refuses what does not fit.

    A cast would cut a text that is too long without a word; it is taken only where nothing else exists.
    """
    try:
        twin.assigns(source, target, name, quote(name), where)
    except SpecError:
        return f"{quote(name)}::{type_name}"
    return quote(name)


def _check_trigger(draft: TableDraft) -> None:
    """Let the trigger function run once on the twin: PL/pgSQL resolves names only when it executes."""
    if not draft.shape.targets and not draft.shape.retired:
        return
    draft.rehearsal.try_trigger(draft.dual, draft.expand)
