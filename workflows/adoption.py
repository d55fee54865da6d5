"""Something that was bought lies unused."""

from datetime import date

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import IN_TALKS, LEAVING, TROUBLE


@journey(
    trigger=on("custom.feature_unused"),
    audience="customers who have never opened a part of what they pay for",
    goal="the customer finds out in ten minutes whether that part is for them",
    success=on("feature.used"),
    exits=[*TROUBLE, IN_TALKS, LEAVING],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=60),
    max_run=days(21),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["new_customer", "at_risk", "former"],
    same="feature",
)
class Adoption(Journey):
    """One nudge, for one part of the product.

    Whose use falls altogether is at risk and needs care, not a tour of what else there is. The first month has its
    lessons and steps.
    """

    async def nudge(self) -> None:
        if self.entry.feature:
            await self.send(
                "adoption_nudge", valid_for=days(5), feature={"name": self.entry.feature, "url": self.entry.url}
            )
            # So long a use counts as an answer.
            await self.sleep(days=14)
