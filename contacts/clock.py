"""The one translation between a machine's clock and a journey's clock.

In production both are the same. A demo runs a month in half a minute, and a scenario starts on the date its
file names: both do so by handing every process and every run the same ``Clock``, never by a second way to
ask for the time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Clock:
    """A straight line from machine time to journey time.

    Attributes:
        origin: A moment on the machine's clock (UTC).
        start: The moment on the journey's clock that ``origin`` stands for (UTC).
        rate: Journey seconds that pass in one machine second; 1 in production.
        late: Machine seconds by which every timer goes off late. A scenario leaves room by it for what comes at the
            very moment a wait ends, since its clock never quite stands still.
    """

    origin: datetime = _EPOCH
    start: datetime = _EPOCH
    rate: float = 1.0
    late: float = 0.0

    def at(self, machine: datetime) -> datetime:
        """The journey's time at a moment of the machine's time."""
        return self.start + (machine - self.origin) * self.rate

    def machine_seconds(self, journey: timedelta) -> float:
        """How many machine seconds a timer for a span of journey time takes; none for a span that is over."""
        seconds = journey.total_seconds() / self.rate
        return seconds + self.late if seconds > 0 else seconds

    def now(self) -> datetime:
        """The journey's time now. For the edges only: a workflow asks ``clock.at(workflow.now())``."""
        return self.at(datetime.now(UTC))
