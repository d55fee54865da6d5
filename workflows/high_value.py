"""The accounts we would miss most."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, PROMOTIONAL, Journey, always, days, journey, on

INVITED = on("custom.invited")
"""A person invites them to something: ``event``, ``starts_at``, ``url``."""


@journey(
    trigger=on("custom.vip_marked"),
    audience="customers whom a person has taken into the group",
    goal="the customer sees new things early, is answered sooner, and gets an hour of thought four times a year",
    success=on("custom.vip_completed"),
    exits=[on("custom.vip_unmarked"), on("subscription.canceled")],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=always(),
    max_run=days(365),
    review_by=date(2027, 5, 1),
)
class HighValue(Journey):
    """A promise for a year, which only a person ends earlier.

    After that it is up for review as any run that is exhausted: whoever looks at it marks them again, or does not.
    """

    async def welcome(self) -> Any:
        if (await self.facts()).entered_before is None:
            await self.send("vip_welcome")
        return self.review

    async def review(self) -> Any:
        due = self.after(days=90)
        while (invited := await self.wait(INVITED, until=due)) is not None:
            event = {"name": invited.event, "starts_at": invited.starts_at, "url": invited.url}
            await self.send("event_invitation", purpose=PROMOTIONAL, valid_for=days(7), event=event)
        await self.send("call_vip_review", channel="call")
        return self.review
