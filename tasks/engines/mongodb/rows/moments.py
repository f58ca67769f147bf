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
    return _text(milliseconds, "%m-%d %H:%M:%S", milliseconds % 1000)


def day_text(milliseconds: int) -> str:
    """Return a day. Raises UnfitError where the moment is not the midnight, of UTC, that it begins with."""
    if milliseconds % 86_400_000:
        raise UnfitError("a time of the day, where only a day is held")
    return _text(milliseconds, "%m-%d", None)


def _text(milliseconds: int, form: str, fraction: int | None) -> str:
    if not _FIRST <= milliseconds < _END:
        raise UnfitError("a moment before 4714 BC, or after the year 294276")
    cycles, rest = divmod(milliseconds - _EPOCH_MS, _CYCLE)
    moment = _EPOCH + timedelta(milliseconds=rest)
    year = moment.year + 400 * cycles
    # There is no year 0: it is the first before Christ.
    shown, era = (year, "") if year > 0 else (1 - year, " BC")
    tail = "" if fraction is None else f".{fraction:03}"
    return f"{shown:04}-{moment.strftime(form)}{tail}{era}"
