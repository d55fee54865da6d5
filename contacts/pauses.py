"""Halts that an operator or the breaker has called: of a journey, of a channel, or of everything.

Touches wait while one is in force; runs and their timers go on. Nothing lapses in silence: what is no longer valid when
it ends is dropped with its reason, and whatever still waits is asked about at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import runs, tables
from contacts.gate import Pause
from contacts.specs import Happening
from contacts.tables import pauses, touches

RESUMED = "pause.ended"
"""What runs hear when a halt is over."""


@dataclass(frozen=True)
class Called:
    """A halt, who called it and when."""

    pause: Pause
    opened_at: datetime
    opened_by: str
    released_at: datetime | None


async def in_force(conn: AsyncConnection) -> Sequence[Pause]:
    """The halts that touches have to wait for."""
    query = sa.select(pauses.c.scope, pauses.c.name, pauses.c.reason).where(pauses.c.released_at.is_(None))
    return [Pause(*row) for row in await conn.execute(query.order_by(pauses.c.id))]


async def call(conn: AsyncConnection, pause: Pause, *, by: str, now: datetime) -> bool:
    """Calls a halt; false if the same one is in force already."""
    called = await conn.execute(
        insert(pauses)
        .values(scope=pause.scope, name=pause.name, reason=pause.reason, opened_at=now, opened_by=by)
        .on_conflict_do_nothing(index_elements=["scope", "name"], index_where=pauses.c.released_at.is_(None))
        .returning(pauses.c.id)
    )
    return called.first() is not None


async def end(conn: AsyncConnection, scope: str, name: str, *, by: str, now: datetime) -> int | None:
    """Ends a halt and lets every run whose touch waits for it ask again. Returns how many; None if there was none."""
    ended = await conn.execute(
        sa.update(pauses)
        .where(pauses.c.scope == scope, pauses.c.name == name, pauses.c.released_at.is_(None))
        .values(released_at=now, released_by=by)
        .returning(pauses.c.scope, pauses.c.name, pauses.c.reason)
    )
    row = ended.first()
    if row is None:
        return None
    held = sa.and_(touches.c.status == "waiting", touches.c.hold == Pause(*row).hold)
    waiting = (await conn.execute(sa.select(touches.c.run_id).where(held).distinct())).scalars().all()
    told = Happening(str(uuid4()), RESUMED, now, {"scope": scope, "pause": name})
    for run_id in waiting:
        await runs.tell(conn, run_id, told, [], now)
    return len(waiting)


async def listed(conn: AsyncConnection) -> Sequence[Called]:
    """Every halt, the newest first."""
    rows = await conn.execute(sa.select(tables.pauses).order_by(pauses.c.id.desc()))
    return [Called(Pause(r.scope, r.name, r.reason), r.opened_at, r.opened_by, r.released_at) for r in rows]


async def not_told(conn: AsyncConnection, now: datetime) -> Sequence[Called]:
    """The breaker's halts that no person has been told of; from now on they count as told."""
    rows = await conn.execute(
        sa.update(pauses)
        .where(pauses.c.told_at.is_(None), pauses.c.released_at.is_(None), pauses.c.opened_by == BREAKER)
        .values(told_at=now)
        .returning(pauses)
    )
    return [Called(Pause(r.scope, r.name, r.reason), r.opened_at, r.opened_by, r.released_at) for r in rows]


async def not_yet_told(conn: AsyncConnection, called: Called) -> None:
    """Telling a person of this halt failed: it counts as untold again."""
    mine = sa.and_(pauses.c.scope == called.pause.scope, pauses.c.name == called.pause.name)
    await conn.execute(sa.update(pauses).where(mine, pauses.c.opened_at == called.opened_at).values(told_at=None))


BREAKER = "breaker"
"""Who calls a halt by itself; see ``contacts.breaker``."""
