"""What a contact's acts prove, gone through again in the order in which the contact's row was locked."""

import asyncio
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import breaker, claims, gate, pauses, store, tables
from contacts import runs as runs_module
from contacts.claims import Gate
from contacts.clock import Clock
from contacts.events import Event, event, identities
from contacts.gate import Pause, Send
from contacts.intake import Intake
from contacts.policy import Cap, Policy, SendWindow
from contacts.specs import Card, Purpose, often, on, once
from ops.installation import Installation
from ops.verify import reading
from ops.verify.findings import Finding
from ops.verify.lives import Rules, judged
from settings import Settings
from tests.contacts.support import (
    START,
    a_run,
    an_ask,
    at,
    card,
    changed,
    claim,
    facts_of,
    rows,
    somebody_waits,
    someone,
    told,
)
from tests.contacts.test_claims import unlocked

COURSE = card()
LATE = timedelta(minutes=5)


@pytest.fixture
def policy(policy: Policy) -> Policy:
    """Without quiet hours and caps."""
    return changed(policy, quiet_hours=(), caps=())


@pytest.fixture
def intake(engine: AsyncEngine, policy: Policy) -> Intake:
    """With one journey that has no rules of its own but its exits."""
    return Intake(engine, (COURSE,), policy)


@pytest.fixture
def gate_(policy: Policy) -> Gate:
    return Gate(policy, "test")


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate lets everything out."""
    monkeypatch.setattr(claims.gate, "decide", lambda *_: Send())


async def take(engine: AsyncEngine, gate: Gate, ask: Any, run_id: str, contact_id: str) -> Any:
    async with engine.begin() as conn:
        return await claim(gate, conn, ask, run_id, contact_id)


async def found(
    engine: AsyncEngine,
    policy: Policy,
    *,
    cards: tuple[Card, ...] = (COURSE,),
    since: datetime | None = None,
) -> list[Finding]:
    """Everything that is wrong with anybody."""
    here = Installation(engine, policy, Clock(), Settings())
    async with engine.connect() as conn:
        rules = Rules(cards, policy, LATE, since, await reading.answered_since(conn))
    return [f async for page in reading.lives(here, cards, since) for life in page for f in judged(life, rules)]


def reasons(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.kind, f.what.partition(": ")[2].partition(".")[0]) for f in findings]


BANS: list[tuple[Event, Purpose, str]] = [
    (told("purchase.completed", at(1), order_id="o"), "transactional", "exited"),
    (told("conversation.started", at(1), conversation_id="c"), "lifecycle", "exited"),
    (told("consent.withdrawn", at(1), channel="email"), "promotional", "consent_withdrawn"),
    (told("message.unsubscribed", at(1), channel="email"), "lifecycle", "consent_withdrawn"),
    (told("ticket.opened", at(1), ticket_id="7"), "promotional", "hold_ticket"),
    (told("contact.erased", at(1)), "transactional", "erased"),
    (told("message.bounced", at(1), permanent=True, address="alice@example.com"), "transactional", "suppressed"),
]


@pytest.mark.parametrize(("ban", "purpose", "reason"), BANS, ids=lambda value: getattr(value, "type", value))
async def test_a_claim_before_the_event_is_right_and_one_after_it_is_found(
    engine: AsyncEngine,
    intake: Intake,
    gate_: Gate,
    policy: Policy,
    blind: None,
    ban: Event,
    purpose: Purpose,
    reason: str,
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    # The clocks say the opposite of the truth, and nobody asks them.
    await take(engine, gate_, an_ask("before", at(2), purpose=purpose), run_id, alice)
    receipt = await intake.record(ban, at(1))
    assert [f.kind for f in await found(engine, policy)] == []
    wrong = await take(engine, gate_, an_ask("after", at(1), purpose=purpose), run_id, alice)
    [finding] = await found(engine, policy)
    assert reasons([finding]) == [("forbidden", reason)]
    assert (finding.contact_id, finding.evidence["touch"]) == (alice, wrong.touch_id)
    if reason not in ("erased", "hold_ticket"):
        assert finding.evidence["event"] == receipt.event_id


async def test_what_the_gate_stops_by_itself_is_no_finding(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy
) -> None:
    for n, (ban, purpose, _) in enumerate(BANS):
        mail = f"p{n}@example.com"
        data = {**ban.data, "address": mail} if "address" in ban.data else ban.data
        contact_id = await someone(intake, email=mail)
        run_id = await a_run(engine, contact_id)
        await take(engine, gate_, an_ask(f"{n}/before", purpose=purpose), run_id, contact_id)
        await intake.record(told(ban.type, at(1), who={"email": mail}, **data), at(1))
        await take(engine, gate_, an_ask(f"{n}/after", at(1), purpose=purpose), run_id, contact_id)
    assert await found(engine, policy) == []


@pytest.mark.parametrize("locked", [True, False])
async def test_a_claim_beside_the_lock_is_found(
    engine: AsyncEngine,
    intake: Intake,
    gate_: Gate,
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
    locked: bool,
) -> None:
    """The opt-out commits while the claim decides on facts that are no longer so."""
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    if not locked:
        monkeypatch.setattr(store, "lock", unlocked)
    async with engine.connect() as claiming, engine.connect() as recording:
        await intake.record_in(recording, told("consent.withdrawn", at(1), channel="email"), at(1))
        task = asyncio.create_task(claim(gate_, claiming, an_ask("k", at(1)), run_id, alice))
        if locked:
            await somebody_waits(engine)
        else:
            await asyncio.wait([task])
        await recording.commit()
        await task
        await claiming.commit()
    assert reasons(await found(engine, policy)) == ([] if locked else [("forbidden", "consent_withdrawn")])


async def test_a_fact_that_somebody_overwrote_beside_the_lock_is_found(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    await someone(intake)
    stale = await facts_of(engine)
    opened = await intake.record(told("ticket.opened", at(1), ticket_id="7"), at(1))
    refused = await intake.record(told("consent.withdrawn", at(1), channel="sms", purpose="promotional"), at(1))
    assert await found(engine, policy) == []
    async with engine.begin() as conn:
        await store.save(conn, stale)
    lost = {f.what.removeprefix("the contact's facts do not show "): f for f in await found(engine, policy)}
    consent, hold = sorted(lost)
    assert (consent, hold) == ("consent sms/promotional as the events say it", "hold ticket:7 as the events say it")
    assert {f.kind for f in lost.values()} == {"fact-lost"}
    assert lost[consent].evidence == {"event": refused.event_id}
    assert opened.contact_id == lost[hold].contact_id


# Caps and quiet hours


async def test_a_cap_that_was_exceeded_is_found(
    engine: AsyncEngine, intake: Intake, policy: Policy, blind: None
) -> None:
    capped = changed(policy, caps=(Cap(channels=("email",), purposes=("promotional",), max=2, days=7),))
    gate = Gate(capped, "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    for n in range(3):
        await take(engine, gate, an_ask(f"k{n}", at(n)), run_id, alice)
    await take(engine, gate, an_ask("later", at(8)), run_id, alice)
    [finding] = await found(engine, capped)
    assert reasons([finding]) == [("forbidden", "frequency_cap")]
    [third] = await rows(engine, tables.touches, tables.touches.c.key == "k2")
    assert finding.evidence["touch"] == third.id


async def test_what_did_not_go_out_takes_no_slot(engine: AsyncEngine, intake: Intake, policy: Policy) -> None:
    capped = changed(policy, caps=(Cap(channels=("email",), purposes=("promotional",), max=1, days=7),))
    gate = Gate(capped, "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    failed = await take(engine, gate, an_ask("failed"), run_id, alice)
    given_back = None
    async with engine.begin() as conn:
        await gate.settle(conn, failed.touch_id, "failed", START)
    given_back = await take(engine, gate, an_ask("given back"), run_id, alice)
    async with engine.begin() as conn:
        await gate.release(conn, given_back.touch_id, "busy")
    assert (await take(engine, gate, an_ask("sent"), run_id, alice)).status == "claimed"
    assert await found(engine, capped) == []


async def test_a_quiet_hour_is_one_where_the_contact_was_then(
    engine: AsyncEngine, intake: Intake, shipped_policy: Any, policy: Policy, blind: None
) -> None:
    from contacts.policy import load

    nights = changed(policy, quiet_hours=load(shipped_policy).quiet_hours)
    gate = Gate(nights, "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await take(engine, gate, an_ask("noon in UTC", at(hours=3)), run_id, alice)
    moved = told("contact.updated", at(1), email="alice@example.com", timezone="Pacific/Auckland")
    await intake.record(moved, at(1))
    await take(engine, gate, an_ask("night in Auckland", at(1, hours=3)), run_id, alice)
    assert reasons(await found(engine, nights)) == [("forbidden", "quiet_hours")]


async def test_a_claim_outside_its_hours_is_found(
    engine: AsyncEngine, intake: Intake, policy: Policy, blind: None
) -> None:
    office = SendWindow(channels=("email",), purposes=("promotional",), days=("mon",), start=time(9), end=time(17))
    windowed = changed(policy, send_windows=(office,))
    gate = Gate(windowed, "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await take(engine, gate, an_ask("on Monday at nine"), run_id, alice)
    assert await found(engine, windowed) == []
    await take(engine, gate, an_ask("on Tuesday", at(1)), run_id, alice)
    assert reasons(await found(engine, windowed)) == [("forbidden", "send_window")]


async def test_another_policy_excuses_caps_but_no_refusal(
    engine: AsyncEngine, intake: Intake, policy: Policy, blind: None
) -> None:
    stricter = changed(
        policy, version="of-today", caps=(Cap(channels=("email",), purposes=("promotional",), max=1, days=7),)
    )
    gate = Gate(policy, "test")
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    for n in range(3):
        await take(engine, gate, an_ask(f"k{n}", at(n)), run_id, alice)
    assert await found(engine, stricter) == []
    await intake.record(told("consent.withdrawn", at(3), channel="email"), at(3))
    await take(engine, gate, an_ask("no", at(4)), run_id, alice)
    assert reasons(await found(engine, stricter)) == [("forbidden", "consent_withdrawn")]


async def test_a_hold_lasts_as_long_as_the_policy_of_its_day_said(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    brief = changed(policy, version="of-old", hold_days={"operator": 3})
    then = replace(intake, policy=brief)
    alice = await someone(then)
    run_id = await a_run(engine, alice)
    await then.record(told("hold.opened", at(1), hold_id="x"), at(1))
    now = changed(policy, version="of-today", hold_days={"operator": 90})
    taken = await take(engine, Gate(now, "test"), an_ask("k", at(5)), run_id, alice)
    assert taken.status == "claimed"
    assert await found(engine, now) == []


async def test_a_consent_lasts_that_only_an_older_policy_made_of_a_form(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    stating = policy.consent.model_copy(update={"stated": {"form.submitted": "consent"}})
    old = changed(policy, version="of-old", consent=stating)
    then = replace(intake, policy=old)
    alice = await someone(then)
    run_id = await a_run(engine, alice, entered=at(3))
    await then.record(told("consent.withdrawn", at(1), channel="email"), at(1))
    given = {"email": ["promotional"]}
    form = told("form.submitted", at(2), form="newsletter", consent=given)
    await then.record(form, at(2))
    taken = await take(engine, Gate(old, "test"), an_ask("k", at(4)), run_id, alice)
    assert taken.status == "claimed"
    none = policy.consent.model_copy(update={"stated": {}})
    for now in (old, changed(policy, version="of-today", consent=none)):
        assert await found(engine, now) == []


# Halts

HALT = Pause("journey", "course", "the copy is wrong")


async def halt(engine: AsyncEngine, pause: Pause, now: datetime) -> None:
    async with engine.begin() as conn:
        assert await pauses.call(conn, pause, by="mia", now=now)


async def let_go(engine: AsyncEngine, now: datetime) -> None:
    async with engine.begin() as conn:
        await pauses.end(conn, "journey", "course", by="mia", now=now)


async def test_a_claim_under_a_halt_is_found_and_one_before_or_after_it_is_right(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    # The clocks say the opposite of the truth, and nobody asks them.
    await take(engine, gate_, an_ask("before", at(3)), run_id, alice)
    await halt(engine, HALT, at(1))
    wrong = await take(engine, gate_, an_ask("under it", at(4)), run_id, alice)
    await let_go(engine, at(2))
    await take(engine, gate_, an_ask("after", at(1)), run_id, alice)
    assert reasons(await found(engine, policy)) == [("forbidden", "paused")]
    # No policy excuses it.
    [finding] = await found(engine, changed(policy, version="of-today"))
    assert (finding.evidence["touch"], finding.evidence["hold"]) == (wrong.touch_id, "pause:journey/course")


@pytest.mark.parametrize(
    "other", [Pause("journey", "another", "r"), Pause("channel", "sms", "r"), Pause("journey", "course", "r", at(2))]
)
async def test_a_halt_of_something_else_or_that_is_over_forbids_nothing(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None, other: Pause
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await halt(engine, other, at(1))
    await take(engine, gate_, an_ask("k", at(2)), run_id, alice)
    # The next one notes that the first has ended by itself.
    await halt(engine, Pause("all", "", "r"), at(3))
    assert await found(engine, policy) == []
    await take(engine, gate_, an_ask("l", at(3)), run_id, alice)
    assert reasons(await found(engine, policy)) == [("forbidden", "paused")]


async def test_a_claim_under_a_halt_for_a_time_is_found_when_that_is_over(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await halt(engine, replace(HALT, until=at(2)), at(1))
    await take(engine, gate_, an_ask("under it", at(1)), run_id, alice)
    await halt(engine, HALT, at(3))
    assert reasons(await found(engine, policy)) == [("forbidden", "paused")]


@pytest.mark.parametrize("locked", [True, False])
async def test_a_claim_that_read_the_halts_before_one_was_called_has_its_number_before_it(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    has_read, go_on = asyncio.Event(), asyncio.Event()
    real = breaker.sends

    async def slow(*args: Any) -> Any:
        has_read.set()
        await go_on.wait()
        return await real(*args)

    monkeypatch.setattr(breaker, "sends", slow)
    if not locked:
        monkeypatch.setattr(pauses, "claiming", lambda _: asyncio.sleep(0))
    claiming = asyncio.create_task(take(engine, gate_, an_ask("k", at(1)), run_id, alice))
    await has_read.wait()
    halting = asyncio.create_task(halt(engine, HALT, at(1)))
    if locked:
        await somebody_waits(engine)
    else:
        await halting
    go_on.set()
    assert (await claiming).status == "claimed"
    await halting
    assert reasons(await found(engine, policy)) == ([] if locked else [("forbidden", "paused")])


async def test_halts_that_nothing_orders_with_claims_are_not_judged(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None
) -> None:
    """The breaker's, which claims of the same moment do not see; one from before halts were numbered, or ended so."""
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    table = tables.pauses
    async with engine.begin() as conn:
        await pauses.trip(conn, HALT, figures={}, now=at(1))
        await pauses.call(conn, Pause("channel", "email", "r"), by="mia", now=at(1))
        await conn.execute(sa.update(table).where(table.c.scope == "channel").values(opened_act=None))
        await pauses.call(conn, Pause("all", "", "r"), by="mia", now=at(1))
        await conn.execute(sa.update(table).where(table.c.scope == "all").values(released_at=at(1)))
    await take(engine, gate_, an_ask("k", at(2)), run_id, alice)
    assert await found(engine, policy) == []


