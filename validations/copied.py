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
    structure = one.kind == "structure"
    # What is wrong with a table is said by names of the catalogue; rows are only counted.
    query = one.violations if structure else f"select count(*) from ({one.violations}) as counted"
    rows = conn.execute(query).fetchall()
    wrong = len(rows) if structure else int(rows[0][0])
    told = "; ".join(str(row[0]) for row in rows) if structure else f"{wrong:,} × not so"
    return CheckResult(
        name=one.name,
        passed=not wrong,
        evaluated=True,
        unexpected=wrong,
        message=told if wrong else "no violations",
        seconds=time.monotonic() - started,
    )
