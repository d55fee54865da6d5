"""The facts come out the same in whatever order the events arrive."""

import math
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.facts import CHANNELS, MARKETING, Consent, Facts, Happening, Score, apply, merge, outdated, words
from contacts.policy import Policy
from tests.contacts.support import START, at, happening

# Few moments and few values, so that ties and repeats are the rule.
moments = st.integers(0, 6).map(lambda n: START + timedelta(days=n))
addresses = st.sampled_from(["a@example.com", "b@example.com", "B@Example.com"])
channels = st.sampled_from(["email", "sms", "all"])
purposes = st.sampled_from(["promotional", "lifecycle", "all"])
names = st.sampled_from(["1", "2"])


def of(*types: str, **data: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.sampled_from(types), st.fixed_dictionaries({}, optional=data))


topics = st.lists(names, max_size=2, unique=True)
given_consents = st.dictionaries(channels, st.lists(purposes, max_size=2), max_size=2)

kinds = st.one_of(
    of("contact.updated", topics=topics, frequency=st.sampled_from(["weekly", "monthly"])),
    of("contact.paused", "contact.resumed", days=st.sampled_from([2, 30])),
    of("form.submitted", consent=given_consents),
    of("contact.updated", postal_address=st.fixed_dictionaries({"line1": names})),
    of("contact.identified", "contact.updated", email=addresses, first_name=names, timezone=st.just("Europe/Berlin")),
    of("page.viewed", page=st.sampled_from(["pricing", "blog"]), topic=names),
    of("resource.downloaded", resource=names, topic=names, type=names),
    of("ticket.opened", "ticket.solved", ticket_id=names),
    of("conversation.started", "conversation.ended", conversation_id=names),
    of("handoff.opened", "handoff.closed", handoff_id=names),
    of("hold.opened", "hold.released", hold_id=names),
    of("message.bounced", channel=st.just("email"), address=addresses, permanent=st.booleans()),
    of("message.complained", channel=st.just("email"), address=addresses),
    of("address.reactivated", channel=st.just("email"), address=addresses),
    of("message.unsubscribed", channel=channels, purpose=purposes),
    of("message.opened", "message.clicked", "message.replied", machine=st.none() | st.booleans()),
    of("contact.erased", "webinar.attended", "feature.used"),
    of("purchase.completed", "purchase.refunded", value=st.integers(1, 9), currency=st.sampled_from(["EUR", "USD"])),
    of("form.submitted", "survey.answered", answers=st.dictionaries(names, st.sampled_from(["x", "y", "", None]))),
    of("subscription.started", "subscription.canceled", plan=names, renews_on=st.sampled_from(["2026-05-01", "soon"])),
    st.tuples(
        st.sampled_from(["consent.granted", "consent.withdrawn"]),
        st.fixed_dictionaries({"channel": channels}, optional={"purpose": purposes}),
    ),
)


@st.composite
def histories(draw: st.DrawFn, most: int = 12) -> list[Happening]:
    came_with = st.fixed_dictionaries(
        {}, optional={"email": addresses, "phone": st.just("+4930901820"), "manychat": names}
    )
    drawn = draw(st.lists(st.tuples(kinds, moments, came_with), max_size=most))
    return [Happening(f"e{n}", type, when, data, given) for n, ((type, data), when, given) in enumerate(drawn)]


def after(events: list[Happening], policy: Policy, contact_id: str = "c") -> Facts:
    facts = Facts(contact_id)
    for event in events:
        facts = apply(facts, event, policy)
    return facts


def same(a: Facts, b: Facts) -> bool:
    """Equal, the score up to rounding."""
    scores = a.score.as_of == b.score.as_of and math.isclose(a.score.points, b.score.points, rel_tol=1e-9, abs_tol=1e-9)
    return scores and replace(a, score=Score()) == replace(b, score=Score())


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_facts(policy: Policy, events: list[Happening], random: Any) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    assert same(after(events, policy), after(shuffled, policy))


@given(histories(), histories())
def test_two_who_turn_out_to_be_one_are_as_if_they_always_had_been(
    policy: Policy, ours: list[Happening], theirs: list[Happening]
) -> None:
    theirs = [replace(e, id=f"f{n}") for n, e in enumerate(theirs)]
    half_life = timedelta(days=policy.score.half_life_days)
    mine, yours = after(ours, policy, "older"), after(theirs, policy, "younger")
    together = merge(mine, yours, half_life)
    assert together.contact_id == "older"
    assert same(together, after([*theirs, *ours], policy, "older"))
    # Which of the two is kept shows in nothing but the id.
    assert same(together, replace(merge(yours, mine, half_life), contact_id="older"))


