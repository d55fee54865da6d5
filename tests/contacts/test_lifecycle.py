"""Where a contact stands follows from the facts, and the reasons say why."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.facts import Facts, apply
from contacts.lifecycle import STAGE_GOALS, standing
from contacts.policy import Policy
from contacts.specs import Happening
from tests.contacts.support import START, at, happening


def after(policy: Policy, *events: Happening) -> Facts:
    facts = Facts("c-1")
    for event in sorted(events, key=lambda e: e.occurred_at):
        facts = apply(facts, event, policy)
    return facts


KNOWN = happening("contact.identified", at(0), email="alice@example.com")
BOUGHT = happening("purchase.completed", at(0), order_id="o-1", value=4900, currency="EUR")
PAGE = happening("page.viewed", at(0), page="home")


@pytest.mark.parametrize(
    ("events", "day", "stage", "reason"),
    [
        ([PAGE], 1, "visitor", "known by a device only"),
        ([KNOWN, PAGE], 1, "lead", "known by an address"),
        ([KNOWN, happening("page.viewed", at(0), page="pricing")], 1, "interested", "lead score"),
        ([KNOWN, happening("meeting.booked", at(0))], 1, "in_talks", "a person is in touch"),
        ([KNOWN, happening("meeting.booked", at(0)), happening("meeting.canceled", at(1))], 2, "lead", "known by"),
        ([KNOWN, happening("conversation.started", at(0))], 1, "in_talks", "a person is in touch"),
        ([KNOWN, PAGE], 91, "lapsed", "nothing was seen for"),
        ([KNOWN, BOUGHT], 29, "new_customer", "bought first on 02 Mar 2026"),
        ([KNOWN, BOUGHT, happening("feature.used", at(30))], 40, "customer", "a customer since Mar 2026"),
        ([KNOWN, BOUGHT, happening("usage.fell", at(35))], 40, "at_risk", "usage.fell on"),
        ([KNOWN, BOUGHT, happening("invoice.payment_failed", at(35), invoice_id="i")], 40, "at_risk", "payment_failed"),
        ([KNOWN, BOUGHT], 91, "lapsed", "a customer of whom nothing was seen"),
        ([KNOWN, BOUGHT, happening("subscription.canceled", at(9), subscription_id="s")], 10, "former", "canceled"),
        (
            [
                KNOWN,
                BOUGHT,
                happening("subscription.canceled", at(9), subscription_id="s"),
                happening("subscription.started", at(12), subscription_id="t"),
            ],
            13,
            "new_customer",
            "bought first",
        ),
    ],
)
def test_stages_and_why(policy: Policy, events: list[Happening], day: float, stage: str, reason: str) -> None:
    found = standing(after(policy, *events), policy, at(day))
    assert found.stage == stage
    assert reason in found.reasons[0]
    assert stage in found.flags


def test_what_we_do_ourselves_is_no_sign_of_life(policy: Policy) -> None:
    ours = [
        happening(type, at(80))
        for type in ("message.sent", "message.delivered", "engagement.lapsed", "segment.left", "handoff.closed")
    ]
    assert standing(after(policy, KNOWN, PAGE, *ours), policy, at(91)).stage == "lapsed"


def test_strength_grows_with_deeds_fades_with_time_and_says_why(policy: Policy) -> None:
    one = standing(after(policy, KNOWN, BOUGHT), policy, at(0))
    more = standing(after(policy, KNOWN, BOUGHT, happening("review.left", at(0))), policy, at(0))
    later = standing(after(policy, KNOWN, BOUGHT, happening("review.left", at(0))), policy, at(120))
    assert (one.strength, more.strength, later.strength) == (20, 32, 16)
    assert more.reasons[1:] == (
        "purchase.completed 1 times, last on 02 Mar 2026: +20",
        "review.left 1 times, last on 02 Mar 2026: +12",
    )
    assert "strong" not in more.flags


def test_a_complaint_weighs_more_than_a_purchase(policy: Policy) -> None:
    assert standing(after(policy, KNOWN, BOUGHT, happening("message.complained", at(0))), policy, at(0)).strength == 0


types = st.sampled_from(
    ["contact.identified", "page.viewed", "purchase.completed", "feature.used", "usage.fell", "message.complained",
     "subscription.canceled", "subscription.started", "meeting.booked", "meeting.no_show", "review.left"]
)  # fmt: skip


@given(st.lists(st.tuples(types, st.integers(0, 200)), max_size=12), st.integers(0, 400))
def test_everybody_stands_somewhere_with_a_reason(policy: Policy, drawn: list[tuple[str, int]], day: int) -> None:
    events = [happening(type, at(when), page="home", order_id="o") for type, when in drawn]
    found = standing(after(policy, *events), policy, START + timedelta(days=day))
    assert found.stage in STAGE_GOALS
    assert 0 <= found.strength <= 100
    assert found.reasons[0]
