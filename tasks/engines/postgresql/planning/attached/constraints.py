"""CHECK constraints and foreign keys of a column that gets a new physical column, in both directions."""

import re
from collections.abc import Mapping

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.move import Restriction
from tasks.model.catalogue import Constraint, InboundForeignKey
from tasks.model.names import own_name, quote
from tasks.model.steps import Lock, LockMode


def carry_constraint(draft: TableDraft, constraint: Constraint) -> None:
    """Take a constraint off the old column, and put one like it on the new."""
    definition = constraint.definition.removesuffix(" NOT VALID")
    drop = draft.alter(f"drop constraint {quote(constraint.name)}")
    back = draft.alter(f"add constraint {quote(constraint.name)} {definition} not valid")
    locks = parent_locks(constraint)
    comment = [draft.comment_on(constraint)] if constraint.comment is not None else []
    draft.swap(forward=[drop], inverse=[back, *comment])
    draft.swap_locks += locks
    if constraint.validated:
        draft.restored.append(
            Restriction(table=draft.real, full_name=draft.full_name, name=constraint.name, definition=definition)
        )
    moved = _moved_definition(draft, constraint, definition)
    if moved is None or constraint.name in draft.dropped_constraints:
        return
    name = own_name("new", constraint.name)
    draft.restrict(name, moved, locks=locks, validated=constraint.validated)
    draft.later(
        forward=[draft.alter(f"rename constraint {quote(name)} to {quote(constraint.name)}"), *comment],
        inverse=[draft.alter(f"drop constraint {quote(constraint.name)}")],
    )


def parent_locks(constraint: Constraint) -> list[Lock]:
    """Return the lock on the table that a foreign key refers to, for dropping it."""
    if constraint.kind != "foreign key" or constraint.referenced_table is None:
        return []
    return [Lock(table=quote_qualified(constraint.referenced_table), mode=LockMode.ACCESS_EXCLUSIVE)]


def _moved_definition(draft: TableDraft, constraint: Constraint, definition: str) -> str | None:
    """Return the constraint over the new columns, or None if one of its columns is being dropped."""
    if any(
        column in draft.shape.dropped - draft.altered.keys() - draft.renamed.keys() for column in constraint.columns
    ):
        return None
    if constraint.kind == "check":
        return draft.rehearsal.check_definition(constraint.name, draft.lasting)
    if constraint.referenced_table is not None:
        columns = [draft.renamed.get(column, column) for column in constraint.columns]
        parent = (quote_qualified(constraint.referenced_table), constraint.referenced_columns)
        draft.rehearsal.refers(constraint.name, (draft.rehearsal.new, columns), parent, draft.full_name)
    names = _by_old_name(draft)
    tail = definition[len(f"FOREIGN KEY ({draft.rehearsal.printed(constraint.columns)}") :]
    listed = ", ".join(quote(names[column]) for column in constraint.columns)
    return f"foreign key ({listed}{_ACTION_COLUMNS.sub(lambda found: _action(found, names), tail)}"


_NAME = r'"(?:[^"]|"")*"|[^ ,()"]+'
_ACTION_COLUMNS = re.compile(rf"(?<= ON DELETE SET )(NULL|DEFAULT) \(((?:{_NAME}|, )*)\)")


def _action(found: re.Match[str], names: Mapping[str, str]) -> str:
    """ON DELETE SET NULL may name the columns that it is about."""
    printed = re.findall(_NAME, found[2])
    columns = [name[1:-1].replace('""', '"') if name.startswith('"') else name for name in printed]
    return f"{found[1]} ({', '.join(quote(names[column]) for column in columns)})"


def _by_old_name(draft: TableDraft) -> dict[str, str]:
    """Map names of the old shape to the columns that hold them after contract, as called before the swap."""
    return draft.lasting | {name: name for name in draft.renamed}


def carry_inbound(draft: TableDraft, key: InboundForeignKey) -> None:
    """Let the foreign keys of other tables point at the new column, then let go of the old one."""
    names = _by_old_name(draft)
    child = quote_qualified(key.table)
    referred = [draft.renamed.get(column, column) for column in key.referenced_columns]
    draft.rehearsal.refers(key.name, (child, key.columns), (draft.rehearsal.new, referred), draft.full_name)
    name, new = quote(key.name), own_name("new", key.name)
    definition = key.definition.removesuffix(" NOT VALID")
    listed = ", ".join(quote(names[column]) for column in key.referenced_columns)
    head, tail = _split_inbound(draft, key, definition)
    draft.inbound.append(
        Restriction(
            table=child,
            full_name=key.table,
            name=new,
            definition=f"{head} REFERENCES {draft.real} ({listed}){tail}",
            other_locks=(Lock(table=draft.real, mode=LockMode.SHARE_ROW_EXCLUSIVE),),
            validated=key.validated,
        )
    )
    draft.swap_locks.append(Lock(table=child, mode=LockMode.ACCESS_EXCLUSIVE))
    text = literal(key.comment) if key.comment is not None else None
    comment = [f"comment on constraint {name} on {child} is {text}"] if text is not None else []
    draft.swap(
        forward=[
            f"alter table {child} drop constraint {name}",
            f"alter table {child} rename constraint {quote(new)} to {name}",
            *comment,
        ],
        inverse=[f"alter table {child} add constraint {name} {definition} not valid", *comment],
    )
    if key.validated:
        draft.restored.append(Restriction(table=child, full_name=key.table, name=key.name, definition=definition))


def let_go(draft: TableDraft, key: InboundForeignKey) -> None:
    """Drop the foreign key on the new column when rolling back; planned after everything that it rests on."""
    child = quote_qualified(key.table)
    draft.later(inverse=[f"alter table {child} drop constraint {quote(key.name)}"])


def _split_inbound(draft: TableDraft, key: InboundForeignKey, definition: str) -> tuple[str, str]:
    """Cut `FOREIGN KEY (a) REFERENCES s.t(b) ON DELETE ...` around the referenced table and columns."""
    head = f"FOREIGN KEY ({draft.rehearsal.printed(key.columns)})"
    rest = definition[len(head) :]
    listed = f"({draft.rehearsal.printed(key.referenced_columns)})"
    return head, rest[rest.index(listed) + len(listed) :]
