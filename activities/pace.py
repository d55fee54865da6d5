"""The pace of calls to outside systems, as connectors' clients keep it."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.errors import TryAgain
from connectors.http import Pace
from contacts import pace

_PATIENCE = timedelta(seconds=2)
"""A call that would have to wait for longer is made later, by Temporal: an activity that sleeps holds up others."""


@dataclass(frozen=True)
class Paces:
    """Makes the pace that a connector's client keeps."""

    engine: AsyncEngine

    def of(self, connector: str, per_second: float | None) -> Pace | None:
        """What a client awaits before every call; None where there is no limit."""
        if per_second is None:
            return None

        async def keep() -> None:
            try:
                slot = await pace.take(self.engine, connector, per_second, _PATIENCE)
            except pace.NoRoom as full:
                raise TryAgain(connector, "as many calls as it allows are on their way", delay=full.delay) from None
            await asyncio.sleep(slot.wait.total_seconds())

        return keep
