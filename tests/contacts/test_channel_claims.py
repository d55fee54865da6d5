"""One touch, one channel: chosen on the locked facts, anew while it waits, and for ever once it is claimed."""

import asyncio
from dataclasses import replace
from datetime import time
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contacts import store, tables
from contacts.channels import choose
from contacts.claims import Gate
from contacts.facts import Facts
from contacts.gate import Ask
from contacts.intake import Intake
from contacts.policy import Policy, QuietHours
from tests.contacts.support import a_run, an_ask, at, changed, claim, rows, somebody_waits, someone, told


@pytest.fixture
def gate(policy: Policy) -> Gate:
    """Without caps; nobody is texted before noon."""
    morning = QuietHours(channels=("sms",), purposes=("lifecycle",), start=time(0), end=time(12))
    return Gate(changed(policy, quiet_hours=(morning,), caps=()), "test")


@pytest.fixture
async def alice(intake: Intake) -> str:
    """Can be reached by mail and by text, and is in no journey."""
    contact_id = await someone(intake)
    await intake.remember(told("contact.updated", phone="+4930901820"), at())
    return contact_id


def reminder(hours: float = 0) -> Ask:
    return replace(an_ask("k", at(hours=hours), purpose="lifecycle"), channels=("email", "sms"), role="urgent")


async def take(engine: AsyncEngine, gate: Gate, ask: Ask, run_id: str, contact_id: str) -> Any:
    async with engine.begin() as conn:
        return await claim(gate, conn, ask, run_id, contact_id)


async def prefers(intake: Intake, channel: str, hours: float) -> None:
    await intake.remember(told("contact.updated", at(hours=hours), preferred_channel=channel), at(hours=hours))


async def the_touch(engine: AsyncEngine) -> Any:
    [touch] = await rows(engine, tables.touches)
    return touch


