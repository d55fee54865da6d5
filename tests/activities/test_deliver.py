"""One touch: what becomes of it, and that it becomes so at most once."""

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from connectors.errors import BadAddress, NeverAgain, TryAgain, Unknown
from connectors.recording import LookedUp, Recording, Sent
from contacts import tables
from contacts.clock import Clock
from tests.activities.conftest import MORNING, House

NEITHER = {"idempotent": False, "can_look_up": False}
LOOK_UP = {"idempotent": False, "can_look_up": True}
IDEMPOTENT = {"idempotent": True, "can_look_up": False}


async def test_sent(house: House, attempt: ActivityEnvironment) -> None:
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert delivery.status == "sent"
    [message] = house.outside.delivered
    assert message.to == "alice@example.com"
    assert message.unsubscribe_url == "https://hub.example.com/unsubscribe_url"
    touch = await house.the_touch()
    assert (touch.status, touch.provider, touch.provider_id) == ("sent", "recording", f"recording-message-{touch.key}")
    assert (touch.subject, touch.body) == (message.subject, message.text)
    assert touch.template_hash
    [line] = await house.told("touch")
    assert (line["touch"], line["status"], line["subject"]) == ("welcome", "sent", message.subject)


async def test_dropped_with_its_reason(house: House, attempt: ActivityEnvironment) -> None:
    await house.tell("message.unsubscribed")
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("dropped", "consent_withdrawn")
    assert not house.outside.calls
    [line] = await house.told("drop")
    assert (line["touch"], line["reason"]) == ("welcome", "consent_withdrawn")


async def test_waits_and_is_asked_for_again(house: House, attempt: ActivityEnvironment, frozen: None) -> None:
    await house.tell("ticket.opened", ticket_id="4711")
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason, delivery.hold) == ("waiting", "hold_ticket", "ticket:4711")
    assert delivery.until == MORNING + timedelta(days=1)
    assert not house.outside.calls
    later = MORNING + timedelta(hours=2)
    await house.tell("ticket.solved", at=later, ticket_id="4711")
    assert (await attempt.run(house.deliver.deliver, house.touch(at=later))).status == "sent"
    assert len(await house.rows(tables.touches)) == 1


