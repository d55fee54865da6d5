"""A first answer to a question, while it is still on the asker's desk."""

from datetime import date, datetime
from typing import Any

from workflows.base import LIFECYCLE, TRANSACTIONAL, Heard, Journey, always, days, hours, journey, on
from workflows.moments import ASKED


@journey(
    trigger=ASKED,
    audience="leads who ask us something and wait for an answer",
    goal="the lead knows at once who answers and by when, and then hears from a person",
    success=on("conversation.started", "meeting.booked"),
    exits=[on("deal.stage_changed"), on("purchase.completed")],
    owner="sales",
    purpose=LIFECYCLE,
    reentry=always(),
    max_run=days(14),
    review_by=date(2027, 5, 1),
    unless=["customer"],
)
class LeadAnswer(Journey):
    """A colleague gets the question at once, before anything that could hold up the mail; the mail says what happens.

    The mail answers what they have just asked, so it is theirs whether or not they allow marketing. It promises an
    answer by the next working day, and whoever has not heard from a person by then is handed over with an alert. A
    reply to the mail adds to the question and ends nothing: it is no answer.
    """

    async def answer(self) -> Any:
        question = self.memory.get("question", _question(self.entry))
        task = await self.send("call_new_lead", channel="call", question=question, valid_for=days(2))
        await self.send(
            "lead_answer",
            purpose=TRANSACTIONAL,
            valid_for=hours(16),
            question=question,
            entry_point="form.submitted",
        )
        if task.status in ("dropped", "failed"):
            return self.escalate
        another = await self.wait(ASKED, until=self._promised())
        if another is None:
            return self.escalate
        self.memory["question"] = _question(another)
        return self.answer

    async def escalate(self) -> None:
        await self.hand_off("Asked us something and has not heard from a person yet.", because_at=self.now)

    def _promised(self) -> datetime:
        """This time tomorrow; what falls on a weekend is due on Monday."""
        tomorrow = self.after(days=1)
        return tomorrow + days(max(0, 7 - tomorrow.weekday()) if tomorrow.weekday() >= 5 else 0)


def _question(form: Heard) -> str | None:
    answers = form.answers or {}
    return answers.get("question") or answers.get("message")
