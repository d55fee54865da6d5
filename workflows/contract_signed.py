"""A contract was signed."""

from datetime import date

from workflows.base import LIFECYCLE, Journey, days, journey, on, once_per
from workflows.moments import LEAVING


@journey(
    trigger=on("contract.signed"),
    audience="whoever signed",
    goal="the contact knows what happens next, and that somebody is glad",
    success=on("meeting.booked", "milestone.reached"),
    exits=[LEAVING],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once_per(days=90),
    max_run=days(20),
    review_by=date(2027, 5, 1),
)
class ContractSigned(Journey):
    """A mail at once, since it says what comes next, and a card by hand.

    Each moment worth recognising is a journey of its own: two can fall on one day, and neither may swallow the other.
    """

    async def thank(self) -> None:
        await self.send("moment_contract_signed", valid_for=days(2))
        await self.send("note_contract_signed", channel="note")
        await self.sleep(days=14)
