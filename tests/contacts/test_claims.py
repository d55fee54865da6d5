"""The promise: no touch is claimed after the event that forbids it was acknowledged, and none is claimed twice."""

import asyncio
import random
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contacts import store, tables
from contacts.claims import Gate, Status
from contacts.events import Event
from contacts.facts import Facts
from contacts.intake import Intake
from contacts.policy import Cap, Policy
from tests.contacts.support import START, a_run, an_ask, at, card, changed, claim, rows, somebody_waits, someone, told

COURSE = card()


@pytest.fixture
def intake(engine: AsyncEngine, policy: Policy) -> Intake:
    """With one journey that has no rules of its own but its exits."""
    return Intake(engine, (COURSE,), policy)


@pytest.fixture
def gate(policy: Policy) -> Gate:
    """Without quiet hours and caps."""
    return Gate(changed(policy, quiet_hours=(), caps=()), "test")


async def status_of(engine: AsyncEngine, key: str) -> str:
    [touch] = await rows(engine, tables.touches, tables.touches.c.key == key)
    status: str = touch.status
    return status


async def take(engine: AsyncEngine, gate: Gate, ask: Any, run_id: str, contact_id: str) -> Any:
    async with engine.begin() as conn:
        return await claim(gate, conn, ask, run_id, contact_id)