@given(histories())
def test_a_refusal_on_either_side_survives_a_merge(policy: Policy, events: list[Happening]) -> None:
    refused = apply(Facts("b"), happening("consent.withdrawn", at(7), channel="email"), policy)
    for one, other in ((after(events, policy), refused), (refused, after(events, policy))):
        merged = merge(one, other, timedelta(days=30))
        assert all(not word.granted for p in MARKETING if (word := merged.consent("email", p)))
        assert merged.consent("email", "promotional") is not None


def granted(facts: Facts, channel: str = "email", purpose: Any = "promotional") -> bool | None:
    word = facts.consent(channel, purpose)
    return None if word is None else word.granted


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newest_word_wins_and_a_refusal_wins_ties(policy: Policy, order: tuple[int, int]) -> None:
    def outcome(*events: Happening) -> bool | None:
        return granted(after([events[n] for n in order], policy))

    yes, no = "consent.granted", "consent.withdrawn"
    assert outcome(happening(no, at(1), channel="email"), happening(yes, at(2), channel="email")) is True
    assert outcome(happening(yes, at(1), channel="email"), happening(no, at(2), channel="email")) is False
    for ids in (("a", "b"), ("b", "a")):
        tied = [happening(type, at(1), id=id, channel="email") for type, id in zip((yes, no), ids, strict=True)]
        assert outcome(*tied) is False
    assert outcome(happening("message.unsubscribed", at(1), channel="email"), happening(yes, channel="email")) is False


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_a_purchase_implies_never_beats_a_word(policy: Policy, order: tuple[int, int]) -> None:
    events = [happening("consent.withdrawn", at(1), channel="email"), happening("purchase.completed", at(5))]
    facts = after([events[n] for n in order], policy)
    assert granted(facts, purpose="lifecycle") is False
    assert granted(after([events[1]], policy), purpose="lifecycle") is True
    assert granted(after([events[1]], policy), purpose="promotional") is None


def test_all_stands_for_every_channel_and_both_kinds_of_marketing(policy: Policy) -> None:
    facts = after([happening("consent.withdrawn", channel="all", purpose="all")], policy)
    assert {(c.channel, c.purpose) for c in facts.consents.values()} == {(c, p) for c in CHANNELS for p in MARKETING}
    one = after([happening("consent.granted", channel="sms", purpose="lifecycle")], policy)
    assert list(one.consents) == ["sms/lifecycle"]


def test_a_complaint_refuses_marketing_everywhere_and_the_address_for_good(policy: Policy) -> None:
    facts = after([happening("message.complained", channel="email", address="A@example.com")], policy)
    assert {granted(facts, c, p) for c in CHANNELS for p in MARKETING} == {False}
    assert facts.suppression("email", "a@EXAMPLE.com") is not None
    assert facts.suppression("email", "b@example.com") is None


def test_only_a_bounce_for_good_suppresses(policy: Policy) -> None:
    soft = after([happening("message.bounced", channel="email", address="a@example.com", permanent=False)], policy)
    assert soft.suppression("email", "a@example.com") is None
    hard = after([happening("message.bounced", channel="email", address="a@example.com", permanent=True)], policy)
    found = hard.suppression("email", "a@example.com")
    assert found is not None
    assert found.reason == "bounced"


BOUNCED = {"channel": "email", "address": "a@example.com", "permanent": True}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([("message.bounced", 1), ("address.reactivated", 2)], None),
        ([("message.bounced", 1), ("address.reactivated", 1)], None),
        ([("message.bounced", 2), ("address.reactivated", 1)], "bounced"),
        ([("message.bounced", 1), ("address.reactivated", 2), ("message.bounced", 3)], "bounced"),
        (
            [("message.bounced", 1), ("address.reactivated", 2), ("message.bounced", 3), ("address.reactivated", 4)],
            None,
        ),
        ([("message.bounced", 1), ("message.complained", 2), ("address.reactivated", 3)], "complained"),
        ([("message.complained", 1), ("message.bounced", 2), ("address.reactivated", 3)], "complained"),
    ],
)
def test_a_bounce_ends_where_the_address_works_again_and_a_complaint_never(
    policy: Policy, told: list[tuple[str, int]], reason: str | None
) -> None:
    events = [happening(type, at(day), **BOUNCED) for type, day in told]
    for order in permutations(events):
        facts = after(list(order), policy)
        found = facts.suppression("email", "A@example.com")
        assert (found.reason if found else None) == reason
        assert facts.suppressed == (() if found is None else (found,))


