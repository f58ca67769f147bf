"""Windows, against an oracle that walks through UTC minute by minute and knows no rules of zones."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from profiles.model import DAYS, Window
from profiles.window import closed_because, closes_at, contains, opens_at
from tasks.model.errors import ProfileError
from tests.legs import TIMES

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Madrid",
    "Australia/Lord_Howe",  # goes forward by half an hour
    "Asia/Kathmandu",
    "America/Sao_Paulo",  # went forward at midnight until 2018
    "Pacific/Apia",  # skipped 2011-12-30
    "Africa/Casablanca",  # goes back in spring
)
MINUTE = timedelta(minutes=1)
NIGHT = Window(start="02:00", end="06:00", timezone="America/New_York")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def open_minutes(window: Window, now: datetime, days: int) -> set[datetime]:
    """The oracle: every minute of UTC near `now` at which the window is open."""
    zone = ZoneInfo(window.timezone)
    first = now.replace(second=0, microsecond=0) - timedelta(days=4)
    minutes = [first + MINUTE * number for number in range((days + 8) * 1440)]
    walls = [minute.astimezone(zone).replace(tzinfo=None, fold=0) for minute in minutes]
    seen = Counter(walls)
    instant_of = dict(zip(walls, minutes, strict=True))
    result: set[datetime] = set()
    for day in {now.astimezone(zone).date() + timedelta(days=distance) for distance in range(-3, days + 1)}:
        if DAYS[day.weekday()] not in window.days:
            continue
        starts = datetime.fromisoformat(f"{day}T{window.start}")
        ends = datetime.fromisoformat(f"{day}T{window.end}")
        if ends < starts:
            ends += timedelta(days=1)
        if seen[starts] == 1 and seen[ends] == 1:
            minute = instant_of[starts]
            while minute < instant_of[ends]:
                result.add(minute)
                minute += MINUTE
    return result


wall_times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 0, 1, 30, 45, 59]))
night_times = st.builds("{:02}:{:02}".format, st.integers(0, 3), st.sampled_from([0, 1, 15, 30, 59]))
windows = (
    st.fixed_dictionaries(
        {
            "start": wall_times | night_times,
            "end": wall_times | night_times,
            "timezone": st.sampled_from(ZONES),
            "days": st.sets(st.sampled_from(DAYS), min_size=1).map(tuple),
        }
    )
    .filter(lambda values: values["start"] != values["end"])
    .map(lambda values: Window(**values))
)
changes = st.sampled_from(
    [
        at("2026-03-08T07:00Z"),
        at("2026-11-01T06:00Z"),
        at("2026-03-29T01:00Z"),
        at("2026-10-25T01:00Z"),
        at("2026-04-04T15:00Z"),
        at("2026-10-03T15:30Z"),
        at("2018-11-04T03:00Z"),
        at("2011-12-30T10:00Z"),
        at("2026-02-15T02:00Z"),
    ]
)
instants = st.builds(
    lambda change, minutes, seconds: change + timedelta(minutes=minutes, seconds=seconds),
    changes,
    st.integers(-2200, 2200),
    st.integers(0, 59),
)


@settings(max_examples=50 * TIMES)
@given(window=windows, now=instants)
@example(window=NIGHT, now=at("2026-03-08T08:00Z"))
@example(window=Window(start="23:00", end="01:00", timezone="Pacific/Apia"), now=at("2011-12-30T10:00Z"))
def test_agrees_with_the_oracle(window: Window, now: datetime) -> None:
    minutes = open_minutes(window, now, days=8)
    minute = now.replace(second=0)
    is_open = minute in minutes

    assert contains(window, now) is is_open
    assert bool(closed_because(window, now)) is not is_open
    if is_open:
        closes = closes_at(window, now)
        assert closes is not None
        assert opens_at(window, now) == now
        assert now < closes
        assert closes - MINUTE in minutes
        while minute < closes:
            assert minute in minutes
            minute += MINUTE
    else:
        assert closes_at(window, now) is None
        later = sorted(candidate for candidate in minutes if candidate >= now)
        if later:
            assert opens_at(window, now) == later[0]


@settings(max_examples=20 * TIMES)
@given(window=windows, now=instants, zone=st.sampled_from(ZONES))
def test_an_instant_means_the_same_in_every_zone(window: Window, now: datetime, zone: str) -> None:
    elsewhere = now.astimezone(ZoneInfo(zone))
    assert closes_at(window, elsewhere) == closes_at(window, now)
    assert opens_at(window, elsewhere) == opens_at(window, now)


def test_a_start_that_does_not_exist_closes_the_whole_window_and_names_the_date() -> None:
    now = at("2026-03-08T04:30-04:00")
    assert closes_at(NIGHT, now) is None
    assert closed_because(NIGHT, now) == (
        "02:00 does not exist in America/New_York on 2026-03-08, so this window stays closed"
    )
    assert opens_at(NIGHT, now) == at("2026-03-09T02:00-04:00")


def test_an_end_that_comes_twice_closes_the_whole_window_and_names_the_date() -> None:
    window = Window(start="22:00", end="01:30", timezone="America/New_York")
    now = at("2026-10-31T23:00-04:00")
    assert closes_at(window, now) is None
    assert closed_because(window, now).startswith("01:30 comes twice in America/New_York on 2026-11-01")
    assert opens_at(window, now) == at("2026-11-01T22:00-05:00")


def test_a_window_around_the_change_keeps_its_wall_times() -> None:
    window = Window(start="00:30", end="06:00", timezone="America/New_York")
    assert closes_at(window, at("2026-03-08T01:00-05:00")) == at("2026-03-08T10:00Z")
    assert closes_at(window, at("2026-11-01T00:45-04:00")) == at("2026-11-01T11:00Z")


def test_says_which_hours_and_days_are_missed() -> None:
    window = NIGHT.model_copy(update={"days": ("mon", "tue")})
    assert closed_because(window, at("2026-11-20T12:00Z")) == (
        "outside the window 02:00-06:00 America/New_York on mon, tue"
    )


def test_the_start_belongs_to_the_window_and_the_end_does_not() -> None:
    assert contains(NIGHT, at("2026-11-20T02:00-05:00"))
    assert contains(NIGHT, at("2026-11-20T05:59:59.999999-05:00"))
    assert not contains(NIGHT, at("2026-11-20T06:00-05:00"))


def test_gives_instants_in_utc() -> None:
    closes = closes_at(NIGHT, at("2026-11-20T03:00-05:00"))
    assert closes is not None
    assert closes.tzinfo is UTC
    assert opens_at(NIGHT, at("2026-11-20T12:00-05:00")).tzinfo is UTC


@pytest.mark.parametrize("question", [closes_at, contains, opens_at, closed_because])
def test_an_instant_without_an_offset_is_refused(question: object) -> None:
    with pytest.raises(ValueError, match="needs an offset"):
        question(NIGHT, datetime(2026, 11, 20, 3))  # type: ignore[operator]


def test_a_window_that_never_opens_is_an_error() -> None:
    # Built without validation: no zone known today can bring this about.
    window = NIGHT.model_copy(update={"days": ()})
    with pytest.raises(ProfileError, match="does not open within 60 days"):
        opens_at(window, at("2026-11-20T12:00Z"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": "2:00"}, "pattern"),
        ({"start": "24:00"}, "pattern"),
        ({"end": "06:60"}, "pattern"),
        ({"end": "06:00:00"}, "pattern"),
        ({"end": "02:00"}, "starts and ends at the same time"),
        ({"timezone": "Europe/Madird"}, "not an IANA time zone"),
        ({"timezone": "Europe"}, "not an IANA time zone"),
        ({"timezone": "localtime"}, "not an IANA time zone"),
        ({"timezone": "right/UTC"}, "not an IANA time zone"),
        ({"timezone": "../../etc/passwd"}, "not an IANA time zone"),
        ({"timezone": ""}, "not an IANA time zone"),
        ({"days": []}, "at least 1 item"),
        ({"days": ["monday"]}, "Input should be"),
    ],
)
def test_a_window_that_means_nothing_is_refused(change: dict[str, object], reason: str) -> None:
    values = {"start": "02:00", "end": "06:00", "timezone": "Europe/Madrid", **change}
    with pytest.raises(ValidationError, match=reason):
        Window.model_validate(values)
