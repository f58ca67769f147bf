"""How each engine says what the rules need."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

from tasks.engines.mysql.names import quote as quote_for_mariadb
from tasks.model.names import quote


class Words(ABC):
    """SQL of one engine, written so that Great Expectations sends it as it stands."""

    @abstractmethod
    def quoted(self, name: str) -> str:
        """Quote a name."""

    @abstractmethod
    def same(self, one: str, other: str) -> str:
        """Return what is true of equal values, NULL included, and else false."""

    @abstractmethod
    def number(self, column: str, of: str = "") -> str:
        """Return a column as a decimal, without losing a digit."""

    @abstractmethod
    def row(self, columns: Sequence[str]) -> str:
        """Return columns as one text."""

    def sum(self, column: str, of: str = "") -> str:
        """Return the exact sum of a column."""
        return f"sum({self.number(column, of)})"

    def table(self, name: str) -> str:
        """Quote `schema.table`, or `table`."""
        schema, _, table = name.rpartition(".")
        return f"{self.name(schema)}.{self.name(table)}" if schema else self.name(table)

    def name(self, name: str) -> str:
        """Quote a name. Great Expectations reads braces and colons in a query as places for values."""
        if not isinstance(name, str) or not name or any(mark in name for mark in "{}:%\0"):
            raise ValueError("a name of a column or table is a text without braces, colons and per cent signs")
        return self.quoted(name)


class PostgresWords(Words):
    """SQL of PostgreSQL."""

    def quoted(self, name: str) -> str:
        """Quote a name."""
        return quote(name)

    def same(self, one: str, other: str) -> str:
        """Return what is true of equal values, NULL included, and else false."""
        return f"{one} is not distinct from {other}"

    def number(self, column: str, of: str = "") -> str:
        """Return a column as a decimal. A cast would leave six digits of a `real`, its text has them all."""
        name = f"{of}{self.name(column)}"
        floating = "('real'::regtype, 'double precision'::regtype)"
        return f"case when pg_typeof({name}) in {floating} then {name}::text::numeric else {name}::numeric end"

    def row(self, columns: Sequence[str]) -> str:
        """Return columns as one text."""
        each = ", ".join(f"{column}::text" for column in columns) or "'all'"
        return f"row({each})::text"


class MariaWords(Words):
    """SQL of MariaDB."""

    def quoted(self, name: str) -> str:
        """Quote a name."""
        return quote_for_mariadb(name)

    def same(self, one: str, other: str) -> str:
        """Return what is true of equal values, NULL included, and else false."""
        return f"{one} <=> {other}"

    def number(self, column: str, of: str = "") -> str:
        """Return a column as a decimal. The text of a FLOAT has six digits: then that of the same DOUBLE is taken."""
        name = f"{of}{self.name(column)}"
        written = f"cast(concat({name}) as decimal(65,30))"
        exact = f"abs({written} - {name}) < 1e-30"
        return f"case when {exact} then {written} else cast(concat({name} + 0e0) as decimal(65,30)) end"

    def row(self, columns: Sequence[str]) -> str:
        """Return columns as one text."""
        return f"json_array({', '.join(columns)})"


WORDS: Final[Mapping[str, Words]] = {"postgresql": PostgresWords(), "mariadb": MariaWords()}
