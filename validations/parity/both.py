"""The two tables together: what can be read of both at one moment, and what only one after the other."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from validations.parity.postgresql import PostgresSide
from validations.parity.settle import Seen
from validations.parity.side import Key, Row
from validations.parity.sides import AnySide
from validations.parity.terms import Terms


@dataclass(frozen=True, kw_only=True)
class Both:
    """A and B, and their expressions."""

    a: AnySide
    b: AnySide
    terms_a: Terms
    terms_b: Terms

    @property
    def together(self) -> tuple[PostgresSide, PostgresSide] | None:
        """Both sides where they are in one database, so that one snapshot holds both."""
        a, b = self.a, self.b
        if isinstance(a, PostgresSide) and isinstance(b, PostgresSide) and a.identity == b.identity:
            return a, b
        return None

    @contextmanager
    def passing(self) -> Generator[None, None, None]:
        """Read within one snapshot where there can be one: then nothing that is written meanwhile looks different."""
        if self.together is None:
            yield
            return
        a, b = self.together
        with a.snapshot(), b.snapshot_of(a):
            yield

    def observe(self, keys: Sequence[Key]) -> dict[Key, Seen]:
        """Look rows up on both sides; without a common snapshot A before and after B."""
        if self.together is not None:
            a, b = self.together
            with b.looking_with(a):
                of_a, of_b = _of(a, self.terms_a, keys), _of(b, self.terms_b, keys)
            return {key: Seen(a=of_a.get(key), b=of_b.get(key), steady=True) for key in keys}
        before = _of(self.a, self.terms_a, keys)
        of_b = _of(self.b, self.terms_b, keys)
        after = _of(self.a, self.terms_a, keys)
        return {key: Seen(a=after.get(key), b=of_b.get(key), steady=before.get(key) == after.get(key)) for key in keys}


def _of(side: AnySide, terms: Terms, keys: Sequence[Key]) -> dict[Key, Row]:
    return side.look(terms, keys) if terms.key else side.count(terms, keys)
