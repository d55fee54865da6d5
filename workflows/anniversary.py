"""Another year together."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once
from workflows.moments import LEAVING, NOTICE, REPLIED


@journey(
    trigger=on("date.approaching", name="anniversary"),
    audience="customers, on the day they came to us",
    goal="the customer is thanked for staying, on paper and without being asked for anything",
    success=[on("review.left", "referral.made"), REPLIED],
    exits=[LEAVING, NOTICE],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once(),
    max_run=days(30),
    review_by=date(2027, 5, 1),
    key="date",
    shared_key=True,
    only=["customer"],
    unless=["former", "lapsed"],
)
class Anniversary(Journey):
    """A present to those we are close to, if a person says yes; a letter to everybody else.

    The present has a card of its own, so whoever gets one needs no letter.
    """

    async def thank(self) -> Any:
        strong = "strong" in (await self.facts()).flags
        if strong and await self.approval("a present for the anniversary", days=5):
            await self.send("gift_anniversary", channel="gift")
        else:
            await self.send("letter_thank_you", channel="mail")
        return self.watch

    async def watch(self) -> None:
        await self.sleep(days=14)
