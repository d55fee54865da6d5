"""An exit ends a run at once, wherever it is, and the stage cleans up."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from activities import signatures as ask
from contacts.specs import days
from tests.workflows.journeys import (
    HandsOver,
    LooksFirst,
    LooksThenWaits,
    SaysGoodbye,
    SendsOne,
    SendsThenWaits,
    WaitsLong,
)
from tests.workflows.world import Stage, in_


async def test_ends_a_wait(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    await run.exit("converted")
    assert await run.outcome() == "converted"
    assert (await run.texts())[-1] == "cleaned up"
    assert [(f.outcome, f.reason, f.review) for f in stage.world.requests(ask.FinishRequest)] == [
        ("converted", "message.replied", False)
    ]


async def test_ends_a_send_that_waits_for_the_gate(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "hold_ticket", in_(days=1), "ticket:1"))
    run = await stage.start(SendsOne)
    await run.doing("hello waits: ticket:1")
    await run.exit()
    assert await run.outcome() == "exited"
    assert (await run.texts())[-1] == "cleaned up"
    assert len(stage.world.requests(ask.DeliverRequest)) == 1


async def test_ends_a_hand_off(stage: Stage) -> None:
    stage.world.handed = ask.HandOffDone("sales", in_(hours=1), 3600, 1)
    run = await stage.start(HandsOver)
    await run.doing("waits for sales")
    await run.exit("converted")
    assert await run.outcome() == "converted"
    assert (await run.texts())[-1] == "cleaned up"
    assert not stage.world.requests(ask.RemindRequest)


async def test_ends_a_look_at_the_contact(stage: Stage) -> None:
    let_go = stage.world.hold(ask.FACTS)
    run = await stage.start(LooksFirst)
    await stage.asked(ask.FactsRequest)
    await run.exit()
    assert await run.outcome() == "exited"
    assert "cleaned up" in await run.texts()
    let_go()


async def test_lets_a_message_that_is_on_its_way_arrive_and_be_recorded(stage: Stage) -> None:
    let_go = stage.world.hold(ask.DELIVER)
    run = await stage.start(SendsOne)
    await stage.asked(ask.DeliverRequest)
    await run.exit()
    await run.seen("WorkflowExecutionSignaled")
    assert not stage.world.requests(ask.FinishRequest)
    let_go()
    assert await run.outcome() == "exited"
    assert "cleaned up" in await run.texts()
    assert len(stage.world.requests(ask.DeliverRequest)) == 1


async def test_that_comes_with_the_start_leaves_nothing_to_do(stage: Stage) -> None:
    run = await stage.start(SendsOne, first_signal=("exit", {"outcome": "superseded", "by": "checkout.started"}))
    assert await run.outcome() == "superseded"
    assert not stage.world.requests(ask.DeliverRequest)


async def test_meant_for_another_run_is_ignored(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    await run.exit("converted", run="an earlier run of the same contact")
    await run.tell("pricing")
    await run.doing("waits for the time")
    assert "heard pricing" in await run.texts()
    await run.exit()
    assert await run.outcome() == "exited"


async def test_that_the_gate_knew_first_is_waited_for(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("dropped", "exited"))
    run = await stage.start(SendsOne)
    await stage.asked(ask.DeliverRequest)
    await run.says("hello: dropped (exited)")
    assert "cleaned up" not in await run.texts()
    await run.exit("converted")
    assert await run.outcome() == "converted"
    assert len(stage.world.requests(ask.DeliverRequest)) == 1


async def test_is_not_held_up_by_a_stage_that_writes_while_it_cleans_up(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("dropped", "exited"))
    run = await stage.start(SaysGoodbye)
    await run.doing("waits for the time")
    await run.exit()
    assert await run.outcome() == "exited"
    assert [r.template for r in stage.world.requests(ask.DeliverRequest)] == ["goodbye"]


async def test_by_an_operator_who_cancels_the_workflow_is_recorded(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    await run.handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await run.outcome()
    assert isinstance(caught.value.cause, CancelledError)
    assert (await run.texts())[-1] == "cleaned up"
    [finish] = stage.world.requests(ask.FinishRequest)
    assert (finish.outcome, finish.reason, finish.review) == ("canceled", "an operator", False)


async def test_cancelling_while_a_message_is_on_its_way_is_recorded_after_it(stage: Stage) -> None:
    let_go = stage.world.hold(ask.DELIVER)
    run = await stage.start(SendsOne)
    await stage.asked(ask.DeliverRequest)
    await run.handle.cancel()
    await run.seen("WorkflowExecutionCancelRequested")
    assert not stage.world.requests(ask.FinishRequest)
    let_go()
    with pytest.raises(WorkflowFailureError):
        await run.outcome()
    assert [f.outcome for f in stage.world.requests(ask.FinishRequest)] == ["canceled"]


async def test_max_run_ends_a_run_as_exhausted_and_asks_for_a_review(stage: Stage) -> None:
    month_in_a_third_of_a_second = days(30) / timedelta(seconds=0.3)
    run = await stage.start(WaitsLong, rate=month_in_a_third_of_a_second)
    assert await run.outcome() == "exhausted"
    [finish] = stage.world.requests(ask.FinishRequest)
    assert (finish.outcome, finish.reason, finish.review) == ("exhausted", "max_run", True)
    assert "heard nothing" in [line["text"] for line in finish.story]


async def test_that_comes_together_with_an_answer_is_not_lost(stage: Stage) -> None:
    let_go = stage.world.hold(ask.FACTS)
    run = await stage.start(LooksThenWaits)
    await stage.asked(ask.FactsRequest)
    await stage.leave()
    await run.exit("converted")
    let_go()
    await run.recorded("ActivityTaskCompleted")
    await stage.enter()
    assert await run.outcome() == "converted"


async def test_that_comes_together_with_what_was_waited_for_is_not_lost(stage: Stage) -> None:
    run = await stage.start(SendsThenWaits)
    await run.doing("waits for page.viewed")
    await run.idle()
    await stage.leave()
    await run.tell("pricing")
    await run.exit("converted")
    await stage.enter()
    assert await run.outcome() == "converted"
