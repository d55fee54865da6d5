"""A payment that did not go through: involuntary churn, so nobody is talked into anything."""

from datetime import date
from typing import Any

from workflows.base import TRANSACTIONAL, Journey, days, journey, on, once

FAILED = on("invoice.payment_failed")


@journey(
    trigger=FAILED,
    audience="whoever pays for a plan and has an invoice that could not be collected",
    goal="the payment goes through, and until then the customer knows where they stand",
    success=on("invoice.paid"),
    exits=[on("subscription.canceled")],
    owner="billing",
    purpose=TRANSACTIONAL,
    reentry=once(),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    key="invoice_id",
    own_key_only=True,
)
class Dunning(Journey):
    """Says what is so with one invoice, three times in a week, and stops the moment it is paid.

    A card that failed is no wish to leave: who cancels is spoken to by ``CancelSave``. The thanks for a payment that
    came through after all are ``PaymentRecovered``, since the payment ends this run.
    """

    async def tell(self) -> Any:
        await self._say("payment_failed")
        return self.remind

    async def remind(self) -> Any:
        await self._follow_tries(days=3)
        await self._say("payment_failed_second")
        return self.warn

    async def warn(self) -> Any:
        await self._follow_tries(days=4)
        await self._say("payment_last")
        return self.watch

    async def watch(self) -> None:
        # All is said. An invoice still open at the end of the run is something for a person to look at.
        await self.sleep(days=30)

    async def _say(self, template: str) -> None:
        tried = self.memory.get("tried", self.entry.data)
        await self.send(
            template,
            valid_for=days(2),
            invoice={
                "value": tried.get("value"),
                "currency": tried.get("currency"),
                "card_url": tried.get("card_url") or tried.get("hosted_invoice_url"),
                "retry_at": tried.get("retry_at"),
            },
            subscription={"plan": tried.get("plan"), "ends_at": tried.get("ends_at")},
        )

    async def _follow_tries(self, *, days: float) -> None:
        """Lets time pass; each further try of this invoice that fails brings the facts as they are then."""
        end = self.after(days=days)
        while (tried := await self.wait(FAILED, until=end)) is not None:
            if tried.invoice_id == self.entry.invoice_id:
                self.memory["tried"] = dict(tried.data)
