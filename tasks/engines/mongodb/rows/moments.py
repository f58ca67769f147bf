"""Dates of BSON as text that PostgreSQL reads: far beyond the years that Python knows."""

from datetime import UTC, datetime, timedelta
from typing import Final

from tasks.engines.mongodb.values import UnfitError

_CYCLE: Final = 146_097 * 86_400_000
"""Milliseconds of 400 years, after which the calendar is the same again."""
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_MS: Final = 946_684_800_000
_FIRST: Final = -210_866_803_200_000
"""The first moment that PostgreSQL holds, in milliseconds since 1970: in the year 4714 before Christ."""
_END: Final = 9_224_318_016_000_000
"""The first that it no longer holds: the year 294277."""


def moment_text(milliseconds: int) -> str:
    """Return a moment of UTC, without zone. Raises UnfitError for one that PostgreSQL does not hold."""
    moment, year, era = _of(milliseconds)
    return (
        f"{year:04}-{moment.month:02}-{moment.day:02} {moment.hour:02}:{moment.minute:02}:{moment.second:02}"
        f".{milliseconds % 1000:03}{era}"
    )


def day_text(milliseconds: int) -> str:
    """Return a day. Raises UnfitError where the moment is not the midnight, of UTC, that it begins with."""
    if milliseconds % 86_400_000:
        raise UnfitError("a time of the day, where only a day is held")
    moment, year, era = _of(milliseconds)
    return f"{year:04}-{moment.month:02}-{moment.day:02}{era}"


def _of(milliseconds: int) -> tuple[datetime, int, str]:
    """Return a moment whose year is not to be looked at, the year, and the era."""
    if not _FIRST <= milliseconds < _END:
        raise UnfitError("a moment before 4714 BC, or after the year 294276")
    cycles, rest = divmod(milliseconds - _EPOCH_MS, _CYCLE)
    moment = _EPOCH + timedelta(milliseconds=rest)
    year = moment.year + 400 * cycles
    # There is no year 0: it is the first before Christ.
    return (moment, year, "") if year > 0 else (moment, 1 - year, " BC")
