"""The look that a gateway takes once a minute."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.halts import ask_a_person
from connectors.base import Alert
from contacts import chores
from contacts.clock import Clock
from ops.monitor.counts import Counts, count
from ops.monitor.incidents import follow

log = structlog.get_logger()

CHORE = "monitor"
"""Under this name it says that it has looked, so that somebody notices when no gateway does."""

EVERY = timedelta(minutes=1)


@dataclass
class Monitor:
    """Looks, logs, tells people.

    Attributes:
        alert: How people are told; None: nobody is.
        counts: What the last look found; None before the first.
        looked_at: When that was, by the machine's clock.
        works: Whether the last look came to an end.
    """

    engine: AsyncEngine
    clock: Clock
    alert: Alert | None = None
    every: timedelta = EVERY
    counts: Counts | None = field(default=None, init=False)
    looked_at: datetime | None = field(default=None, init=False)
    works: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Looks again and again until cancelled."""
        while True:
            try:
                await self.look()
            except SQLAlchemyError as error:
                log.warning("monitor.database_away", error=type(error).__name__)
            await asyncio.sleep(self.every.total_seconds())

    async def look(self) -> Counts:
        """Counts what is overdue, says so in the log, and tells people what they have to know.

        Raises:
            SQLAlchemyError: The database is out of reach.
        """
        self.works = False
        now, machine = self.clock.now(), datetime.now(UTC)
        async with self.engine.begin() as conn:
            await chores.expect(conn, CHORE, self.every * self.clock.rate, now)
            await chores.done(conn, CHORE, now)
            self.counts = counts = await count(conn, self.clock, now)
        self.looked_at, self.works = machine, True
        if counts.overdue:
            found = {kind.replace("-", "_"): late.count for kind, late in counts.overdue.items()}
            log.warning("monitor.overdue", **found)
        await follow(self.engine, counts, self.alert, machine)
        if counts.untold and self.alert is not None:
            await ask_a_person(self.engine, self.alert, now)
        return counts
