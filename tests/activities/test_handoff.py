"""Giving a contact to a person: told once, whatever fails on the way."""

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.recording import Alerted, Noted, Tasked, Upserted
from contacts import tables
from tests.activities.conftest import MORNING, House

ID = "7d7c2bbc-26bb-4bbd-b1b2-1be0a1a5a4a4"
VISIT = MORNING - timedelta(minutes=10)


def asked(house: House) -> ask.HandOffRequest:
    return ask.HandOffRequest(house.run, ID, "Looked at the prices twice.", VISIT)


async def test_tells_the_crm_and_the_owner(house: House, attempt: ActivityEnvironment, frozen: None) -> None:
    done = await attempt.run(house.hand_off.hand_off, asked(house))
    assert done == ask.HandOffDone("sales", VISIT + timedelta(minutes=60), 3600.0, 2)
    assert [type(call) for call in house.outside.calls] == [Upserted, Noted, Tasked, Alerted]
    [task], [note], [alert] = house.calls(Tasked), house.calls(Noted), house.calls(Alerted)
    assert (task.task.due, task.task.owner) == (VISIT + timedelta(minutes=60), "sales")
    assert "resource.downloaded (seo-guide, seo)" in note.body
    assert "Alice <alice@example.com>: Looked at the prices twice." in alert.body
    [row] = await house.rows(tables.handoffs)
    assert (row.told_at, row.tell_by) == (MORNING, VISIT + timedelta(minutes=30))
    assert row.crm_task_id and row.alert_id
    [line] = await house.told("handoff")
    assert (line["told_after_seconds"], line["in_time"]) == (600, True)


async def test_a_number_without_its_country_is_there_for_the_person_who_calls(
    house: House, attempt: ActivityEnvironment
) -> None:
    await house.tell("contact.updated", phone="030 901820")
    await attempt.run(house.hand_off.hand_off, asked(house))
    [upserted] = house.calls(Upserted)
    assert upserted.person.phone == "030 901820"


async def test_told_late_says_so(house: House, attempt: ActivityEnvironment, frozen: None) -> None:
    late = replace(asked(house), because_at=MORNING - timedelta(minutes=31))
    await attempt.run(house.hand_off.hand_off, late)
    [line] = await house.told("handoff")
    assert (line["told_after_seconds"], line["in_time"]) == (31 * 60, False)


async def test_promotion_rests_from_the_start(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(TryAgain("recording", "503"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.hand_off.hand_off, asked(house))
    [hold] = await house.told("hold")
    assert hold["reason"] == f"handoff:{ID}"


STEPS = ("upsert", "note", "task", "alert")
FAILURES = (TryAgain("recording", "503"), NeverAgain("recording", "400"), Unknown("recording", "timeout"), None)


@pytest.mark.parametrize("failure", FAILURES, ids=("try again", "never again", "unknown", "answer lost"))
@pytest.mark.parametrize("step", range(4), ids=STEPS)
async def test_a_failure_at_any_step_and_a_repeat_make_one_of_each(
    house: House, attempt: ActivityEnvironment, step: int, failure: ConnectorError | None
) -> None:
    house.outside.after(step, failure)
    with pytest.raises(ApplicationError) as failed:
        await attempt.run(house.hand_off.hand_off, asked(house))
    assert not failed.value.non_retryable
    for _ in range(2):
        await attempt.run(house.hand_off.hand_off, asked(house))
    assert len({call.task.key for call in house.calls(Tasked)}) == 1
    assert len({call.key for call in house.calls(Noted)}) == 1
    assert len({call.key for call in house.calls(Alerted)}) == 1
    # Only what failed, and in the CRM what came before it, is asked for again.
    assert len(house.calls(Alerted)) == (2 if step == 3 else 1)
    assert len(house.calls(Tasked)) == (2 if step == 2 else 1)
    assert len(await house.told("handoff")) == 1
    assert len(await house.rows(tables.handoffs)) == 1


async def test_the_providers_own_delay_is_kept(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(TryAgain("recording", "429", delay=timedelta(seconds=9)))
    with pytest.raises(ApplicationError) as failed:
        await attempt.run(house.hand_off.hand_off, asked(house))
    assert failed.value.next_retry_delay == timedelta(seconds=9)


async def test_without_an_address_the_owner_is_told_all_the_same(house: House, attempt: ActivityEnvironment) -> None:
    nobody = await house.tell_stranger("page.viewed", page="pricing")
    request = replace(asked(house), run=replace(house.run, contact_id=nobody))
    await attempt.run(house.hand_off.hand_off, request)
    assert [type(call) for call in house.outside.calls] == [Alerted]


async def test_reminders_and_then_a_review(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(house.hand_off.hand_off, asked(house))
    first, last = (ask.RemindRequest(house.run, ID, n, last=n == 2) for n in (1, 2))
    for _ in range(2):
        await attempt.run(house.hand_off.remind, first)
    assert [line["reminder"] for line in await house.told("escalate")] == [1]
    assert not await house.rows(tables.reviews)
    for _ in range(2):
        await attempt.run(house.hand_off.remind, last)
    assert {call.key for call in house.calls(Alerted)} == {ID, f"{ID}/reminder/1"}
    [review] = await house.rows(tables.reviews)
    assert review.reason == "nobody took the hand-off: Looked at the prices twice."
    assert len(await house.told("review")) == 1


@pytest.mark.parametrize(("said", "by"), [({}, []), ({"rep": ""}, []), ({"rep": "Mia"}, ["Mia"])])
async def test_a_contact_who_merely_writes_holds_promotion_and_is_no_answer(
    house: House, attempt: ActivityEnvironment, said: dict[str, str], by: list[str]
) -> None:
    await attempt.run(house.hand_off.hand_off, asked(house))
    await house.tell("conversation.started", conversation_id="c-1", **said)
    assert [line["by"] for line in await house.told("ack")] == by
    assert "conversation:c-1" in [line["reason"] for line in await house.told("hold")]


async def test_acknowledged_once(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(house.hand_off.hand_off, asked(house))
    later = replace(house.run, now=MORNING + timedelta(minutes=5))
    for _ in range(2):
        await attempt.run(house.hand_off.acknowledge, ask.AcknowledgeRequest(later, ID, "Mia"))
    [row] = await house.rows(tables.handoffs)
    assert (row.acknowledged_by, row.acknowledged_at) == ("Mia", MORNING + timedelta(minutes=5))
    [line] = await house.told("ack")
    assert (line["by"], line["after_seconds"], line["in_time"]) == ("Mia", 15 * 60, True)
