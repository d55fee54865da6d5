"""When a person is told of what is overdue: once, again when it got worse, again after a day.

What was told is in PostgreSQL, so that of several gateways one tells. Times are the machine's: they are about people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.base import Alert
from connectors.errors import ConnectorError
from contacts.tables import incidents
from ops.monitor.counts import Counts, Kind, Late

AGAIN = timedelta(days=1)
"""A person is reminded so long after they were told last."""

OVER = timedelta(minutes=15)
"""What has not been seen for so long is over; what comes back sooner is the same incident."""

_LOCK = 7265657466

WHAT_TO_DO: Mapping[Kind, str] = {
    "wake-ups": "runs sleep past their time: does a worker poll, is Temporal up? `perennial doctor`",
    "beginnings": "runs were started and no worker has begun them: does one poll? `perennial doctor`",
    "ends": "runs were told to end and still run: does a worker poll? then `perennial verify --repair`",
    "dispatches": "Temporal has not been told: is it up, and a gateway running? `perennial doctor`",
    "requests": "requests were acknowledged and never read: `perennial inbox retry`",
    "touches": "touches were claimed, and no provider has answered: `perennial verify --repair`",
    "hand-offs": "contacts wait for a person, and nobody has taken them: `perennial handoffs list`",
    "chores": "they have not been done again: is the schedule paused, does a worker poll? `perennial doctor`",
}


@dataclass(frozen=True)
class Incident:
    """Something that is overdue.

    Attributes:
        since, seen_at: When it was seen first and last.
        told_at: When a person was told last; None before the first time.
        told_count: How many there were then.
    """

    kind: Kind
    since: datetime
    seen_at: datetime
    told_at: datetime | None = None
    told_count: int = 0

    def is_due(self, count: int, now: datetime) -> bool:
        """Whether a person is to be told (again): never told, twice as many as then, or a day ago."""
        return self.told_at is None or count >= 2 * self.told_count or now - self.told_at >= AGAIN


def seen(known: Mapping[Kind, Incident], overdue: Mapping[Kind, Late], now: datetime) -> dict[Kind, Incident]:
    """The incidents as of now: those that go on, those that are new, and those that may come back."""
    recent = {kind: one for kind, one in known.items() if now - one.seen_at <= OVER}
    going_on = {kind: replace(recent.get(kind, Incident(kind, now, now)), seen_at=now) for kind in overdue}
    return {**recent, **going_on}


def told(current: Mapping[Kind, Incident], overdue: Mapping[Kind, Late], now: datetime) -> dict[Kind, Incident]:
    """The same after a person was told of everything that is overdue."""
    said = {kind: replace(current[kind], told_at=now, told_count=late.count) for kind, late in overdue.items()}
    return {**current, **said}


async def follow(engine: AsyncEngine, counts: Counts, alert: Alert | None, now: datetime) -> bool:
    """Brings the incidents up to what was counted, and tells a person if that is due; says whether it did.

    A telling that fails, or that we do not survive, is tried again at the next look.
    """
    async with engine.begin() as conn:
        if not (await conn.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK)))).scalar_one():
            return False  # another gateway is at it
        known = {row.kind: Incident(*row) for row in await conn.execute(sa.select(incidents))}
        overdue = counts.overdue
        current = seen(known, overdue, now)
        due = any(current[kind].is_due(late.count, now) for kind, late in overdue.items())
        tells = due and alert is not None and await _tell(alert, counts, now)
        await _keep(conn, known, told(current, overdue, now) if tells else current)
        return tells


async def _tell(alert: Alert, counts: Counts, now: datetime) -> bool:
    title = "Overdue: " + ", ".join(f"{late.count} {kind}" for kind, late in counts.overdue.items())
    try:
        await alert.alert(f"overdue/{now.isoformat()}", title, "\n".join(lines(counts)))
    except ConnectorError:
        return False
    return True


def lines(counts: Counts) -> list[str]:
    """What is overdue, a line each: how many, since when, what to do."""
    return [
        f"{late.count} {kind}"
        + (f" ({', '.join(counts.late_chores)})" if kind == "chores" else "")
        + (f", since {late.since:%-d %b %Y %H:%M} UTC" if late.since else "")
        + f": {WHAT_TO_DO[kind]}"
        for kind, late in counts.overdue.items()
    ]


async def _keep(conn: AsyncConnection, known: Mapping[Kind, Incident], current: Mapping[Kind, Incident]) -> None:
    gone = known.keys() - current.keys()
    if gone:
        await conn.execute(sa.delete(incidents).where(incidents.c.kind.in_(gone)))
    for one in current.values():
        if known.get(one.kind) != one:
            await conn.execute(
                insert(incidents).values(vars(one)).on_conflict_do_update(index_elements=["kind"], set_=vars(one))
            )
