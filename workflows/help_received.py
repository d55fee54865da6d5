"""Somebody was helped, and said so."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import IN_TALKS, LEAVING, REPLIED, TROUBLE


@journey(
    trigger=on("csat.answered", mood="good"),
    audience="customers who called our help good",
    goal="the customer knows that a person remembers them, and that asking again is welcome",
    success=[on("review.left", "referral.made"), REPLIED],
    exits=[*TROUBLE, IN_TALKS, LEAVING],
    owner="support",
    purpose=LIFECYCLE,
    reentry=once_per(days=180),
    max_run=days(30),
    review_by=date(2027, 5, 1),
    only=["customer"],
    unless=["former"],
)
class HelpReceived(Journey):
    """A card some days later, when it shows whether the help has held; a new ticket in between ends it."""

    async def ask_how_it_went(self) -> Any:
        await self.sleep(days=4)
        await self.send("note_help_received", channel="note")
        return self.watch

    async def watch(self) -> None:
        await self.sleep(days=14)
