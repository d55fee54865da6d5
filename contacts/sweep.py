"""Records what has become due by the mere passing of time, contact by contact, in pages.

Each event is named by what it is counted from, so a sweep that is run twice, or dies half-way and starts again,
records nothing twice.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from contacts import store
from contacts.absence import Due, due
from contacts.events import Event, event, identities
from contacts.facts import Facts
from contacts.intake import Intake
from contacts.tables import contacts

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
    recorded = 0
    for row in rows:
        recorded += await intake.refresh(row.id, now)
        facts = store.read_facts(row.facts)
        for ripe in due(facts, intake.policy):
            if ripe.at <= now:
                receipt = await intake.record(event_of(facts, ripe), now)
                recorded += receipt.result == "stored"
    last = rows[-1].id if len(rows) == size else None
    return Page(last, len(rows), recorded)


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
