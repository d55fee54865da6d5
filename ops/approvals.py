"""Approvals that runs wait for: listed, and answered."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.approvals import ANSWERED, WAITING
from contacts.events import event, identities
from contacts.intake import Intake
from contacts.tables import approvals, contacts, runs
from ops.output import Failure
from ops.queues import the_one
from ops.shared_columns import CONTACT


@dataclass(frozen=True)
class ApprovalLine:
    """An approval in a list. ``waits``: an answer would count; ``closed_at``: the run went on without one."""

    approval_id: str
    contact_id: str
    contact: str
    journey: str
    what: str
    asked_at: datetime
    told_at: datetime | None
    until: datetime
    answered_at: datetime | None
    answered_by: str | None
    approved: bool | None
    closed_at: datetime | None
    waits: bool


def waiting(now: datetime) -> sa.ColumnElement[bool]:
    """What is true of approvals that an answer would count for."""
    return sa.and_(WAITING, approvals.c.until >= now)


async def list_approvals(
    conn: AsyncConnection, now: datetime, *conditions: sa.ColumnElement[bool]
) -> list[ApprovalLine]:
    """Approvals, those that end first first."""
    rows = await conn.execute(
        sa.select(approvals, CONTACT, waiting(now).label("waits"))
        .join(contacts, contacts.c.id == approvals.c.contact_id)
        .join(runs, runs.c.id == approvals.c.run_id)
        .where(*conditions)
        .order_by(approvals.c.until, approvals.c.id)
    )
    return [
        ApprovalLine(
            approval_id=r.id,
            contact_id=r.contact_id,
            contact=r.contact,
            journey=r.journey,
            what=r.what,
            asked_at=r.asked_at,
            told_at=r.told_at,
            until=r.until,
            answered_at=r.answered_at,
            answered_by=r.answered_by,
            approved=r.approved,
            closed_at=r.closed_at,
            waits=r.waits,
        )
        for r in rows
    ]


async def find(conn: AsyncConnection, text: str, now: datetime) -> ApprovalLine:
    """The approval with this id, or the only one whose id begins so.

    Raises:
        Failure: There is none, or there are several.
    """
    begins = sa.cast(approvals.c.id, sa.Text).startswith(text.strip().lower(), autoescape=True)
    found = await list_approvals(conn, now, begins) if text.strip() else []
    return the_one(found, text, "approval", "perennial approvals list")


@dataclass(frozen=True)
class Word:
    """What a person says."""

    approved: bool
    by: str


async def answer(intake: Intake, text: str, word: Word, now: datetime) -> ApprovalLine:
    """A person answers: the event is recorded as any other, and the run hears of it.

    Raises:
        Failure: There is no such approval, or it does not wait for this answer any more.
    """
    if not word.by.strip():
        raise Failure("--by: say who answers", status=2)
    async with intake.engine.connect() as conn:
        line = await find(conn, text, now)
    if line.waits:
        said = event(
            ANSWERED,
            source="cli",
            source_id=f"answered/{line.approval_id}",
            # this machine's clock may be a little behind that of the worker who asked
            occurred_at=max(now, line.asked_at),
            identities=identities(("contact", line.contact_id)),
            data={"approval_id": line.approval_id, "approved": word.approved, "by": word.by},
        )
        await intake.record(said, now)
        async with intake.engine.connect() as conn:
            line = await find(conn, line.approval_id, now)
    if (line.approved, line.answered_by) != (word.approved, word.by.strip()):
        raise Failure(f"{line.what}, for {line.contact}, does not wait any more: {outcome(line)}")
    return line


def outcome(line: ApprovalLine) -> str:
    """What came of an approval that does not wait."""
    if line.answered_by is None:
        return "nobody answered in time"
    return f"{'approved' if line.approved else 'refused'} by {line.answered_by}"
