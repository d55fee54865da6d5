"""What other systems were told, what could not be told them, and telling it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contacts import tellings as told
from contacts.tables import contacts, events, tellings
from ops.output import Failure
from ops.shared_columns import CONTACT


@dataclass(frozen=True)
class TellingLine:
    """An event that a system is told of. ``status``: ``waiting``, ``told`` or ``failed``; ``error`` says why."""

    telling: int
    sink: str
    type: str
    contact: str
    event_id: str
    created_at: datetime
    status: str
    round: int
    settled_at: datetime | None
    error: str | None
    provider_id: str | None


@dataclass(frozen=True)
class Replayed:
    """How many tellings were begun again."""

    count: int


def chosen(
    *, to: str | None = None, status: str | None = None, since: datetime | None = None, ids: Sequence[int] = ()
) -> list[sa.ColumnElement[bool]]:
    """The conditions that choose tellings."""
    conditions: list[sa.ColumnElement[bool]] = []
    if to is not None:
        conditions.append(tellings.c.sink == to)
    if status is not None:
        conditions.append(tellings.c.status == status)
    if since is not None:
        conditions.append(tellings.c.created_at >= since)
    if ids:
        conditions.append(tellings.c.id.in_(ids))
    return conditions


async def list_tellings(
    conn: AsyncConnection, which: Sequence[sa.ColumnElement[bool]], limit: int
) -> list[TellingLine]:
    """Tellings, the newest first."""
    query = (
        sa.select(tellings, events.c.type, CONTACT)
        .join(events, events.c.id == tellings.c.event_id)
        .join(contacts, contacts.c.id == events.c.contact_id)
        .where(*which)
        .order_by(tellings.c.id.desc())
        .limit(limit)
    )
    return [
        TellingLine(
            telling=r.id,
            sink=r.sink,
            type=r.type,
            contact=r.contact,
            event_id=r.event_id,
            created_at=r.created_at,
            status=r.status,
            round=r.round,
            settled_at=r.settled_at,
            error=r.error,
            provider_id=r.provider_id,
        )
        for r in await conn.execute(query)
    ]


async def replay(
    engine: AsyncEngine, which: Sequence[sa.ColumnElement[bool]], now: datetime, ids: Sequence[int] = ()
) -> Replayed:
    """Has systems told again what was told or could not be; what is under way is left alone.

    Raises:
        Failure: There is no telling with one of the ids.
    """
    async with engine.begin() as conn:
        known = set((await conn.execute(sa.select(tellings.c.id).where(tellings.c.id.in_(ids)))).scalars())
        if missing := sorted(set(ids) - known):
            raise Failure(f"nothing was to be told as {missing[0]}: `perennial outgoing list` shows what was")
        return Replayed(await told.again(conn, which, now))
