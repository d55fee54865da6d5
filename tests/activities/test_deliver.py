"""One touch: what becomes of it, and that it becomes so at most once."""

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from activities.deliver import LOOK_AGAIN
from connectors.errands import Errands
from connectors.errors import BadAddress, NeverAgain, OptedOut, TryAgain, Unknown
from connectors.postal import address_in
from connectors.recording import Alerted, LookedUp, Recording, Sent, Tasked
from contacts import pauses, tables
from contacts.claims import Gate
from contacts.clock import Clock
from contacts.gate import Pause
from tests.activities.conftest import MORNING, House

NEITHER = {"idempotent": False, "listed_within": None}
LOOK_UP = {"idempotent": False, "listed_within": timedelta(0)}
IDEMPOTENT = {"idempotent": True, "listed_within": None}


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


@pytest.mark.parametrize(
    ("channel", "template", "words"),
    [
        ("note", "note_contract_signed", "Dear Alice"),
        ("note", "note_milestone", "well done"),
        ("note", "note_help_received", "Thank you for telling us what was wrong"),
        ("gift", "gift_first_value", "Ask first whether they may accept presents at work"),
        ("gift", "gift_anniversary", "Thank you for staying"),
        ("mail", "letter_thank_you", "It is to thank you"),
        ("call", "call_at_risk", "No discount"),
    ],
)
async def test_what_a_person_does_becomes_a_task_with_a_day_and_the_words(
    house: House, attempt: ActivityEnvironment, channel: str, template: str, words: str
) -> None:
    deliver = replace(house.deliver, senders={channel: Errands(house.outside)})
    request = house.touch(template, channel=channel, purpose="lifecycle")
    assert (await attempt.run(deliver.deliver, request)).status == "sent"
    [asked] = house.calls(Tasked)
    assert asked.task.key == request.key
    assert asked.task.due == MORNING + timedelta(days=1)
    assert "Alice" in asked.task.title + asked.task.body
    assert words in " ".join(asked.task.body.split())


async def test_one_present_or_card_a_week(house: House, attempt: ActivityEnvironment, frozen: None) -> None:
    deliver = replace(house.deliver, senders={c: Errands(house.outside) for c in ("note", "gift")})
    card = house.touch("note_milestone", channel="note", purpose="lifecycle")
    gift = replace(house.touch("gift_first_value", channel="gift", purpose="lifecycle"), key="another")
    assert (await attempt.run(deliver.deliver, card)).status == "sent"
    later = await attempt.run(deliver.deliver, gift)
    assert (later.status, later.reason, later.until) == ("waiting", "frequency_cap", MORNING + timedelta(days=7))


async def test_is_about_what_the_contact_named(house: House, attempt: ActivityEnvironment) -> None:
    later = MORNING + timedelta(hours=1)
    await house.tell("contact.updated", at=later, topics=["checkout"])
    await attempt.run(house.deliver.deliver, house.touch("welcome_second", at=later))
    [message] = house.outside.delivered
    assert "checkout" in message.text
    assert "search" not in message.text


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


async def test_who_has_opted_out_there_is_not_written_to_until_they_ask_for_it(
    house: House, attempt: ActivityEnvironment
) -> None:
    house.outside.fail(OptedOut("recording", "400 21610"))
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "failed"
    [word] = [row for row in await house.rows(tables.events) if row.type == "consent.withdrawn"]
    assert word.data["evidence"] == "recording: 400 21610"
    later = MORNING + timedelta(days=3)
    second = house.touch("welcome_second", key=f"{house.run.run_id}/deepen/2", at=later)
    delivery = await attempt.run(house.deliver.deliver, second)
    assert (delivery.status, delivery.reason) == ("dropped", "consent_withdrawn")
    await house.tell("consent.granted", at=later, channel="email", evidence="START")
    third = house.touch("welcome_second", key=f"{house.run.run_id}/deepen/3", at=later)
    assert (await attempt.run(house.deliver.deliver, third)).status == "sent"


