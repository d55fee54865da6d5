"""A halt holds what it names until somebody ends it; then whatever waited is asked about at once."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Literal

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.halts import ask_a_person
from connectors.errors import TryAgain
from contacts import breaker, pauses, store, tables
from contacts.claims import Claim, Gate
from contacts.gate import Pause
from contacts.intake import Intake
from contacts.policy import Breaker, Policy
from contacts.specs import Purpose
from tests.contacts.support import START, a_run, an_ask, at, changed, claim, rows, somebody_waits, someone, told


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


async def test_a_halt_for_a_time_is_waited_for_that_long_and_holds_nobody_after(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    short = Pause("journey", "course", "r", at(hours=3))
    assert await called(engine, short)
    waiting = await asked(engine, gate, run_id, who, "k")
    assert (waiting.status, waiting.until, waiting.hold) == ("waiting", at(hours=3), short.hold)
    assert (await asked(engine, gate, run_id, who, "k", 3 / 24)).status == "claimed", "nobody had to end it"
    async with engine.begin() as conn:
        # The same may be called again, and for longer than the gate looks ahead.
        assert await pauses.call(conn, Pause("journey", "course", "r", at(9)), by="mia", now=at(1))
        assert not await pauses.call(conn, Pause("journey", "course", "r"), by="mia", now=at(8))
        old, new = reversed(await pauses.listed(conn))
    assert (old.released_at, old.released_by) == (at(hours=3), pauses.ITS_TIME)
    assert (new.ended_at(at(8)), new.ended_at(at(9))) == (None, at(9))
    async with engine.connect() as conn:
        assert await pauses.end(conn, "journey", "course", by="mia", now=at(9)) is None
    assert (await asked(engine, gate, run_id, who, "later", 1)).until == at(2)


async def test_the_end_reaches_every_open_run_that_waits_for_it_and_no_other(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    await called(engine)
    people = [await someone(intake, email=f"p{n}@example.com") for n in range(4)]
    runs = [await a_run(engine, who) for who in people]
    for run_id, who in zip(runs[:3], people, strict=False):
        await asked(engine, gate, run_id, who, f"k-{who}")
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).where(tables.runs.c.id == runs[0]).values(ended_at=START))
        assert await pauses.end(conn, "journey", "course", by="mia", now=at(1)) == 2
    told = await rows(engine, tables.dispatches)
    assert {news.run_id for news in told} == set(runs[1:3])
    assert len({news.payload["id"] for news in told}) == 1


# Runs that rest


async def steered(engine: AsyncEngine, order: Literal["pause", "resume"], day: float, *run_ids: str) -> int:
    async with engine.begin() as conn:
        return await pauses.steer(conn, order, at(day), tables.runs.c.id.in_(run_ids))


@pytest.mark.parametrize("purpose", ["promotional", "lifecycle", "transactional"])
async def test_nothing_of_a_run_that_rests_goes_out_until_it_is_resumed(
    engine: AsyncEngine, intake: Intake, gate: Gate, purpose: Purpose
) -> None:
    who = await someone(intake)
    mine, other = await a_run(engine, who), await a_run(engine, who, journey="another")

    async def asks(run_id: str, day: float) -> Claim:
        async with engine.begin() as conn:
            return await claim(gate, conn, an_ask(f"k-{run_id}", at(day), purpose=purpose), run_id, who)

    # The provider did not take it, and the operator pauses the run before the next attempt.
    first = await asks(mine, 0)
    async with engine.begin() as conn:
        await gate.release(conn, first.touch_id, "busy")
    assert await steered(engine, "pause", 1, mine) == 1
    async with engine.connect() as conn:
        assert not await gate.would_send(conn, an_ask(f"k-{mine}", at(1), purpose=purpose), run_id=mine, contact_id=who)
    waiting = await asks(mine, 1)
    assert (waiting.status, waiting.reason, waiting.hold, waiting.until) == ("waiting", "paused", "pause:run", at(2))
    assert (await asks(other, 1)).status == "claimed"
    assert await steered(engine, "resume", 2, mine) == 1
    assert (await asks(mine, 2)).status == "claimed"


async def test_a_resumed_run_hears_it_only_if_a_touch_of_it_waits_for_that(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    """And first that it may go on: whoever wakes before that goes to sleep again."""
    runs = await crowd(engine, intake, 4)
    waits, asked_nothing, ended, left_alone = ids = [run_id for run_id, _ in runs]
    await steered(engine, "pause", 1, *ids)
    for run_id, who in (runs[0], runs[2], runs[3]):
        assert (await asked(engine, gate, run_id, who, f"k-{who}", 1)).hold == "pause:run"
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).where(tables.runs.c.id == ended).values(ended_at=at(1)))
    assert await steered(engine, "resume", 2, waits, asked_nothing, ended) == 2
    words = [(d.run_id, d.kind, d.payload.get("type")) for d in await rows(engine, tables.dispatches)][4:]
    assert sorted(words[:2]) == sorted([(waits, "resume", None), (asked_nothing, "resume", None)])
    assert words[2:] == [(waits, "event", pauses.RESUMED)]
    rests = {run.id for run in await rows(engine, tables.runs, tables.runs.c.paused_at.is_not(None))}
    assert rests == {ended, left_alone}


@pytest.mark.parametrize("again", [False, True], ids=["once", "paused again"])
async def test_what_waited_for_runs_to_be_resumed_is_no_rush(
    engine: AsyncEngine, intake: Intake, guarded: Gate, again: bool
) -> None:
    runs = await crowd(engine, intake, 9)
    of_it = [run_id for run_id, _ in runs[:5]]
    await steered(engine, "pause", 0, *of_it)
    for run_id, who in runs[:5]:
        await asked(engine, guarded, run_id, who, f"k-{who}")
    await steered(engine, "resume", 0.001, *of_it)
    found = [await asked(engine, guarded, run_id, who, f"k-{who}", 0.002) for run_id, who in runs[:5]]
    if again:
        await steered(engine, "pause", 0.003, *of_it)
    found += [await asked(engine, guarded, run_id, who, f"k-{who}", 0.004) for run_id, who in runs[5:]]
    assert [v.status for v in found] == ["claimed"] * 8 + ["waiting"]
    assert (await asked(engine, guarded, *runs[0], "new", 0.004)).hold == "pause:journey/course"


async def test_nobody_reads_paused_while_a_claim_that_did_not_see_it_is_to_commit(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    async with engine.connect() as claiming, asyncio.timeout(30):
        assert (await claim(gate, claiming, an_ask("k"), run_id, who)).status == "claimed"
        pausing = asyncio.create_task(steered(engine, "pause", 0, run_id))
        await somebody_waits(engine)
        following = asyncio.create_task(asked(engine, gate, run_id, who, "l"))
        await somebody_waits(engine, 2)
        await claiming.commit()
        assert await pausing == 1
        assert (await following).hold == "pause:run"


# Halts and claims at the same moment


async def nothing(*_: object, **__: object) -> None:
    """Stands for the lock that claims share."""


@pytest.mark.parametrize("locked", [True, False])
async def test_nobody_reads_halted_while_a_claim_that_did_not_see_it_is_to_commit(
    engine: AsyncEngine, intake: Intake, gate: Gate, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    if not locked:
        monkeypatch.setattr(pauses, "claiming", nothing)
    async with engine.connect() as claiming:
        assert (await claim(gate, claiming, an_ask("k"), run_id, who)).status == "claimed"
        halting = asyncio.create_task(called(engine))
        if locked:
            await somebody_waits(engine)
            assert not halting.done()
        else:
            assert await halting, "the operator is told so, and then it goes out"
        await claiming.commit()
    assert await halting
    assert (await asked(engine, gate, run_id, who, "l")).hold == HALT.hold


@pytest.mark.parametrize("locked", [True, False])
async def test_a_claim_that_begins_while_a_halt_is_called_sees_it(
    engine: AsyncEngine, intake: Intake, gate: Gate, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    who = await someone(intake)
    run_id = await a_run(engine, who)
    if not locked:
        monkeypatch.setattr(pauses, "claiming", nothing)
    async with engine.connect() as halting:
        assert await pauses.call(halting, HALT, by="mia", now=START)
        claiming = asyncio.create_task(asked(engine, gate, run_id, who, "k"))
        if locked:
            await somebody_waits(engine)
        else:
            await asyncio.wait([claiming])
        await halting.commit()
    assert (await claiming).status == ("waiting" if locked else "claimed")


async def test_claims_do_not_wait_for_each_other(engine: AsyncEngine, intake: Intake, gate: Gate) -> None:
    """Not even for the breaker of one of them."""
    rules = Gate(changed(gate.policy, breaker=FEW.model_copy(update={"sends": 1})), "1")
    runs = await crowd(engine, intake, 3)
    await asked(engine, rules, *runs[0], "first")
    async with engine.connect() as one, engine.connect() as other, asyncio.timeout(30):
        assert (await claim(rules, one, an_ask("one", purpose="lifecycle"), *runs[1])).status == "claimed"
        assert (await claim(rules, other, an_ask("other"), *runs[2])).hold == HALT.hold


async def test_an_operator_who_calls_what_the_breaker_of_a_claim_calls_is_told_that_it_is_halted(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    """The breaker calls its halt inside a claim: it must not want for itself the lock that other claims share."""
    rules = Gate(changed(gate.policy, breaker=FEW.model_copy(update={"sends": 1})), "1")
    runs = await crowd(engine, intake, 3)
    await asked(engine, rules, *runs[0], "first")
    async with engine.connect() as one, engine.connect() as other, asyncio.timeout(30):
        assert (await claim(rules, one, an_ask("one"), *runs[1])).hold == HALT.hold
        halting = asyncio.create_task(called(engine))
        await somebody_waits(engine)
        # Two claims whose breakers call the same: the second waits for the first, and both share the lock.
        claiming = asyncio.create_task(claim(rules, other, an_ask("other"), *runs[2]))
        await somebody_waits(engine, 2)
        await one.commit()
        assert not await halting
        assert (await claiming).hold == HALT.hold
        await other.commit()


async def test_an_event_whose_breaker_calls_the_same_halt_waits_for_nobody_who_waits_for_it(
    engine: AsyncEngine, intake: Intake, gate: Gate
) -> None:
    """The event has called it and wants another contact's row; the operator waits for the event, a claim for both."""
    alice, bob = await someone(intake), await someone(intake, email="bob@example.com")
    run_id = await a_run(engine, bob)
    async with engine.connect() as recording, asyncio.timeout(30):
        await store.lock(recording, alice)
        await pauses.trip(recording, HALT, figures={}, now=START)
        halting = asyncio.create_task(called(engine))
        await somebody_waits(engine)
        claiming = asyncio.create_task(asked(engine, gate, run_id, bob, "k"))
        await somebody_waits(engine, 2)
        await store.lock(recording, bob)
        await recording.commit()
        assert not await halting
        assert (await claiming).hold == HALT.hold


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


