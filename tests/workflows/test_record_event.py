"""What a run did, told to everybody: the sunset of a contact who reads nothing any more."""

from collections.abc import AsyncIterator

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import signatures as ask
from tests.workflows.world import Run, Stage, World
from worker import _SHARED as SHARED
from workflows.reengagement import Reengagement


@pytest.fixture(params=[1000, 0], ids=["cached", "replayed"])
async def sunset(temporal: Client, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A stage whose world also takes down what a run records."""
    stage = Stage(temporal, World())

    @activity.defn(name=ask.RECORD_EVENT)
    async def record_event(request: ask.RecordEventRequest) -> None:
        stage.world.asked.append(request)

    async with Worker(
        temporal,
        task_queue=stage.task_queue,
        workflows=[Reengagement],
        activities=[*stage.world.activities, record_event],
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules(*SHARED)
        ),
        max_cached_workflows=request.param,
    ):
        yield stage
    assert await stage.failed_tasks() == []


async def _at_the_end(stage: Stage) -> Run:
    run = await stage.start(Reengagement)
    await run.doing("waits for the time")
    await run.handle.execute_update("move", "sunset")
    return run


async def test_records_the_event_with_its_data_and_goes_on(sunset: Stage) -> None:
    run = await _at_the_end(sunset)
    assert await run.outcome() == "completed"
    [told] = sunset.world.requests(ask.RecordEventRequest)
    assert told.type == "consent.withdrawn"
    assert told.data == {"channel": "email", "purpose": "promotional", "evidence": "sunset"}
    assert (told.run.run_id, told.run.stage) == (run.given.run_id, "sunset")
    assert "recorded consent.withdrawn" in await run.texts()


async def test_a_goodbye_that_was_not_said_closes_nothing(sunset: Stage) -> None:
    sunset.world.answers.extend([ask.Delivery("sent"), ask.Delivery("dropped", "no_address")])
    run = await _at_the_end(sunset)
    assert await run.outcome() == "completed"
    assert not sunset.world.requests(ask.RecordEventRequest)
