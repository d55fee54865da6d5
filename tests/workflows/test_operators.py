"""What an operator may do to a run: pause it, move it, answer it."""

import pytest
from temporalio import workflow
from temporalio.client import WorkflowUpdateFailedError

from activities import signatures as ask
from tests.replays import replayer
from tests.workflows.journeys import HandsOver, SendsBesides, SendsOne, SendsThenRests, WaitsLong
from tests.workflows.world import Run, Stage, in_
from workflows.base import Journey


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


async def test_what_a_stage_was_still_to_send_is_settled_as_it_is_left(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "quiet_hours", until=in_(days=1)))
    run = await stage.start(SendsThenRests)
    await run.doing("hello waits: quiet_hours")
    await run.handle.execute_update("move", "resting")
    [left] = await stage.asked(ask.LeaveRequest)
    assert (left.run.run_id, left.run.stage) == (run.given.run_id, "sending")
    await run.doing("waits for the time")
    await run.handle.execute_update("move", "sending")  # and is sent there anew
    await stage.asked(ask.DeliverRequest, 2)
    await run.says("hello: sent")
    await run.exit()
    assert await run.outcome() == "exited"
    assert len({request.key for request in stage.world.requests(ask.DeliverRequest)}) == 2
    assert len(stage.world.requests(ask.LeaveRequest)) == 1


async def test_what_a_stage_itself_gave_up_is_settled_too(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "quiet_hours", until=in_(days=1)))
    run = await stage.start(SendsBesides)
    await run.doing("hello waits: quiet_hours")
    await run.tell("pricing")
    await stage.asked(ask.LeaveRequest)
    await run.doing("waits for the time")


@pytest.mark.parametrize("ends", [True, False])
async def test_a_run_that_ends_settles_it_all_at_once(stage: Stage, ends: bool) -> None:
    """An exit, and an exit that comes while a stage's touches are being settled."""
    stage.world.answers.append(ask.Delivery("waiting", "quiet_hours", until=in_(days=1)))
    go_on = stage.world.hold(ask.LEAVE)
    run = await stage.start(SendsThenRests)
    await run.doing("hello waits: quiet_hours")
    if not ends:
        await run.handle.execute_update("move", "resting")
        await stage.asked(ask.LeaveRequest)
    await run.exit()
    go_on()
    assert await run.outcome() == "exited"
    assert len(stage.world.requests(ask.LeaveRequest)) == (0 if ends else 1)
    assert "entered resting" not in [line["text"] for line in stage.world.requests(ask.FinishRequest)[0].story]


async def test_a_run_that_left_a_touch_waiting_still_replays(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its history is that of a worker from before a stage settled what it had not sent."""
    stage.world.answers.append(ask.Delivery("waiting", "quiet_hours", until=in_(days=1)))
    with monkeypatch.context() as before:
        before.setattr(workflow, "patched", lambda id: False)
        run = await stage.start(SendsThenRests)
        await run.doing("hello waits: quiet_hours")
        await run.handle.execute_update("move", "resting")
        await run.doing("waits for the time")
        await run.exit()
        assert await run.outcome() == "exited"
        assert not stage.world.requests(ask.LeaveRequest)
    await replayed(SendsThenRests, run)


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
    await replayed(HandsOver, run)


async def replayed(journey: type[Journey], run: Run) -> None:
    """Goes through a run's history with the code of today, which must do as it did."""
    await replayer(journey).replay_workflow(await run.handle.fetch_history())


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
