"""Halts that an operator or the breaker has called: of a journey, of a channel, of everything; and of single runs.

Touches wait while one is in force; runs and their timers go on. Nothing lapses in silence: what is no longer valid when
it ends is dropped with its reason, and whatever still waits is asked about at once. A halt that was called for a time
ends by itself: the gate tells each touch that waits until when.

A claim reads the halts early and commits late. So that nobody reads "halted" while a claim that has not seen the halt
is still to commit, all claims share a lock, and a person who calls a halt takes it alone. The breaker calls its halts
inside a claim, where that lock cannot be had alone: claims of the same moment do not see them, and no number orders
them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import runs, tables
from contacts.gate import Pause
from contacts.specs import Happening
from contacts.tables import ACTS, pauses, touches

RESUMED = "pause.ended"
"""What runs hear when a halt is over."""

BREAKER = "breaker"
"""Who calls a halt by itself; see ``contacts.breaker``."""

OPEN = pauses.c.released_at.is_(None)
"""Halts that nobody has ended."""

ITS_TIME = "its time"
"""Who ends a halt that ends by itself."""


OF_A_RUN = Pause("run", "", "an operator has paused the run")
"""What the touches of a run wait for that rests; the run's row says whether it does."""


@dataclass(frozen=True)
class Called:
    """A halt, who called it and when.

    Attributes:
        released_at: When somebody ended it, or it was found to have ended by itself.
        figures: Why the breaker called it: ``what`` there was, ``count``, how many are ``usual``, in how many
            ``minutes``. None for a person's.
        told_at: When a person was told of the breaker's.
    """

    pause: Pause
    opened_at: datetime
    opened_by: str
    released_at: datetime | None
    released_by: str | None = None
    figures: Mapping[str, Any] | None = None
    told_at: datetime | None = None

    def ended_at(self, now: datetime) -> datetime | None:
        """When it was over; None while it is in force."""
        if self.released_at is None and self.pause.until is not None and self.pause.until <= now:
            return self.pause.until
        return self.released_at


def waits_for(pause: Pause) -> sa.ColumnElement[bool]:
    """Touches that wait for the end of this halt."""
    return sa.and_(touches.c.status == "waiting", touches.c.hold == pause.hold)


async def in_force(conn: AsyncConnection) -> Sequence[Pause]:
    """The halts that touches have to wait for. One whose time is over covers none; see ``Pause.covers``."""
    query = sa.select(pauses.c.scope, pauses.c.name, pauses.c.reason, pauses.c.until).where(OPEN)
    return [Pause(*row) for row in await conn.execute(query.order_by(pauses.c.id))]


_CLAIMS = sa.func.hashtextextended("claims", 0)


async def claiming(conn: AsyncConnection) -> None:
    """Says that this transaction claims. To be said before it locks anything, and before it looks at the halts."""
    await conn.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_CLAIMS)))


async def call(conn: AsyncConnection, pause: Pause, *, by: str, now: datetime) -> bool:
    """Calls a halt in a person's name; false if the same one is in force already.

    Claims that have begun are committed by then, and those to come wait until the caller commits, and see the halt.
    """
    await _after_claims(conn)
    return await _open(conn, pause, now, opened_by=by, opened_act=ACTS.next_value())


async def _after_claims(conn: AsyncConnection) -> None:
    await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMS)))


async def trip(conn: AsyncConnection, pause: Pause, *, figures: Mapping[str, Any], now: datetime) -> bool:
    """Calls a halt in the breaker's name; false if the same one is in force already."""
    return await _open(conn, pause, now, opened_by=BREAKER, figures=dict(figures))


async def _open(conn: AsyncConnection, pause: Pause, now: datetime, **values: Any) -> bool:
    await _note_ends(conn, now)
    called = await conn.execute(
        insert(pauses)
        .values(
            scope=pause.scope,
            name=pause.name,
            reason=pause.reason,
            until=pause.until,
            opened_at=now,
            **values,
        )
        .on_conflict_do_nothing(index_elements=["scope", "name"], index_where=OPEN)
        .returning(pauses.c.id)
    )
    return called.first() is not None


async def end(conn: AsyncConnection, scope: str, name: str, *, by: str, now: datetime) -> int | None:
    """Ends a halt and lets every run whose touch waits for it ask again. Returns how many; None if there was none."""
    await _note_ends(conn, now)
    ended = await conn.execute(
        sa.update(pauses)
        .where(pauses.c.scope == scope, pauses.c.name == name, OPEN)
        .values(released_at=now, released_by=by, released_act=ACTS.next_value())
        .returning(pauses.c.scope, pauses.c.name, pauses.c.reason)
    )
    row = ended.first()
    if row is None:
        return None
    return await _let_ask_again(conn, Pause(*row), now)


