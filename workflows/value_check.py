"""Six weeks in: is it worth it?"""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import LEAVING, NOTICE, REPLIED, UNHAPPY

ANSWER = on("survey.answered", "conversation.started")
SILENT = on("usage.fell", "support.silent")
STUCK = on("onboarding.stuck")


@journey(
    trigger=on("purchase.completed"),
    audience="customers, six weeks after a purchase, who have shown us no result yet",
    goal="the customer gets what they came for, or hears from us honestly that they will not",
    success=on("value.realized"),
    exits=[UNHAPPY, LEAVING, NOTICE],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=365),
    max_run=days(75),
    review_by=date(2027, 5, 1),
)
class ValueCheck(Journey):
    """Asks once by mail; silence is an answer too, and a person follows it up.

    Where ``AtRiskCare`` begins meanwhile, it asks instead, and a person calls once.
    """

    async def ask(self) -> Any:
        await self.sleep(days=30)
        in_care = await self.wait(SILENT, days=15)
        if in_care is not None or (await self.facts()).holds:
            # Somebody asks them already, or is talking with them.
            return None
        await self.send("value_check", valid_for=days(7), days=45)
        return self.hear

    async def hear(self) -> None:
        if await self.wait(REPLIED, ANSWER, SILENT, STUCK, days=8) is None and not (await self.facts()).holds:
            await self.send("call_value_check", channel="call", days=53)
