"""What an operator may do to a run: pause it, move it, answer it."""

import pytest
from temporalio import workflow
from temporalio.client import WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import signatures as ask
from tests.workflows.journeys import HandsOver, SendsOne, WaitsLong
from tests.workflows.world import Stage, in_
from worker import _SHARED


async def test_pause_holds_touches_until_resume(stage: Stage) -> None:
    run = await stage.start(SendsOne, first_signal=("pause", {}))
    await run.doing("paused by an operator")
    assert (await run.story())["paused"] is True
    assert not stage.world.requests(ask.DeliverRequest)
    await run.handle.signal("resume")
    assert await run.outcome() == "completed"
    assert len(stage.world.requests(ask.DeliverRequest)) == 1


async def test_a_paused_run_still_ends(stage: Stage) -> None:
    run = await stage.start(SendsOne, first_signal=("pause", {}))
    await run.doing("paused by an operator")
    await run.exit("converted")
    assert await run.outcome() == "converted"
    assert not stage.world.requests(ask.DeliverRequest)


async def test_move_leaves_the_stage_and_goes_on_at_another(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    assert await run.handle.execute_update("move", "resting") == "moving to resting"
    await run.doing("waits for the time")
    assert (await run.story())["stage"] == "resting"
    assert (await run.texts())[-3:] == ["moved to resting by an operator", "cleaned up", "entered resting"]


async def test_move_to_a_stage_there_is_not_leaves_no_trace(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    await run.idle()
    before = len(await run.history())
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.handle.execute_update("move", "elsewhere")
    assert str(refused.value.cause) == "no stage 'elsewhere': waiting, resting"
    assert len(await run.history()) == before


async def test_acknowledging_a_hand_off_ends_the_wait_for_an_answer(stage: Stage) -> None:
    stage.world.handed = ask.HandOffDone("sales", in_(hours=1), 3600, 1)
    run = await stage.start(HandsOver)
    await run.doing("waits for sales")
    [handed] = stage.world.requests(ask.HandOffRequest)
    said = await run.handle.execute_update("acknowledge", args=[handed.handoff_id, "Mia"])
    assert said == "Mia has the hand-off"
    assert await run.outcome() == "completed"
    assert "answer: Mia" in await run.texts()
    [taken] = stage.world.requests(ask.AcknowledgeRequest)
    assert (taken.handoff_id, taken.by) == (handed.handoff_id, "Mia")


async def test_an_acknowledgement_that_is_an_event_counts_too(stage: Stage) -> None:
    stage.world.handed = ask.HandOffDone("sales", in_(hours=1), 3600, 1)
    run = await stage.start(HandsOver)
    await run.doing("waits for sales")
    [handed] = stage.world.requests(ask.HandOffRequest)
    await run.tell("-", type="handoff.acknowledged", data={"handoff_id": "another one", "by": "Noah"})
    await run.tell("-", type="handoff.acknowledged", data={"handoff_id": handed.handoff_id, "by": "Mia"})
    assert await run.outcome() == "completed"
    assert "answer: Mia" in await run.texts()
    assert not stage.world.requests(ask.AcknowledgeRequest)  # everybody knows already


async def test_a_conversation_counts_once_a_person_of_ours_is_in_it(stage: Stage) -> None:
    stage.world.handed = ask.HandOffDone("sales", in_(hours=1), 3600, 1)
    run = await stage.start(HandsOver)
    await run.doing("waits for sales")
    await run.tell("-", type="conversation.started", data={"conversation_id": "c-1"})
    await run.idle()
    assert "waits for sales" in (await run.story())["doing"]
    await run.tell("-", type="conversation.started", data={"conversation_id": "c-1", "rep": "Mia"})
    assert await run.outcome() == "completed"
    assert "answer: Mia" in await run.texts()


async def test_a_run_that_took_any_conversation_for_an_answer_still_replays(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its history is that of a worker from before it was asked who is in the conversation."""
    stage.world.handed = ask.HandOffDone("sales", in_(hours=1), 3600, 1)
    with monkeypatch.context() as before:
        before.setattr(workflow, "patched", lambda id: False)
        run = await stage.start(HandsOver)
        await run.doing("waits for sales")
        await run.tell("-", type="conversation.started", data={"conversation_id": "c-1"})
        assert await run.outcome() == "completed"
        assert "answer: somebody" in await run.texts()
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*_SHARED)
    replayer = Replayer(
        workflows=[HandsOver],
        data_converter=pydantic_data_converter,
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
    )
    await replayer.replay_workflow(await run.handle.fetch_history())


async def test_nobody_answers_so_they_are_reminded_and_then_a_person_reviews(stage: Stage) -> None:
    stage.world.handed = ask.HandOffDone("sales", in_(seconds=0.1), 0.1, 2)
    run = await stage.start(HandsOver)
    assert await run.outcome() == "completed"
    assert "answer: None" in await run.texts()
    reminders = [(r.reminder, r.last) for r in stage.world.requests(ask.RemindRequest)]
    assert reminders == [(1, False), (2, False), (3, True)]


async def test_a_hand_off_can_be_taken_after_a_reminder(stage: Stage) -> None:
    stage.world.handed = ask.HandOffDone("sales", in_(seconds=0.1), 3600, 2)
    run = await stage.start(HandsOver)
    [reminder] = await stage.asked(ask.RemindRequest)
    await run.handle.execute_update("acknowledge", args=[reminder.handoff_id, "Mia"])
    assert await run.outcome() == "completed"
    assert len(stage.world.requests(ask.RemindRequest)) == 1