async def test_a_claim_is_a_row_with_the_decision_and_its_reasons(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    taken = await take(engine, gate, an_ask("k"), run_id, alice)
    assert (taken.status, taken.reason, taken.facts.contact_id) == ("claimed", None, alice)
    [touch] = await rows(engine, tables.touches)
    assert (touch.id, touch.key, touch.status, touch.claimed_at, touch.run_id) == (
        taken.touch_id,
        "k",
        "claimed",
        START,
        run_id,
    )
    [decision] = await rows(engine, tables.decisions)
    assert (decision.touch_id, decision.verdict, decision.reason) == (taken.touch_id, "send", None)
    assert (decision.policy_version, decision.code_version) == (gate.policy.version, "test")
    [granted] = await rows(engine, tables.events, tables.events.c.type == "consent.granted")
    [named] = await rows(engine, tables.events, tables.events.c.type == "contact.updated")
    assert decision.inputs == {
        "consent": {"at": START.isoformat(), "event": granted.id, "implied": False},
        "address": {"kind": "email", "event": named.id},
        "no_echo_in_days": 2,
        "valid_until": at(7).isoformat(),
        "holds": [],
        "engagement": {"tier": None, "silent_since": None},
        "rush": {"in_window": 1, "allowed": 300},
    }


async def test_a_wait_and_a_drop_are_rows_anyone_can_read(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await intake.record(told("ticket.opened", at(1), ticket_id="7"), at(1))
    waiting = await take(engine, gate, an_ask("k", at(1)), run_id, alice)
    assert (waiting.status, waiting.reason, waiting.hold, waiting.until) == (
        "waiting",
        "hold_ticket",
        "ticket:7",
        at(2),
    )
    await intake.record(told("ticket.solved", at(1.5), ticket_id="7"), at(1.5))
    assert (await take(engine, gate, an_ask("k", at(1.5)), run_id, alice)).status == "claimed"
    await intake.record(told("consent.withdrawn", at(2), channel="email"), at(2))
    dropped = await take(engine, gate, an_ask("l", at(2)), run_id, alice)
    assert (dropped.status, dropped.reason) == ("dropped", "consent_withdrawn")
    verdicts = [(d.verdict, d.reason, d.hold, d.until) for d in await rows(engine, tables.decisions)]
    assert verdicts == [
        ("wait", "hold_ticket", "ticket:7", at(2)),
        ("send", None, None, None),
        ("drop", "consent_withdrawn", None, None),
    ]
    lines = [(j.kind, j.data["reason"]) for j in await rows(engine, tables.journal) if j.kind in ("wait", "drop")]
    assert lines == [("wait", "hold_ticket"), ("drop", "consent_withdrawn")]


@pytest.mark.parametrize("status", ["sent", "unknown", "failed"])
async def test_a_settled_touch_stays_settled(engine: AsyncEngine, intake: Intake, gate: Gate, status: Any) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    taken = await take(engine, gate, an_ask("k"), run_id, alice)
    words = ["sent", "unknown", "failed"]
    if status == "unknown":
        words.remove("sent")
    for n, word in enumerate([status, *words]):
        async with engine.begin() as conn:
            await gate.settle(conn, taken.touch_id, word, at(hours=n), provider=f"p{n}", reason=f"r{n}")
    [touch] = await rows(engine, tables.touches)
    assert (touch.status, touch.settled_at, touch.provider, touch.reason) == (status, START, "p0", "r0")
    assert len([j for j in await rows(engine, tables.journal) if j.run_id == run_id]) == 1
    again = await take(engine, gate, an_ask("k", at(1)), run_id, alice)
    assert (again.status, again.reason) == (status, "r0")
    assert len(await rows(engine, tables.decisions)) == 1


async def test_proof_that_it_went_out_ends_the_doubt(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    taken = await take(engine, gate, an_ask("k"), run_id, alice)
    proofs: tuple[Status, ...] = ("unknown", "sent")
    for word in proofs:
        async with engine.begin() as conn:
            await gate.settle(conn, taken.touch_id, word, START)
    assert await status_of(engine, "k") == "sent"
    assert (await take(engine, gate, an_ask("k", at(1)), run_id, alice)).status == "sent"


async def test_a_drop_is_final(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await intake.record(told("consent.withdrawn", at(1), channel="email"), at(1))
    assert (await take(engine, gate, an_ask("k", at(1)), run_id, alice)).status == "dropped"
    await intake.record(told("consent.granted", at(2), channel="email"), at(2))
    assert (await take(engine, gate, an_ask("k", at(2)), run_id, alice)).status == "dropped"
    assert (await take(engine, gate, an_ask("l", at(2)), run_id, alice)).status == "claimed"


async def test_a_second_attempt_finds_the_first(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    first = await take(engine, gate, an_ask("k"), run_id, alice)
    second = await take(engine, gate, an_ask("k", at(hours=1)), run_id, alice)
    assert (second.status, second.touch_id) == ("reclaimed", first.touch_id)
    [touch] = await rows(engine, tables.touches)
    assert touch.claimed_at == START


async def test_what_was_forbidden_after_its_claim_may_not_be_called_for_again(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    """It may have gone out before the opt-out; it must not go out now."""
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await take(engine, gate, an_ask("k"), run_id, alice)
    await intake.record(told("consent.withdrawn", at(1), channel="email"), at(1))
    again = await take(engine, gate, an_ask("k", at(1)), run_id, alice)
    assert (again.status, again.reason, again.until) == ("reclaimed", "consent_withdrawn", None)
    assert await status_of(engine, "k") == "claimed"


async def test_a_released_claim_asks_the_gate_anew(engine: AsyncEngine, intake: Intake, policy: Policy) -> None:
    caps = (Cap(channels=("email",), purposes=("promotional",), max=1, days=1),)
    gate = Gate(changed(policy, quiet_hours=(), caps=caps), "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    taken = await take(engine, gate, an_ask("k"), run_id, alice)
    assert (await take(engine, gate, an_ask("l"), run_id, alice)).status == "waiting"
    async with engine.begin() as conn:
        await gate.release(conn, taken.touch_id, "busy")
    # The slot is free again, for whoever asks first.
    assert (await take(engine, gate, an_ask("l"), run_id, alice)).status == "claimed"
    assert (await take(engine, gate, an_ask("k"), run_id, alice)).reason == "frequency_cap"
    await intake.record(told("purchase.completed", at(0.5), order_id="o"), at(0.5))
    assert (await take(engine, gate, an_ask("k", at(0.5)), run_id, alice)).reason == "exited"


async def test_release_undoes_nothing_that_is_settled(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    alice = await someone(intake)
    taken = await take(engine, gate, an_ask("k"), await a_run(engine, alice), alice)
    async with engine.begin() as conn:
        await gate.settle(conn, taken.touch_id, "sent", START)
        await gate.release(conn, taken.touch_id, "busy")
    assert await status_of(engine, "k") == "sent"


@pytest.mark.parametrize("status", ["sent", "unknown", "failed"])
async def test_what_may_have_gone_out_takes_a_slot(
    engine: AsyncEngine, intake: Intake, policy: Policy, status: Any
) -> None:
    caps = (Cap(channels=("email",), purposes=("promotional",), max=1, days=7),)
    gate = Gate(changed(policy, quiet_hours=(), caps=caps), "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    taken = await take(engine, gate, an_ask("k"), run_id, alice)
    async with engine.begin() as conn:
        await gate.settle(conn, taken.touch_id, status, START)
    assert (await take(engine, gate, an_ask("l", at(1)), run_id, alice)).status == (
        "claimed" if status == "failed" else "waiting"
    )
    assert (await take(engine, gate, an_ask("m", at(8)), run_id, alice)).status == "claimed"


@pytest.mark.parametrize("status", ["claimed", "sent", "unknown", "failed", "given back"])
@pytest.mark.parametrize("whose", ["alice", "bob"])
async def test_what_either_of_two_got_counts_when_they_turn_out_to_be_one(
    engine: AsyncEngine, intake: Intake, policy: Policy, status: Any, whose: str
) -> None:
    caps = (Cap(channels=("email",), purposes=("promotional",), max=1, days=7),)
    gate = Gate(changed(policy, quiet_hours=(), caps=caps), "test")
    people = {
        "alice": await someone(intake, when=at(-1)),  # the older contact is kept
        "bob": await someone(intake, email="bob@example.com"),
    }
    runs = {name: await a_run(engine, who, journey=name) for name, who in people.items()}
    taken = await take(engine, gate, an_ask("k"), runs[whose], people[whose])
    async with engine.begin() as conn:
        if status == "given back":
            await gate.release(conn, taken.touch_id, "busy")
        elif status != "claimed":
            await gate.settle(conn, taken.touch_id, status, START)
    for mail in ("alice@example.com", "bob@example.com"):
        same = told("contact.merged", at(1), who={"email": mail, "phone": "+4930901820"})
        await intake.record(same, at(1))
    other = "bob" if whose == "alice" else "alice"
    # Runs still call their contact by the id they began with.
    again = await take(engine, gate, an_ask("l", at(2)), runs[other], people[other])
    assert again.status == ("claimed" if status in ("failed", "given back") else "waiting")
    assert again.until == (None if again.status == "claimed" else at(7))


@pytest.mark.parametrize(
    ("purposes", "purpose", "before", "status"),
    [
        (("promotional",), "promotional", "lifecycle", "claimed"),
        (("promotional", "lifecycle"), "promotional", "lifecycle", "waiting"),
        (("promotional", "lifecycle"), "lifecycle", "promotional", "waiting"),
        (("promotional", "lifecycle"), "promotional", "transactional", "claimed"),
        (("promotional", "transactional"), "promotional", "transactional", "waiting"),
        (("promotional", "transactional"), "transactional", "promotional", "waiting"),
        (("promotional",), "transactional", "promotional", "claimed"),
    ],
)
async def test_what_takes_a_slot_from_what_is_for_the_policy_to_say(
    engine: AsyncEngine, intake: Intake, policy: Policy, purposes: Any, purpose: Any, before: Any, status: str
) -> None:
    caps = (Cap(channels=("email",), purposes=purposes, max=1, days=7),)
    gate = Gate(changed(policy, quiet_hours=(), caps=caps), "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await take(engine, gate, an_ask("k", purpose=before), run_id, alice)
    assert (await take(engine, gate, an_ask("l", at(1), purpose=purpose), run_id, alice)).status == status


async def test_a_run_that_is_over_sends_nothing(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    alice = await someone(intake)
    exited, finished = await a_run(engine, alice), await a_run(engine, alice, key="k")
    await intake.record(told("conversation.started", at(1), conversation_id="c"), at(1))
    over = sa.update(tables.runs).where(tables.runs.c.id == finished)
    async with engine.begin() as conn:
        await conn.execute(over.values(exited_at=None, outcome=None, ended_at=at(1)))
    for run_id, by in ((exited, "exited"), (finished, "ended")):
        ask = an_ask(run_id, at(1), purpose="transactional")
        assert (await take(engine, gate, ask, run_id, alice)).reason == "exited"
        decision = (await rows(engine, tables.decisions))[-1]
        assert decision.inputs == {"by": by}


# The promise, under concurrency


@dataclass(frozen=True)
class Ban:
    """Something that must stop a touch, and what the gate says then."""

    event: Event
    purpose: Any
    stopped: str


def bans(n: int, email: str) -> list[Ban]:
    who = {"email": email}
    return [
        Ban(told("purchase.completed", at(1), who=who, order_id=f"o-{n}"), "transactional", "exited"),
        Ban(told("conversation.started", at(1), who=who, conversation_id="c"), "lifecycle", "exited"),
        Ban(told("consent.withdrawn", at(1), who=who, channel="email"), "promotional", "consent_withdrawn"),
        Ban(told("message.unsubscribed", at(1), who=who, channel="email"), "lifecycle", "consent_withdrawn"),
        Ban(told("ticket.opened", at(1), who=who, ticket_id="7"), "promotional", "hold_ticket"),
        Ban(told("contact.erased", at(1), who=who), "transactional", "erased"),
        Ban(
            told("message.bounced", at(1), who=who, permanent=True, address=email), "transactional", "suppressed"
        ),
        Ban(told("contact.updated", at(1), who=who, frequency="weekly"), "promotional", "stated_frequency"),
        Ban(told("contact.paused", at(1), who=who, days=30), "lifecycle", "hold_pause"),
    ]  # fmt: skip


async def test_no_touch_is_claimed_after_the_event_that_forbids_it_was_acknowledged(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    chance = random.Random(7)
    outcomes: list[tuple[bool, str]] = []

    async def one(n: int, kind: int) -> None:
        email = f"p{n}@example.com"
        ban = bans(n, email)[kind]
        contact_id = await someone(intake, email=email)
        run_id = await a_run(engine, contact_id)
        # They have had a message already, so that a wish for fewer has something to count.
        await take(engine, gate, an_ask(f"{n}/earlier", at(0.5)), run_id, contact_id)
        acknowledged = asyncio.Event()
        yields = [chance.randrange(40) for _ in range(2)]

        async def forbid() -> None:
            for _ in range(yields[0]):
                await asyncio.sleep(0)
            await intake.record(ban.event, at(1))
            acknowledged.set()

        async def send() -> None:
            for _ in range(yields[1]):
                await asyncio.sleep(0)
            for attempt in range(4):
                was_acknowledged = acknowledged.is_set()
                ask = an_ask(f"{n}/{attempt}", at(1), purpose=ban.purpose)
                taken = await take(engine, gate, ask, run_id, contact_id)
                outcomes.append((was_acknowledged, taken.status))
                if was_acknowledged:
                    assert taken.status != "claimed"
                    assert taken.reason == ban.stopped

        await asyncio.gather(forbid(), send())

    kinds = len(bans(0, "any@example.com"))
    await asyncio.gather(*(one(n, n % kinds) for n in range(6 * kinds)))
    # Both sides of the race were seen.
    assert {was for was, _ in outcomes} == {True, False}
    assert "claimed" in {status for was, status in outcomes if not was}


async def test_no_two_attempts_at_once_claim_one_touch(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    for n in range(5):
        taken = await asyncio.gather(*(take(engine, gate, an_ask(f"k{n}"), run_id, alice) for _ in range(8)))
        assert sorted(t.status for t in taken) == ["claimed"] + ["reclaimed"] * 7


async def test_runs_at_once_keep_to_the_caps_together(engine: AsyncEngine, intake: Intake, policy: Policy) -> None:
    caps = (Cap(channels=("email",), purposes=("promotional", "lifecycle"), max=3, days=7),)
    gate = Gate(changed(policy, quiet_hours=(), caps=caps), "test")
    alice = await someone(intake)
    runs = [await a_run(engine, alice, journey=f"j{n}") for n in range(12)]
    taken = await asyncio.gather(
        *(take(engine, gate, an_ask(run_id, at(hours=n)), run_id, alice) for n, run_id in enumerate(runs))
    )
    assert sorted(t.status for t in taken) == ["claimed"] * 3 + ["waiting"] * 9


async def test_an_exit_by_key_stops_somebody_elses_claims_too(engine: AsyncEngine, policy: Policy, gate: Gate) -> None:
    """The order that ends Alice's run came under Bob's name; her claim waits for it all the same."""
    keyed = replace(COURSE, key="checkout_id")
    intake = Intake(engine, (keyed,), policy)
    alice = await someone(intake)
    run_id = await a_run(engine, alice, key="c-1")
    order = told("purchase.completed", at(1), who={"email": "bob@example.com"}, order_id="o", checkout_id="c-1")
    async with engine.begin() as conn:
        await intake.record_in(conn, order, at(1))
        claiming = asyncio.create_task(take(engine, gate, an_ask("k", at(1)), run_id, alice))
        await somebody_waits(engine)
        assert not claiming.done()
    assert (await claiming).reason == "exited"


# The fault tests: without the lock on the contact's row the tests above would see the promise broken.


async def unlocked(conn: AsyncConnection, contact_id: str) -> Facts:
    """``store.lock`` without FOR UPDATE."""
    return await store.find(conn, contact_id)


@pytest.mark.parametrize("locked", [True, False])
async def test_fault_the_promise_needs_the_lock(
    engine: AsyncEngine, intake: Intake, gate: Gate, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    """The opt-out is written but not yet committed when the claim begins; it commits before the claim does.

    With the lock the claim waits and sees it. Without, it decides on facts that are no longer so.
    """
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    if not locked:
        monkeypatch.setattr(store, "lock", unlocked)
    async with engine.connect() as claiming, engine.connect() as recording:
        await intake.record_in(recording, told("consent.withdrawn", at(1), channel="email"), at(1))
        task = asyncio.create_task(claim(gate, claiming, an_ask("k", at(1)), run_id, alice))
        if locked:
            await somebody_waits(engine)
        else:
            await asyncio.wait([task])
        await recording.commit()
        # The opt-out is acknowledged; now the touch is claimed, or not.
        taken = await task
        await claiming.commit()
    assert taken.status == ("dropped" if locked else "claimed")


@pytest.mark.parametrize("locked", [True, False])
async def test_fault_the_caps_need_the_lock(
    engine: AsyncEngine, intake: Intake, policy: Policy, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    """Two runs ask for the last slot; each looks before the other has written."""
    caps = (Cap(channels=("email",), purposes=("promotional",), max=1, days=7),)
    gate = Gate(changed(policy, quiet_hours=(), caps=caps), "test")
    alice = await someone(intake)
    runs = [await a_run(engine, alice, journey=f"j{n}") for n in range(2)]
    if not locked:
        monkeypatch.setattr(store, "lock", unlocked)
    async with engine.connect() as first, engine.connect() as second:
        one = await claim(gate, first, an_ask("a"), runs[0], alice)
        task = asyncio.create_task(claim(gate, second, an_ask("b"), runs[1], alice))
        if locked:
            await somebody_waits(engine)
        else:
            await asyncio.wait([task])
        await first.commit()
        two = await task
        await second.commit()
    assert [one.status, two.status] == ["claimed", "waiting" if locked else "claimed"]


async def test_a_claim_for_a_contact_nobody_knows_says_so(engine: AsyncEngine, gate: Gate) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(store.NoSuchContact):
        await take(engine, gate, an_ask("k"), nobody, nobody)


async def test_the_end_of_a_hold_wakes_whatever_run_has_a_touch_that_waited_for_it(
    engine: AsyncEngine, gate: Gate, policy: Policy
) -> None:
    lessons = Intake(engine, (card("lessons", purpose="lifecycle"), card("other")), policy)
    alice = await someone(lessons)
    waits, rests = [await a_run(engine, alice, journey=journey) for journey in ("lessons", "other")]
    await lessons.record(told("ticket.opened", at(0), ticket_id="7"), at(0))
    ask = replace(an_ask("k", at(0.1)), journey="lessons")
    assert (await take(engine, gate, ask, waits, alice)).hold == "ticket:7"
    await lessons.record(told("ticket.solved", at(0.2), ticket_id="7"), at(0.2))
    heard = [
        d for d in await rows(engine, tables.dispatches) if d.kind == "event" and d.payload["type"] == "ticket.solved"
    ]
    assert [d.run_id for d in heard] == [waits]
    assert rests not in {d.run_id for d in heard}
