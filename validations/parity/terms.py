"""Values, keys and digests of one side, as SQL: what passes and look-ups are made of."""

from dataclasses import dataclass

BUCKETS = 1024
"""Into how many parts a pass divides a table, about."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The expressions of one side, over its table under the alias `t`.

    Both sides have as many keys and values, in the same order, and equal rows have equal texts and digests.
    """

    key: tuple[str, ...]
    """Text of each column of the key."""
    casts: tuple[str, ...]
    """Type of each column of the key, for looking a row up by the text of its key."""
    columns: tuple[str, ...]
    """How the table reads each column of the key."""
    values: tuple[str, ...]
    """Text of each other column."""
    digest: str
    """64 bits of the row."""
    bucket: str
    """The part that a row belongs to: it follows from the key, or without a key from the digest."""
    families: tuple[str, ...] = ()
    """Family of each other column, between engines; empty within one: its texts are exact."""
    shift: int | None = None
    """The first column of the key is a whole number, and its upper bits are the bucket; None: it is hashed."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some buckets, as a condition that an index can serve where there is one."""

    buckets: tuple[int, ...]
    """In ascending order."""

    def ranges(self, shift: int) -> list[tuple[int, int]]:
        """Return the ranges `low <= key < high` that the buckets stand for, neighbours joined."""
        found: list[tuple[int, int]] = []
        for bucket in self.buckets:
            low, high = bucket << shift, (bucket + 1) << shift
            if found and found[-1][1] == low:
                found[-1] = (found[-1][0], high)
            else:
                found.append((low, high))
        return found


def parts(buckets: list[int], *, keyed: bool, shift: int | None) -> list[Part]:
    """Divide buckets such that reading one part needs little room.

    Ranges of a key are read by the index, a few at a time; hashed buckets cost a scan a part. Without a key the
    two versions of a row lie in different buckets, but each is counted for itself.
    """
    size = 16 if shift is not None else 128 if keyed else BUCKETS
    ordered = sorted(buckets)
    return [Part(buckets=tuple(ordered[i : i + size])) for i in range(0, len(ordered), size)]
