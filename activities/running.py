"""What every activity needs while it runs: a pulse, and the run's time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from time import monotonic

from temporalio import activity

from contacts.clock import Clock

_PULSE_SECONDS = 3.0


@contextlib.asynccontextmanager
async def pulse() -> AsyncIterator[None]:
    """Heartbeats while the block runs, so that a worker's death is noticed in seconds and the activity goes on."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(_PULSE_SECONDS)
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait([beating])


class RunTime:
    """The run's time as an activity goes on: what the run said when it asked, plus what has passed since.

    What has passed before this attempt comes from the server's clock, which a test may skip; so the machine's own
    clock is only asked how long this attempt has taken.
    """

    def __init__(self, asked: datetime, clock: Clock) -> None:
        info = activity.info()
        waited = info.started_time - info.scheduled_time
        self._at_start = asked + waited * clock.rate
        self._rate = clock.rate
        self._started = monotonic()

    def now(self) -> datetime:
        """The run's time (UTC)."""
        elapsed = (monotonic() - self._started) * self._rate
        return datetime.fromtimestamp(self._at_start.timestamp() + elapsed, UTC)
