"""Constraints and indexes that come, go, or get another name with a new table: tried on its empty twin."""

from tasks.engines.postgresql.planning.restrictions.late import deferral
from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.model.catalogue import Constraint
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import (
    CreateConstraint,
    DropConstraint,
    DropIndex,
    DropMulticolumnConstraint,
    RenameConstraint,
    SetReplicaIdentity,
)

_IN_PLACE = "Put it into a spec of its own with `strategy: expand_contract`."


def create_constraint(change: Change, op: CreateConstraint, where: str) -> None:
    """Add a constraint when all columns are there. Raises SpecError for what it cannot be here."""
    if op.converted or op.orphans != "reject" or op.duplicates != "reject":
        raise refused_rows(where)
    if op.type == "primary_key":
        _primary_key(change, op, where)
    elif op.type == "foreign_key":
        _free(change, op.name, where)
        change.keys_come.append((op, where))
    else:
        change.last.append((where, f"add constraint {quote(op.name)} {_rule(op)}"))
        change.restricted = True


def refused_rows(where: str) -> SpecError:
    """Return the refusal of rows that a constraint would move, or change."""
    return SpecError("rows are not converted or archived for a constraint here", where=where, hint=_IN_PLACE)


def _primary_key(change: Change, op: CreateConstraint, where: str) -> None:
    present = next((one for one in change.table.constraints if one.kind == "primary key"), None)
    if present is not None or change.primary_key is not None:
        raise SpecError(
            f"{change.table.full_name} has a primary key already",
            where=where,
            hint="Write rebuild_table with primary_key, which exchanges it.",
        )
    if op.deferrable:
        raise SpecError(
            "by a primary key that is deferrable nobody tells the rows of two tables apart",
            where=f"{where}.deferrable",
            hint="Leave out deferrable; or write type: unique.",
        )
    change.primary_key, change.key_name = (op.columns or (), f"{where}.columns"), op.name


def _free(change: Change, name: str, where: str) -> None:
    if change.table.constraint(name) is not None:
        raise SpecError(
            f"{change.table.full_name} already has a constraint {name}", where=where, hint="Choose another name."
        )


def _rule(op: CreateConstraint) -> str:
    if op.check is not None:
        return f"check ({op.check}\n){' no inherit' if op.no_inherit else ''}"
    keys = op.exclude.definition() if op.exclude is not None else f"unique ({', '.join(map(quote, op.columns or ()))})"
    return keys + deferral(op.deferrable, op.initially_deferred)


def drop_constraint(change: Change, op: DropConstraint | DropMulticolumnConstraint, where: str) -> None:
    """Drop a check, or a unique, exclusion or foreign key constraint. Raises SpecError for what it cannot be here."""
    found = _there(change, op.name, f"{where}.name")
    if found.kind not in ("check", "unique", "exclusion", "foreign key"):
        hint = {
            "primary key": "To give the table another one, write rebuild_table with primary_key.",
            "not null": "Write alter_column with `nullable: true`.",
        }.get(found.kind, _IN_PLACE)
        why = ": without one nothing tells the rows of the table apart" if found.kind == "primary key" else " like this"
        raise SpecError(f"a {found.kind} is not dropped{why}", where=where, hint=hint)
    if op.up is not None or op.down is not None:
        raise SpecError(
            "values are converted by the column, not by its constraint",
            where=where,
            hint="Write alter_column with up and down beside it.",
        )
    if found.kind == "foreign key":
        change.keys_gone.add(op.name)
        return
    change.attempt(where, f"drop constraint {quote(op.name)}")
    change.restricted = True


def rename_constraint(change: Change, op: RenameConstraint, where: str) -> None:
    """Give a constraint, and the index behind it, another name. Raises SpecError."""
    found = _there(change, op.from_, f"{where}.from")
    if found.kind == "foreign key":
        _free(change, op.to, f"{where}.to")
    else:
        change.attempt(where, f"rename constraint {quote(op.from_)} to {quote(op.to)}")
    change.called[op.from_] = op.to


def _there(change: Change, name: str, where: str) -> Constraint:
    found = change.table.constraint(name)
    if found is None:
        raise SpecError(f"{change.table.full_name} has no constraint {name!r}", where=where, hint="Correct the name.")
    return found


def set_replica_identity(change: Change, op: SetReplicaIdentity, where: str) -> None:
    """Let the new table say how its rows are known; on the twin the server refuses an index that cannot."""
    index = op.identity.index
    change.identity = (f"using index {quote(index)}" if index is not None else op.identity.type, where)


def drop_index(change: Change, op: DropIndex, where: str) -> None:
    """Drop an index that is nobody's constraint. Raises SpecError."""
    schema, _, name = op.name.rpartition(".")
    found = change.table.index(name) if schema in ("", change.table.schema_name) else None
    if found is None:
        raise SpecError(
            f"{change.table.full_name} has no index {op.name}", where=f"{where}.name", hint="Correct the name."
        )
    if found.constraint is not None:
        raise SpecError(
            f"{name} stands behind the constraint {found.constraint}",
            where=f"{where}.name",
            hint="Write drop_constraint, or, of a primary key, rebuild_table with primary_key.",
        )
    own = change.twin.partition(".")[0]
    with change.rehearsal.blaming(where, "Drop what needs the index before the migration."):
        change.rehearsal.conn.execute(f"drop index {own}.{quote(name)}".encode())
    change.restricted |= found.unique
