"""Notes of rows that were written, told apart by their numbers."""

from collections.abc import Sequence

from tasks.model.transfer_steps import NOTE


def among(numbers: Sequence[int]) -> str:
    """Return the condition that a note has one of these numbers; few words where they follow each other."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    single = [str(first) for first, last in runs if first == last]
    parts = [f"{NOTE} between {first} and {last}" for first, last in runs if first != last]
    parts += [f"{NOTE} in ({', '.join(single)})"] if single else []
    return f"({' or '.join(parts)})" if parts else "false"
