"""What a run did, told to everybody: the sunset of a contact who reads nothing any more."""

import pytest

from activities import signatures as ask
from tests.workflows.world import Run, Stage
from workflows.base import Journey
from workflows.reengagement import Reengagement


@pytest.fixture
def journeys() -> list[type[Journey]]:
    return [Reengagement]


async def _at_the_end(stage: Stage) -> Run:
    run = await stage.start(Reengagement)
    await run.doing("waits for the time")
    await run.handle.execute_update("move", "sunset")
    return run


async def test_records_the_event_with_its_data_and_goes_on(stage: Stage) -> None:
    run = await _at_the_end(stage)
    assert await run.outcome() == "completed"
    [told] = stage.world.requests(ask.RecordEventRequest)
    assert told.type == "consent.withdrawn"
    assert told.data == {"channel": "email", "purpose": "promotional", "evidence": "sunset"}
    assert (told.run.run_id, told.run.stage) == (run.given.run_id, "sunset")
    assert "recorded consent.withdrawn" in await run.texts()


async def test_a_goodbye_that_was_not_said_closes_nothing(stage: Stage) -> None:
    stage.world.answers.extend([ask.Delivery("sent"), ask.Delivery("dropped", "no_address")])
    run = await _at_the_end(stage)
    assert await run.outcome() == "completed"
    assert not stage.world.requests(ask.RecordEventRequest)
