"""What waits for a person: hand-offs nobody has taken, requests nobody understood, runs to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.events import event, identities
from contacts.intake import Intake
from contacts.tables import contacts, handoffs, inbox, reviews
from ops.output import Failure
from ops.shared_columns import CONTACT

T = TypeVar("T")


@dataclass(frozen=True)
class HandoffLine:
    """A hand-off in a list. ``overdue``: nobody took it by ``contact_by``."""

    handoff_id: str
    contact_id: str
    contact: str
    journey: str
    owner: str
    reason: str
    because_at: datetime
    opened_at: datetime
    told_at: datetime | None
    contact_by: datetime
    reminders: int
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    closed_at: datetime | None
    overdue: bool


@dataclass(frozen=True)
class InboxLine:
    """A stored request in a list. ``status``: ``received``, ``parsed``, ``ignored``, ``nobody`` or ``failed``.

    ``nobody``: it is understood, and nobody can tell whose it is.
    """

    inbox_id: int
    connector: str
    received_at: datetime
    status: str
    events: int
    error: str | None


@dataclass(frozen=True)
class ReviewLine:
    """A run somebody should look at; ``story``: its last lines, oldest first; ``segments``: its contact's now."""

    run_id: str
    contact_id: str
    contact: str
    journey: str
    segments: Sequence[str]
    reason: str
    at: datetime
    story: Sequence[Mapping[str, Any]]


async def list_handoffs(conn: AsyncConnection, now: datetime, *conditions: sa.ColumnElement[bool]) -> list[HandoffLine]:
    """Hand-offs, the most urgent first."""
    rows = await conn.execute(
        sa.select(handoffs, CONTACT)
        .join(contacts, contacts.c.id == handoffs.c.contact_id)
        .where(*conditions)
        .order_by(handoffs.c.contact_by, handoffs.c.id)
    )
    return [
        HandoffLine(
            handoff_id=r.id,
            contact_id=r.contact_id,
            contact=r.contact,
            journey=r.journey,
            owner=r.owner,
            reason=r.reason,
            because_at=r.because_at,
            opened_at=r.opened_at,
            told_at=r.told_at,
            contact_by=r.contact_by,
            reminders=r.reminders,
            acknowledged_at=r.acknowledged_at,
            acknowledged_by=r.acknowledged_by,
            closed_at=r.closed_at,
            overdue=r.acknowledged_at is None and r.closed_at is None and now > r.contact_by,
        )
        for r in rows
    ]


async def handoff(conn: AsyncConnection, text: str, now: datetime) -> HandoffLine:
    """The hand-off with this id, or the only one whose id begins so.

    Raises:
        Failure: There is none, or there are several.
    """
    begins = sa.cast(handoffs.c.id, sa.Text).startswith(text.strip().lower(), autoescape=True)
    found = await list_handoffs(conn, now, begins) if text.strip() else []
    return the_one(found, text, "hand-off", "perennial handoffs list")


def the_one(found: Sequence[T], text: str, what: str, command: str) -> T:
    """The only one found for the beginning of an id.

    Args:
        what: What it is called, in the singular.
        command: What shows all of them that wait.

    Raises:
        Failure: There is none, or there are several.
    """
    if not found:
        raise Failure(f"no {what} {text!r}: `{command}` shows those that wait")
    if len(found) > 1:
        raise Failure(f"{len(found)} {what}s begin with {text!r}: give more of the id")
    return found[0]


async def take(intake: Intake, text: str, by: str, now: datetime) -> HandoffLine:
    """A person takes the hand-off: its event is recorded as any other, and the run hears of it.

    Raises:
        Failure: There is no such hand-off, or somebody has it already.
    """
    if not by.strip():
        raise Failure("--by: say who takes it", status=2)
    async with intake.engine.connect() as conn:
        line = await handoff(conn, text, now)
    if line.acknowledged_at is None and line.closed_at is None:
        taken = event(
            "handoff.acknowledged",
            source="cli",
            source_id=f"acknowledged/{line.handoff_id}",
            # this machine's clock may be a little behind that of the worker who opened it
            occurred_at=max(now, line.because_at),
            identities=identities(("contact", line.contact_id)),
            data={"handoff_id": line.handoff_id, "by": by},
        )
        await intake.record(taken, now)
        async with intake.engine.connect() as conn:
            line = await handoff(conn, line.handoff_id, now)
    if line.acknowledged_by != by:
        raise Failure(f"{line.contact} is not waiting any more: {line.acknowledged_by or 'nobody'} has taken it")
    return line


FAILED = inbox.c.status == "failed"
"""Requests that were not understood."""


async def list_inbox(conn: AsyncConnection, limit: int, *conditions: sa.ColumnElement[bool]) -> list[InboxLine]:
    """Stored requests, the newest first."""
    query = sa.select(inbox).where(*conditions).order_by(inbox.c.id.desc()).limit(limit)
    return [InboxLine(r.id, r.connector, r.received_at, r.status, r.events, r.error) for r in await conn.execute(query)]


async def list_reviews(conn: AsyncConnection, *conditions: sa.ColumnElement[bool]) -> list[ReviewLine]:
    """Runs that nobody has looked at yet, the oldest first."""
    rows = await conn.execute(
        sa.select(reviews, CONTACT, contacts.c.facts["segments"].label("segments"))
        .join(contacts, contacts.c.id == reviews.c.contact_id)
        .where(reviews.c.resolved_at.is_(None), *conditions)
        .order_by(reviews.c.at, reviews.c.run_id)
    )
    return [
        ReviewLine(r.run_id, r.contact_id, r.contact, r.journey, sorted(r.segments or ()), r.reason, r.at, r.story)
        for r in rows
    ]