def test_another_address_that_works_again_says_nothing_of_this_one(policy: Policy) -> None:
    bounced = happening("message.bounced", at(1), **BOUNCED)
    for other in ({"address": "b@example.com"}, {"address": "a@example.com", "channel": "sms"}):
        works = happening("address.reactivated", at(2), **{"channel": "email", **other})
        assert after([bounced, works], policy).suppression("email", "a@example.com") is not None


def test_an_address_that_works_again_is_no_yes(policy: Policy) -> None:
    left = happening("message.unsubscribed", at(1), channel="email")
    facts = after([left, happening("address.reactivated", at(2), channel="email", address="a@example.com")], policy)
    assert not granted(facts, "email", "promotional")
    assert facts.entry is None


def test_an_evidence_is_kept_with_a_consent(policy: Policy) -> None:
    event = happening("consent.granted", channel="email", purpose="promotional", evidence="box on the form")
    assert after([event], policy).consents == {
        "email/promotional": Consent("email", "promotional", True, START, event.id, "box on the form")
    }


def test_a_form_may_bring_the_contacts_own_word_and_where_it_does_not_it_brings_none(policy: Policy) -> None:
    ticked = happening("form.submitted", form="contact", consent={"email": ["promotional"], "sms": ["lifecycle"]})
    facts = after([ticked, happening("meeting.booked", consent={"push": ["promotional"]})], policy)
    assert facts.consents["email/promotional"] == Consent(
        "email", "promotional", True, START, ticked.id, "form.submitted"
    )
    assert {name for name, word in facts.consents.items() if word.granted} == set(facts.consents)
    assert set(facts.consents) == {"email/promotional", "sms/lifecycle", "push/promotional"}
    assert after([happening("form.submitted", form="contact")], policy).consents == {}
    # Elsewhere the field means nothing, and the policy may want none of it at all.
    assert after([replace(ticked, type="survey.answered")], policy).consents == {}
    strict = policy.model_copy(update={"consent": policy.consent.model_copy(update={"stated": {}})})
    assert after([ticked], strict).consents == {}


def test_a_ticked_box_is_a_word_like_any_other(policy: Policy) -> None:
    ticked = happening("form.submitted", at(1), consent={"email": ["promotional"]}, evidence="box under the form")
    facts = after([ticked, happening("consent.withdrawn", at(2), channel="email")], policy)
    assert granted(facts) is False
    anew = apply(facts, replace(ticked, id="again", occurred_at=at(3)), policy)
    assert granted(anew) is True
    assert anew.consents["email/promotional"].evidence == "box under the form"


@pytest.mark.parametrize(
    "junk",
    [True, "email", ["email"], {}, {"email": True}, {"email": "promotional"}, {"pigeon": ["promotional"]},
     {"email": [None, ["promotional"], "transactional", "all"]}, {"all": ["promotional"]}],
)  # fmt: skip
def test_a_field_nobody_could_mean_as_a_consent_gives_none(policy: Policy, junk: Any) -> None:
    facts = after([happening("form.submitted", consent=junk)], policy)
    assert facts.consents == {}
    assert facts.counts == {"form.submitted": 1}


OPENED = happening("ticket.opened", at(1), ticket_id="7")
SOLVED = happening("ticket.solved", at(3), ticket_id="7")
REOPENED = happening("ticket.opened", at(5), ticket_id="7")


def held(facts: Facts, days: float) -> tuple[str, ...]:
    return tuple(h.name for h in facts.active_holds(at(days)))


def test_a_release_that_arrives_before_its_opening_counts(policy: Policy) -> None:
    facts = after([SOLVED], policy)
    assert held(facts, 4) == ()
    assert held(apply(facts, OPENED, policy), 4) == ()
    assert held(apply(facts, REOPENED, policy), 6) == ("ticket:7",)


