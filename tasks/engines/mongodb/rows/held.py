"""What a database that takes documents as rows has for their values: types, and the text that is sent for each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from tasks.engines.mongodb.rows.decode import kind_of
from tasks.engines.mongodb.values import UnfitError

Made = Callable[[Any], str]
ANY: Final = "any"
"""The kind of a column that takes values of every kind."""


@dataclass(frozen=True, kw_only=True)
class HeldType:
    """A type, taken to pieces."""

    name: str
    arguments: tuple[int, ...] = ()
    unsigned: bool = False

    @property
    def written(self) -> str:
        """As it stands in a statement."""
        listed = f"({', '.join(map(str, self.arguments))})" if self.arguments else ""
        return f"{self.name}{listed}{' unsigned' if self.unsigned else ''}"

    @property
    def scale(self) -> int:
        """The digits after the point of a number with arguments."""
        return self.arguments[1] if len(self.arguments) == 2 else 0


class Types(ABC):
    """The types of one database.

    What is sent is text, as it reads it, not yet escaped. Databases round numbers and moments to the type without a
    word: so whatever it would change does not fit.
    """

    database: ClassVar[str]
    """As people call it."""
    json: ClassVar[tuple[str, ...]]
    rest: ClassVar[str]
    """The one of these that takes what has no column."""
    texts: ClassVar[tuple[str, ...]]
    constants: ClassVar[Mapping[type, str]]
    """Types of values that are the same in every row."""
    listed: ClassVar[str]
    """Which there are, as a hint."""
    longest_key: ClassVar[int] = 0
    """Bytes of the columns of a key together; 0 where their types see to it."""

    @abstractmethod
    def type_of(self, wanted: str) -> HeldType | None:
        """Take a type to pieces; None for one that is not known here."""

    @abstractmethod
    def chosen(self, kinds: Set[str], whole: int, *, key: bool) -> str:
        """Return the type for values of kinds that were seen, perhaps in the key.

        `whole` is what is known of numbers: at most 32 or 64 bits, 1 where some are doubles, 0 where some are decimals.
        """

    @abstractmethod
    def taken(self, of: HeldType) -> tuple[str, ...]:
        """Return the kinds that a type takes; the first one unless the documents have another."""

    @abstractmethod
    def plain_maker(self, kind: str, of: HeldType) -> Made:
        """Return what makes the text of a value that is known to be of the kind. It raises UnfitError."""

    @abstractmethod
    def json_text(self, value: Any, *, tagged: bool) -> str:
        """Return JSON; extended JSON of what has no counterpart in it where `tagged`. Raises UnfitError."""

    @abstractmethod
    def any_maker(self, of: HeldType) -> Made:
        """Return what makes the text of a value of any kind in a type of texts. It raises UnfitError."""

    @abstractmethod
    def range_of(self, of: HeldType) -> tuple[int, int] | None:
        """Return the first and the last number of a type of integers; None for others."""

    @abstractmethod
    def form_of(self, of: HeldType) -> Literal["plain", "text", "bytes"]:
        """Tell what is sent for values of a type."""

    @abstractmethod
    def takes_name(self, name: str) -> bool:
        """Tell whether a column can be called so."""

    def kind_for(self, of: HeldType, seen: Mapping[str, int], unfit: str) -> str | None:
        """Return the kind of the values that a column holds; None where it holds none of those that were seen."""
        if of.name in self.json or (of.name in self.texts and unfit == "string"):
            return ANY
        taken = self.taken(of)
        found = [kind for kind in taken if kind in seen]
        if not found:
            return None if seen else taken[0]
        return max(found, key=lambda kind: seen[kind])

    def maker(self, kind: str, of: HeldType, unfit: str) -> Made:
        """Return what makes the text of a value that is there. It raises UnfitError with the reason."""
        if of.name in self.json:
            return lambda value: self.json_text(value, tagged=unfit == "tag")
        if kind == ANY:
            return self.any_maker(of)
        make = self.plain_maker(kind, of)

        def made(value: Any) -> str:
            is_ = kind_of(value)
            if is_ != kind:
                raise UnfitError(f"a value of the kind {is_}, where {kind} is held")
            return make(value)

        return made
