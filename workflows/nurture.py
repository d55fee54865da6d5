"""Nurture by behaviour, and the hand-off to sales when interest is high."""

from datetime import date, datetime
from typing import Any

from workflows.base import PROMOTIONAL, Journey, always, days, journey, on

PRICING = on("page.viewed", page="pricing")


@journey(
    trigger=[PRICING, on("resource.downloaded", kind="case_study")],
    audience="contacts who show that they are weighing us up and have bought nothing yet",
    goal="the contact can tell whether this is right for them, and reaches a person when they want one",
    success=on("meeting.booked", "conversation.started", "purchase.completed"),
    exits=[on("deal.stage_changed"), on("message.replied")],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=always(),
    max_run=days(30),
    review_by=date(2027, 5, 1),
    unless=["customer"],
)
class Nurture(Journey):
    """Answers the question behind the visit; hands over when the score says that a person should.

    It starts at every sign of intent, so that a hand-off never waits for a re-entry rule; the mails themselves go
    to a contact at most once in ninety days.
    """

    async def assess(self) -> Any:
        contact = await self.facts()
        if any(hold.startswith(("handoff:", "conversation:")) for hold in contact.holds):
            # A person has the contact already, and needs no second alert for every look at the prices.
            return None
        if contact.hot and PRICING.matches(self.entry.type, self.entry.data):
            return self.hand_over
        last = contact.entered_before
        if last is not None and self.now - last < days(90):
            return None
        return self.clarify

    async def clarify(self) -> Any:
        if self.entry.type == "resource.downloaded":
            # Who has read a case needs no other one told; what it leaves out is news.
            await self.send("case_study_followup")
            return self.hand_over if await self._hot_visit(days=6) else self.remind
        await self.send("nurture_clarity")
        return self.hand_over if await self._hot_visit(days=4) else self.prove

    async def prove(self) -> Any:
        await self.send("nurture_proof")
        return self.hand_over if await self._hot_visit(days=6) else self.remind

    async def remind(self) -> Any:
        await self.send("nurture_reminder")
        return self.hand_over if await self._hot_visit(days=10) else None

    async def hand_over(self) -> None:
        visited_at = self.memory.get("visited_at")
        await self.hand_off(
            "Looked at the pricing page and knows us well by now: a good moment to offer a conversation.",
            because_at=datetime.fromisoformat(visited_at) if visited_at else self.entry.occurred_at,
        )

    async def _hot_visit(self, *, days: float) -> bool:
        """Waits for a pricing visit that brings the score over the threshold."""
        end = self.after(days=days)
        while (visit := await self.wait(PRICING, until=end)) is not None:
            if (await self.facts()).hot:
                self.memory["visited_at"] = visit.occurred_at.isoformat()
                return True
        return False
