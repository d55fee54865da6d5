"""Somebody was helped, and said so."""

from datetime import date

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per


@journey(
    trigger=on("csat.answered", score=["good", "great", 4, 5]),
    audience="customers who called our help good",
    goal="the customer knows that a person remembers them, and that asking again is welcome",
    success=on("review.left", "referral.made"),
    exits=[
        on("ticket.opened"),
        on("csat.answered", score=["bad", 1, 2]),
        on("conversation.started"),
        on("subscription.canceled"),
    ],
    owner="support",
    purpose=LIFECYCLE,
    reentry=once_per(days=180),
    max_run=days(20),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["former"],
)
class HelpReceived(Journey):
    """A card some days later, when it shows whether the help has held; a new ticket in between ends it."""

    async def ask_how_it_went(self) -> None:
        await self.sleep(days=4)
        await self.send("note_help_received", channel="note")
