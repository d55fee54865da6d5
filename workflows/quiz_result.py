"""A quiz gives back what was put into it."""

from datetime import date
from typing import Any

from workflows.base import TRANSACTIONAL, Heard, Journey, always, days, journey, on
from workflows.moments import REPLIED

QUIZ = on("form.submitted", form="quiz")


@journey(
    trigger=QUIZ,
    audience="everybody who took a quiz and left an address for the result",
    goal="the contact sees their own answers, what follows from them, and one thing to begin with",
    success=[on("resource.downloaded", "meeting.booked", "conversation.started"), REPLIED],
    exits=[on("contact.erased")],
    owner="lifecycle",
    purpose=TRANSACTIONAL,
    reentry=always(),
    max_run=days(60),
    review_by=date(2027, 5, 1),
)
class QuizResult(Journey):
    """The result was asked for, so it comes at once, needs no other consent, and nothing follows it unasked.

    Who takes the quiz again within the week gets the new result.
    """

    async def play_back(self) -> Any:
        quiz = self.memory.get("quiz") or _quiz(self.entry)
        if quiz["answers"] or quiz["advice"]:
            await self.send("quiz_result", valid_for=days(2), quiz=quiz)
        another = await self.wait(QUIZ, days=7)
        if another is None:
            return None
        self.memory["quiz"] = _quiz(another)
        return self.play_back


def _quiz(form: Heard) -> dict[str, Any]:
    answers = [{"question": question, "answer": _words(answer)} for question, answer in (form.answers or {}).items()]
    return {"name": form.title, "advice": form.advice, "answers": answers}


def _words(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)
