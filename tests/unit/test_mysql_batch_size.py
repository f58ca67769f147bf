"""How large a batch of MariaDB's copy becomes."""

from profiles.model import Limits
from tasks.engines.mysql.copy import size_after


def test_a_batch_holds_its_rows_for_a_share_of_the_lock_budget() -> None:
    assert size_after(1000, 30, 3, Limits()) == 500
    assert size_after(1000, 10, 3, Limits()) == 1500
    assert size_after(1000, 30, 3, Limits(batch_target=3)) == 100
    assert size_after(1000, 30, 3, Limits(lock_budget=600)) == 1000


def test_where_all_else_takes_longer_it_does_not_become_a_few_rows() -> None:
    """A server that is slow to answer would copy a handful at a time, for ever."""
    assert size_after(1000, 30, 60, Limits()) == 2000
    size = 1000
    for _ in range(20):
        # Each statement takes 40 ms before it does anything, and there are eight of them.
        size = size_after(size, 40 + size / 100, 320, Limits())
    assert size > 3000
