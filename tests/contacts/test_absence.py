"""What becomes due because nothing happened: once for each silence, fall and date, and none of it when it is stale."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.absence import Due, due
from contacts.facts import Facts, apply, monday
from contacts.policy import Fall, ImportantDate, Policy, Silence
from contacts.specs import Happening
from tests.contacts.support import START, at, changed, happening


def rules(policy: Policy, *, silence: Any = (), falls: Any = (), dates: Any = ()) -> Policy:
    return changed(policy, silence=tuple(silence), falls=tuple(falls), dates=tuple(dates))


def after(policy: Policy, *events: Happening) -> Facts:
    facts = Facts("c-1")
    for event in events:
        facts = apply(facts, event, policy)
    return facts


def found(policy: Policy, *events: Happening) -> list[Due]:
    return list(due(after(policy, *events), policy))


NO_USE = Silence(name="no_use", event="usage.fell", after=("feature.used",), none_of=("feature.used",), days=21)
NO_OPEN = Silence(
    name="no_open",
    event="engagement.lapsed",
    after=("message.sent",),
    none_of=("message.opened", "page.viewed"),
    days=90,
    from_latest=False,
)


def test_silence_counts_from_the_last_time(policy: Policy) -> None:
    policy = rules(policy, silence=[NO_USE])
    assert found(policy) == []
    (one,) = found(policy, happening("feature.used", at(0)), happening("feature.used", at(5)))
    assert (one.at, one.until, one.type) == (at(26), at(47), "usage.fell")
    assert one.data == {"name": "no_use", "days": 21, "since": at(5).isoformat()}


def test_mail_that_nobody_reads_does_not_begin_the_silence_anew(policy: Policy) -> None:
    policy = rules(policy, silence=[NO_OPEN])
    sent = [happening("message.sent", at(day)) for day in (0, 30, 60)]
    assert [d.at for d in found(policy, *sent)] == [at(90)]
    read = happening("message.opened", at(40), machine=False)
    assert [d.at for d in found(policy, *sent, read)] == [at(130)]
    assert found(policy, *sent, happening("page.viewed", at(61))) == [], "since then we have sent nothing"


def test_what_a_machine_opens_ends_no_silence(policy: Policy) -> None:
    policy = rules(policy, silence=[NO_OPEN])
    (one,) = found(policy, happening("message.sent", at(0)), happening("message.opened", at(9), machine=True))
    assert one.at == at(90)


def test_a_silence_may_ask_who_the_contact_is_and_how_often_they_did_it(policy: Policy) -> None:
    bought = happening("purchase.completed", at(0))
    for_customers = NO_USE.model_copy(update={"only": ("customer",)})
    once = Silence(
        name="once",
        event="customer.drifting",
        after=("purchase.completed",),
        none_of=("page.viewed",),
        days=60,
        at_most=1,
    )
    policy = rules(policy, silence=[for_customers, once])
    used = happening("feature.used", at(1))
    assert [d.data["name"] for d in found(policy, used)] == []
    assert [d.data["name"] for d in found(policy, used, bought)] == ["no_use", "once"]
    again = happening("purchase.completed", at(2))
    assert [d.data["name"] for d in found(policy, used, bought, again)] == ["no_use"]
    not_them = for_customers.model_copy(update={"only": (), "unless": ("customer",)})
    assert found(rules(policy, silence=[not_them]), used, bought) == []


def test_a_silence_may_be_of_interest_only_for_some_time(policy: Policy) -> None:
    stuck = Silence(
        name="stuck", event="onboarding.stuck", after=("purchase.completed",), none_of=("feature.used",), days=10,
        within_days=40,
    )  # fmt: skip
    policy = rules(policy, silence=[stuck])
    bought = happening("purchase.completed", at(0))
    assert [d.at for d in found(policy, bought, happening("feature.used", at(30)))] == [at(40)]
    assert found(policy, bought, happening("feature.used", at(31))) == []


def test_nothing_is_due_for_who_was_erased(policy: Policy) -> None:
    policy = rules(policy, silence=[NO_USE])
    assert found(policy, happening("feature.used"), happening("contact.erased", at(1))) == []


LESS = Fall(name="less", event="usage.fell", of="feature.used", to_at_most=0.5, usual_weeks=4, usual_at_least=4)


def weeks(*counts: int) -> list[Happening]:
    """So many uses in each of these weeks, one after the other."""
    first = START - timedelta(days=START.weekday())
    return [
        happening("feature.used", first + timedelta(weeks=week, minutes=n))
        for week, count in enumerate(counts)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "fell_in"),
    [
        ((6, 6, 6, 6, 6), None),
        ((6, 6, 6, 6, 3), 4),
        ((6, 6, 6, 6, 4), None),
        ((6, 6, 6, 6, 3, 1), 4),  # still the same fall
        ((6, 6, 6, 6, 3, 6, 6, 6, 6, 1), 9),
        ((3, 3, 3, 3, 1), None),  # too little to fall
        ((6, 6, 6, 6, 0), None),  # that is a silence
        ((9, 9), None),  # no usual yet
    ],
)
def test_a_fall_is_a_week_with_much_less_than_usual(
    policy: Policy, counts: tuple[int, ...], fell_in: int | None
) -> None:
    policy = rules(policy, falls=[LESS])
    ends = [d.at for d in found(policy, *weeks(*counts))]
    monday_after = START - timedelta(days=START.weekday(), hours=START.hour)
    assert ends == ([] if fell_in is None else [monday_after + timedelta(weeks=fell_in + 1)])


def test_a_week_begins_on_monday_in_utc() -> None:
    assert monday(at(0)) == date(2026, 3, 2)
    assert monday(at(-1)) == date(2026, 2, 23)


def test_a_date_is_told_of_as_often_as_the_policy_says_and_not_after_it(policy: Policy) -> None:
    policy = rules(policy, dates=[ImportantDate(name="renewal", days_before=(60, 30))])
    renews = happening("subscription.started", at(0), subscription_id="s", renews_on="2026-06-01T00:00:00Z")
    first, second = found(policy, renews)
    assert [(d.at.date(), d.data["days"]) for d in (first, second)] == [(date(2026, 4, 2), 60), (date(2026, 5, 2), 30)]
    assert first.until.date() == date(2026, 6, 2)
    late = happening("subscription.started", at(45), subscription_id="s", renews_on="2026-06-01")
    assert [d.data["days"] for d in found(policy, late)] == [30], "sixty days before it we did not know of it"
    assert found(policy, happening("subscription.started", subscription_id="s", renews_on="soon")) == []


kinds = st.sampled_from(
    ["feature.used", "message.sent", "message.opened", "page.viewed", "purchase.completed", "subscription.renewed"]
)
histories = st.lists(st.tuples(kinds, st.integers(0, 120)), max_size=25)


@given(histories, st.randoms())
def test_what_is_due_does_not_depend_on_the_order_of_arrival(
    policy: Policy, drawn: list[tuple[str, int]], random: Any
) -> None:
    events = [happening(type, at(day), id=f"e{n}", renews_on="2026-07-01") for n, (type, day) in enumerate(drawn)]
    shuffled = random.sample(events, len(events))
    policy = rules(policy, silence=policy.silence, falls=[LESS], dates=policy.dates)
    assert found(policy, *events) == found(policy, *shuffled)
    names = [d.source_id for d in found(policy, *events)]
    assert len(names) == len(set(names))
