"""What a table looks like from outside: everything that a migration must carry, compare or restore.

The records hold names and definitions, never object ids, so that the same table in another database, or
the same table dropped and made again, has the same fingerprint.
"""

from collections.abc import Collection
from typing import Literal

from tasks.model.base import Record
from tasks.model.digest import digest


class Column(Record):
    """A column, in the order of the catalogue."""

    name: str
    type: str
    """With its modifier, as `format_type` prints it."""
    nullable: bool
    """Whether NULLs may be there: a NOT NULL that is not validated (PostgreSQL 18) leaves it true."""
    default: str | None = None
    identity: Literal["", "always", "by default"] = ""
    generated: str | None = None
    """The expression of a generated column."""
    virtual: bool = False
    """A generated column that is computed when read, not stored."""
    collation: str | None = None
    """Only where it differs from the collation of the type."""
    storage: str = ""
    compression: str = ""
    statistics_target: int | None = None
    options: tuple[str, ...] = ()
    comment: str | None = None
    grants: tuple[str, ...] = ()
    """Access-control items on the column, sorted, in addition to those of the table."""


class Index(Record):
    """An index, constraint-backed or not."""

    name: str
    definition: str
    """As `pg_get_indexdef` prints it."""
    columns: tuple[str, ...]
    """Key and included columns that are plain columns, in order."""
    referenced: tuple[str, ...]
    """Every column that the index depends on, expressions and predicate included; a whole row is all of them."""
    unique: bool = False
    primary: bool = False
    valid: bool = True
    immediate: bool = True
    partial: bool = False
    expressions: bool = False
    constraint: str | None = None
    """The constraint that owns it."""
    replica_identity: bool = False
    clustered: bool = False
    tablespace: str = ""
    statistics_targets: tuple[str, ...] = ()
    """`position=target` of the expressions that have one of their own."""
    comment: str | None = None

    @property
    def without_overlaps(self) -> bool:
        """True of a key over ranges (PostgreSQL 18), which no statement of its own can build."""
        return self.unique and " USING gist " in self.definition


class Constraint(Record):
    """A constraint of the table itself.

    NOT NULL is a property of the column. PostgreSQL 18 makes it a constraint too, of the kind `not null`; it
    stands here only where it says more than the column does: not validated, not inherited, with a comment,
    or with a name that the server would not have chosen.
    """

    name: str
    kind: Literal["check", "foreign key", "primary key", "unique", "exclusion", "trigger", "not null"]
    definition: str
    """As `pg_get_constraintdef` prints it."""
    columns: tuple[str, ...]
    validated: bool = True
    deferrable: bool = False
    deferred: bool = False
    enabled: bool = True
    """False where the triggers that enforce it were disabled, or made to fire elsewhere."""
    referenced_table: str | None = None
    referenced_columns: tuple[str, ...] = ()
    comment: str | None = None


class InboundForeignKey(Record):
    """A foreign key that points here: of another table, or of the table itself (then it is a constraint too)."""

    table: str
    name: str
    definition: str
    columns: tuple[str, ...]
    """Columns of the table that has the key."""
    referenced_columns: tuple[str, ...]
    """Columns of this table."""
    validated: bool = True
    comment: str | None = None


class Trigger(Record):
    """A trigger that somebody else made."""

    name: str
    definition: str
    enabled: Literal["origin", "always", "replica", "disabled"] = "origin"
    timing: Literal["before", "after", "instead of"] = "after"
    events: tuple[str, ...] = ()
    """Of `insert`, `update`, `delete`, `truncate`."""
    row: bool = True
    update_columns: tuple[str, ...] = ()
    referenced: tuple[str, ...] = ()
    """Every column that UPDATE OF and WHEN name; a whole row, as in `old.*`, names none."""
    comment: str | None = None


class Policy(Record):
    """A row-level security policy."""

    name: str
    definition: str
    """Command, permissive or restrictive, roles, USING and WITH CHECK, as one canonical text."""
    referenced: tuple[str, ...] = ()
    """Every column that its expressions name."""
    comment: str | None = None


