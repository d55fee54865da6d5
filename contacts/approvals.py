"""Approvals as facts: what a run asks a person, and the one answer that counts, however we learn of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import journal
from contacts.runs import OPEN
from contacts.specs import Happening
from contacts.tables import approvals, runs

ANSWERED = "approval.answered"

WAITING = sa.and_(approvals.c.answered_at.is_(None), approvals.c.closed_at.is_(None), OPEN)
"""Approvals, with their runs, that still wait for an answer."""


@dataclass(frozen=True)
class Question:
    """What a run asks. No answer ``until`` then is a no."""

    approval_id: str
    run_id: str
    contact_id: str
    journey: str
    what: str
    until: datetime


async def ask(conn: AsyncConnection, question: Question, now: datetime) -> None:
    """Keeps the question. A repeat changes nothing."""
    values = {
        "id": question.approval_id,
        "run_id": question.run_id,
        "contact_id": question.contact_id,
        "journey": question.journey,
        "what": question.what,
        "asked_at": now,
        "until": question.until,
    }
    await conn.execute(insert(approvals).values(values).on_conflict_do_nothing())


async def judged(
    conn: AsyncConnection, contact_id: str, type: str, data: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """An event's data as it is kept: an answer that does not count says so (``void``), whatever its sender says.

    The first answer counts, if it comes while the run waits for it. All of them name the alert that asked, where we
    know it, so that whoever shows the alert can show what became of it.

    Args:
        contact_id: Whose event it is; this contact's row is locked.
        now: When it arrived, on the journeys' clock.
    """
    if type != ANSWERED:
        return dict(data)
    asked = sa.and_(
        sa.cast(approvals.c.id, sa.Text) == str(data["approval_id"]),
        approvals.c.contact_id == contact_id,
    )
    # Locked, for the run may be about to go on without an answer.
    query = sa.select(approvals, WAITING.label("waits")).join(runs, runs.c.id == approvals.c.run_id).where(asked)
    row = (await conn.execute(query.with_for_update(of=approvals))).one_or_none()
    kept = {name: value for name, value in data.items() if name != "void"}
    if row is None or not row.waits or now > row.until:
        kept["void"] = True
    if row is not None and row.alert_id is not None:
        kept["alert"] = row.alert_id
    return kept


async def answer(conn: AsyncConnection, contact_id: str, happening: Happening, now: datetime) -> None:
    """Marks the approval as answered, if the event is an answer that counts."""
    data = happening.data
    if happening.type != ANSWERED or data.get("void"):
        return
    said = sa.update(approvals).where(approvals.c.id == data["approval_id"])
    said = said.values(answered_at=happening.occurred_at, answered_by=data["by"], approved=data["approved"])
    row = (await conn.execute(said.returning(approvals))).one()
    entry = journal.Entry(
        at=now,
        contact_id=contact_id,
        kind="approval",
        journey=row.journey,
        run_id=row.run_id,
        once=f"approval/{row.id}",
        data={"approval_id": row.id, "reason": row.what, "by": row.answered_by, "approved": row.approved},
    )
    await journal.write(conn, entry)


async def answered(conn: AsyncConnection, approval_id: str) -> bool:
    """Whether somebody has answered."""
    return (await _row(conn, approval_id)).answered_at is not None


async def untold(conn: AsyncConnection, approval_id: str) -> bool:
    """Whether a person must still be told of the question."""
    row = await _row(conn, approval_id)
    return row.told_at is None and row.answered_at is None and row.closed_at is None


async def told(conn: AsyncConnection, approval_id: str, alert_id: str, now: datetime) -> None:
    """Keeps that a person was told, and by which alert."""
    mine = sa.update(approvals).where(approvals.c.id == approval_id)
    await conn.execute(mine.values(told_at=now, alert_id=alert_id))


async def close(conn: AsyncConnection, approval_id: str, now: datetime) -> Any:
    """Ends the wait, and returns the approval's row with the answer that counted, if one came."""
    waiting = (approvals.c.id == approval_id, approvals.c.answered_at.is_(None), approvals.c.closed_at.is_(None))
    await conn.execute(sa.update(approvals).where(*waiting).values(closed_at=now))
    return await _row(conn, approval_id)


async def _row(conn: AsyncConnection, approval_id: str) -> Any:
    return (await conn.execute(sa.select(approvals).where(approvals.c.id == approval_id))).one()
