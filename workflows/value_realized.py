"""What was bought did something for the customer."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import LEAVING, NOTICE, REPLIED


@journey(
    trigger=on("value.realized"),
    audience="customers who have just got a result",
    goal="the customer sees what they have achieved, and that it was noticed",
    success=[on("review.left", "referral.made"), REPLIED],
    exits=[LEAVING, NOTICE],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=180),
    max_run=days(30),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["former"],
)
class ValueRealized(Journey):
    """The first result counts most: a mail, and a small present if a person says yes. Later ones get a word."""

    async def look(self) -> Any:
        return self.praise if (await self.facts()).entered_before else self.celebrate

    async def celebrate(self) -> Any:
        await self.send("moment_first_value", valid_for=days(3))
        if await self.approval("a small present for the first result", days=7):
            await self.send("gift_first_value", channel="gift")
        return self.watch

    async def praise(self) -> Any:
        await self.send("moment_success", valid_for=days(3))
        return self.watch

    async def watch(self) -> None:
        await self.sleep(days=14)
