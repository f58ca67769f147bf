"""What the tables will be after the swap: read from the twins, on which plain statements made the same change."""

import re
from collections.abc import Iterable, Iterator, Sequence

from tasks.engines.postgresql.inspect import columns_of
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.names import OWN_PREFIX, OWN_TRIGGERS
from tasks.model.outcome import Outcome, TableAfter
from tasks.model.steps import ConcurrentIndex, Phase, ShortTransaction, Step, Validation

_NAME = r'"((?:[^"]|"")+)"'
_QUOTED = re.compile(_NAME)
_OURS = re.compile(rf'\s*create\s+(or\s+replace\s+)?(function|trigger\s+"{OWN_TRIGGERS})', re.IGNORECASE)
"""Functions and triggers of dual write read every column, and change none."""
_ANY = r'"(?:[^"]|"")+"'
_PLACE = rf"(?:{_ANY}\.)?"
_AWAY = re.compile(
    rf"\balter index (?:if exists )?{_PLACE}{_NAME} rename to|\brename constraint {_NAME} to|\busing index {_NAME}"
    rf"|\bdrop (?:constraint|index|view) (?:concurrently )?(?:if exists )?{_PLACE}{_NAME}",
    re.IGNORECASE,
)
_MADE = re.compile(
    rf"\balter index (?:if exists )?{_PLACE}{_ANY} rename to {_NAME}|\brename constraint {_ANY} to {_NAME}"
    rf"|\badd constraint {_NAME}|\bcreate (?:unique )?index (?:concurrently )?(?:if not exists )?{_NAME}",
    re.IGNORECASE,
)


def outcome(drafts: Sequence[TableDraft], steps: Sequence[Step]) -> Outcome | None:
    """Return what is known of the tables after the swap; None where SQL of the author may do anything to them."""
    if any(step.authored for step in steps):
        return None
    texts = list(_statements(steps))
    places = {name for draft in drafts for name in (draft.table.schema_name, draft.table.name, draft.renamed_to)}
    away, made = _all(texts, _AWAY), _all(texts, _MADE)
    tables = tuple(_table(draft, texts, away) for draft in drafts if draft.dropped_at is None)
    # A column may be called like its table, or the schema.
    columns = {column.name for draft in drafts for column in draft.table.columns}
    columns |= {column.name for table in tables for column in table.columns}
    # What goes with a column that is replaced is dropped, or renamed, by no statement of its own, or by several.
    said = {name for draft in drafts for name in (*draft.dropped_constraints, *draft.renamed_constraints)}
    said -= {name for draft in drafts for name in draft.renamed_constraints.values()}
    return Outcome(
        tables=tables,
        named=tuple(sorted(_all(texts, _QUOTED) - (places - columns))),
        gone=tuple(sorted((away - made) | said)),
    )


def _table(draft: TableDraft, texts: Iterable[str], away: set[str]) -> TableAfter:
    schema, name = draft.table.schema_name, draft.renamed_to or draft.table.name
    own = [text for text in texts if draft.real in text]
    made = _all(own, _MADE)
    return TableAfter(
        before=draft.full_name,
        after=f"{schema}.{name}",
        columns=columns_of(draft.rehearsal.conn, draft.rehearsal.new),
        made=tuple(sorted(one for one in made - away if not one.startswith(OWN_PREFIX))),
        identified=any("replica identity" in text for text in own),
    )


def _statements(steps: Iterable[Step]) -> Iterator[str]:
    """Give what changes the catalogue up to the swap."""
    for step in steps:
        if step.phase is Phase.CONTRACT:
            continue
        match step.action:
            case ShortTransaction(forward=texts) | Validation(forward=texts):
                yield from (text for text in texts if not _OURS.match(text))
            case ConcurrentIndex(create=text, build_on="forward"):
                yield text


def _all(texts: Iterable[str], pattern: re.Pattern[str]) -> set[str]:
    """Return the names in the groups of a pattern, wherever it is found."""
    groups = (group for text in texts for found in pattern.finditer(text) for group in found.groups())
    return {group.replace('""', '"') for group in groups if group}
