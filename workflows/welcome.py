"""Welcome, by what the contact came for."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, often, on, once_per
from workflows.moments import IN_TALKS, REPLIED

ANSWERED = on("form.submitted", form=("contact", "question", "demo", "callback", "quiz"))


@journey(
    trigger=[
        often(on("resource.downloaded"), times=1, days=1, without=ANSWERED),
        often(on("contact.identified", first=True), times=1, days=1, without=ANSWERED),
    ],
    audience="new contacts who allow marketing e-mail and have bought nothing yet",
    goal="the contact gets further with the problem they came for and knows where to turn next",
    success=on("meeting.booked", "purchase.completed"),
    exits=[
        IN_TALKS,
        REPLIED,
        ANSWERED,
        on("page.viewed", page="pricing"),
        on("resource.downloaded", kind="case_study"),
        on("webinar.attended"),
    ],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=once_per(days=180),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    only=["known"],
    unless=["customer", "in_talks"],
)
class Welcome(Journey):
    """Names what the contact came for, then follows that problem.

    Who weighs us up (looks at the pricing page, takes a case study) has a new question: that ends the welcome, and
    ``Nurture`` takes it from there. A question, a quiz and a session are answered by ``LeadAnswer``, ``QuizResult`` and
    ``WebinarFollowUp``, and the answer is welcome enough, in whichever order a form and its contact are told to us.
    """

    async def greet(self) -> Any:
        if self.entry.type == "contact.identified":
            # The form that made the contact known often tells a moment later what they came for.
            came_for = await self.wait(on("resource.downloaded"), minutes=10)
            if came_for is not None:
                self.memory.update(resource=came_for.resource, topic=came_for.topic)
        await self.send("welcome", **self.memory)
        return self.deepen

    async def deepen(self) -> Any:
        await self.sleep(days=3)
        await self.send("welcome_second", **self.memory)
        return self.prove

    async def prove(self) -> Any:
        await self.sleep(days=4)
        await self.send("welcome_third", **self.memory)
        return self.listen

    async def listen(self) -> None:
        # Nothing more to say. Who has not found their way by the end of the run is somebody for a person to look at.
        await self.sleep(days=30)
