"""When a touch had better wait or not go at all: tiers, echoes, hold-outs, pauses, and whose turn it is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contacts import gate
from contacts.engagement import tier
from contacts.facts import Facts, apply
from contacts.gate import HOLD_RECHECK, Ask, Drop, Past, Pause, Send, Situation, Wait, Waiting, decide, is_held_out
from contacts.policy import Experiment, Policy, Priority, Tier
from tests.contacts.support import START, an_ask, at, changed, happening, reachable_facts

COOLING = Tier(name="cooling", after_days=30, max=1, days=7)
DORMANT = Tier(name="dormant", after_days=90, journeys=("reengagement",))


@pytest.fixture
def bare(policy: Policy) -> Policy:
    """Without quiet hours, caps and tiers."""
    return changed(policy, quiet_hours=(), caps=(), tiers=(), frequency={})


@pytest.fixture
def tiered(bare: Policy) -> Policy:
    return changed(bare, tiers=(COOLING, DORMANT))


def mailed(policy: Policy, *signs: tuple[str, float]) -> Facts:
    """Facts of a contact to whom we first wrote at the start, and what they did since."""
    facts = apply(reachable_facts(), happening("message.sent", at(0)), policy)
    for type, day in signs:
        facts = apply(
            facts, happening(type, at(day), **({"machine": False} if type == "message.opened" else {})), policy
        )
    return facts


def past(key: str, day: float, template: str = "other", purpose: gate.Purpose = "promotional") -> Past:
    return Past(key, "email", purpose, at(day), template)


def promotion(day: float, **changes: object) -> Ask:
    return replace(an_ask("k", at(day), valid_for=timedelta(days=30)), **{"template": "welcome", **changes})  # type: ignore[arg-type]


# Engagement tiers


@pytest.mark.parametrize(
    ("signs", "day", "expected"),
    [
        ([], 29, None),
        ([], 30, "cooling"),
        ([], 90, "dormant"),
        ([("message.opened", 80)], 90, None),
        ([("page.viewed", 80)], 115, "cooling"),
        ([("message.delivered", 80), ("usage.fell", 81), ("segment.left", 82)], 90, "dormant"),
        ([("purchase.completed", 80)], 90, None),
        ([("subscription.started", 80)], 90, None),
        ([("custom.asked_for_a_demo", 80)], 90, None),
        ([("payment.succeeded", 80), ("invoice.paid", 80), ("invoice.payment_failed", 80)], 90, "dormant"),
        ([("subscription.renewed", 80), ("subscription.canceled", 81), ("purchase.refunded", 82)], 90, "dormant"),
        ([("custom.sms_status", 80), ("custom.stripe_subscription", 81), ("custom.gift_expired", 82)], 90, "dormant"),
    ],
)
def test_a_tier_counts_from_the_last_sign_of_life(
    tiered: Policy, signs: list[tuple[str, float]], day: float, expected: str | None
) -> None:
    found = tier(mailed(tiered, *signs), tiered, at(day))
    assert (found.name if found else None) == expected


def test_what_a_machine_opens_wakes_nobody(tiered: Policy) -> None:
    # None: the source cannot tell, and mail programs open mail by themselves.
    for machine in (True, None):
        facts = apply(mailed(tiered), happening("message.opened", at(85), machine=machine), tiered)
        found = tier(facts, tiered, at(90))
        assert found is not None
        assert found.name == "dormant"


def test_only_the_journeys_of_the_tier_that_is_reached_may_still_ask(bare: Policy) -> None:
    deeper = (
        Tier(name="dormant", after_days=30, journeys=("reengagement",)),
        Tier(name="gone", after_days=90, journeys=("sunset",)),
    )
    policy = changed(bare, tiers=deeper)
    for day, asking in ((40, "reengagement"), (100, "sunset")):
        for journey in ("reengagement", "sunset", "course"):
            verdict = decide(promotion(day, journey=journey), Situation(mailed(policy)), policy)
            assert isinstance(verdict, Send if journey == asking else Drop), (day, journey)


def test_whoever_was_never_written_to_has_not_fallen_silent(tiered: Policy) -> None:
    assert tier(reachable_facts(), tiered, at(900)) is None


def test_promotion_to_the_cooling_is_throttled(tiered: Policy) -> None:
    situation = Situation(mailed(tiered), past=[past("a", 38)])
    verdict = decide(promotion(40), situation, tiered)
    assert verdict == Wait(
        "engagement_tier",
        at(45),
        inputs={"tier": "cooling", "silent_since": START.isoformat(), "max": 1, "days": 7, "in_window": 1},
    )
    assert isinstance(decide(promotion(45), situation, tiered), Send)
    assert isinstance(decide(replace(promotion(40), purpose="lifecycle"), situation, tiered), Send)


def test_the_dormant_are_only_asked_whether_to_go_on(tiered: Policy) -> None:
    situation = Situation(mailed(tiered))
    assert decide(promotion(90), situation, tiered) == Drop(
        "engagement_tier", {"tier": "dormant", "silent_since": START.isoformat()}
    )
    assert isinstance(decide(promotion(90, journey="reengagement"), situation, tiered), Send)
    asked = Situation(mailed(tiered), past=[past("a", 39)])
    assert isinstance(decide(promotion(40, journey="reengagement"), asked, tiered), Send), "nor made to wait before"
    assert isinstance(decide(replace(promotion(90), purpose="transactional"), situation, tiered), Send)


# No echo


def test_the_same_promotion_does_not_come_again_on_another_channel(bare: Policy) -> None:
    before = [past("a", 0, "welcome")]
    situation = Situation(reachable_facts(), past=before)
    again = promotion(1, channel="sms")
    assert decide(again, situation, bare) == Drop("echo", {"of": "a", "at": START.isoformat(), "days": 2})
    assert isinstance(decide(promotion(2, channel="sms"), situation, bare), Send)
    assert isinstance(decide(promotion(1, template="another"), situation, bare), Send)
    assert isinstance(decide(replace(again, purpose="lifecycle"), situation, bare), Send)
    assert isinstance(decide(replace(again, key="a"), situation, bare), Send), "another attempt at itself"


# Hold-out


def test_a_share_of_the_contacts_gets_nothing_from_a_journey_that_is_measured(bare: Policy) -> None:
    experiment = Experiment(name="does_it_help", journeys=("course",), hold_out=0.2)
    policy = changed(bare, experiments=(experiment,))
    people = [replace(reachable_facts(), contact_id=f"c-{n}") for n in range(2000)]
    left_out = [f for f in people if isinstance(decide(promotion(0), Situation(f), policy), Drop)]
    assert 0.17 < len(left_out) / len(people) < 0.23
    one = Situation(left_out[0])
    assert decide(promotion(0), one, policy) == Drop("hold_out", {"experiment": "does_it_help", "share": 0.2})
    assert decide(promotion(9), one, policy) == decide(promotion(0), one, policy), "always the same people"
    assert isinstance(decide(promotion(0, journey="another"), one, policy), Send)
    assert isinstance(decide(replace(promotion(0), purpose="lifecycle"), one, policy), Send)


def test_two_experiments_draw_different_people() -> None:
    a, b = (Experiment(name=name, journeys=("course",), hold_out=0.5) for name in ("a", "b"))
    both = [is_held_out(a, f"c-{n}") == is_held_out(b, f"c-{n}") for n in range(1000)]
    assert 400 < sum(both) < 600


# Pauses


@pytest.mark.parametrize(
    ("pause", "stops"),
    [
        (Pause("journey", "course", "r"), {"promotional", "lifecycle", "transactional"}),
        (Pause("journey", "another", "r"), set()),
        (Pause("channel", "email", "r"), {"promotional", "lifecycle", "transactional"}),
        (Pause("channel", "sms", "r"), set()),
        (Pause("all", "", "r"), {"promotional", "lifecycle"}),
    ],
)
def test_a_pause_stops_what_it_names(bare: Policy, pause: Pause, stops: set[str]) -> None:
    situation = Situation(reachable_facts(), pauses=[pause])
    for purpose in ("promotional", "lifecycle", "transactional"):
        verdict = decide(an_ask("k", purpose=purpose), situation, bare)  # type: ignore[arg-type]
        if purpose in stops:
            assert verdict == Wait("paused", START + HOLD_RECHECK, pause.hold, {"reason": "r"})
        else:
            assert isinstance(verdict, Send)


# Whose turn it is


def test_a_slot_is_kept_for_a_more_important_touch_that_waits_for_it(bare: Policy) -> None:
    policy = changed(bare, priority=Priority(journeys=("checkout", "course"), hold_hours=1))
    waits = Waiting("c", "checkout", "email", "promotional", at(1), at(9))
    situation = Situation(reachable_facts(), waiting=[waits])
    until = at(1, hours=1)
    verdict = decide(promotion(1), situation, policy)
    assert verdict == Wait("priority", until, inputs={"for": "checkout", "until": until.isoformat()})
    assert isinstance(decide(replace(promotion(1), now=until), situation, policy), Send), "not for ever"
    for other in (
        replace(waits, journey="course"),
        replace(waits, journey="unnamed"),
        replace(waits, channel="sms"),
        replace(waits, purpose="lifecycle"),
        replace(waits, key="k"),
        replace(waits, valid_until=at(0.5)),
    ):
        assert isinstance(decide(promotion(1), Situation(reachable_facts(), waiting=[other]), policy), Send)
    assert isinstance(decide(promotion(1, journey="checkout"), situation, policy), Send)
    assert isinstance(decide(replace(promotion(1), purpose="lifecycle"), situation, policy), Send)


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_more_important_touches_the_first_to_have_had_its_time_decides(bare: Policy, order: int) -> None:
    policy = changed(bare, priority=Priority(journeys=("checkout", "trial", "course"), hold_hours=1))
    late = Waiting("c", "checkout", "email", "promotional", at(1, hours=2), at(9))
    soon = Waiting("t", "trial", "email", "promotional", at(1), at(9))
    situation = Situation(reachable_facts(), waiting=[late, soon][::order])
    until = at(1, hours=1)
    assert decide(promotion(1), situation, policy) == Wait(
        "priority", until, inputs={"for": "trial", "until": until.isoformat()}
    )
    again = decide(replace(promotion(1), now=until), situation, policy)
    assert isinstance(again, Wait) and again.until == at(1, hours=3)


tiers = st.lists(
    st.one_of(
        st.builds(
            Tier, name=st.just("t"), after_days=st.integers(1, 60), max=st.integers(1, 2), days=st.integers(1, 10),
            journeys=st.just(()),
        ),
        st.builds(Tier, name=st.just("t"), after_days=st.integers(1, 60), journeys=st.just(("a",))),
    ),
    max_size=3,
)  # fmt: skip
asks = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 80), st.integers(1, 30), st.sampled_from(["x", "y", "z"])),
    min_size=1,
    max_size=10,
)


@given(tiers, asks, st.lists(st.integers(0, 80), max_size=2))
@settings(max_examples=200)
def test_whoever_follows_the_gate_breaks_no_tier_sends_no_echo_and_every_wait_ends(
    policy: Policy, drawn: list[Tier], wanted: list[tuple[str, int, int, str]], opens: list[int]
) -> None:
    policy = changed(
        policy, quiet_hours=(), caps=(), frequency={}, tiers=tuple(drawn), priority=Priority(journeys=("a", "b"))
    )
    facts = mailed(policy)
    todo = [
        replace(an_ask(f"k{n}", at(day), valid_for=timedelta(days=worth)), journey=journey, template=template)
        for n, (journey, day, worth, template) in enumerate(wanted)
    ]
    sent: list[Past] = []
    waits: dict[str, Waiting] = {}
    for _ in range(1000):
        if not todo:
            break
        ask = min(todo, key=lambda a: (a.now, a.key))
        todo.remove(ask)
        waits.pop(ask.key, None)
        known = facts
        for day in opens:
            if at(day) <= ask.now:
                known = apply(known, happening("message.opened", at(day), machine=False), policy)
        verdict = decide(ask, Situation(known, past=sent, waiting=list(waits.values())), policy)
        if isinstance(verdict, Wait):
            assert ask.now < verdict.until <= ask.valid_until
            todo.append(replace(ask, now=verdict.until))
            waits[ask.key] = Waiting(ask.key, ask.journey, ask.channel, ask.purpose, verdict.until, ask.valid_until)
        elif isinstance(verdict, Send):
            reached = tier(known, policy, ask.now)
            if reached is not None and not any(ask.journey in t.journeys for t in drawn):
                assert not reached.journeys
                if reached.max is not None and reached.days is not None:
                    since = ask.now - timedelta(days=reached.days)
                    assert len([p for p in sent if p.claimed_at > since]) < reached.max
            echoes = [p for p in sent if p.template == ask.template and p.claimed_at > ask.now - timedelta(days=2)]
            assert not echoes
            sent.append(Past(ask.key, ask.channel, ask.purpose, ask.now, ask.template))
    assert not todo, "every wait ends"
