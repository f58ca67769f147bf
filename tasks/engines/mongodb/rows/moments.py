"""Dates of BSON as text that PostgreSQL reads: far beyond the years that Python knows."""

from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from tasks.engines.mongodb.values import UnfitError

_DAY: Final = 86_400_000
"""Milliseconds."""
_CYCLE: Final = 146_097
"""Days of 400 years, after which the calendar is the same again."""
_EPOCH: Final = date(2000, 1, 1)
_EPOCH_DAYS: Final = 10_957
_FIRST: Final = -210_866_803_200_000 // _DAY
"""The first day that PostgreSQL holds, counted from the first of 1970: in the year 4714 before Christ."""
_END: Final = 9_224_318_016_000_000 // _DAY
"""The first that it no longer holds: the year 294277."""


def moment_text(milliseconds: int) -> str:
    """Return a moment of UTC, without zone. Raises UnfitError for one that PostgreSQL does not hold."""
    days, rest = divmod(milliseconds, _DAY)
    seconds, rest = divmod(rest, 1000)
    minutes, seconds = divmod(seconds, 60)
    day, era = _day(days)
    return f"{day} {minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{rest:03}{era}"


def day_text(milliseconds: int) -> str:
    """Return a day. Raises UnfitError where the moment is not the midnight, of UTC, that it begins with."""
    days, rest = divmod(milliseconds, _DAY)
    if rest:
        raise UnfitError("a time of the day, where only a day is held")
    return "".join(_day(days))


@lru_cache(maxsize=10_000)
def _day(days: int) -> tuple[str, str]:
    """Return a day, so many after the first of 1970, and its era. Raises UnfitError; see above."""
    if not _FIRST <= days < _END:
        raise UnfitError("a moment before 4714 BC, or after the year 294276")
    cycles, rest = divmod(days - _EPOCH_DAYS, _CYCLE)
    day = _EPOCH + timedelta(days=rest)
    year = day.year + 400 * cycles
    # There is no year 0: it is the first before Christ.
    year, era = (year, "") if year > 0 else (1 - year, " BC")
    return f"{year:04}-{day.month:02}-{day.day:02}", era
