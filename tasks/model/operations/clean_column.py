"""clean_column: the same values, written in one way."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, NewName, Operation, constraint

Rule = Literal["trim", "collapse_whitespace", "lower", "upper", "empty_to_null"]
"""`trim`: no white space at either end. `collapse_whitespace`: one blank for every run of white space. `lower`,
`upper`: of one case. `empty_to_null`: NULL for a text without a character."""


class CleanColumn(Operation):
    """Clean the values of a text column, in the order of the rules.

    They go to a new column that takes its place at the swap; a rollback finds the old ones as they were.
    """

    kind: ClassVar[str] = "clean_column"

    table: TableName
    column: Identifier
    rules: tuple[Rule, ...] = ()
    values: Annotated[Mapping[str, str], Field(min_length=1)] | None = None
    """What a value becomes that is whole one of these, once the rules have been followed."""
    nulls: tuple[str, ...] = ()
    """Values that become NULL, once the rules have been followed: `n/a`."""
    check: Identifier | None = None
    """The name of a constraint that keeps the column clean from then on."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the column."""
        return (self.table,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse nothing to do, a rule that is there twice, both cases, and values that lead to values."""
        if not self.rules and self.values is None and not self.nulls:
            yield Contradiction(at=(), reason="nothing is to be cleaned", hint="Add rules, values or nulls.")
        for position, rule in enumerate(self.rules):
            if rule in self.rules[:position]:
                yield Contradiction(
                    at=("rules", position), reason=f"{rule} is there twice", hint="Remove one of the two."
                )
        if {"lower", "upper"} <= {*self.rules}:
            yield Contradiction(at=("rules",), reason="lower and upper undo each other", hint="Keep one of the two.")
        for value, becomes in (self.values or {}).items():
            if value in self.nulls:
                yield Contradiction(at=("values", value), reason="it becomes NULL already", hint="Keep one of the two.")
            if becomes in {*(self.values or {}), *self.nulls} and becomes != value:
                yield Contradiction(
                    at=("values", value),
                    reason=f"{becomes!r} is itself to become something else",
                    hint="Write where each value ends.",
                )

    def claims(self) -> Iterator[Claim]:
        """Change the column."""
        yield Claim(table=self.table, column=self.column, manner=Manner.CHANGES, at=("column",))

    def new_names(self) -> Iterator[NewName]:
        """Name the constraint, if there is to be one."""
        if self.check is not None:
            yield constraint(self.table, self.check, ("check",))
