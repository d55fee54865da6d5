"""When a touch may go out by the clock on the contact's wall, as instants.

The policy speaks of local times. A local time is no instant: where clocks are changed it comes twice or not at all.
So the first instant that is open is looked for among all at which that may change, and each is judged by what the
clock shows then.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from contacts.policy import Hours

AHEAD = timedelta(days=15)
"""So far ahead something opens. The policy leaves an instant of every ordinary week, and a change of clocks may take
that of one week."""


def opens(hours: Hours, now: datetime, zone: ZoneInfo) -> datetime:
    """The first instant from ``now`` on (UTC) at which a touch may go out."""
    if hours.are_open(now.astimezone(zone)):
        return now
    turns = sorted({*_on_the_clock(hours.turns, now, zone), *_changes(now, zone)})
    later = (turn for turn in turns if turn > now and hours.are_open(turn.astimezone(zone)))
    # Nothing opens only under a policy that could not have been loaded; then it is looked at again.
    return next(later, now + AHEAD)


def _on_the_clock(times: frozenset[time], now: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Every instant at which the clock shows one of these times; also when it would, had it not been put forward."""
    # A zone that crosses the date line skips a day or has one twice.
    first = now.astimezone(zone).date() - timedelta(days=1)
    for day in range(AHEAD.days + 2):
        for shown in times:
            for fold in (0, 1):
                local = datetime.combine(first + timedelta(days=day), shown.replace(fold=fold), tzinfo=zone)
                yield local.astimezone(UTC)


def _changes(now: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """The instants at which the zone's clocks are changed, to the second."""
    # No zone has changed its clocks twice within so short a time.
    step = timedelta(hours=6)
    before = now.astimezone(UTC).replace(microsecond=0)
    for _ in range(AHEAD // step):
        low, high = before, before + step
        offset = low.astimezone(zone).utcoffset()
        if high.astimezone(zone).utcoffset() != offset:
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
            yield high
        before += step
