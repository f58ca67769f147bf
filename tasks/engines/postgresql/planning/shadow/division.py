"""Whether the new table has its rows in partitions, and in which."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.planning.shadow import partitions
from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.engines.postgresql.planning.shadow.partitions import Partition, partitioned
from tasks.model.catalogue import Table
from tasks.model.errors import PreflightError, SpecError


@dataclass(frozen=True, kw_only=True)
class Division:
    """The new table as it is divided, which has no rows yet."""

    table: Table
    parts: tuple[Partition, ...] = ()
    options: tuple[str, ...] = ()
    """Storage parameters of each partition: the table has no storage then."""
    where: str
    """What in the spec says so."""


def undivided(table: Table) -> Table:
    """Return a table as it would be without partitions: operations are tried on that."""
    return table.model_copy(update={"kind": "table", "partition_key": ""}) if partitioned(table) else table


def found_as(wanted: Table, found: Table) -> tuple[Table, Table]:
    """Return both, the first with what only the server can say of its division, and of its storage."""
    update = {"partition_key": found.partition_key} if partitioned(wanted) else {}
    update |= {"access_method": found.access_method} if not wanted.access_method else {}
    return wanted.model_copy(update=update), found


def divide(change: Change, new: Table) -> Division:
    """Return the new table with the partitions that it shall have. Raises SpecError and PreflightError."""
    table, where = change.table, change.order_where.removesuffix(".columns") or change.table.full_name
    wanted = change.partition_by
    if change.unpartition:
        if not partitioned(table):
            raise SpecError(f"{table.full_name} is not partitioned", where=where, hint="Remove unpartition.")
        _refuse_other_values(change, where)
        change.restricted = True
        return Division(table=new.model_copy(update={"children": ()}), where=f"{where}.unpartition")
    if wanted is None:
        if partitioned(table):
            raise PreflightError(
                f"{table.full_name} is partitioned, and what becomes of its partitions is not said",
                where=table.full_name,
                hint="Write rebuild_table with partition_by, or with `unpartition: true`.",
            )
        return Division(table=new, where=where)
    where = f"{where}.partition_by"
    for column in wanted.columns:
        if new.column(column) is None:
            raise SpecError(f"{table.full_name} has no column {column!r}", where=where, hint="Correct the name.")
    _refuse_other_values(change, where, wanted.columns)
    for reason, hint in partitions.of_versions(change.rehearsal.conn, new):
        raise PreflightError(reason, where=table.full_name, hint=hint)
    partitions.of_change(change.rehearsal.conn, table, new, wanted.columns, where)
    change.restricted = True
    parts = partitions.parts_wanted(wanted)
    names = sorted(f"{table.schema_name}.{part.name}" for part in parts)
    divided = {
        "kind": "partitioned table",
        "partition_key": partitions.key_of(wanted),
        "children": tuple(names),
        "options": (),
        "access_method": "",
    }
    return Division(table=new.model_copy(update=divided), parts=parts, options=table.options, where=where)


def _refuse_other_values(change: Change, where: str, columns: Sequence[str] = ()) -> None:
    """Refuse that what tells the partitions, of either table, is not the same in both. Raises SpecError.

    When an application empties one of them, its rows are found in the other table by the values of those columns.
    """
    moving = {*change.altered, *change.added, *change.dropped, *change.computed, *change.written}
    for column in (*columns, *partitions.told_by(change.rehearsal.conn, change.table)):
        if column in moving:
            raise SpecError(
                f"{column} is not the same in both tables, and tells the partitions",
                where=where,
                hint="Write two specs, one after the other: the partitions in one, the column in the other.",
            )
