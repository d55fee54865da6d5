import pytest
from tests.workflows.conftest import temporal, stage  # noqa
from tests.workflows.journeys import AsksApproval, WaitsLong
from tests.workflows.world import *

@pytest.mark.parametrize("n", range(40))
async def test_probe(stage, n):
    run = await stage.start(AsksApproval)
    await run.doing("waits for approval: gift")
    try:
        await run.handle.execute_update("approve", args=["x/y", True])
        await run.handle.execute_update("approve", args=["asking/gift", True])
    except Exception as e:
        print("EXC", e)
        from temporalio.api.enums.v1 import EventType
        for ev in await run.history():
            print(ev.event_id, EventType.Name(ev.event_type), ev.event_time.ToJsonString())
            if ev.HasField("workflow_task_failed_event_attributes"): print("FAILED", ev)
        raise
    await run.outcome()
    for ev in await run.history():
        if ev.HasField("workflow_task_failed_event_attributes"): print(ev); assert 0