# Merges


async def test_what_was_another_contacts_until_a_merge_forbade_nothing_before_it(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None
) -> None:
    """Bob has opted out, Alice has not; then they turn out to be one."""
    alice = await someone(intake, when=at(-1))  # the older contact is kept
    bob = await someone(intake, email="bob@example.com")
    run_id = await a_run(engine, alice)
    await intake.record(told("consent.withdrawn", at(1), who={"email": "bob@example.com"}, channel="email"), at(1))
    await take(engine, gate_, an_ask("alice's own", at(2)), run_id, alice)
    one = {"email": "alice@example.com", "user": "u-1"}
    await intake.record(told("page.viewed", at(3), who=one, page="home"), at(3))
    both = {"email": "bob@example.com", "user": "u-1"}
    await intake.record(told("page.viewed", at(3), who=both, page="home"), at(3))
    assert {r.id for r in await rows(engine, tables.contacts) if r.merged_into} == {bob}
    assert await found(engine, policy) == []
    wrong = await take(engine, gate_, an_ask("theirs", at(4)), run_id, alice)
    [finding] = await found(engine, policy)
    assert reasons([finding]) == [("forbidden", "consent_withdrawn")]
    assert finding.evidence["touch"] == wrong.touch_id


async def test_a_run_that_came_along_in_a_merge_is_bound_by_all_that_both_had(
    engine: AsyncEngine, intake: Intake, policy: Policy, blind: None
) -> None:
    """Bob's run goes on as Alice's, who has had a mail of her own."""
    capped = changed(policy, caps=(Cap(channels=("email",), purposes=("promotional",), max=2, days=7),))
    gate = Gate(capped, "test")
    alice = await someone(intake, when=at(-1))
    bob = await someone(intake, email="bob@example.com")
    hers, his = await a_run(engine, alice), await a_run(engine, bob, key="his")
    await take(engine, gate, an_ask("hers"), hers, alice)
    await take(engine, gate, an_ask("his"), his, bob)
    for mail in ("alice@example.com", "bob@example.com"):
        same = told("contact.merged", at(1), who={"email": mail, "phone": "+4930901820"})
        await intake.record(same, at(1))
    assert await found(engine, capped) == []
    third = await take(engine, gate, an_ask("theirs", at(2)), his, bob)
    [finding] = await found(engine, capped)
    assert (reasons([finding]), finding.evidence["touch"]) == ([("forbidden", "frequency_cap")], third.touch_id)
    await intake.record(told("consent.withdrawn", at(3), channel="email"), at(3))
    fourth = await take(engine, gate, an_ask("no more", at(4)), his, bob)
    assert (reasons(await found(engine, capped))[1:], fourth.status) == (
        [("forbidden", "consent_withdrawn")],
        "claimed",
    )


