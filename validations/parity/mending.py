"""A table in which rows are locked and written, on whichever engine it is."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from tasks.model.errors import PreflightError
from validations.parity.relation import Relation
from validations.parity.side import Key, Row
from validations.parity.terms import Terms

Texts = Mapping[str, str | None]
"""What is written into columns: the exact text of each value."""
SHORT = 10
"""Times the lock budget that a statement may take: rows are locked as long."""


class Mending(Protocol):
    """One transaction that waits for no lock beyond the budget, and the table that it writes to."""

    @property
    def session(self) -> Any:
        """The session, in which a record of the ledger can be written."""

    def beside(self, relation: Relation, terms: Terms, key: Sequence[str]) -> "Mending":
        """Return another table of the same database, in the same transaction."""

    def locked(self, keys: Sequence[Key], how: Literal["update", "share"]) -> dict[Key, Row]:
        """Lock the rows of these keys that are there, and return them. Raises PreflightError where they cannot be."""

    def delete(self, key: Key) -> int:
        """Delete a row; return how many there were."""

    def insert(self, key: Key, texts: Texts) -> int:
        """Insert a row; 0: one that stands in its way has come meanwhile."""

    def update(self, key: Key, texts: Texts) -> int:
        """Write columns of a row; return how many rows there were."""


def cannot_lock(place: str, why: str) -> PreflightError:
    """Return the refusal where rows of A cannot be held."""
    return PreflightError(
        f"rows of A that B lacks cannot be locked while they are written: {why}",
        where=place,
        hint="Read from the primary, from a table of which the user may UPDATE a column; or insert them by hand.",
    )
