"""More of what works, for those for whom it works."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, often, on, once_per
from workflows.moments import IN_TALKS, LEAVING, NOTICE, REPLIED, TROUBLE


@journey(
    trigger=[often(on("feature.used"), times=12, days=30, without=on("ticket.opened")), on("subscription.renewed")],
    audience="customers with whom it goes well: a strong relationship and no sign of trouble",
    goal="the customer hears of one thing that would help them further, while nothing has to be repaired first",
    success=on("purchase.completed", "meeting.booked"),
    exits=[*TROUBLE, IN_TALKS, LEAVING, NOTICE, on("invoice.payment_failed"), REPLIED],
    owner="sales",
    purpose=PROMOTIONAL,
    reentry=once_per(days=180),
    max_run=days(45),
    review_by=date(2027, 5, 1),
    only=["customer", "strong"],
    unless=["new_customer", "at_risk", "lapsed", "former"],
)
class Expansion(Journey):
    """An idea first, and a call by a person only if nothing has gone wrong since."""

    async def suggest(self) -> Any:
        # Not in the same week as a tip or the thanks for a renewal.
        await self.sleep(days=7)
        if "strong" not in (await self.facts()).flags:
            return None
        idea = await self.send("expansion_idea")
        return self.check_in if idea.status == "sent" else None

    async def check_in(self) -> None:
        await self.sleep(days=14)
        if "strong" in (await self.facts()).flags:
            await self.send("call_account_checkin", channel="call")
            await self.sleep(days=14)
