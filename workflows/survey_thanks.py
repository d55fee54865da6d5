"""What was promised for the answers."""

from datetime import date

from workflows.base import LIFECYCLE, Journey, always, days, journey, on


@journey(
    trigger=on("survey.answered"),
    audience="everybody who answered a survey, however they came to it",
    goal="the contact has what they were promised, and knows what their answers are for",
    success=on("resource.downloaded", resource="worksheet"),
    exits=[on("contact.erased")],
    owner="lifecycle",
    purpose=LIFECYCLE,
    reentry=always(),
    max_run=days(8),
    review_by=date(2027, 5, 1),
)
class SurveyThanks(Journey):
    """A promise, so it is kept whatever else is going on, an open ticket or a talk included.

    A journey of its own, since an answer is where ``Survey`` has reached its goal and ends. Another survey's answers
    get thanks, and no gift that nobody promised.
    """

    async def thank(self) -> None:
        await self.send("survey_thanks", valid_for=days(5))
        await self.sleep(days=3)
