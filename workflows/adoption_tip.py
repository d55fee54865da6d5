"""A tip for somebody who uses one thing a lot."""

from datetime import date

from workflows.base import LIFECYCLE, Journey, days, journey, often, on, once_per
from workflows.moments import IN_TALKS, LEAVING, TROUBLE


@journey(
    trigger=often(on("feature.used"), times=5, days=14, same="feature"),
    audience="customers who use one feature often",
    goal="the customer gets more out of what they use anyway",
    success=on("milestone.reached", "value.realized"),
    exits=[*TROUBLE, IN_TALKS, LEAVING],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=90),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["new_customer", "at_risk", "former"],
)
class AdoptionTip(Journey):
    """Habit is the moment for a tip: earlier it is a lesson, and the first month has its lessons already.

    Apart from ``Adoption`` because the next use ends a nudge and says nothing about a tip.
    """

    async def show(self) -> None:
        await self.send("adoption_tip", valid_for=days(5))
        await self.sleep(days=14)
