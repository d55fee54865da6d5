"""What a message is told: the run's own first, then its event, then what is true anyway."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.context import message_context
from contacts.facts import Facts, apply
from contacts.policy import Links, Policy, Referral
from contacts.specs import Happening
from templates.render import declared, render

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
WAYS_OUT = {"unsubscribe_url": "https://hub.example.com/u", "preferences_url": "https://hub.example.com/p"}


def facts_of(policy: Policy, *happened: tuple[float, str, dict[str, Any]]) -> Facts:
    """The facts after events, each so many days ago."""
    facts = Facts("c-1")
    for n, (days_ago, type, data) in enumerate(happened):
        facts = apply(facts, Happening(f"e{n}", type, NOW - timedelta(days=days_ago), data), policy)
    return facts


def told(policy: Policy, facts: Facts, entry: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    began = {"id": "e", "type": "x", "occurred_at": NOW.isoformat(), "data": entry or {}}
    return message_context(began, given, facts, policy, WAYS_OUT, NOW)


PLAN = {"subscription_id": "s-1", "plan": "Search Growth", "value": 4900, "currency": "EUR"}


def test_the_plan_and_its_price_come_from_the_facts(policy: Policy) -> None:
    facts = facts_of(policy, (40, "subscription.started", {**PLAN, "renews_on": "2026-05-01"}))
    context = told(policy, facts)
    assert context["subscription"] == {"plan": "Search Growth", "export_url": policy.links.export}
    assert context["renewal"] == {**PLAN, "date": "2026-05-01", "manage_url": policy.links.plan}
    text = render("renewal_notice", context).text
    assert "Search Growth renews on 1 May 2026 for €49.00." in text


def test_what_the_event_says_counts_more_and_what_the_run_says_most(policy: Policy) -> None:
    facts = facts_of(policy, (40, "subscription.started", PLAN))
    entry = {"subscription_id": "s-2", "plan": "Search Start", "export_url": None}
    assert told(policy, facts, entry)["subscription"]["plan"] == "Search Start"
    given = {"plan": "Search Max", "export_url": None, "ends_at": "2026-04-01"}
    assert told(policy, facts, entry, subscription=given)["subscription"] == {
        "plan": "Search Max",
        "export_url": policy.links.export,
        "ends_at": "2026-04-01",
    }


def test_what_the_run_says_replaces_what_the_event_said(policy: Policy) -> None:
    entry = {"invoice_id": "i-1", "value": 4900, "currency": "EUR", "retry_at": "2026-03-20"}
    assert told(policy, Facts("c"), entry)["invoice"]["retry_at"] == "2026-03-20"
    later = told(policy, Facts("c"), entry, invoice={"value": 4900, "currency": "EUR", "retry_at": None})
    assert later["invoice"] == {"value": 4900, "currency": "EUR", "card_url": policy.links.billing}


@pytest.mark.parametrize(("days", "shown"), [(-1, False), (0, True), (1, True)], ids=["yesterday", "today", "tomorrow"])
def test_a_day_that_is_over_is_not_announced(policy: Policy, days: int, shown: bool) -> None:
    day = (NOW + timedelta(days=days)).date().isoformat()
    facts = facts_of(policy, (40, "subscription.started", {**PLAN, "renews_on": day}))
    context = told(policy, facts, invoice={"retry_at": day}, subscription={"ends_at": day})
    for record, part in (("renewal", "date"), ("invoice", "retry_at"), ("subscription", "ends_at")):
        assert (part in context[record]) is shown


def test_who_has_left_has_no_renewal_before_them(policy: Policy) -> None:
    facts = facts_of(
        policy,
        (90, "purchase.completed", {"order_id": "o"}),
        (90, "subscription.started", {**PLAN, "renews_on": "2026-05-01"}),
        (3, "subscription.canceled", PLAN),
    )
    context = told(policy, facts)
    assert context["standing"]["stage"] == "former"
    assert "date" not in context["renewal"]


def test_the_business_brings_its_pages_and_does_without(policy: Policy) -> None:
    context = told(policy, Facts("c"))
    assert context["review"] == {"url": policy.links.review}
    assert context["survey"]["url"] == policy.links.survey.url  # type: ignore[union-attr]
    bare = policy.model_copy(update={"links": Links()})
    context = told(bare, Facts("c"))
    for message in (
        "review_request",
        "referral_invitation",
        "survey_three_questions",
        "cancel_reason",
        "survey_thanks",
    ):
        assert "example.com/ask" not in render(message, context).text
    assert "with two or three sentences" in " ".join(render("review_request", context).text.split())
    rewarded = bare.model_copy(update={"links": Links(referral=Referral(reward="One month free for both"))})
    assert "One month free for both." in render("referral_invitation", told(rewarded, Facts("c"))).text


def test_only_the_survey_that_promised_something_keeps_a_promise(policy: Policy) -> None:
    assert policy.links.survey is not None
    name, url = policy.links.survey.name, policy.links.survey.incentive_url
    assert told(policy, Facts("c"), {"survey": name})["promise"]["url"] == url
    assert "promise" not in told(policy, Facts("c"), {"survey": "another"})


def test_a_reason_is_asked_where_the_event_says(policy: Policy) -> None:
    assert told(policy, Facts("c"))["reasons"]["url"] == policy.links.cancel_reason
    own = {"reason_url": "https://pay.example.com/why"}
    assert told(policy, Facts("c"), own)["reasons"]["url"] == "https://pay.example.com/why"


VISITS = [
    (9 - n, "page.viewed", {"page": "guide", "topic": topic}) for n, topic in enumerate(["seo", "seo", "checkout"])
]


def test_the_topic_is_that_of_the_event_then_the_one_they_told_then_the_one_they_come_back_to(policy: Policy) -> None:
    facts = facts_of(policy, *VISITS)
    assert told(policy, facts)["topic"] == "seo"
    assert told(policy, facts_of(policy, *VISITS[1:]))["topic"] == "checkout", "of two the later one"
    spoke = (30.0, "form.submitted", {"form": "survey", "answers": {"working_on": "numbers"}})
    facts = facts_of(policy, spoke, *VISITS)
    assert told(policy, facts)["topic"] == "analytics"
    assert told(policy, facts, {"topic": "seo"})["topic"] == "seo"
    assert "topic" not in told(policy, facts, {"resource": "inbox"}), "what was taken tells its own"
    assert "topic" not in told(policy, Facts("c"))


def test_answers_come_the_newest_first(policy: Policy) -> None:
    facts = facts_of(
        policy,
        (5, "form.submitted", {"form": "hello", "answers": {"shop_kind": "maker", "in_the_way": "time"}}),
        (2, "survey.answered", {"survey": "s", "answers": {"in_the_way": ["money"], "note": "hm"}}),
    )
    assert [a["question"] for a in told(policy, facts)["answers"]] == ["in_the_way", "note", "shop_kind"]
    text = " ".join(render("welcome", told(policy, facts)).text.split())
    assert "You told us what is most in the way: “no money to spend on it”. Everything below is free" in text
    assert "hm" not in text.split()


def test_whether_they_have_begun_decides_the_step(policy: Policy) -> None:
    bought = (6, "purchase.completed", {"order_id": "o-1"})
    context = told(policy, facts_of(policy, bought), {"order_id": "o-1", "items": []})
    assert render("onboarding_week_one", context).subject == "One small thing before anything else"
    context = told(policy, facts_of(policy, bought, (5, "feature.used", {"feature": "f"})), {"order_id": "o-1"})
    assert render("onboarding_week_one", context).subject == "Reading your first week in five minutes"


def test_a_year_is_a_year_on_the_day_itself(policy: Policy) -> None:
    early = replace(Facts("c"), customer_since=datetime(2025, 3, 14, 23, 0, tzinfo=UTC))
    card = " ".join(render("gift_anniversary", told(policy, early)).text.split())
    assert "A year ago you took a chance on us." in card


def test_a_stranger_is_told_apart_from_a_customer(policy: Policy) -> None:
    context = told(policy, Facts("c"))
    assert context["standing"]["stage"] == "visitor"
    assert "since" not in context["standing"] or context["standing"]["since"] is None
    assert "first_name" not in context


NEEDS = {
    "checkout": {"items": []},
    "order": {"items": []},
    "event": {"name": "Live", "starts_at": "2026-06-11T12:00:00+02:00", "url": "https://www.example.com/live"},
    "meeting": {},
    "feature": {"name": "notes"},
    "quiz": {"advice": "Begin."},
}


@pytest.mark.parametrize("message", [template.name for template in declared()])
def test_nothing_but_a_runs_own_has_to_be_passed(policy: Policy, message: str) -> None:
    """What a message cannot do without comes from the facts and the policy, or from the few things a run is about."""
    bare = policy.model_copy(update={"links": Links()})
    for facts in (Facts("c"), facts_of(policy, (3, "purchase.completed", {"order_id": "o"}))):
        render(message, told(bare, facts, **NEEDS))
        render(message, told(policy, facts, **NEEDS))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("topic", "resource", "checkout_id", "order_id", "invoice_id", "feature", "milestone", "comment", "answers")


@given(
    entry=st.dictionaries(st.sampled_from([*FIELDS, "plan", "url", "value", "retry_at", "next"]), JUNK),
    given_=st.dictionaries(st.sampled_from(["subscription", "renewal", "invoice", "survey", "review"]), JUNK),
)
@settings(max_examples=100, deadline=None)
def test_junk_is_passed_on_to_be_judged_and_breaks_nothing(
    policy: Policy, entry: dict[str, Any], given_: dict[str, Any]
) -> None:
    context = told(policy, Facts("c"), entry, **given_)
    assert None not in context.values()
    render("winback_useful", context)
