"""Hours by the clock on the wall: which instant is the first that is open, in every zone and at every change."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contacts.hours import opens
from contacts.policy import WEEK, Hours, QuietHours, SendWindow

ZONES = sorted(available_timezones())
clock_times = st.times().map(lambda t: t.replace(second=0, microsecond=0))
quarters = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
edges = st.one_of(clock_times, quarters)
instants = st.datetimes(datetime(1980, 1, 1), datetime(2037, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001


def changes_of(zone: ZoneInfo, year: int) -> list[datetime]:
    """The moments in a year at which a zone's clocks are changed, found by halving."""
    found = []
    day = datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        low, high = day, day + timedelta(days=1)
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                same = low.astimezone(zone).utcoffset() == middle.astimezone(zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high.replace(microsecond=0))
        day += timedelta(days=1)
    return found


# Clocks that skip or repeat an hour, half an hour, midnight, or a whole day.
STRANGE = [
    (name, change)
    for name, year in (
        ("Europe/Berlin", 2026),
        ("America/New_York", 2026),
        ("Australia/Lord_Howe", 2026),
        ("America/Havana", 2026),
        ("America/Sao_Paulo", 2018),
        ("Asia/Beirut", 2026),
        ("Pacific/Apia", 2011),
        ("Africa/Casablanca", 2026),
        ("Antarctica/Troll", 2026),
        ("America/Scoresbysund", 2024),
    )
    for change in changes_of(ZoneInfo(name), year)
]


def test_there_are_strange_clocks_to_test_with() -> None:
    assert len(STRANGE) >= 18
    assert {name for name, _ in STRANGE} >= {"Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"}


def is_quiet(clock: time, hours: QuietHours) -> bool:
    """By the clock on the contact's wall, and nothing else."""
    if hours.start < hours.end:
        return hours.start <= clock < hours.end
    return clock >= hours.start or clock < hours.end


def is_within(local: datetime, window: SendWindow) -> bool:
    """Likewise: of the days whose windows may reach this time, today and yesterday."""
    clock, length = local.replace(tzinfo=None), (window.end.hour - window.start.hour) * 60
    length += window.end.minute - window.start.minute
    for day in (clock.date() - timedelta(days=n) for n in (0, 1)):
        begins = datetime.combine(day, window.start)
        ends = begins + timedelta(minutes=length if length > 0 else length + 24 * 60)
        if WEEK[day.weekday()] in window.days and begins <= clock < ends:
            return True
    return False


def is_open(moment: datetime, zone: ZoneInfo, hours: Hours) -> bool:
    local = moment.astimezone(zone)
    loud = not any(is_quiet(local.time(), quiet) for quiet in hours.quiet)
    return loud and (not hours.windows or any(is_within(local, window) for window in hours.windows))


def first_open(now: datetime, zone: ZoneInfo, hours: Hours) -> datetime | None:
    """Minute by minute: no time of day, and no change of clocks since 1980, is anything but a whole minute."""
    if is_open(now, zone, hours):
        return now
    minute = now.replace(second=0, microsecond=0)
    for _ in range(15 * 24 * 60):
        minute += timedelta(minutes=1)
        if is_open(minute, zone, hours):
            return minute
    return None


def a_night(start: time, end: time) -> QuietHours:
    return QuietHours(channels=("email",), purposes=("promotional",), start=start, end=end)


def a_window(start: time, end: time, *days: Any) -> SendWindow:
    return SendWindow(channels=("email",), purposes=("promotional",), start=start, end=end, days=days or WEEK)


def some_hours(clock: st.SearchStrategy[time]) -> st.SearchStrategy[Hours]:
    nights = st.tuples(clock, clock).filter(lambda night: night[0] != night[1])
    days = st.lists(st.sampled_from(WEEK), min_size=1, max_size=7, unique=True)
    windows = st.builds(lambda start, end, on: a_window(start, end, *on), clock, clock, days)
    return st.builds(
        lambda quiet, open_: Hours(tuple(a_night(*night) for night in quiet), tuple(open_)),
        st.lists(nights, max_size=2),
        st.lists(windows, max_size=3),
    )


def is_possible(hours: Hours) -> bool:
    """Whether some minute of an ordinary week is open: no other hours can be loaded."""
    monday, utc = datetime(2001, 1, 1, tzinfo=UTC), ZoneInfo("UTC")
    return first_open(monday, utc, hours) is not None


