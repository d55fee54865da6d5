"""A payment that went through after all."""

from datetime import date
from typing import Any

from workflows.base import TRANSACTIONAL, Journey, always, days, journey, often, on


@journey(
    trigger=often(on("invoice.payment_failed", "invoice.paid"), times=2, days=45, same="invoice_id"),
    audience="whoever has paid an invoice that had failed before",
    goal="the customer knows that all is settled, and goes on with what they bought",
    success=on("feature.used", "value.realized"),
    exits=[on("subscription.canceled"), on("purchase.refunded")],
    owner="billing",
    purpose=TRANSACTIONAL,
    reentry=always(),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    key="invoice_id",
)
class PaymentRecovered(Journey):
    """Says that nothing is left to do; ``Dunning`` cannot, because the payment ends it.

    A further failure of the same invoice completes the pattern as well, and needs no words here.
    """

    async def thank(self) -> Any:
        if self.entry.type != "invoice.paid":
            return None
        await self.send(
            "payment_recovered",
            valid_for=days(3),
        )
        return self.watch

    async def watch(self) -> None:
        await self.sleep(days=14)
