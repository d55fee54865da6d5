"""What operators stop and let go on: a contact, a journey, a channel, everything. One way to say it for all four."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import holds, pauses, store
from contacts.facts import CHANNELS
from contacts.gate import Pause
from contacts.holds import Held
from contacts.pauses import Called
from contacts.tables import contacts, touches
from ops.installation import Installation
from ops.output import Failure
from ops.shared_columns import CONTACT

_CONTACT = "contact/"


@dataclass(frozen=True)
class PauseLine:
    """A halt in a list.

    Attributes:
        what: ``contact/ada@example.com``, ``journey/nurture``, ``channel/email`` or ``all``.
        opened_by: Who called it; ``breaker`` where nobody did.
        until: When it ends by itself; None: when somebody ends it.
        released_at: When it was over; None while it is in force.
        waiting: How many touches wait for it, or runs that waited were told that it is over.
        figures: Why the breaker called it: ``what`` there was, ``count``, ``usual``, ``minutes``.
        told_at: When a person was told of the breaker's.
    """

    what: str
    reason: str
    opened_at: datetime
    opened_by: str
    until: datetime | None = None
    released_at: datetime | None = None
    released_by: str | None = None
    waiting: int = 0
    figures: Mapping[str, Any] | None = None
    told_at: datetime | None = None

    @property
    def is_the_breakers(self) -> bool:
        """Whether nobody but the breaker called it."""
        return self.opened_by == pauses.BREAKER


@dataclass(frozen=True)
class Waiting:
    """Touches of one template that wait for a halt; ``oldest``: when the first of them was asked for."""

    template: str
    journey: str
    count: int
    oldest: datetime


@dataclass(frozen=True)
class PausePage:
    """A halt, and what waits for it: the template of which most do first."""

    pause: PauseLine
    waiting: Sequence[Waiting]


def pause_of(what: str, reason: str, journeys: Collection[str], until: datetime | None = None) -> Pause:
    """The halt that ``journey/nurture``, ``channel/email`` or ``all`` means.

    Raises:
        Failure: There is nothing of that name.
    """
    scope, _, name = what.partition("/")
    there = {"journey": journeys, "channel": CHANNELS, "all": ("",)}.get(scope)
    if there is None:
        raise Failure(f"{what!r}: contact/CONTACT, journey/NAME, channel/NAME or all", status=2)
    if name not in there:
        raise Failure(f"no {scope} {name!r}; there is {', '.join(there) or 'none: say all'}", status=2)
    return Pause(cast("Literal['all', 'channel', 'journey']", scope), name, reason, until)


async def list_pauses(conn: AsyncConnection, now: datetime, limit: int) -> list[PauseLine]:
    """Halts: those in force, then those that are over, each the newest first."""
    found = [_of_called(called, now) for called in await pauses.listed(conn)]
    found += await _of_contacts(conn, await holds.listed(conn, limit=limit), now)
    waiting = await _waiting(conn)
    lines = [replace(line, waiting=0 if line.released_at else waiting[key]) for key, line in found]
    newest_first = sorted(lines, key=lambda line: line.opened_at, reverse=True)
    return sorted(newest_first, key=lambda line: line.released_at is not None)[:limit]


async def pause_page(conn: AsyncConnection, what: str, now: datetime) -> PausePage:
    """A halt in force, else the last there was.

    Raises:
        Failure: There was none.
        NoSuchContact: ``what`` is a contact, and there is no such.
    """
    if what.startswith(_CONTACT):
        contact_id = (await store.find(conn, what.removeprefix(_CONTACT))).contact_id
        found = await _of_contacts(conn, await holds.listed(conn, contact_id), now)
        mine = sa.and_(touches.c.contact_id == contact_id, touches.c.hold.startswith("operator:"))
    else:
        found = [_of_called(called, now) for called in await pauses.listed(conn) if called.pause.what == what]
        mine = touches.c.hold == f"pause:{what}"
    if not found:
        raise Failure(f"{what} was never halted: `perennial pauses list` shows what is")
    (_, line), *_ = sorted(found, key=lambda pair: pair[1].released_at is not None)
    rows = await conn.execute(
        sa.select(touches.c.template, touches.c.journey, sa.func.count(), sa.func.min(touches.c.asked_at))
        .where(touches.c.status == "waiting", mine)
        .group_by(touches.c.template, touches.c.journey)
        .order_by(sa.func.count().desc(), touches.c.template, touches.c.journey)
    )
    waiting = [Waiting(*row) for row in rows] if line.released_at is None else []
    return PausePage(replace(line, waiting=sum(one.count for one in waiting)), waiting)


async def call_pause(
    here: Installation,
    what: str,
    *,
    by: str,
    reason: str,
    until: datetime | None,
    journeys: Collection[str],
    now: datetime,
) -> PauseLine:
    """Calls a halt.

    Raises:
        Failure: There is nothing of that name, it is halted already, or the end is over.
        NoSuchContact: ``what`` is a contact, and there is no such.
    """
    for option, given in (("--by", by), ("--reason", reason)):
        if not given.strip():
            raise Failure(f"{option}: must not be empty", status=2)
    if until is not None and until <= now:
        raise Failure(f"--until {until:%Y-%m-%dT%H:%M:%SZ}: is over already", status=2)
    if what.startswith(_CONTACT):
        return await _call_of_contact(here, what, by=by, reason=reason, until=until, now=now)
    pause = pause_of(what, reason, journeys, until)
    async with here.engine.begin() as conn:
        if not await pauses.call(conn, pause, by=by, now=now):
            raise Failure(f"{pause.what} is halted already")
    return PauseLine(pause.what, reason, now, by, until)


async def end_pause(here: Installation, what: str, by: str, now: datetime) -> PauseLine:
    """Ends a halt.

    Raises:
        Failure: There is none.
        NoSuchContact: ``what`` is a contact, and there is no such.
    """
    if not by.strip():
        raise Failure("--by: must not be empty", status=2)
    if what.startswith(_CONTACT):
        return await _end_of_contact(here, what, by, now)
    scope, _, name = what.partition("/")
    async with here.engine.begin() as conn:
        told = await pauses.end(conn, scope, name, by=by, now=now)
        if told is None:
            raise Failure(f"{what} is not halted")
        ended = next(c for c in await pauses.listed(conn) if c.pause.what == what and c.released_at == now)
    return replace(_of_called(ended, now)[1], waiting=told)


async def _call_of_contact(
    here: Installation, what: str, *, by: str, reason: str, until: datetime | None, now: datetime
) -> PauseLine:
    async with here.engine.connect() as conn:
        facts = await store.find(conn, what.removeprefix(_CONTACT))
    if any(hold.key == holds.PAUSE for hold in holds.in_force(facts, now)):
        raise Failure(f"{what} is halted already")
    await here.intake.record(holds.opened(facts.contact_id, by=by, reason=reason, until=until, now=now), now)
    return await _newest_of_contact(here, facts.contact_id, now)


async def _end_of_contact(here: Installation, what: str, by: str, now: datetime) -> PauseLine:
    async with here.engine.connect() as conn:
        facts = await store.find(conn, what.removeprefix(_CONTACT))
    told = 0
    found = holds.in_force(facts, now)
    if not found:
        raise Failure(f"{what} is not halted")
    for hold in found:
        receipt = await here.intake.record(holds.released(facts.contact_id, hold, by=by, now=now), now)
        told += len(receipt.plan.tells)
    return replace(await _newest_of_contact(here, facts.contact_id, now), waiting=told)


async def _newest_of_contact(here: Installation, contact_id: str, now: datetime) -> PauseLine:
    async with here.engine.connect() as conn:
        [(_, line)] = await _of_contacts(conn, await holds.listed(conn, contact_id, limit=1), now)
    return line


_Key = tuple[str | None, str]
"""Whose touches wait (None: everybody's) and for which hold."""


async def _waiting(conn: AsyncConnection) -> Mapping[_Key, int]:
    """How many touches wait for each halt."""
    whose = sa.case((touches.c.hold.startswith("operator:"), touches.c.contact_id))
    held = sa.select(whose, touches.c.hold, sa.func.count()).where(
        touches.c.status == "waiting", touches.c.hold.is_not(None)
    )
    found: defaultdict[_Key, int] = defaultdict(int)
    for contact_id, hold, count in await conn.execute(held.group_by(whose, touches.c.hold)):
        found[contact_id, hold] = count
    return found


def _of_called(called: Called, now: datetime) -> tuple[_Key, PauseLine]:
    line = PauseLine(
        what=called.pause.what,
        reason=called.pause.reason,
        opened_at=called.opened_at,
        opened_by=called.opened_by,
        until=called.pause.until,
        released_at=(ended := called.ended_at(now)),
        released_by=called.released_by or (pauses.ITS_TIME if ended else None),
        figures=called.figures,
        told_at=called.told_at,
    )
    return (None, called.pause.hold), line


async def _of_contacts(conn: AsyncConnection, found: Sequence[Held], now: datetime) -> list[tuple[_Key, PauseLine]]:
    ids = {held.contact_id for held in found}
    rows = await conn.execute(sa.select(contacts.c.id, CONTACT).where(contacts.c.id.in_(ids)))
    known_as = {row.id: row.contact for row in rows}
    lines: list[tuple[_Key, PauseLine]] = []
    for held in found:
        ended = held.ended_at(now)
        line = PauseLine(
            what=f"{_CONTACT}{known_as[held.contact_id]}",
            reason=held.reason,
            opened_at=held.opened_at,
            opened_by=held.opened_by,
            until=held.until,
            released_at=ended,
            released_by=(held.released_by if ended == held.released_at else pauses.ITS_TIME) if ended else None,
        )
        lines.append(((held.contact_id, held.hold), line))
    return lines