class OwnedSequence(Record):
    """A sequence that belongs to a column: serial or identity."""

    name: str
    """`schema.name`, unquoted."""
    column: str
    identity: bool
    definition: str
    """Type, start, increment, bounds, cache and cycle; never the position, which moves."""
    grants: tuple[str, ...] = ()
    comment: str | None = None


class Dependent(Record):
    """Something outside the table that would notice a change of a column."""

    kind: str
    """`view`, `materialized view`, `rule`, `function`, `statistics`, `publication`, `subscription`,
    `generated column` (of the same table), `default`, `column` (of the row's type), `policy`, `index`, ..."""
    name: str
    """`schema.name`, unquoted; of a generated column, its name alone."""
    columns: tuple[str, ...]
    """Those that it names; empty: it depends on the table, or on whole rows of it."""
    definition: str = ""
    """The statement that makes it, where there is one."""
    through: str = ""
    """The view that stands between it and the table; empty: it depends on the table itself."""


class TypeDefinition(Record):
    """A type that somebody made: an enum, a domain or a composite type."""

    schema_name: str
    name: str
    kind: Literal["enum", "domain", "composite type"]
    owner: str
    comment: str | None = None
    parts: tuple[str, ...]
    """The values of an enum in their order; type, default and rules of a domain; the attributes of a composite type."""

    @property
    def full_name(self) -> str:
        """`schema.name`, unquoted."""
        return f"{self.schema_name}.{self.name}"

    def is_named(self, names: Collection[str]) -> bool:
        """Tell whether it is among names as specs write them: with its schema, or without."""
        return self.name in names or self.full_name in names


class Table(Record):
    """A table and all that is attached to it."""

    schema_name: str
    name: str
    kind: Literal["table", "partitioned table", "view", "materialized view", "foreign table"] = "table"
    persistence: Literal["permanent", "unlogged", "temporary"] = "permanent"
    owner: str
    comment: str | None = None
    grants: tuple[str, ...] = ()
    """Access-control items in force, sorted; what the owner has by default is written out."""
    options: tuple[str, ...] = ()
    """Storage parameters, sorted; those of the TOAST table start with `toast.`."""
    tablespace: str = ""
    access_method: str = ""
    """How rows are stored, for example `heap`."""
    replica_identity: Literal["default", "nothing", "full", "index"] = "default"
    row_security: bool = False
    force_row_security: bool = False
    parents: tuple[str, ...] = ()
    """What it inherits from or is a partition of."""
    children: tuple[str, ...] = ()
    partition_key: str = ""
    """How a partitioned table divides its rows."""
    partition_bound: str = ""
    """Which rows of its parent a partition takes."""
    query: str = ""
    """Of a view."""
    columns: tuple[Column, ...] = ()
    indexes: tuple[Index, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    inbound: tuple[InboundForeignKey, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    policies: tuple[Policy, ...] = ()
    sequences: tuple[OwnedSequence, ...] = ()
    dependents: tuple[Dependent, ...] = ()

    @property
    def full_name(self) -> str:
        """`schema.name`, unquoted: the key of the table everywhere in Changeover."""
        return f"{self.schema_name}.{self.name}"

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def index(self, name: str) -> Index | None:
        """Return the index of this name, or None."""
        return next((index for index in self.indexes if index.name == name), None)

    def constraint(self, name: str) -> Constraint | None:
        """Return the constraint of this name, or None."""
        return next((constraint for constraint in self.constraints if constraint.name == name), None)


class Catalogue(Record):
    """The tables that a spec names, as they are at one moment (one snapshot)."""

    engine: str
    version: str
    """Of the server, for example `18.1`; not part of the fingerprint."""
    tables: tuple[Table, ...]
    """Sorted by schema and name."""

    def table(self, name: str) -> Table | None:
        """Return the table with this full name, or None."""
        return next((table for table in self.tables if table.full_name == name), None)

    @property
    def fingerprint(self) -> str:
        """A digest of everything here but the server's version."""
        return digest({"engine": self.engine, "tables": [t.model_dump(mode="json") for t in self.tables]})
