"""What domains do to a column that is added: a default that nobody wrote, and a rewrite for their constraints."""

from dataclasses import dataclass

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.errors import PreflightError
from tasks.model.names import quote
from tasks.model.plan import Finding

_SMALL = 8 * 2**20
"""Bytes, indexes included, that are rewritten in less than a lock budget."""

_CHAIN = """
with recursive chain as (
  select t.oid, t.typtype, t.typbasetype, t.typnotnull, t.typdefault, 0 as depth
  from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
  where a.attrelid = %(twin)s::regclass and a.attname = %(column)s
  union all
  select t.oid, t.typtype, t.typbasetype, t.typnotnull, t.typdefault, chain.depth + 1
  from chain join pg_catalog.pg_type t on t.oid = chain.typbasetype
  where chain.typtype = 'd'
)
select bool_or(typnotnull or exists (select from pg_catalog.pg_constraint k where k.contypid = chain.oid)),
  coalesce(bool_or(typnotnull), false),
  (array_agg(typdefault order by depth) filter (where typdefault is not null))[1],
  pg_catalog.pg_total_relation_size(%(table)s::regclass)
from chain where typtype = 'd'
"""


@dataclass(frozen=True, kw_only=True)
class Beneath:
    """What the type of a column brings with it."""

    default: str | None
    """That of the domain, for a column without one of its own."""
    never_null: bool
    """The domain itself is NOT NULL."""


def silent(found: Beneath, where: str) -> str:
    """Return what keeps the domain's default away from a column that is to be filled, NULL until then."""
    if found.never_null:
        raise PreflightError(
            "a column of a domain that is NOT NULL could not be filled by and by: it is never empty",
            where=where,
            hint="Use the type beneath the domain, with nullable: false, and create_constraint for its rules.",
        )
    return " default null" if found.default is not None else ""


def beneath(draft: TableDraft, column: str, where: str) -> Beneath:
    """Look at the type that a column of the new shape has, before a column of that type is added.

    Raises PreflightError where PostgreSQL would rewrite a table of some size for it, with everybody waiting.
    """
    constrained, never_null, default, size = _chain(draft, column)
    if constrained:
        _weigh(draft, column, size, where)
    return Beneath(default=default, never_null=never_null)


def domain_default(draft: TableDraft, column: str) -> str | None:
    """Return what a column gets by its domain where it has no default of its own."""
    _, _, default, _ = _chain(draft, column)
    return default


def _chain(draft: TableDraft, column: str) -> tuple[bool, bool, str | None, int]:
    row = draft.rehearsal.conn.execute(
        _CHAIN, {"twin": draft.rehearsal.new, "column": column, "table": draft.real}
    ).fetchone()
    assert row is not None
    constrained, never_null, default, size = row
    return bool(constrained), bool(never_null), default, size


def _weigh(draft: TableDraft, column: str, size: int, where: str) -> None:
    kind, _ = draft.rehearsal.new_column(column)
    message = f"a column of the domain {kind}, which has constraints, makes PostgreSQL rewrite {draft.full_name}"
    if size > _SMALL:
        raise PreflightError(
            f"{message}: {size // 2**20} MiB, while nobody can use the table",
            where=where,
            hint="Use the type beneath the domain, and create_constraint for its rules; or leave the column as it is.",
        )
    draft.findings.append(
        Finding(rule="SAF-13", severity="note", message=f"{message}; it is small enough for that", where=where)
    )


def end_silence(draft: TableDraft, column: str, found: Beneath, *, has_default: bool) -> None:
    """Let the domain's default hold for new applications from the swap on, and not for a rollback."""
    if found.default is not None and not has_default:
        name = quote(column)
        draft.later(
            forward=[draft.alter(f"alter column {name} drop default")],
            inverse=[draft.alter(f"alter column {name} set default null")],
        )
