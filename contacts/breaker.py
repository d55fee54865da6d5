"""What is far from usual stops a journey's promotion until a person has looked.

A change to fifty thousand records must not mail fifty thousand people in a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import pauses
from contacts.gate import Pause
from contacts.policy import Breaker
from contacts.tables import runs, touches

_USUAL_OVER = timedelta(weeks=4)


@dataclass(frozen=True)
class Rush:
    """How much of something there was in the breaker's window, and how much is usual in such a span."""

    what: str
    count: int
    usual: float

    def exceeds(self, floor: int, times_usual: float) -> bool:
        """Whether it is too much: more than what is never too much, and far from usual."""
        return self.count > max(floor, self.usual * times_usual)

    def __str__(self) -> str:
        return f"{self.count} {self.what} where {self.usual:.1f} are usual"


async def sends(conn: AsyncConnection, journey: str, breaker: Breaker, now: datetime) -> bool:
    """Counts a journey's promotional touches and the one that wants to follow, and halts it if they are far from usual.

    Returns whether it did.
    """

    def between(start: datetime, end: datetime) -> sa.Select[int]:
        return sa.select(sa.func.count()).where(
            touches.c.journey == journey,
            touches.c.purpose == "promotional",
            touches.c.claimed_at > start,
            touches.c.claimed_at <= end,
        )

    new = touches.c.asked_at > pauses.let_go(journey)
    return await _judge(conn, journey, "promotional messages", between, new, breaker.sends, breaker, now, more=1)


async def entries(conn: AsyncConnection, journey: str, breaker: Breaker, now: datetime) -> bool:
    """Counts who has entered a journey, and halts it if they are far from usual. Whether it did."""

    def between(start: datetime, end: datetime) -> sa.Select[int]:
        return sa.select(sa.func.count()).where(
            runs.c.journey == journey, runs.c.started_at > start, runs.c.started_at <= end
        )

    new = runs.c.started_at > pauses.let_go(journey)
    return await _judge(conn, journey, "entries", between, new, breaker.entries, breaker, now)


async def _judge(
    conn: AsyncConnection,
    journey: str,
    what: str,
    between: Callable[[datetime, datetime], sa.Select[int]],
    new: sa.ColumnElement[bool],
    floor: int,
    breaker: Breaker,
    now: datetime,
    more: int = 0,
) -> bool:
    window = timedelta(minutes=breaker.window_minutes)
    count = (await conn.execute(between(now - window, now).where(new))).scalar_one() + more
    if count <= floor:
        # The usual costs a look at four weeks, so it is asked for only when there is reason to.
        return False
    before = (await conn.execute(between(now - window - _USUAL_OVER, now - window))).scalar_one()
    rush = Rush(what, count, before * (window / _USUAL_OVER))
    if not rush.exceeds(floor, breaker.times_usual):
        return False
    reason = f"{rush} in {breaker.window_minutes:g} minutes"
    figures = {"what": what, "count": count, "usual": round(rush.usual, 1), "minutes": breaker.window_minutes}
    return await pauses.call(conn, Pause("journey", journey, reason), by=pauses.BREAKER, now=now, figures=figures)
