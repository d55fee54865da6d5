"""What is far from usual stops a journey's promotion until a person has looked.

A change to fifty thousand records must not mail fifty thousand people in a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import pauses, tables
from contacts.gate import Pause
from contacts.policy import Breaker
from contacts.tables import runs, touches

_USUAL_OVER = timedelta(weeks=4)


@dataclass(frozen=True)
class Rush:
    """How much of something there was in the breaker's window, the one that is asked about included.

    Attributes:
        allowed: So much is never too much.
        usual: What is usual in such a span; None where there was no reason to find out.
        times_usual: So many times that is not too much either.
    """

    what: str
    count: int
    allowed: int
    times_usual: float
    usual: float | None = None

    @property
    def is_too_much(self) -> bool:
        """Whether it is more than what is never too much, and far from usual."""
        return self.usual is not None and self.count > max(self.allowed, self.usual * self.times_usual)

    def __str__(self) -> str:
        return f"{self.count} {self.what} where {self.usual or 0:.1f} are usual"


async def sends(conn: AsyncConnection, journey: str, breaker: Breaker, now: datetime) -> Rush:
    """Counts a journey's promotional touches and the one that wants to follow, and halts it if they are far from usual.

    Transactions that run at once do not see each other's claims, so there may be as many too many as run beside this.
    """

    def since(start: datetime) -> sa.Select[int]:
        return sa.select(sa.func.count()).where(
            touches.c.journey == journey, touches.c.purpose == "promotional", touches.c.claimed_at > start
        )

    rush = Rush("promotional messages", 1, breaker.sends_of(journey), breaker.times_usual)
    return await _judged(conn, journey, rush, since, breaker, now)


async def entries(conn: AsyncConnection, journey: str, breaker: Breaker, now: datetime) -> Rush:
    """Counts who has entered a journey, this one included, and halts it if they are far from usual."""

    def since(start: datetime) -> sa.Select[int]:
        return sa.select(sa.func.count()).where(runs.c.journey == journey, runs.c.started_at > start)

    rush = Rush("entries", 0, breaker.entries_of(journey), breaker.times_usual)
    return await _judged(conn, journey, rush, since, breaker, now)


async def _judged(
    conn: AsyncConnection,
    journey: str,
    rush: Rush,
    since: Callable[[datetime], sa.Select[int]],
    breaker: Breaker,
    now: datetime,
) -> Rush:
    window = timedelta(minutes=breaker.window_minutes)
    # Workers' clocks differ a little, so what was done "later" counts too.
    recent = (await conn.execute(since(now - window))).scalar_one()
    if rush.count + recent <= rush.allowed:
        # The rest costs a look at four weeks, so it is asked for only when there is reason to.
        return replace(rush, count=rush.count + recent)
    looked_at = await _looked_at(conn, journey)
    anew = recent if looked_at is None else (await conn.execute(since(max(looked_at, now - window)))).scalar_one()
    rush = replace(rush, count=rush.count + anew)
    if rush.count <= rush.allowed:
        return rush
    before = (await conn.execute(since(now - window - _USUAL_OVER))).scalar_one() - recent
    rush = replace(rush, usual=before * (window / _USUAL_OVER))
    if rush.is_too_much:
        # Somebody else may have called the same halt a moment ago; it holds this one too.
        reason = f"{rush} in {breaker.window_minutes:g} minutes"
        await pauses.call(conn, Pause("journey", journey, reason), by=pauses.BREAKER, now=now)
    return rush


async def _looked_at(conn: AsyncConnection, journey: str) -> datetime | None:
    """When somebody last ended a halt of the journey: they saw what there was until then and let it go on."""
    mine = sa.and_(tables.pauses.c.scope == "journey", tables.pauses.c.name == journey)
    ended: datetime | None = (
        await conn.execute(sa.select(sa.func.max(tables.pauses.c.released_at)).where(mine))
    ).scalar_one()
    return ended
