"""The question whether they know somebody."""

from datetime import date

from workflows.base import PROMOTIONAL, Journey, days, journey, on, once_per
from workflows.moments import IN_TALKS, LEAVING, NOTICE, TROUBLE


@journey(
    trigger=[on("review.left", rating=5), on("nps.answered", mood="good")],
    audience="customers with a strong relationship who have just said that it works",
    goal="somebody the customer knows gets the same help, if the customer likes to say so",
    success=on("referral.made"),
    exits=[*TROUBLE, IN_TALKS, LEAVING, NOTICE, on("invoice.payment_failed")],
    owner="marketing",
    purpose=PROMOTIONAL,
    reentry=once_per(days=180),
    max_run=days(45),
    review_by=date(2027, 5, 1),
    only=["customer", "strong"],
    unless=["new_customer", "at_risk", "lapsed", "former"],
)
class Referral(Journey):
    """Asked once in half a year, some days after their own praise.

    A result alone does not start it: ``ReviewRequest`` asks for one favour first, and a good review leads here.
    """

    async def invite(self) -> None:
        await self.sleep(days=2)
        if "strong" in (await self.facts()).flags:
            await self.send("referral_invitation", valid_for=days(14))
            await self.sleep(days=21)
