"""Who is in which segment, and that joining and leaving happen once, with the facts that made them so."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import facts as facts_module
from contacts import intake as intake_module
from contacts import segments, tables
from contacts.facts import Facts, Score, Stamped
from contacts.intake import Intake
from contacts.lifecycle import standing
from contacts.policy import Policy, PolicyError, Segment, parse
from contacts.segments import counted, without_new_definitions
from contacts.specs import Card, on
from contacts.sweep import sweep_page
from tests.contacts.support import (
    START,
    at,
    card,
    changed,
    facts_of,
    reachable_facts,
    rows,
    somebody_waits,
    someone,
    told,
)

ALICE = {"email": "alice@example.com"}
BOB = {"email": "bob@example.com", "user": "bob"}


def segment(name: str = "keen", **conditions: Any) -> Segment:
    return Segment.model_validate({"name": name, "who": "those", "decides": "something", **conditions})


def with_segments(policy: Policy, *found: Segment) -> Policy:
    return changed(policy, segments=found)


def known(**changes: Any) -> Facts:
    return replace(reachable_facts(), **changes)


def did(**types: float) -> dict[str, Any]:
    """Facts of somebody who did so, each once, that many days after the start."""
    when = {type.replace("__", "."): at(days) for type, days in types.items()}
    return {"last": when, "first": when, "counts": dict.fromkeys(when, 1)}


ELSEWHERE = Stamped({"campaign": "autumn", "plan": 30}, START, "e")
CAME = Stamped({"type": "form.submitted", "source": "ads", "campaign": ["spring", "soil"], "plan": 3}, START, "e")
SAID = {"size": Stamped("small", START, "a"), "tools": Stamped(["hoe", "rake"], START, "b")}
VIEWED = {"on": "page.viewed"}
BOUGHT = {"purchase.completed": at(10)}

CONDITIONS: list[tuple[str, dict[str, Any], Facts, Facts]] = [
    ("is known", {"only": ["known"]}, known(), Facts("c")),
    ("is not known", {"unless": ["known"]}, Facts("c"), known()),
    ("is customer", {"only": ["customer"]}, known(customer_since=START), known()),
    ("is strong", {"only": ["strong"]}, known(last=BOUGHT, counts={"purchase.completed": 3}), known()),
    ("stage is lead or visitor", {"stages": ["lead", "visitor"]}, known(), known(customer_since=START)),
    ("strength is at least 10", {"strength_at_least": 10}, known(**did(review__left=9)), known()),
    ("lead score is at least 9", {"score_at_least": 9}, known(score=Score(9, at(10))), known(score=Score(9, START))),
    (
        "spent at least 500 EUR or 400 GBP (in minor units)",
        {"spent_at_least": {"EUR": 500, "GBP": 400}},
        known(spent={"GBP": 400}),
        known(spent={"EUR": 499, "USD": 9000}),
    ),
    ("looked into soil or seeds", {"topics": ["soil", "seeds"]}, known(topics={"seeds": 1}), known(topics={"hoes": 9})),
    ("did page.viewed", {"did": [VIEWED]}, known(**did(page__viewed=0)), known(**did(page__liked=0))),
    (
        "did page.viewed 2 times",
        {"did": [{**VIEWED, "times": 2}]},
        known(last={"page.viewed": START}, counts={"page.viewed": 2}),
        known(**did(page__viewed=0)),
    ),
    (
        "did page.viewed in the last 5 days",
        {"did": [{**VIEWED, "within_days": 5}]},
        known(**did(page__viewed=5)),
        known(**did(page__viewed=4.9)),
    ),
    ("did not page.viewed", {"did_not": [VIEWED]}, known(), known(**did(page__viewed=0))),
    (
        "did not page.viewed in the last 5 days",
        {"did_not": [{**VIEWED, "within_days": 5}]},
        known(**did(page__viewed=4.9)),
        known(**did(page__viewed=5)),
    ),
    ("came with source ads or mail", {"came_with": {"source": ["ads", "mail"]}}, known(entry=CAME), known()),
    ("came with campaign soil", {"came_with": {"campaign": ["soil"]}}, known(entry=CAME), known(entry=ELSEWHERE)),
    ("came with plan 3", {"came_with": {"plan": ["3"]}}, known(entry=CAME), known(entry=ELSEWHERE)),
    ("answered 'size' with small", {"answered": {"size": ["small"]}}, known(answers=SAID), known()),
    (
        "answered 'tools' with spade or rake",
        {"answered": {"tools": ["spade", "rake"]}},
        known(answers=SAID),
        known(answers={"tools": Stamped("rakes", START, "a")}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("says", "given", "yes", "no"), CONDITIONS, ids=[c[0] for c in CONDITIONS])
def test_each_condition_holds_or_not_and_says_what_it_asks(
    policy: Policy, says: str, given: dict[str, Any], yes: Facts, no: Facts
) -> None:
    asked = segment(**given)
    now = at(10)
    for facts, holds in ((yes, True), (no, False)):
        [found] = segments.conditions(asked, facts, standing(facts, policy, now), policy, now)
        assert (found.says, found.holds) == (says, holds)
        assert ("keen" in counted(facts, with_segments(policy, asked), now).segments) == holds


def test_every_part_of_a_segment_is_a_condition_here() -> None:
    given = {name for _, conditions, _, _ in CONDITIONS for name in conditions}
    assert given == Segment.model_fields.keys() - {"name", "who", "decides"}


def test_all_conditions_must_hold(policy: Policy) -> None:
    both = with_segments(policy, segment(only=["known"], topics=["soil"]))
    assert counted(known(topics={"soil": 1}), both, START).segments == {"keen": START}
    for facts in (known(), Facts("c", topics={"soil": 1})):
        assert counted(facts, both, START).segments == {}


def test_whoever_was_erased_is_in_none(policy: Policy) -> None:
    everybody = with_segments(policy, segment(did_not=[VIEWED]))
    assert counted(known(), everybody, START).segments
    assert not counted(known(erased_at=START), everybody, START).segments


def test_membership_keeps_its_date(policy: Policy) -> None:
    policy = with_segments(policy, segment(only=["known"]))
    first = counted(known(), policy, START)
    assert counted(first, policy, at(9)).segments == {"keen": START}


def test_time_does_not_run_backwards_for_a_contact(policy: Policy) -> None:
    policy = with_segments(policy, segment(did=[{**VIEWED, "within_days": 5}]))
    left = counted(known(**did(page__viewed=0)), policy, at(6))
    assert counted(left, policy, at(5)).segments == {}


def test_a_new_or_changed_definition_makes_nobody_join_or_leave(policy: Policy) -> None:
    old = with_segments(
        policy, segment("a", only=["known"]), segment("b", only=["known"]), segment("c", only=["known"])
    )
    facts = replace(counted(known(), old, START), last={"page.viewed": START})
    changed_b, new_d = segment("b", only=["customer"]), segment("d", only=["known"])
    now_so = with_segments(policy, segment("a", only=["known"]), changed_b, new_d)
    before = without_new_definitions(facts, now_so, at(5))
    assert before.segments == {"a": START, "d": at(5)}
    assert counted(before, now_so, at(5)).segments == before.segments
    # What is only said in other words is the same definition.
    reworded = [s.model_copy(update={"who": "others", "decides": "others"}) for s in old.segments]
    assert without_new_definitions(facts, with_segments(policy, *reworded), at(5)) is facts


def test_an_unchanged_definition_leaves_the_facts_alone(policy: Policy) -> None:
    policy = with_segments(policy, segment(only=["customer"]))
    facts = counted(replace(known(), last={"page.viewed": START}), policy, START)
    bought = replace(facts, customer_since=START)
    assert without_new_definitions(bought, policy, at(1)) is bought


def test_a_newcomer_joins_by_the_first_event(policy: Policy) -> None:
    policy = with_segments(policy, segment(only=["customer"]), segment("others", unless=["customer"]))
    nobody = without_new_definitions(Facts("c"), policy, START)
    assert nobody.segments == {}
    assert nobody.segments_as == {s.name: s.fingerprint for s in policy.segments}


def test_a_segment_cannot_hang_on_segments(shipped_policy: Any) -> None:
    text = shipped_policy.read_text(encoding="utf-8")
    for part in (
        '[[score.behaviour]]\non = "segment.joined"\npoints = 20\n',
        '[[lifecycle.strength]]\non = "segment.left"\npoints = 20\n',
        '[[segment]]\nname = "x"\nwho = "x"\ndecides = "x"\ndid = [{ on = "segment.joined" }]\n',
    ):
        with pytest.raises(PolicyError, match="a segment cannot depend on joining or leaving one"):
            parse(f"{text}\n{part}")


# In the database

BUYER = segment("buyer", only=["customer"])
FRESH = segment("fresh", did=[{**VIEWED, "within_days": 5}])
GIFT = card(
    "gift",
    trigger=on("segment.joined", segment="buyer"),
    exits=on("segment.left", segment="fresh"),
    success=on("custom.thanked"),
)


def taking_in(intake: Intake, *found: Segment, cards: tuple[Card, ...] = (GIFT,)) -> Intake:
    return Intake(intake.engine, cards, with_segments(intake.policy, *found))


async def moves(engine: AsyncEngine) -> list[tuple[str, str, datetime]]:
    """What was joined and left, in the order of time."""
    found = await rows(engine, tables.events, tables.events.c.type.startswith("segment."))
    return sorted(((e.type, e.data["segment"], e.occurred_at) for e in found), key=lambda move: (move[2], move))


async def record(intake: Intake, type: str, when: datetime = START, **more: Any) -> Any:
    return await intake.record(told(type, when, **more), when)


async def test_joining_is_an_event_with_the_facts_that_made_it_so(engine: AsyncEngine, intake: Intake) -> None:
    intake = taking_in(intake, BUYER, FRESH)
    await record(intake, "page.viewed", page="home")
    assert (await facts_of(engine)).segments == {"fresh": START}
    await record(intake, "purchase.completed", at(1), order_id="o")
    assert (await facts_of(engine)).segments == {"fresh": START, "buyer": at(1)}
    assert await moves(engine) == [("segment.joined", "fresh", START), ("segment.joined", "buyer", at(1))]
    [run] = await rows(engine, tables.runs)
    assert (run.journey, run.entered_at, run.exited_at) == ("gift", at(1), None)
    [started] = [d for d in await rows(engine, tables.dispatches) if d.kind == "start"]
    assert started.payload["entry"]["data"] == {"segment": "buyer"}


async def test_what_joined_is_told_in_the_same_transaction(
    engine: AsyncEngine, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = taking_in(intake, BUYER)
    await record(intake, "page.viewed", page="home")
    stores = intake_module.store.save

    async def fails_at_the_second(*args: Any) -> None:
        await stores(*args)
        if len(await moves_within(args[0])) == 1:
            raise RuntimeError("seeded")

    async def moves_within(conn: Any) -> list[Any]:
        query = tables.events.select().where(tables.events.c.type == "segment.joined")
        return list(await conn.execute(query))

    with monkeypatch.context() as broken:
        broken.setattr(intake_module.store, "save", fails_at_the_second)
        with pytest.raises(RuntimeError, match="seeded"):
            await record(intake, "purchase.completed", at(1), order_id="o", id="bought")
    assert (await facts_of(engine)).segments == {}
    assert (await facts_of(engine)).customer_since is None
    assert await moves(engine) == []
    await record(intake, "purchase.completed", at(2), order_id="o", id="bought")
    assert await moves(engine) == [("segment.joined", "buyer", at(2))]


async def test_a_repeat_joins_nothing_again(engine: AsyncEngine, intake: Intake) -> None:
    intake = taking_in(intake, BUYER)
    for day in range(3):
        await record(intake, "purchase.completed", at(day), order_id="o", id="same")
    assert await moves(engine) == [("segment.joined", "buyer", START)]


async def test_two_events_at_once_join_once(engine: AsyncEngine, intake: Intake) -> None:
    intake = taking_in(intake, BUYER)
    await record(intake, "page.viewed", page="home")
    who = {"contact": (await facts_of(engine)).contact_id}
    orders = [record(intake, "purchase.completed", at(1), order_id=f"o-{n}") for n in range(6)]
    orders += [record(intake, "purchase.completed", at(1), who=who, order_id=f"p-{n}") for n in range(6)]
    await asyncio.gather(*orders)
    assert await moves(engine) == [("segment.joined", "buyer", at(1))]
    assert len(await rows(engine, tables.runs)) == 1


async def test_an_event_by_id_does_not_block_one_by_address_that_joins(engine: AsyncEngine, intake: Intake) -> None:
    """Whoever holds the contact's row records what was joined by the contact's id: nobody may hold that and wait."""
    intake = taking_in(intake, BUYER)
    contact_id = await someone(intake)
    by_id = told("page.viewed", who={"contact": contact_id}, page="home")

    async def in_one_go() -> Any:  # without the second try that record() makes of a deadlock
        async with engine.begin() as second:
            return await intake.record_in(second, by_id, START)

    async with engine.begin() as first:
        await intake_module.store.lock(first, contact_id)
        waiting = asyncio.create_task(in_one_go())
        await somebody_waits(engine)
        await intake.record_in(first, told("purchase.completed", order_id="o"), START)
    assert (await waiting).result == "stored"
    assert len(await moves(engine)) == 1


async def test_time_joins_and_leaves_by_the_sweep_and_once(engine: AsyncEngine, intake: Intake) -> None:
    ends = card("greet", trigger=on("segment.joined", segment="fresh"), exits=on("segment.left", segment="fresh"))
    intake = taking_in(
        intake, FRESH, segment("idle", did=[VIEWED], did_not=[{**VIEWED, "within_days": 5}]), cards=(ends,)
    )
    await record(intake, "page.viewed", page="home")
    contact_id = (await facts_of(engine)).contact_id
    assert await intake.refresh(contact_id, at(4)) == 0
    assert await intake.refresh(contact_id, at(6)) == 2
    assert await intake.refresh(contact_id, at(6)) == 0
    for _ in range(2):
        await sweep_page(intake, at(7))
    assert (await facts_of(engine)).segments == {"idle": at(6)}
    assert await moves(engine) == [
        ("segment.joined", "fresh", START),
        ("segment.joined", "idle", at(6)),
        ("segment.left", "fresh", at(6)),
    ]
    [run] = await rows(engine, tables.runs)
    assert (run.journey, run.outcome, run.exited_at) == ("greet", "exited", at(6))


async def test_a_sweep_that_is_late_takes_nothing_back(engine: AsyncEngine, intake: Intake) -> None:
    """It goes through everybody as of when it began; meanwhile an event may have counted with a later time."""
    intake = taking_in(intake, FRESH)
    await record(intake, "page.viewed", page="home")
    await record(intake, "ticket.opened", at(6), ticket_id="t")
    assert await sweep_page(intake, at(5)) is not None
    assert await moves(engine) == [("segment.joined", "fresh", START), ("segment.left", "fresh", at(6))]


async def test_a_new_definition_is_counted_in_silence_and_joined_from_then_on(
    engine: AsyncEngine, intake: Intake
) -> None:
    await record(taking_in(intake), "purchase.completed", order_id="o")
    await record(taking_in(intake), "page.viewed", who=BOB, page="home")
    now = taking_in(intake, BUYER)
    await sweep_page(now, at(1))
    assert (await facts_of(engine)).segments == {"buyer": at(1)}
    assert await moves(engine) == []
    assert await rows(engine, tables.runs) == []
    await record(now, "purchase.completed", at(2), who=BOB, order_id="o-2")
    assert await moves(engine) == [("segment.joined", "buyer", at(2))]


async def test_an_event_that_comes_before_the_sweep_counts_a_new_definition_first(
    engine: AsyncEngine, intake: Intake
) -> None:
    await record(taking_in(intake), "purchase.completed", order_id="o")
    await record(taking_in(intake, BUYER), "page.viewed", at(1), page="home")
    assert (await facts_of(engine)).segments == {"buyer": at(1)}
    assert await moves(engine) == []


async def test_history_is_remembered_without_joining(engine: AsyncEngine, intake: Intake) -> None:
    intake = taking_in(intake, BUYER)
    await intake.remember(told("purchase.completed", order_id="o"), START)
    assert (await facts_of(engine)).segments == {"buyer": START}
    await record(intake, "page.viewed", at(1), page="home")
    assert await moves(engine) == []
    assert await rows(engine, tables.runs) == []


async def test_whoever_is_erased_leaves(engine: AsyncEngine, intake: Intake) -> None:
    intake = taking_in(intake, BUYER)
    await record(intake, "purchase.completed", order_id="o")
    await record(intake, "contact.erased", at(1))
    assert await moves(engine) == [("segment.joined", "buyer", START), ("segment.left", "buyer", at(1))]
    await sweep_page(intake, at(2))
    assert len(await moves(engine)) == 2


async def merged(intake: Intake, when: datetime) -> None:
    await record(intake, "contact.merged", when, who={**ALICE, "user": "bob"})


async def test_two_who_are_one_join_by_what_they_did_together(engine: AsyncEngine, intake: Intake) -> None:
    intake = taking_in(intake, segment("spender", spent_at_least={"EUR": 100}), BUYER)
    for who in (ALICE, BOB):
        await record(intake, "purchase.completed", who=who, order_id=who["email"], value=60, currency="EUR")
    await merged(intake, at(1))
    assert (await facts_of(engine)).segments == {"buyer": START, "spender": at(1)}
    assert [m for m in await moves(engine) if m[2] == at(1)] == [("segment.joined", "spender", at(1))]


async def test_two_who_are_one_leave_what_does_not_fit_both(engine: AsyncEngine, intake: Intake) -> None:
    intake = taking_in(intake, segment("quiet", only=["known"], did_not=[VIEWED]))
    await record(intake, "contact.identified", **ALICE)
    await record(intake, "page.viewed", who=BOB, page="home")
    await merged(intake, at(1))
    assert await moves(engine) == [("segment.joined", "quiet", START), ("segment.left", "quiet", at(1))]


@pytest.mark.parametrize("older", [ALICE, BOB])
async def test_a_merge_with_somebody_not_counted_yet_joins_nothing_by_a_new_definition(
    engine: AsyncEngine, intake: Intake, older: dict[str, str]
) -> None:
    before = taking_in(intake)
    await record(before, "page.viewed", who=older, page="home")
    await record(before, "page.viewed", who=BOB if older is ALICE else ALICE, page="home")
    await record(before, "purchase.completed", who=BOB, order_id="o")
    now = taking_in(intake, BUYER)
    await record(now, "page.viewed", at(1), who=ALICE, page="home")
    await merged(now, at(2))
    assert (await facts_of(engine)).segments == {"buyer": at(2)}
    assert await moves(engine) == []


def test_any_order_of_a_merge_has_the_earlier_date(policy: Policy) -> None:
    policy = with_segments(policy, segment(only=["known"]))
    one, other = counted(known(), policy, at(1)), counted(known(), policy, at(2))
    for a, b in ((one, other), (other, one)):
        both = facts_module.merge(a, b, timedelta(days=30))
        assert both.segments == {"keen": at(1)}
        assert both.segments_as == one.segments_as
