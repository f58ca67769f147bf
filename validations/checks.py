"""What a gate holds: checks, as values that are made without a database and evaluated against one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from profiles.model import Probes
from tasks.model.base import Record
from tasks.model.catalogue import Catalogue
from tasks.model.names import quote
from tasks.model.outcome import Outcome
from tasks.model.plan import differing
from tasks.model.probe import Probe, Reading
from tasks.model.spec import BoundSuite
from tasks.model.status import GateResult


class RowCheck(Record):
    """An equality that must hold in every row of `source` that `where` selects.

    Passes only if rows were compared, or if `table` itself holds no row at that moment.
    """

    kind: Literal["rows"] = "rows"
    name: str
    table: str
    key: tuple[str, ...]
    """Columns of `source` that name a row in reports."""
    stored: str
    """SQL of the stored side; a list of expressions is compared as a row."""
    computed: str
    source: str
    """A FROM item."""
    where: str = "true"
    exact: bool = True
    """Compare binary images, so that 1.0 differs from 1.00; otherwise values."""

    @property
    def differs(self) -> str:
        """SQL that is true, never null, in a row that breaks the equality."""
        return differing(self.stored, self.computed, exact=self.exact)

    @property
    def relation(self) -> str:
        """`table`, quoted."""
        schema, _, name = self.table.rpartition(".")
        return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


class QueryCheck(Record):
    """A query that must return no row."""

    kind: Literal["query"] = "query"
    name: str
    table: str
    violations: str
    """A query with a row for each violation, its key first."""
    key_width: Annotated[int, Field(ge=1)] = 1
    """How many columns, from the left, name a violation."""
    structural: bool = False
    """The first column names objects of the catalogue, not rows: it may appear in every report."""


Check = Annotated[RowCheck | QueryCheck, Field(discriminator="kind")]


class Gate(Record):
    """What must hold at one point of a migration. A gate without checks never passes."""

    name: str
    migration: str
    checks: tuple[Check, ...] = ()
    suites: tuple[str | BoundSuite, ...] = ()
    """Great Expectations suites of the user, each `package.module:function@schema.table` or
    `path/to/suite.json@schema.table`."""

    probes: tuple[Probe, ...] = ()
    """Queries that must not be worse than before the first change."""

    outcome: Outcome | None = None
    """What the plan says the tables are by now."""

    catalogue: Catalogue | None = None
    """What they were before; together with `outcome`."""

    def evaluate(
        self,
        url: str,
        *,
        values_in_reports: bool = False,
        search_path: str = "public",
        before: Mapping[str, Reading] = MappingProxyType({}),
        probes: Probes | None = None,
    ) -> GateResult:
        """Evaluate the gate on a database; see `validations.gates.evaluate`."""
        from validations.gates import evaluate  # noqa: PLC0415 - a record knows its evaluation only by name

        return evaluate(
            self, url, values_in_reports=values_in_reports, search_path=search_path, before=before, probes=probes
        )