async def test_a_consent_does_not_bring_a_dead_address_back(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(BadAddress("recording", "no such mailbox"))
    await attempt.run(house.deliver.deliver, house.touch())
    later = MORNING + timedelta(days=3)
    await house.tell("consent.granted", at=later, channel="email", evidence="a form")
    second = house.touch("welcome_second", key=f"{house.run.run_id}/deepen/2", at=later)
    delivery = await attempt.run(house.deliver.deliver, second)
    assert (delivery.status, delivery.reason) == ("dropped", "suppressed")


PLACE = {"line1": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}


@pytest.mark.parametrize(("channel", "template"), [("gift", "gift_first_value"), ("mail", "letter_thank_you")])
async def test_what_goes_by_post_says_where_to(
    house: House, attempt: ActivityEnvironment, channel: str, template: str
) -> None:
    await house.tell("contact.updated", last_name="Ash", phone="+49 30 901820", postal_address=PLACE)
    parcels = Recording.on(channel, idempotent=True)
    deliver = replace(house.deliver, senders={channel: parcels})
    await attempt.run(deliver.deliver, house.touch(template, channel=channel, purpose="lifecycle"))
    [message] = parcels.delivered
    assert message.metadata["name"] == "Alice Ash"
    to = address_in(message.metadata, "tests")
    assert (to.name, to.phone) == ("Alice Ash", "+4930901820")
    assert (to.line1, to.city, to.postal_code, to.country) == tuple(PLACE.values())


async def test_nothing_but_what_goes_by_post_says_where_somebody_lives(
    house: House, attempt: ActivityEnvironment
) -> None:
    await house.tell("contact.updated", postal_address={**PLACE, "name": "Alice in the office"})
    await attempt.run(house.deliver.deliver, house.touch())
    [message] = house.outside.delivered
    assert message.metadata.keys() == {"journey", "template", "due"}
    kept = [*await house.rows(tables.journal), *await house.rows(tables.dispatches)]
    assert "Hauptstr" not in str(kept)
    assert "Hauptstr" in str(await house.rows(tables.events))


async def test_settled_is_settled(house: House, attempt: ActivityEnvironment) -> None:
    for _ in range(3):
        assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.calls(Sent)) == 1
    assert len(await house.told("touch")) == 1


async def test_a_broken_template_gives_the_claim_back(house: House, attempt: ActivityEnvironment) -> None:
    with pytest.raises(ApplicationError, match="meeting") as broken:
        await attempt.run(house.deliver.deliver, house.touch("meeting_reminder", purpose="lifecycle"))
    assert not broken.value.non_retryable  # a new worker may bring a better template
    assert (await house.the_touch()).status == "waiting"
    assert not house.outside.calls


async def test_an_unknown_template_claims_nothing(house: House, attempt: ActivityEnvironment) -> None:
    with pytest.raises(ApplicationError, match="no_such_template") as unknown:
        await attempt.run(house.deliver.deliver, house.touch("no_such_template"))
    assert not unknown.value.non_retryable  # a new worker may bring the template
    assert not await house.rows(tables.touches)


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
    await house.wait(30)
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.outside.delivered) == 1


async def test_a_call_on_its_way_is_waited_for(house: House, attempt: ActivityEnvironment) -> None:
    request = house.touch()
    house.outside.fail(Unknown("recording", "timed out"))
    with pytest.raises(ApplicationError, match="timed out"):
        await attempt.run(house.deliver.deliver, request)
    await house.wait(28)
    with pytest.raises(ApplicationError, match="on its way") as early:
        await attempt.run(house.deliver.deliver, request)
    assert early.value.next_retry_delay is not None
    assert timedelta(0) < early.value.next_retry_delay <= timedelta(seconds=2)
    await house.wait(2)
    house.outside.after(1, Unknown("recording", "timed out"))
    with pytest.raises(ApplicationError, match="timed out"):
        await attempt.run(house.deliver.deliver, request)
    # A second call has begun, and with it a wait of its own.
    with pytest.raises(ApplicationError, match="on its way"):
        await attempt.run(house.deliver.deliver, request)
    await house.wait(30)
    assert house.outside.delivered == []
    assert (await attempt.run(house.deliver.deliver, request)).status == "sent"
    assert len(house.outside.delivered) == 1


HALF_AN_HOUR = timedelta(minutes=30)