async def test_the_run_that_gave_way_in_a_merge_claims_nothing_more(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None
) -> None:
    people = {
        "alice@example.com": await someone(intake, when=at(-1)),  # the older contact is kept
        "bob@example.com": await someone(intake, email="bob@example.com"),
    }
    runs = {mail: await a_run(engine, contact_id) for mail, contact_id in people.items()}
    for mail, contact_id in people.items():
        await take(engine, gate_, an_ask(f"{mail}/before", at(1)), runs[mail], contact_id)
    same = told("contact.merged", at(2), who={"email": "alice@example.com", "phone": "+4930901820"})
    await intake.record(same, at(2))
    await intake.record(told("contact.merged", at(2), who={"email": "bob@example.com", "phone": "+4930901820"}), at(2))
    assert await found(engine, policy) == []
    mail = "bob@example.com"
    wrong = await take(engine, gate_, an_ask("after", at(3)), runs[mail], people[mail])
    [finding] = await found(engine, policy)
    assert reasons([finding]) == [("forbidden", "exited")]
    assert finding.evidence["touch"] == wrong.touch_id


@pytest.mark.parametrize("older", [-1, 1])
async def test_a_run_that_a_merge_left_open_is_found_and_so_is_what_it_claimed(
    engine: AsyncEngine,
    intake: Intake,
    gate_: Gate,
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
    older: float,
) -> None:
    """Bob had bought; then he turns out to be Alice, whose run goes on, whichever of the two is kept."""
    alice = await someone(intake, when=at(older))
    bob = {"email": "bob@example.com"}
    await someone(intake, email=bob["email"])
    run_id = await a_run(engine, alice)
    await take(engine, gate_, an_ask("before", at(1)), run_id, alice)
    bought = await intake.record(told("purchase.completed", at(1), who=bob, order_id="o"), at(1))
    await intake.record(told("page.viewed", at(2), who={"email": "alice@example.com", "user": "u"}, page="p"), at(2))
    merged = told("contact.merged", at(3), who={**bob, "user": "u"})
    with monkeypatch.context() as forgetful:
        forgetful.setattr(runs_module, "end_by_events_of", lambda *_: asyncio.sleep(0))
        await intake.record(merged, at(3))
    assert (await take(engine, gate_, an_ask("after", at(4)), run_id, alice)).status == "claimed"
    missed, claimed = await found(engine, policy)
    assert (missed.kind, missed.evidence) == ("exit-missed", {"event": bought.event_id, "run": run_id})
    assert (reasons([claimed]), claimed.evidence["event"]) == ([("forbidden", "exited")], bought.event_id)
    assert await found(engine, policy, since=at(5)) == []


