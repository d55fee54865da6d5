"""How much is overdue, and how much there is of everything, read in one statement from partial indexes.

Everything is on the journeys' clock. What machines take their time for has an allowance in machine time: the faster the
journeys' clock goes, the more of their time that is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import pauses
from contacts.clock import Clock
from contacts.tables import chores, dispatches, handoffs, inbox, runs, touches
from contacts.tables import pauses as halts

Kind = Literal["wake-ups", "beginnings", "ends", "dispatches", "requests", "touches", "hand-offs", "chores"]
"""
What can be overdue.

``wake-ups``    runs that were to wake and sleep on; not those that an operator has paused
``beginnings``  runs that Temporal has been told to start and no worker has begun
``ends``        runs that were told to end and still run
``dispatches``  what Temporal has not been told
``requests``    requests that were acknowledged and never read
``touches``     touches that were claimed, and nobody knows what came of them
``hand-offs``   contacts nobody has taken in time
``chores``      what is to be done again and again, such as the sweep
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

LATE = timedelta(minutes=5)
"""After so long (machine time) what takes no time by nature is overdue."""

SETTLED_BY = timedelta(hours=1)
"""After so long (machine time) nobody calls the provider of a claimed touch any more: the activity has given up."""

_LONGEST_PERIOD = sa.literal_column("chores.every * 1.25", sa.Interval)
"""A chore is late when its period, a quarter of it and ``LATE`` are over: starting and doing it take their time."""

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Late:
    """How many are overdue, and since when the first of them."""

    count: int = 0
    since: datetime | None = None


@dataclass(frozen=True)
class Counts:
    """What there is at one moment.

    Attributes:
        at: The moment, on the journeys' clock.
        late: What is overdue; every kind is there.
        late_chores: The names of the chores that are late.
        inbox: Requests that wait for something, by status (``received``, ``failed``).
        inbox_day: Requests of the last day, by status.
        touches: Touches that are not settled, by status (``waiting``, ``claimed``).
        touches_day: Touches settled within the last day, by status.
        runs: Open runs, by journey.
        halts: Halts in force, by scope.
        untold: The breaker's halts in force that no person has been told of.
        chores: When each chore was done last.
    """

    at: datetime
    late: Mapping[Kind, Late] = field(default_factory=dict)
    late_chores: tuple[str, ...] = ()
    inbox: Mapping[str, int] = field(default_factory=dict)
    inbox_day: Mapping[str, int] = field(default_factory=dict)
    touches: Mapping[str, int] = field(default_factory=dict)
    touches_day: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)
    halts: Mapping[str, int] = field(default_factory=dict)
    untold: int = 0
    chores: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def overdue(self) -> Mapping[Kind, Late]:
        """The kinds of which something is overdue."""
        return {kind: late for kind, late in self.late.items() if late.count}


async def count(conn: AsyncConnection, clock: Clock, now: datetime) -> Counts:
    """What there is at this moment, which is one for everything that is counted."""
    rows = (await conn.execute(statement(clock, now))).all()

    def of(topic: str) -> dict[str, Any]:
        return {row.name: row for row in rows if row.topic == topic}

    def numbers(topic: str, *always: str) -> dict[str, int]:
        return {**dict.fromkeys(always, 0), **{name: row.number for name, row in of(topic).items()}}

    late = of("late")
    return Counts(
        at=now,
        late={kind: Late(late[kind].number, late[kind].at) for kind in KINDS},
        late_chores=tuple(sorted(name for name, row in of("chore").items() if row.number)),
        inbox=numbers("inbox", "received", "failed"),
        inbox_day=numbers("inbox day", "received", "parsed", "ignored", "failed"),
        touches=numbers("touches", "waiting", "claimed"),
        touches_day=numbers("touches day", "sent", "unknown", "failed", "dropped"),
        runs=numbers("runs"),
        halts=numbers("halts", "all", "channel", "journey"),
        untold=numbers("untold").get("breaker", 0),
        chores={name: row.at for name, row in of("chore").items()},
    )


