"""The accounts we would miss most."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once


@journey(
    trigger=on("custom.vip_marked"),
    audience="customers whom a person has taken into the group",
    goal="the customer sees new things early, is answered sooner, and gets an hour of thought four times a year",
    success=on("custom.vip_completed"),
    exits=[on("custom.vip_unmarked"), on("subscription.canceled")],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once(),
    max_run=days(3650),
    review_by=date(2027, 5, 1),
)
class HighValue(Journey):
    """A standing promise, so the run lives as long as the relationship, and only a person ends it earlier."""

    async def welcome(self) -> Any:
        await self.send("vip_welcome")
        return self.review

    async def review(self) -> Any:
        await self.sleep(days=90)
        await self.send("call_vip_review", channel="call")
        return self.review
