"""The operations of a spec while they are put together, and why two of them are not."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.model.operations.base import Operation


class ApartError(Exception):
    """Two operations cannot be put together; `reason` says why, `hint` what to do instead."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


OF_ITS_OWN = "Put the second one into a migration of its own."


@dataclass(kw_only=True)
class Entry:
    """An operation that is carried out, and the number of the one that asked for it."""

    number: int
    operation: Operation
    said: dict[str, str] = field(default_factory=dict)
    """Where in the spec its author wrote what stands somewhere in it, for what another operation gave."""
    twice: bool = False
    """It is two conversions of one column."""


@dataclass(kw_only=True)
class Operations:
    """What is carried out, in its order, and what was put together on the way."""

    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kinds: dict[int, str] = field(default_factory=dict)
    """Of the operations that were asked for, by their numbers."""
    statements: int = -1
    """The number of the last one so far that runs statements of the author's own."""

    def add(self, number: int, operation: Operation) -> Entry:
        """Carry out one more, after all others."""
        entry = Entry(number=number, operation=operation)
        self.entries.append(entry)
        return entry

    def before(self, entry: Entry, number: int, operation: Operation) -> None:
        """Carry out one more, right before another."""
        self.entries.insert(self.entries.index(entry), Entry(number=number, operation=operation))

    def remove(self, *entries: Entry) -> None:
        """Carry them out no more."""
        self.entries = [entry for entry in self.entries if not any(entry is one for one in entries)]

    def of_table(self, table: str) -> Iterator[Entry]:
        """Give what concerns, or refers to, a table."""
        return (e for e in self.entries if table in (*e.operation.tables, *e.operation.referenced))

    def name(self, number: int) -> str:
        """Return how the author's operation of a number is called."""
        return f"operations[{number}].{self.kinds[number]}"

    def note(self, number: int, comes_to: str) -> None:
        """Remember what became of an operation."""
        self.notes.append(f"{self.name(number)} {comes_to}")

    def one_after_the_other(self, first: int, second: int) -> None:
        """Refuse to put two together across statements, which may need what is between them."""
        if first < self.statements < second:
            sql = self.name(self.statements)
            raise ApartError(
                f"{sql} stands between it and {self.name(first)}: put together, the two take effect at one moment, and"
                " its statements may need what is there between them; a function, a view or a trigger can reach that"
                " without its name",
                f"Put {sql} before both, or after them, if it can be there; or {OF_ITS_OWN[0].lower()}{OF_ITS_OWN[1:]}",
            )
