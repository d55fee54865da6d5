"""Rollouts: one event for every member of a segment, through the same door as any other event.

Each turn is one transaction with the contact's row locked: is the contact in the segment now, have they had this
already, and if not, the event. So it does not matter how often a rollout is run, killed and begun again.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import pauses, runs, segments, tables
from contacts.events import event, identities
from contacts.facts import Facts
from contacts.intake import Intake, again_after_deadlock
from contacts.policy import Policy, Segment
from contacts.routing import Plan
from contacts.specs import Rollout
from contacts.tables import contacts, events, touches

Order = Literal["pause", "resume", "stop"]

LEFT = "not in the segment"
HAD = "had it already"


def backfill(name: str, segment: str) -> Rollout:
    """Members of the segment join it: whatever joining begins, begins."""
    return Rollout(name, segment, segments.JOINED, "segment", {"segment": segment, "rollout": name})


def broadcast(name: str, segment: str, template: str, **data: Any) -> Rollout:
    """Members of the segment get one message. ``data``: what else ``broadcast.due`` may say."""
    given = {"broadcast": name, "rollout": name, "template": template, **data}
    return Rollout(name, segment, "broadcast.due", "broadcast", given)


class NoSuchSegment(LookupError):
    """The policy has no segment of this name."""


@dataclass(frozen=True)
class Turn:
    """What a contact's turn came to.

    Attributes:
        facts: The contact before the event.
        skipped: Why there was none; None if it was recorded.
        plan: What it did to runs.
    """

    facts: Facts
    skipped: str | None = None
    plan: Plan = field(default_factory=Plan)


@dataclass(frozen=True)
class Page:
    """What a page of a rollout came to.

    Attributes:
        last: The last contact whose turn it was; the next page goes on after it.
        more: Whether there is a next page.
        skipped: Contacts who got no event, by the reason.
    """

    last: str | None
    more: bool
    recorded: int
    skipped: Mapping[str, int]


def candidates(segment: Segment) -> sa.ColumnElement[bool]:
    """Contacts who are in the segment, or of whom nobody knows it: its definition is newer than what they did last."""
    return sa.and_(contacts.c.merged_into.is_(None), sa.or_(members(segment), uncounted(segment)))


def members(segment: Segment) -> sa.ColumnElement[bool]:
    """Contacts who are in the segment, as they were counted last."""
    there: sa.ColumnElement[bool] = contacts.c.facts["segments"].has_key(segment.name)
    return there


def uncounted(segment: Segment) -> sa.ColumnElement[bool]:
    """Contacts who have not been counted under the segment's present definition."""
    by: sa.ColumnElement[bool] = contacts.c.facts[("segments_as", segment.name)].astext.is_distinct_from(
        segment.fingerprint
    )
    return by


async def begun_at(conn: AsyncConnection, rollout: Rollout) -> datetime | None:
    """When somebody first got the rollout's event; None if nobody has."""
    query = sa.select(sa.func.min(events.c.received_at)).where(*_of(rollout))
    found: datetime | None = (await conn.execute(query)).scalar_one()
    return found


async def waiting(conn: AsyncConnection, policy: Policy, rollout: Rollout, since: datetime) -> int:
    """How many turns a rollout that begins at ``since`` has.

    Raises:
        NoSuchSegment: The policy in use knows no such segment; so do all that look for members.
    """
    mine = candidates(_segment(policy, rollout.segment))
    query = sa.select(sa.func.count()).select_from(contacts).where(mine, ~_had(rollout, since))
    return int((await conn.execute(query)).scalar_one())


async def next_in_line(
    conn: AsyncConnection, policy: Policy, rollout: Rollout, since: datetime, after: str | None, limit: int
) -> list[str]:
    """The ids of the next contacts whose turn it is."""
    mine = candidates(_segment(policy, rollout.segment))
    query = sa.select(contacts.c.id).where(mine, ~_had(rollout, since)).order_by(contacts.c.id).limit(limit)
    if after is not None:
        query = query.where(contacts.c.id > after)
    return list((await conn.execute(query)).scalars())


