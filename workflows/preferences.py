"""Asks what to write about, where nobody has said."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once
from workflows.moments import IN_TALKS, REPLIED

SAID = on("resource.downloaded", "survey.answered")
QUIZ = on("form.submitted", form="quiz")


@journey(
    trigger=on("contact.identified", first=True),
    audience="contacts of whom we do not know, after a month, what they care about",
    goal="the contact gets mail about their own subject, as often as suits them",
    success=[
        REPLIED,
        on("contact.updated", "consent.granted", "consent.withdrawn", evidence="preference page"),
    ],
    exits=[IN_TALKS, on("meeting.booked"), on("purchase.completed")],
    owner="lifecycle",
    purpose=LIFECYCLE,
    reentry=once(),
    max_run=days(60),
    review_by=date(2027, 5, 1),
    only=["known"],
    unless=["customer"],
)
class Preferences(Journey):
    """Most people show what they care about, and asking them would only tell them that we did not look.

    So it waits a month for any sign, and asks once in a life whoever gave none.
    """

    async def watch(self) -> Any:
        if await self.wait(SAID, QUIZ, days=30) is not None or (await self.facts()).topic is not None:
            return None
        return self.ask

    async def ask(self) -> None:
        await self.send("preferences_ask", valid_for=days(10))
        await self.sleep(days=14)
