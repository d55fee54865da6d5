"""One message to everybody in a segment, each at the time and under the rules that hold for that contact."""

from datetime import date

from workflows.base import PROMOTIONAL, Journey, days, journey, on, once


@journey(
    trigger=on("broadcast.due"),
    audience="whoever is in the segment that the broadcast goes to when their turn comes",
    goal="the contact hears one thing that concerns people like them, and does something with it",
    success=on("purchase.completed", "meeting.booked", "contract.signed"),
    exits=[
        on("broadcast.stopped"),
        on("conversation.started", "message.replied"),
        on("message.unsubscribed", "message.complained", "contact.erased"),
    ],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    key="broadcast",
    shared_key=True,
    reentry=once(),
    max_run=days(30),
    review_by=date(2027, 5, 1),
)
class Broadcast(Journey):
    """Sends what `perennial segments broadcast` was told to send: once to each contact, by the same gate as any touch.

    A run a contact: a ticket holds one and a night another, and a word from the contact ends theirs alone. What was
    sent has three days to lead to something.
    """

    async def tell(self) -> None:
        valid_days = self.entry.valid_days
        told = await self.send(
            self.entry.template,
            purpose=self.entry.purpose or PROMOTIONAL,
            channel=self.entry.channel or "email",
            valid_for=days(valid_days) if valid_days else None,
        )
        if told.status == "sent":
            await self.sleep(days=3)
