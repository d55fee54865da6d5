"""A day after a ticket was solved: did it hold?"""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import REPLIED

UNHAPPY = on("csat.answered", mood="bad")


@journey(
    # A ticket that was deleted counts as solved, but nobody was helped.
    trigger=on("ticket.solved", status=[None, "solved", "closed"]),
    audience="whoever had a ticket that was solved",
    goal="the customer's problem stays solved, or a person takes it up again",
    success=on("csat.answered", mood="good"),
    exits=[on("ticket.opened"), on("conversation.started"), REPLIED],
    owner="support",
    purpose=LIFECYCLE,
    # A help desk that is heard and asked may tell of one solution twice, seconds apart.
    reentry=once_per(minutes=10),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    key="ticket_id",
    newest_only=True,
)
class SupportFollowUp(Journey):
    """Asks once, about the latest ticket only, and sends a person where the answer is bad.

    A ticket that opens, this one again or another, is the answer itself: then nobody needs to be asked.
    """

    async def rest(self) -> Any:
        return self.call if await self._unhappy(days=1) else self.ask

    async def ask(self) -> Any:
        if (await self.facts()).holds:
            return None
        await self.send("support_followup", valid_for=days(3))
        return self.call if await self._unhappy(days=13) else None

    async def call(self) -> None:
        await self.send(
            "call_low_csat",
            channel="call",
            valid_for=days(3),
            question=self.entry.subject,
            reason=self.memory.get("comment"),
        )

    async def _unhappy(self, *, days: float) -> bool:
        answer = await self.wait(UNHAPPY, days=days)
        if answer is None:
            return False
        self.memory["comment"] = answer.comment
        return True
