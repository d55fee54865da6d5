"""Mails about payments, plans and leaving: what they say of the facts they get, and what they do without."""

import re
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

from templates.render import MissingContext, declared, render

BRAND = {"name": "Fernhill Studio", "address": "12 Mill Lane", "url": "https://www.example.com"}
FRAME = {
    "brand": BRAND,
    "unsubscribe_url": "https://hub.example.com/u/1",
    "preferences_url": "https://hub.example.com/p/1",
}
RECORDS = (
    *("invoice", "renewal", "subscription", "milestone", "feature"),
    *("ticket", "survey", "promise", "reasons", "referral", "review", "usage"),
)
FIELDS = (
    *("value", "currency", "card_url", "retry_at", "date", "plan", "manage_url", "ends_at", "export_url", "name"),
    *("next", "number", "url", "subject", "yes_url", "no_url", "incentive", "reward", "headline"),
)
TOLD = [template.name for template in declared() if set(RECORDS) & set(template.context)]


def words(template: str, **facts: Any) -> str:
    return " ".join(render(template, {**FRAME, **facts}).text.split())


def test_a_failed_payment_names_amount_link_and_next_try():
    invoice = {
        "value": 4900,
        "currency": "eur",
        "number": "FERN-0042",
        "card_url": "https://pay.example.com/1",
        "retry_at": "2026-03-14T09:00:00Z",
    }
    text = words("payment_failed", invoice=invoice, subscription={"plan": "Search Growth"})
    assert "The payment of €49.00 for Search Growth (invoice FERN-0042) did not go through." in text
    assert "Check or change your card: https://pay.example.com/1" in text
    assert "We try again on 14 March 2026." in text


@pytest.mark.parametrize("template", ["payment_failed", "payment_failed_second", "payment_last", "card_expiring"])
def test_without_a_link_there_is_another_way_to_a_new_card(template):
    assert "we will send you the link" in words(template, invoice={}) or "we send you the link" in words(
        template, invoice={}
    )


def test_a_billing_mail_needs_no_way_out():
    assert render("payment_failed", {"brand": BRAND, "invoice": {}}).subject == "A payment did not go through"


@pytest.mark.parametrize(
    ("survey_url", "answer"),
    [
        ("https://s.example.com/x", "https://s.example.com/x?reason=no_time"),
        ("https://s.example.com/x?a=1", "https://s.example.com/x?a=1&reason=no_time"),
    ],
)
def test_a_reason_is_one_click(survey_url, answer):
    mail = render("cancel_reason", {**FRAME, "reasons": {"url": survey_url}})
    links = {a["href"] for a in BeautifulSoup(mail.html, "html.parser")("a")}
    assert answer in links
    assert len({link for link in links if "reason=" in link}) == 4


def test_help_fits_the_reason():
    reasons = ("too_expensive", "missing_feature", "no_time", "bad_experience", "other")
    mails = {reason: render("cancel_help", {**FRAME, "reason": reason}) for reason in reasons}
    assert len({mail.text.partition("Hello,")[2] for mail in mails.values()}) == 5
    assert len({mail.subject for mail in mails.values()}) == 5
    for unknown in (None, "", "we are closing", 7):
        assert render("cancel_help", {**FRAME, "reason": unknown}).text == mails["other"].text


def test_one_answer_link_without_the_other_is_not_shown():
    text = words("support_followup", ticket={"subject": "No orders.", "yes_url": "https://hub.example.com/y"})
    assert "https://hub.example.com/y" not in text
    assert "Reply with “yes” or “no”." in text
    assert "help with “No orders”, and" in text


@pytest.mark.parametrize("feature", [None, {}, {"name": ""}, {"url": "https://app.example.com"}, "notes"])
def test_a_nudge_for_nothing_in_particular_is_refused(feature):
    with pytest.raises(MissingContext, match="feature"):
        render("adoption_nudge", {**FRAME, "feature": feature})


def test_both_sides_of_a_reward_are_told_plainly():
    reward = {"reward": "One month free for you, and one for them."}
    assert "One month free for you, and one for them. That is all" in words("referral_invitation", referral=reward)


JUNK = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300), st.lists(st.text()))


@given(
    template=st.sampled_from(TOLD),
    facts=st.dictionaries(
        st.sampled_from(RECORDS), st.one_of(JUNK, st.dictionaries(st.sampled_from(FIELDS), JUNK)), max_size=4
    ),
)
@settings(max_examples=200, deadline=None)
def test_junk_is_rendered_or_refused(template, facts):
    try:
        mail = render(template, {**FRAME, **facts})
    except MissingContext as refused:
        assert refused.name in RECORDS
        return
    assert mail.subject.isprintable()
    assert not re.search(r"\bNone\b|\{\{|“”", mail.subject + mail.text)
    if mail.html is not None:
        assert len(mail.subject) <= 70
        assert len(mail.preheader) <= 110
        assert not BeautifulSoup(mail.html, "html.parser")("script")
