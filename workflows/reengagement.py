"""Contacts who no longer read what we send: ask, and if nothing comes, stop."""

from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, days, journey, on, once_per
from workflows.moments import IN_TALKS, REPLIED, TUNED_OUT


@journey(
    trigger=on("engagement.lapsed"),
    audience="contacts who allow marketing e-mail and have opened none of it for three months",
    goal="the contact gets mail they want, or none",
    success=[
        on("message.opened", "message.clicked", machine=False),
        REPLIED,
        on("page.viewed", "resource.downloaded", "form.submitted", "survey.answered"),
        on("webinar.registered", "webinar.attended", "meeting.booked", "checkout.started", "purchase.completed"),
        on("consent.granted"),
    ],
    exits=[IN_TALKS, TUNED_OUT],
    owner="lifecycle",
    purpose=PROMOTIONAL,
    reentry=once_per(days=180),
    max_run=days(90),
    review_by=date(2027, 5, 1),
    only=["known"],
)
class Reengagement(Journey):
    """Admits the gap, offers a choice, and takes silence for an answer.

    Whoever has tuned out without unsubscribing must not be written to for ever: at the end their promotional consent is
    withdrawn, as they could have done it themselves, and only a new word of theirs opens it again. Whatever shows that
    they still want something of us ends it before, whether or not a mail of ours had to do with it. A mail that may not
    go out ends the run, since silence after a mail that nobody got is no answer.
    """

    async def admit(self) -> Any:
        if await self._unsaid("reengage_gap", days=self.entry.days):
            return None
        await self.sleep(days=10)
        return self.offer

    async def offer(self) -> Any:
        if await self._unsaid("reengage_choice"):
            return None
        await self.sleep(days=10)
        return self.sunset

    async def sunset(self) -> None:
        if await self._unsaid("sunset_goodbye"):
            return
        await self.record_event("consent.withdrawn", channel="email", purpose="promotional", evidence="sunset")

    async def _unsaid(self, template: str, **context: Any) -> bool:
        # A hold or a full week may take a while, and none of it spoils.
        return (await self.send(template, valid_for=days(21), **context)).status in ("dropped", "failed")
