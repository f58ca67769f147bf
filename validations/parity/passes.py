"""Passes over both tables: which parts differ, and which rows of them may."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from validations.parity.side import Key, Side, order
from validations.parity.terms import Terms, parts

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What the first pass says."""

    rows_a: int
    rows_b: int
    buckets: list[int]
    """Parts whose count or digest differ."""


def digests(a: Side, b: Side, terms_a: Terms, terms_b: Terms) -> Pass:
    """Read both tables once, at the same time, and return which parts of them differ."""
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="parity") as pool:
        asked = pool.submit(a.buckets, terms_a), pool.submit(b.buckets, terms_b)
        of_a, of_b = (one.result() for one in asked)
    return Pass(
        rows_a=sum(count for count, _ in of_a.values()),
        rows_b=sum(count for count, _ in of_b.values()),
        buckets=sorted(bucket for bucket in of_a.keys() | of_b.keys() if of_a.get(bucket) != of_b.get(bucket)),
    )


def candidates(a: Side, b: Side, terms_a: Terms, terms_b: Terms, buckets: list[int]) -> Generator[Key, None, None]:
    """Give the keys of rows that only one side has, or whose digests differ, part by part; flat memory."""
    keyed = bool(terms_a.key)
    for part in parts(buckets, keyed=keyed, shift=terms_a.shift):
        of_a = a.rows(terms_a, part) if keyed else a.counted(terms_a, part)
        of_b = b.rows(terms_b, part) if keyed else b.counted(terms_b, part)
        # Closed here and now: they hold cursors, in transactions that others are nested in.
        with closing(of_a), closing(of_b):
            yield from unlike(of_a, of_b)


def unlike(of_a: Iterator[tuple[Key, _T]], of_b: Iterator[tuple[Key, _T]]) -> Iterator[Key]:
    """Merge two streams in the order of their keys, and give every key that does not have the same on both."""
    one, other = next(of_a, None), next(of_b, None)
    while one is not None or other is not None:
        if other is None or (one is not None and order(one[0]) < order(other[0])):
            assert one is not None
            yield one[0]
            one = next(of_a, None)
        elif one is None or order(other[0]) < order(one[0]):
            yield other[0]
            other = next(of_b, None)
        else:
            if one[1] != other[1]:
                yield one[0]
            one, other = next(of_a, None), next(of_b, None)
