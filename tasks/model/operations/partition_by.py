"""How a table that is made anew divides its rows into partitions."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from tasks.model.names import Identifier
from tasks.model.operations.base import Contradiction, Part
from tasks.model.operations.text import Text

Value = StrictInt | Text
Values = Annotated[tuple[Value, ...], Field(min_length=1)]


class Partition(Part):
    """One partition. Of `hash` it has a name alone: as many as there are divide the rows among them."""

    name: Identifier
    """In the schema of the table."""
    from_: Values | None = Field(None, alias="from")
    """Of `range`: the least value of each column; without it there is none."""
    to: Values | None = None
    """Of `range`: the value of each column before which it ends; without it there is none."""
    values: Values | None = None
    """Of `list`: what the column has."""
    default: StrictBool = False
    """It takes what no other partition takes."""

    @property
    def given(self) -> frozenset[str]:
        """Return which rows it takes, by the keys that say so."""
        named = {"from": self.from_, "to": self.to, "values": self.values, "default": self.default or None}
        return frozenset(name for name, value in named.items() if value is not None)


class PartitionBy(Part):
    """Divide the rows of a table by the values of columns, which belong to every unique key of it."""

    strategy: Literal["range", "list", "hash"]
    columns: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    partitions: Annotated[tuple[Partition, ...], Field(min_length=1)]

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse partitions that are not of this kind, and names that stand twice."""
        if self.strategy == "list" and len(self.columns) > 1:
            yield Contradiction(
                at=("columns",), reason="a list is one of values of one column", hint="Name one column."
            )
        names = [one.name for one in self.partitions]
        for number, one in enumerate(self.partitions):
            at = ("partitions", number)
            if one.name in names[:number]:
                yield Contradiction(
                    at=(*at, "name"), reason=f"{one.name!r} is listed twice", hint="Give each a name of its own."
                )
            yield from self._of_another_kind(one, at)
        if sum(one.default for one in self.partitions) > 1:
            yield Contradiction(at=("partitions",), reason="there are two defaults", hint="Leave one.")

    def _of_another_kind(self, one: Partition, at: tuple[str | int, ...]) -> Iterator[Contradiction]:
        known = {
            "range": ({"from"}, {"to"}, {"from", "to"}, {"default"}),
            "list": ({"values"}, {"default"}),
            "hash": ((),),
        }
        if one.given not in [frozenset(each) for each in known[self.strategy]]:
            hint = {
                "range": "Give from, to, or both; or `default: true`.",
                "list": "Give values, or `default: true`.",
                "hash": "Give its name alone.",
            }[self.strategy]
            yield Contradiction(
                at=at, reason=f"{one.name!r} does not say which rows of a {self.strategy} it takes", hint=hint
            )
        for key, bound in (("from", one.from_), ("to", one.to)):
            if bound is not None and len(bound) != len(self.columns):
                yield Contradiction(
                    at=(*at, key),
                    reason=f"{len(bound)} values for {len(self.columns)} columns",
                    hint="Give one for each column.",
                )
