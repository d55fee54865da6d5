"""Before a subscription renews."""

from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, TRANSACTIONAL, Journey, days, journey, often, on, once
from workflows.moments import NOTICE

IN_45_DAYS = on("date.approaching", name="renewal", days=45)
IN_30_DAYS = on("date.approaching", name="renewal", days=30)
WEIGHS_IT = often(on("page.viewed", page="pricing"), times=2, days=30)


@journey(
    trigger=on("date.approaching", name="renewal"),
    audience="customers whose subscription renews within sixty days",
    goal="the customer decides in good time and with the facts, whichever way",
    success=on("subscription.renewed"),
    exits=[on("subscription.canceled"), NOTICE],
    owner="customer success",
    purpose=LIFECYCLE,
    reentry=once(),
    max_run=days(75),
    review_by=date(2027, 5, 1),
    key="date",
    shared_key=True,
    newest_only=True,
    unless=["former"],
)
class Renewal(Journey):
    """One run for each renewal date.

    It counts no days itself but hears them: when a date moves, nothing more comes of the old one, and the new one
    brings a run of its own. That it renews is a fact of billing and goes to everybody; a call is for those we know
    well, and for those who compare prices.
    """

    async def announce(self) -> Any:
        await self.send("renewal_notice", purpose=TRANSACTIONAL, valid_for=days(14))
        if self.entry.days == 30:
            return self.show_value
        if self.entry.days == 45 or await self.wait(IN_45_DAYS, days=20) is not None:
            return self.call
        return None

    async def call(self) -> Any:
        if "strong" in (await self.facts()).flags or await self.showed(WEIGHS_IT):
            await self.send("call_renewal", channel="call", days=45)
        return self.show_value if await self.wait(IN_30_DAYS, days=20) is not None else None

    async def show_value(self) -> None:
        if not (await self.facts()).holds:
            # With a ticket open or a person talking to them, a look back at the good of the year would be deaf.
            await self.send("renewal_value", valid_for=days(10))
        await self.sleep(days=35)
