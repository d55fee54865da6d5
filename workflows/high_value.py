"""The accounts we would miss most."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, always, days, journey, on


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
        await self.sleep(days=90)
        await self.send("call_vip_review", channel="call")
        return self.review
