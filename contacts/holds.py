"""An operator's pauses of single contacts. Each is a hold among the contact's facts, and the events that made it so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.events import Event, event, identities
from contacts.facts import Facts, Hold
from contacts.tables import contacts, events

PAUSE = "pause"
"""The ``hold_id`` of what an operator calls at the command line; other systems give their holds ids of their own."""


@dataclass(frozen=True)
class Held:
    """A time over which an operator had, or has, a contact's promotion wait.

    Attributes:
        until: When it ends by itself.
        released_at: When somebody ended it, or called it anew; None while neither has happened.
    """

    contact_id: str
    hold: str
    reason: str
    opened_at: datetime
    opened_by: str
    until: datetime | None
    released_at: datetime | None
    released_by: str | None

    def ended_at(self, now: datetime) -> datetime | None:
        """When it was over; None while it is in force."""
        by_itself = self.until if self.until is not None and self.until <= now else None
        return min((at for at in (self.released_at, by_itself) if at is not None), default=None)


def in_force(facts: Facts, now: datetime) -> Sequence[Hold]:
    """The contact's holds that an operator, or a system in their name, has opened."""
    return [hold for hold in facts.active_holds(now) if hold.kind == "operator"]


def opened(contact_id: str, *, by: str, reason: str, until: datetime | None, now: datetime) -> Event:
    """An operator has a contact's promotion wait."""
    given = {"hold_id": PAUSE, "by": by, "reason": reason, "until": until}
    return _event("hold.opened", contact_id, {name: value for name, value in given.items() if value is not None}, now)


def released(contact_id: str, hold: Hold, *, by: str, now: datetime) -> Event:
    """An operator lets a contact's promotion go on, as far as this hold is concerned."""
    return _event("hold.released", contact_id, {"by": by, **({"hold_id": hold.key} if hold.key != "-" else {})}, now)


async def listed(conn: AsyncConnection, contact_id: str | None = None, *, limit: int | None = None) -> Sequence[Held]:
    """Operators' pauses of contacts, or of one contact, the newest first."""
    key = sa.func.coalesce(events.c.data["hold_id"].astext, "-")
    whose, in_order = [events.c.contact_id, key], [events.c.occurred_at, events.c.received_at]
    told = sa.select(
        events.c.contact_id,
        key.label("key"),
        events.c.type,
        events.c.occurred_at,
        events.c.data,
        sa.func.lead(events.c.occurred_at).over(partition_by=whose, order_by=in_order).label("next_at"),
        sa.func.lead(events.c.data).over(partition_by=whose, order_by=in_order).label("next_data"),
    ).where(sa.text("events.type IN ('hold.opened', 'hold.released')"))
    if contact_id is not None:
        told = told.where(events.c.contact_id == contact_id)
    hold = told.subquery("hold")
    # What the policy said of one that names no end is only among the facts, and only of the last of this name.
    stored = sa.func.jsonb_extract_path_text(
        contacts.c.facts, "holds", sa.literal("operator:") + hold.c.key, "expires_at"
    )
    expires = sa.cast(sa.case((hold.c.next_at.is_(None), stored)), TIMESTAMP(timezone=True))
    query = (
        sa.select(hold, expires.label("expires_at"))
        .join(contacts, contacts.c.id == hold.c.contact_id)
        .where(hold.c.type == "hold.opened")
        .order_by(hold.c.occurred_at.desc(), hold.c.contact_id)
        .limit(limit)
    )
    return [_held(row) for row in await conn.execute(query)]


def _held(row: Any) -> Held:
    told: Mapping[str, Any] = row.data
    until = datetime.fromisoformat(told["until"]) if "until" in told else row.expires_at
    return Held(
        contact_id=row.contact_id,
        hold=f"operator:{row.key}",
        reason=str(told.get("reason") or "no reason given"),
        opened_at=row.occurred_at,
        opened_by=str(told.get("by") or "nobody said who"),
        until=until,
        released_at=row.next_at,
        released_by=None if row.next_at is None else str(row.next_data.get("by") or "nobody said who"),
    )


def _event(type: str, contact_id: str, data: Mapping[str, Any], now: datetime) -> Event:
    whose = identities(("contact", contact_id))
    return event(type, source="cli", source_id=str(uuid4()), occurred_at=now, identities=whose, data=data)
