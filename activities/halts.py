"""Asking a person about a halt that nobody but the breaker has called."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.base import Alert
from connectors.errors import ConnectorError
from contacts import pauses


async def ask_a_person(engine: AsyncEngine, alert: Alert, now: datetime) -> None:
    """Tells of every halt of the breaker that nobody was told of. One that could not be told is tried again later."""
    async with engine.begin() as conn:
        untold = await pauses.not_told(conn, now)
    for called in untold:
        what, key = called.pause.what, f"halt/{called.pause.what}/{called.opened_at.isoformat()}"
        body = (
            f"{called.pause.reason}. Its messages wait. If this is right, let them go: "
            f"perennial pauses end {what} --by you. If not, find out who entered, and why."
        )
        try:
            await alert.alert(key, f"Stopped: {what}", body)
        except ConnectorError:
            async with engine.begin() as conn:
                await pauses.not_yet_told(conn, called)
