"""The question for a review."""

from datetime import date

from workflows.base import PROMOTIONAL, Journey, days, journey, often, on, once_per
from workflows.moments import IN_TALKS, LEAVING, NOTICE, TROUBLE


@journey(
    trigger=often(on("milestone.reached", "value.realized"), times=1, days=14, without=on("ticket.opened")),
    audience="customers who have just reached something, and had no trouble around it",
    goal="others who weigh us up can read how it really is",
    success=on("review.left"),
    exits=[*TROUBLE, IN_TALKS, LEAVING, NOTICE, on("invoice.payment_failed")],
    owner="marketing",
    purpose=PROMOTIONAL,
    reentry=once_per(days=365),
    max_run=days(45),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["new_customer", "at_risk", "lapsed", "former"],
)
class ReviewRequest(Journey):
    """Waits a week, so that the day itself is for the joy of it; a ticket in that time ends it."""

    async def ask(self) -> None:
        await self.sleep(days=7)
        if not (await self.facts()).holds:
            await self.send("review_request", valid_for=days(10))
            await self.sleep(days=21)
