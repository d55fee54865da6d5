"""Records what has become due by the mere passing of time, contact by contact, in pages.

Each event is named by what it is counted from, so a sweep that is run twice, or dies half-way and starts again,
records nothing twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from contacts import store
from contacts.absence import Due, due
from contacts.events import Event, event, identities
from contacts.facts import Facts
from contacts.intake import Intake
from contacts.segments import counted
from contacts.tables import contacts, events

SOURCE = "perennial"


@dataclass(frozen=True)
class Page:
    """What one page of a sweep came to.

    Attributes:
        last: The last contact looked at; the next page goes on after it. None after the last page.
        recorded: Events that were new.
    """

    last: str | None
    looked_at: int
    recorded: int


async def sweep_page(intake: Intake, now: datetime, *, after: str | None = None, size: int = 500) -> Page:
    """Looks at the next contacts and records what is due for them as of ``now``."""
    query = sa.select(contacts.c.id, contacts.c.facts).where(contacts.c.merged_into.is_(None))
    if after is not None:
        query = query.where(contacts.c.id > after)
    async with intake.engine.connect() as conn:
        rows = (await conn.execute(query.order_by(contacts.c.id).limit(size))).all()
    everybody = [store.read_facts(row.facts) for row in rows]
    ripe = {
        told.source_id: told
        for facts in everybody
        for found in due(facts, intake.policy)
        if found.at <= now < found.until
        for told in (event_of(facts, found),)
    }
    recorded = 0
    for told in await _not_recorded(intake, ripe):
        recorded += (await intake.record(told, now)).result == "stored"
    for facts in everybody:
        if counted(facts, intake.policy, now) != facts:
            recorded += await intake.refresh(facts.contact_id, now)
    last = rows[-1].id if len(rows) == size else None
    return Page(last, len(rows), recorded)


async def _not_recorded(intake: Intake, ripe: Mapping[str, Event]) -> list[Event]:
    """What is due and was not recorded by an earlier sweep, soonest first."""
    known = sa.select(events.c.source_id).where(events.c.source == SOURCE, events.c.source_id.in_(ripe))
    async with intake.engine.connect() as conn:
        recorded = set((await conn.execute(known)).scalars())
    return sorted((e for name, e in ripe.items() if name not in recorded), key=lambda e: (e.occurred_at, e.source_id))


def event_of(facts: Facts, ripe: Due) -> Event:
    """What is due, as an event."""
    return event(
        ripe.type,
        source=SOURCE,
        source_id=ripe.source_id,
        occurred_at=ripe.at,
        identities=identities(("contact", facts.contact_id)),
        data=ripe.data,
    )