async def test_the_choice_is_kept_with_the_decision(
    engine: AsyncEngine, intake: Intake, gate: Gate, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    taken = await take(engine, gate, reminder(hours=4), run_id, alice)
    assert (taken.status, taken.channel) == ("claimed", "sms")
    assert (await the_touch(engine)).channel == "sms"
    [decision] = await rows(engine, tables.decisions)
    assert decision.inputs["choice"] == {"channel": "sms", "because": "role", "passed_over": {}}


async def test_where_no_channel_is_possible_the_first_is_dropped_with_its_reason(
    engine: AsyncEngine, intake: Intake, gate: Gate, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    await intake.remember(told("consent.withdrawn", channel="all"), at(hours=1))
    dropped = await take(engine, gate, reminder(hours=4), run_id, alice)
    assert (dropped.status, dropped.reason, dropped.channel) == ("dropped", "consent_withdrawn", "sms")
    [decision] = await rows(engine, tables.decisions)
    assert decision.inputs["choice"]["because"] == "none_possible"


async def test_a_touch_that_waits_may_go_out_on_another_channel(
    engine: AsyncEngine, intake: Intake, gate: Gate, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    waiting = await take(engine, gate, reminder(), run_id, alice)
    assert (waiting.status, waiting.reason, waiting.channel) == ("waiting", "quiet_hours", "sms")
    await prefers(intake, "email", hours=1)
    taken = await take(engine, gate, reminder(hours=2), run_id, alice)
    assert (taken.status, taken.channel) == ("claimed", "email")
    assert (await the_touch(engine)).channel == "email"
    assert [d.inputs["choice"]["because"] for d in await rows(engine, tables.decisions)] == ["role", "preferred"]


async def test_a_claimed_touch_keeps_its_channel(engine: AsyncEngine, intake: Intake, gate: Gate, alice: str) -> None:
    run_id = await a_run(engine, alice)
    await take(engine, gate, reminder(hours=4), run_id, alice)
    await prefers(intake, "email", hours=5)
    again = await take(engine, gate, reminder(hours=6), run_id, alice)
    assert (again.status, again.channel) == ("reclaimed", "sms")
    async with engine.begin() as conn:
        await gate.settle(conn, again.touch_id, "sent", at(hours=6))
    settled = await take(engine, gate, reminder(hours=7), run_id, alice)
    assert (settled.status, settled.channel) == ("sent", "sms")


async def test_a_claim_that_was_given_back_keeps_its_channel_too(
    engine: AsyncEngine, intake: Intake, gate: Gate, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    taken = await take(engine, gate, reminder(hours=4), run_id, alice)
    async with engine.begin() as conn:
        await gate.release(conn, taken.touch_id, "busy")
    await prefers(intake, "email", hours=5)
    again = await take(engine, gate, reminder(hours=6), run_id, alice)
    assert (again.status, again.channel) == ("claimed", "sms")
    async with engine.begin() as conn:
        await gate.release(conn, taken.touch_id, "busy")
    # Not even where this channel is forbidden meanwhile and the other is not.
    await intake.remember(told("consent.withdrawn", at(hours=7), channel="sms"), at(hours=7))
    dropped = await take(engine, gate, reminder(hours=8), run_id, alice)
    assert (dropped.status, dropped.reason, dropped.channel) == ("dropped", "consent_withdrawn", "sms")


async def test_a_run_that_names_a_channel_now_does_not_move_what_was_claimed(
    engine: AsyncEngine, intake: Intake, gate: Gate, alice: str
) -> None:
    """New code may name what the old left open; the touch is the same."""
    run_id = await a_run(engine, alice)
    await take(engine, gate, reminder(hours=4), run_id, alice)
    named = an_ask("k", at(hours=5), purpose="lifecycle", channel="email")
    assert (await take(engine, gate, named, run_id, alice)).channel == "sms"


async def test_would_send_says_what_a_claim_would_and_changes_nothing(
    engine: AsyncEngine, intake: Intake, gate: Gate, alice: str
) -> None:
    run_id = await a_run(engine, alice)

    async def would(ask: Ask) -> bool:
        async with engine.begin() as conn:
            return await gate.would_send(conn, ask, run_id=run_id, contact_id=alice)

    assert [await would(reminder()), await would(reminder(hours=4))] == [False, True]
    assert await rows(engine, tables.touches) == []
    taken = await take(engine, gate, reminder(hours=4), run_id, alice)
    # The claim stands, and in the night that follows no second call is made.
    assert [await would(reminder(hours=5)), await would(reminder(hours=16))] == [True, False]
    async with engine.begin() as conn:
        await gate.settle(conn, taken.touch_id, "sent", at(hours=16))
    assert not await would(reminder(hours=30))


# The fault tests: each seeds what would let a touch reach the contact on two channels, or on the wrong one.


async def unlocked(conn: AsyncConnection, contact_id: str) -> Facts:
    """``store.lock`` without FOR UPDATE."""
    return await store.find(conn, contact_id)


@pytest.mark.parametrize("locked", [True, False])
async def test_fault_the_choice_needs_the_lock(
    engine: AsyncEngine, intake: Intake, gate: Gate, alice: str, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    """The wish is written but not yet committed when the claim begins; it is acknowledged before the claim is."""
    run_id = await a_run(engine, alice)
    if not locked:
        monkeypatch.setattr(store, "lock", unlocked)
    async with engine.connect() as claiming, engine.connect() as recording:
        wish = told("contact.updated", at(hours=4), preferred_channel="email")
        await intake.record_in(recording, wish, at(hours=4))
        task = asyncio.create_task(claim(gate, claiming, reminder(hours=4), run_id, alice))
        if locked:
            await somebody_waits(engine)
        else:
            await asyncio.wait([task])
        await recording.commit()
        taken = await task
        await claiming.commit()
    assert taken.channel == ("email" if locked else "sms")


async def anew(self: Gate, conn: AsyncConnection, ask: Ask, situation: Any, existing: Any) -> Any:
    """``Gate._choice`` that forgets what was claimed."""
    return choose(ask, situation, self.policy)


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("remembered", [True, False])
async def test_fault_the_channel_is_kept_because_the_claim_is_remembered(
    engine: AsyncEngine,
    intake: Intake,
    gate: Gate,
    alice: str,
    monkeypatch: pytest.MonkeyPatch,
    released: bool,
    remembered: bool,
) -> None:
    run_id = await a_run(engine, alice)
    if not remembered:
        monkeypatch.setattr(Gate, "_choice", anew)
    first = await take(engine, gate, reminder(hours=4), run_id, alice)
    if released:
        async with engine.begin() as conn:
            await gate.release(conn, first.touch_id, "busy")
    await prefers(intake, "email", hours=5)
    again = await take(engine, gate, reminder(hours=6), run_id, alice)
    # While it is claimed its row says so besides.
    assert (first.channel, again.channel) == ("sms", "sms" if remembered or not released else "email")
