"""Customers who have gone quiet, or have left a while ago."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, often, on, once_per
from workflows.moments import IN_TALKS, REPLIED, TROUBLE, TUNED_OUT


@journey(
    # Who reads nothing of ours any more is asked by Reengagement whether we should write at all.
    trigger=often(on("customer.drifting"), times=1, days=45, without=on("engagement.lapsed")),
    audience="customers who bought and were not seen for two months, and those who left as long ago",
    goal="the customer gets something out of what they know us for, or tells us what it would take",
    success=[on("page.viewed", "feature.used", "purchase.completed", "subscription.started"), REPLIED],
    exits=[*TROUBLE, IN_TALKS, on("engagement.lapsed"), TUNED_OUT],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=once_per(days=180),
    max_run=days(60),
    review_by=date(2027, 5, 1),
    only=["customer"],
)
class WinBack(Journey):
    """Something useful first, two weeks later one question, and no discount.

    Any sign of life ends it: who comes back on their own has their own reason. Who has left is not
    asked: ``CancelSave`` did that, or a card failed and there is nothing to ask.
    """

    async def be_useful(self) -> Any:
        useful = await self.send("winback_useful", valid_for=days(14))
        if useful.status != "sent":
            return None
        return self.listen if self.entry.name == "left" else self.ask

    async def ask(self) -> Any:
        await self.sleep(days=14)
        await self.send("winback_question", valid_for=days(14))
        return self.listen

    async def listen(self) -> None:
        await self.sleep(days=14)
