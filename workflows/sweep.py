"""The daily sweep: what became due because nothing happened. Started by a Temporal Schedule, not by an event."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import workflow

from activities import signatures as ask
from contacts.clock import Clock

PAGES_A_HISTORY = 100


@dataclass
class SweepInput:
    """Where a sweep begins, and what it has come to so far."""

    clock: Clock = field(default_factory=Clock)
    now: datetime | None = None
    after: str | None = None
    looked_at: int = 0
    recorded: int = 0


@workflow.defn(name="sweep")
class Sweep:
    """Goes through all contacts in pages, as of one moment."""

    @workflow.run
    async def run(self, start: SweepInput) -> str:
        now = start.now or start.clock.at(workflow.now())
        pages = 0
        while True:
            page: ask.Swept = await workflow.execute_activity(
                ask.SWEEP,
                ask.SweepRequest(now, start.after),
                result_type=ask.Swept,
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=timedelta(seconds=30),
                summary=f"contacts {start.looked_at + 1} and following",
            )
            start.looked_at += page.looked_at
            start.recorded += page.recorded
            start.after = page.last
            workflow.set_current_details(f"{start.looked_at} contacts looked at, {start.recorded} events recorded")
            if page.last is None:
                return f"{start.looked_at} contacts looked at, {start.recorded} events recorded"
            pages += 1
            if pages == PAGES_A_HISTORY:
                start.now = now
                workflow.continue_as_new(start)
