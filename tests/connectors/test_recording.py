from datetime import UTC, datetime

import pytest

from connectors.base import Alert, Crm, Message, Person, Sender, Task
from connectors.errors import BadAddress, NeverAgain, TryAgain, Unknown
from connectors.recording import Alerted, LookedUp, Noted, Recording, Sent, Tasked, Upserted

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MESSAGE = Message("k1", "alice@example.com", "Hello", "Hello")
PERSON = Person("alice@example.com")


async def test_it_stands_in_for_every_ability():
    recording = Recording()
    assert isinstance(recording, Sender)
    assert isinstance(recording, Crm)
    assert isinstance(recording, Alert)


async def test_calls_are_kept_in_order():
    recording = Recording()
    await recording.send(MESSAGE)
    crm_id = await recording.upsert(PERSON)
    task = Task("t", "Call", "Call Alice", NOW)
    await recording.task(crm_id, task)
    await recording.note(crm_id, "n", "She visited pricing", NOW)
    await recording.alert("a", "Hot", "Call her", "https://crm.example.com/1")
    await recording.look_up("k1")
    assert recording.calls == [
        Sent(MESSAGE),
        Upserted(PERSON),
        Tasked(crm_id, task),
        Noted(crm_id, "n", "She visited pricing", NOW),
        Alerted("a", "Hot", "Call her", "https://crm.example.com/1"),
        LookedUp("k1"),
    ]
    assert recording.delivered == [MESSAGE]


async def test_without_idempotency_the_same_key_goes_out_twice():
    recording = Recording()
    await recording.send(MESSAGE)
    await recording.send(MESSAGE)
    assert recording.delivered == [MESSAGE, MESSAGE]


async def test_with_idempotency_once():
    recording = Recording.on("sms", idempotent=True)
    assert recording.channel == "sms"
    assert await recording.send(MESSAGE) == await recording.send(MESSAGE)
    assert recording.delivered == [MESSAGE]
    assert Recording.channel == "email", "the stand-in for one channel leaves the others as they are"


@pytest.mark.parametrize("kind", [TryAgain, NeverAgain, BadAddress, Unknown])
async def test_a_planned_failure_does_nothing(kind):
    recording = Recording()
    recording.fail(kind("smtp", "planned"))
    with pytest.raises(kind, match="planned"):
        await recording.send(MESSAGE)
    assert recording.delivered == []
    assert await recording.look_up("k1") is None
    assert await recording.send(MESSAGE)


async def test_failures_come_in_the_order_planned_and_hit_any_call():
    recording = Recording()
    recording.fail(TryAgain("hubspot", "first"), NeverAgain("slack", "second"))
    with pytest.raises(TryAgain):
        await recording.upsert(PERSON)
    with pytest.raises(NeverAgain):
        await recording.alert("a", "Hot", "Call her")
    assert await recording.upsert(PERSON)


async def test_a_lost_answer_leaves_the_message_delivered_and_a_look_up_tells():
    recording = Recording()
    recording.lose_answer()
    with pytest.raises(Unknown):
        await recording.send(MESSAGE)
    assert recording.delivered == [MESSAGE]
    assert await recording.look_up("k1") is not None


async def test_a_sender_that_cannot_be_asked_says_so():
    with pytest.raises(NeverAgain):
        await Recording.on("email", listed_within=None).look_up("k1")


async def test_ids_are_stable_by_person_and_by_key():
    recording = Recording()
    alice = await recording.upsert(PERSON)
    assert await recording.upsert(Person("Alice@example.com")) == alice
    assert await recording.upsert(Person("bob@example.com")) != alice
    first = await recording.note(alice, "n", "body", NOW)
    assert await recording.note(alice, "n", "body", NOW) == first
    assert await recording.task(alice, Task("n", "t", "b", NOW)) != first
