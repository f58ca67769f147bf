"""What the operations of a spec contribute beyond existing tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tasks.engines.postgresql.transient import is_transient
from tasks.model.catalogue import Catalogue
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.plan import Finding, Requirement
from tasks.model.steps import Step

Connection = psycopg.Connection[Any]


def as_written(name: str) -> str:
    """Quote a name of the spec, with or without its schema."""
    schema, _, base = name.rpartition(".")
    return f"{quote(schema)}.{quote(base)}" if schema else quote(base)


@dataclass(kw_only=True)
class SpecDraft:
    """Steps that belong to no table that exists, and how names of the spec are resolved."""

    conn: Connection
    catalogue: Catalogue
    search_path: str
    steps: list[Step] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    created: dict[str, str] = field(default_factory=dict)
    """Names as written, of tables that the spec creates, and their quoted, qualified names."""
    last_steps: list[Step] = field(default_factory=list)
    """Of the contract, after those of all tables."""
    made_types: list[str] = field(default_factory=list)
    """Quoted and qualified, of types that the spec makes."""
    versions: frozenset[str] = frozenset()
    """Schemas of views that show versions of others, those of earlier migrations."""
    makes_version: bool = False
    version: str | None = None
    """The schema of views that this migration makes."""

    def split_name(self, name: str) -> tuple[str, str]:
        """Return schema and name; without a schema, the one in which CREATE TABLE would put it."""
        schema, _, base = name.rpartition(".")
        if schema:
            return schema, base
        row = self.conn.execute("select current_schema()").fetchone()
        if row is None or row[0] is None:
            raise SpecError(
                f"no schema of the search path {self.search_path} exists",
                where=name,
                hint="Write schema.table, or set search_path in the profile.",
            )
        return row[0], base

    def resolve_table(self, name: str, where: str) -> str:
        """Return the quoted, qualified name of a table that exists or that the spec creates."""
        if name in self.created:
            return self.created[name]
        row = self.conn.execute(
            "select format('%%I.%%I', n.nspname, c.relname), n.nspname, c.relname from pg_catalog.pg_class c"
            " join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(%s)",
            (as_written(name),),
        ).fetchone()
        if row is None:
            raise SpecError(f"there is no table {name}", where=where, hint="Check the name and the search_path.")
        return f"{quote(row[1])}.{quote(row[2])}"

    def relation_exists(self, schema: str, name: str) -> bool:
        """Tell whether the schema has a relation of this name."""
        row = self.conn.execute("select to_regclass(%s) is not null", (f"{quote(schema)}.{quote(name)}",)).fetchone()
        return bool(row and row[0])

    def parses(self, statements: Sequence[str], where: str) -> None:
        """Check the syntax of statements without running them: PL/pgSQL parses a body when it is defined."""
        body = ";\n".join(statement.rstrip().rstrip(";") for statement in statements)
        try:
            with self.conn.transaction(force_rollback=True):
                self.conn.execute(
                    "create function pg_temp.changeover_parse() returns void language plpgsql as "
                    f"$changeover_parse$ begin\n{body}\n;end $changeover_parse$"
                )
        except psycopg.Error as error:
            if is_transient(error):
                raise
            message = error.diag.message_primary or "syntax error"
            raise SpecError(message, where=where, hint="Correct the statement.") from None

    def keep(self, statement: str, where: str, hint: str = "Correct it.") -> None:
        """Run a statement that touches no table of the user, for as long as the plan is drawn up."""
        try:
            with self.conn.transaction():
                self.conn.execute(statement)
        except psycopg.Error as error:
            if is_transient(error):
                raise
            message = error.diag.message_primary or "error"
            raise SpecError(message, where=where, hint=error.diag.message_hint or hint) from None

    def tried(self, statement: str, where: str) -> None:
        """Run a statement that touches no table of the user, and roll it back."""
        with self.conn.transaction(force_rollback=True):
            self.keep(statement, where)
