"""What comparing a copy with its source has found, as a check of a gate."""

import time
from collections.abc import Sequence
from typing import Protocol

from tasks.engines.session import Session
from tasks.model.plan import Requirement
from tasks.model.status import CheckResult

_HINT = "; was the source written since the copy began? Roll back, and run again while nobody writes"


class Compared(Protocol):
    """What every comparison of a copy tells."""

    @property
    def equal(self) -> bool:
        """Nothing differs, and all that was rejected is noted."""

    @property
    def superfluous(self) -> int:
        """How many more there are than there should be; less than none: too few."""

    @property
    def not_noted(self) -> int:
        """Rejected rows without a note, and notes without such a row."""

    @property
    def examples(self) -> tuple[str, ...]:
        """Keys of some that differ."""


def compared(
    name: str,
    result: Compared,
    said: str,
    differing: tuple[int, str],
    what: str,
    *,
    more: Sequence[tuple[int, str]] = (),
    values_in_reports: bool,
    seconds: float,
    noted: bool = False,
) -> CheckResult:
    """Return the check: `said` first, then what is wrong, of `what` there are too many or too few.

    `noted`: writes since the copy are carried over, so that they explain nothing.
    """
    wrong = [
        differing,
        (max(result.superfluous, 0), f"{what} too many"),
        (max(-result.superfluous, 0), f"{what} too few"),
        (result.not_noted, "rejected rows and notes of them do not belong together"),
        *more,
    ]
    reasons = ", ".join(f"{count:,} {why}" for count, why in wrong if count)
    return CheckResult(
        name=name,
        passed=result.equal,
        evaluated=True,
        unexpected=sum(count for count, _ in wrong),
        message=f"{said}: {reasons}{'' if noted else _HINT}" if reasons else said,
        examples=result.examples if values_in_reports else (),
        seconds=seconds,
    )


def required(conn: Session, one: Requirement) -> CheckResult:
    """Ask a source what has to be so there."""
    started = time.monotonic()
    wrong = len(conn.execute(one.violations).fetchall())
    message = f"{wrong:,} × not so" if wrong else "no violations"
    return CheckResult(
        name=one.name,
        passed=not wrong,
        evaluated=True,
        unexpected=wrong,
        message=message,
        seconds=time.monotonic() - started,
    )
