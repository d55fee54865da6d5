"""What is written down of a run, and what it is told."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from activities.record import write_lines
from contacts import store, tables
from contacts.claims import Gate
from contacts.gate import Ask
from contacts.specs import Pattern, often, on
from tests.activities.conftest import MORNING, House
from tests.contacts.support import somebody_waits


def finish(house: House, outcome: str = "completed", *, review: bool = False) -> ask.FinishRequest:
    story = ({"text": "entered greet"},)
    return ask.FinishRequest(house.run, outcome, "max_run" if review else None, review, story)


async def test_finish_closes_the_run_once(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(house.record.finish, finish(house))
    later = replace(finish(house, "canceled"), run=replace(house.run, now=MORNING + timedelta(days=1)))
    await attempt.run(house.record.finish, later)
    [run] = await house.rows(tables.runs)
    assert (run.outcome, run.ended_at) == ("completed", MORNING)
    assert [line["outcome"] for line in await house.told("exit")] == ["completed"]
    assert not await house.rows(tables.reviews)


async def test_the_outcome_an_event_gave_stands(house: House, attempt: ActivityEnvironment) -> None:
    await house.tell("meeting.booked")
    await attempt.run(house.record.finish, finish(house, "completed"))
    [run] = await house.rows(tables.runs)
    assert (run.outcome, run.ended_at) == ("converted", MORNING)
    assert [line["outcome"] for line in await house.told("exit")] == ["converted"]


async def test_an_exhausted_run_is_up_for_review_with_its_story(house: House, attempt: ActivityEnvironment) -> None:
    for _ in range(2):
        await attempt.run(house.record.finish, finish(house, "exhausted", review=True))
    [review] = await house.rows(tables.reviews)
    assert (review.run_id, review.reason, review.story) == (
        house.run.run_id,
        "exhausted: max_run",
        [{"text": "entered greet"}],
    )
    assert review.resolved_at is None
    assert len(await house.told("review")) == 1


async def test_no_touch_of_a_run_that_is_over_is_left_open(house: House, attempt: ActivityEnvironment) -> None:
    await house.claim(house.touch())
    await house.tell("ticket.opened", ticket_id="4711")
    held = house.touch("welcome_second", key=f"{house.run.run_id}/deepen/2")
    assert (await attempt.run(house.deliver.deliver, held)).status == "waiting"
    await attempt.run(house.record.finish, finish(house))
    touches = {row.template: (row.status, row.reason) for row in await house.rows(tables.touches)}
    assert touches == {
        "welcome": ("unknown", "no answer from the provider"),
        "welcome_second": ("dropped", "exited"),
    }
    assert [line["touch"] for line in await house.told("touch")] == ["welcome"]
    assert [(line["touch"], line["reason"]) for line in await house.told("drop")] == [("welcome_second", "exited")]


async def test_no_touch_of_a_stage_that_was_left_is_left_open(house: House, attempt: ActivityEnvironment) -> None:
    await house.claim(house.touch())
    await house.tell("ticket.opened", ticket_id="4711")
    held = house.touch("welcome_second", key=f"{house.run.run_id}/deepen/2")
    assert (await attempt.run(house.deliver.deliver, held)).status == "waiting"
    line = ask.Line(1, MORNING, "stage", "greet")
    for _ in range(2):
        await attempt.run(house.record.leave, ask.LeaveRequest(house.run, (line,)))
    touches = {row.template: (row.status, row.reason, row.settled_at) for row in await house.rows(tables.touches)}
    assert touches == {
        "welcome": ("unknown", "no answer from the provider", MORNING),
        "welcome_second": ("dropped", "stage_left", MORNING),
    }
    assert [(line["touch"], line["reason"]) for line in await house.told("drop")] == [("welcome_second", "stage_left")]
    assert [line["stage"] for line in await house.told("stage")] == ["greet"]
    [run] = await house.rows(tables.runs)
    assert run.ended_at is None
    # Whoever still asks for it is told, and nothing goes out.
    assert (await attempt.run(house.deliver.deliver, held)).reason == "stage_left"
    assert not house.outside.calls


async def test_a_stage_that_is_left_waits_for_a_claim_that_is_being_taken(house: House) -> None:
    """A touch that is let out this moment is one whose call nobody has an answer to."""
    async with house.engine.connect() as claiming:
        await store.lock(claiming, house.run.contact_id)
        leaving = asyncio.create_task(house.record.leave(ask.LeaveRequest(house.run)))
        await somebody_waits(house.engine)
        wanted = Ask("k", "welcome", "email", "transactional", "welcome", MORNING, MORNING + timedelta(days=1))
        gate = Gate(house.policy, "test")
        run = house.run
        await gate.claim(claiming, wanted, run_id=run.run_id, contact_id=run.contact_id, stage="greet")
        await claiming.commit()
    await leaving
    [touch] = await house.rows(tables.touches)
    assert touch.status == "unknown"


async def test_a_note_says_where_the_run_is(house: House, attempt: ActivityEnvironment) -> None:
    wake = MORNING + timedelta(days=3)
    line = ask.Line(1, MORNING, "wait", "deepen", wake, {"reason": "page.viewed"})
    run = replace(house.run, stage="deepen")
    for _ in range(2):
        await attempt.run(house.record.note, ask.NoteRequest(run, (line,), wake))
    [row] = await house.rows(tables.runs)
    assert (row.stage, row.next_wake) == ("deepen", wake)
    assert [(told["reason"], told["until"]) for told in await house.told("wait")] == [("page.viewed", wake.isoformat())]


async def test_the_facts_are_of_the_runs_time(house: House, attempt: ActivityEnvironment) -> None:
    await house.tell("page.viewed", page="pricing")
    await house.tell("ticket.opened", ticket_id="4711")
    now = await attempt.run(house.record.facts, ask.FactsRequest(house.run))
    assert (now.hot, now.topic, now.holds, now.entered_before) == (True, "seo", ("ticket:4711",), None)
    later = replace(house.run, now=MORNING + timedelta(days=60))
    then = await attempt.run(house.record.facts, ask.FactsRequest(later))
    assert not then.hot
    assert abs(then.score - now.score / 4) < 0.1


async def test_a_run_writes_down_its_end_while_an_event_of_its_contact_is_being_taken_in(house: House) -> None:
    """The event's transaction holds the contact and will want the run's row: who has that must not want the contact."""
    async with house.engine.begin() as taking_in, house.engine.begin() as ending:
        await store.lock(taking_in, house.run.contact_id)
        await ending.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        await write_lines(ending, house.run, [ask.Line(1, MORNING, "stage", "greet")])


async def test_a_run_may_ask_for_behaviour_and_is_told_what_was_shown(house: House) -> None:
    twice = often(on("page.viewed", page=["pricing", "plans"]), times=2, days=7, without=on("meeting.booked"))
    # As it comes out of a history: what was a tuple is a list.
    converter = pydantic_data_converter.payload_converter
    asked = converter.from_payload(converter.to_payload(twice), Pattern)
    await house.tell("page.viewed", at=MORNING - timedelta(days=1), page="pricing")
    assert not (await house.record.facts(ask.FactsRequest(house.run, behaviour=asked))).shown
    await house.tell("page.viewed", at=MORNING, page="plans")
    assert (await house.record.facts(ask.FactsRequest(house.run, behaviour=asked))).shown
    assert not (await house.record.facts(ask.FactsRequest(house.run))).shown
    await house.tell("meeting.booked", at=MORNING)
    assert not (await house.record.facts(ask.FactsRequest(house.run, behaviour=asked))).shown