async def steer(
    conn: AsyncConnection, order: Literal["pause", "resume"], now: datetime, *which: sa.ColumnElement[bool]
) -> int:
    """Pauses, or resumes, all open runs of which this is so; says how many. A resumed run whose touch waits asks again.

    As for ``call``, no claim is under way that has not seen the pause.
    """
    if order == "pause":
        await _after_claims(conn)
    run = tables.runs.c
    # In the order of their ids, so that two who steer the same runs do not wait for each other.
    mine = sa.select(run.id).where(*which, runs.OPEN).order_by(run.id).with_for_update(key_share=True)
    rests = {"paused_at": now} if order == "pause" else {"paused_at": None, "resumed_at": now}
    await conn.execute(sa.update(tables.runs).where(run.id.in_(mine)).values(rests))
    these = (*which, run.paused_at == now if order == "pause" else run.resumed_at == now)
    told = await runs.signal(conn, order, now, *these)
    if order == "resume":
        await _let_ask_again(conn, OF_A_RUN, now, *these)
    return told


async def _let_ask_again(conn: AsyncConnection, pause: Pause, now: datetime, *which: sa.ColumnElement[bool]) -> int:
    told = Happening(str(uuid4()), RESUMED, now, {"scope": pause.scope, "pause": pause.name})
    waiting = sa.select(touches.c.run_id).where(waits_for(pause))
    return await runs.tell_all(conn, told, now, tables.runs.c.id.in_(waiting), *which)


async def listed(conn: AsyncConnection, *which: sa.ColumnElement[bool]) -> Sequence[Called]:
    """Halts, the newest first."""
    return [_called(row) for row in await conn.execute(sa.select(pauses).where(*which).order_by(pauses.c.id.desc()))]


async def let_go(conn: AsyncConnection, journey: str, now: datetime) -> Mapping[str | None, datetime]:
    """When halts of the journey and of each channel ended last, by a person's word: what waited by then is right.

    By channel; under None, those of the journey or of everything. No halt ends but by a person: the breaker's have no
    time to end by themselves.
    """
    of_journey = sa.or_(pauses.c.scope == "all", sa.and_(pauses.c.scope == "journey", pauses.c.name == journey))
    channel = sa.case((pauses.c.scope == "channel", pauses.c.name))
    ended = sa.func.max(sa.func.coalesce(pauses.c.released_at, pauses.c.until))
    # A worker's clock may be behind that of whoever ended it.
    over = sa.or_(pauses.c.released_at.is_not(None), pauses.c.until <= now)
    query = sa.select(channel, ended).where(over, sa.or_(of_journey, pauses.c.scope == "channel")).group_by(channel)
    return {row[0]: row[1] for row in await conn.execute(query)}


async def not_told(conn: AsyncConnection, now: datetime) -> Sequence[Called]:
    """The breaker's halts that no person has been told of; they count as told once the transaction commits.

    Whoever tells of them does so before that. Another who asks meanwhile gets none of them.
    """
    untold = sa.select(pauses.c.id).where(pauses.c.told_at.is_(None), OPEN, pauses.c.opened_by == BREAKER)
    rows = await conn.execute(
        sa.update(pauses)
        .where(pauses.c.id.in_(untold.with_for_update(skip_locked=True)))
        .values(told_at=now)
        .returning(pauses)
    )
    return [_called(row) for row in rows]


async def not_yet_told(conn: AsyncConnection, called: Called) -> None:
    """Telling a person of this halt failed: it counts as untold again."""
    mine = sa.and_(pauses.c.scope == called.pause.scope, pauses.c.name == called.pause.name)
    await conn.execute(sa.update(pauses).where(mine, pauses.c.opened_at == called.opened_at).values(told_at=None))


async def _note_ends(conn: AsyncConnection, now: datetime) -> None:
    """Writes down which halts have ended by themselves, so that the same may be called again."""
    over = sa.and_(OPEN, pauses.c.until <= now)
    ended = {"released_at": pauses.c.until, "released_by": ITS_TIME, "released_act": ACTS.next_value()}
    await conn.execute(sa.update(pauses).where(over).values(ended))


def _called(row: Any) -> Called:
    return Called(
        pause=Pause(row.scope, row.name, row.reason, row.until),
        opened_at=row.opened_at,
        opened_by=row.opened_by,
        released_at=row.released_at,
        released_by=row.released_by,
        figures=row.figures,
        told_at=row.told_at,
    )
