"""Empty twins of a table, made by the statements of the plan, and read back."""

from collections.abc import Sequence
from typing import Any

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import inspect
from tasks.engines.postgresql.planning.attached.belongings import TYPE_MAXIMUM
from tasks.engines.postgresql.planning.shadow import build
from tasks.engines.postgresql.planning.shadow.partitions import Partition
from tasks.engines.postgresql.planning.shadow.places import moved
from tasks.model.catalogue import Catalogue, OwnedSequence, Table
from tasks.model.names import quote

_LATER: dict[str, Any] = {
    "inbound": (),
    "triggers": (),
    "policies": (),
    "sequences": (),
    "dependents": (),
    "parents": (),
    "children": (),
    "row_security": False,
    "force_row_security": False,
}
"""What a twin cannot have before the swap."""


def build_twin(
    conn: Connection, table: Table, schema: str, parts: Sequence[Partition] = (), options: Sequence[str] = ()
) -> None:
    """Make an empty twin of a table in a schema, with all that it has before the swap. Inside of a transaction."""
    conn.execute(f"create schema {quote(schema)} authorization {quote(table.owner)}".encode())
    for statement in build.create_table(table, schema, parts, options):
        conn.execute(statement.encode())
    for index in table.indexes:
        conn.execute(build.create_index(conn, table, index, schema).encode())
    for index in table.indexes:
        for statement in build.finish_index(table, index, schema, attach=False):
            conn.execute(statement.encode())
    for statement in build.statistics(conn, table, schema):
        conn.execute(statement.encode())


def alone(table: Table) -> Catalogue:
    """Return the catalogue that has only this table."""
    return Catalogue(engine="postgresql", version="", tables=(table,))


def bare(table: Table) -> Table:
    """Return of a table what its twin has, too."""
    kept = tuple(c for c in table.constraints if c.kind not in ("foreign key", "trigger"))
    return table.model_copy(update={**_LATER, "constraints": kept})


def twin_of(conn: Connection, table: Table, schema: str) -> Table:
    """Read the twin of a table, and return it as if it stood in the table's place."""
    found = inspect(conn, [f"{schema}.{table.name}"], "pg_catalog").tables[0]
    drawing = {c.name: c for c in table.columns if build.draws(table, c.name)}
    columns = tuple(
        c.model_copy(update={"default": drawing[c.name].default, "identity": drawing[c.name].identity})
        if c.name in drawing
        else c
        for c in found.columns
    )
    indexes = tuple(
        i.model_copy(update={"definition": moved(conn, i.definition, found, table.schema_name)}) for i in found.indexes
    )
    return bare(found.model_copy(update={"schema_name": table.schema_name, "columns": columns, "indexes": indexes}))


def carried(table: Table, changed: Table) -> Table:
    """Return the whole record of the new table: what was changed on the twin, and all that comes at the swap."""
    later = {name: getattr(table, name) for name in _LATER}
    keys = [c for c in table.constraints if c.kind in ("foreign key", "trigger")]
    constraints = tuple(sorted([*changed.constraints, *keys], key=lambda c: c.name.encode()))
    types = {c.name: c.type for c in changed.columns}
    sequences = tuple(_as(one, types.get(one.column)) for one in table.sequences)
    return changed.model_copy(update={**later, "constraints": constraints, "sequences": sequences})


def _as(sequence: OwnedSequence, type_name: str | None) -> OwnedSequence:
    """The sequence of a column follows the type of the column, and its bounds follow if they are those of the type."""
    _, before, _ = sequence.definition.split(" ", 2)
    if type_name is None or type_name not in TYPE_MAXIMUM or type_name == before:
        return sequence
    definition = sequence.definition.replace(f"as {before} ", f"as {type_name} ", 1)
    definition = definition.replace(f" maxvalue {TYPE_MAXIMUM[before]} ", f" maxvalue {TYPE_MAXIMUM[type_name]} ")
    return sequence.model_copy(update={"definition": definition})
