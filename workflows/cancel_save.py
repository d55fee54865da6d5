"""A plan that its owner has ended: they leave well, and we learn why."""

from datetime import date, datetime
from typing import Any

from workflows.base import LIFECYCLE, TRANSACTIONAL, Journey, always, days, journey, on
from workflows.moments import REPLIED


@journey(
    trigger=[
        on("subscription.cancel_scheduled"),
        # An end that was scheduled was spoken of when they scheduled it.
        on("subscription.canceled", voluntary=True, scheduled=[None, False]),
    ],
    audience="customers who have ended their plan themselves",
    goal="the customer leaves well, or stays because what was in the way is gone; either way we know why",
    success=on("subscription.reactivated", "subscription.started", "purchase.completed"),
    exits=[on("conversation.started"), REPLIED],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=always(),
    max_run=days(45),
    review_by=date(2027, 5, 1),
    key="subscription_id",
    newest_only=True,
)
class CancelSave(Journey):
    """Confirms first, asks once, helps only with what was said, and says goodbye.

    Nobody is forced to stay: no offer comes before a reason, and a bad experience goes to a person, not to a template.
    A plan that ended because a card failed is ``Dunning``'s, and never asked for its reasons.
    """

    async def confirm(self) -> Any:
        await self.send("cancel_confirmed", purpose=TRANSACTIONAL)
        if self.entry.feedback:
            # They were asked where they canceled, and nobody likes to be asked twice.
            self.memory.update(reason=self.entry.feedback, told_at=self.entry.occurred_at.isoformat())
            return self.help
        return self.ask

    async def ask(self) -> Any:
        if await self._tell_us_why(days=1):
            return self.help
        before = (await self.facts()).entered_before
        if before is not None and self.now - before < days(60):
            # They ended something else, or this, a while ago, and were asked then.
            return self.part
        await self.send("cancel_reason", valid_for=days(5))
        return self.help if await self._tell_us_why(days=10) else self.part

    async def help(self) -> Any:
        if self.memory["reason"] == "bad_experience":
            return self.hand_over
        await self._help()
        await self.sleep(days=7)
        return self.part

    async def hand_over(self) -> None:
        taken = await self.hand_off(
            "Canceled because something went wrong. Hear them out and put it right, whether they stay or not.",
            because_at=datetime.fromisoformat(self.memory["told_at"]),
        )
        if taken is None:
            # Better a mail that asks how to reach them than silence.
            await self._help()

    async def part(self) -> None:
        await self.send("cancel_goodbye")

    async def _tell_us_why(self, *, days: float) -> bool:
        answer = await self.wait(
            on("form.submitted", form="cancel_reason"), on("survey.answered", survey="cancel_reason"), days=days
        )
        if answer is None:
            return False
        answers = answer.answers if isinstance(answer.answers, dict) else {}
        reason = answers.get("reason") or answer.reason or "other"
        self.memory.update(reason=str(reason), told_at=answer.occurred_at.isoformat())
        return True

    async def _help(self) -> None:
        await self.send("cancel_help", valid_for=days(5), reason=self.memory["reason"])
