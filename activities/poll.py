"""Asks a system what happened, and records it as any other event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import signatures as ask
from activities.running import pulse
from connectors.base import Polled, Poller
from connectors.errors import ConnectorError, NeverAgain, TryAgain
from contacts import chores
from contacts.clock import Clock
from contacts.events import InvalidEvent
from contacts.intake import Intake
from contacts.tables import cursors

PAGES_AT_ONCE = 200
"""More than so many pages wait for the next asking, which goes on from there."""


@dataclass(frozen=True)
class Poll:
    """The activity behind the ``polling`` workflow."""

    intake: Intake
    pollers: Mapping[str, Poller]
    clock: Clock

    @activity.defn(name=ask.POLL)
    async def poll(self, request: ask.PollRequest) -> ask.PollDone:
        """Asks page by page. The cursor moves after a page's events are recorded, so that a death loses none.

        What a system says is recorded whatever it will not say; then that ends in an error, as any other refusal does.
        """
        poller = self.pollers.get(request.connector)
        if poller is None:
            raise ApplicationError(f"{request.connector} cannot be asked: has it credentials?", non_retryable=True)
        pages = recorded = 0
        async with pulse():
            more, fault = True, None
            while more and pages < PAGES_AT_ONCE:
                page = await self._page(poller)
                recorded += await self._record(page)
                await self._move(poller, page.cursor)
                pages, more, fault = pages + 1, page.more, page.fault or fault
            if fault:
                raise ApplicationError(f"{poller.name} says only a part: {fault}", type="Refused", non_retryable=True)
            async with self.intake.engine.begin() as conn:
                await chores.done(conn, chores.ASKING + poller.name, self.clock.now())
        return ask.PollDone(pages, recorded)

    async def _page(self, poller: Poller) -> Polled:
        async with self.intake.engine.connect() as conn:
            known = sa.select(cursors.c.cursor).where(cursors.c.name == poller.name)
            cursor: str | None = (await conn.execute(known)).scalar_one_or_none()
        try:
            return await poller.poll(cursor, datetime.now(UTC))
        except ConnectorError as error:
            delay = error.delay if isinstance(error, TryAgain) else None
            raise ApplicationError(
                str(error),
                type=type(error).__name__,
                next_retry_delay=delay,
                non_retryable=isinstance(error, NeverAgain),
            ) from None

    async def _record(self, page: Polled) -> int:
        stored = 0
        for event in page.events:
            try:
                stored += (await self.intake.record(event, self.clock.now())).result == "stored"
            except InvalidEvent as problem:
                # One that names nobody must not hold up the others for ever.
                activity.logger.warning("an event of %s was passed over: %s", event.source, problem)
        return stored

    async def _move(self, poller: Poller, cursor: str) -> None:
        values = {"cursor": cursor, "polled_at": self.clock.now()}
        moved = insert(cursors).values(name=poller.name, **values)
        async with self.intake.engine.begin() as conn:
            await conn.execute(moved.on_conflict_do_update(index_elements=["name"], set_=values))
