"""From the purchase to the first real use, step by step."""

from datetime import date, datetime
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once
from workflows.moments import LEAVING

STEP = on("milestone.reached")
FIRST_STEP = on("milestone.reached", "feature.used")
STUCK = on("onboarding.stuck")


@journey(
    trigger=on("purchase.completed"),
    audience="new customers, from their first purchase on",
    goal="the customer always knows the next step, until what they bought does something for them",
    success=on("value.realized"),
    exits=[LEAVING, on("usage.fell")],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once(),
    max_run=days(40),
    review_by=date(2027, 5, 1),
    only=["new_customer"],
)
class Onboarding(Journey):
    """Follows what the customer does, where ``PostPurchaseEducation`` follows the calendar.

    The two stay apart because a lesson is due whether or not a step was taken. Both would answer the first step, so
    this one leaves it to the lesson, and then keeps its distance for two days. While a person helps, nobody is told
    that they are stuck.
    """

    async def await_first_step(self) -> Any:
        step = await self.wait(FIRST_STEP, STUCK, until=self._end)
        if step is None:
            return None
        if step.type == "onboarding.stuck":
            return self.unstick
        end = self.after(days=2)
        while step is not None:
            self.memory["next"] = step.next
            step = await self.wait(STEP, until=end)
        return self.follow

    async def follow(self) -> Any:
        step = await self.wait(STEP, STUCK, until=self._end)
        if step is None:
            return None
        if step.type == "onboarding.stuck":
            return self.unstick
        # Several steps are often taken in one sitting. Only the last asks what comes next.
        while (another := await self.wait(STEP, hours=3)) is not None:
            step = another
        self.memory["next"] = step.next
        milestone = {"name": step.milestone, "number": step.number, "next": step.next}
        await self.send("milestone_next", valid_for=days(3), milestone=milestone)
        return self.follow

    async def unstick(self) -> Any:
        if not (await self.facts()).holds:
            await self.send("milestone_stuck", valid_for=days(5), milestone={"name": self.memory.get("next")})
        return self.follow

    @property
    def _end(self) -> datetime:
        """``ValueCheck`` asks how it went after that; no step is waited for any longer."""
        return self.entry.occurred_at + days(30)