@pytest.mark.parametrize("older", [-1, 1])
async def test_a_merge_that_ends_what_is_over_is_right(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, older: float
) -> None:
    bob = {"email": "bob@example.com"}
    alice, his = await someone(intake, when=at(older)), await someone(intake, email=bob["email"])
    hers, other = await a_run(engine, alice), await a_run(engine, his, key="his", entered=at(2))
    await take(engine, gate_, an_ask("before", at(1)), hers, alice)
    await intake.record(told("purchase.completed", at(1), who=bob, order_id="o"), at(1))
    await intake.record(told("page.viewed", at(2), who={"email": "alice@example.com", "user": "u"}, page="p"), at(2))
    await intake.record(told("contact.merged", at(3), who={**bob, "user": "u"}), at(3))
    assert (await take(engine, gate_, an_ask("after", at(4)), hers, alice)).reason == "exited"
    assert (await take(engine, gate_, an_ask("his", at(4)), other, alice)).status == "claimed"
    await intake.record(told("purchase.completed", at(5), order_id="p"), at(5))
    assert await found(engine, policy) == []


# Exits


async def test_an_exit_that_marked_no_run_is_found_and_so_is_what_was_claimed_after_it(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    bought = await intake.record(told("purchase.completed", at(1), order_id="o"), at(1))
    forgotten = {"exited_at": None, "exit_event": None, "exit_act": None, "outcome": None}
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).values(forgotten))
    await take(engine, gate_, an_ask("k", at(2)), run_id, alice)
    missed, claimed = await found(engine, policy)
    assert (missed.kind, missed.evidence) == ("exit-missed", {"event": bought.event_id, "run": run_id})
    assert reasons([claimed]) == [("forbidden", "exited")]
    assert claimed.evidence["event"] == bought.event_id