async def test_the_breaker_keeps_its_figures(engine: AsyncEngine, intake: Intake, guarded: Gate) -> None:
    for run_id, who in await crowd(engine, intake, 4):
        await asked(engine, guarded, run_id, who, f"k-{who}")
    async with engine.connect() as conn:
        [halt] = await pauses.listed(conn)
    assert halt.figures == {"what": "promotional messages", "count": 4, "usual": 0.0, "minutes": 10}


async def test_a_persons_word_lets_go_what_was_there_and_nothing_that_comes_after(
    engine: AsyncEngine, intake: Intake, guarded: Gate
) -> None:
    crowds = await crowd(engine, intake, 12)
    for run_id, who in crowds[:8]:
        await asked(engine, guarded, run_id, who, f"k-{who}")
    async with engine.begin() as conn:
        assert await pauses.end(conn, "journey", "course", by="mia", now=at(minutes=1)) == 5
    again = [await asked(engine, guarded, run_id, who, f"k-{who}", 2 / 1440) for run_id, who in crowds[3:8]]
    assert [v.status for v in again] == ["claimed"] * 5, "in one go, though the breaker has seen eight in ten minutes"
    later = [await asked(engine, guarded, run_id, who, f"k-{who}", 3 / 1440) for run_id, who in crowds[8:]]
    assert [v.status for v in later] == ["claimed"] * 3 + ["waiting"]


