"""How far a table is compared with its shadow, as the ledger keeps it for the next attempt."""

from typing import Final

from tasks.engines.records import Key
from tasks.model.base import Record

MOST_KEPT: Final = 1000
"""As many keys are written down; with more of them an attempt that ends early goes on from where there were fewer."""


class Compared(Record):
    """What of a comparison is done."""

    position: Key | None = None
    """The last key that was compared."""
    held: tuple[Key, ...] = ()
    """Rows that are not in the shadow, because another row there has what is unique of them."""
    compared: int = 0
    repaired: int = 0

    @property
    def can_be_kept(self) -> bool:
        """Tell whether all of it can be written down."""
        return len(self.held) <= MOST_KEPT

    def further(self, position: Key | None, rows: int, held: tuple[Key, ...]) -> "Compared":
        """Return what is done after one more range."""
        known = tuple(dict.fromkeys(self.held + held))
        return self.model_copy(update={"position": position, "compared": self.compared + rows, "held": known})
