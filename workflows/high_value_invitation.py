"""The invitation to the group that sees new things first."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, on, once_per
from workflows.moments import LEAVING, NOTICE, REPLIED, UNHAPPY


@journey(
    trigger=on("segment.joined", segment="high_value"),
    audience="customers who buy much and with whom the relationship is strong",
    goal="an account we would miss gets early access, quicker help and an hour of thought, if it likes",
    success=on("custom.vip_marked"),
    exits=[on("conversation.started"), UNHAPPY, LEAVING, NOTICE],
    owner="customer success",
    purpose=PROMOTIONAL,
    reentry=once_per(days=365),
    max_run=days(60),
    review_by=date(2027, 5, 1),
)
class HighValueInvitation(Journey):
    """Invites at most once a year, a fortnight after the account has grown that large.

    Whoever reads the answer marks the contact (``custom.vip_marked``), and ``HighValue`` takes it from there.
    """

    async def invite(self) -> Any:
        await self.sleep(days=14)
        if "in:high_value" not in (await self.facts()).flags:
            return None
        invited = await self.send("vip_invitation", valid_for=days(30))
        return self.listen if invited.status == "sent" else None

    async def listen(self) -> None:
        if await self.wait(REPLIED, days=30) is not None:
            await self.hand_off("Wrote to us after we invited them to see new things first. If it is a yes, mark them.")
