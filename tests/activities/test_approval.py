"""Asking a person for a yes: told once, answered once, and never too late."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.recording import Alerted
from contacts import approvals, handoffs, tables
from contacts.events import event, identities
from tests.activities.conftest import MORNING, House
from tests.contacts.support import somebody_waits

ID = "7d7c2bbc-26bb-4bbd-b1b2-1be0a1a5a4a4"
UNTIL = MORNING + timedelta(days=2)


def question(house: House) -> ask.ApprovalRequest:
    return ask.ApprovalRequest(house.run, ID, "a present", UNTIL, "customer success")


def settling(house: House, approved: bool | None = None, at: datetime = UNTIL) -> ask.SettleApprovalRequest:
    return ask.SettleApprovalRequest(replace(house.run, now=at), question(house), approved)


async def says(house: House, approved: bool, by: str = "Mia", *, at: datetime = MORNING, **data: Any) -> None:
    """Somebody answers."""
    await house.tell("approval.answered", at=at, **{"approval_id": ID, "approved": approved, "by": by, **data})


async def answer(house: House) -> tuple[bool | None, str | None]:
    """The answer in the approval's row."""
    [row] = [row for row in await house.rows(tables.approvals) if row.id == ID]
    return row.approved, row.answered_by


async def test_a_person_is_told(house: House, attempt: ActivityEnvironment, frozen: None) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    [alert] = house.outside.calls
    assert alert == Alerted(
        f"{ID}/approval",
        "For customer success: yes or no?",
        "Alice <alice@example.com>: a present. The journey welcome waits for a yes until 06 Mar 09:00 UTC; no answer "
        "is a no. At a command line: perennial approvals approve 7d7c2bbc --by you (or refuse).",
        f"https://hub.example.com/contacts/{house.run.contact_id}",
    )
    [row] = await house.rows(tables.approvals)
    assert (row.what, row.asked_at, row.until, row.told_at) == ("a present", MORNING, UNTIL, MORNING)
    assert row.alert_id
    [asked] = [e for e in await house.rows(tables.events) if e.type == "approval.asked"]
    assert (asked.source, asked.contact_id) == ("perennial", house.run.contact_id)
    assert asked.data == {
        "approval_id": ID,
        "what": "a present",
        "journey": "welcome",
        "owner": "customer success",
        "until": "2030-03-06T09:00:00+00:00",
    }


FAILURES = (TryAgain("recording", "503"), NeverAgain("recording", "400"), Unknown("recording", "timeout"), None)


@pytest.mark.parametrize("failure", FAILURES, ids=("try again", "never again", "unknown", "answer lost"))
async def test_a_failure_and_a_repeat_tell_once(
    house: House, attempt: ActivityEnvironment, failure: ConnectorError | None
) -> None:
    house.outside.after(0, failure)
    with pytest.raises(ApplicationError) as failed:
        await attempt.run(house.approval.ask_approval, question(house))
    assert not failed.value.non_retryable
    for _ in range(2):
        await attempt.run(house.approval.ask_approval, question(house))
    assert [call.key for call in house.calls(Alerted)] == [f"{ID}/approval"] * 2  # the one that failed, and another
    assert len(await house.rows(tables.approvals)) == 1
    assert len([e for e in await house.rows(tables.events) if e.type == "approval.asked"]) == 1


