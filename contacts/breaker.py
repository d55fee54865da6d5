"""What is far from usual stops a journey's promotion until a person has looked.

A change to fifty thousand records must not mail fifty thousand people in a minute. What a person has let out is no such
thing and is not counted: what a rollout begins, whose size and rate they saw before they said yes, and what waited for
a halt that they ended or a run that they resumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import pauses
from contacts.gate import Ask, Pause
from contacts.policy import Breaker
from contacts.runs import of_a_rollout, resumed_since
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


async def sends(conn: AsyncConnection, ask: Ask, run_id: str, breaker: Breaker) -> Rush | None:
    """Counts a journey's promotional touches and the one that wants to follow, and halts it if they are far from usual.

    None where a person has let this one out. Transactions that run at once do not see each other's claims, so there may
    be as many too many as run beside this.
    """
    let_go = await pauses.let_go(conn, ask.journey, ask.now)
    if await _is_let_out(conn, ask, run_id, let_go):
        return None
    mine = sa.and_(touches.c.journey == ask.journey, touches.c.purpose == "promotional")
    rush = Rush("promotional messages", 1, breaker.sends_of(ask.journey), breaker.times_usual)
    let_out = [
        sa.and_(touches.c.channel == channel if channel else sa.true(), touches.c.asked_at <= at)
        for channel, at in let_go.items()
    ]
    let_out += [of_a_rollout(touches.c.run_id), resumed_since(touches.c.run_id, touches.c.asked_at)]
    new = sa.not_(sa.or_(*let_out))
    return await _judged(conn, ask.journey, rush, mine, touches.c.claimed_at, new, breaker, ask.now)


async def entries(conn: AsyncConnection, journey: str, breaker: Breaker, now: datetime) -> Rush:
    """Counts who has entered a journey, this one included, and halts it if they are far from usual."""
    rush = Rush("entries", 0, breaker.entries_of(journey), breaker.times_usual)
    new = sa.not_(of_a_rollout(runs.c.id))
    if (at := (await pauses.let_go(conn, journey, now)).get(None)) is not None:
        new = sa.and_(new, runs.c.started_at > at)
    return await _judged(conn, journey, rush, runs.c.journey == journey, runs.c.started_at, new, breaker, now)


async def _is_let_out(conn: AsyncConnection, ask: Ask, run_id: str, let_go: Mapping[str | None, datetime]) -> bool:
    run, now = sa.literal(run_id, runs.c.id.type), sa.literal(ask.now, touches.c.asked_at.type)
    first = sa.select(touches.c.asked_at).where(touches.c.key == ask.key).scalar_subquery()
    asked_at = sa.func.coalesce(first, now)
    query = sa.select(sa.or_(of_a_rollout(run), resumed_since(run, asked_at)), asked_at)
    by_run, asked = (await conn.execute(query)).one()
    return by_run or any(asked <= at for channel, at in let_go.items() if channel in (None, ask.channel))


async def _judged(
    conn: AsyncConnection,
    journey: str,
    rush: Rush,
    mine: sa.ColumnElement[bool],
    at: sa.ColumnElement[datetime],
    new: sa.ColumnElement[bool],
    breaker: Breaker,
    now: datetime,
) -> Rush:
    counted, window = sa.select(sa.func.count()).where(mine), timedelta(minutes=breaker.window_minutes)
    # Workers' clocks differ a little, so what was done "later" counts too.
    recent = (await conn.execute(counted.where(at > now - window, new))).scalar_one()
    rush = replace(rush, count=rush.count + recent)
    if rush.count <= rush.allowed:
        # The usual costs a look at four weeks, so it is asked for only when there is reason to.
        return rush
    before = counted.where(at > now - window - _USUAL_OVER, at <= now - window)
    rush = replace(rush, usual=(await conn.execute(before)).scalar_one() * (window / _USUAL_OVER))
    if rush.is_too_much:
        # Somebody else may have called the same halt a moment ago; it holds this one too.
        reason = f"{rush} in {breaker.window_minutes:g} minutes"
        usual = round(rush.usual or 0, 1)
        figures = {"what": rush.what, "count": rush.count, "usual": usual, "minutes": breaker.window_minutes}
        await pauses.trip(conn, Pause("journey", journey, reason), figures=figures, now=now)
    return rush
