"""A payment that did not go through: involuntary churn, so nobody is talked into anything."""

from datetime import date, datetime, timedelta
from typing import Any

from workflows.base import TRANSACTIONAL, Journey, days, journey, on, once

FAILED = on("invoice.payment_failed")
NEW_CARD = on("card.updated")


@journey(
    trigger=FAILED,
    audience="whoever pays for a plan and has an invoice that could not be collected",
    goal="the payment goes through, and until then the customer knows where they stand",
    success=on("invoice.paid"),
    exits=[on("invoice.voided"), on("subscription.canceled")],
    owner="billing",
    purpose=TRANSACTIONAL,
    reentry=once(),
    max_run=days(30),
    review_by=date(2027, 5, 1),
    key="invoice_id",
    own_key_only=True,
    same="subscription_id",
)
class Dunning(Journey):
    """Says what is so with one invoice, at most three times, and stops the moment it is paid.

    It keeps step with whoever collects: the second word comes when the second try has failed, the last one when nobody
    will try again or a week has passed, and after a new card there is silence until that one has been tried. A card
    that failed is no wish to leave: who cancels is spoken to by ``CancelSave``. The thanks for a payment that came
    through after all are ``PaymentRecovered``, since the payment ends this run.
    """

    async def tell(self) -> Any:
        self.memory["tried"] = dict(self.entry.data)
        await self._say("payment_failed")
        return self.remind

    async def remind(self) -> Any:
        await self._next_try(days=3)
        if self._given_up:
            return self.warn
        await self._say("payment_failed_second")
        await self._next_try(days=4)
        return self.warn

    async def warn(self) -> Any:
        await self._say("payment_last")
        return self.watch

    async def watch(self) -> None:
        # All is said. An invoice still open at the end of the run is something for a person to look at.
        await self.sleep(days=30)

    @property
    def _given_up(self) -> bool:
        tried = self.memory["tried"]
        return bool(tried.get("final")) and (tried.get("attempt") or 1) > 1

    async def _say(self, template: str) -> None:
        tried = self.memory["tried"]
        await self.send(
            template,
            valid_for=days(2),
            invoice={
                "value": tried.get("value"),
                "currency": tried.get("currency"),
                "number": tried.get("number"),
                "card_url": tried.get("card_url") or tried.get("hosted_invoice_url"),
                "retry_at": tried.get("retry_at"),
            },
        )

    async def _next_try(self, *, days: float) -> None:
        """Lets so many days pass, and longer while a try is still ahead: until that one has failed, or is overdue."""
        earliest = end = self.after(days=days)
        if retry_at := self.memory["tried"].get("retry_at"):
            end = max(end, datetime.fromisoformat(retry_at) + timedelta(days=1))
        while (news := await self.wait(FAILED, NEW_CARD, until=end)) is not None:
            if news.type == "card.updated":
                end = max(end, self.after(days=7))
            elif news.invoice_id == self.entry.invoice_id:
                self.memory["tried"] = dict(news.data)
                end = earliest