def statement(clock: Clock, now: datetime) -> sa.CompoundSelect[Any]:
    """Rows of ``topic``, ``name``, ``number``, ``at``: one statement, and so one snapshot."""
    return sa.union_all(*_parts(now, now - LATE * clock.rate, now - SETTLED_BY * clock.rate, LATE * clock.rate))


def _parts(now: datetime, before: datetime, claimed_before: datetime, allowed: timedelta) -> Iterator[sa.Select[Any]]:
    going_on = sa.and_(runs.c.exited_at.is_(None), runs.c.ended_at.is_(None))
    waiting = sa.select(dispatches.c.id).where(dispatches.c.run_id == runs.c.id, dispatches.c.done_at.is_(None))

    yield _late("wake-ups", runs.c.next_wake, going_on, runs.c.next_wake < before, runs.c.paused_at.is_(None))
    yield _late(
        "beginnings", runs.c.started_at, going_on, runs.c.stage.is_(None), runs.c.started_at < before, ~waiting.exists()
    )
    yield _late("ends", runs.c.exited_at, runs.c.exited_at < before, runs.c.ended_at.is_(None))
    yield _late("dispatches", dispatches.c.created_at, dispatches.c.done_at.is_(None), dispatches.c.created_at < before)
    unread = inbox.c.status.in_(_words("received", "failed"))
    yield _late("requests", inbox.c.received_at, unread, inbox.c.status == "received", inbox.c.received_at < before)
    claimed = touches.c.status == _word("claimed")
    yield _late("touches", touches.c.claimed_at, claimed, touches.c.claimed_at < claimed_before)
    free = (handoffs.c.acknowledged_at.is_(None), handoffs.c.closed_at.is_(None))
    yield _late("hand-offs", handoffs.c.contact_by, *free, handoffs.c.contact_by < before)
    late_chore = chores.c.done_at + _LONGEST_PERIOD + allowed < now
    yield _late("chores", chores.c.done_at, late_chore)

    yield _each("chore", chores.c.name, sa.func.count().filter(late_chore), at=sa.func.max(chores.c.done_at))
    yield _each("inbox", inbox.c.status, sa.func.count(), unread)
    yield _each("inbox day", inbox.c.status, sa.func.count(), inbox.c.received_at > now - _DAY)
    waits = touches.c.status == _word("waiting")
    yield _each("touches", touches.c.status, sa.func.count(), waits)
    yield _each("touches", touches.c.status, sa.func.count(), claimed)
    yield _each("touches day", touches.c.status, sa.func.count(), touches.c.settled_at > now - _DAY)
    yield _each("runs", runs.c.journey, sa.func.count(), going_on)
    in_force = sa.and_(pauses.OPEN, sa.or_(halts.c.until.is_(None), halts.c.until > now))
    yield _each("halts", halts.c.scope, sa.func.count(), in_force)
    untold = (in_force, halts.c.told_at.is_(None), halts.c.opened_by == pauses.BREAKER)
    yield _each("untold", halts.c.opened_by, sa.func.count(), *untold)


def _word(word: str) -> sa.ColumnElement[str]:
    """A constant, not a parameter: only by a constant the planner knows that a partial index serves."""
    return sa.literal_column(f"'{word}'", sa.Text)


def _words(*words: str) -> list[sa.ColumnElement[str]]:
    return [_word(word) for word in words]


def _late(kind: str, at: sa.ColumnElement[Any], *which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    columns: list[sa.ColumnElement[Any]] = [
        sa.literal("late").label("topic"),
        sa.literal(kind).label("name"),
        sa.func.count().label("number"),
        sa.func.min(at).label("at"),
    ]
    return sa.select(*columns).where(*which)


def _each(
    topic: str,
    name: sa.ColumnElement[str],
    number: sa.ColumnElement[int],
    *which: sa.ColumnElement[bool],
    at: sa.ColumnElement[Any] | None = None,
) -> sa.Select[Any]:
    when = at if at is not None else sa.cast(sa.null(), chores.c.done_at.type)
    return sa.select(sa.literal(topic), name, number, when).where(*which).group_by(name)