async def test_an_exit_that_a_later_one_took_the_place_of_is_found(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    first = await intake.record(told("purchase.completed", at(1), order_id="o"), at(1))
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).values(exited_at=None, exit_event=None, exit_act=None))
    await intake.record(told("purchase.completed", at(2), order_id="p"), at(2))
    assert [(f.kind, f.evidence["event"], f.evidence["run"]) for f in await found(engine, policy)] == [
        ("exit-missed", first.event_id, run_id)
    ]


async def test_no_exit_is_missed_that_came_too_early_or_too_late(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    alice = await someone(intake)
    await a_run(engine, alice, entered=at(5))
    await intake.record(told("purchase.completed", at(1), order_id="before it was entered"), at(6))
    ended = await a_run(engine, alice, key="of its own accord", entered=START)
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).where(tables.runs.c.id == ended).values(ended_at=at(7)))
        await conn.execute(sa.update(tables.runs).values(exited_at=None, exit_event=None, exit_act=None))
    await intake.record(told("purchase.completed", at(8), order_id="after it ended"), at(8))
    assert await found(engine, policy) == []


async def test_a_claim_that_was_first_at_somebody_elses_row_is_right(
    engine: AsyncEngine, policy: Policy, gate_: Gate
) -> None:
    """The order that ends Alice's run comes under Bob's name, and has its number before it waits for Alice's row."""
    keyed = replace(COURSE, key="checkout_id")
    intake = Intake(engine, (keyed,), policy)
    alice = await someone(intake)
    run_id = await a_run(engine, alice, key="c-1")
    order = told("purchase.completed", at(1), who={"email": "bob@example.com"}, order_id="o", checkout_id="c-1")
    async with engine.connect() as claiming:
        await store.lock(claiming, alice)
        recording = asyncio.create_task(intake.record(order, at(1)))
        await somebody_waits(engine)
        assert (await claim(gate_, claiming, an_ask("k", at(1)), run_id, alice)).status == "claimed"
        await claiming.commit()
    receipt = await recording
    [decision] = await rows(engine, tables.decisions)
    [event] = await rows(engine, tables.events, tables.events.c.id == receipt.event_id)
    assert event.act < decision.act
    assert await found(engine, policy, cards=(keyed,)) == []
    forgotten = {"exited_at": None, "exit_event": None, "exit_act": None}
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).values(forgotten))
    assert [(f.kind, f.contact_id) for f in await found(engine, policy, cards=(keyed,))] == [("exit-missed", alice)]


# Triggers


async def forget(engine: AsyncEngine, event_id: str | None) -> None:
    """What the event did to runs, and what is said of it, is gone."""
    [event] = await rows(engine, tables.events, tables.events.c.id == event_id)
    at_once = sa.and_(tables.journal.c.at == event.received_at, tables.journal.c.kind.in_(["enter", "skip"]))
    begun = sa.select(tables.runs.c.id).where(tables.runs.c.entry_event == event_id)
    async with engine.begin() as conn:
        await conn.execute(sa.delete(tables.journal).where(at_once))
        await conn.execute(sa.delete(tables.dispatches).where(tables.dispatches.c.run_id.in_(begun)))
        await conn.execute(sa.delete(tables.runs).where(tables.runs.c.entry_event == event_id))