@pytest.mark.parametrize(
    "pause",
    [
        HALT,
        Pause("channel", "email", "r"),
        Pause("all", "", "r"),
        Pause("journey", "course", "r", at(minutes=5)),
        Pause("channel", "email", "r", at(minutes=5)),
    ],
)
async def test_what_waited_for_an_operators_own_halt_goes_out_when_it_ends(
    engine: AsyncEngine, intake: Intake, guarded: Gate, pause: Pause
) -> None:
    """Its end was a person's decision, whoever called it and whether they ended it or said until when."""
    crowds = await crowd(engine, intake, 9)
    assert await called(engine, pause)
    for run_id, who in crowds[:5]:
        assert (await asked(engine, guarded, run_id, who, f"k-{who}")).hold == pause.hold
    if pause.until is None:
        async with engine.begin() as conn:
            assert await pauses.end(conn, pause.scope, pause.name, by="mia", now=at(minutes=5)) == 5
    over = 5 / 1440
    # What is new is counted, and what was let go is let go whatever else there is by then.
    later = [await asked(engine, guarded, run_id, who, f"k-{who}", over + 0.001) for run_id, who in crowds[5:8]]
    again = [await asked(engine, guarded, run_id, who, f"k-{who}", over) for run_id, who in crowds[:5]]
    assert [v.status for v in (*later, *again)] == ["claimed"] * 8
    *_, last = [d for d in await rows(engine, tables.decisions) if d.verdict == "send"]
    assert last.inputs["rush"] is None
    run_id, who = crowds[8]
    assert (await asked(engine, guarded, run_id, who, "one too many", over + 0.001)).hold == "pause:journey/course"


