"""The two tables together: what can be read of both at one moment, and what only one after the other."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from validations.parity.postgresql import PostgresSide
from validations.parity.settle import Seen
from validations.parity.side import Key, Row
from validations.parity.terms import Terms


@dataclass(frozen=True, kw_only=True)
class Both:
    """A and B, and their expressions."""

    a: PostgresSide
    b: PostgresSide
    terms_a: Terms
    terms_b: Terms

    @property
    def together(self) -> bool:
        """Whether both are in one database, so that one snapshot holds both."""
        return together(self.a, self.b)

    @contextmanager
    def passing(self) -> Generator[None, None, None]:
        """Read within one snapshot where there can be one: then nothing that is written meanwhile looks different."""
        if not self.together:
            yield
            return
        with self.a.snapshot(), self.b.snapshot_of(self.a):
            yield

    def observe(self, keys: Sequence[Key]) -> dict[Key, Seen]:
        """Look rows up on both sides; without a common snapshot A before and after B."""
        if self.together:
            with self.b.looking_with(self.a):
                of_a, of_b = self._of(self.a, self.terms_a, keys), self._of(self.b, self.terms_b, keys)
            return {key: Seen(a=of_a.get(key), b=of_b.get(key), steady=True) for key in keys}
        before = self._of(self.a, self.terms_a, keys)
        of_b = self._of(self.b, self.terms_b, keys)
        after = self._of(self.a, self.terms_a, keys)
        return {key: Seen(a=after.get(key), b=of_b.get(key), steady=before.get(key) == after.get(key)) for key in keys}

    def _of(self, side: PostgresSide, terms: Terms, keys: Sequence[Key]) -> dict[Key, Row]:
        return side.look(terms, keys) if terms.key else side.count(terms, keys)


def together(a: PostgresSide, b: PostgresSide) -> bool:
    """Tell whether two sides are in one database of one server."""
    return a.identity == b.identity
