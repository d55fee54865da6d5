"""A card that runs out before the next payment: told in time, it never becomes a failed one."""

from datetime import date
from typing import Any

from workflows.base import TRANSACTIONAL, Journey, days, journey, on, once_per


@journey(
    trigger=[on("card.expiring"), on("date.approaching", name="card_expiry")],
    audience="customers whose card on file is about to expire",
    goal="the next payment goes through without anybody having to hurry",
    success=on("card.updated", "invoice.paid"),
    exits=[on("invoice.payment_failed"), on("subscription.canceled")],
    owner="billing",
    purpose=TRANSACTIONAL,
    reentry=once_per(days=90),
    max_run=days(45),
    review_by=date(2027, 5, 1),
    unless=["former"],
)
class CardExpiring(Journey):
    """One mail for one card, whoever noticed first: the payment provider or the calendar.

    If a payment fails meanwhile, ``Dunning`` says what is to be said, and this would only say it twice.
    """

    async def tell(self) -> Any:
        await self.send("card_expiring", valid_for=days(10), invoice={"card_url": self.entry.card_url})
        return self.watch

    async def watch(self) -> None:
        await self.sleep(days=30)
