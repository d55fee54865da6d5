"""A call that nobody could pick up."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, always, days, journey, minutes, on
from workflows.moments import REPLIED


@journey(
    trigger=on("call.missed"),
    audience="everybody who called us and reached nobody",
    goal="the caller hears within minutes that we noticed, and is called back when it suits them",
    success=on("conversation.started", "meeting.booked"),
    exits=[on("ticket.opened")],
    owner="sales",
    purpose=LIFECYCLE,
    reentry=always(),
    max_run=days(3),
    review_by=date(2027, 5, 1),
)
class MissedCall(Journey):
    """A few words on the channel that is best for the caller, where one is allowed and soon enough to be understood;
    else a colleague rings back, and so they do once the caller has answered.

    The CRM knows people by e-mail address. A caller of whom there is only a number becomes a hand-off, so that the
    commonest case of all does not end in silence.
    """

    async def text(self) -> Any:
        delivery = await self.send("missed_call", valid_for=minutes(15))
        if delivery.status not in ("sent", "unknown"):
            return self.ring_back
        return self.ring_back if await self.wait(REPLIED, days=1) is not None else None

    async def ring_back(self) -> Any:
        task = await self.send("call_back", channel="call", valid_for=days(1))
        return self.hand_over if task.status == "dropped" else None

    async def hand_over(self) -> None:
        await self.hand_off("Called, and nobody could pick up. Please ring back.")
