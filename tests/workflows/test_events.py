"""What a run hears: every event once, none too early to count, and no junk that could stop it."""

from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from activities import signatures as ask
from contacts.specs import days, hours
from tests.workflows.journeys import OnlySends, SendsOne, SendsThenWaits, SleepsThenWaits, WaitsLong
from tests.workflows.world import Run, Stage, in_


async def test_that_came_before_the_wait_counts_once(stage: Stage) -> None:
    let_go = stage.world.hold(ask.DELIVER)
    run = await stage.start(SendsThenWaits, rate=days(3) / hours(0.0003))
    await stage.asked(ask.DeliverRequest)
    await run.tell("pricing")
    let_go()
    assert await run.outcome() == "completed"
    assert [t for t in await run.texts() if t.startswith(("first", "second"))] == ["first pricing", "second nothing"]


async def test_that_came_in_a_stage_which_only_sends_counts_in_the_next(stage: Stage) -> None:
    let_go = stage.world.hold(ask.DELIVER)
    run = await stage.start(OnlySends)
    await stage.asked(ask.DeliverRequest)
    await run.tell("pricing")
    let_go()
    assert await run.outcome() == "completed"
    assert (await run.texts())[-1] == "heard pricing"


async def test_that_a_stage_waited_past_is_over_with_it(stage: Stage) -> None:
    run = await stage.start(SleepsThenWaits, rate=days(3) / hours(0.0003))
    await run.doing("waits for the time")
    await run.tell("pricing")
    assert await run.outcome() == "completed"
    assert (await run.texts())[-1] == "heard nothing"


async def test_repeated_is_heard_once(stage: Stage) -> None:
    run = await stage.start(SendsThenWaits)
    await run.doing("waits for page.viewed")
    for page in ("pricing", "docs"):
        await run.tell(page, id="the same occurrence")
    await run.tell("blog")
    assert await run.outcome() == "completed"
    assert [t for t in await run.texts() if t.startswith(("first", "second"))] == ["first pricing", "second blog"]


async def test_meant_for_another_run_is_not_heard(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    await run.tell("docs", run="an earlier run of the same contact")
    await run.tell("pricing")
    await run.doing("waits for the time")
    assert "heard pricing" in await run.texts()


GOOD = {"id": "1", "type": "page.viewed", "occurred_at": "2030-01-01T00:00:00+00:00"}

JUNK: dict[str, list[Any]] = {  # what it is, and the arguments of the signal
    "nothing": [],
    "null": [None],
    "text": ["hello"],
    "number": [17],
    "list": [[1, 2]],
    "empty": [{}],
    "no id": [{k: v for k, v in GOOD.items() if k != "id"}],
    "no type": [{k: v for k, v in GOOD.items() if k != "type"}],
    "no time": [{k: v for k, v in GOOD.items() if k != "occurred_at"}],
    "time that is none": [{**GOOD, "occurred_at": "yesterday"}],
    "data that is text": [{**GOOD, "data": "page"}],
    "data that is a list": [{**GOOD, "data": ["page", "pricing"]}],
    "run that is a list": [{**GOOD, "run": ["x"]}],
    "two arguments": [{**GOOD, "type": "x.y"}, "more"],
    "bytes": [b"\x00\xff"],
    "not JSON": [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{"))],
}


async def test_junk_is_ignored_and_wedges_nothing(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    for junk in JUNK.values():
        await run.handle.signal("event", args=junk)
        await run.handle.signal("no such signal", args=junk)
    await run.tell("pricing")
    await run.doing("waits for the time")
    assert "heard pricing" in await run.texts()
    await still_well(run)


async def test_junk_with_an_operators_signal_is_ignored(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "quiet_hours", in_(days=1)))
    run = await stage.start(SendsOne)
    await run.doing("hello waits")
    for name in ("pause", "resume"):
        for junk in JUNK.values():
            await run.handle.signal(name, args=junk)
        await run.handle.signal(name)
        await run.says(f"{name}d by an operator")
    await still_well(run)


async def still_well(run: Run) -> None:
    await run.exit()
    assert await run.outcome() == "exited"
    failed = [e for e in await run.history() if e.HasField("workflow_task_failed_event_attributes")]
    assert not failed


async def test_an_exit_without_a_word_still_ends_the_run(stage: Stage) -> None:
    run = await stage.start(WaitsLong)
    await run.doing("waits for page.viewed")
    await run.handle.signal("exit")
    assert await run.outcome() == "exited"


async def test_news_while_a_hold_is_on_makes_the_run_ask_again(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "hold_ticket", in_(days=1), "ticket:1"))
    run = await stage.start(SendsOne)
    await run.doing("hello waits: ticket:1")
    await run.tell("-", type="ticket.solved")
    assert await run.outcome() == "completed"
    first, second = stage.world.requests(ask.DeliverRequest)
    assert (first.key, first.asked_at, first.valid_until) == (second.key, second.asked_at, second.valid_until)


async def test_a_release_that_comes_while_the_gate_answers_is_not_missed(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "hold_ticket", in_(days=1), "ticket:1"))
    let_go = stage.world.hold(ask.DELIVER)
    run = await stage.start(SendsOne)
    await stage.asked(ask.DeliverRequest)
    await run.tell("-", type="ticket.solved")
    let_go()
    assert await run.outcome() == "completed"
    assert len(stage.world.requests(ask.DeliverRequest)) == 2


async def test_news_does_not_shorten_quiet_hours(stage: Stage) -> None:
    stage.world.answers.append(ask.Delivery("waiting", "quiet_hours", in_(days=1)))
    run = await stage.start(SendsOne)
    await run.doing("hello waits: quiet_hours")
    await run.tell("pricing")
    await run.seen("WorkflowExecutionSignaled")
    assert len(stage.world.requests(ask.DeliverRequest)) == 1
    await run.exit()
    assert await run.outcome() == "exited"
