"""A halt holds what it names until somebody ends it; then whatever waited is asked about at once."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import pauses, tables
from contacts.claims import Claim, Gate
from contacts.gate import Pause
from contacts.intake import Intake
from contacts.policy import Breaker, Policy
from tests.contacts.support import START, a_run, an_ask, at, changed, claim, rows, someone, told


@pytest.fixture
def gate(policy: Policy) -> Gate:
    return Gate(changed(policy, quiet_hours=(), caps=(), tiers=(), frequency={}), "1")


async def asked(engine: AsyncEngine, gate: Gate, run_id: str, who: str, key: str, day: float = 0) -> Claim:
    async with engine.begin() as conn:
        return await claim(gate, conn, an_ask(key, at(day)), run_id, who)


HALT = Pause("journey", "course", "the copy is wrong")


async def called(engine: AsyncEngine, pause: Pause = HALT) -> bool:
    async with engine.begin() as conn:
        return await pauses.call(conn, pause, by="mia", now=START)


async def test_a_halt_holds_and_its_end_lets_go(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    assert await called(engine)
    assert not await called(engine), "the same halt is called once"
    waiting = await asked(engine, gate, run_id, who, "k")
    assert (waiting.status, waiting.reason, waiting.hold) == ("waiting", "paused", "pause:journey/course")
    async with engine.begin() as conn:
        assert await pauses.end(conn, "journey", "course", by="mia", now=at(1)) == 1
        assert await pauses.end(conn, "journey", "course", by="mia", now=at(1)) is None
    [news] = await rows(engine, tables.dispatches)
    assert (news.run_id, news.kind, news.payload["type"]) == (run_id, "event", pauses.RESUMED)
    assert (await asked(engine, gate, run_id, who, "k", 1)).status == "claimed"
    async with engine.connect() as conn:
        [found] = await pauses.listed(conn)
    assert (found.pause, found.opened_by, found.released_at) == (HALT, "mia", at(1))


async def test_what_is_stale_when_a_halt_ends_is_dropped_and_says_so(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    await called(engine)
    await asked(engine, gate, run_id, who, "k")
    async with engine.begin() as conn:
        await pauses.end(conn, "journey", "course", by="mia", now=at(9))
        stale = await claim(gate, conn, an_ask("k", at(9), valid_for=timedelta(days=-2)), run_id, who)
    assert (stale.status, stale.reason) == ("dropped", "valid_for")


async def test_a_halt_of_another_journey_holds_nobody(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    await called(engine, Pause("journey", "another", "r"))
    assert (await asked(engine, gate, run_id, who, "k")).status == "claimed"


# The breaker

FEW = Breaker(window_minutes=10, sends=3, entries=3, times_usual=5)


@pytest.fixture
def guarded(gate: Gate) -> Gate:
    return Gate(changed(gate.policy, breaker=FEW), "1")


async def crowd(engine: AsyncEngine, intake: Intake, number: int) -> list[tuple[str, str]]:
    people = [await someone(intake, email=f"p{n}@example.com", when=at(-1)) for n in range(number)]
    return [(await a_run(engine, who), who) for who in people]


async def test_a_rush_of_messages_stops_itself_and_asks_a_person(
    engine: AsyncEngine, intake: Intake, guarded: Gate
) -> None:
    runs = await crowd(engine, intake, 6)
    verdicts = [await asked(engine, guarded, run_id, who, f"k-{who}") for run_id, who in runs]
    assert [v.status for v in verdicts] == ["claimed"] * 3 + ["waiting"] * 3
    assert {v.hold for v in verdicts[3:]} == {"pause:journey/course"}
    async with engine.begin() as conn:
        [halt] = await pauses.not_told(conn, START)
        assert await pauses.not_told(conn, START) == [], "a person is asked once"
    assert halt.opened_by == pauses.BREAKER
    assert halt.pause.reason == "4 promotional messages where 0.0 are usual in 10 minutes"


async def test_what_is_usual_is_no_rush(engine: AsyncEngine, intake: Intake, guarded: Gate) -> None:
    runs = await crowd(engine, intake, 5)
    run_id, who = runs[0]
    usual = [
        {
            "id": f"00000000-0000-4000-8000-{n:012}", "key": f"old-{n}", "run_id": run_id, "contact_id": who,
            "journey": "course", "stage": "s", "template": "t", "channel": "email", "purpose": "promotional",
            "status": "sent", "asked_at": at(-9), "valid_until": at(-8), "claimed_at": at(-20 + n / 1000),
        }
        for n in range(4100)
    ]  # fmt: skip
    async with engine.begin() as conn:
        await conn.execute(sa.insert(tables.touches), usual)
    verdicts = [await asked(engine, guarded, run_id, who, f"k-{who}") for run_id, who in runs]
    assert [v.status for v in verdicts] == ["claimed"] * 5, "4100 in four weeks are one in ten minutes; five times that"


async def test_other_purposes_and_journeys_go_on(engine: AsyncEngine, intake: Intake, guarded: Gate) -> None:
    runs = await crowd(engine, intake, 5)
    for run_id, who in runs[:4]:
        await asked(engine, guarded, run_id, who, f"k-{who}")
    run_id, who = runs[4]
    other = await a_run(engine, who, journey="another")
    async with engine.begin() as conn:
        ask = an_ask("other", START)
        free = await guarded.claim(
            conn, ask.__class__(**{**vars(ask), "journey": "another"}), run_id=other, contact_id=who, stage="s"
        )
    assert free.status == "claimed"


async def test_a_rush_of_entries_stops_what_they_would_send(
    engine: AsyncEngine, policy: Policy, intake: Intake
) -> None:
    watchful = Intake(engine, intake.cards, changed(policy, breaker=FEW))
    for n in range(5):
        event = told("checkout.started", at(0), who={"email": f"p{n}@example.com"}, checkout_id=f"c-{n}")
        receipt = await watchful.record(event, at(0))
        assert [s.journey for s in receipt.plan.starts] == ["abandoned-checkout"], "they enter; nothing is lost"
    async with engine.connect() as conn:
        [halt] = await pauses.in_force(conn)
    assert (halt.scope, halt.name) == ("journey", "abandoned-checkout")
    assert halt.reason.startswith("4 entries where 0.0 are usual")
