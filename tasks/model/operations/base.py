"""What all operations share, and how each reads and writes as a mapping with a single key.

An operation only states what is wanted. How it is done is the planner's; whether several may stand together
in one spec is in `conflicts`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import (
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from tasks.model.base import Record

Location = tuple[str | int, ...]
"""Keys and positions that lead to a value, as in the errors of pydantic."""


def refusal(reason: str, hint: str) -> PydanticCustomError:
    """Make an error for pydantic that keeps reason and hint apart."""
    return PydanticCustomError("refused", "{reason}. {hint}", {"reason": reason, "hint": hint})


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """Values that cannot stand together, found without a database."""

    at: Location
    """The value to change, seen from the record that found the contradiction."""
    reason: str
    hint: str


class Part(Record):
    """Hold one mapping of a spec.

    None means "not given", save for the fields in `null_is_a_value`: there `model_fields_set` tells a null
    that was written from a key that was left out. What was not given is left out of a dump, so that a dump
    parses to an equal record.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    null_is_a_value: ClassVar[frozenset[str]] = frozenset()

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield what cannot be meant; called once every single field is known to be good."""
        yield from ()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        found = [
            InitErrorDetails(type=refusal(one.reason, one.hint), loc=one.at, input=type(self).__name__)
            for one in self.contradictions()
        ]
        if found:
            raise ValidationError.from_exception_data(type(self).__name__, found)
        return self

    @model_serializer(mode="wrap")
    def _leave_out(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        given = {key: value for key, value in dump(self).items() if value is not None}
        # exclude_defaults would drop these too: a written null equals the default.
        nulls = self.null_is_a_value & self.model_fields_set
        return given | {name: None for name in sorted(nulls) if getattr(self, name) is None}


class Manner(StrEnum):
    """What an operation does with a column."""

    MAKES = "makes"
    CHANGES = "changes"
    """Its values; the name stays, and means the new column."""
    RENAMES = "renames"
    """The name is gone; the column, with what is attached to it, has another one."""
    REMOVES = "removes"
    """The name is gone."""
    RESTRICTS = "restricts"
    """Its constraints, default or comment; the column itself stays in place."""
    READS = "reads"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A column that an operation concerns."""

    table: str
    column: str
    manner: Manner
    at: Location
    """Where the operation names it."""


@dataclass(frozen=True, kw_only=True)
class NewName:
    """A name that an operation gives to something, and the space in which it must be the only one."""

    space: str
    name: str
    at: Location


def relation(table: str, name: str, at: Location) -> NewName:
    """Return the name of a table or index: the only one in the schema of `table`."""
    schema, _, _ = table.rpartition(".")
    return NewName(space=f"tables and indexes of schema {schema}" if schema else "tables and indexes", name=name, at=at)


def constraint(table: str, name: str, at: Location) -> NewName:
    """Return the name of a constraint: the only one on its table."""
    return NewName(space=f"constraints of {table}", name=name, at=at)


class Operation(Part, ABC):
    """State one change of the database."""

    kind: ClassVar[str]
    """The single key under which a spec holds it."""

    @property
    @abstractmethod
    def tables(self) -> tuple[str, ...]:
        """Names of the tables it makes or changes, as written."""

    @property
    def referenced(self) -> tuple[str, ...]:
        """Names of the tables that its foreign keys point to, as written; they are locked, never changed."""
        return ()

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Names of the tables that no other operation of the spec may concern, as written."""
        return ()

    def settles(self) -> Iterator[str]:
        """Yield, in words, what only one operation of a spec can decide."""
        yield from ()

    def claims(self) -> Iterator[Claim]:
        """Yield every column it concerns by name; expressions are not looked into."""
        yield from ()

    def new_names(self) -> Iterator[NewName]:
        """Yield the names it gives to tables, indexes and constraints."""
        yield from ()

    def known_names(self) -> Iterator[NewName]:
        """Yield the names, as they are now, of what it drops or renames."""
        yield from ()
