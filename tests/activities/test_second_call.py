"""A touch that may have been called for already: what has been said since decides on a second call."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.deliver import KEYS_LAST
from connectors.base import Accepted
from connectors.errors import BadAddress, NeverAgain, TryAgain, Unknown
from connectors.recording import LookedUp, Recording, Sent
from contacts import tables
from tests.activities.conftest import MORNING, House

LOOK_UP = {"idempotent": False, "listed_within": timedelta(0)}
KEYED = {"idempotent": True, "listed_within": None}
BOTH = {"idempotent": True, "listed_within": timedelta(0)}
NEITHER = {"idempotent": False, "listed_within": None}


async def answers(house: House) -> list[tuple[str, str | None]]:
    return [(row.verdict, row.reason) for row in await house.rows(tables.decisions)]


async def lost(house: House, attempt: ActivityEnvironment, *, taken: bool, **changes: Any) -> None:
    """A first call without an answer."""
    house.outside.lose_answer() if taken else house.outside.fail(Unknown("recording", "timed out"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.deliver.deliver, house.touch(**changes))
    assert (await house.the_touch()).status == "claimed"


async def test_under_a_hold_what_was_not_taken_waits_like_any_other(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", **LOOK_UP)
    await lost(house, attempt, taken=False)
    await house.tell("ticket.opened", ticket_id="4711")
    await house.wait(30)
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.hold) == ("waiting", "ticket:4711")
    touch = await house.the_touch()
    assert (touch.status, touch.hold, touch.claimed_at) == ("waiting", "ticket:4711", None)
    await house.tell("ticket.solved", ticket_id="4711")
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.outside.delivered) == 1


async def test_under_a_hold_what_was_taken_is_sent_all_the_same(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", **LOOK_UP)
    await lost(house, attempt, taken=True)
    await house.tell("ticket.opened", ticket_id="4711")
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.outside.delivered) == 1


@pytest.mark.parametrize("taken", [True, False])
async def test_under_a_hold_no_call_is_repeated(house: House, attempt: ActivityEnvironment, taken: bool) -> None:
    house.outside = Recording.on("email", **KEYED)
    await lost(house, attempt, taken=taken)
    await house.tell("ticket.opened", ticket_id="4711")
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason, delivery.hold) == ("waiting", "hold_ticket", "ticket:4711")
    assert delivery.until is not None and delivery.until > MORNING
    assert (await house.the_touch()).status == "claimed", "its slot is taken: it may have gone out"
    assert len(house.calls(Sent)) == 1
    assert await answers(house) == [("send", None), ("wait", "hold_ticket")]
    await house.tell("ticket.solved", ticket_id="4711")
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"
    assert len(house.outside.delivered) == 1


async def test_a_hold_that_outlasts_the_key_leaves_it_unknown(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", **KEYED)
    await lost(house, attempt, taken=True)
    await house.tell("ticket.opened", ticket_id="4711")
    await house.wait(KEYS_LAST.total_seconds())
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("unknown", "hold_ticket")
    assert len(house.calls(Sent)) == 1


async def test_at_night_not_even_a_transactional_call_is_repeated(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", **NEITHER)
    hours = house.policy.quiet_hours[0].model_copy(update={"purposes": ("transactional",), "channels": ("email",)})
    house.policy = house.policy.model_copy(update={"quiet_hours": (hours,)})
    await lost(house, attempt, taken=False, purpose="transactional")
    night = MORNING.replace(hour=22)
    delivery = await attempt.run(house.deliver.deliver, house.touch(purpose="transactional", at=night))
    assert (delivery.status, delivery.reason) == ("waiting", "quiet_hours")
    morning = MORNING + timedelta(days=1)
    again = await attempt.run(house.deliver.deliver, house.touch(purpose="transactional", at=morning))
    assert (again.status, len(house.outside.delivered)) == ("sent", 1)


class ListensMeanwhile(Recording):
    """While it is asked, the contact opts out."""

    house: House

    async def look_up(self, key: str) -> Accepted | None:
        await self.house.tell("consent.withdrawn", channel="email", purpose="promotional")
        return await super().look_up(key)


async def test_an_opt_out_during_the_look_up_is_heard(house: House, attempt: ActivityEnvironment) -> None:
    listens = ListensMeanwhile.on("email", **LOOK_UP)
    listens.house = house
    house.outside = listens
    await lost(house, attempt, taken=False)
    await house.wait(30)
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("dropped", "consent_withdrawn")
    assert len(house.calls(Sent)) == 1
    assert listens.delivered == []


@pytest.mark.parametrize(
    ("abilities", "calls", "status"),
    [(LOOK_UP, [Sent, LookedUp], "dropped"), (KEYED, [Sent], "unknown"), (BOTH, [Sent], "unknown")],
)
async def test_after_an_exit_a_touch_is_dropped_where_that_is_known_and_else_unknown(
    house: House, attempt: ActivityEnvironment, abilities: dict[str, Any], calls: list[type], status: str
) -> None:
    house.outside = Recording.on("email", **abilities)
    await lost(house, attempt, taken=False)
    await house.tell("meeting.booked")
    await house.wait(30)
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == (status, "exited")
    assert [type(call) for call in house.outside.calls] == calls
    assert (await answers(house))[-1] == ("drop", "exited")


@pytest.mark.parametrize(
    ("error", "exits"), [(NeverAgain("recording", "401"), False), (TryAgain("recording", "503"), True)]
)
async def test_where_nobody_can_say_it_is_unknown_and_nothing_is_asked_for_ever(
    house: House, attempt: ActivityEnvironment, error: TryAgain | NeverAgain, exits: bool
) -> None:
    house.outside = Recording.on("email", **LOOK_UP)
    await lost(house, attempt, taken=False)
    if exits:
        await house.tell("meeting.booked")
    house.outside.fail(error)
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("unknown", "exited" if exits else "401")


@pytest.mark.parametrize("refusal", [NeverAgain("recording", "401"), BadAddress("recording", "550")])
async def test_a_refusal_of_the_second_call_says_nothing_of_the_first(
    house: House, attempt: ActivityEnvironment, refusal: NeverAgain
) -> None:
    house.outside = Recording.on("email", **KEYED)
    await lost(house, attempt, taken=True)
    house.outside.fail(refusal)
    delivery = await attempt.run(house.deliver.deliver, house.touch())
    assert (delivery.status, delivery.reason) == ("unknown", refusal.reason)


async def test_a_key_is_as_old_as_its_first_call(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", **KEYED)
    await lost(house, attempt, taken=True)
    await house.wait(KEYS_LAST.total_seconds() - 60)
    house.outside.fail(Unknown("recording", "timed out"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.deliver.deliver, house.touch())
    await house.wait(60)
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "unknown"


async def test_a_list_is_not_believed_while_a_repeat_may_be_on_its_way(
    house: House, attempt: ActivityEnvironment
) -> None:
    house.outside = Recording.on("email", **BOTH)
    await lost(house, attempt, taken=False)
    await house.wait(KEYS_LAST.total_seconds() + 20)
    with pytest.raises(ApplicationError, match="on its way"):
        await attempt.run(house.deliver.deliver, house.touch())
    await house.wait(10)
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "sent"


# What is kept of it


async def test_what_was_perhaps_read_is_kept(house: House, attempt: ActivityEnvironment) -> None:
    house.outside = Recording.on("email", **NEITHER)
    house.outside.fail(Unknown("recording", "timed out", request_id="r-1"))
    assert (await attempt.run(house.deliver.deliver, house.touch())).status == "unknown"
    touch = await house.the_touch()
    assert touch.subject and "Alice" in touch.body and touch.template_hash
    assert (touch.reason, touch.request_id) == ("timed out", "r-1")
    [line] = await house.told("touch")
    assert line["subject"] == touch.subject


async def test_a_message_found_by_a_look_up_is_the_one_that_was_sent(
    house: House, attempt: ActivityEnvironment
) -> None:
    house.outside = Recording.on("email", **LOOK_UP)
    await lost(house, attempt, taken=True)
    assert (await house.the_touch()).reason == "the answer was lost"
    await house.tell("contact.updated", at=MORNING + timedelta(minutes=1), first_name="Alix")
    await attempt.run(house.deliver.deliver, house.touch())
    touch, [message] = await house.the_touch(), house.outside.delivered
    assert (touch.status, touch.reason, touch.body) == ("sent", None, message.text)


async def test_why_a_touch_still_waits_is_kept(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(TryAgain("recording", "429"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.deliver.deliver, house.touch())
    touch = await house.the_touch()
    assert (touch.status, touch.reason, touch.claimed_at) == ("waiting", "429", None)