async def test_nobody_is_asked_what_has_been_answered(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.after(0, TryAgain("recording", "503"))
    with pytest.raises(ApplicationError):
        await attempt.run(house.approval.ask_approval, question(house))
    await says(house, True)
    await attempt.run(house.approval.ask_approval, question(house))
    assert len(house.calls(Alerted)) == 1  # the one that failed


async def test_nor_what_nobody_waits_for_any_more(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(house.approval.settle, settling(house))
    await attempt.run(house.approval.ask_approval, question(house))
    assert not house.calls(Alerted)


@pytest.mark.parametrize("said", [True, False])
async def test_the_first_answer_counts_and_the_journal_says_so_once(
    house: House, attempt: ActivityEnvironment, said: bool
) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    await says(house, said, "Mia", at=MORNING + timedelta(hours=1))
    await says(house, not said, "Noah", at=MORNING + timedelta(hours=1))
    await says(house, said, "Mia", at=MORNING + timedelta(hours=2))
    [row] = await house.rows(tables.approvals)
    assert (row.approved, row.answered_by, row.answered_at) == (said, "Mia", MORNING + timedelta(hours=1))
    [line] = await house.told("approval")
    assert line == {"kind": "approval", "approval_id": ID, "reason": "a present", "by": "Mia", "approved": said}
    for _ in range(2):
        settled = await attempt.run(house.approval.settle, settling(house))
        assert settled == ask.ApprovalSettled(said, "Mia")
    assert [row.closed_at for row in await house.rows(tables.approvals)] == [None]


async def test_an_answer_is_kept_with_its_alert_and_whether_it_counts(
    house: House, attempt: ActivityEnvironment
) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    await says(house, True, void=True, alert="another")
    await says(house, False, "Noah")
    [row] = await house.rows(tables.approvals)
    kept = [e.data for e in await house.rows(tables.events) if e.type == "approval.answered"]
    assert kept == [
        {"approval_id": ID, "approved": True, "by": "Mia", "alert": row.alert_id},
        {"approval_id": ID, "approved": False, "by": "Noah", "alert": row.alert_id, "void": True},
    ]


async def test_an_answer_before_the_alert_is_known_names_the_one_it_came_from(
    house: House, attempt: ActivityEnvironment
) -> None:
    house.outside.after(0, None)
    with pytest.raises(ApplicationError):
        await attempt.run(house.approval.ask_approval, question(house))
    await says(house, True, alert="C1/1.1")
    [kept] = [e.data for e in await house.rows(tables.events) if e.type == "approval.answered"]
    assert kept["alert"] == "C1/1.1"


@pytest.mark.parametrize(("late", "counts"), [(timedelta(0), True), (timedelta(seconds=1), False)])
async def test_an_answer_after_the_end_changes_nothing(
    house: House, attempt: ActivityEnvironment, late: timedelta, counts: bool
) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    await says(house, True, at=UNTIL + late)
    assert await answer(house) == ((True, "Mia") if counts else (None, None))
    assert len(await house.told("approval")) == counts


async def test_an_answer_after_the_run_went_on_changes_nothing(house: House, attempt: ActivityEnvironment) -> None:
    another = replace(question(house), approval_id="7d7c2bbc-0000-4000-8000-000000000000")
    for asked in (question(house), another):
        await attempt.run(house.approval.ask_approval, asked)
    assert await attempt.run(house.approval.settle, settling(house)) == ask.ApprovalSettled(False)
    await says(house, True)
    assert await answer(house) == (None, None)
    again = settling(house, at=UNTIL + timedelta(hours=1))
    assert await attempt.run(house.approval.settle, again) == ask.ApprovalSettled(False)
    closed = {row.id: row.closed_at for row in await house.rows(tables.approvals)}
    assert closed == {ID: UNTIL, another.approval_id: None}


async def test_a_run_that_goes_on_waits_for_an_answer_that_is_being_stored(
    house: House, attempt: ActivityEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it counts has been decided, and the run must not decide otherwise."""
    await attempt.run(house.approval.ask_approval, question(house))
    acknowledge, closing = handoffs.acknowledge, list[asyncio.Task[Any]]()

    async def close() -> Any:
        async with house.engine.begin() as conn:
            return await approvals.close(conn, ID, UNTIL)

    async def meanwhile(*args: Any) -> None:
        closing.append(asyncio.create_task(close()))
        waits = asyncio.create_task(somebody_waits(house.engine))
        await asyncio.wait({closing[0], waits}, return_when=asyncio.FIRST_COMPLETED)
        await acknowledge(*args)

    monkeypatch.setattr(handoffs, "acknowledge", meanwhile)
    await says(house, True)
    row = await closing[0]
    assert (row.approved, row.answered_by, row.closed_at) == (True, "Mia", None)


async def test_an_answer_after_the_run_has_ended_changes_nothing(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    await house.tell("meeting.booked")
    await says(house, True)
    assert await answer(house) == (None, None)
    assert not await house.told("approval")


async def test_an_answer_that_is_another_contacts_changes_nothing(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    await house.tell_stranger("approval.answered", approval_id=ID, approved=True, by="Mia")
    assert await answer(house) == (None, None)
    [kept] = [e.data for e in await house.rows(tables.events) if e.type == "approval.answered"]
    assert kept == {"approval_id": ID, "approved": True, "by": "Mia", "void": True}
    assert await attempt.run(house.approval.settle, settling(house)) == ask.ApprovalSettled(False)


@pytest.mark.parametrize("id", ["x", "0" * 8 + ID[8:], ID.upper()])
async def test_an_answer_to_what_nobody_asked_changes_nothing(
    house: House, attempt: ActivityEnvironment, id: str
) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    await says(house, True, approval_id=id)
    assert await answer(house) == (None, None)


async def test_an_approval_stays_with_a_contact_who_is_merged(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    # The other one was known before, so that is who they become.
    earlier = MORNING - timedelta(days=9)
    someone = identities(("user", "u-1"))
    came = event("custom.came", source="test", source_id="c", occurred_at=earlier, identities=someone)
    known = await house.intake.record(came, earlier)
    both = identities(("user", "u-1"), ("email", "alice@example.com"))
    merged = event("contact.merged", source="test", source_id="m", occurred_at=MORNING, identities=both)
    await house.intake.record(merged, MORNING)
    await says(house, True)
    [row] = await house.rows(tables.approvals)
    assert (row.contact_id, row.approved) == (known.contact_id, True)
    assert known.contact_id != house.run.contact_id


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("told", [True, False], ids=["told", "nobody told yet"])
async def test_an_answer_to_the_run_is_recorded_for_everybody(
    house: House, attempt: ActivityEnvironment, said: bool, told: bool
) -> None:
    if told:
        await attempt.run(house.approval.ask_approval, question(house))
    # The update came at the last moment, and the run took one to get here.
    late = settling(house, said, UNTIL + timedelta(seconds=1))
    for _ in range(2):
        assert await attempt.run(house.approval.settle, late) == ask.ApprovalSettled(said, "an operator")
    [event] = [e for e in await house.rows(tables.events) if e.type == "approval.answered"]
    assert (event.source, event.data["approved"], event.data.get("void")) == ("perennial", said, None)
    [line] = await house.told("approval")
    assert (line["by"], line["approved"]) == ("an operator", said)


async def test_what_was_recorded_first_counts_before_what_the_run_was_told(
    house: House, attempt: ActivityEnvironment
) -> None:
    await attempt.run(house.approval.ask_approval, question(house))
    await says(house, False)
    assert await attempt.run(house.approval.settle, settling(house, True)) == ask.ApprovalSettled(False, "Mia")
    assert len([e for e in await house.rows(tables.events) if e.type == "approval.answered"]) == 1


async def test_settling_writes_down_what_the_run_knows(house: House, attempt: ActivityEnvironment) -> None:
    line = ask.Line(7, MORNING, "wait", "greet", UNTIL, {"reason": "x"})
    await attempt.run(house.approval.settle, replace(settling(house), lines=(line,)))
    [told] = await house.told("wait")
    assert told["reason"] == "x"
    [run] = await house.rows(sa.select(tables.runs.c.stage, tables.runs.c.next_wake).subquery())
    assert (run.stage, run.next_wake) == ("greet", None)
