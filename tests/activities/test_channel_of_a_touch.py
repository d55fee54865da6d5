"""A touch that may go out on several channels goes out on one, whatever goes wrong on the way."""

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from activities.deliver import Deliver
from connectors.errors import NeverAgain, TryAgain, Unknown
from connectors.recording import Recording
from contacts import tables
from tests.activities.conftest import MORNING, House

MEETING = {"meeting": {"starts_at": "2030-03-05T14:00:00Z"}}

Senders = Mapping[str, Recording]


@pytest.fixture
def senders() -> Senders:
    return {"email": Recording.on("email", idempotent=True), "sms": Recording.on("sms", idempotent=True)}


@pytest.fixture
async def reachable(house: House) -> None:
    """By text too."""
    await house.tell("contact.updated", phone="+4930901820")
    await house.tell("consent.granted", channel="sms", purpose="lifecycle", evidence="form")


def reminder(house: House, *, channel: str | None = None, minutes: int = 0, n: int = 1) -> ask.DeliverRequest:
    return house.touch(
        "meeting_reminder",
        channel=channel,
        purpose="lifecycle",
        context=MEETING,
        at=MORNING + timedelta(minutes=minutes),
        key=f"{house.run.run_id}/remind/{n}",
    )


def through(house: House, senders: Senders) -> Deliver:
    return replace(house.deliver, senders=senders)


def delivered(senders: Senders) -> list[str]:
    """The channels that messages went out on."""
    return [channel for channel, sender in senders.items() if sender.delivered]


async def test_a_run_that_names_no_channel_gets_the_best(
    house: House, attempt: ActivityEnvironment, reachable: None, senders: Senders
) -> None:
    delivery = await attempt.run(through(house, senders).deliver, reminder(house))
    assert delivery.status == "sent"
    [text] = senders["sms"].delivered
    assert text.to == "+4930901820"
    assert text.html is None
    assert not senders["email"].calls
    touch = await house.the_touch()
    assert (touch.channel, touch.body) == ("sms", text.text)


async def test_without_a_number_the_best_is_another(
    house: House, attempt: ActivityEnvironment, senders: Senders
) -> None:
    await attempt.run(through(house, senders).deliver, reminder(house))
    [mail] = senders["email"].delivered
    assert mail.to == "alice@example.com"
    assert mail.html is not None
    [decision] = await house.rows(tables.decisions)
    assert decision.inputs["choice"] == {"channel": "email", "because": "role", "passed_over": {"sms": "no_consent"}}


async def test_a_channel_without_a_sender_is_no_candidate(
    house: House, attempt: ActivityEnvironment, reachable: None, senders: Senders
) -> None:
    only_mail = {"email": senders["email"]}
    await attempt.run(through(house, only_mail).deliver, reminder(house))
    assert delivered(senders) == ["email"]
    [decision] = await house.rows(tables.decisions)
    assert decision.inputs["choice"]["because"] == "only"
    with pytest.raises(ApplicationError, match="no connector sends on email or sms"):
        await attempt.run(through(house, {}).deliver, reminder(house, n=2))


async def test_a_run_may_name_the_channel(
    house: House, attempt: ActivityEnvironment, reachable: None, senders: Senders
) -> None:
    await attempt.run(through(house, senders).deliver, reminder(house, channel="email"))
    assert delivered(senders) == ["email"]
    [decision] = await house.rows(tables.decisions)
    assert "choice" not in decision.inputs, "there was none"


async def test_a_channel_the_message_is_not_written_for_sends_nothing(
    house: House, attempt: ActivityEnvironment, reachable: None, senders: Senders
) -> None:
    with pytest.raises(ApplicationError, match="welcome: there is no version for sms"):
        await attempt.run(through(house, senders).deliver, house.touch(channel="sms", purpose="lifecycle"))
    assert delivered(senders) == []
    assert (await house.the_touch()).status == "waiting"


async def test_a_claim_outlives_the_connector_of_its_channel(
    house: House, attempt: ActivityEnvironment, reachable: None, senders: Senders
) -> None:
    """The text may have gone out: that nobody can say is no reason to send a mail."""
    senders["sms"].fail(Unknown("recording", "connection reset"))
    with pytest.raises(ApplicationError):
        await attempt.run(through(house, senders).deliver, reminder(house))
    with pytest.raises(ApplicationError, match="no connector sends on sms"):
        await attempt.run(through(house, {"email": senders["email"]}).deliver, reminder(house, minutes=1))
    assert delivered(senders) == []


async def test_no_echo_after_an_answer_that_was_lost(
    house: House, attempt: ActivityEnvironment, reachable: None, senders: Senders
) -> None:
    """The text arrives, its answer does not; then the provider is busy; then the contact says that mail suits them
    better.
    """
    act = through(house, senders)
    senders["sms"].lose_answer()
    senders["sms"].fail(TryAgain("recording", "429"))
    for minutes in (0, 1):
        with pytest.raises(ApplicationError):
            await attempt.run(act.deliver, reminder(house, minutes=minutes))
    await house.tell("contact.updated", at=MORNING + timedelta(minutes=2), preferred_channel="email")
    assert (await attempt.run(act.deliver, reminder(house, minutes=3))).status == "sent"
    assert delivered(senders) == ["sms"]


@pytest.mark.parametrize("seed", range(12))
async def test_one_touch_one_channel_whatever_happens(
    house: House, attempt: ActivityEnvironment, reachable: None, senders: Senders, seed: int
) -> None:
    """Calls fail in every way, wishes and consents come and go, and the activity is asked until it has an answer."""
    dice = random.Random(seed)
    act = through(house, senders)
    delivery: ask.Delivery | None = None
    for minutes in range(1, 40, 2):
        moment = MORNING + timedelta(minutes=minutes)
        if dice.random() < 0.5:
            await house.tell("contact.updated", at=moment, preferred_channel=dice.choice(["email", "sms"]))
        if dice.random() < 0.3:
            word = dice.choice(["consent.granted", "consent.withdrawn"])
            await house.tell(word, at=moment, channel=dice.choice(["email", "sms"]), purpose="lifecycle")
        for sender in senders.values():
            sender._upcoming.clear()
            match dice.randrange(5):
                case 0:
                    sender.lose_answer()
                case 1:
                    sender.fail(Unknown("recording", "connection reset"))
                case 2 | 3:
                    sender.fail(TryAgain("recording", "503"))
                case 4 if dice.random() < 0.2:
                    sender.fail(NeverAgain("recording", "refused"))
        try:
            delivery = await attempt.run(act.deliver, reminder(house, minutes=minutes))
        except ApplicationError:
            continue
    assert delivery is not None
    assert len(delivered(senders)) <= 1
    touch = await house.the_touch()
    assert touch.status == delivery.status
    if delivered(senders):
        assert delivered(senders) == [touch.channel]
    channels = {d.inputs["choice"]["channel"] for d in await house.rows(tables.decisions) if d.verdict == "send"}
    assert len(channels) <= 1


@pytest.mark.parametrize("channel", ["sms", None])
def test_a_request_of_an_old_history_still_decodes(house: House, channel: str | None) -> None:
    converter = pydantic_data_converter.payload_converter
    request = reminder(house, channel=channel)
    assert converter.from_payload(converter.to_payload(request), ask.DeliverRequest) == request
