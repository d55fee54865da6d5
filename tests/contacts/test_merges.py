"""Two who turn out to be one: what either had done ends the runs of both, as if they had been one all along."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import tables
from contacts.claims import Gate
from contacts.events import Event
from contacts.intake import Intake
from contacts.policy import Policy
from tests.contacts.support import START, a_run, an_ask, at, card, changed, claim, rows, someone, told

ALICE = {"email": "alice@example.com"}
BOB = {"email": "bob@example.com"}
CHECKOUT = card("checkout", trigger=(), key="checkout_id", newest_only=True)


async def record(intake: Intake, *happened: Event) -> str | None:
    """Records them in turn; returns the id of the last event."""
    receipts = [await intake.record(event, event.occurred_at) for event in happened]
    return receipts[-1].event_id


def bought(when: datetime, who: dict[str, str], **data: Any) -> Event:
    return told("purchase.completed", when, who=who, order_id="o", **data)


def one_person(when: datetime) -> list[Event]:
    """Alice and Bob turn out to be one: a device of hers is his."""
    seen = told("contact.updated", when, who={**ALICE, "user": "u"}, timezone="UTC")
    return [seen, told("contact.merged", when, who={**BOB, "user": "u"})]


async def outcomes(engine: AsyncEngine) -> dict[str, tuple[str | None, str | None]]:
    """By run: how it ended, and by which event."""
    return {run.id: (run.outcome, run.exit_event) for run in await rows(engine, tables.runs)}


@pytest.fixture
def policy(policy: Policy) -> Policy:
    """Without quiet hours and caps."""
    return changed(policy, quiet_hours=(), caps=())


@pytest.fixture
def intake(engine: AsyncEngine, policy: Policy) -> Intake:
    return Intake(engine, (card(), CHECKOUT), policy)


@pytest.mark.parametrize("older", ["alice", "bob"])
async def test_what_one_had_bought_ends_the_run_of_the_other(
    engine: AsyncEngine, intake: Intake, policy: Policy, older: str
) -> None:
    """Whichever of the two is kept."""
    alice = await someone(intake, when=at(-1 if older == "alice" else 0))
    await someone(intake, email="bob@example.com", when=at(0 if older == "alice" else -1))
    run_id = await a_run(engine, alice, journey="checkout", key="c-1")
    gate = Gate(policy, "test")
    async with engine.begin() as conn:
        tomorrow = replace(an_ask("waits"), channel="sms", now=at(1))
        await claim(gate, conn, tomorrow, run_id, alice)
    order = await record(intake, bought(at(1), BOB))
    assert await outcomes(engine) == {run_id: (None, None)}
    await record(intake, *one_person(at(2)))
    assert await outcomes(engine) == {run_id: ("converted", order)}
    [exit_] = await rows(engine, tables.dispatches)
    assert (exit_.kind, exit_.run_id) == ("exit", run_id)
    assert exit_.payload == {"outcome": "converted", "by": "purchase.completed"}
    [line] = await rows(engine, tables.journal, tables.journal.c.kind == "exit")
    assert (line.data, line.at) == ({"outcome": "converted", "by": "purchase.completed"}, at(2))
    async with engine.begin() as conn:
        refused = await claim(gate, conn, an_ask("help", at(2)), run_id, alice)
    assert (refused.status, refused.reason) == ("dropped", "exited")


async def test_an_identify_that_names_both_is_a_merge_too(engine: AsyncEngine, intake: Intake) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    order = await record(intake, bought(at(1), {"anonymous": "a-1"}))
    await record(intake, told("contact.identified", at(2), who={**ALICE, "anonymous": "a-1"}))
    assert await outcomes(engine) == {run_id: ("converted", order)}


async def test_the_first_of_several_ends_it(engine: AsyncEngine, intake: Intake) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await record(intake, bought(at(3), BOB))
    asked = await record(intake, told("conversation.started", at(2), who=BOB, conversation_id="c"))
    await record(intake, *one_person(at(4)))
    assert await outcomes(engine) == {run_id: ("exited", asked)}
    [exit_] = await rows(engine, tables.dispatches)
    assert exit_.payload["by"] == "conversation.started"


async def test_what_happened_before_the_run_was_entered_does_not_end_it(engine: AsyncEngine, intake: Intake) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice, entered=at(2))
    await record(intake, bought(at(1), BOB), *one_person(at(3)))
    assert await outcomes(engine) == {run_id: (None, None)}


async def test_what_happened_at_that_very_moment_does(engine: AsyncEngine, intake: Intake) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice, entered=at(2))
    order = await record(intake, bought(at(2), BOB))
    await record(intake, *one_person(at(3)))
    assert await outcomes(engine) == {run_id: ("converted", order)}


async def test_the_younger_run_goes_on_where_only_the_older_one_is_over(engine: AsyncEngine, intake: Intake) -> None:
    """Bob had bought before he came in again: that ends what Alice began before, and not what he began since."""
    alice = await someone(intake, when=at(-1))
    bob = await someone(intake, email="bob@example.com")
    hers = await a_run(engine, alice)
    order = await record(intake, bought(at(1), BOB))
    his = await a_run(engine, bob, entered=at(2))
    await record(intake, *one_person(at(3)))
    assert await outcomes(engine) == {hers: ("converted", order), his: (None, None)}


async def test_an_event_of_ones_own_that_did_not_end_a_run_does_not_do_so_now(
    engine: AsyncEngine, policy: Policy
) -> None:
    """Only what the other half did is new."""
    invoices = card("dunning", trigger=(), key="invoice_id", success=(), exits=())
    before = Intake(engine, (invoices,), policy)
    alice = await someone(before)
    run_id = await a_run(engine, alice, journey="dunning", key="i-1")
    await record(before, told("meeting.booked", at(1)), told("page.viewed", at(1), who=BOB, page="home"))
    now = Intake(engine, (card("dunning", trigger=(), key="invoice_id", exits=told_of("meeting.booked")),), policy)
    await record(now, *one_person(at(2)))
    assert await outcomes(engine) == {run_id: (None, None)}


def told_of(type: str) -> Any:
    from contacts.specs import on

    return on(type)


@pytest.mark.parametrize(
    ("own_key_only", "key", "ends"),
    [(False, "c-9", True), (True, "c-9", False), (True, "c-1", True), (False, "his", False)],
    ids=["a key nobody knows", "only its own counts", "its own", "the other's, who had a run of it"],
)
async def test_keys_count_as_ever(
    engine: AsyncEngine, policy: Policy, own_key_only: bool, key: str, ends: bool
) -> None:
    checkout = card("checkout", trigger=(), key="checkout_id", own_key_only=own_key_only)
    quiet = Intake(engine, (), policy)
    alice, bob = await someone(quiet), await someone(quiet, email="bob@example.com")
    hers, his = (
        await a_run(engine, alice, journey="checkout", key="c-1"),
        await a_run(engine, bob, journey="checkout", key="his"),
    )
    await record(quiet, bought(at(1), BOB, checkout_id=key))
    async with engine.begin() as conn:
        await conn.execute(tables.runs.update().where(tables.runs.c.id == his).values(ended_at=at(1)))
    await record(Intake(engine, (checkout,), policy), *one_person(at(2)))
    assert ((await outcomes(engine))[hers][0] == "converted") is ends


async def test_a_third_persons_run_is_no_matter_of_theirs(engine: AsyncEngine, policy: Policy) -> None:
    """Nobody holds the third one's row."""
    quiet = Intake(engine, (), policy)
    alice, carol = await someone(quiet), await someone(quiet, email="carol@example.com")
    hers = await a_run(engine, alice, journey="checkout", key="c-1")
    third = await a_run(engine, carol, journey="checkout", key="c-3")
    await record(quiet, bought(at(1), BOB, checkout_id="c-3"))
    await record(Intake(engine, (CHECKOUT,), policy), *one_person(at(2)))
    assert await outcomes(engine) == {hers: (None, None), third: (None, None)}


