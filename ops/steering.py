"""Pausing runs and letting them go on, from the command line: one, or all that fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contacts import pauses
from contacts.intake import again_after_deadlock
from contacts.runs import OPEN
from contacts.tables import runs
from ops.inspect import Wanted, fitting
from ops.output import Failure

Order = Literal["pause", "resume"]


@dataclass(frozen=True)
class Steered:
    """How many runs were told something, or would be."""

    order: Order
    runs: int
    told: bool


@dataclass(frozen=True)
class Found:
    """Open runs: how many, and what is true of them and of no others."""

    count: int
    conditions: Sequence[sa.ColumnElement[bool]]


async def find(conn: AsyncConnection, run: str | None, wanted: Wanted) -> Found:
    """The open runs that fit.

    Args:
        run: One run: its id, the beginning of it, or the id of its workflow. None: all that are ``wanted``.

    Raises:
        Failure: Nothing says which; or ``run`` is none, several, or over.
        NoSuchContact: ``wanted.contact`` is nobody.
    """
    if run is None and (wanted.journey, wanted.stage, wanted.contact) == (None, None, None):
        raise Failure("say which: RUN, --journey, --stage or --contact", status=2)
    conditions = await fitting(conn, wanted)
    if run is not None:
        conditions.append(runs.c.id == await _only(conn, run))
    count = sa.select(sa.func.count()).select_from(runs).where(*conditions)
    return Found((await conn.execute(count)).scalar_one(), conditions)


@again_after_deadlock
async def steer(engine: AsyncEngine, found: Found, order: Order, now: datetime) -> Found:
    """Has the runs told, as soon as Temporal can be; says how many they are by now."""
    async with engine.begin() as conn:
        return Found(await pauses.steer(conn, order, now, *found.conditions), found.conditions)


async def _only(conn: AsyncConnection, text: str) -> str:
    wanted = text.strip()
    begins = sa.cast(runs.c.id, sa.Text).startswith(wanted.lower(), autoescape=True)
    mine = sa.and_(sa.or_(begins, sa.and_(runs.c.workflow_id == wanted, OPEN)), sa.literal(bool(wanted)))
    rows = (await conn.execute(sa.select(runs.c.id, runs.c.outcome, OPEN.label("open")).where(mine).limit(2))).all()
    if not rows:
        raise Failure(f"no open run {text!r}: `perennial runs list --open` shows them")
    if len(rows) > 1:
        raise Failure(f"several runs begin with {text!r}: give more of the id")
    if not rows[0].open:
        raise Failure(f"run {rows[0].id} is over: {rows[0].outcome}")
    return str(rows[0].id)
