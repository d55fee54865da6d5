"""A day of the contact's own, used for something that is of use to them."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, on, once_per
from workflows.moments import IN_TALKS, REPLIED, TUNED_OUT


@journey(
    trigger=on("date.approaching", name="birthday"),
    audience="contacts who told us their birthday, allow marketing e-mail and have a subject they come back to",
    goal="the contact gets the three best things on the subject they look into most",
    success=[on("page.viewed"), on("message.clicked", machine=False), REPLIED],
    exits=[IN_TALKS, TUNED_OUT],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=once_per(days=300),
    max_run=days(14),
    review_by=date(2027, 5, 1),
    only=["known"],
)
class DateRelevant(Journey):
    """The date is only the occasion: what is sent is chosen by what the contact has read.

    Where no interest is known there is nothing relevant to say, and a greeting by itself is the brand's calendar, not
    the contact's.
    """

    async def give(self) -> Any:
        if not (await self.facts()).topics:
            return None
        await self.send("date_relevant", valid_for=days(2))
        return self.listen

    async def listen(self) -> None:
        await self.sleep(days=7)
