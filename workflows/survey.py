"""Three questions, and something in return."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, often, on, once_per
from workflows.moments import ASKED, IN_TALKS, LEAVING, NOTICE, REPLIED, TROUBLE


@journey(
    trigger=often(on("message.clicked", machine=False), times=3, days=60),
    audience="leads and customers who read what we send and are well with us",
    goal="the contact gets mail about what they work on, and a worksheet for their time",
    success=on("survey.answered"),
    exits=[*TROUBLE, IN_TALKS, NOTICE, LEAVING, ASKED, REPLIED],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=once_per(days=365),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    only=["known"],
    unless=["in_talks", "new_customer", "at_risk", "lapsed", "former"],
)
class Survey(Journey):
    """Asks only those who read us anyway: to them it is worth something that we stop guessing.

    The first month with what was bought is for its lessons. It asks once and does not remind. The answers are thanked
    for by ``SurveyThanks``.
    """

    async def choose_a_moment(self) -> Any:
        # Right behind the click they are busy with what they clicked on.
        await self.sleep(days=1)
        return self.ask

    async def ask(self) -> None:
        await self.send("survey_three_questions", valid_for=days(5))
        await self.sleep(days=14)
