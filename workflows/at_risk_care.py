"""Help for customers who show the early signs of leaving."""

from datetime import date, datetime
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, often, on, once_per
from workflows.moments import IN_TALKS, LEAVING, NOTICE, REPLIED, UNHAPPY

NOTICED = {
    "usage.fell": "They have stopped using what they bought.",
    "support.silent": "They asked us for help once, and nothing has been seen of them since.",
    "onboarding.stuck": "They have not taken the first step, although we offered help before.",
    "csat.answered": "They told us that they are unhappy.",
    "nps.answered": "They told us that they would not recommend us.",
}


@journey(
    trigger=[
        on("usage.fell", "support.silent"),
        often(on("onboarding.stuck"), times=2, days=120),
        # What is said about a ticket is answered by SupportFollowUp.
        often(UNHAPPY, times=1, days=14, without=on("ticket.solved")),
    ],
    audience="customers who use less, have gone silent, are stuck again or say that they are unhappy",
    goal="what is in the customer's way is found and cleared before they give up",
    success=on("value.realized", "milestone.reached"),
    exits=[on("ticket.opened"), REPLIED, IN_TALKS, LEAVING, NOTICE],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=60),
    max_run=days(30),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["former"],
)
class AtRiskCare(Journey):
    """One offer of help, then a person calls. Never a discount: being cheaper makes nothing easier.

    Who has said that they are unhappy is called at once; a mail would ask what they have just told us.
    """

    async def notice(self) -> Any:
        if (await self.facts()).holds:
            return None
        return self.call if UNHAPPY.matches(self.entry.type, self.entry.data) else self.help

    async def help(self) -> Any:
        await self.send("atrisk_help", valid_for=days(5))
        if self.entry.usual is not None:
            # They never stopped, they only use it less: one more use says nothing.
            await self.sleep(days=5)
            return self.call
        return self.call if await self.wait(on("feature.used"), days=5) is None else None

    async def call(self) -> Any:
        since = self.entry.since
        await self.send(
            "call_at_risk",
            channel="call",
            reason=NOTICED.get(self.entry.type),
            days=(self.now - datetime.fromisoformat(since)).days if since else None,
        )
        return self.watch

    async def watch(self) -> None:
        await self.sleep(days=14)
