"""A booked call: prepared for, reminded of, and followed up if it does not happen."""

from datetime import date, datetime
from typing import Any

from workflows.base import LIFECYCLE, TRANSACTIONAL, Heard, Journey, always, days, hours, journey, on
from workflows.moments import REPLIED

BOOKED = on("meeting.booked")
CANCELED = on("meeting.canceled")
NO_SHOW = on("meeting.no_show")
TALKED = on("conversation.started")


@journey(
    trigger=BOOKED,
    audience="everybody who booked a call, from the booking until it has happened or will not",
    goal="the contact comes prepared, or gets another time without having to explain",
    success=on("meeting.completed"),
    exits=[on("contact.erased")],
    owner="sales",
    purpose=TRANSACTIONAL,
    reentry=always(),
    max_run=days(180),
    review_by=date(2027, 5, 1),
    key="meeting_id",
    own_key_only=True,
)
class Consultation(Journey):
    """One run for each meeting. Its time may move, and then everything about it moves too.

    Calendars tell a move in two ways: the same meeting is booked again with another time, or it is canceled and
    another one booked, in any order. Who has another call anyway hears nothing of the one that fell through.

    The mails are about an appointment of theirs and need no consent; the reminder, which may be a text, does.
    """

    async def prepare(self) -> Any:
        starts_at = self._starts_at()
        worth = days(2) if starts_at is None else min(days(2), starts_at - self.now)
        await self.send("booking_prepare", valid_for=worth, meeting=self._meeting())
        return self.remind

    async def remind(self) -> Any:
        starts_at = self._starts_at()
        if starts_at is not None and starts_at - days(1) > self.now:
            news = await self._news(starts_at - days(1))
            if news is not None:
                return self._after(news)
            await self.send("meeting_reminder", purpose=LIFECYCLE, valid_for=hours(20), meeting=self._meeting())
        return self.meet

    async def meet(self) -> Any:
        # A no-show is often put into the calendar only days later.
        news = await self._news((self._starts_at() or self.after(days=30)) + days(3))
        return self._after(news) if news is not None else None

    async def let_go(self) -> None:
        if not self.memory.get("another") and await self.wait(BOOKED, TALKED, REPLIED, minutes=30) is None:
            await self.send("booking_canceled", valid_for=days(2), meeting=self._meeting())

    async def ask_again(self) -> None:
        if self.memory.get("another") or await self.wait(BOOKED, TALKED, REPLIED, hours=1) is not None:
            return
        await self.send("booking_no_show", valid_for=days(2), meeting=self._meeting())
        if await self.wait(BOOKED, TALKED, REPLIED, days=1) is None:
            await self.send("call_no_show", channel="call", valid_for=days(3), meeting=self._meeting())

    async def _news(self, until: datetime) -> Heard | None:
        """What becomes of this meeting. The contact may have others."""
        while (news := await self.wait(BOOKED, CANCELED, NO_SHOW, until=until)) is not None:
            booked = BOOKED.matches(news.type, news.data)
            if news.meeting_id not in (None, self.entry.meeting_id):
                self.memory["another"] = self.memory.get("another", False) or booked
            elif not booked or news.starts_at != self._meeting().get("starts_at"):
                return news
        return None

    def _after(self, news: Heard) -> Any:
        if BOOKED.matches(news.type, news.data):
            self.memory["meeting"] = {**self._meeting(), **_details(news)}
            return self.prepare
        return self.let_go if CANCELED.matches(news.type, news.data) else self.ask_again

    def _meeting(self) -> dict[str, Any]:
        meeting: dict[str, Any] = self.memory.get("meeting") or _details(self.entry)
        return meeting

    def _starts_at(self) -> datetime | None:
        """When it begins; None where that is unknown, is over, or is further off than a run may last."""
        try:
            starts_at = datetime.fromisoformat(str(self._meeting().get("starts_at")))
        except ValueError:
            return None
        return starts_at if starts_at.tzinfo and self.now < starts_at < self.after(days=170) else None


def _details(booking: Heard) -> dict[str, Any]:
    return {k: v for k in ("starts_at", "url", "move_url") if (v := booking.data.get(k)) is not None}
