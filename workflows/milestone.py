"""A milestone that is worth a pause."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import LEAVING, NOTICE, REPLIED, TROUBLE


@journey(
    trigger=on("milestone.reached"),
    audience="customers beyond their first month",
    goal="the customer feels that somebody saw it",
    success=[on("review.left", "referral.made"), REPLIED],
    exits=[*TROUBLE, LEAVING, NOTICE],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=60),
    max_run=days(30),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["new_customer", "former"],
)
class Milestone(Journey):
    """A card by hand for those we are close to, a mail for the others: both say the same, so nobody gets both.

    In the first month a milestone is a step of ``Onboarding``, and praise for each would cheapen it.
    """

    async def recognise(self) -> Any:
        if "strong" in (await self.facts()).flags:
            await self.send("note_milestone", channel="note")
        else:
            await self.send("moment_milestone", valid_for=days(3))
        return self.watch

    async def watch(self) -> None:
        await self.sleep(days=14)
