"""What the operations of a spec contribute to the plan of one table, before it becomes a list of steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.engines.postgresql.planning.dual_write import DualWrite, literal
from tasks.engines.postgresql.planning.move import Move, Restriction
from tasks.engines.postgresql.planning.rehearsal import Rehearsal
from tasks.engines.postgresql.planning.restrictions.late import NewForeignKey, NewKey
from tasks.engines.postgresql.planning.shape import Shape
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.model.catalogue import Column, Constraint, Table
from tasks.model.names import own_name, quote
from tasks.model.operations import CreateIndex
from tasks.model.plan import Comparison, Finding, Requirement
from tasks.model.steps import ConcurrentIndex, Lock, LockMode, Phase, Step


@dataclass(kw_only=True)
class TableDraft:
    """The plan of one table as it grows."""

    table: Table
    rehearsal: Rehearsal
    spec: SpecDraft
    shape: Shape
    migration: str
    search_path: str
    key: tuple[str, ...] = ()
    expand: list[Move] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    """Physical columns that the migration adds, in their order, by their names before the swap."""
    indexes: list[Step] = field(default_factory=list)
    unique_indexes: list[Step] = field(default_factory=list)
    restrictions: list[Restriction] = field(default_factory=list)
    cleared: list[Step] = field(default_factory=list)
    """What makes room for restrictions, between adding and validating them."""
    not_null: list[str] = field(default_factory=list)
    """Physical columns, by their name before the swap."""
    moves: list[Move] = field(default_factory=list)
    restored: list[Restriction] = field(default_factory=list)
    """Constraints of the old shape that a rollback adds NOT VALID and validates afterwards."""
    restored_not_null: list[str] = field(default_factory=list)
    before_rollback: list[Step] = field(default_factory=list)
    swap_locks: list[Lock] = field(default_factory=list)
    lock_order: list[str] = field(default_factory=list)
    """In which order applications lock tables that are kept in step: the other way round nobody would get them all."""
    drains: list[str] = field(default_factory=list)
    """Calls that carry writes that wait, before the swap and before it is undone; each returns how many it carried."""
    view_locks: list[Lock] = field(default_factory=list)
    """Of the views that show the table: a statement through a view locks that first, and so does the swap."""
    contract: list[str] = field(default_factory=list)
    tidy: list[str] = field(default_factory=list)
    bypass_triggers: bool = False
    requirements: list[Requirement] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    """Beside those of the columns that dual write fills."""
    findings: list[Finding] = field(default_factory=list)
    drawn: dict[str, str] = field(default_factory=dict)
    """New columns that draw from a sequence which the migration makes, and its quoted, qualified name."""
    touched: set[str] = field(default_factory=set)
    """Old columns that an operation replaces or removes."""
    renamed: dict[str, str] = field(default_factory=dict)
    altered: dict[str, str] = field(default_factory=dict)
    """Old columns that get a new physical column, and its name before the swap."""
    late_checks: list[str] = field(default_factory=list)
    late_uniques: list[NewKey] = field(default_factory=list)
    late_references: list[NewForeignKey] = field(default_factory=list)
    late_indexes: list[tuple[CreateIndex, str]] = field(default_factory=list)
    attach: list[Move] = field(default_factory=list)
    """Indexes that become constraints, before the swap."""
    inbound: list[Restriction] = field(default_factory=list)
    """Foreign keys of other tables, towards the new column."""
    key_not_null: list[str] = field(default_factory=list)
    """Columns that have to be NOT NULL again before a rollback can make them a primary key."""
    after_rename: list[Move] = field(default_factory=list)
    """What the new columns get at the swap, once the names are free."""
    last: list[Move] = field(default_factory=list)
    """What comes at the very end of the swap, and is undone before anything else."""
    dropped_constraints: dict[str, str] = field(default_factory=dict)
    """Constraints that the new shape does not have, and where the spec says so."""
    passing_constraints: list[str] = field(default_factory=list)
    """Constraints that stand from the swap until the contract, and are never validated."""
    renamed_constraints: dict[str, str] = field(default_factory=dict)
    commented: set[str] = field(default_factory=set)
    renamed_to: str | None = None
    """The name that the table itself gets at the swap; a view then has the old one."""
    renamed_last: str | None = None
    """The name that the table gets at the very end, because its shape changes, too; until then a view has it."""
    dropped_at: str | None = None
    """Where in the spec the table is dropped."""
    replica_identity: tuple[str | None, str] | None = None
    """The index that becomes it, if it is one, and where in the spec."""

    @property
    def real(self) -> str:
        """The table, quoted and qualified."""
        return f"{quote(self.table.schema_name)}.{quote(self.table.name)}"

    @property
    def real_after(self) -> str:
        """The same after the swap."""
        return f"{quote(self.table.schema_name)}.{quote(self.renamed_to or self.table.name)}"

    @property
    def last_name(self) -> str:
        """The name of the table once the migration is contracted, without its schema."""
        return self.renamed_last or self.renamed_to or self.table.name

    @property
    def regclass(self) -> str:
        """SQL that finds the table itself, on either side of the swap."""
        if self.renamed_to is None:
            return f"{literal(self.real)}::pg_catalog.regclass"
        return f"""(select t.oid from pg_catalog.pg_class t join pg_catalog.pg_namespace s on s.oid = t.relnamespace
  where s.nspname = {literal(self.table.schema_name)} and t.relkind = 'r'
    and t.relname in ({literal(self.table.name)}, {literal(self.renamed_to)}))"""

    @property
    def full_name(self) -> str:
        """The table's key in catalogue, ledger and reports."""
        return self.table.full_name

    @property
    def dual(self) -> DualWrite:
        """The trigger of this table."""
        return DualWrite(
            migration=self.migration,
            table=self.real,
            full_name=self.full_name,
            alias=self.table.name,
            search_path=self.search_path,
            shape=self.shape,
            key=self.key,
        )

    @property
    def lasting(self) -> dict[str, str]:
        """Map names of the new shape to the columns, as called before the swap, that hold them after contract.

        Of a renamed column it is the original that stays: what is built on the copy would go with it.
        """
        return self.shape.new(swapped=False) | {new: old for old, new in self.renamed.items()}

    @property
    def fed_by_down(self) -> set[str]:
        """Old columns that hold what `down` gives once the swap is made."""
        return set(self.altered) | {r.name for r in self.shape.retired if r.name not in self.renamed}

    @property
    def exclusive(self) -> Lock:
        """The lock of nearly every ALTER TABLE."""
        return Lock(table=self.real, mode=LockMode.ACCESS_EXCLUSIVE)

    def alter(self, *actions: str) -> str:
        """Return one ALTER TABLE of this table."""
        return f"alter table {self.real} {', '.join(actions)}"

    def swap(self, forward: Iterable[str] = (), inverse: Iterable[str] = ()) -> None:
        """Add a move to the swap."""
        self.moves.append(Move(forward=tuple(forward), inverse=tuple(inverse)))

    def later(self, forward: Iterable[str] = (), inverse: Iterable[str] = ()) -> None:
        """Add a move that comes after the exchange of names."""
        self.after_rename.append(Move(forward=tuple(forward), inverse=tuple(inverse)))

    def restrict(
        self, name: str, definition: str, *, locks: Sequence[Lock] = (), validated: bool = True
    ) -> Restriction:
        """Add a constraint that meets applications only after approval."""
        restriction = Restriction(
            table=self.real,
            full_name=self.full_name,
            name=name,
            definition=definition,
            other_locks=tuple(locks),
            validated=validated,
        )
        self.restrictions.append(restriction)
        return restriction

    def index_step(
        self, name: str, create: str, *, unique: bool, title: str, consumed: bool = False, drain: str = ""
    ) -> Step:
        """Return the step that builds an index without blocking writers."""
        chosen = Phase.CONSTRAIN if unique else Phase.INDEX
        return Step(
            key=f"{chosen}/{self.full_name}/index {name}",
            phase=chosen,
            title=title,
            undo=f"drop index {name} concurrently",
            action=ConcurrentIndex(
                table=self.real,
                schema_name=self.table.schema_name,
                name=name,
                create=create,
                consumed=consumed,
                drain=drain,
            ),
        )

    def add_column(self, name: str, definition: str, *, like: Column | None = None, default: str = "") -> None:
        """Add a physical column at once, with the storage settings of the column it stands for."""
        column = quote(name)
        self.added.append(name)
        collation = f" collate {like.collation}" if like and like.collation else ""
        forward = [self.alter(f"add column {column} {definition}{collation}{default}")]
        if like and like.storage:
            forward.append(self.alter(f"alter column {column} set storage {like.storage}"))
        if like and like.compression:
            forward.append(self.alter(f"alter column {column} set compression {like.compression}"))
        if like and like.statistics_target is not None:
            forward.append(self.alter(f"alter column {column} set statistics {like.statistics_target}"))
        if like and like.options:
            forward.append(self.alter(f"alter column {column} set ({', '.join(like.options)})"))
        self.expand.append(Move(forward=tuple(forward), inverse=(self.alter(f"drop column if exists {column}"),)))

    def comment(self, column: str, text: str | None) -> None:
        """Set the comment of a column that did not exist before."""
        value = literal(text) if text is not None else "null"
        self.swap(forward=[f"comment on column {self.real}.{quote(column)} is {value}"])

    def relax(self, column: Column, *, after: str) -> None:
        """Let new applications leave a retired column alone: no NOT NULL, no default, until rolled back."""
        name = quote(after)
        if not column.nullable:
            self.swap(forward=[self.alter(f"alter column {name} drop not null")])
        if column.default is not None:
            self.swap(
                forward=[self.alter(f"alter column {name} drop default")],
                inverse=[self.alter(f"alter column {name} set default {column.default}")],
            )

    def restore_not_null(self, column: Column) -> None:
        """Let a rollback check again, not yet validated, what `relax` lets go; planned before any rename."""
        if not column.nullable and not self.never_null(column):
            self.restored_not_null.append(column.name)
            self.swap(inverse=[self.not_null_check(column.name).add])

    def named_not_null(self, column: str) -> Constraint | None:
        """Return the NOT NULL of a column where it has a name, or a comment, of its own (PostgreSQL 18)."""
        return next((c for c in self.table.constraints if c.kind == "not null" and c.columns == (column,)), None)

    def set_not_null(self, column: str) -> str:
        """Return the statements that make a column NOT NULL again, under the name that this had."""
        named = self.named_not_null(column)
        if named is None:
            # From 18 on it has a name, and the server would choose another one where a second table has this one.
            usual = f"{self.table.name}_{column}_not_null"
            if int(self.spec.catalogue.version.partition(".")[0]) >= 18 and len(usual.encode()) <= 63:
                return self.alter(f"add constraint {quote(usual)} not null {quote(column)}")
            return self.alter(f"alter column {quote(column)} set not null")
        added = self.alter(f"add constraint {quote(named.name)} {named.definition}")
        return f"{added}; {self.comment_on(named)}"

    def comment_on(self, constraint: Constraint) -> str:
        """Return the statement that gives a constraint its comment, or takes it away."""
        text = literal(constraint.comment) if constraint.comment is not None else "null"
        return f"comment on constraint {quote(constraint.name)} on {self.real} is {text}"

    def not_null_check(self, column: str) -> Restriction:
        """Return the CHECK whose validation spares SET NOT NULL its scan."""
        return Restriction(
            table=self.real,
            full_name=self.full_name,
            name=own_name("not_null", column),
            definition=f"check ({quote(column)} is not null)",
        )

    def remove_new_shape(self) -> tuple[str, ...]:
        """Return the statements that end dual write and drop what it fed, in one transaction.

        Apart, a new column that is NOT NULL would meet writes that nobody fills it for.
        """
        drops = [f"drop column if exists {quote(t.before)}" for t in self.shape.targets]
        return (*self.dual.drop(), *((self.alter(*drops),) if drops else ()))

    def comes_off(self, constraint: Constraint) -> bool:
        """Tell whether the swap drops a constraint: the new shape has none, or `down` could break it."""
        return bool({*constraint.columns} & self.fed_by_down) or constraint.name in self.dropped_constraints

    def in_primary_key(self, column: str) -> bool:
        """Tell whether the column belongs to the primary key."""
        return any(index.primary and column in index.columns for index in self.table.indexes)

    def never_null(self, column: Column) -> bool:
        """Tell whether the column cannot be what it is without NOT NULL, not even for a moment."""
        return self.in_primary_key(column.name) or bool(column.identity)

    def key_list(self) -> str:
        """The key columns, quoted, for a select list."""
        return ", ".join(quote(column) for column in self.naming) or "1"

    @property
    def naming(self) -> tuple[str, ...]:
        """The columns that name a row in reports: those of the backfill, or the primary key."""
        primary = next((one for one in self.table.constraints if one.kind == "primary key"), None)
        return self.key or (primary.columns if primary is not None else ())
