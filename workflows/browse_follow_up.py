"""Somebody comes back to the same subject and has not asked yet."""

from datetime import date

from workflows.base import PROMOTIONAL, Journey, days, journey, often, on, once_per
from workflows.moments import ASKED, IN_TALKS, REPLIED


@journey(
    trigger=often(
        on("page.viewed"), times=3, days=14, same="topic", without=on("meeting.booked", "resource.downloaded")
    ),
    audience="contacts who allow marketing e-mail, read about one topic again and again, and have bought nothing yet",
    goal="the contact has the one question answered that is left, or asks it",
    success=[on("meeting.booked", "conversation.started", "purchase.completed"), REPLIED],
    exits=[on("page.viewed", page="pricing"), on("resource.downloaded"), on("checkout.started"), ASKED, IN_TALKS],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=once_per(days=60),
    max_run=days(14),
    review_by=date(2027, 5, 1),
    only=["known"],
    unless=["customer", "in_talks", "interested", "during:welcome", "during:nurture"],
)
class BrowseFollowUp(Journey):
    """One mail about what is read, a few hours later: at the very moment it would feel watched.

    Prices and checkouts are questions of their own, which ``Nurture`` and ``AbandonedCheckout`` answer, and whoever
    took something to read hears of its subject from ``Welcome``. What other mail has kept waiting for three days is
    dropped: the subject has gone cold.
    """

    async def answer(self) -> None:
        await self.sleep(hours=4)
        await self.send("browse_followup", valid_for=days(3))
        await self.sleep(days=7)
