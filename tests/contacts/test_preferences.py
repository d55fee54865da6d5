"""What a contact may say on the page: checked at the edge, said once, and said anew when it changes."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts import preferences
from contacts.events import ContactData, Event, InvalidEvent, event
from contacts.facts import CHANNELS, Facts, apply
from contacts.policy import Policy
from contacts.specs import Happening
from tests.contacts.support import START, at, happening, reachable_facts


@pytest.mark.parametrize(
    ("type", "data", "says"),
    [
        ("contact.updated", {"frequency": "daily"}, "data.frequency: Input should be 'as_it_comes', 'weekly' or 'mon"),
        ("contact.updated", {"frequency": ["weekly"]}, "data.frequency: Input should be"),
        ("contact.updated", {"topics": "seo"}, "data.topics: Input should be a valid list"),
        ("contact.updated", {"topics": ["SEO & more"]}, "data.topics.0: String should match pattern"),
        ("contact.updated", {"topics": ["seo"] * 51}, "data.topics: List should have at most 50 items"),
        ("contact.updated", {"preferred_channel": "pigeon"}, "data.preferred_channel: Input should be 'email', 'sms'"),
        ("contact.paused", {}, "data.days: Field required"),
        ("contact.paused", {"days": 0}, "data.days: Input should be greater than 0"),
        ("contact.paused", {"days": float("nan")}, "data.days: "),
        ("contact.paused", {"days": 10**9}, "data.days: Input should be less than or equal to 366"),
    ],
)
def test_a_wish_that_is_none_is_refused_in_one_line(type: str, data: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        event(type, source="t", source_id="1", occurred_at=START, data=data)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


def test_every_channel_there_is_may_be_preferred() -> None:
    for channel in (*CHANNELS, "any"):
        assert ContactData(preferred_channel=channel).preferred_channel == channel  # type: ignore[arg-type]


def heard(facts: Facts, said: list[Event], policy: Policy) -> Facts:
    for n, e in enumerate(said):
        facts = apply(facts, Happening(f"{e.source_id}#{n}", e.type, e.occurred_at, e.data), policy)
    return facts


def test_only_news_is_said_and_by_whom(policy: Policy) -> None:
    facts = reachable_facts()
    silence = {"topics": [], "frequency": "as_it_comes", "preferred_channel": "any"}
    assert preferences.wishes(facts) == silence
    assert preferences.wished(facts, silence, at(1)) == []
    [told] = preferences.wished(facts, {**silence, "frequency": "weekly"}, at(1))
    assert (told.type, told.source, told.data) == (
        "contact.updated",
        "preferences",
        {"frequency": "weekly", "evidence": "preference page"},
    )
    facts = heard(facts, [told], policy)
    assert preferences.wishes(facts) == {**silence, "frequency": "weekly"}
    assert preferences.wished(facts, {"frequency": "weekly"}, at(2)) == []
    [back] = preferences.wished(facts, silence, at(2))
    assert back.data["frequency"] == "as_it_comes"


choices = st.fixed_dictionaries(
    {},
    optional={
        "topics": st.lists(st.sampled_from(["analytics", "seo"]), unique=True).map(sorted),
        "frequency": st.sampled_from(["as_it_comes", "weekly", "monthly"]),
        "preferred_channel": st.sampled_from(["any", "email", "sms"]),
    },
)


@given(st.lists(choices, max_size=8))
def test_whatever_is_saved_last_holds_and_no_two_words_share_a_name(
    policy: Policy, pages: list[dict[str, Any]]
) -> None:
    facts, wanted, names = Facts("c"), preferences.wishes(Facts("c")), []
    for hour, page in enumerate(pages):
        told = preferences.wished(facts, page, at(hours=hour))
        assert told == preferences.wished(facts, page, at(hours=hour)), "a page sent twice says it once"
        names += [e.source_id for e in told]
        facts, wanted = heard(facts, told, policy), {**wanted, **page}
        assert preferences.wishes(facts) == wanted
    assert len(names) == len(set(names))


def test_two_pages_sent_at_once_that_differ_are_two_words() -> None:
    facts = reachable_facts()
    [one], [other] = (preferences.wished(facts, {"frequency": f}, START) for f in ("weekly", "monthly"))
    assert one.source_id != other.source_id


def test_a_pause_is_said_once_and_ends_once(policy: Policy) -> None:
    facts = reachable_facts()
    assert preferences.resumed(facts, START) == []
    [told] = preferences.paused(facts, 30, START)
    assert (told.type, told.data) == ("contact.paused", {"days": 30, "evidence": "preference page"})
    facts = heard(facts, [told], policy)
    assert preferences.paused(facts, 30, at(1)) == []
    [longer] = preferences.paused(facts, 90, at(1))
    assert longer.source_id != told.source_id
    facts = heard(facts, [longer], policy)
    pause = preferences.pause(facts, at(2))
    assert pause is not None
    assert pause.expires_at == at(91)
    facts = heard(facts, preferences.resumed(facts, at(2)), policy)
    assert (preferences.pause(facts, at(3)), preferences.resumed(facts, at(3))) == (None, [])
    [anew] = preferences.paused(facts, 30, at(4))
    assert anew.source_id not in (told.source_id, longer.source_id)


def test_a_pause_that_is_over_can_be_taken_again(policy: Policy) -> None:
    facts = heard(reachable_facts(), preferences.paused(reachable_facts(), 14, START), policy)
    [anew] = preferences.paused(facts, 14, at(20))
    facts = heard(facts, [anew], policy)
    assert preferences.pause(facts, at(33)) is not None


def test_a_channel_to_prefer_is_one_we_reach_them_on(policy: Policy) -> None:
    facts = reachable_facts()
    assert preferences.channels(facts) == ("email", "sms")
    bounced = happening("message.bounced", permanent=True, address="alice@example.com")
    assert preferences.channels(apply(facts, bounced, policy)) == ("sms",)


def test_every_pause_on_offer_is_one_that_can_be_stored() -> None:
    for days in preferences.PAUSES:
        assert timedelta(days=days) <= timedelta(days=366)
        assert preferences.paused(reachable_facts(), days, START)
