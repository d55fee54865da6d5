"""What the tracking API and the CloudEvents endpoint share: a body with several calls, answered call by call."""

from datetime import datetime
from typing import Protocol

from fastapi import Request
from pydantic import BaseModel

from connectors import base
from connectors.batch import Reading
from door.door import Door
from door.receiving import verified


class Fault(BaseModel):
    """Why a call was not understood, or not wholly. ``index`` is its place in the batch, from 0."""

    index: int
    error: str


class Reader(base.Source, Protocol):
    """A source that says more about a body than its events."""

    def read(self, request: base.Request, received_at: datetime) -> Reading:
        """The events, and what could not be understood."""


async def take(door: Door, source: Reader, request: Request) -> tuple[int, list[Fault]]:
    """Verifies, keeps and records a request; returns how many events it held and what was wrong with the rest."""
    sent = await verified(door, source, request)
    now = door.settings.clock.now()
    reading = source.read(sent, now)
    outcome = await door.inbox.accept(
        source.name,
        method=sent.method,
        url=sent.url,
        headers=sent.headers,
        body=sent.body,
        parse=reading.understood,
        now=now,
    )
    wrong = sorted((*reading.problems, *reading.remarks), key=lambda p: p.index)
    return outcome.events, [Fault(index=p.index, error=p.reason) for p in wrong]
