"""Tells another system what happened."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities import signatures as ask
from activities.running import pulse
from connectors.base import Sink, Told
from connectors.errors import ConnectorError, NeverAgain, NobodyThere, TryAgain
from contacts import store, tellings
from contacts.clock import Clock
from contacts.facts import outdated
from contacts.specs import Happening


@dataclass(frozen=True)
class Tell:
    """The activities behind the ``telling`` workflow."""

    engine: AsyncEngine
    sinks: Mapping[str, Sink]
    clock: Clock

    @activity.defn(name=ask.TELL)
    async def tell(self, request: ask.TellRequest) -> str:
        """Tells the system; ``told`` or ``failed``. What may work later is an error, for Temporal to try again.

        What is over by now is settled without a call: a word on consent that a newer one has taken back, and whatever
        happened to somebody who was erased. Whom the system does not know it need not be told of.
        """
        async with self.engine.connect() as conn:
            telling = await tellings.find(conn, request.telling)
            facts = await store.find(conn, telling.event.contact_id)
            known_as = await store.known_as(conn, facts.contact_id)
        event = telling.event
        if facts.erased_at is not None and event.type != "contact.erased":
            return await self._settle(request, "told", note="the contact was erased")
        if outdated(facts, Happening(event.id, event.type, event.occurred_at, event.data)):
            # The newer word is told as well. Told after it, this one would take its place.
            return await self._settle(request, "told", note="a newer word is known")
        sink = self.sinks.get(telling.sink)
        if sink is None:
            raise ApplicationError(f"nothing is connected as {telling.sink}", type="NoSink")
        told = Told(event.id, event.type, event.occurred_at, facts.contact_id, known_as, event.data)
        try:
            async with pulse():
                provider_id = await sink.tell(told)
        except NobodyThere as nobody:
            return await self._settle(request, "told", note=str(nobody))
        except NeverAgain as error:
            return await self._settle(request, "failed", note=str(error))
        except ConnectorError as error:
            delay = error.delay if isinstance(error, TryAgain) else None
            category = ApplicationErrorCategory.BENIGN if delay else ApplicationErrorCategory.UNSPECIFIED
            raise ApplicationError(
                str(error), type=type(error).__name__, next_retry_delay=delay, category=category
            ) from None
        return await self._settle(request, "told", provider_id=provider_id)

    @activity.defn(name=ask.GIVE_UP_TELLING)
    async def give_up(self, request: ask.TellRequest) -> str:
        """Records that the system could not be told in all that time."""
        return await self._settle(request, "failed", note="no attempt worked")

    async def _settle(
        self, request: ask.TellRequest, status: str, *, note: str | None = None, provider_id: str | None = None
    ) -> str:
        async with self.engine.begin() as conn:
            await tellings.settle(conn, request.telling, status, self.clock.now(), error=note, provider_id=provider_id)
        return status