async def test_refused_for_now_asks_the_gate_anew(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(TryAgain("recording", "429", delay=timedelta(seconds=7)))
    with pytest.raises(ApplicationError) as refused:
        await attempt.run(house.deliver.deliver, house.touch())
    assert refused.value.next_retry_delay == timedelta(seconds=7)
    assert not refused.value.non_retryable
    assert (await house.the_touch()).status == "waiting"
    await house.tell("meeting.booked")
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("dropped", "exited")
    assert not house.outside.delivered


async def test_refused_for_now_goes_out_on_the_next_attempt(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(TryAgain("recording", "503"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.deliver.deliver, house.touch())
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.outside.delivered) == 1


async def test_refused_for_good_fails(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(NeverAgain("recording", "content rejected", request_id="r-1"))
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("failed", "content rejected")
    assert (await house.the_touch()).request_id == "r-1"
    [line] = await house.told("drop")
    assert line["reason"] == "content rejected"


async def test_a_bad_address_is_not_written_to_again(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(BadAddress("recording", "no such mailbox"))
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "failed"
    second = house.touch("welcome_second", key=f"{house.run.run_id}/deepen/2", at=MORNING + timedelta(days=3))
    delivery = await attempt.run(house.deliver.deliver, second)
    assert (delivery.status, delivery.reason) == ("dropped", "suppressed")
    assert len(house.calls(Sent)) == 1


async def test_settled_is_settled(house: House, attempt: ActivityEnvironment) -> None:
    for _ in range(3):
        assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.calls(Sent)) == 1
    assert len(await house.told("touch")) == 1


async def test_a_broken_template_gives_the_claim_back(house: House, attempt: ActivityEnvironment) -> None:
    with pytest.raises(ApplicationError, match="no_such_template") as broken:
        await attempt.run(house.deliver.deliver, house.touch("no_such_template"))
    assert not broken.value.non_retryable  # a new worker may bring the template
    assert (await house.the_touch()).status == "waiting"
    assert not house.outside.calls


async def test_a_channel_nobody_serves(house: House, attempt: ActivityEnvironment) -> None:
    with pytest.raises(ApplicationError, match="no connector sends on pigeon"):
        await attempt.run(house.deliver.deliver, house.touch(channel="pigeon"))


# The call ends without an answer: (abilities, purpose, what becomes of it, messages that went out)
LOST = {
    "look-up finds it": (LOOK_UP, "promotional", "sent", 1),
    "sent again with the same key": (IDEMPOTENT, "promotional", "sent", 1),
    "promotion is not risked twice": (NEITHER, "promotional", "unknown", 1),
    "lifecycle is not risked twice": (NEITHER, "lifecycle", "unknown", 1),
    "transactional is sent again": (NEITHER, "transactional", "sent", 2),
}


@pytest.mark.parametrize(("abilities", "purpose", "status", "messages"), LOST.values(), ids=LOST)
async def test_an_answer_that_is_lost(
    house: House,
    attempt: ActivityEnvironment,
    abilities: dict[str, bool],
    purpose: str,
    status: str,
    messages: int,
) -> None:
    house.outside = Recording.on("email", **abilities)
    house.outside.lose_answer()
    try:
        delivery = await attempt.run(house.deliver.deliver, house.touch(purpose=purpose))
    except ApplicationError as no_answer:
        assert no_answer.type == "Unknown"
        delivery = await attempt.run(house.deliver.deliver, house.touch(purpose=purpose))
    assert delivery.status == status
    assert (await house.the_touch()).status == status
    assert len(house.outside.delivered) == messages
    assert [line["status"] for line in await house.told("touch")] == [status]


async def test_a_call_that_never_reached_anybody_is_made_again_where_that_is_known(
    house: House, attempt: ActivityEnvironment
) -> None:
    house.outside.fail(Unknown("recording", "connection reset"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.deliver.deliver, house.touch())
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.outside.delivered) == 1


# The worker dies between claim and answer; whether it had called is not known: (abilities, purpose, had called, ...)
CRASHES = {
    "look-up, had called": (LOOK_UP, "promotional", True, "sent", 1),
    "look-up, had not": (LOOK_UP, "promotional", False, "sent", 1),
    "idempotent, had called": (IDEMPOTENT, "promotional", True, "sent", 1),
    "idempotent, had not": (IDEMPOTENT, "promotional", False, "sent", 1),
    "neither, had called": (NEITHER, "promotional", True, "unknown", 1),
    "neither, had not": (NEITHER, "promotional", False, "unknown", 0),
    "neither, transactional, had called": (NEITHER, "transactional", True, "sent", 2),
    "neither, transactional, had not": (NEITHER, "transactional", False, "sent", 1),
}


@pytest.mark.parametrize(("abilities", "purpose", "called", "status", "messages"), CRASHES.values(), ids=CRASHES)
async def test_a_crash_between_claim_and_answer(
    house: House,
    attempt: ActivityEnvironment,
    abilities: dict[str, bool],
    purpose: str,
    called: bool,
    status: str,
    messages: int,
) -> None:
    house.outside = Recording.on("email", **abilities)
    request = house.touch(purpose=purpose)
    await house.claim(request)
    if called:
        facts = (await house.deliver._claim(request, MORNING)).facts
        await house.outside.send(house.deliver._message(request, facts, house.deliver._render(request, facts)))
    delivery = await attempt.run(house.deliver.deliver, request)
    assert delivery.status == status
    assert len(house.outside.delivered) == messages
    assert [line["status"] for line in await house.told("touch")] == [status]
    again = await attempt.run(house.deliver.deliver, request)
    assert again.status == status
    assert len(house.outside.delivered) == messages


async def test_a_crash_and_then_an_exit_sends_nothing_and_says_so(house: House, attempt: ActivityEnvironment) -> None:
    await house.claim(house.touch())
    await house.tell("meeting.booked")
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("unknown", "exited")
    assert not house.calls(Sent)
    assert [(line["status"], line["reason"]) for line in await house.told("touch")] == [("unknown", "exited")]


async def test_a_look_up_that_fails_is_tried_again(house: House, attempt: ActivityEnvironment) -> None:
    await house.claim(house.touch())
    house.outside.fail(TryAgain("recording", "503"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.deliver.deliver, house.touch())
    assert (await house.the_touch()).status == "claimed"
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert [type(call) for call in house.outside.calls] == [LookedUp, LookedUp, Sent]


async def test_the_time_is_the_runs_whatever_the_clock_and_the_retries(house: House, frozen: None) -> None:
    attempt = ActivityEnvironment()
    waited = timedelta(seconds=10)
    attempt.info = replace(attempt.info, started_time=attempt.info.scheduled_time + waited, attempt=3)
    fast = replace(house.deliver, clock=Clock(rate=3600))
    await attempt.run(fast.deliver, house.touch())
    assert (await house.the_touch()).claimed_at == MORNING + timedelta(hours=10)


async def test_lines_are_written_once_however_often_they_are_told(house: House, attempt: ActivityEnvironment) -> None:
    lines = (ask.Line(1, MORNING, "stage", "greet"), ask.Line(2, MORNING, "wait", "greet", MORNING))
    for _ in range(2):
        await attempt.run(house.deliver.deliver, house.touch(lines=lines))
    assert [line["kind"] for line in await house.told("stage", "wait")] == ["stage", "wait"]