def test_a_ticket_holds_until_it_is_solved_and_again_when_it_is_reopened(policy: Policy) -> None:
    facts = after([OPENED], policy)
    assert held(facts, 2) == ("ticket:7",)
    assert held(facts, 900) == ("ticket:7",)
    facts = apply(facts, SOLVED, policy)
    assert held(facts, 4) == ()
    facts = apply(facts, REOPENED, policy)
    assert held(facts, 6) == ("ticket:7",)
    assert held(apply(facts, replace(SOLVED, id="late"), policy), 6) == ("ticket:7",)


def test_a_release_at_the_moment_of_opening_wins(policy: Policy) -> None:
    facts = after([OPENED, replace(SOLVED, occurred_at=OPENED.occurred_at)], policy)
    assert held(facts, 2) == ()


@pytest.mark.parametrize(("type", "name"), [("conversation.started", "conversation:-"), ("hold.opened", "operator:-")])
def test_a_hold_that_nobody_releases_expires(policy: Policy, type: str, name: str) -> None:
    length = policy.hold_days["conversation" if "conversation" in type else "operator"]
    facts = after([happening(type, at(0))], policy)
    assert held(facts, length - 0.01) == (name,)
    assert held(facts, length) == ()
    # Opened anew, it lasts anew.
    assert held(apply(facts, happening(type, at(10)), policy), length + 9) == (name,)


def test_a_pause_lasts_as_long_as_was_said_last(policy: Policy) -> None:
    facts = after([happening("contact.paused", at(0), days=30)], policy)
    assert (held(facts, 29.9), held(facts, 30)) == (("pause:-",), ())
    shorter = apply(facts, happening("contact.paused", at(1), days=3), policy)
    assert (held(shorter, 3.9), held(shorter, 4)) == (("pause:-",), ())
    assert held(apply(shorter, happening("contact.resumed", at(2)), policy), 3) == ()
    # Whatever arrives late, what was said last holds.
    late = after([happening("contact.paused", at(1), days=3), happening("contact.paused", at(0), days=30)], policy)
    assert held(late, 5) == ()


def test_other_holds_are_not_released_with_one(policy: Policy) -> None:
    facts = after([OPENED, happening("ticket.opened", at(2), ticket_id="8"), SOLVED], policy)
    assert held(facts, 4) == ("ticket:8",)


@given(st.lists(st.tuples(st.floats(-100, 100), moments), max_size=20), st.randoms(use_true_random=False))
def test_points_decay_in_any_order(earned: list[tuple[float, Any]], random: Any) -> None:
    half_life = timedelta(days=30)
    shuffled = list(earned)
    random.shuffle(shuffled)
    sums = []
    for order in (earned, shuffled):
        score = Score()
        for points, when in order:
            score = score.plus(points, when, half_life)
        sums.append(score.at(at(40), half_life))
    expected = math.fsum(p * 0.5 ** ((at(40) - when) / half_life) for p, when in earned)
    assert sums == pytest.approx([expected, expected], abs=1e-9)


def test_points_halve_and_one_from_the_future_counts_whole() -> None:
    score = Score().plus(40, START, timedelta(days=30))
    assert score.at(at(30), timedelta(days=30)) == 20
    # A sender's wrong clock: a hundred years ahead must not overflow anybody's sum.
    ahead = Score().plus(40, at(365 * 100), timedelta(days=30))
    assert ahead.at(START, timedelta(days=30)) == 40


def test_behaviour_earns_what_the_policy_says(policy: Policy) -> None:
    def points(*events: Happening) -> float:
        return after(list(events), policy).score.points

    assert points(happening("page.viewed", page="pricing")) == 41
    assert points(happening("page.viewed", page="blog")) == 1
    assert points(happening("message.clicked", machine=True)) == 0
    assert points(happening("message.clicked")) == 5
    assert points(happening("message.unsubscribed", channel="email")) == -40


@pytest.mark.parametrize(("kind", "channel"), [("manychat", "social"), ("intercom", "chat"), ("phone", "sms")])
def test_who_is_known_by_an_address_is_reached_there(policy: Policy, kind: str, channel: str) -> None:
    older, newer = (replace(happening("page.viewed", at(n)), addresses={kind: f"id-{n}"}) for n in (1, 2))
    assert after([newer, older], policy).address(channel) == "id-2"


