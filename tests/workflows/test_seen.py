"""What a person sees of a run in the Temporal UI and by the story query."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecutionDescription
from temporalio.converter import default

from activities import signatures as ask
from contacts.clock import Clock
from ops.temporal import TemporalRuns
from tests.workflows.conftest import CACHED
from tests.workflows.world import Run, Stage, eventually, in_
from workflows import search_attributes as attributes
from workflows.base import Journey
from workflows.registry import JOURNEYS

pytestmark = pytest.mark.parametrize("stage", [CACHED], indirect=True)


@pytest.fixture
def journeys() -> list[type[Journey]]:
    return list(JOURNEYS)


async def started(stage: Stage) -> Run:
    """A welcome, started as the relay does it."""
    now = datetime.now(UTC)
    run_id, contact_id = str(uuid4()), str(uuid4())
    workflow_id = f"journey/welcome/{contact_id}"
    entry = {
        "id": "entry",
        "type": "resource.downloaded",
        "occurred_at": now.isoformat(),
        "data": {"resource": "seo-guide", "topic": "seo"},
    }
    start = {
        "contact_id": contact_id,
        "key": None,
        "entry": entry,
        "entry_point": "resource.downloaded",
        "started_at": now.isoformat(),
    }
    await TemporalRuns(stage.client, Clock(), stage.task_queue).start(run_id, workflow_id, "welcome", start)
    return await stage.found(workflow_id, run_id, contact_id)


async def description(run: Run, doing: str) -> WorkflowExecutionDescription:
    await run.doing(doing)
    await run.idle()
    return await run.handle.describe()


async def test_search_attributes_of_a_run_that_waits(stage: Stage) -> None:
    run = await started(stage)
    shown = (await description(run, "waits for the time")).typed_search_attributes
    assert shown[attributes.JOURNEY] == "welcome"
    assert shown[attributes.STAGE] == "deepen"
    assert shown[attributes.CONTACT] == run.given.contact_id
    assert shown[attributes.OWNER] == "lifecycle"
    assert shown[attributes.ENTRY_POINT] == "resource.downloaded"
    assert shown[attributes.NEEDS_REVIEW] is False
    assert abs(shown[attributes.NEXT_WAKE] - in_(days=3)) < timedelta(minutes=1)
    assert attributes.HOLD not in shown
    assert attributes.OUTCOME not in shown
    await run.exit()
    await run.outcome()


async def test_the_hold_a_message_waits_for_and_then_the_outcome(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "hold_ticket", in_(days=1), "ticket:4711"))
    run = await started(stage)
    shown = (await description(run, "welcome waits: ticket:4711")).typed_search_attributes
    assert shown[attributes.HOLD] == "ticket:4711"
    await run.exit("converted")
    await run.outcome()
    shown = (await run.handle.describe()).typed_search_attributes
    assert shown[attributes.OUTCOME] == "converted"
    assert attributes.HOLD not in shown
    assert attributes.NEXT_WAKE not in shown


async def test_an_operator_can_find_runs_by_attribute(stage: Stage) -> None:
    run = await started(stage)

    async def found() -> list[str]:
        query = f"Journey = 'welcome' AND Contact = '{run.given.contact_id}' AND Stage = 'deepen'"
        return [w.id async for w in stage.client.list_workflows(query)]

    assert await eventually(found) == [run.handle.id]
    await run.exit()
    await run.outcome()


async def test_summary_details_and_current_details_are_sentences(stage: Stage) -> None:
    run = await started(stage)
    shown = await description(run, "waits for the time")
    assert await shown.static_summary() == "welcome: resource.downloaded (seo-guide)"
    assert (await shown.static_details() or "").startswith("Goal: the contact gets further with the problem")
    metadata: WorkflowMetadata = await run.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details.startswith(
        "In stage **deepen** since the contact came by `resource.downloaded`. Now: waits for the time until "
    )
    assert metadata.current_details.endswith("Owner: lifecycle.")
    described = {d.name: d.description for d in [*metadata.definition.signal_definitions]}
    assert set(described) == {"event", "exit", "pause", "resume"}
    assert all(described.values())
    await run.exit("converted")
    await run.outcome()


async def test_every_activity_and_timer_carries_a_summary(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "hold_ticket", in_(days=1), "ticket:4711"))
    run = await started(stage)
    await run.doing("welcome waits: ticket:4711")
    await run.tell("-", type="ticket.solved")
    await run.doing("waits for the time")
    await run.idle()
    kinds = ("activity_task_scheduled_event_attributes", "timer_started_event_attributes")
    asked = [e for e in await run.history() if any(e.HasField(k) for k in kinds)]
    summaries = [default().payload_converter.from_payload(e.user_metadata.summary) for e in asked]
    assert len(summaries) == 6
    assert [s.split(" ")[0] for s in summaries] == ["welcome", "welcome", "until", "welcome", "write", "until"]
    assert summaries[1] == "welcome"
    assert "welcome waits: ticket:4711" in summaries[2]
    await run.exit()
    await run.outcome()


async def test_the_story(stage: Stage) -> None:
    run = await started(stage)
    await run.doing("waits for the time")
    story = await run.story()
    assert story["journey"] == "welcome"
    assert story["contact"] == run.given.contact_id
    assert story["stage"] == "deepen"
    assert story["owner"] == "lifecycle"
    assert story["ending"] is None
    assert [(line["stage"], line["text"]) for line in story["lines"]] == [
        ("greet", "entered greet"),
        ("greet", "welcome: sent"),
        ("deepen", "entered deepen"),
    ]
    await run.exit()
    await run.outcome()