async def test_a_date_that_the_other_had_a_run_of_ends_no_run_of_another_date(
    engine: AsyncEngine, policy: Policy
) -> None:
    dates = card("dates", trigger=(), key="date", shared_key=True)
    quiet = Intake(engine, (), policy)
    alice, bob = await someone(quiet), await someone(quiet, email="bob@example.com")
    hers = await a_run(engine, alice, journey="dates", key="2026-05-01")
    his = await a_run(engine, bob, journey="dates", key="2026-06-01")
    await record(quiet, bought(at(1), BOB, date="2026-06-01"))
    async with engine.begin() as conn:
        await conn.execute(tables.runs.update().where(tables.runs.c.id == his).values(ended_at=at(1)))
    await record(Intake(engine, (dates,), policy), *one_person(at(2)))
    assert (await outcomes(engine))[hers] == (None, None)


async def test_nothing_of_it_lasts_if_the_merge_does_not(engine: AsyncEngine, intake: Intake) -> None:
    alice = await someone(intake)
    run_id = await a_run(engine, alice)
    await record(intake, bought(at(1), BOB))
    seen, merged = one_person(START)
    await record(intake, seen)
    async with engine.connect() as conn:
        await intake.record_in(conn, merged, at(2))
        await conn.rollback()
    assert await outcomes(engine) == {run_id: (None, None)}
    assert await rows(engine, tables.dispatches) == []
