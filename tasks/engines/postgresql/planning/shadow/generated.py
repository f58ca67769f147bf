"""Columns that become generated: their values have to be those that the expression gives, or somebody gives them up."""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.plan import Requirement, differing

_FORMER, _NOTE = f"{OWN_PREFIX}former", f"{OWN_PREFIX}note"


def requirements(draft: Draft) -> Iterator[Requirement]:
    """Count rows with another value: before the run, before the swap, and after it, for what was written meanwhile."""
    real, former = draft.places.real, draft.former
    keys = ", ".join(f"{quote(draft.table.name)}.{quote(column)}" for column in draft.key)
    for column, expression in draft.change.recomputed.items():
        if column in draft.change.lossy:
            continue
        name = f"{draft.table.full_name}.{column} is what its expression gives"
        given = f"{quote(draft.table.name)}.{quote(column)}"
        of_row = f"select {keys} from {real} as {quote(draft.table.name)} where "
        different = differing(given, f"({expression}\n)::{_type(draft, column)}", exact=True)
        for gate in ("before_run", "before_swap"):
            yield Requirement(
                name=name,
                table=draft.table.full_name,
                kind="parity",
                gate="before_run" if gate == "before_run" else "before_swap",
                violations=of_row + different,
                fix=f"update {real} set {quote(column)} = {expression} where {different}",
            )
        # To the type of the new key, which holds every old one: not every new one fits into the old type.
        same = " and ".join(
            f"{quote(draft.table.name)}.{quote(c)} = ({_FORMER}.{quote(c)})::{t}"
            for c, t in zip(draft.key, draft.types(draft.new), strict=True)
        )
        noted = " and ".join(f"{_NOTE}.{quote(c)} = {quote(draft.table.name)}.{quote(c)}" for c in draft.key)
        yield Requirement(
            name=f"{name}, in the old table too",
            table=draft.table.full_name,
            kind="parity",
            gate="after_swap",
            violations=f"select {keys} from {real} as {quote(draft.table.name)} join {former} as {_FORMER} on {same}"
            f" where {differing(given, f'{_FORMER}.{quote(column)}', exact=True)}"
            f" and not exists (select from {draft.down.notes} as {_NOTE} where {noted})",
            reads_new=True,
        )


def _type(draft: Draft, column: str) -> str:
    return next(one.type for one in draft.table.columns if one.name == column)
