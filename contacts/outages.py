"""Providers that cannot be reached: since when nothing but failures has come from them, for all workers together.

Times are the database's own: an outage knows no journeys' clock.
"""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.tables import outages

TRY_EVERY = timedelta(minutes=1)
"""How often a provider that is out is tried nevertheless."""

_NOW = sa.func.clock_timestamp()


async def failed(conn: AsyncConnection, provider: str) -> None:
    """A call came to nothing. The first one after a success begins the count."""
    await conn.execute(insert(outages).values(provider=provider, since=_NOW, tried_at=_NOW).on_conflict_do_nothing())


async def worked(conn: AsyncConnection, provider: str) -> None:
    """A call was answered: it is no longer out."""
    await conn.execute(sa.delete(outages).where(outages.c.provider == provider))


async def stands(conn: AsyncConnection, provider: str, after: timedelta) -> bool:
    """Whether a message should go to the provider: it is not out, or this one may find out whether it still is.

    Args:
        after: So long nothing but failures is an outage.
    """
    out = sa.and_(outages.c.provider == provider, outages.c.since <= _NOW - after)
    if (await conn.execute(sa.select(outages.c.provider).where(out))).first() is None:
        return True
    trying = sa.update(outages).where(out, outages.c.tried_at <= _NOW - TRY_EVERY).values(tried_at=_NOW)
    return (await conn.execute(trying.returning(outages.c.provider))).first() is not None
