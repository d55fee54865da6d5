"""How often an outside system may be called, by all workers together.

A system's limit belongs to the account, not to a process. So the next free moment is a row, and a call first takes it.
Times are the database's own: a limit knows no journeys' clock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts.tables import paces


@dataclass(frozen=True)
class Slot:
    """A moment at which a call may be made; ``wait`` from when it was taken."""

    at: datetime
    wait: timedelta


class NoRoom(Exception):
    """The next free moment is further away than the caller can wait; ``delay`` says how far."""

    def __init__(self, delay: timedelta) -> None:
        super().__init__(f"no room for {delay.total_seconds():.1f} s")
        self.delay = delay


async def take(engine: AsyncEngine, name: str, per_second: float, patience: timedelta) -> Slot:
    """Takes the next free moment for a call to a system.

    Args:
        name: The system's.
        per_second: How many calls it allows.
        patience: A moment further away is not taken.

    Raises:
        NoRoom: There is none within ``patience``.
    """
    step, now = timedelta(seconds=1 / per_second), sa.func.clock_timestamp()
    taken = insert(paces).values(name=name, free_at=now + step)
    taken = taken.on_conflict_do_update(
        index_elements=["name"],
        set_={"free_at": sa.func.greatest(paces.c.free_at, now) + step},
        where=paces.c.free_at <= now + patience,
    )
    at = (paces.c.free_at - step).label("at")
    async with engine.begin() as conn:
        row = (await conn.execute(taken.returning(at, (paces.c.free_at - step - now).label("wait")))).one_or_none()
        if row is not None:
            return Slot(row.at, max(row.wait, timedelta(0)))
        left = sa.select(paces.c.free_at - now).where(paces.c.name == name)
        raise NoRoom((await conn.execute(left)).scalar_one())
