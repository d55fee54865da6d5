"""A rollout's turns: everybody in the segment once, whatever happens between two of them."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import rollouts, store, tables
from contacts.claims import Gate
from contacts.intake import Intake
from contacts.policy import Segment
from contacts.rollouts import Page
from contacts.segments import counted
from contacts.specs import Rollout, on, once
from ops.foresight import Foreseen, foresee
from tests.contacts.support import START, a_run, an_ask, at, card, changed, claim, facts_of, rows, somebody_waits, told

KEEN = Segment.model_validate(
    {"name": "keen", "who": "a", "decides": "b", "did": [{"on": "form.submitted"}], "did_not": [{"on": "page.viewed"}]}
)
COURSE = card("course", trigger=on("segment.joined", segment="keen"))
BROADCAST = card(
    "broadcast",
    trigger=on("broadcast.due"),
    exits=on("broadcast.stopped"),
    key="broadcast",
    shared_key=True,
    reentry=once(),
)
DAY_ONE = at(1)
BACKFILL = rollouts.backfill("first", "keen")
NEWS = rollouts.broadcast("news", "keen", "expansion_idea", channel="email", purpose="promotional", valid_days=2)


@pytest.fixture
def intake(intake: Intake) -> Intake:
    return Intake(intake.engine, (COURSE, BROADCAST), changed(intake.policy, segments=(KEEN,)))


def who(n: int) -> dict[str, str]:
    return {"email": f"c{n}@example.com"}


async def members(intake: Intake, *numbers: int) -> None:
    """Contacts who were in the segment before anything hung on it."""
    for n in numbers:
        await intake.remember(told("form.submitted", who=who(n), form="f"), START)


async def go(intake: Intake, rollout: Rollout = BACKFILL, when: datetime = DAY_ONE, **more: Any) -> Page:
    given = {"since": at(1), "after": None, "limit": 100, **more}
    return await rollouts.page(intake, rollout, now=lambda: when, **given)


async def got(engine: AsyncEngine, rollout: Rollout = BACKFILL) -> list[str]:
    """Whom the rollout's events are about, by address."""
    query = (
        sa.select(tables.contacts.c.facts[("profile", "email", "value")].astext)
        .join(tables.events, tables.events.c.contact_id == tables.contacts.c.id)
        .where(tables.events.c.data.contains({"rollout": rollout.name}))
    )
    async with engine.connect() as conn:
        return sorted((await conn.execute(query)).scalars())


def addresses(*numbers: int) -> list[str]:
    return [who(n)["email"] for n in numbers]


async def test_members_join_and_others_do_not(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1, 2)
    await intake.remember(told("page.viewed", who=who(3), page="home"), START)
    page = await go(intake)
    assert (page.recorded, page.skipped, page.more) == (2, {}, False)
    assert await got(engine) == addresses(1, 2)
    found = await rows(engine, tables.events, tables.events.c.type == "segment.joined")
    assert {(e.source, e.source_id) for e in found} == {("perennial", f"rollout/first/{e.contact_id}") for e in found}
    assert [e.data for e in found] == [{"segment": "keen", "rollout": "first"}] * 2
    assert [(r.journey, r.entered_at) for r in await rows(engine, tables.runs)] == [("course", at(1))] * 2


async def test_going_through_them_again_begins_nothing(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1, 2)
    await go(intake)
    again = await go(intake, when=at(9), since=at(9))
    assert (again.recorded, again.skipped) == (0, {})
    assert len(await rows(engine, tables.runs)) == 2


async def test_pages_go_on_where_the_last_one_ended(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, *range(5))
    ends = []
    page = Page(None, True, 0, {})
    while page.more:
        page = await go(intake, after=page.last, limit=2)
        ends.append((page.recorded, page.more))
    assert ends == [(2, True), (2, True), (1, False)]
    assert await got(engine) == addresses(*range(5))