def word(type: str, day: float = 1, **data: Any) -> Happening:
    return happening(type, at(day), id=f"{type}/{day}", **data)


ALL_YES = word("consent.granted", channel="all")
EMAIL_YES = word("consent.granted", channel="email", purpose="promotional")
EMAIL_NO = word("consent.withdrawn", channel="email", purpose="promotional")
UNSUBSCRIBED = word("message.unsubscribed", channel="email")


@pytest.mark.parametrize(
    ("told", "others", "expected"),
    [
        (EMAIL_YES, [], False),
        (EMAIL_YES, [word("consent.withdrawn", 2, channel="email")], True),
        (EMAIL_YES, [word("consent.withdrawn", 2, channel="all")], True),
        (EMAIL_YES, [word("message.unsubscribed", 2)], True),
        (EMAIL_YES, [word("message.complained", 2, channel="sms")], True),
        (EMAIL_YES, [word("consent.granted", 2, channel="email")], True),
        (EMAIL_YES, [word("consent.withdrawn", 0, channel="email")], False),
        (EMAIL_YES, [word("consent.withdrawn", 2, channel="sms")], False),
        (EMAIL_YES, [word("consent.withdrawn", 2, channel="email", purpose="lifecycle")], False),
        (EMAIL_YES, [word("purchase.completed", 2)], False),
        # Whoever hears this yes would write where they must not.
        (ALL_YES, [word("consent.withdrawn", 2, channel="email", purpose="promotional")], True),
        (EMAIL_NO, [word("consent.granted", 2, channel="email")], True),
        (EMAIL_NO, [word("consent.granted", 0, channel="email")], False),
        (UNSUBSCRIBED, [word("consent.granted", 2, channel="email")], True),
        # Whoever does not hear this no would go on with lifecycle mail.
        (UNSUBSCRIBED, [word("consent.granted", 2, channel="email", purpose="promotional")], False),
        (word("page.viewed", page="blog"), [word("consent.withdrawn", 2, channel="all")], False),
    ],
)
def test_which_words_are_outdated(policy: Policy, told: Happening, others: list[Happening], expected: bool) -> None:
    assert outdated(after([*others, told], policy), told) is expected


@given(histories())
def test_of_all_words_the_newest_is_never_outdated(policy: Policy, events: list[Happening]) -> None:
    # A form that states a consent is a newer word too, and not one that ``words`` sees.
    consent = policy.consent.model_copy(update={"stated": {}})
    facts = after(events, policy.model_copy(update={"consent": consent}))
    said = [e for e in events if words(e)]
    if said:
        newest = max(said, key=lambda e: (e.occurred_at, not words(e)[0].granted, e.id))
        assert not outdated(facts, newest)


def test_an_older_event_never_undoes_the_profile(policy: Policy) -> None:
    facts = after(
        [
            happening("contact.updated", at(5), first_name="Alice", company="Newer", email="new@example.com"),
            happening(
                "contact.identified", at(1), first_name="Al", company="Older", email="old@example.com", phone="1"
            ),
        ],
        policy,
    )
    assert [facts.get(n) for n in ("first_name", "company", "email", "phone")] == [
        "Alice",
        "Newer",
        "new@example.com",
        "1",
    ]
    empty = apply(facts, happening("contact.updated", at(9), first_name="", company=None), policy)
    assert empty.get("first_name") == "Alice"
    assert empty.get("company") == "Newer"


def test_the_entry_is_what_came_first_whatever_arrives_first(policy: Policy) -> None:
    came = Happening("e", "resource.downloaded", at(0), {"resource": "guide", "type": "pdf"})
    # Neither what a CRM tells us nor our own mail brought anybody here.
    others = [happening("contact.updated", at(-2)), happening("message.opened", at(-1), machine=False)]
    facts = after([happening("page.viewed", at(2), page="pricing"), came, *others], policy)
    assert facts.entry is not None
    # The sender's own field named type is not the event's.
    assert facts.entry.value == {"type": "resource.downloaded", "resource": "guide"}


def test_a_machine_that_opens_mail_is_not_engagement(policy: Policy) -> None:
    assert after([happening("message.opened", machine=True)], policy).engaged_at is None
    opened = [happening("message.opened", at(4), machine=False), happening("message.clicked", at(2))]
    assert after(opened, policy).engaged_at == at(4)


