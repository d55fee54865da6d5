"""Asking a person about a halt that nobody but the breaker has called."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.base import Alert
from connectors.errors import ConnectorError
from contacts import pauses


async def ask_a_person(engine: AsyncEngine, alert: Alert, now: datetime) -> int:
    """Tells of every halt of the breaker that nobody was told of, and says of how many.

    One that could not be told, or whose telling we did not survive, is told at the next look. Whoever looks at the same
    time, in another worker or gateway, tells of none of these.
    """
    told = 0
    async with engine.begin() as conn:
        for called in await pauses.not_told(conn, now):
            what, key = called.pause.what, f"halt/{called.pause.what}/{called.opened_at.isoformat()}"
            body = (
                f"{called.pause.reason}. Its messages wait. If this is right, let them go: "
                f"perennial pauses end {what} --by you. If not, find out who entered, and why: "
                f"perennial pauses show {what}"
            )
            try:
                await alert.alert(key, f"Stopped: {what}", body)
                told += 1
            except ConnectorError:
                await pauses.not_yet_told(conn, called)
    return told