@pytest.mark.parametrize("done", [0, 1, 3])
async def test_an_attempt_after_one_that_died_does_the_rest_and_no_more(
    engine: AsyncEngine, intake: Intake, done: int
) -> None:
    await members(intake, *range(5))
    await go(intake, when=at(0.5), limit=1)  # an earlier page; what it did is not counted to this one
    before = len(await got(engine))
    if done:
        await go(intake, limit=done)
    page = await go(intake, limit=3, recorded_since=at(1))
    assert (page.recorded, page.more) == (3, True)
    assert len(await got(engine)) == before + 3
    rest = await go(intake, after=page.last, limit=3)
    assert (rest.recorded, rest.more) == (1, False)
    assert await got(engine) == addresses(*range(5))


async def test_whoever_left_before_their_turn_gets_nothing(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1, 2)
    async with engine.connect() as conn:
        line = await rollouts.next_in_line(conn, intake.policy, BACKFILL, at(1), None, 9)
    assert len(line) == 2
    gone = (await facts_of(engine, "c2@example.com")).contact_id
    await intake.record(told("page.viewed", at(1), who=who(2), page="home"), at(1))
    async with engine.begin() as conn:
        turn = await rollouts.turn(intake, conn, BACKFILL, gone, at(1), at(1))
    assert turn.skipped == rollouts.LEFT
    await go(intake)
    assert await got(engine) == addresses(1)


async def test_whoever_left_by_the_mere_passing_of_time_gets_nothing(engine: AsyncEngine, intake: Intake) -> None:
    fresh = KEEN.model_copy(update={"did": (KEEN.did[0].model_copy(update={"within_days": 5}),)})
    intake = Intake(engine, intake.cards, changed(intake.policy, segments=(fresh,)))
    await members(intake, 1)
    page = await go(intake, when=at(6), since=at(6))
    assert (page.recorded, page.skipped) == (0, {rollouts.LEFT: 1})
    assert [e.type for e in await rows(engine, tables.events, tables.events.c.type.startswith("segment."))] == [
        "segment.left"
    ]


async def test_whoever_joins_meanwhile_is_not_entered_twice(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1)
    await intake.record(told("form.submitted", at(2), who=who(2), form="f"), at(2))
    page = await go(intake, when=at(3))
    assert (page.recorded, page.skipped) == (1, {})
    assert await got(engine) == addresses(1)
    assert len(await rows(engine, tables.runs)) == 2


async def test_two_at_once_give_everybody_one(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, *range(6))
    pages = await asyncio.gather(*(go(intake) for _ in range(3)))
    assert sum(page.recorded for page in pages) == 6
    assert await got(engine) == addresses(*range(6))
    assert len(await rows(engine, tables.runs)) == 6


async def test_two_contacts_who_are_one_get_it_once(engine: AsyncEngine, intake: Intake) -> None:
    """The one who had it is absorbed by the other, who is older and whose turn is yet to come."""
    always = Intake(engine, (COURSE,), intake.policy)
    await members(always, 1, 2)
    older = (await facts_of(engine, "c1@example.com")).contact_id
    younger = (await facts_of(engine, "c2@example.com")).contact_id
    async with engine.begin() as conn:
        assert (await rollouts.turn(always, conn, BACKFILL, younger, at(1), at(1))).skipped is None
    await intake.record(told("contact.updated", at(1), who={**who(2), "user": "u"}), at(1))
    await intake.record(told("contact.merged", at(2), who={**who(1), "user": "u"}), at(2))
    page = await go(always, when=at(3))
    assert page.recorded == 0
    async with engine.begin() as conn:
        assert (await rollouts.turn(always, conn, BACKFILL, older, at(1), at(3))).skipped == rollouts.HAD


async def test_a_definition_nobody_was_counted_by_yet_is_filled_all_the_same(
    engine: AsyncEngine, intake: Intake
) -> None:
    """What a backfill is for: the segment is new, and the sweep has not come by."""
    before = Intake(engine, intake.cards, changed(intake.policy, segments=()))
    await members(before, 1)
    await before.remember(told("page.viewed", who=who(2), page="home"), START)
    async with engine.connect() as conn:
        assert await rollouts.waiting(conn, intake.policy, BACKFILL, at(1)) == 2
    page = await go(intake)
    assert (page.recorded, page.skipped) == (1, {rollouts.LEFT: 1})
    assert await got(engine) == addresses(1)
    assert (await facts_of(engine, "c1@example.com")).segments == {"keen": at(1)}


