"""Reads stored requests again: after a fix of whatever kept them from being understood, or for a reader who died."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from connectors import configured
from connectors.base import Request, Source
from connectors.cloudevents import CloudEvents
from connectors.configured import MissingCredentials
from connectors.track import Track
from contacts.clock import Clock
from contacts.events import Event
from contacts.inbox import Inbox
from contacts.tables import inbox
from ops.output import Failure
from settings import Settings

log = structlog.get_logger()

LEFT = timedelta(minutes=1)
"""A request that nobody has read after so long (on the machine's clock) was kept by a gateway that then died."""


TOLD_LATE = timedelta(days=4)
"""So long (on the machine's clock) a sender may take to tell us of something whose end it has told already: Stripe
sends for three days what it could not deliver."""

_AGAIN = timedelta(hours=6)


@dataclass(frozen=True)
class Retried:
    """What came of a stored request this time: its events, and why it is still not understood, if so."""

    inbox_id: int
    connector: str
    events: int
    error: str | None


def sources(settings: Settings) -> dict[str, Source]:
    """Every source whose requests may be in the inbox, by name.

    Raises:
        Failure: A connector's settings are wrong.
    """
    try:
        cloudevents = CloudEvents(settings.events_secret)
        return {**configured.sources(), "track": Track(settings.write_keys), "cloudevents": cloudevents}
    except MissingCredentials as wrong:
        raise Failure(str(wrong), status=2) from None
    except ValueError as wrong:
        raise Failure(f"PERENNIAL_EVENTS_SECRET: {wrong}", status=2) from None


async def retry(
    where: Inbox, sources: Mapping[str, Source], clock: Clock, ids: Sequence[int] = ()
) -> AsyncIterator[Retried]:
    """Reads these requests again, or all that were never understood; harmless to repeat.

    Raises:
        Failure: There is no request with one of the ids.
    """
    engine = where.intake.engine
    chosen = inbox.c.id.in_(ids) if ids else inbox.c.status.in_(["received", "failed"])
    async with engine.connect() as conn:
        found = list((await conn.execute(sa.select(inbox.c.id).where(chosen).order_by(inbox.c.id))).scalars())
    if missing := sorted(set(ids) - set(found)):
        raise Failure(f"no request {missing[0]} in the inbox: `perennial inbox list` shows them")
    for inbox_id in found:
        async with engine.connect() as conn:
            row = (await conn.execute(sa.select(inbox).where(inbox.c.id == inbox_id))).one()
        headers = {name.lower(): value for name, value in row.headers.items()}
        request = Request(row.method, row.url, headers, bytes(row.body))
        parse = _parse(sources.get(row.connector), row.connector, request, row.received_at)
        outcome = await where.understand(inbox_id, parse, clock.now())
        yield Retried(inbox_id, row.connector, outcome.events, outcome.error)


async def read_what_is_left(where: Inbox, sources: Mapping[str, Source], clock: Clock) -> None:
    """Reads the requests whose reader died between keeping and reading them, as they are found. Runs until cancelled.

    Their senders got no answer. Most send again, and then this changes nothing; those that do not lose nothing.
    Requests that named nobody are read now and then as well: what they are about may be told after them.
    """
    again_at = clock.now()
    while True:
        try:
            now = clock.now()
            left = await where.unread(now - LEFT * clock.rate)
            if now >= again_at:
                left += await where.nobodys(now - TOLD_LATE * clock.rate)
                again_at = now + _AGAIN * clock.rate
            if left:
                async for read in retry(where, sources, clock, left):
                    if read.error is None:
                        log.info("inbox.read_late", inbox=read.inbox_id, events=read.events)
        except SQLAlchemyError as error:
            log.warning("inbox.database_away", error=type(error).__name__)
        await asyncio.sleep(LEFT.total_seconds() / 2)


def _parse(source: Source | None, name: str, request: Request, received_at: datetime) -> Callable[[], Sequence[Event]]:
    def parse() -> Sequence[Event]:
        if source is None:
            raise ValueError(f"there is no connector {name!r} any more")
        return source.parse(request, received_at)

    return parse
