"""A Temporal server for the session, and a stage with a worker for each test."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from ops import engines
from tests.workflows.journeys import JOURNEYS
from tests.workflows.world import Stage, World
from worker import _SHARED as SHARED
from workflows.registry import JOURNEYS as REAL_JOURNEYS


@pytest.fixture(scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with engines.temporal(tmp_path_factory.mktemp("temporal") / "log") as address:
        yield await Client.connect(address, data_converter=pydantic_data_converter)


@pytest.fixture(params=[1000, 0], ids=["cached", "replayed"])
async def stage(temporal: Client, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Every test runs twice: with runs kept in memory, and with every one of their tasks replayed from history."""
    stage = Stage(temporal, World())
    async with Worker(
        temporal,
        task_queue=stage.task_queue,
        workflows=[*JOURNEYS, *REAL_JOURNEYS],
        activities=stage.world.activities,
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules(*SHARED)
        ),
        max_cached_workflows=request.param,
    ):
        yield stage
    assert await stage.failed_tasks() == []
