"""What must be done again and again whatever happens, such as the daily sweep: when it was done last."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.tables import chores

SWEEP = "sweep"


async def expect(conn: AsyncConnection, name: str, every: timedelta, now: datetime) -> None:
    """From now on the chore is to be done so often (journeys' time). One that is known is due when it was."""
    values = {"name": name, "every": every, "done_at": now}
    known = insert(chores).values(values).on_conflict_do_update(index_elements=["name"], set_={"every": every})
    await conn.execute(known)


async def done(conn: AsyncConnection, name: str, now: datetime) -> None:
    """The chore was done as of ``now``. Nothing where nobody expects it."""
    later = sa.func.greatest(chores.c.done_at, now)
    await conn.execute(sa.update(chores).where(chores.c.name == name).values(done_at=later))
