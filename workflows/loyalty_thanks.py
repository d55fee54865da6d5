"""Thanks for what is in no sales figure."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import IN_TALKS, REPLIED, TROUBLE

CAME_BY = on("custom.store_visited")


@journey(
    trigger=[on("loyalty.acted"), CAME_BY],
    audience="contacts who came by, helped somebody or told us how to get better",
    goal="the contact knows that it was noticed",
    success=[on("referral.made", "review.left"), REPLIED],
    exits=[*TROUBLE, IN_TALKS],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=60),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    only=["known"],
)
class LoyaltyThanks(Journey):
    """Thanks, and asks for nothing; at most once in sixty days, because thanks by the dozen are a machine's.

    Thanks are of use while the contact remembers what for. In the middle of a problem of theirs they would only grate.
    """

    async def thank(self) -> Any:
        if (await self.facts()).holds:
            return None
        came_by = "came by our shop" if CAME_BY.matches(self.entry.type, self.entry.data) else None
        await self.send("loyalty_thanks", valid_for=days(3), act=self.entry.act or came_by)
        return self.listen

    async def listen(self) -> None:
        await self.sleep(days=14)