def test_flags_say_what_a_journey_may_ask(policy: Policy) -> None:
    assert Facts("c").flags() == frozenset()
    assert after([happening("page.viewed", page="pricing")], policy).flags() == frozenset()
    assert after([happening("contact.updated", email="a@example.com")], policy).flags() == {"known"}
    assert after([happening("contact.identified")], policy).flags() == {"known"}
    assert after([happening("purchase.completed")], policy).flags() == {"customer"}
    assert after([happening("contact.erased")], policy).flags() == {"erased"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_first_times_are_the_earliest_whatever_arrives_first(policy: Policy, order: tuple[int, int]) -> None:
    for type, field in (
        ("contact.erased", "erased_at"),
        ("contact.identified", "identified_at"),
        ("purchase.completed", "customer_since"),
    ):
        events = [happening(type, at(1)), happening(type, at(2))]
        assert getattr(after([events[n] for n in order], policy), field) == at(1)


def test_channels_have_addresses(policy: Policy) -> None:
    facts = after([happening("contact.updated", email="a@example.com", phone="+4930901820")], policy)
    assert [facts.address(c) for c in ("email", "sms", "call", "chat")] == [
        "a@example.com",
        "+4930901820",
        "a@example.com",
        None,
    ]


def looked(topic: str, *days: float) -> list[Happening]:
    return [happening("page.viewed", at(day), page="guide", topic=topic) for day in days]


def named(*topics: str, day: float = 5) -> Happening:
    return happening("contact.updated", at(day), topics=list(topics))


def test_topics_wanted_are_those_named_else_those_looked_into(policy: Policy) -> None:
    read = [*looked("seo", 1), *looked("checkout", 2, 3), *looked("analytics", 4)]
    assert after(read, policy).topics_wanted == ("checkout", "analytics", "seo")
    assert after([*read, named("seo", "analytics", "mail")], policy).topics_wanted == ("analytics", "seo", "mail")
    # Who names none, or takes all back, leaves it to us.
    assert after([*read, named("seo"), named(day=6)], policy).topics_wanted == ("checkout", "analytics", "seo")
    assert Facts("c").topics_wanted == ()


def began(type: str, topic: Any, day: float) -> dict[str, Any]:
    return {"id": "e", "type": type, "occurred_at": at(day).isoformat(), "data": {"topic": topic}}


def test_the_subject_is_one_that_was_named_or_asked_for_since(policy: Policy) -> None:
    read = [*looked("seo", 1), *looked("checkout", 6, 6)]
    silent = after(read, policy)
    assert (silent.subject(), silent.subject(began("page.viewed", "mail", 0))) == ("checkout", "mail")
    spoken = after([*read, named("seo", "mail", day=5)], policy)
    assert spoken.subject() == "seo"
    for type, topic, day, subject in (
        ("page.viewed", "checkout", 6, "seo"),  # they only looked
        ("resource.downloaded", "checkout", 4, "seo"),  # before they said otherwise
        ("resource.downloaded", "checkout", 6, "checkout"),
        ("resource.downloaded", "mail", 4, "mail"),
        ("resource.downloaded", None, 6, "seo"),
    ):
        assert spoken.subject(began(type, topic, day)) == subject, (type, topic, day)
    assert after([named()], policy).subject() is None
    assert after([named("mail")], policy).subject() == "mail"


@given(st.one_of(st.none(), st.text(), st.integers(), st.lists(st.text()), st.dictionaries(st.text(), st.text())))
def test_no_topic_of_an_event_disturbs_the_choice(policy: Policy, junk: Any) -> None:
    facts = after([named("seo")], policy)
    assert facts.subject(began("page.viewed", junk, 9)) == "seo"


@pytest.mark.parametrize(("name", "zone"), [("Asia/Tokyo", "Asia/Tokyo"), ("Middle/Earth", "UTC"), (None, "UTC")])
def test_a_zone_that_is_none_is_the_default(policy: Policy, name: str | None, zone: str) -> None:
    assert after([happening("contact.updated", timezone=name)], policy).zone("UTC").key == zone


def test_of_two_openings_at_one_moment_the_longer_hold_counts(policy: Policy) -> None:
    short, long = (happening("contact.paused", at(0), days=days) for days in (3, 30))
    for order in ([short, long], [long, short]):
        [hold] = after(order, policy).holds.values()
        assert hold.expires_at == at(30)
