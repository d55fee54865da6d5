"""The invitation to the group that sees new things first."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Heard, Journey, days, journey, on, once

PURCHASE = on("purchase.completed")

LARGE = {"EUR": 500_000, "USD": 500_000, "GBP": 450_000}
"""From how much on, in minor units, all purchases together make a large account."""


@journey(
    trigger=PURCHASE,
    audience="customers who buy much and with whom the relationship is strong",
    goal="an account we would miss gets early access, quicker help and an hour of thought, if it likes",
    success=on("custom.vip_marked"),
    exits=[on("subscription.canceled")],
    owner="customer success",
    purpose=PROMOTIONAL,
    reentry=once(),
    max_run=days(3650),
    review_by=date(2027, 5, 1),
)
class HighValueInvitation(Journey):
    """Watches the purchases of a customer from the first one on, and invites once in a life.

    The invitation says that it is sent once, hence one run for good rather than one for each purchase. Whoever reads
    the answer marks the contact (``custom.vip_marked``), and ``HighValue`` takes it from there.
    """

    async def watch(self) -> Any:
        purchase: Heard | None = self.entry if "spent" not in self.memory else await self.wait(PURCHASE, days=730)
        if purchase is None:
            return None
        spent = self.memory.setdefault("spent", {})
        if isinstance(purchase.value, int) and purchase.currency in LARGE:
            spent[purchase.currency] = spent.get(purchase.currency, 0) + purchase.value
        return self.invite if any(spent[c] >= LARGE[c] for c in spent) else self.watch

    async def invite(self) -> Any:
        await self.sleep(days=14)
        contact = await self.facts()
        if "strong" not in contact.flags or contact.stage in ("at_risk", "lapsed"):
            return self.watch
        invited = await self.send("vip_invitation", valid_for=days(30))
        return self.listen if invited.status == "sent" else self.watch

    async def listen(self) -> None:
        if await self.wait(on("message.replied"), days=30) is not None:
            await self.hand_off("Wrote to us after we invited them to see new things first. If it is a yes, mark them.")
