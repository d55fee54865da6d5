"""What a run is allowed: it asks, a person is told, and the first answer counts."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow

from activities import signatures as ask
from contacts.specs import days
from tests.replays import replayer
from tests.workflows.journeys import AsksApproval, AsksTwice
from tests.workflows.world import Run, Stage

IN_A_MOMENT = days(2) / timedelta(seconds=0.2)


async def answers(run: Run, approval_id: str, **data: Any) -> None:
    """The run hears of an answer."""
    await run.tell("-", type="approval.answered", data={"approval_id": approval_id, "by": "Mia", **data})


async def asked(stage: Stage, number: int = 1) -> ask.ApprovalRequest:
    """Waits until a person has been told so often; returns the last question."""
    request: ask.ApprovalRequest = (await stage.asked(ask.ApprovalRequest, number))[-1]
    return request


async def test_a_person_is_told_what_is_asked_and_until_when(stage: Stage) -> None:
    run = await stage.start(AsksApproval)
    question = await asked(stage)
    assert (question.what, question.owner, question.run.run_id) == ("gift", "tests", run.given.run_id)
    [line] = [line for line in stage.world.lines if line.kind == "approval"]
    assert question.until == line.at + days(2)
    assert (line.until, line.data) == (question.until, {"reason": "gift", "name": "asking/gift"})
    assert "waits for approval: gift" in (await run.story())["doing"]


@pytest.mark.parametrize("said", [True, False])
async def test_answered_by_the_update(stage: Stage, said: bool) -> None:
    run = await stage.start(AsksApproval)
    await run.doing("waits for approval: gift")
    await run.handle.execute_update("approve", args=["another question", not said])
    answer = await run.handle.execute_update("approve", args=["asking/gift", said])
    assert answer == ("approved" if said else "refused")
    assert await run.outcome() == "completed"
    assert (await run.texts())[-2:] == [f"gift: {'approved' if said else 'refused'} by Mia", f"approved: {said}"]
    [settled] = stage.world.requests(ask.SettleApprovalRequest)
    assert settled.approved is said


@pytest.mark.parametrize("said", [True, False])
async def test_answered_by_an_event(stage: Stage, said: bool) -> None:
    run = await stage.start(AsksApproval)
    question = await asked(stage)
    await answers(run, "another question", approved=not said)
    await answers(run, question.approval_id, approved=not said, void=True)
    await answers(run, question.approval_id, approved=said)
    assert await run.outcome() == "completed"
    assert (await run.texts())[-1] == f"approved: {said}"
    [settled] = stage.world.requests(ask.SettleApprovalRequest)
    assert (settled.asked.approval_id, settled.approved) == (question.approval_id, said)


@pytest.mark.parametrize("first", [True, False])
async def test_the_first_of_two_answers_that_come_together_counts(stage: Stage, first: bool) -> None:
    run = await stage.start(AsksApproval)
    question = await asked(stage)
    await run.idle()
    await stage.leave()
    await answers(run, question.approval_id, approved=first)
    await answers(run, question.approval_id, approved=not first)
    await stage.enter()
    assert await run.outcome() == "completed"
    assert (await run.texts())[-1] == f"approved: {first}"


async def test_what_was_recorded_counts_even_if_the_run_has_not_heard_of_it(stage: Stage) -> None:
    stage.world.recorded = ask.ApprovalSettled(True, "Mia")
    run = await stage.start(AsksApproval, rate=IN_A_MOMENT)
    assert await run.outcome() == "completed"
    assert (await run.texts())[-2:] == ["gift: approved by Mia", "approved: True"]


async def test_what_was_recorded_counts_before_what_the_run_was_told(stage: Stage) -> None:
    stage.world.recorded = ask.ApprovalSettled(False, "Mia")
    run = await stage.start(AsksApproval)
    await run.doing("waits for approval: gift")
    await run.handle.execute_update("approve", args=["asking/gift", True])
    assert await run.outcome() == "completed"
    assert (await run.texts())[-1] == "approved: False"


async def test_no_answer_is_no_approval(stage: Stage) -> None:
    run = await stage.start(AsksApproval, rate=IN_A_MOMENT)
    assert await run.outcome() == "completed"
    assert (await run.texts())[-2:] == ["gift: nobody answered", "approved: False"]
    [settled] = stage.world.requests(ask.SettleApprovalRequest)
    assert settled.approved is None


async def test_that_nobody_can_be_told_delays_nothing(stage: Stage) -> None:
    let_go = stage.world.hold(ask.ASK_APPROVAL)
    run = await stage.start(AsksApproval)
    await run.doing("waits for approval: gift")
    await run.handle.execute_update("approve", args=["asking/gift", True])
    assert await run.outcome() == "completed"
    assert (await run.texts())[-1] == "approved: True"
    let_go()


async def test_an_answer_from_before_answers_no_later_question(stage: Stage) -> None:
    run = await stage.start(AsksTwice)
    first = await asked(stage)
    await run.handle.execute_update("approve", args=["asking/gift", False])
    second = await asked(stage, 2)
    assert second.approval_id != first.approval_id
    await answers(run, first.approval_id, approved=True)
    await run.handle.execute_update("approve", args=["another question", True])
    await run.idle()
    assert "waits for approval: gift" in (await run.story())["doing"]
    await answers(run, second.approval_id, approved=True)
    await run.doing("waits for the time")
    assert [t for t in await run.texts() if t.startswith("approved")] == ["approved: False", "approved: True"]


async def test_who_leaves_the_stage_waits_for_no_answer(stage: Stage) -> None:
    run = await stage.start(AsksTwice)
    question = await asked(stage)
    await run.handle.execute_update("move", "resting")
    await run.doing("waits for the time")
    [settled] = stage.world.requests(ask.SettleApprovalRequest)
    assert (settled.asked.approval_id, settled.approved) == (question.approval_id, None)


async def test_an_exit_ends_the_wait(stage: Stage) -> None:
    run = await stage.start(AsksApproval)
    await asked(stage)
    await run.exit()
    assert await run.outcome() == "exited"
    assert "approved: False" not in await run.texts()
    assert len(stage.world.requests(ask.SettleApprovalRequest)) == 1


async def test_a_run_that_asked_before_anybody_was_told_still_replays(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its history is that of a worker from before: nobody but the update answers."""
    with monkeypatch.context() as before:
        before.setattr(workflow, "patched", lambda id: False)
        run = await stage.start(AsksTwice)
        await run.doing("waits for approval: gift")
        await run.handle.execute_update("approve", args=["asking/gift", True])
        await run.says("approved: True")
        await run.doing("waits for approval: gift")
        await run.handle.execute_update("approve", args=["asking/gift", False])
        await run.doing("waits for the time")
    assert [t for t in await run.texts() if t.startswith("approved")] == ["approved: True", "approved: False"]
    assert not stage.world.requests(ask.ApprovalRequest)
    await replayer(AsksTwice).replay_workflow(await run.handle.fetch_history())
