"""A Temporal server for the session, and a stage with a worker for each test."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from ops import engines
from tests.workflows.journeys import JOURNEYS as TINY
from tests.workflows.world import Stage, World
from workflows.base import Journey


@pytest.fixture(scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with engines.temporal(tmp_path_factory.mktemp("temporal") / "log") as address:
        yield await Client.connect(address, data_converter=pydantic_data_converter)


CACHED, REPLAYED = 1000, 0
"""How many runs a worker keeps in memory; with none it replays every task from the run's history."""


@pytest.fixture
def journeys() -> list[type[Journey]]:
    """What the worker knows; a module of tests may want others."""
    return TINY


@pytest.fixture(params=[CACHED, REPLAYED], ids=["cached", "replayed"])
async def stage(
    temporal: Client, journeys: list[type[Journey]], request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    """Every test that does not say otherwise runs twice: with runs kept in memory, and without."""
    stage = Stage(temporal, World(), journeys, request.param)
    async with Worker(temporal, task_queue=stage.task_queue, activities=stage.world.activities):
        await stage.enter()
        yield stage
        await stage.leave()
    assert await stage.failed_tasks() == []
