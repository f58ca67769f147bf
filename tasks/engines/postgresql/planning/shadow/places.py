"""Where a table and its shadow live, and how their names look to the server.

The shadow is made in a schema of its own, under the names that everything shall have in the end: table, indexes,
constraints. At the swap the two tables change schemas, and nothing has to be renamed.
"""

import hashlib
from dataclasses import dataclass

from tasks.engines.postgresql.blockers import Connection
from tasks.model.catalogue import Table
from tasks.model.names import quote


@dataclass(frozen=True, kw_only=True)
class Places:
    """The schemas of one table in one migration."""

    migration: str
    schema: str
    """Where applications look for it."""
    name: str

    @property
    def tag(self) -> str:
        """A short name, the same in every process."""
        return hashlib.sha256(f"{self.migration}\0{self.schema}.{self.name}".encode()).hexdigest()[:12]

    @property
    def new(self) -> str:
        """The schema of the shadow until the swap."""
        return f"_changeover_new_{self.tag}"

    @property
    def old(self) -> str:
        """The schema of the old table after it."""
        return f"_changeover_old_{self.tag}"

    def at(self, schema: str) -> str:
        """The table in a schema, quoted and qualified."""
        return f"{quote(schema)}.{quote(self.name)}"

    @property
    def real(self) -> str:
        """The table that applications see, quoted and qualified."""
        return self.at(self.schema)

    def notes(self, schema: str) -> str:
        """The table of notes in one of our schemas."""
        return f'{quote(schema)}."_changeover_notes"'

    def carried(self, schema: str) -> str:
        """The table that tells when a note was last carried over, in one of our schemas."""
        return f'{quote(schema)}."_changeover_carried"'

    def aside(self, schema: str) -> str:
        """The table of rows that make room for others, in one of our schemas."""
        return f'{quote(schema)}."_changeover_aside"'


def printed(conn: Connection, *names: str) -> str:
    """Return a qualified name as the server prints it: quoted only where that is needed."""
    row = conn.execute(
        "select string_agg(quote_ident(name), '.' order by n) from unnest(%s::text[]) with ordinality as t (name, n)",
        (list(names),),
    ).fetchone()
    assert row is not None
    return str(row[0])


def moved(conn: Connection, definition: str, table: Table, schema: str) -> str:
    """Return the definition of an index, or of statistics, for the same table in another schema."""
    here, there = printed(conn, table.schema_name, table.name), printed(conn, schema, table.name)
    for before, after in (
        (f" ON {here} ", f" ON {there} "),
        (f" ON ONLY {here} ", f" ON ONLY {there} "),
        (f" FROM {here}", f" FROM {there}"),
    ):
        if before in definition:
            return definition.replace(before, after, 1)
    raise AssertionError(f"a definition without its table: {definition[:60]}")
