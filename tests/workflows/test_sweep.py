"""The daily sweep: page after page as of one moment, whatever fails on the way, started by a Schedule."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, ScheduleAlreadyRunningError, ScheduleHandle
from temporalio.worker import Worker

from activities import signatures as ask
from contacts.clock import Clock
from ops import temporal as ops_temporal
from tests.workflows.world import eventually
from workflows import sweep
from workflows.sweep import Sweep, SweepInput

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@dataclass
class Contacts:
    """So many pages of contacts; the first look at page ``breaks`` fails."""

    pages: int = 3
    breaks: int | None = None
    asked: list[ask.SweepRequest] = field(default_factory=list)

    @activity.defn(name=ask.SWEEP)
    async def page(self, request: ask.SweepRequest) -> ask.Swept:
        number = int(request.after or 0) + 1
        again = any(r.after == request.after for r in self.asked)
        self.asked.append(request)
        if number == self.breaks and not again:
            raise RuntimeError("the database is away")
        return ask.Swept(str(number) if number < self.pages else None, 10, 1)


@pytest.fixture
def contacts() -> Contacts:
    return Contacts()


@pytest.fixture
async def task_queue(temporal: Client, contacts: Contacts) -> AsyncIterator[str]:
    name = f"sweep-{uuid4()}"
    async with Worker(temporal, task_queue=name, workflows=[Sweep], activities=[contacts.page]):
        yield name


async def swept(client: Client, task_queue: str) -> str:
    start = SweepInput(now=NOW)
    return await client.execute_workflow("sweep", start, id=str(uuid4()), task_queue=task_queue, result_type=str)


async def test_every_page_is_looked_at_once_as_of_one_moment(
    temporal: Client, task_queue: str, contacts: Contacts
) -> None:
    assert await swept(temporal, task_queue) == "30 contacts looked at, 3 events recorded"
    assert [(r.after, r.now) for r in contacts.asked] == [(None, NOW), ("1", NOW), ("2", NOW)]


async def test_a_page_that_fails_is_looked_at_again(temporal: Client, task_queue: str, contacts: Contacts) -> None:
    contacts.breaks = 2
    assert await swept(temporal, task_queue) == "30 contacts looked at, 3 events recorded"
    assert [r.after for r in contacts.asked] == [None, "1", "1", "2"]


async def test_a_long_sweep_moves_to_a_fresh_history_and_keeps_its_moment(
    temporal: Client, task_queue: str, contacts: Contacts
) -> None:
    contacts.pages = 2 * sweep.PAGES_A_HISTORY + 1
    assert (await swept(temporal, task_queue)).startswith(f"{10 * contacts.pages} contacts")
    assert {r.now for r in contacts.asked} == {NOW}
    assert len(contacts.asked) == contacts.pages


@pytest.fixture
async def schedule(temporal: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScheduleHandle]:
    monkeypatch.setattr(ops_temporal, "SWEEP", f"sweep-{uuid4()}")
    handle = temporal.get_schedule_handle(ops_temporal.SWEEP)
    yield handle
    await handle.delete()


async def test_it_is_scheduled_once_and_an_operators_pause_stays(
    temporal: Client, task_queue: str, contacts: Contacts, schedule: ScheduleHandle
) -> None:
    await ops_temporal.schedule_sweep(temporal, Clock(), task_queue)
    await schedule.pause(note="while we import")
    later = Clock(datetime.now(UTC), NOW, 1)
    await ops_temporal.schedule_sweep(temporal, later, task_queue)
    found = await schedule.describe()
    assert found.schedule.state.paused
    assert found.schedule.state.note == "while we import"
    with pytest.raises(ScheduleAlreadyRunningError):
        await temporal.create_schedule(ops_temporal.SWEEP, found.schedule)
    await schedule.trigger()
    await eventually(lambda: _swept(contacts))
    assert contacts.asked[0].now.date() == NOW.date(), "the sweep goes by the clock of the worker that came last"


async def _swept(contacts: Contacts) -> bool:
    return len(contacts.asked) == contacts.pages