@pytest.mark.parametrize(
    "other", [Pause("journey", "another", "r"), Pause("channel", "sms", "r"), Pause("all", "", "r", at(minutes=5))]
)
async def test_the_end_of_another_halt_and_one_to_come_let_nothing_go(
    engine: AsyncEngine, intake: Intake, guarded: Gate, other: Pause
) -> None:
    crowds = await crowd(engine, intake, 4)
    for run_id, who in crowds[:3]:
        await asked(engine, guarded, run_id, who, f"k-{who}")
    await called(engine, other)
    if other.until is None:
        async with engine.begin() as conn:
            await pauses.end(conn, other.scope, other.name, by="mia", now=at(minutes=1))
    run_id, who = crowds[3]
    async with engine.begin() as conn:
        found = await breaker.sends(conn, an_ask("k", START), run_id, FEW)
    assert found is not None
    assert (found.count, found.is_too_much) == (4, True)


async def test_a_rush_of_entries_under_an_operators_halt_is_theirs_when_it_ends(
    engine: AsyncEngine, policy: Policy, intake: Intake
) -> None:
    watchful = Intake(engine, intake.cards, changed(policy, breaker=FEW))

    async def enter(*numbers: int) -> list[Pause]:
        for n in numbers:
            event = told("checkout.started", at(0), who={"email": f"p{n}@example.com"}, checkout_id=f"c-{n}")
            await watchful.record(event, at(minutes=n))
        async with engine.connect() as conn:
            return list(await pauses.in_force(conn))

    mine = Pause("journey", "abandoned-checkout", "an import")
    assert await called(engine, mine)
    assert await enter(0, 1, 2, 3, 4) == [mine]
    async with engine.begin() as conn:
        await pauses.end(conn, "journey", "abandoned-checkout", by="mia", now=at(minutes=4))
    assert await enter(5, 6, 7) == []
    assert len(await enter(8)) == 1


