"""The breaker: a rush stops itself however it comes, and what is usual or has been looked at goes on."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import breaker, pauses, rollouts, tables
from contacts.claims import Claim, Gate
from contacts.intake import Intake
from contacts.policy import Breaker, JourneyBreaker, Policy, Segment
from contacts.specs import on
from tests.contacts.support import START, a_run, an_ask, at, card, changed, claim, rows, somebody_waits, someone, told

FEW = Breaker(window_minutes=10, sends=3, entries=3, times_usual=5)


@pytest.fixture
def bare(policy: Policy) -> Policy:
    return changed(policy, quiet_hours=(), caps=(), tiers=(), frequency={}, breaker=FEW)


@pytest.fixture
def gate(bare: Policy) -> Gate:
    return Gate(bare, "1")


async def asked(engine: AsyncEngine, gate: Gate, run: tuple[str, str], minutes: float = 0, **changes: str) -> Claim:
    run_id, who = run
    ask = replace(an_ask(f"k-{run_id}", at(minutes=minutes)), **changes)  # type: ignore[arg-type]
    async with engine.begin() as conn:
        return await claim(gate, conn, ask, run_id, who)


async def crowd(engine: AsyncEngine, intake: Intake, number: int) -> list[tuple[str, str]]:
    people = [await someone(intake, email=f"p{n}@example.com", when=at(-1)) for n in range(number)]
    return [(await a_run(engine, who), who) for who in people]


async def halts(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as conn:
        return [pause.what for pause in await pauses.in_force(conn)]


async def test_a_journey_may_have_numbers_of_its_own(engine: AsyncEngine, intake: Intake, bare: Policy) -> None:
    own = FEW.model_copy(update={"journeys": {"course": JourneyBreaker(sends=5), "other": JourneyBreaker(entries=9)}})
    assert (own.sends_of("course"), own.entries_of("course")) == (5, 3)
    assert (own.sends_of("other"), own.entries_of("other"), own.sends_of("third")) == (3, 9, 3)
    gate = Gate(changed(bare, breaker=own), "1")
    found = [await asked(engine, gate, run) for run in await crowd(engine, intake, 7)]
    assert [c.status for c in found] == ["claimed"] * 5 + ["waiting"] * 2
    sent = [d.inputs["rush"] for d in await rows(engine, tables.decisions) if d.verdict == "send"]
    assert sent == [{"in_window": n, "allowed": 5} for n in range(1, 6)]


async def test_another_attempt_at_a_claim_is_no_further_message(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    runs = await crowd(engine, intake, 3)
    for run in runs:
        await asked(engine, gate, run)
    assert [(await asked(engine, gate, run)).status for run in runs] == ["reclaimed"] * 3
    assert await halts(engine) == []


async def test_a_window_slides_and_clocks_differ(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    runs = await crowd(engine, intake, 7)
    for run, minutes in zip(runs, (0, 6, 7), strict=False):
        await asked(engine, gate, run, minutes)
    # At ten minutes sharp the first one is out of the window.
    assert (await asked(engine, gate, runs[3], 10)).status == "claimed"
    # A worker whose clock is behind sees what another has done "later".
    assert (await asked(engine, gate, runs[4], 8)).hold == "pause:journey/course"


async def test_a_halt_that_somebody_else_calls_at_the_same_moment_holds_too(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    """Two claims find that it is too much. The second waits for the first to have called the halt, which holds both."""
    runs = await crowd(engine, intake, 5)
    for run in runs[:3]:
        await asked(engine, gate, run)
    async with engine.connect() as first, engine.connect() as second:
        one = await claim(gate, first, an_ask("one"), *runs[3])
        task = asyncio.create_task(claim(gate, second, an_ask("two"), *runs[4]))
        await somebody_waits(engine)
        await first.commit()
        two = await task
        await second.commit()
    assert [one.hold, two.hold] == ["pause:journey/course"] * 2


@pytest.mark.parametrize(("parallel", "entries"), [(1, 1000), (6, 1000), (6, 6)])
async def test_a_change_to_a_crowd_at_once_mails_few_of_them(
    engine: AsyncEngine, policy: Policy, parallel: int, entries: int
) -> None:
    """Everybody enters in the same minute, and hardly more go out than are never too many.

    So many more as ask at the same time: their claims do not see each other.
    """
    few = Breaker(window_minutes=10, sends=12, entries=entries, times_usual=5)
    rules = changed(policy, quiet_hours=(), caps=(), tiers=(), frequency={}, breaker=few)
    course = card(trigger=on("contact.updated", company="Fernhill"))
    intake, gate, chance = Intake(engine, (course,), rules), Gate(rules, "1"), random.Random(3)
    people = [(f"p{n}@example.com", await someone(intake, email=f"p{n}@example.com", when=at(-1))) for n in range(60)]
    turns = asyncio.Semaphore(parallel)
    claims: list[Claim] = []

    async def changes(mail: str, who: str) -> None:
        async with turns:
            now = at(seconds=chance.uniform(0, 60))
            receipt = await intake.record(told("contact.updated", now, who={"email": mail}, company="Fernhill"), now)
            assert [start.journey for start in receipt.plan.starts] == ["course"], "nobody is lost"
            [run] = await rows(engine, tables.runs, tables.runs.c.contact_id == who)
            async with engine.begin() as conn:
                soon = an_ask(f"k-{run.id}", now + timedelta(seconds=chance.uniform(0, 5)))
                claims.append(await claim(gate, conn, soon, run.id, who))

    await asyncio.gather(*(changes(mail, who) for mail, who in people))
    claimed = [c for c in claims if c.status == "claimed"]
    held = [c for c in claims if c.status == "waiting"]
    floor = min(few.sends, few.entries)
    assert floor - parallel < len(claimed) < floor + parallel
    assert {c.hold for c in held} == {"pause:journey/course"}
    assert len(claimed) + len(held) == len(people)
    assert await halts(engine) == ["journey/course"]


async def test_what_a_rollout_begins_is_no_rush_and_the_rest_is(engine: AsyncEngine, bare: Policy) -> None:
    """A person has seen its size and rate before they said yes; its name in somebody else's event says nothing."""
    keen = Segment.model_validate({"name": "keen", "who": "a", "decides": "b", "did": [{"on": "page.viewed"}]})
    course = card(trigger=on("segment.joined", segment="keen"))
    intake, gate = Intake(engine, (course,), changed(bare, segments=(keen,))), Gate(bare, "1")
    for n in range(8):
        await someone(intake, email=f"p{n}@example.com", when=at(-1))
        await intake.remember(told("page.viewed", at(-1), who={"email": f"p{n}@example.com"}, page="home"), at(-1))
    what = rollouts.backfill("first", "keen")
    page = await rollouts.page(intake, what, since=START, now=lambda: START, after=None, limit=99)
    assert page.recorded == 8
    begun = [(run.id, run.contact_id) for run in await rows(engine, tables.runs)]
    assert [(await asked(engine, gate, run)).status for run in begun] == ["claimed"] * 8
    assert await halts(engine) == []
    assert {d.inputs["rush"] for d in await rows(engine, tables.decisions)} == {None}
    for n in range(4):
        who = await someone(intake, email=f"q{n}@example.com", when=at(-1))
        forged = told("segment.joined", START, who={"contact": who}, id=f"rollout/{n}", segment="keen", rollout="first")
        await intake.record(forged, START)
        assert await halts(engine) == ([] if n < 3 else ["journey/course"]), "these are counted, and by themselves"