async def test_a_trigger_without_effect_is_found(engine: AsyncEngine, policy: Policy) -> None:
    once_only = card(reentry=once(), unless=("customer",))
    intake = Intake(engine, (once_only,), policy)
    forms = [await intake.record(told("form.submitted", at(n), form="f"), at(n)) for n in range(3)]
    assert [(len(r.plan.starts), len(r.plan.skips)) for r in forms] == [(1, 0), (0, 1), (0, 1)]
    await intake.record(told("page.viewed", at(3), page="home"), at(3))
    assert await found(engine, policy, cards=(once_only,)) == []
    await forget(engine, forms[1].event_id)
    [finding] = await found(engine, policy, cards=(once_only,))
    assert (finding.kind, finding.evidence) == ("trigger-missed", {"event": forms[1].event_id})
    assert finding.contact_id == forms[1].contact_id
    assert await found(engine, policy, cards=(once_only,), since=at(1.5)) == []


async def test_a_run_whose_row_is_gone_is_found(engine: AsyncEngine, intake: Intake, policy: Policy) -> None:
    await intake.record(told("form.submitted", who={"email": "bob@example.com"}, form="f"), START)
    form = await intake.record(told("form.submitted", at(1), form="f"), at(1))
    await forget(engine, form.event_id)
    [finding] = await found(engine, policy)
    assert (finding.kind, finding.evidence) == ("trigger-missed", {"event": form.event_id})


