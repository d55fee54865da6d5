"""The first thirty days with what was bought."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per

FIRST_STEP = on("milestone.reached", "feature.used")


@journey(
    trigger=on("purchase.completed"),
    audience="customers, from the purchase on",
    goal="the customer gets the first real use out of what they bought within thirty days",
    success=on("value.realized"),
    exits=[on("purchase.refunded"), on("subscription.canceled")],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=180),
    max_run=days(30),
    review_by=date(2027, 5, 1),
)
class PostPurchaseEducation(Journey):
    """One step at a time, and only while it is of use: after thirty days such content has lost its worth."""

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
        await self.sleep(days=13)
        await self.send("onboarding_month", valid_for=days(2))
