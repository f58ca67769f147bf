"""A plan: the one list of steps that `plan` explains and `run` executes.

A plan is complete: it holds every statement that will be sent, forward and back. `contract` and `rollback`
read it from the ledger, in another process, on another machine, and need nothing else.
"""

from typing import Literal

from tasks.model.base import Record
from tasks.model.catalogue import Catalogue, TypeDefinition
from tasks.model.conversion import Conversion
from tasks.model.digest import digest as digest_of
from tasks.model.document_steps import Reshape
from tasks.model.outcome import Outcome
from tasks.model.probe import Probe
from tasks.model.steps import Phase, Risk, Step


class Comparison(Record):
    """An equality that must hold for every row before the swap.

    `expression` is evaluated over `source`, a FROM item that gives the columns the names the author used.
    """

    name: str
    table: str
    key: tuple[str, ...]
    stored: str
    """SQL of the stored side."""
    computed: str
    """SQL of the computed side."""
    source: str
    where: str = "true"
    kind: Literal["up", "down"] = "up"
    exact: bool = True
    """Compare images; otherwise values."""
    gate: Literal["before_swap", "after_swap"] = "before_swap"

    @property
    def differs(self) -> str:
        """SQL that is true, never null, in a row that breaks the equality."""
        return differing(self.stored, self.computed, exact=self.exact)


def differing(stored: str, computed: str, *, exact: bool) -> str:
    """Return SQL that is true, never null, where two expressions differ, or lists of them; `exact`: in their images."""
    left, right = f"row(\n{stored}\n)", f"row(\n{computed}\n)"
    if exact:
        # The casts change nothing but the parser's mind: between two bare rows it takes the operator for
        # one between their fields.
        record = "pg_catalog.record"
        return f"{left}::{record} operator(pg_catalog.*<>) {right}::{record}"
    return f"{left} is distinct from {right}"


class Requirement(Record):
    """A condition that the new shape brings: rows that break it are counted by `violations`."""

    name: str
    table: str
    kind: Literal["not null", "check", "unique", "references", "parity", "structure", "standing"]
    """`structure` is asked once more under the locks of the swap; `standing`, like it about the catalogue, is not."""
    constraint: str = ""
    gate: Literal["before_run", "before_swap", "after_swap", "before_contract", "before_rollback"] = "before_swap"
    violations: str
    """A query that returns one row for each violation, key columns first; empty when all is well."""
    reads_new: bool = False
    """It reads columns that exist only once the migration has begun."""
    begun: str = ""
    """The step that lets rows break it `before_rollback`, where that is not the swap."""
    severity: Literal["error", "warning"] = "error"
    """A warning is shown, and stops nothing."""
    rows: str = ""
    """A query for the keys of the rows that are involved, where `violations` counts something else."""
    fix: str = ""
    """A statement that would mend the rows; `<value>` stands for what only people know."""


class Finding(Record):
    """Something that the preflight, or a rule, has to say."""

    rule: str
    severity: Literal["error", "warning", "note"]
    message: str
    where: str = ""
    hint: str = ""


class TableEstimate(Record):
    """Sizes, from the statistics of the database."""

    table: str
    rows: int
    bytes: int


class DumpTarget(Record):
    """Columns, or a whole table, that `contract` will destroy."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    """Names before the swap; empty: the whole table."""
    columns_after: tuple[str, ...] = ()
    """The same columns by their names after the swap."""
    table_after: str = ""
    """Where the columns are after the swap; empty: in the same table."""


class Addition(Record):
    """Columns that the migration adds to a table, by their names before the swap."""

    table: str
    columns: tuple[str, ...]


class Plan(Record):
    """What a run will do, complete and frozen."""

    migration: str
    database: str
    """The name in the profile, never a URL."""
    strategy: str = "expand_contract"
    spec: dict[str, object]
    """The spec as read, for the record."""
    spec_digest: str
    written_out: tuple[dict[str, object], ...] = ()
    """The operations that a definition of the spec stands for."""
    catalogue: Catalogue
    """Of the tables named by the spec, before anything was done."""
    types: tuple[TypeDefinition, ...] = ()
    """Enums, domains and composite types that columns of those tables had by then."""
    search_path: str
    steps: tuple[Step, ...]
    version: str | None = None
    """The schema of views that shows the new shape, if the spec asks for one."""
    comparisons: tuple[Comparison, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    dumps: tuple[DumpTarget, ...] = ()
    additions: tuple[Addition, ...] = ()
    outcome: Outcome | None = None
    """What the tables are after the swap; None where the swap compares them itself, or SQL of the author may do all."""
    estimates: tuple[TableEstimate, ...] = ()
    risk: Risk = Risk.LOW
    risk_reasons: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def digest(self) -> str:
        """Names exactly this change on exactly this catalogue, with the gates that it has to pass.

        Estimates and findings are left out: they move with the data, while what will be done does not.
        """
        # The spec has a digest of its own, and may hold numbers that canonical JSON cannot.
        moving = {"spec", "written_out", "catalogue", "estimates", "findings", "risk", "risk_reasons"}
        return digest_of(self.model_dump(mode="json", exclude=moving) | {"catalogue": self.catalogue.fingerprint})

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The queries of the spec that must not become slow."""
        named = self.spec.get("probes")
        return tuple(Probe.model_validate(one) for one in named) if isinstance(named, list | tuple) else ()

    @property
    def reshape(self) -> Reshape:
        """What the plan does to the documents of a collection, where it does that."""
        return next(s.action for s in self.steps if isinstance(s.action, Reshape) and s.action.does == "swap")

    @property
    def tables(self) -> tuple[str, ...]:
        """Full names of the tables that the plan touches, sorted: the order in which they are locked."""
        return tuple(sorted(table.full_name for table in self.catalogue.tables))

    @property
    def own_types(self) -> tuple[str, ...]:
        """The types that the migration makes, changes or drops, as its spec names them."""
        operations = self.spec.get("operations")
        listed = operations if isinstance(operations, list | tuple) else ()
        return tuple(
            str(body["name"])
            for operation in listed
            for kind, body in operation.items()
            if kind in ("create_type", "alter_type", "drop_type")
        )

    def phase(self, phase: Phase) -> tuple[Step, ...]:
        """Return the steps of one phase, in order."""
        return tuple(step for step in self.steps if step.phase is phase)
