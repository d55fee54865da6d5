"""Nurture by behaviour, and the hand-off to sales when interest is high."""

from datetime import date, datetime
from typing import Any

from workflows.base import PROMOTIONAL, Journey, always, days, journey, on
from workflows.moments import ASKED, REPLIED

PRICING = on("page.viewed", page="pricing")
TOOK_MORE = on("resource.downloaded")


@journey(
    trigger=[PRICING, on("resource.downloaded", kind="case_study")],
    audience="known contacts who show that they are weighing us up, have bought nothing yet and talk with nobody",
    goal="the contact can tell whether this is right for them, and reaches a person when they want one",
    success=on("meeting.booked", "conversation.started", "purchase.completed"),
    exits=[on("deal.stage_changed"), REPLIED, ASKED],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=always(),
    max_run=days(45),
    review_by=date(2027, 5, 1),
    only=["known"],
    unless=["customer", "in_talks"],
)
class Nurture(Journey):
    """Answers the question behind the visit; hands over when the score says that a person should.

    It starts at every sign of intent, so that a hand-off never waits for a re-entry rule; the mails themselves go
    to a contact at most once in ninety days. While a person has the contact it does not start: nobody needs a second
    alert for every look at the prices.
    """

    async def assess(self) -> Any:
        contact = await self.facts()
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
        while (news := await self.wait(PRICING, TOOK_MORE, until=end)) is not None:
            if TOOK_MORE.matches(news.type, news.data):
                # It may have begun a welcome, which takes a week.
                return await self._hot_visit(days=8)
            if (await self.facts()).hot:
                self.memory["visited_at"] = news.occurred_at.isoformat()
                return True
        return False