async def test_what_was_let_go_is_usual_from_then_on(engine: AsyncEngine, intake: Intake, guarded: Gate) -> None:
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
        await pauses.trip(conn, HALT, figures={}, now=at(-1))
        await pauses.end(conn, "journey", "course", by="mia", now=at(hours=-1))
    verdicts = [await asked(engine, guarded, run_id, who, f"k-{who}") for run_id, who in runs]
    assert [v.status for v in verdicts] == ["claimed"] * 5


async def test_entries_are_counted_anew_after_a_persons_word(
    engine: AsyncEngine, policy: Policy, intake: Intake
) -> None:
    watchful = Intake(engine, intake.cards, changed(policy, breaker=FEW))

    async def enter(*numbers: int) -> list[Pause]:
        for n in numbers:
            event = told("checkout.started", at(0), who={"email": f"p{n}@example.com"}, checkout_id=f"c-{n}")
            await watchful.record(event, at(minutes=n))
        async with engine.connect() as conn:
            return list(await pauses.in_force(conn))

    assert len(await enter(0, 1, 2, 3)) == 1
    async with engine.begin() as conn:
        await pauses.end(conn, "journey", "abandoned-checkout", by="mia", now=at(minutes=3))
    assert await enter(4, 5, 6) == []
    assert len(await enter(7)) == 1


# Telling a person


class Pager:
    """An ``Alert`` that does as it is told: each answer once, then all is well."""

    name = "pager"

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, str]] = []
        self.ringing, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def alert(self, key: str, title: str, body: str, link: str | None = None) -> str:
        self.calls.append((title, body))
        self.ringing.set()
        await self.go_on.wait()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return key


async def trip(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await pauses.trip(conn, HALT, figures={}, now=START)


async def test_a_person_is_told_once_with_what_to_do(engine: AsyncEngine) -> None:
    pager = Pager()
    await called(engine, Pause("all", "", "an operator knows of their own halt"))
    await trip(engine)
    assert [await ask_a_person(engine, pager, at(n)) for n in range(3)] == [1, 0, 0]
    [(title, body)] = pager.calls
    assert title == "Stopped: journey/course"
    assert "the copy is wrong" in body
    assert "perennial pauses end journey/course" in body
    async with engine.connect() as conn:
        assert [halt.told_at for halt in await pauses.listed(conn)] == [at(0), None]


@pytest.mark.parametrize("problem", [TryAgain("pager", "busy"), RuntimeError("the process dies")])
async def test_a_telling_that_fails_is_done_again(engine: AsyncEngine, problem: Exception) -> None:
    pager = Pager(problem)
    await trip(engine)
    with suppress(RuntimeError):
        assert await ask_a_person(engine, pager, at(0)) == 0
    assert await ask_a_person(engine, pager, at(1)) == 1
    assert len(pager.calls) == 2


async def test_two_who_tell_at_once_tell_once_and_do_not_wait_for_each_other(engine: AsyncEngine) -> None:
    pager = Pager()
    pager.go_on.clear()
    await trip(engine)
    first = asyncio.create_task(ask_a_person(engine, pager, at(0)))
    await pager.ringing.wait()
    async with asyncio.timeout(20):
        assert await ask_a_person(engine, pager, at(0)) == 0
    pager.go_on.set()
    assert await first == 1
    assert len(pager.calls) == 1
