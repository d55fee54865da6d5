"""The first thirty days with what was bought."""

from datetime import date, datetime
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once
from workflows.moments import LEAVING

FIRST_STEP = on("milestone.reached", "feature.used")


@journey(
    trigger=on("purchase.completed"),
    audience="new customers, from their first purchase on",
    goal="the customer gets the first real use out of what they bought within thirty days",
    success=on("value.realized"),
    exits=[LEAVING, on("usage.fell")],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once(),
    max_run=days(35),
    review_by=date(2027, 5, 1),
    only=["new_customer"],
)
class PostPurchaseEducation(Journey):
    """One step at a time, and only while it is of use: after thirty days such content has lost its worth.

    Whoever buys again knows their way. Whose use has stopped needs help, which ``AtRiskCare`` offers, and no lesson.
    """

    async def first_step(self) -> Any:
        await self.send("onboarding_first_step", valid_for=days(6))
        return self.week_one

    async def week_one(self) -> Any:
        # Who has taken the first step is ready for the next one; who has not gets a little more time.
        await self.wait(FIRST_STEP, days=6)
        await self.send("onboarding_week_one", valid_for=days(5))
        return self.week_two

    async def week_two(self) -> Any:
        await self.sleep(days=7)
        await self.send("onboarding_week_two", valid_for=days(7))
        return self.month

    async def month(self) -> None:
        # It looks back on the month, so it does not come sooner for those who were quick.
        await self.wait(until=self._bought + days(26))
        await self.send("onboarding_month", valid_for=self._bought + days(30) - self.now)

    @property
    def _bought(self) -> datetime:
        return self.entry.occurred_at
