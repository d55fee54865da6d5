"""A checkout that was started and not finished."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, on, once
from workflows.moments import ASKED, IN_TALKS, REPLIED

ORDERED = on("custom.stripe_checkout", change="pending")
"""They have ordered by a method that takes days to pay: a purchase, once the money is there."""


@journey(
    trigger=on("checkout.started", "checkout.expired"),
    audience="contacts who allow marketing e-mail and left a checkout open",
    goal="the contact finishes the purchase, or tells us what was in the way",
    success=on("purchase.completed"),
    exits=[ORDERED, ASKED, REPLIED, IN_TALKS, on("meeting.booked")],
    owner="sales",
    purpose=PROMOTIONAL,
    reentry=once(),
    max_run=days(15),
    review_by=date(2027, 5, 1),
    key="checkout_id",
    newest_only=True,
)
class AbandonedCheckout(Journey):
    """One run for each checkout; the purchase ends it wherever it waits.

    Who opens a second checkout has changed their mind about the first, so only the newest one is followed. Whoever gets
    in touch meanwhile has told us what was in the way, or will tell a person.
    """

    async def remind(self) -> Any:
        await self.sleep(hours=3)
        await self.send("checkout_reminder", valid_for=days(2))
        return self.help

    async def help(self) -> Any:
        await self.sleep(days=1)
        await self.send("checkout_help", valid_for=days(3))
        return self.close

    async def close(self) -> None:
        await self.sleep(days=2)
        await self.send("checkout_last", valid_for=days(3))
        await self.sleep(days=3)