async def test_messages_beside_a_rollout_are_counted_by_themselves(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    runs = await crowd(engine, intake, 9)
    of_a_rollout = tables.events.c.id.in_(
        sa.select(tables.runs.c.entry_event).where(tables.runs.c.id.in_([run for run, _ in runs[:5]]))
    )
    async with engine.begin() as conn:
        # What the sweep and the journeys record is ours as well, and no rollout.
        await conn.execute(sa.update(tables.events).values(source="perennial"))
        named = sa.func.concat("rollout/news/", tables.events.c.id)
        await conn.execute(sa.update(tables.events).where(of_a_rollout).values(source_id=named))
    found = [await asked(engine, gate, run) for run in runs]
    assert [c.status for c in found] == ["claimed"] * 8 + ["waiting"]
    # One that a rollout began goes out even so; what holds it is the halt.
    async with engine.begin() as conn:
        assert await breaker.sends(conn, an_ask("new"), runs[0][0], FEW) is None


async def test_the_counts_are_of_rows_that_an_index_finds(engine: AsyncEngine, intake: Intake) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    of_one = {"run": run_id, "who": who, "now": START}
    many = sa.text(
        "INSERT INTO touches (id, key, run_id, contact_id, journey, stage, template, channel, purpose, status,"
        " asked_at, valid_until, claimed_at) SELECT gen_random_uuid(), 'k' || n, :run, :who, 'course', 's', 't',"
        " 'email', 'promotional', 'sent', :now, :now, cast(:now AS timestamptz) - n * interval '1 minute'"
        " FROM generate_series(1, 20000) n"
    )
    entered = sa.text(
        "INSERT INTO runs (id, workflow_id, journey, contact_id, entry_event, entered_at, started_at, ended_at)"
        " SELECT gen_random_uuid(), 'w' || n, 'course', :who, (SELECT entry_event FROM runs LIMIT 1), :now,"
        " cast(:now AS timestamptz) - n * interval '1 minute', :now FROM generate_series(1, 20000) n"
    )
    async with engine.begin() as conn:
        await conn.execute(many, of_one)
        await conn.execute(entered, of_one)
        await conn.execute(sa.text("ANALYZE touches, runs"))
    plans: list[str] = []
    async with engine.connect() as conn:
        watched = conn.sync_connection
        assert watched is not None
        asked_for: list[tuple[str, object]] = []
        sa.event.listen(
            watched, "before_cursor_execute", lambda c, cur, text, values, *_: asked_for.append((text, values))
        )
        generous = FEW.model_copy(update={"sends": 10**6, "entries": 10**6})
        await breaker.sends(conn, an_ask("k"), run_id, generous)
        await breaker.entries(conn, "course", generous, START)
        for text, values in list(asked_for):
            plan = await conn.exec_driver_sql(f"EXPLAIN {text}", values)
            plans.append("\n".join(plan.scalars()))
    counts = [plan for plan in plans if "Aggregate" in plan and " on pauses" not in plan]
    assert len(counts) == 2
    assert "touches_of_journey" in counts[0]
    assert "runs_of_journey" in counts[1]
    # Who is of a rollout is looked up one by one: neither table is read from end to end.
    assert not any("Seq Scan on runs" in plan or "Seq Scan on touches" in plan for plan in plans)


async def test_a_run_that_was_let_go_on_long_ago_counts_like_any_other(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    begun = await crowd(engine, intake, 6)
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).values(resumed_at=START - timedelta(days=1)))
    found = [await asked(engine, gate, run) for run in begun]
    assert [c.status for c in found] == ["claimed"] * 3 + ["waiting"] * 3


async def test_fault_a_halt_unseen_lets_everybody_out(
    engine: AsyncEngine, intake: Intake, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the halt the tests above would see a crowd go out: they are not blind."""

    async def nothing(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(pauses, "trip", nothing)
    found = [await asked(engine, gate, run) for run in await crowd(engine, intake, 6)]
    assert [c.status for c in found] == ["claimed"] * 6
    assert await halts(engine) == []
