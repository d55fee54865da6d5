"""Hand-offs as facts: a person answering the contact is what acknowledges one, however we learn of it."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import journal
from contacts.events import Event, event, identities
from contacts.specs import Happening
from contacts.tables import handoffs

ANSWERS = ("handoff.acknowledged", "conversation.started", "meeting.booked")
CLOSES = ("conversation.ended", "meeting.completed")


async def acknowledge(conn: AsyncConnection, contact_id: str, event: Happening, now: datetime) -> None:
    """Marks the contact's open hand-offs as taken, if the event shows that a person took them.

    A conversation without a ``rep`` is the contact writing to us: it holds promotion back, and nobody has answered yet.
    """
    if event.type not in ANSWERS or (event.type == "conversation.started" and not event.data.get("rep")):
        return
    waiting = [
        handoffs.c.contact_id == contact_id,
        handoffs.c.acknowledged_at.is_(None),
        handoffs.c.because_at <= event.occurred_at,
    ]
    if event.data.get("handoff_id"):
        waiting.append(sa.cast(handoffs.c.id, sa.Text) == str(event.data["handoff_id"]))
    by = str(event.data.get("by") or event.data.get("rep") or event.type)
    rows = await conn.execute(
        sa.update(handoffs)
        .where(*waiting)
        .values(acknowledged_at=event.occurred_at, acknowledged_by=by)
        .returning(handoffs)
    )
    entries = [
        journal.Entry(
            at=now,
            contact_id=contact_id,
            kind="ack",
            journey=row.journey,
            run_id=row.run_id,
            once=f"ack/{row.id}",
            data={
                "by": by,
                "handoff_id": row.id,
                "after_seconds": round((event.occurred_at - row.because_at).total_seconds()),
                "in_time": event.occurred_at <= row.contact_by,
            },
        )
        for row in rows
    ]
    await journal.write(conn, *entries)


async def closed_by(conn: AsyncConnection, contact_id: str, happening: Happening) -> list[Event]:
    """The hand-offs that are over because the talk they were for is: as events, to be recorded like any other."""
    if happening.type not in CLOSES:
        return []
    rows = await conn.execute(
        sa.update(handoffs)
        .where(
            handoffs.c.contact_id == contact_id,
            handoffs.c.closed_at.is_(None),
            handoffs.c.opened_at <= happening.occurred_at,
        )
        .values(closed_at=happening.occurred_at)
        .returning(handoffs.c.id)
    )
    return [
        event(
            "handoff.closed",
            source="perennial",
            source_id=f"closed/{row.id}",
            occurred_at=happening.occurred_at,
            identities=identities(("contact", contact_id)),
            data={"handoff_id": row.id, "by": happening.type},
        )
        for row in rows
    ]
