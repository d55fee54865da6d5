"""How much reaches whom: segments that get too much, segments nobody thinks of, and how much of it sells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import rollouts
from contacts.policy import Policy
from contacts.tables import contacts, decisions, events, touches

WENT_OUT = ("sent", "unknown")
"""Statuses of a touch that reached the contact, or may have."""

SAID_NO = ("consent.withdrawn", "message.unsubscribed", "message.complained")
HAD_ENOUGH = ("frequency_cap", "stated_frequency")
"""Reasons of the gate for which a message waited: the contact had had as many as they may, or want to, get."""


@dataclass(frozen=True)
class Pressure:
    """What a group of contacts got in a span of time.

    Attributes:
        segment: None for everybody.
        members: Contacts in it, as they were counted last.
        left_alone: Those of them nothing reached.
        touches: Messages that reached them, or may have.
        promotional: Those of them that sell.
        had_enough: Members for whom a message had to wait because they had had as many as they may get, or want.
        said_no: Members who opted out of something, or complained.
        signs: ``over-contacted`` and ``under-served``: far more promotion, and far less of anything, a member than
            everybody gets; ``mostly promotion``: more of it sells than the policy wants. See ``[pressure]``.
    """

    segment: str | None
    members: int
    left_alone: int
    touches: int
    promotional: int
    had_enough: int
    said_no: int
    signs: Sequence[str]

    @property
    def a_member(self) -> float:
        """Messages a member."""
        return self.touches / self.members if self.members else 0.0

    @property
    def sold_a_member(self) -> float:
        """Promotional messages a member."""
        return self.promotional / self.members if self.members else 0.0

    @property
    def share(self) -> float:
        """How much of it sells, from 0 to 1."""
        return self.promotional / self.touches if self.touches else 0.0


async def pressure(conn: AsyncConnection, policy: Policy, now: datetime, span: timedelta) -> Sequence[Pressure]:
    """Everybody first, then every segment of the policy, over the span before ``now``."""
    everybody = await _counted(conn, None, sa.true(), now - span)
    groups = [(s.name, rollouts.members(s)) for s in policy.segments]
    found = [await _counted(conn, name, which, now - span) for name, which in groups]
    return [_judged(one, everybody, policy) for one in (everybody, *found)]


async def _counted(
    conn: AsyncConnection, segment: str | None, which: sa.ColumnElement[bool], since: datetime
) -> Pressure:
    there = sa.select(contacts.c.id).where(contacts.c.merged_into.is_(None), which).cte("there")
    reached = (
        sa.select(
            touches.c.contact_id,
            sa.func.count().label("all"),
            sa.func.count().filter(touches.c.purpose == "promotional").label("promotional"),
        )
        .where(touches.c.status.in_(WENT_OUT), touches.c.claimed_at > since)
        .group_by(touches.c.contact_id)
        .cte("reached")
    )
    enough = (
        sa.select(touches.c.contact_id)
        .join(decisions, decisions.c.touch_id == touches.c.id)
        .where(decisions.c.reason.in_(HAD_ENOUGH), decisions.c.at > since)
    )
    no = sa.select(events.c.contact_id).where(events.c.type.in_(SAID_NO), events.c.occurred_at > since)
    row: Any = (
        await conn.execute(
            sa.select(
                sa.func.count().label("members"),
                sa.func.count().filter(reached.c.contact_id.is_(None)).label("left_alone"),
                sa.func.coalesce(sa.func.sum(reached.c.all), 0).label("touches"),
                sa.func.coalesce(sa.func.sum(reached.c.promotional), 0).label("promotional"),
                sa.func.count().filter(there.c.id.in_(enough)).label("had_enough"),
                sa.func.count().filter(there.c.id.in_(no)).label("said_no"),
            ).select_from(there.outerjoin(reached, reached.c.contact_id == there.c.id))
        )
    ).one()
    sums = (int(row.touches), int(row.promotional))
    return Pressure(segment, row.members, row.left_alone, *sums, row.had_enough, row.said_no, ())


def _judged(one: Pressure, everybody: Pressure, policy: Policy) -> Pressure:
    rules, signs = policy.pressure, []
    if one.members >= rules.at_least and one.segment is not None:
        if one.sold_a_member > rules.over * everybody.sold_a_member:
            signs.append("over-contacted")
        if one.a_member < rules.under * everybody.a_member:
            signs.append("under-served")
    if one.touches >= rules.at_least and one.share > rules.promotional_share:
        signs.append("mostly promotion")
    return replace(one, signs=signs)
