"""Notes of rows that were written, told apart by their numbers."""

from collections.abc import Sequence

from tasks.model.transfer_steps import NOTE


def deletions(table: str, numbers: Sequence[int]) -> list[str]:
    """Return what deletes notes that are all there, in ascending order, and touches no other.

    A range alone would, in InnoDB, wait for the note after it, which an application may not have committed.
    """
    return [
        f"delete from {table} where {NOTE} between {first} and {last} order by {NOTE} limit {last - first + 1}"
        for first, last in _runs(numbers)
    ]


def among(numbers: Sequence[int]) -> str:
    """Return the condition that a note has one of these numbers; few words where they follow each other."""
    runs = _runs(numbers)
    single = [str(first) for first, last in runs if first == last]
    parts = [f"{NOTE} between {first} and {last}" for first, last in runs if first != last]
    parts += [f"{NOTE} in ({', '.join(single)})"] if single else []
    return f"({' or '.join(parts)})" if parts else "false"


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs
