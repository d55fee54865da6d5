"""A gateway that dies between keeping a request and reading it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import tables
from contacts.clock import Clock
from contacts.events import Event
from contacts.inbox import Inbox
from contacts.intake import Intake
from ops import retry
from tests.contacts.support import rows
from tests.gateway.support import NOW, Garden, Stopped
from tests.workflows.world import eventually


class Killed(BaseException):
    """Nothing catches it, as nothing catches a SIGKILL."""


async def left_by_the_dead(inbox: Inbox) -> int:
    """A request that was kept and never read; its number."""

    def parse() -> Sequence[Event]:
        raise Killed

    body = b'{"events": [{"id": "e-1", "email": "alice@example.com", "type": "page.viewed", "data": {"page": "blog"}}]}'
    given = {"method": "POST", "url": "https://hub.example.com/webhooks/garden", "headers": {}, "body": body}
    with pytest.raises(Killed):
        await inbox.accept("garden", parse=parse, now=NOW, **given)
    [row] = await rows(inbox.intake.engine, tables.inbox)
    assert row.status == "received"
    return int(row.id)


async def test_what_a_dead_gateway_has_kept_is_read_by_the_next(engine: AsyncEngine, intake: Intake) -> None:
    inbox = Inbox(intake)
    await left_by_the_dead(inbox)
    clock = Stopped(start=NOW + retry.LEFT + timedelta(seconds=1))
    reading = asyncio.create_task(retry.read_what_is_left(inbox, {"garden": Garden()}, clock))

    async def read() -> bool:
        return [row.status for row in await rows(engine, tables.inbox)] == ["parsed"]

    try:
        await eventually(read)
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
    [event] = await rows(engine, tables.events)
    assert (event.type, event.source_id) == ("page.viewed", "e-1")


async def test_a_request_that_is_being_read_is_left_alone(intake: Intake) -> None:
    inbox = Inbox(intake)
    number = await left_by_the_dead(inbox)
    assert await inbox.unread(NOW) == []
    assert await inbox.unread(NOW + timedelta(seconds=1)) == [number]


@pytest.mark.parametrize("rate", [1, 60])
async def test_what_is_left_is_looked_for_on_the_machines_clock(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    """What nobody has read, every half minute; what named nobody for four days, every six hours."""
    machine, looks = NOW, []

    class Watch(Clock):
        def now(self) -> datetime:
            return self.at(machine)

    class Empty(Inbox):
        async def unread(self, before: datetime) -> list[int]:
            looks.append(("unread", machine, before))
            return []

        async def nobodys(self, since: datetime) -> list[int]:
            looks.append(("nobody", machine, since))
            return []

    async def sleep(seconds: float) -> None:
        nonlocal machine
        machine += timedelta(seconds=seconds)
        if machine > NOW + timedelta(hours=13):
            raise asyncio.CancelledError

    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(sleep=sleep))
    clock = Watch(origin=NOW, start=NOW, rate=rate)
    with pytest.raises(asyncio.CancelledError):
        await retry.read_what_is_left(Empty(None), {}, clock)  # type: ignore[arg-type]
    every = timedelta(seconds=30)
    seen = [(at, clock.at(at - timedelta(minutes=1))) for at in (NOW + n * every for n in range(13 * 120 + 1))]
    assert [(at, before) for what, at, before in looks if what == "unread"] == seen
    seen = [(at, clock.at(at - timedelta(days=4))) for at in (NOW + timedelta(hours=n) for n in (0, 6, 12))]
    assert [(at, since) for what, at, since in looks if what == "nobody"] == seen
