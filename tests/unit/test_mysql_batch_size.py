"""How large a batch of MariaDB's copy becomes."""

from collections import deque
from collections.abc import Callable
from random import Random

import pytest

from profiles.model import Limits
from tasks.engines.mysql.copy import least_after, size_after


def sizes(held: Callable[[int, int], float], batches: int) -> list[int]:
    """Return the sizes of batches that hold their rows for as long as it says, by their size and number."""
    size, least, made, of_a_row = 1000, 0.0, [], deque[float](maxlen=2)
    for batch in range(1, batches + 1):
        made.append(size)
        took = held(size, batch)
        least = least_after(size, took, least, batch)
        size = size_after(size, took, least, Limits(batch_rows=100_000), of_a_row)
        of_a_row.append(took / made[-1])
    return made


def test_a_batch_holds_its_rows_for_a_share_of_the_lock_budget() -> None:
    assert size_after(1000, 30, 3, Limits()) == 500
    assert size_after(1000, 10, 3, Limits()) == 1500
    assert size_after(1000, 30, 1, Limits(batch_target=3)) == 100
    assert size_after(1000, 30, 3, Limits(lock_budget=600)) == 1000


@pytest.mark.parametrize("ms_a_row", [0.01, 0.02, 0.05, 1, 5])
def test_what_grows_with_the_batch_makes_it_no_larger(ms_a_row: float) -> None:
    """However long a row takes to write and to commit, and whatever else a batch does meanwhile."""
    assert 11 <= 1 + ms_a_row * sizes(lambda size, _: 1 + ms_a_row * size, 150)[-1] <= 15


@pytest.mark.parametrize("slow", [14.5, 20, 80])
def test_where_a_single_row_takes_long_it_does_not_become_a_few_rows(slow: float) -> None:
    """A server that is slow to answer, or to commit, would copy a handful at a time, for ever."""
    assert size_after(1000, 30, 30, Limits()) == 2000
    size = sizes(lambda size, _: slow + size / 100, 190)[-1]
    assert 0.9 * slow < size / 100 < 1.15 * slow


def test_where_batches_are_kept_waiting_they_do_not_become_a_few_rows() -> None:
    """On a busy machine a batch waits for processors, however few rows it has: it would only be one of more."""
    dice = Random(1)
    made = sizes(lambda size, _: 1 + size * 0.004 + dice.expovariate(1 / 20), 1000)
    assert sum(made[500:]) > 500 * 500


def test_what_takes_far_too_long_makes_the_next_one_smaller_at_once() -> None:
    """And what takes too long three times in a row."""
    assert size_after(1000, 80, 3, Limits(), (0.01, 0.01)) == 100
    assert size_after(1000, 30, 3, Limits(), (0.01, 0.01)) == 1500
    assert size_after(1000, 30, 3, Limits(), (0.03, 0.03)) == 500


def test_one_huge_row_is_not_a_reason_for_many() -> None:
    assert sizes(lambda size, _: 1 + 20 * size, 190)[-1] == 2


def test_what_is_slow_for_a_while_is_found_and_forgotten() -> None:
    made = sizes(lambda size, batch: (60 if 140 <= batch < 180 else 1) + size / 100, 260)
    assert 1300 < made[139] < 1500
    assert made[179] > 3000
    assert 1300 < made[259] < 1500
