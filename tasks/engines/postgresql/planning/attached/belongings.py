"""What belongs to a column rather than to its values: default, sequence, identity, privileges."""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.catalogue import OwnedSequence
from tasks.model.errors import PreflightError
from tasks.model.names import quote


def move_default(draft: TableDraft, name: str, old: str) -> None:
    """The default, with the sequence or the identity behind it, moves to the new column."""
    column = draft.table.column(name)
    assert column is not None
    _, default = draft.rehearsal.new_column(name)
    if default is not None:
        draft.swap(forward=[draft.alter(f"alter column {quote(name)} set default {default}")])
    for sequence in draft.table.sequences:
        if sequence.column != name:
            continue
        if sequence.identity:
            _move_identity(draft, sequence, name, old)
        else:
            _move_sequence(draft, sequence, name, old)


def _move_sequence(draft: TableDraft, sequence: OwnedSequence, name: str, old: str) -> None:
    owned = quote_qualified(sequence.name)
    draft.swap(
        forward=[f"alter sequence {owned} owned by {draft.real}.{quote(name)}"],
        inverse=[f"alter sequence {owned} owned by {draft.real}.{quote(old)}"],
    )
    before = sequence.definition.split(" ", 2)[1]
    after = draft.rehearsal.new_column(name)[0]
    if before != after and after in TYPE_MAXIMUM:
        draft.swap(forward=[f"alter sequence {owned} as {after}"], inverse=[f"alter sequence {owned} as {before}"])


def _move_identity(draft: TableDraft, sequence: OwnedSequence, name: str, old: str) -> None:
    """An identity cannot change its column: end it on one and begin it on the other, at the same position."""
    column = draft.table.column(name)
    assert column is not None
    after = draft.rehearsal.new_column(name)[0]
    if after not in TYPE_MAXIMUM:
        raise PreflightError(
            f"{name} is an identity column, which cannot be of type {after}",
            where=draft.full_name,
            hint="Choose an integer type, or drop the identity first.",
        )
    draft.swap(
        forward=[_identity(draft, sequence, column.identity, old, name, after)],
        inverse=[_identity(draft, sequence, column.identity, name, old, column.type)],
    )


def _identity(draft: TableDraft, sequence: OwnedSequence, kind: str, giver: str, taker: str, type_name: str) -> str:
    owned = quote_qualified(sequence.name)
    _, own_type, options = sequence.definition.split(" ", 2)
    if own_type != type_name:
        # The bounds of the type itself; another type brings its own.
        options = options.replace(f" maxvalue {TYPE_MAXIMUM[own_type]}", "")
    statements = [
        f"alter table {draft.real} alter column {quote(giver)} drop identity",
        f"alter table {draft.real} alter column {quote(taker)} add generated {kind} as identity"
        f" (sequence name {owned} {options})",
    ]
    return keeping_position(owned, options, [*statements, *sequence_grants(owned, sequence.grants)])


def keeping_position(owned: str, options: str, statements: list[str]) -> str:
    """Return a block of statements that make a sequence anew, and leave it where it stood."""
    listed = ";\n  ".join([*statements, f"perform pg_catalog.setval({literal(owned)}, position, called)"])
    return f"""\
do $identity$
declare
  position bigint;
  called boolean;
begin
  -- Changes nothing, but locks: nobody draws a number between reading the position and setting it.
  alter sequence {owned} {"no cycle" if "no cycle" in options else "cycle"};
  select last_value, is_called into position, called from {owned};
  {listed};
end
$identity$"""


TYPE_MAXIMUM: Mapping[str, int] = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
"""Where a sequence of each type ends, unless it says otherwise."""


_SEQUENCE_PRIVILEGES: Mapping[str, str] = {"r": "select", "w": "update", "U": "usage"}


def sequence_grants(owned: str, grants: tuple[str, ...]) -> list[str]:
    """Return the statements that give the privileges of one sequence to another."""
    return [
        f"grant {_SEQUENCE_PRIVILEGES[letter]} on sequence {owned} to {role}{option}"
        for role, letter, option in privileges(grants)
        if letter in _SEQUENCE_PRIVILEGES
    ]


def privileges(grants: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Take `role=rw*/grantor` apart: role, quoted, privilege letter, grant option."""
    for item in grants:
        grantee, _, rest = item.rpartition("=")
        letters = rest.partition("/")[0]
        for position, letter in enumerate(letters):
            if letter != "*":
                option = " with grant option" if letters[position + 1 : position + 2] == "*" else ""
                # The server quotes a role only where it has other characters than letters and digits.
                yield (grantee if grantee.startswith('"') else quote(grantee)) if grantee else "public", letter, option


def quote_qualified(name: str) -> str:
    """Quote `schema.name`."""
    schema, _, base = name.rpartition(".")
    return f"{quote(schema)}.{quote(base)}"


_PRIVILEGES: Mapping[str, str] = {"a": "insert", "r": "select", "w": "update", "x": "references"}


def grants_of(table: str, name: str, grants: tuple[str, ...]) -> tuple[str, ...]:
    """Return the statements that give column privileges to another column."""
    return tuple(
        f"grant {_PRIVILEGES[letter]} ({quote(name)}) on {table} to {role}{option}"
        for role, letter, option in privileges(grants)
        if letter in _PRIVILEGES
    )


def move_grants(draft: TableDraft, name: str, grants: tuple[str, ...]) -> None:
    """Column privileges belong to a column, so they have to be granted anew."""
    draft.swap(forward=grants_of(draft.real, name, grants))