@given(instants, st.sampled_from(ZONES), some_hours(edges))
@settings(max_examples=250)
def test_the_first_open_instant_is_found_in_every_zone(now: datetime, name: str, hours: Hours) -> None:
    assume(is_possible(hours))
    assert opens(hours, now, ZoneInfo(name)) == first_open(now, ZoneInfo(name), hours)


@given(st.sampled_from(STRANGE), st.integers(-3 * 24 * 60, 30 * 60), st.data())
@settings(max_examples=500)
def test_the_first_open_instant_is_found_where_clocks_are_changed(
    strange: tuple[str, datetime], minutes: int, data: Any
) -> None:
    name, change = strange
    zone = ZoneInfo(name)
    # Hours that begin and end around the change, in the hour that is skipped or repeated above all.
    wall = change.astimezone(zone)
    near = st.integers(-150, 150).map(lambda m: (wall.replace(fold=0) + timedelta(minutes=m)).time().replace(fold=0))
    hours = data.draw(some_hours(st.one_of(near, near, edges)))
    assume(is_possible(hours))
    now = change + timedelta(minutes=minutes)
    assert opens(hours, now, zone) == first_open(now, zone, hours)


def test_a_moment_that_is_open_is_its_own() -> None:
    now = datetime(2026, 3, 2, 9, 0, 1, 5, tzinfo=UTC)
    assert opens(Hours(), now, ZoneInfo("Asia/Kathmandu")) == now


BERLIN = ZoneInfo("Europe/Berlin")


def test_the_hour_that_comes_twice_is_quiet_twice() -> None:
    hours = Hours((a_night(time(22), time(2, 30)),))
    assert opens(hours, datetime(2026, 10, 25, 0, 15, tzinfo=UTC), BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert opens(hours, datetime(2026, 10, 25, 1, 15, tzinfo=UTC), BERLIN) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_a_night_that_ends_in_the_hour_that_is_skipped_ends_with_the_change() -> None:
    hours = Hours((a_night(time(22), time(2, 30)),))
    assert opens(hours, datetime(2026, 3, 29, 0, 59, tzinfo=UTC), BERLIN) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


OFFICE = (time(9), time(17), "mon", "tue", "wed", "thu", "fri")


@pytest.mark.parametrize(
    ("zone", "now", "until"),
    [
        ("Europe/Berlin", "2026-03-27T16:00+00:00", "2026-03-30T07:00+00:00"),  # over the spring change
        ("Europe/Berlin", "2026-10-23T15:00+00:00", "2026-10-26T08:00+00:00"),  # over the autumn change
        ("Australia/Sydney", "2026-04-03T06:00+00:00", "2026-04-05T23:00+00:00"),  # autumn in April
        ("Australia/Sydney", "2026-10-02T08:00+00:00", "2026-10-04T22:00+00:00"),  # spring in October
        ("Asia/Kolkata", "2026-03-07T00:00+00:00", "2026-03-09T03:30+00:00"),
        ("Asia/Kathmandu", "2026-03-07T00:00+00:00", "2026-03-09T03:15+00:00"),
        ("Australia/Lord_Howe", "2026-04-04T00:00+00:00", "2026-04-05T22:30+00:00"),  # a change of half an hour
        ("Pacific/Apia", "2011-12-29T12:00+00:00", "2011-12-29T19:00+00:00"),  # Thursday; Friday is skipped
        ("Pacific/Apia", "2011-12-30T04:00+00:00", "2012-01-01T19:00+00:00"),
    ],
)
def test_office_hours_open_on_the_right_instant(zone: str, now: str, until: str) -> None:
    hours = Hours(windows=(a_window(*OFFICE),))
    assert opens(hours, datetime.fromisoformat(now), ZoneInfo(zone)) == datetime.fromisoformat(until)


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    hours = Hours(windows=(a_window(time(22), time(2), "fri"),))
    friday = datetime(2026, 3, 6, tzinfo=UTC)
    for after, is_inside in ((1, False), (21.9, False), (22, True), (25.9, True), (26, False), (46.5, False)):
        assert hours.in_window(friday + timedelta(hours=after)) is is_inside, after
    whole = Hours(windows=(a_window(time(0), time(0), "sat"),))
    for after, is_inside in ((23.9, False), (24, True), (47.9, True), (48, False)):
        assert whole.in_window(friday + timedelta(hours=after)) is is_inside, after


def test_what_is_open_only_in_an_hour_that_is_skipped_opens_a_week_later() -> None:
    hours = Hours(windows=(a_window(time(2), time(3), "sun"),))
    skipped = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert opens(hours, skipped, BERLIN) == datetime(2026, 4, 5, 0, 0, tzinfo=UTC)