async def test_audience_and_re_entry_hold_as_ever(engine: AsyncEngine, intake: Intake) -> None:
    picky = card("course", trigger=on("segment.joined", segment="keen"), unless=("customer",), reentry=once())
    picky_intake = Intake(engine, (picky,), intake.policy)
    await members(picky_intake, 1, 2, 3)
    await picky_intake.remember(told("purchase.completed", who=who(2), order_id="o"), START)
    await a_run(engine, (await facts_of(engine, "c3@example.com")).contact_id)
    page = await go(picky_intake)
    assert page.recorded == 3
    began = [r.contact_id for r in await rows(engine, tables.runs, tables.runs.c.entered_at == at(1))]
    assert began == [(await facts_of(engine, "c1@example.com")).contact_id]


async def test_a_broadcast_begins_a_run_for_each_and_never_a_second(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1, 2)
    await go(intake, NEWS)
    await go(intake, NEWS, when=at(2), since=at(2))
    found = await rows(engine, tables.runs)
    assert [(r.journey, r.key) for r in found] == [("broadcast", "news")] * 2
    assert len({r.contact_id for r in found}) == 2
    [one, _] = await rows(engine, tables.dispatches)
    assert one.payload["entry"]["data"] == {
        "broadcast": "news",
        "rollout": "news",
        "template": "expansion_idea",
        "channel": "email",
        "purpose": "promotional",
        "valid_days": 2.0,
    }


async def test_nobody_in_a_broadcast_waits_for_another(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1, 2)
    first, second = [(await facts_of(engine, email)).contact_id for email in addresses(1, 2)]
    async with engine.begin() as one, engine.begin() as other:
        assert (await rollouts.turn(intake, one, NEWS, first, at(1), at(1))).skipped is None
        async with asyncio.timeout(10):
            assert (await rollouts.turn(intake, other, NEWS, second, at(1), at(1))).skipped is None


async def test_a_turn_waits_for_what_happens_to_the_contact_and_sees_it(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1)
    async with engine.begin() as conn:
        await intake.record_in(conn, told("page.viewed", at(1), who=who(1), page="home"), at(1))
        going = asyncio.create_task(go(intake))
        await somebody_waits(engine)
    assert (await going).skipped == {rollouts.LEFT: 1}


# What is to become of what was begun


async def told_to(engine: AsyncEngine) -> list[str]:
    return [d.kind for d in await rows(engine, tables.dispatches) if d.kind != "start"]


async def test_pausing_and_resuming_is_told_to_the_runs_of_the_broadcast_alone(
    engine: AsyncEngine, intake: Intake
) -> None:
    await members(intake, 1, 2, 3)
    await go(intake, NEWS)
    await go(intake, rollouts.broadcast("other", "keen", "expansion_idea"))
    await intake.record(told("purchase.completed", at(1), who=who(3), order_id="o"), at(1))  # their run is over
    mine = {r.id for r in await rows(engine, tables.runs) if r.key == "news" and r.exited_at is None}
    assert await rollouts.steer(intake, "broadcast", "news", "pause", at(2)) == 2
    assert await rollouts.steer(intake, "broadcast", "news", "resume", at(3)) == 2
    words = [d for d in await rows(engine, tables.dispatches) if d.kind in ("pause", "resume")]
    assert [d.kind for d in words] == ["pause"] * 2 + ["resume"] * 2
    assert {d.run_id for d in words} == mine
    assert [d.payload for d in words] == [{}] * 4