async def test_of_two_triggers_at_one_moment_each_has_a_line_of_its_own(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    forms = [await intake.record(told("form.submitted", START, form=f"{n}"), at(1)) for n in range(3)]
    assert await found(engine, policy) == []
    [first, second] = await rows(engine, tables.journal, tables.journal.c.kind == "skip")
    async with engine.begin() as conn:
        await conn.execute(sa.delete(tables.journal).where(tables.journal.c.id == first.id))
    [finding] = await found(engine, policy)
    assert finding.kind == "trigger-missed"
    assert finding.evidence["event"] in {form.event_id for form in forms[1:]}
    assert second.data["by"] == "form.submitted"


async def test_what_is_a_trigger_only_since_a_while_began_nothing_before(engine: AsyncEngine, policy: Policy) -> None:
    """A journey, and a trigger of one, that came later."""
    old = Intake(engine, (COURSE,), policy)
    await old.record(told("form.submitted", START, form="f"), START)
    await old.record(told("call.missed", START), START)
    wider = card(trigger=(on("form.submitted"), on("call.missed")))
    cards = (wider, card("newer"))
    assert await found(engine, policy, cards=cards) == []
    new = Intake(engine, cards, policy)
    for type in ("form.submitted", "call.missed"):
        await new.record(told(type, at(1), **({"form": "f"} if type == "form.submitted" else {})), at(1))
    assert await found(engine, policy, cards=cards) == []


async def test_an_event_that_is_no_trigger_by_its_data_or_an_exit_besides_began_nothing(
    engine: AsyncEngine, policy: Policy
) -> None:
    picky = card(trigger=(on("form.submitted", form="f"),), exits=on("form.submitted", form="f", spam=True))
    intake = Intake(engine, (picky,), policy)
    for n, data in enumerate(({"form": "f"}, {"form": "g"}, {"form": "f", "spam": True})):
        await intake.record(told("form.submitted", at(n), **data), at(n))
    assert await found(engine, policy, cards=(picky,)) == []


async def test_only_the_first_identification_is_one(engine: AsyncEngine, policy: Policy) -> None:
    newcomers = card(trigger=(on("contact.identified", first=True),))
    intake = Intake(engine, (newcomers,), policy)
    first = [await intake.record(told("contact.identified", at(n), email="alice@example.com"), at(n)) for n in range(2)]
    assert await found(engine, policy, cards=(newcomers,)) == []
    await intake.record(told("contact.identified", who={"email": "bob@example.com"}, email="bob@example.com"), START)
    await forget(engine, first[0].event_id)
    assert [f.kind for f in await found(engine, policy, cards=(newcomers,))] == []  # the lines of that moment are gone
    await intake.record(told("contact.identified", who={"email": "eve@example.com"}, email="eve@example.com"), at(-1))
    [finding] = await found(engine, policy, cards=(newcomers,))
    assert finding.evidence == {"event": first[0].event_id}


@pytest.mark.parametrize("order", [(0, 1, 5), (1, 0, 2)])
async def test_behaviour_is_one_by_what_was_known_of_it_then(
    engine: AsyncEngine, policy: Policy, order: tuple[int, ...]
) -> None:
    curious = card(trigger=(often(on("page.viewed", page="pricing"), times=2, days=3),))
    intake = Intake(engine, (curious,), policy)
    for who in ("alice", "bob"):
        for n in order:
            event = told("page.viewed", at(n), who={"email": f"{who}@example.com"}, page="pricing")
            receipt = await intake.record(event, at(9 + n, hours=who == "bob"))
            if receipt.plan.starts:
                last = receipt
    assert await found(engine, policy, cards=(curious,)) == []
    await forget(engine, last.event_id)
    assert [f.evidence["event"] for f in await found(engine, policy, cards=(curious,))] == [last.event_id]


async def test_behaviour_of_two_who_were_not_yet_one_is_none(engine: AsyncEngine, policy: Policy) -> None:
    # Neither of the two reaches it alone, not even with what they do as one.
    curious = card(trigger=(often(on("page.viewed", page="pricing"), times=4, days=3),))
    intake = Intake(engine, (curious,), policy)
    for n in range(4):
        await intake.record(told("page.viewed", at(hours=n), who={"user": "eve"}, page="pricing"), START)
    who = ({"user": "u"}, {"email": "alice@example.com"}, {"user": "u"}, {"email": "alice@example.com"})
    for n, one in enumerate(who):
        await intake.record(told("page.viewed", at(hours=n), who=one, page="pricing"), at(5, hours=n))
    await intake.record(told("contact.merged", at(6), who={"email": "alice@example.com", "user": "u"}), at(6))
    assert await found(engine, policy, cards=(curious,)) == []
    begun = await intake.record(told("page.viewed", at(1), page="pricing"), at(7))
    assert len(begun.plan.starts) == 1
    assert await found(engine, policy, cards=(curious,)) == []
    await forget(engine, begun.event_id)
    assert [f.evidence["event"] for f in await found(engine, policy, cards=(curious,))] == [begun.event_id]


# Addresses


@pytest.mark.parametrize(("kind", "channel"), [("manychat", "social"), ("intercom", "chat")])
async def test_an_id_that_is_an_address_is_one_for_the_proof_too(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, kind: str, channel: str
) -> None:
    await someone(intake)
    seen = told("page.viewed", who={"email": "alice@example.com", kind: "77"}, page="blog")
    alice = str((await intake.record(seen, START)).contact_id)
    taken = await take(engine, gate_, an_ask("k", at(1), channel=channel), await a_run(engine, alice), alice)
    assert taken.status == "claimed"
    assert await found(engine, policy) == []


def named_twice(type: str, source_id: str) -> Event:
    who = (("email", "now@example.com"), ("email", "gone@example.com"), ("intercom", "now"), ("intercom", "gone"))
    return event(type, source="tests", source_id=source_id, occurred_at=at(1), identities=identities(*who))


async def test_of_two_addresses_in_one_event_the_first_counts_for_the_proof_too(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy
) -> None:
    alice = str((await intake.record(named_twice("contact.merged", "m"), at(1))).contact_id)
    now = {"email": "now@example.com"}
    await intake.record(told("consent.granted", who=now, channel="all"), at(1))
    await intake.record(told("message.bounced", at(1), who=now, permanent=True, address="gone@example.com"), at(1))
    run_id = await a_run(engine, alice)
    for channel in ("email", "chat"):
        assert (await take(engine, gate_, an_ask(channel, at(2), channel=channel), run_id, alice)).status == "claimed"
    assert await found(engine, policy) == []


async def test_an_address_that_somebody_overwrote_is_found(engine: AsyncEngine, intake: Intake, policy: Policy) -> None:
    await intake.record(named_twice("contact.updated", "u"), at(1))
    facts = await facts_of(engine, "now@example.com")
    for kind in ("email", "intercom"):
        stale = replace(facts, profile={**facts.profile, kind: replace(facts.profile[kind], value="gone")})
        async with engine.begin() as conn:
            await store.save(conn, stale)
        [lost] = await found(engine, policy)
        assert (lost.kind, f"profile {kind}" in lost.what) == ("fact-lost", True)


# Addresses of several contacts

PHONE = "+4930901820"
BOB = {"phone": PHONE}
BAD_NUMBER = {"channel": "sms", "permanent": True, "address": PHONE}


async def sharing(intake: Intake, engine: AsyncEngine) -> tuple[str, str]:
    """Alice, whose number is another contact's, and a run of hers."""
    alice = await someone(intake)
    await intake.record(told("contact.updated", phone=PHONE), START)
    await intake.record(told("page.viewed", who=BOB, page="home"), START)
    return alice, await a_run(engine, alice)


@pytest.mark.parametrize(
    ("no", "reason"),
    [
        (told("consent.withdrawn", at(1), who=BOB, channel="sms"), "consent_withdrawn"),
        (told("message.bounced", at(1), who=BOB, **BAD_NUMBER), "suppressed"),
    ],
    ids=["a no", "no number any more"],
)
async def test_a_no_of_another_who_is_known_by_the_address_forbids_what_is_claimed_after_it(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None, no: Event, reason: str
) -> None:
    alice, run_id = await sharing(intake, engine)
    # The clocks say the opposite of the truth, and nobody asks them.
    await take(engine, gate_, an_ask("before", at(2), channel="sms"), run_id, alice)
    said = await intake.record(no, at(1))
    await take(engine, gate_, an_ask("a mail", at(1)), run_id, alice)
    assert await found(engine, policy) == []
    wrong = await take(engine, gate_, an_ask("after", at(1), channel="sms"), run_id, alice)
    lifted = "consent.granted" if reason == "consent_withdrawn" else "address.reactivated"
    await intake.record(told(lifted, at(3), who=BOB, channel="sms", address=PHONE), at(3))
    await take(engine, gate_, an_ask("again", at(4), channel="sms"), run_id, alice)
    for version in (policy.version, "of-today"):
        [finding] = await found(engine, changed(policy, version=version))
        assert (reasons([finding]), finding.contact_id) == ([("forbidden", reason)], alice)
        assert (finding.evidence["touch"], finding.evidence["event"]) == (wrong.touch_id, said.event_id)
        assert finding.evidence.get("contact") == (said.contact_id if reason == "consent_withdrawn" else None)


async def test_a_yes_of_another_who_is_known_by_the_address_lasts_that_only_an_older_policy_made_of_a_form(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    stating = policy.consent.model_copy(update={"stated": {"form.submitted": "consent"}})
    old = changed(policy, version="of-old", consent=stating)
    alice, run_id = await sharing(intake, engine)
    await intake.record(told("consent.withdrawn", at(1), who=BOB, channel="sms"), at(1))
    form = told("form.submitted", at(2), who=BOB, form="newsletter", consent={"sms": ["promotional"]})
    await replace(intake, policy=old).remember(form, at(2))
    taken = await take(engine, Gate(old, "test"), an_ask("k", at(4), channel="sms"), run_id, alice)
    assert taken.status == "claimed"
    none = policy.consent.model_copy(update={"stated": {}})
    assert await found(engine, changed(policy, version="of-today", consent=none)) == []


@pytest.mark.parametrize("locked", [True, False])
async def test_a_claim_beside_the_lock_of_another_who_is_known_by_the_address_is_found(
    engine: AsyncEngine,
    intake: Intake,
    gate_: Gate,
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
    locked: bool,
) -> None:
    alice, run_id = await sharing(intake, engine)
    if not locked:
        monkeypatch.setattr(store, "lock", unlocked)
    async with engine.connect() as claiming, engine.connect() as recording:
        await intake.record_in(recording, told("consent.withdrawn", at(1), who=BOB, channel="sms"), at(1))
        task = asyncio.create_task(claim(gate_, claiming, an_ask("k", at(1), channel="sms"), run_id, alice))
        if locked:
            await somebody_waits(engine)
        else:
            await asyncio.wait([task])
        await recording.commit()
        await task
        await claiming.commit()
    assert reasons(await found(engine, policy)) == ([] if locked else [("forbidden", "consent_withdrawn")])


async def test_whose_an_address_was_is_not_judged_where_only_a_clock_or_a_merge_says_so(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy
) -> None:
    """It became theirs as the touch was claimed; or it came to who had said no with somebody who had not."""
    dora = {"email": "dora@example.com"}
    await intake.record(told("consent.withdrawn", at(-1), who=dora, channel="sms"), at(-1))
    alice, run_id = await sharing(intake, engine)
    assert (await take(engine, gate_, an_ask("k", at(1), channel="sms"), run_id, alice)).status == "claimed"
    await intake.record(told("contact.merged", at(2), who={**dora, **BOB}), at(2))
    assert await found(engine, policy) == []
    late = await take(engine, gate_, an_ask("l", at(3), channel="sms"), run_id, alice)
    assert (late.status, late.reason) == ("dropped", "consent_withdrawn")
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.touches).where(tables.touches.c.key == "l").values(status="claimed"))
        decided = sa.update(tables.decisions).where(tables.decisions.c.touch_id == late.touch_id)
        await conn.execute(decided.values(verdict="send"))
    assert reasons(await found(engine, policy)) == [("forbidden", "consent_withdrawn")]
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.identities).values(since=at(3) - LATE + timedelta(seconds=1)))
    assert await found(engine, policy) == []


