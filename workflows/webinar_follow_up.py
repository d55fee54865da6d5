"""What somebody came to a session for, in short and to keep."""

from datetime import date

from workflows.base import LIFECYCLE, Journey, always, days, journey, on
from workflows.moments import REPLIED


@journey(
    trigger=on("webinar.attended"),
    audience="everybody who came to a session, leads and customers alike",
    goal="the attendee does one thing with what they heard, and has it at hand when they want it again",
    success=[on("resource.downloaded", "meeting.booked", "conversation.started"), REPLIED],
    exits=[on("contact.erased")],
    owner="lifecycle",
    purpose=LIFECYCLE,
    reentry=always(),
    max_run=days(7),
    review_by=date(2027, 5, 1),
)
class WebinarFollowUp(Journey):
    """One mail, which belongs to the session they signed up for. It is all a session starts.

    Whoever weighs us up afterwards looks at the prices, and ``Nurture`` begins there. The run is over before the next
    session of a weekly series.
    """

    async def sum_up(self) -> None:
        await self.send("webinar_followup", valid_for=days(3))
        await self.sleep(days=3)