async def test_a_stop_ends_what_has_not_gone_out(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1, 2)
    await go(intake, NEWS)
    sent, waiting = await rows(engine, tables.runs)
    gate = Gate(intake.policy, "test")
    async with engine.begin() as conn:
        consent = told("consent.granted", who={"contact": sent.contact_id}, channel="email")
        await intake.record_in(conn, consent, at(1))
        address = told("contact.updated", who={"contact": sent.contact_id}, email="c@example.com")
        await intake.record_in(conn, address, at(1))
        assert (await claim(gate, conn, an_ask("k", at(1)), sent.id, sent.contact_id)).status == "claimed"
    assert await rollouts.steer(intake, "broadcast", "news", "stop", at(2)) == 1
    ends = {r.id: (r.outcome, r.exited_at) for r in await rows(engine, tables.runs)}
    assert ends == {sent.id: (None, None), waiting.id: ("exited", at(2))}
    assert await rollouts.steer(intake, "broadcast", "news", "stop", at(3)) == 0


async def test_a_backfill_has_no_runs_of_its_own(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1)
    await go(intake)
    for order in ("pause", "resume", "stop"):
        assert await rollouts.steer(intake, "segment", "keen", order, at(2)) == 0  # type: ignore[arg-type]
    assert await told_to(engine) == []
    assert [r.outcome for r in await rows(engine, tables.runs)] == [None]


# What would come of it


async def foreseen(intake: Intake, rollout: Rollout, when: datetime = DAY_ONE) -> Foreseen:
    found = [so_far async for so_far in foresee(intake, rollout, when, when)]
    return found[-1]


async def everything(engine: AsyncEngine) -> list[Any]:
    return [await rows(engine, table) for table in tables.metadata.sorted_tables]


async def test_a_look_ahead_says_what_the_rollout_then_does_and_changes_nothing(
    engine: AsyncEngine, intake: Intake
) -> None:
    picky = card("course", trigger=on("segment.joined", segment="keen"), unless=("customer",))
    intake = Intake(engine, (picky,), intake.policy)
    await members(intake, 1, 2, 3)
    await intake.remember(told("purchase.completed", who=who(2), order_id="o"), START)
    before = await everything(engine)
    found = await foreseen(intake, BACKFILL)
    assert await everything(engine) == before
    assert (found.turns, found.members, found.starts) == (3, 3, {"course": 2})
    assert found.passed_over == {"course": {"already customer": 1}}
    assert (found.sends, found.waits, found.drops) == (0, {}, {})
    await go(intake)
    assert len(await rows(engine, tables.runs)) == 2


async def test_a_look_ahead_at_a_broadcast_says_what_the_gate_would(engine: AsyncEngine, intake: Intake) -> None:
    await members(intake, 1, 2, 3, 4)
    for n in (1, 2, 3):
        await intake.remember(told("contact.updated", who=who(n), timezone="UTC", **who(n)), START)
        await intake.remember(told("consent.granted", who=who(n), channel="email"), START)
    await intake.remember(told("ticket.opened", who=who(2), ticket_id="t"), START)
    await intake.remember(told("contact.updated", at(0.1), who=who(3), timezone="America/Los_Angeles"), at(0.1))
    before = await everything(engine)
    found = await foreseen(intake, NEWS)
    assert await everything(engine) == before
    assert (found.members, found.starts) == (4, {"broadcast": 4})
    assert found.sends == 1
    assert found.waits == {"hold_ticket": 1, "quiet_hours": 1}
    assert found.drops == {"no_consent": 1}


async def test_who_would_be_skipped_is_said_with_the_reason(engine: AsyncEngine, intake: Intake) -> None:
    before = Intake(engine, intake.cards, changed(intake.policy, segments=()))
    await before.remember(told("page.viewed", who=who(1), page="home"), START)
    found = await foreseen(intake, BACKFILL)
    assert (found.turns, found.members, found.skipped) == (1, 0, {rollouts.LEFT: 1})


def test_facts_of_members_are_found_by_the_names_the_queries_use(intake: Intake) -> None:
    """The queries look into the document; this is the document."""
    document = store._FACTS.dump_python(
        counted(store.read_facts({"contact_id": "c"}), intake.policy, START), mode="json"
    )
    assert (document["segments"], document["segments_as"]) == ({}, {"keen": KEEN.fingerprint})
