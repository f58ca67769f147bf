"""When a window is open: wall times in a zone, turned into instants.

A window whose start or end does not exist on its day (clocks went forward), or comes twice (clocks went
back), is not guessed at: it stays closed as a whole, and `closed_because` names the time and the date.
So 02:00-06:00 in New York stays closed on 2026-03-08, where 02:00 does not exist.
Nothing here reads a clock. Instants go in with any offset and come out in UTC.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from profiles.model import DAYS, Window
from tasks.model.errors import ProfileError

# A start refused on one day is there on the next one that counts; only a zone that has lost a month would
# go on for longer.
SEARCH_DAYS = 60


@dataclass(frozen=True, kw_only=True)
class _Occurrence:
    """One window: its wall times, and its instants or why it has none."""

    starts: datetime
    ends: datetime
    opens: datetime | None = None
    closes: datetime | None = None
    refused: str = ""


def closes_at(window: Window, now: datetime) -> datetime | None:
    """Return the instant at which the window that is open at `now` closes; None when it is closed.

    The start belongs to the window, the end does not. Raises ValueError for a `now` without an offset.
    """
    instant = _instant(now)
    for occurrence in _around(window, instant):
        if occurrence.opens and occurrence.closes and occurrence.opens <= instant < occurrence.closes:
            return occurrence.closes
    return None


def contains(window: Window, now: datetime) -> bool:
    """Tell whether the window is open at `now`."""
    return closes_at(window, now) is not None


def opens_at(window: Window, now: datetime) -> datetime:
    """Return the first instant from `now` on at which the window is open: `now` itself when it is open.

    Raises ProfileError when no window opens within two months.
    """
    instant = _instant(now)
    if contains(window, instant):
        return instant
    today = _wall(window, instant).date()
    for distance in range(SEARCH_DAYS):
        occurrence = _occurrence(window, today + timedelta(days=distance))
        if occurrence and occurrence.opens and occurrence.opens >= instant:
            return occurrence.opens
    raise ProfileError(
        f"the window does not open within {SEARCH_DAYS} days",
        where=_title(window),
        hint="Choose other hours or days for the window.",
    )


def closed_because(window: Window, now: datetime) -> str:
    """Say why the window is closed at `now`; empty when it is open."""
    if contains(window, now):
        return ""
    instant = _instant(now)
    wall = _wall(window, instant)
    for occurrence in _around(window, instant):
        if occurrence.refused and occurrence.starts <= wall < occurrence.ends:
            return occurrence.refused
    days = "" if window.days == DAYS else f" on {', '.join(window.days)}"
    return f"outside the window {_title(window)}{days}"


def _around(window: Window, instant: datetime) -> list[_Occurrence]:
    # One day more on both sides: a zone can skip a whole day (Apia, 2011-12-30).
    today = _wall(window, instant).date()
    days = (today + timedelta(days=distance) for distance in range(-2, 2))
    return [occurrence for day in days if (occurrence := _occurrence(window, day))]


def _occurrence(window: Window, day: date) -> _Occurrence | None:
    if DAYS[day.weekday()] not in window.days:
        return None
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    starts = datetime.combine(day, start)
    ends = datetime.combine(day if start < end else day + timedelta(days=1), end)
    zone = ZoneInfo(window.timezone)
    for wall in (starts, ends):
        if refused := _refusal(wall, zone):
            return _Occurrence(starts=starts, ends=ends, refused=refused)
    opens, closes = (wall.replace(tzinfo=zone).astimezone(UTC) for wall in (starts, ends))
    return _Occurrence(starts=starts, ends=ends, opens=opens, closes=closes)


def _refusal(wall: datetime, zone: ZoneInfo) -> str:
    first, second = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if first == second:
        return ""
    # Of a time that is skipped, the first reading takes the offset before the change: the smaller one.
    skipped = first is not None and second is not None and first < second
    fault = "does not exist" if skipped else "comes twice"
    return f"{wall:%H:%M} {fault} in {zone.key} on {wall:%Y-%m-%d}, so this window stays closed"


def _instant(now: datetime) -> datetime:
    if now.utcoffset() is None:
        raise ValueError("an instant needs an offset")
    return now.astimezone(UTC)


def _wall(window: Window, instant: datetime) -> datetime:
    return instant.astimezone(ZoneInfo(window.timezone)).replace(tzinfo=None, fold=0)


def _title(window: Window) -> str:
    return f"{window.start}-{window.end} {window.timezone}"
