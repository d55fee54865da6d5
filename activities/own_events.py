"""Facts of our own making: what a run did or learned becomes an event like any other."""

from dataclasses import dataclass

from temporalio import activity

from activities import signatures as ask
from activities.record import write_lines
from activities.running import pulse
from contacts.events import event, identities
from contacts.intake import Intake


@dataclass(frozen=True)
class OwnEvents:
    """The activity behind ``Journey.record_event``."""

    intake: Intake

    @activity.defn(name=ask.RECORD_EVENT)
    async def record_event(self, request: ask.RecordEventRequest) -> None:
        """Records the event as of the run's time. A repeat changes nothing.

        Raises:
            InvalidEvent: The data does not fit the type; the run waits until its code is mended.
        """
        run = request.run
        told = event(
            request.type,
            source="perennial",
            source_id=f"{run.journey}/{request.event_id}",
            occurred_at=run.now,
            identities=identities(("contact", run.contact_id)),
            data=request.data,
        )
        async with pulse():
            async with self.intake.engine.begin() as conn:
                await write_lines(conn, run, request.lines)
            await self.intake.record(told, run.now)