async def test_a_list_is_believed_once_it_would_show_a_call_that_came_at_the_last_moment(
    house: House, attempt: ActivityEnvironment
) -> None:
    house.outside = Recording.on("email", listed_within=HALF_AN_HOUR)
    house.outside.fail(Unknown("recording", "timed out"))
    with pytest.raises(ApplicationError, match="timed out"):
        await attempt.run(house.deliver.deliver, house.touch())
    with pytest.raises(ApplicationError, match="not be listed yet") as early:
        await attempt.run(house.deliver.deliver, house.touch())
    assert (early.value.type, early.value.non_retryable) == ("Unknown", False)
    assert early.value.next_retry_delay == LOOK_AGAIN
    await house.wait(HALF_AN_HOUR.total_seconds() + 28)
    with pytest.raises(ApplicationError, match="not be listed yet") as late:
        await attempt.run(house.deliver.deliver, house.touch())
    assert late.value.next_retry_delay is not None
    assert timedelta(0) < late.value.next_retry_delay <= timedelta(seconds=2)
    assert (await house.the_touch()).status == "claimed"
    assert len(house.calls(Sent)) == 1
    await house.wait(2)
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.outside.delivered) == 1


async def test_what_is_listed_is_believed_at_once(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", listed_within=HALF_AN_HOUR)
    house.outside.lose_answer()
    with pytest.raises(ApplicationError, match="answer was lost"):
        await attempt.run(house.deliver.deliver, house.touch())
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.calls(Sent)) == 1


async def test_a_worker_that_never_asked_before_knows_how_old_the_call_is(
    house: House, attempt: ActivityEnvironment
) -> None:
    await house.claim(house.touch())
    await house.wait(HALF_AN_HOUR.total_seconds())
    house.outside = Recording.on("email", listed_within=HALF_AN_HOUR)
    with pytest.raises(ApplicationError, match="not be listed yet"):
        await attempt.run(house.deliver.deliver, house.touch())
    await house.wait(30)
    house.outside = Recording.on("email", listed_within=HALF_AN_HOUR)
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


class Died(Exception):
    """The worker, before it could write down what came of its call."""


async def died(*_: object, **__: object) -> None:
    raise Died


@pytest.mark.parametrize(("abilities", "purpose", "called", "status", "messages"), CRASHES.values(), ids=CRASHES)
async def test_a_crash_between_claim_and_answer(
    house: House,
    attempt: ActivityEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    abilities: dict[str, bool],
    purpose: str,
    called: bool,
    status: str,
    messages: int,
) -> None:
    house.outside = Recording.on("email", **abilities)
    request = house.touch(purpose=purpose)
    if called:
        with monkeypatch.context() as dying, pytest.raises(Died):
            dying.setattr(Gate, "settle", died)
            await attempt.run(house.deliver.deliver, request)
    else:
        await house.claim(request)
    await house.wait(30)
    delivery = await attempt.run(house.deliver.deliver, request)
    assert delivery.status == status
    assert len(house.outside.delivered) == messages
    assert [line["status"] for line in await house.told("touch")] == [status]
    again = await attempt.run(house.deliver.deliver, request)
    assert again.status == status
    assert len(house.outside.delivered) == messages


async def test_a_crash_and_then_an_exit_sends_nothing_and_says_so(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", **NEITHER)
    await house.claim(house.touch())
    await house.tell("meeting.booked")
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("unknown", "exited")
    assert not house.calls(Sent)
    assert [(line["status"], line["reason"]) for line in await house.told("touch")] == [("unknown", "exited")]


async def test_a_look_up_that_fails_is_tried_again(house: House, attempt: ActivityEnvironment) -> None:
    await house.claim(house.touch())
    await house.wait(30)
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


async def test_a_rush_is_told_to_a_person_once_and_again_if_that_failed(
    house: House, attempt: ActivityEnvironment
) -> None:
    class Deaf(Recording):
        async def alert(self, key: str, title: str, body: str, link: str | None = None) -> str:
            raise TryAgain("slack", "away")

    what = f"journey/{house.run.journey}"
    async with house.engine.begin() as conn:
        await pauses.trip(conn, Pause("journey", house.run.journey, "9 entries"), figures={}, now=MORNING)
    told = Recording()
    for listener in (Deaf(), told, told):
        delivery = await attempt.run(replace(house.deliver, alert=listener).deliver, house.touch())
        assert (delivery.status, delivery.hold) == ("waiting", f"pause:{what}")
    [alert] = [call for call in told.calls if isinstance(call, Alerted)]
    assert alert.title == f"Stopped: {what}"
    assert alert.body.startswith("9 entries. Its messages wait.")
