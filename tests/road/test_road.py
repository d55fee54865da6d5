"""From an event to a mail in the mailbox, and through everything that can be away on the road."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from contacts import tables
from contacts.relay import NotYet, Relay
from ops.temporal import TemporalRuns
from tests.road.conftest import MORNING, Road, days_in
from tests.workflows.world import eventually


async def test_an_event_becomes_a_mail_and_an_exit_ends_it(road: Road) -> None:
    async with road.all():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        [letter] = await road.letters()
        assert letter.recipients == ("alice@example.com",)
        headers = {name.lower(): value for name, value in letter.headers}
        assert headers["list-unsubscribe"].startswith("<https://hub.example.com/u/")
        assert letter.html and letter.text

        await road.tell("meeting.booked")
        [run] = await road.ended()
        assert (run.journey, run.outcome) == ("welcome", "converted")
        [touch] = await road.rows(tables.touches)
        assert (touch.status, touch.subject) == ("sent", letter.subject)
        await road.dispatched()


async def test_events_are_accepted_before_there_is_a_temporal(road: Road) -> None:
    async with road.relay():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")

        async def tried() -> bool:
            [dispatch] = await road.rows(tables.dispatches)
            return bool(dispatch.attempts and dispatch.error)

        await eventually(tried)
        async with road.temporal(), road.worker():
            await road.letters()
            [dispatch] = await road.dispatched()
            assert dispatch.error is None


async def test_an_exit_while_temporal_is_away_lets_no_touch_out(road: Road) -> None:
    road.fast(days_in(3, seconds=5))
    async with road.temporal(), road.worker(), road.relay():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        await road.letters()
    receipt = await road.tell("meeting.booked")
    assert [leaving.outcome for leaving in receipt.plan.exits] == ["converted"]
    async with road.temporal(), road.worker():
        # The second mail is due, and nobody has told the run that it is over.
        async def asked() -> bool:
            return "exited" in [touch.reason for touch in await road.rows(tables.touches)]

        await eventually(asked)
        assert [run.ended_at for run in await road.rows(tables.runs)] == [None]
        async with road.relay():
            [run] = await road.ended()
            await road.dispatched()
    assert run.outcome == "converted"
    claimed = [touch.claimed_at for touch in await road.rows(tables.touches) if touch.claimed_at]
    assert claimed
    assert max(claimed) < run.exited_at
    assert len(road.mailbox.letters.list()) == len(claimed)


async def test_runs_outlive_the_server_and_the_worker(road: Road) -> None:
    road.fast(days_in(3, seconds=5))
    async with road.relay():
        async with road.temporal(), road.worker():
            await road.consent()
            await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
            await road.letters()
        async with road.temporal(), road.worker():
            await road.letters(2)
    sent = {touch.template for touch in await road.rows(tables.touches) if touch.status == "sent"}
    assert sent >= {"welcome", "welcome_second"}


async def test_a_relay_killed_before_it_dispatched_loses_nothing(road: Road) -> None:
    async with road.temporal(), road.worker():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")  # committed; nobody relays it
        [dispatch] = await road.rows(tables.dispatches)
        assert dispatch.done_at is None
        async with road.relay():
            await road.letters()
            await road.dispatched()


class DiesAfter:
    """Temporal hears of a start, and then the relay dies."""

    def __init__(self, runs: TemporalRuns) -> None:
        self._runs = runs

    async def start(self, run_id: str, workflow_id: str, journey: str, start: Mapping[str, Any]) -> None:
        await self._runs.start(run_id, workflow_id, journey, start)
        raise asyncio.CancelledError

    async def signal(self, workflow_id: str, run_id: str, signal: str, payload: Mapping[str, Any]) -> None:
        raise NotImplementedError


async def test_a_relay_killed_after_it_dispatched_repeats_nothing(road: Road) -> None:
    async with road.temporal(), road.worker():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        with pytest.raises(asyncio.CancelledError):
            await Relay(road.engine, DiesAfter(await road.runs())).drain()
        assert [row.done_at for row in await road.rows(tables.dispatches)] == [None]
        await road.letters()
        async with road.relay():
            await road.dispatched()
            await road.tell("meeting.booked")
            await road.ended()
    assert len(road.mailbox.letters.list()) == 1


@pytest.fixture
async def runs(road: Road) -> TemporalRuns:
    return await road.runs()


def start() -> dict[str, Any]:
    entry = {"id": "e", "type": "resource.downloaded", "occurred_at": MORNING.isoformat(), "data": {}}
    return {
        "contact_id": str(uuid4()),
        "key": None,
        "entry": entry,
        "entry_point": "resource.downloaded",
        "started_at": MORNING.isoformat(),
    }


async def test_a_start_repeated_is_as_good_as_one(road: Road, runs: TemporalRuns) -> None:
    async with road.temporal():
        given = start()
        for _ in range(2):
            await runs.start("run-1", "journey/welcome/somebody", "welcome", given)


async def test_a_run_waits_until_the_last_one_has_closed(road: Road, runs: TemporalRuns) -> None:
    async with road.temporal():
        given = start()
        await runs.start("run-1", "journey/welcome/somebody", "welcome", given)
        with pytest.raises(NotYet, match="still closing"):
            await runs.start("run-2", "journey/welcome/somebody", "welcome", given)
        await runs.client.get_workflow_handle("journey/welcome/somebody").terminate()
        await runs.start("run-2", "journey/welcome/somebody", "welcome", given)


async def test_a_run_that_closes_while_we_look_is_not_taken_for_ours(
    road: Road, runs: TemporalRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with road.temporal():
        await runs.start("run-1", "journey/welcome/somebody", "welcome", start())
        await runs.client.get_workflow_handle("journey/welcome/somebody").terminate()

        async def too_early(*_: Any, **__: Any) -> None:
            raise WorkflowAlreadyStartedError("journey/welcome/somebody", "welcome")

        monkeypatch.setattr(Client, "start_workflow", too_early)
        with pytest.raises(NotYet):
            await runs.start("run-2", "journey/welcome/somebody", "welcome", start())


async def test_a_signal_to_a_run_that_has_closed_is_done(road: Road, runs: TemporalRuns) -> None:
    async with road.temporal():
        await runs.signal("journey/welcome/nobody", "run-1", "event", {"id": "x"})
