"""An exit ends a run at once, wherever it is, and the stage cleans up."""

from activities import signatures as ask
from tests.workflows.journeys import HandsOver, LooksFirst, SendsOne, WaitsLong
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
    let_go()
    assert await run.outcome() == "exited"
    assert "cleaned up" in await run.texts()
    assert len(stage.world.requests(ask.DeliverRequest)) == 1