# What the tables say besides


async def test_a_touch_that_never_asked_the_gate_is_found(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy
) -> None:
    alice = await someone(intake)
    taken = await take(engine, gate_, an_ask("k"), await a_run(engine, alice), alice)
    async with engine.begin() as conn:
        await conn.execute(sa.delete(tables.decisions))
    [finding] = await found(engine, policy)
    assert (finding.kind, finding.evidence["touch"]) == ("past-the-gate", taken.touch_id)


async def test_what_is_from_before_acts_were_numbered_is_counted_and_not_judged(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await intake.record(told("consent.withdrawn", at(1), channel="email"), at(1))
    await take(engine, gate_, an_ask("k", at(2)), run_id, alice)
    async with engine.begin() as conn:
        for table in (tables.events, tables.decisions):
            await conn.execute(sa.update(table).values(act=None))
    assert await found(engine, policy) == []
    await take(engine, gate_, an_ask("l", at(2)), run_id, alice)
    assert reasons(await found(engine, policy)) == [("forbidden", "consent_withdrawn")]


async def test_only_what_was_done_since_is_judged(
    engine: AsyncEngine, intake: Intake, gate_: Gate, policy: Policy, blind: None
) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await intake.record(told("consent.withdrawn", at(1), channel="email"), at(1))
    await take(engine, gate_, an_ask("k", at(2)), run_id, alice)
    assert await found(engine, policy, since=at(3)) == []
    assert len(await found(engine, policy, since=at(2))) == 1


def test_every_check_of_the_gate_is_asked_again_but_those_about_what_no_event_tells() -> None:
    from ops.verify import lives

    # The touch's own validity, when a mail was settled, and who else was waiting then.
    assert set(gate.CHECKS) - set(lives._CHECKS) == {gate.expired, gate.tiered, gate.outranked}
