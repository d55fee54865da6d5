"""What an answer's score means is read in one place, and everything else asks for the mood."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.events import InvalidEvent, event, identities
from contacts.facts import Facts, apply
from contacts.lifecycle import standing
from contacts.policy import Policy
from contacts.specs import Happening
from tests.contacts.support import START, at, happening


def answered(type: str, **data: Any) -> dict[str, Any]:
    who = identities(("email", "alice@example.com"))
    return event(type, source="test", source_id="1", occurred_at=START, identities=who, data=data).data


@pytest.mark.parametrize(
    ("score", "mood"),
    [
        (5, "good"), ("4", "good"), (4.5, "good"), ("Great", "good"), (" yes ", "good"),
        (3, "neutral"), ("3.5", "neutral"),
        (1, "bad"), ("2", "bad"), ("BAD", "bad"), ("no", "bad"), (2.9, "bad"),
        (0, None), (6, None), (-1, None), ("offered", None), ("", None), ("nan", None), ("inf", None), (None, None),
    ],
)  # fmt: skip
def test_how_did_we_do(score: Any, mood: str | None) -> None:
    assert answered("csat.answered", score=score).get("mood") == mood


@pytest.mark.parametrize(
    ("score", "mood"),
    [(10, "good"), ("9", "good"), (8, "neutral"), (7, "neutral"), (6, "bad"), (0, "bad"), (11, None), ("good", None)],
)
def test_would_you_recommend_us(score: Any, mood: str | None) -> None:
    assert answered("nps.answered", score=score).get("mood") == mood


def test_a_rating_is_a_score_by_another_name() -> None:
    assert answered("csat.answered", rating=2)["mood"] == "bad"
    assert answered("csat.answered", rating=2, score=5)["mood"] == "good"


def test_a_sender_with_a_scale_of_its_own_says_the_mood_itself() -> None:
    assert answered("csat.answered", score=80, mood="good")["mood"] == "good"
    assert answered("csat.answered", score=1, mood="neutral")["mood"] == "neutral"
    with pytest.raises(InvalidEvent, match=r"data\.mood"):
        answered("csat.answered", mood="meh")


@given(st.text() | st.integers() | st.floats() | st.none() | st.lists(st.integers()) | st.booleans())
def test_any_score_has_a_mood_or_none_or_is_refused_in_a_line(score: Any) -> None:
    for type in ("csat.answered", "nps.answered"):
        try:
            assert answered(type, score=score).get("mood") in ("good", "neutral", "bad", None)
        except InvalidEvent as refused:
            assert "\n" not in str(refused)


def told(policy: Policy, *events: Happening) -> Facts:
    facts = Facts("c-1")
    for one in events:
        facts = apply(facts, one, policy)
    return facts


BOUGHT = happening("purchase.completed", at(0), order_id="o-1", value=4900, currency="EUR")
BAD = happening("csat.answered", at(40), score=1, mood="bad")
GOOD = happening("csat.answered", at(42), score=5, mood="good")


def test_an_unhappy_answer_puts_at_risk_until_a_happy_one(policy: Policy) -> None:
    unhappy = standing(told(policy, BOUGHT, BAD), policy, at(41))
    assert (unhappy.stage, unhappy.reasons[0]) == ("at_risk", "csat.answered/bad on 11 Apr 2026")
    assert standing(told(policy, BOUGHT, BAD, GOOD), policy, at(43)).stage == "customer"
    assert standing(told(policy, BOUGHT, GOOD), policy, at(43)).stage == "customer"


def test_what_was_paid_after_all_is_no_risk_any_more(policy: Policy) -> None:
    failed = happening("invoice.payment_failed", at(40), invoice_id="i")
    paid = happening("invoice.paid", at(42), invoice_id="i")
    assert standing(told(policy, BOUGHT, failed), policy, at(43)).stage == "at_risk"
    assert standing(told(policy, BOUGHT, failed, paid), policy, at(43)).stage == "customer"


def test_only_unhappy_answers_weaken_a_relationship(policy: Policy) -> None:
    strong = [happening("purchase.completed", at(40), order_id=f"o-{n}") for n in range(3)]
    before = standing(told(policy, *strong), policy, at(42)).strength
    assert standing(told(policy, *strong, GOOD), policy, at(42)).strength == before
    assert standing(told(policy, *strong, BAD), policy, at(42)).strength <= before - 20


def test_who_has_left_is_former_until_they_buy_again(policy: Policy) -> None:
    left = told(policy, BOUGHT, happening("subscription.canceled", at(10), subscription_id="s"))
    assert "former" in left.flags()
    assert "former" not in apply(left, happening("subscription.started", at(20), subscription_id="t"), policy).flags()
    never = told(policy, happening("subscription.canceled", at(10), subscription_id="s"))
    assert "former" not in never.flags()
