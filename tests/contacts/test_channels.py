"""The channel of a touch: the contact's own first, then by role, and never one that the gate would refuse in vain."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contacts.channels import Choice, choose
from contacts.facts import CHANNELS, Consent, Facts, Stamped, Suppression, address_kind
from contacts.gate import Ask, Drop, Situation, consent, decide, reachable
from contacts.policy import Policy
from contacts.specs import Purpose
from tests.contacts.support import START, an_ask, changed, reachable_facts

ORDERS = dict.fromkeys(("educate", "urgent", "converse", "high_intent", "recognise"), ("sms", "email"))


def asked(*channels: str, purpose: Purpose = "lifecycle") -> Ask:
    return replace(an_ask("k", channel=channels[0], purpose=purpose), channels=channels, role="urgent")


def chosen(policy: Policy, facts: Facts, *channels: str) -> Choice:
    return choose(asked(*channels), Situation(facts), changed(policy, channels=ORDERS))


def preferring(facts: Facts, channel: Any) -> Facts:
    return replace(facts, profile={**facts.profile, "preferred_channel": Stamped(channel, START, "said")})


def test_the_role_says_where_a_message_is_at_home(policy: Policy) -> None:
    assert chosen(policy, reachable_facts(), "email", "sms") == Choice("sms", "role")
    educating = changed(policy, channels={**ORDERS, "urgent": ("email", "sms")})
    assert choose(asked("sms", "email"), Situation(reachable_facts()), educating) == Choice("email", "role")


def test_what_the_contact_prefers_comes_first(policy: Policy) -> None:
    facts = preferring(reachable_facts(), "email")
    assert chosen(policy, facts, "email", "sms") == Choice("email", "preferred")


def test_a_preference_is_no_consent_and_no_address(policy: Policy) -> None:
    facts = preferring(reachable_facts(email=None), "email")
    assert chosen(policy, facts, "email", "sms") == Choice("sms", "role", {"email": "no_address"})
    silent = preferring(replace(reachable_facts(), consents={}), "email")
    assert chosen(policy, silent, "email", "sms") == Choice(
        "email", "none_possible", {"email": "no_consent", "sms": "no_consent"}
    )


def test_a_preference_for_what_the_message_is_not_written_for_says_nothing(policy: Policy) -> None:
    for junk in ("call", "pigeon", "", "EMAIL", None, 7, ["email"], {"email": True}):
        assert chosen(policy, preferring(reachable_facts(), junk), "email", "sms") == Choice("sms", "role")


def test_a_channel_that_is_not_possible_is_passed_over_and_told(policy: Policy) -> None:
    assert chosen(policy, reachable_facts(phone=None), "email", "sms") == Choice("email", "role", {"sms": "no_address"})
    bounced = {"sms:+4930901820": Suppression("sms", "+4930901820", "bounced", START, "b")}
    facts = replace(reachable_facts(), suppressions=bounced)
    assert chosen(policy, facts, "email", "sms") == Choice("email", "role", {"sms": "suppressed"})


def test_a_channel_the_order_does_not_name_comes_last(policy: Policy) -> None:
    assert chosen(policy, reachable_facts(phone=None, email=None), "note", "email", "sms").channel == "sms"
    assert chosen(policy, reachable_facts(phone=None), "note", "sms").channel == "note"


def test_a_single_channel_is_no_choice(policy: Policy) -> None:
    assert chosen(policy, reachable_facts(phone=None), "sms") == Choice("sms", "only")
    named = an_ask("k", channel="call")
    assert choose(named, Situation(reachable_facts()), policy) == Choice("call", "only")


@st.composite
def somebody(draw: st.DrawFn) -> Facts:
    """Any mix of addresses, words on consent, dead addresses and a wish."""
    profile = {
        field: Stamped(f"{field}-address", START, "profile")
        for field in sorted({address_kind(channel) for channel in CHANNELS})
        if draw(st.booleans())
    }
    wish = draw(st.one_of(st.none(), st.sampled_from(CHANNELS), st.text(max_size=5), st.integers()))
    words = {
        f"{channel}/{purpose}": Consent(channel, purpose, granted, START, "word", "form")
        for channel in CHANNELS
        for purpose in ("promotional", "lifecycle")
        if (granted := draw(st.one_of(st.none(), st.booleans()))) is not None
    }
    dead = {
        f"{channel}:{profile[address_kind(channel)].value}": Suppression(channel, "", "bounced", START, "dead")
        for channel in CHANNELS
        if address_kind(channel) in profile and draw(st.booleans())
    }
    wishes = {"preferred_channel": Stamped(wish, START, "wish")} if wish is not None else {}
    return Facts("c-1", profile={**profile, **wishes}, consents=words, suppressions=dead)


orders = st.fixed_dictionaries(
    dict.fromkeys(ORDERS, st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True).map(tuple))
)


@given(
    facts=somebody(),
    channels=st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True),
    by_role=orders,
    role=st.sampled_from(sorted(ORDERS)),
    purpose=st.sampled_from(["promotional", "lifecycle", "transactional"]),
)
def test_whoever_it_is_and_whatever_the_orders(
    policy: Policy, facts: Facts, channels: list[str], by_role: Any, role: Any, purpose: Any
) -> None:
    policy = changed(policy, channels=by_role, quiet_hours=(), caps=())
    ask = replace(asked(*channels, purpose=purpose), role=role)
    situation = Situation(facts)

    def refusal(channel: str) -> Drop | None:
        on = replace(ask, channel=channel)
        answers = [check(on, situation, policy) for check in (consent, reachable)]
        return next((answer for answer in answers if isinstance(answer, Drop)), None)

    choice = choose(ask, situation, policy)
    assert choice.channel in channels
    assert choose(replace(ask, channels=tuple(reversed(channels))), situation, policy).because == choice.because
    possible = [channel for channel in channels if refusal(channel) is None]
    verdict = decide(replace(ask, channel=choice.channel), situation, policy)
    if not possible:
        # The gate says no, and its own reason is the one that is told.
        assert isinstance(verdict, Drop)
        assert verdict == refusal(choice.channel)
        return
    assert choice.channel in possible
    assert not isinstance(verdict, Drop)
    if len(channels) == 1:
        return
    wish = facts.get("preferred_channel")
    if wish in possible:
        assert (choice.channel, choice.because) == (wish, "preferred")
        return
    assert choice.because == "role"
    ranked = [channel for channel in by_role[role] if channel in possible]
    if ranked:
        assert choice.channel == ranked[0]
    assert choice.passed_over == {
        channel: said.reason for channel in choice.passed_over if (said := refusal(channel)) is not None
    }