async def page(
    intake: Intake,
    rollout: Rollout,
    *,
    since: datetime,
    now: Callable[[], datetime],
    after: str | None,
    limit: int,
    recorded_since: datetime | None = None,
) -> Page:
    """Gives the next contacts their turn, until ``limit`` events are recorded or all have had it.

    Args:
        since: When the rollout began.
        now: The time of each turn.
        recorded_since: When an attempt at this very page began that may have come some of the way.
    """
    recorded = await _recorded(intake, rollout, recorded_since) if recorded_since is not None else 0
    skipped: Counter[str] = Counter()
    ahead = limit - recorded
    async with intake.engine.connect() as conn:
        whose = await next_in_line(conn, intake.policy, rollout, since, after, ahead) if ahead > 0 else []
    for contact_id in whose:
        reason = await _take(intake, rollout, contact_id, since, now())
        skipped.update([reason] if reason else [])
        recorded += reason is None
        after = contact_id
    return Page(after, len(whose) >= ahead, recorded, skipped)


@again_after_deadlock
async def _take(intake: Intake, rollout: Rollout, contact_id: str, since: datetime, now: datetime) -> str | None:
    async with intake.engine.begin() as conn:
        return (await turn(intake, conn, rollout, contact_id, since, now)).skipped


async def turn(
    intake: Intake, conn: AsyncConnection, rollout: Rollout, contact_id: str, since: datetime, now: datetime
) -> Turn:
    """One contact's turn, inside the caller's transaction."""
    _, facts = await intake.refresh_in(conn, contact_id, now)
    if rollout.segment not in facts.segments:
        return Turn(facts, LEFT)
    again = sa.select(_had(rollout, since)).where(contacts.c.id == facts.contact_id)
    if (await conn.execute(again)).scalar_one():
        return Turn(facts, HAD)
    due = event(
        rollout.event,
        source=runs.OURS,
        source_id=f"{runs.ROLLOUT}{rollout.name}/{facts.contact_id}",
        occurred_at=now,
        identities=identities(("contact", facts.contact_id)),
        data=rollout.data,
    )
    return Turn(facts, None, (await intake.record_in(conn, due, now)).plan)


async def steer(intake: Intake, about: str, value: str, order: Order, now: datetime) -> int:
    """Pauses, resumes or stops what a rollout has begun and only it could begin: the runs whose key it is.

    A stop leaves alone what was sent already. Returns how many runs were told.
    """
    journeys = [card.name for card in intake.cards if card.shared_key and card.key == about]
    these = (tables.runs.c.journey.in_(journeys), tables.runs.c.key == value)
    if order != "stop":
        async with intake.engine.begin() as conn:
            return await pauses.steer(conn, order, now, *these)
    gone_out = sa.exists().where(
        touches.c.run_id == tables.runs.c.id, touches.c.status.in_(("claimed", "sent", "unknown"))
    )
    async with intake.engine.connect() as conn:
        query = sa.select(tables.runs.c.contact_id).where(*these, runs.OPEN, ~gone_out)
        whose = list((await conn.execute(query)).scalars())
    for contact_id in whose:
        stopped = event(
            f"{about}.stopped",
            source=runs.OURS,
            source_id=f"{runs.ROLLOUT}{value}/stopped/{contact_id}",
            occurred_at=now,
            identities=identities(("contact", contact_id)),
            data={about: value},
        )
        await intake.record(stopped, now)
    return len(whose)


async def _recorded(intake: Intake, rollout: Rollout, since: datetime) -> int:
    query = sa.select(sa.func.count()).select_from(events).where(*_of(rollout), events.c.received_at >= since)
    async with intake.engine.connect() as conn:
        return int((await conn.execute(query)).scalar_one())


def _of(rollout: Rollout) -> tuple[sa.ColumnElement[bool], ...]:
    return events.c.type == rollout.event, events.c.data.contains({"rollout": rollout.name})


def _had(rollout: Rollout, since: datetime) -> sa.ColumnElement[bool]:
    """Whether the contact has had the rollout's event, under whatever id, or since it began the same from elsewhere."""
    such = sa.select(sa.literal(1)).where(
        events.c.contact_id == contacts.c.id,
        events.c.type == rollout.event,
        events.c.data.contains({rollout.about: rollout.data[rollout.about]}),
        sa.or_(events.c.data.contains({"rollout": rollout.name}), events.c.received_at >= since),
    )
    # Not EXISTS: PostgreSQL would make a join of it and read everybody's events to find the next few contacts.
    return such.limit(1).correlate(contacts).scalar_subquery().is_not(None)


def _segment(policy: Policy, name: str) -> Segment:
    found = next((segment for segment in policy.segments if segment.name == name), None)
    if found is None:
        raise NoSuchSegment(f"the policy has no segment {name!r}")
    return found
