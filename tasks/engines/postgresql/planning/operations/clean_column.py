"""clean_column: the way of alter_column, with an `up` that follows the rules."""

from tasks.engines.postgresql.planning.checks.require import existing_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.operations.alter_column import through_new_column
from tasks.engines.postgresql.planning.restrictions.constraints import add_condition
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import AlterColumn, CleanColumn

_ENDS, _RUN = literal(r"^\s+|\s+$"), literal(r"\s+")
_RULES = {
    "trim": f"pg_catalog.regexp_replace({{}}, {_ENDS}, '', 'g')",
    "collapse_whitespace": f"pg_catalog.regexp_replace({{}}, {_RUN}, ' ', 'g')",
    "lower": "pg_catalog.lower({})",
    "upper": "pg_catalog.upper({})",
    "empty_to_null": "nullif({}, '')",
}


def draft_clean_column(op: CleanColumn, draft: TableDraft, where: str) -> None:
    """Values that are clean already have to come back exactly; of the others, a rollback finds the old ones."""
    column = existing_column(draft, op.column, where)
    if column.type not in ("text", "citext", "name") and not column.type.startswith("character"):
        raise SpecError(
            f"{op.column} is of the type {column.type}: the rules are for text",
            where=where,
            hint="Use alter_column, with `up` and `down`.",
        )
    if ("empty_to_null" in op.rules or op.nulls) and not column.nullable:
        raise SpecError(
            f"{op.column} is NOT NULL, and a rule would make NULLs",
            where=where,
            hint="Leave that rule out; or let alter_column make the column nullable first.",
        )
    name = quote(op.column)
    clean = _clean(op, name)
    alteration = AlterColumn(table=op.table, column=op.column, up=clean, down=name)
    through_new_column(alteration, column, draft, where, held=f"{name} is not distinct from {clean}")
    if op.check is not None:
        _refuse_restless(op, draft, where)
        add_condition(draft, op.check, f"{name} is not distinct from {clean}", f"{where}.check")


def _refuse_restless(op: CleanColumn, draft: TableDraft, where: str) -> None:
    """Refuse a check that what the rules themselves give would not pass."""
    samples = ["", " ", *(op.values or {}), *(op.values or {}).values()]
    given = ", ".join(literal(one) for one in samples)
    clean = _clean(op, "sample")
    rows = draft.rehearsal.conn.execute(
        f"select sample, {clean} from unnest(array[{given}]::text[]) as sample"
        f" where {_clean(op, f'({clean})')} is distinct from {clean} limit 1".encode()
    ).fetchall()
    for before, after in rows:
        raise SpecError(
            f"the rules make '{after}' of '{before}', and something else of that: the check would refuse it",
            where=f"{where}.check",
            hint="Write the rules and values so that cleaning twice changes nothing more, or leave out the check.",
        )


def _clean(op: CleanColumn, value: str) -> str:
    # Of `character(n)` the blanks at the end are no part of the value.
    clean = f"{value}::text"
    for rule in op.rules:
        clean = _RULES[rule].format(clean)
    cases = [f"when {literal(old)} then {literal(new)}" for old, new in (op.values or {}).items()]
    cases += [f"when {literal(value)} then null" for value in op.nulls]
    return f"case {clean} {' '.join(cases)} else {clean} end" if cases else clean
