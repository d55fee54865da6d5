"""What other systems are told of: written with the event, carried by the relay, retried by Temporal.

Who is told is a rule of the policy (``[[outgoing]]``). An event is told at least once; its id lets a receiver drop
repeats. What was told, or could not be, can be told again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.runs import CHANNEL
from contacts.tables import dispatches, events, tellings


async def write(conn: AsyncConnection, event_id: str, type: str, sinks: Sequence[str], now: datetime) -> None:
    """Has these systems told of an event that was just stored."""
    for sink in sinks:
        values = {"event_id": event_id, "sink": sink, "created_at": now}
        written = await conn.execute(sa.insert(tellings).values(values).returning(tellings))
        await _dispatch(conn, written.one(), type, now)


async def again(conn: AsyncConnection, which: Sequence[sa.ColumnElement[bool]], now: datetime) -> int:
    """Has the systems told once more of what these conditions choose. Returns how many tellings that are."""
    chosen = sa.update(tellings).where(*which, tellings.c.status != "waiting")
    chosen = chosen.values(status="waiting", round=tellings.c.round + 1, error=None, settled_at=None)
    rows = (await conn.execute(chosen.returning(tellings))).all()
    types = sa.select(events.c.id, events.c.type).where(events.c.id.in_({row.event_id for row in rows}))
    type_of = {row.id: row.type for row in await conn.execute(types)}
    for row in rows:
        await _dispatch(conn, row, type_of[row.event_id], now)
    return len(rows)


async def settle(
    conn: AsyncConnection, telling_id: int, status: str, now: datetime, *, error: str | None, provider_id: str | None
) -> None:
    """Records how a telling ended: ``told`` or ``failed``; ``error`` says why it failed, or needed no call."""
    values = {"status": status, "settled_at": now, "error": error, "provider_id": provider_id}
    await conn.execute(sa.update(tellings).where(tellings.c.id == telling_id).values(values))


@dataclass(frozen=True)
class Telling:
    """A telling and the event that it tells."""

    id: int
    sink: str
    status: str
    event: Any


async def find(conn: AsyncConnection, telling_id: int) -> Telling:
    """The telling with this id."""
    query = sa.select(tellings.c.id.label("telling_id"), tellings.c.sink, tellings.c.status, events)
    query = query.join(events, events.c.id == tellings.c.event_id).where(tellings.c.id == telling_id)
    row = (await conn.execute(query)).one()
    return Telling(row.telling_id, row.sink, row.status, row)


async def _dispatch(conn: AsyncConnection, row: Any, type: str, now: datetime) -> None:
    payload = {"telling": row.id, "event": row.event_id, "round": row.round, "sink": row.sink, "type": type}
    await conn.execute(sa.insert(dispatches).values(kind="tell", payload=payload, created_at=now))
    await conn.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
