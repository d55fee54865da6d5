"""The one translation between a machine's clock and a journey's."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.clock import Clock
from tests.contacts.support import START

moments = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments)
def test_in_production_both_are_the_same(moment: datetime) -> None:
    assert Clock().at(moment) == moment
    assert Clock().machine_seconds(timedelta(days=1)) == 86400


def test_a_demo_plays_a_day_in_a_second() -> None:
    origin = datetime(2026, 11, 22, 12, tzinfo=UTC)
    clock = Clock(origin, START, rate=86400)
    assert clock.at(origin) == START
    assert clock.at(origin + timedelta(seconds=30)) == START + timedelta(days=30)
    assert clock.at(origin - timedelta(seconds=1)) == START - timedelta(days=1)
    assert clock.machine_seconds(timedelta(days=2)) == pytest.approx(2)


@given(moments, moments, st.floats(0.5, 86400), st.integers(0, 10**6))
def test_a_span_of_journey_time_takes_as_long_as_said(
    origin: datetime, start: datetime, rate: float, seconds: int
) -> None:
    clock = Clock(origin, start, rate)
    span = timedelta(seconds=seconds)
    passed = clock.at(origin + timedelta(seconds=clock.machine_seconds(span))) - start
    assert abs(passed - span) <= timedelta(microseconds=rate + 1)


def test_now_is_the_machines_now_translated() -> None:
    ahead = Clock(start=datetime(1970, 1, 2, tzinfo=UTC))
    before = datetime.now(UTC)
    now = ahead.now() - timedelta(days=1)
    assert before <= now <= datetime.now(UTC)


def test_a_timer_may_be_late_but_never_for_what_is_over() -> None:
    clock = Clock(late=10)
    assert clock.machine_seconds(timedelta(days=1)) == 86410
    assert clock.machine_seconds(timedelta(0)) == 0
    assert clock.machine_seconds(timedelta(seconds=-5)) == -5
