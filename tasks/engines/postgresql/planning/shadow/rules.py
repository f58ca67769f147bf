"""Constraints and indexes that come, or go, together with a new table: made on its empty twin, like everything else."""

from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import CreateConstraint, DropConstraint, DropIndex

_IN_PLACE = "Put it into a spec of its own with `strategy: expand_contract`."
_AT_THE_COMMIT = "it can be checked at the commit, where no trigger can note what only one of the two tables refuses"


def create_constraint(change: Change, op: CreateConstraint, where: str) -> None:
    """Add a check, or a unique constraint, when all columns are there. Raises SpecError for what it cannot be here."""
    if op.type not in ("check", "unique"):
        known = "Write rebuild_table with primary_key." if op.type == "primary_key" else _IN_PLACE
        raise SpecError(f"a {op.type.replace('_', ' ')} is not added like this", where=where, hint=known)
    if op.converted or op.orphans != "reject" or op.duplicates != "reject":
        raise SpecError("rows are not converted or archived for a constraint here", where=where, hint=_IN_PLACE)
    if op.deferrable or op.initially_deferred:
        raise SpecError(_AT_THE_COMMIT, where=where, hint=_IN_PLACE)
    rule = (
        f"check ({op.check}\n){' no inherit' if op.no_inherit else ''}"
        if op.check is not None
        else f"unique ({', '.join(map(quote, op.columns or ()))})"
    )
    change.last.append((where, f"add constraint {quote(op.name)} {rule}"))
    change.restricted = True


def drop_constraint(change: Change, op: DropConstraint, where: str) -> None:
    """Drop a check, or a unique or exclusion constraint. Raises SpecError for what it cannot be here."""
    found = change.table.constraint(op.name)
    if found is None:
        raise SpecError(
            f"{change.table.full_name} has no constraint {op.name!r}", where=f"{where}.name", hint="Correct the name."
        )
    if found.kind not in ("check", "unique", "exclusion"):
        hint = {
            "primary key": "Write rebuild_table with primary_key.",
            "not null": "Write alter_column with `nullable: true`.",
        }.get(found.kind, _IN_PLACE)
        raise SpecError(f"a {found.kind} is not dropped like this", where=where, hint=hint)
    if found.deferrable:
        raise SpecError(_AT_THE_COMMIT, where=where, hint=_IN_PLACE)
    if op.up is not None or op.down is not None:
        raise SpecError(
            "values are converted by the column, not by its constraint",
            where=where,
            hint="Write alter_column with up and down beside it.",
        )
    change.attempt(where, f"drop constraint {quote(op.name)}")
    change.restricted = True


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
