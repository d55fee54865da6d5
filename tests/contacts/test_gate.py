"""The gate: what each check says, in which order, and what no policy, history or clock may make it do."""

import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contacts.facts import CHANNELS, Facts, Happening, Hold, apply
from contacts.gate import (
    HOLD_RECHECK,
    Ask,
    Drop,
    Past,
    Pause,
    Send,
    Situation,
    Wait,
    Waiting,
    decide,
    longest_window,
)
from contacts.policy import Cap, Experiment, Policy, Priority, QuietHours, SendWindow, StatedCap, Tier
from contacts.specs import Purpose
from tests.contacts.support import START, an_ask, at, changed, happening, reachable_facts

NIGHT = QuietHours(channels=("email",), purposes=("promotional", "lifecycle"), start=time(21), end=time(8))


@pytest.fixture
def bare(policy: Policy) -> Policy:
    """Without quiet hours, caps and tiers."""
    return changed(policy, quiet_hours=(), caps=(), tiers=())


def reason(verdict: Any) -> str | None:
    return None if isinstance(verdict, Send) else verdict.reason


def test_nothing_speaks_against_it(policy: Policy) -> None:
    assert isinstance(decide(an_ask("k"), Situation(reachable_facts()), policy), Send)


def test_an_erased_contact_gets_nothing(bare: Policy) -> None:
    facts = replace(reachable_facts(), erased_at=START)
    for purpose in ("promotional", "lifecycle", "transactional"):
        assert decide(an_ask("k", purpose=purpose), Situation(facts), bare) == Drop("erased")


def test_a_run_that_has_ended_sends_nothing(bare: Policy) -> None:
    for purpose in ("promotional", "transactional"):
        verdict = decide(an_ask("k", purpose=purpose), Situation(reachable_facts(), "purchase.completed"), bare)
        assert verdict == Drop("exited", {"by": "purchase.completed"})


def test_consent_is_for_a_channel_and_a_purpose(bare: Policy) -> None:
    facts = reachable_facts("promotional")
    asks = {p: decide(an_ask("k", purpose=p), Situation(facts), bare) for p in ("promotional", "lifecycle")}
    assert reason(asks["promotional"]) is None
    assert asks["lifecycle"] == Drop("no_consent", {"channel": "email", "purpose": "lifecycle"})
    refused = apply(facts, happening("consent.withdrawn", id="no", channel="email", purpose="promotional"), bare)
    verdict = decide(an_ask("k"), Situation(refused), bare)
    assert verdict == Drop("consent_withdrawn", {"at": START.isoformat(), "event": "no"})
    assert reason(decide(an_ask("k", channel="sms"), Situation(refused), bare)) is None


def test_transactional_needs_no_consent(bare: Policy) -> None:
    nobody_asked = replace(reachable_facts(), consents={})
    assert isinstance(decide(an_ask("k", purpose="transactional"), Situation(nobody_asked), bare), Send)
    free = changed(bare, consent=bare.consent.model_copy(update={"required": ("promotional",)}))
    assert isinstance(decide(an_ask("k", purpose="lifecycle"), Situation(nobody_asked), free), Send)


def test_there_must_be_an_address(bare: Policy) -> None:
    assert decide(an_ask("k"), Situation(reachable_facts(email=None)), bare) == Drop("no_address", {"channel": "email"})


def test_an_address_that_bounced_is_left_alone_until_there_is_another(bare: Policy) -> None:
    bounced = happening("message.bounced", id="b", address="Alice@example.com", permanent=True)
    facts = apply(reachable_facts(), bounced, bare)
    assert decide(an_ask("k"), Situation(facts), bare) == Drop("suppressed", {"because": "bounced", "event": "b"})
    facts = apply(facts, happening("contact.updated", at(1), email="new@example.com"), bare)
    assert isinstance(decide(an_ask("k", at(1)), Situation(facts), bare), Send)


def test_a_message_past_its_time_is_dropped(bare: Policy) -> None:
    ask = an_ask("k", valid_for=timedelta(hours=1))
    assert isinstance(decide(ask, Situation(reachable_facts()), bare), Send)
    assert reason(decide(replace(ask, now=ask.valid_until), Situation(reachable_facts()), bare)) == "valid_for"


def with_hold(kind: Any = "ticket", key: str = "7", **fields: Any) -> Facts:
    hold = Hold(kind, key, **{"opened_at": START, **fields})
    return replace(reachable_facts(), holds={hold.name: hold})


def test_promotion_waits_for_a_hold(bare: Policy) -> None:
    verdict = decide(an_ask("k"), Situation(with_hold()), bare)
    assert verdict == Wait("hold_ticket", START + HOLD_RECHECK, "ticket:7", {"holds": ["ticket:7"]})
    for purpose in ("lifecycle", "transactional"):
        assert isinstance(decide(an_ask("k", purpose=purpose), Situation(with_hold()), bare), Send)


def test_a_hold_is_waited_for_until_it_expires_and_no_longer_than_the_message_is_worth(bare: Policy) -> None:
    expiring = Situation(with_hold("handoff", expires_at=at(hours=2)))
    verdict = decide(an_ask("k"), expiring, bare)
    assert isinstance(verdict, Wait)
    assert verdict.until == at(hours=2)
    assert isinstance(decide(an_ask("k", at(hours=2)), expiring, bare), Send)
    short = an_ask("k", valid_for=timedelta(hours=1))
    verdict = decide(short, Situation(with_hold()), bare)
    assert isinstance(verdict, Wait)
    assert verdict.until == short.valid_until


def test_a_pause_keeps_back_all_that_orders_do_not_need(bare: Policy) -> None:
    facts = apply(reachable_facts(), happening("contact.paused", days=3), bare)
    for purpose in ("promotional", "lifecycle"):
        verdict = decide(an_ask("k", at(2.5), purpose=purpose), Situation(facts), bare)
        assert verdict == Wait("hold_pause", at(3), "pause:-", {"holds": ["pause:-"]})
        assert isinstance(decide(an_ask("k", at(3), purpose=purpose), Situation(facts), bare), Send)
    assert isinstance(decide(an_ask("k", purpose="transactional"), Situation(facts), bare), Send)
    # Another hold does not keep help back only because there is a pause besides, and is told where it does.
    both = apply(facts, happening("ticket.opened", at(-1), ticket_id="7"), bare)
    assert reason(decide(an_ask("k", at(1)), Situation(both), bare)) == "hold_ticket"
    assert reason(decide(an_ask("k", at(1), purpose="lifecycle"), Situation(both), bare)) == "hold_pause"
    assert isinstance(decide(an_ask("k", at(4), purpose="lifecycle"), Situation(both), bare), Send)


def test_quiet_hours_are_the_contacts_own(bare: Policy) -> None:
    policy = changed(bare, quiet_hours=(NIGHT,))
    evening = datetime(2026, 3, 2, 19, 30, tzinfo=UTC)
    here = decide(an_ask("k", evening), Situation(reachable_facts(timezone="Europe/London")), policy)
    there = decide(an_ask("k", evening), Situation(reachable_facts(timezone="Europe/Athens")), policy)
    assert isinstance(here, Send)
    assert there == Wait(
        "quiet_hours",
        datetime(2026, 3, 3, 6, tzinfo=UTC),
        inputs={
            "local": "2026-03-02T21:30:00+02:00",
            "timezone": "Europe/Athens",
            "until": "2026-03-03T06:00:00+00:00",
        },
    )
    assert isinstance(decide(an_ask("k", evening, purpose="transactional"), Situation(reachable_facts()), policy), Send)


@pytest.mark.parametrize("junk", ["Middle/Earth", "", "../etc/passwd", "Europe", "/etc/localtime", "a\0b", "tzdata.zi"])
def test_a_zone_that_is_none_falls_back_to_the_policys(bare: Policy, junk: str) -> None:
    policy = changed(bare, quiet_hours=(NIGHT,))
    night_in_berlin = datetime(2026, 3, 2, 20, 30, tzinfo=UTC)
    verdict = decide(an_ask("k", night_in_berlin), Situation(reachable_facts(timezone=junk)), policy)
    assert isinstance(verdict, Wait)
    assert verdict.inputs["timezone"] == policy.defaults.timezone == "Europe/Berlin"
    assert verdict.inputs["assumed"] is True


OFFICE = SendWindow(
    channels=("sms",), purposes=("promotional",), days=("mon", "tue", "wed"), start=time(9), end=time(17)
)


def test_a_window_names_its_next_opening_and_no_quiet_hour(bare: Policy) -> None:
    quiet = NIGHT.model_copy(update={"channels": ("sms",)})
    policy = changed(bare, send_windows=(OFFICE,), quiet_hours=(quiet,))
    situation = Situation(reachable_facts(timezone="Europe/Berlin"))

    def asked(when: datetime, **changes: Any) -> Any:
        return decide(an_ask("k", when, **{"channel": "sms", **changes}), situation, policy)

    monday = datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert isinstance(asked(monday), Send)
    assert isinstance(asked(monday, purpose="lifecycle"), Send)
    assert isinstance(asked(monday + timedelta(hours=12), channel="email"), Send)
    # At night it is quiet, and what is over then is no window yet: one wait for both.
    night = asked(monday + timedelta(hours=13))
    assert (night.reason, night.until) == ("quiet_hours", datetime(2026, 3, 3, 8, tzinfo=UTC))
    dusk = asked(datetime(2026, 3, 4, 16, tzinfo=UTC))
    assert dusk == Wait(
        "send_window",
        datetime(2026, 3, 9, 8, tzinfo=UTC),
        inputs={
            "local": "2026-03-04T17:00:00+01:00",
            "timezone": "Europe/Berlin",
            "until": "2026-03-09T08:00:00+00:00",
        },
    )
    late = asked(datetime(2026, 3, 4, 16, tzinfo=UTC), valid_for=timedelta(days=4))
    assert (late.reason, late.inputs["because"]) == ("valid_for", "send_window")


def test_one_of_several_windows_is_enough(bare: Policy) -> None:
    evening = OFFICE.model_copy(update={"start": time(18), "end": time(20), "days": ("sun",)})
    policy = changed(bare, send_windows=(OFFICE, evening))
    situation = Situation(reachable_facts())
    tuesday, sunday = datetime(2026, 3, 3, 10, tzinfo=UTC), datetime(2026, 3, 8, 19, tzinfo=UTC)
    for when in (tuesday, sunday):
        assert isinstance(decide(an_ask("k", when, channel="sms"), situation, policy), Send)
    between = decide(an_ask("k", datetime(2026, 3, 5, 10, tzinfo=UTC), channel="sms"), situation, policy)
    assert isinstance(between, Wait)
    assert between.until == datetime(2026, 3, 8, 18, tzinfo=UTC)


def test_a_touch_that_goes_out_says_by_how_much_it_passed(bare: Policy) -> None:
    policy = changed(
        bare,
        quiet_hours=(NIGHT,),
        send_windows=(OFFICE.model_copy(update={"channels": ("email",)}),),
        caps=(Cap(channels=("email",), purposes=("promotional",), max=3, days=7),),
        frequency={"weekly": WEEKLY},
        tiers=(Tier(name="cooling", after_days=1, max=2, days=9),),
        experiments=(Experiment(name="does_it_help", journeys=("course",), hold_out=0.01),),
        priority=Priority(journeys=("course", "other")),
    )
    facts = apply(reachable_facts(timezone=None, frequency="weekly"), happening("message.sent", at(-9)), policy)
    waits = Waiting("w", "other", "email", "promotional", at(3), at(4))
    situation = Situation(facts, past=[past("a", at(-8))], waiting=[waits], pauses=[Pause("journey", "nurture", "r")])
    verdict = decide(an_ask("k"), situation, policy)
    assert isinstance(verdict, Send)
    assert verdict.inputs == {
        "consent": {"at": at(-900).isoformat(), "event": "yes", "implied": False},
        "address": {"kind": "email", "event": "profile"},
        "experiments": {"does_it_help": 0.01},
        "no_echo_in_days": policy.echo_days,
        "valid_until": at(7).isoformat(),
        "halts": ["journey/nurture"],
        "holds": [],
        "engagement": {"tier": "cooling", "silent_since": at(-9).isoformat(), "max": 2, "days": 9, "in_window": 1},
        "clock": {"local": "2026-03-02T10:00:00+01:00", "timezone": "Europe/Berlin", "assumed": True},
        "quiet": ["21:00-08:00"],
        "windows": ["09:00-17:00"],
        "stated_frequency": {"said": "weekly", "max": 1, "days": 7, "in_window": 0},
        "caps": [{"max": 3, "days": 7, "in_window": 0}],
        "rivals": ["other"],
    }
    assert len(json.dumps(verdict.inputs)) < 900
    help_ = decide(an_ask("k", purpose="transactional"), situation, policy)
    assert isinstance(help_, Send)
    assert help_.inputs.keys() == {"consent", "address", "valid_until", "halts", "holds"}
    assert help_.inputs["consent"] is None


def test_a_hold_that_does_not_concern_a_touch_is_named(bare: Policy) -> None:
    verdict = decide(an_ask("k", purpose="lifecycle"), Situation(with_hold()), bare)
    assert isinstance(verdict, Send)
    assert verdict.inputs["holds"] == ["ticket:7"]


def past(key: str, when: datetime, channel: str = "email", purpose: Purpose = "promotional") -> Past:
    return Past(key, channel, purpose, when)


def test_a_full_window_opens_when_its_first_touch_leaves_it(bare: Policy) -> None:
    policy = changed(bare, caps=(Cap(channels=("email",), purposes=("promotional", "lifecycle"), max=2, days=7),))
    full = [past("a", at(-5)), past("b", at(-2), purpose="lifecycle"), past("c", at(-8)), past("d", at(-1), "sms")]
    verdict = decide(an_ask("k"), Situation(reachable_facts(), past=full), policy)
    assert verdict == Wait("frequency_cap", at(2), inputs={"max": 2, "days": 7, "in_window": 2})
    assert isinstance(decide(an_ask("k", at(2)), Situation(reachable_facts(), past=full), policy), Send)
    # One too many are in the window, however they came there: the second oldest of three makes room, not the first.
    crowded = decide(an_ask("k"), Situation(reachable_facts(), past=[*full, past("e", at(-1))]), policy)
    assert isinstance(crowded, Wait)
    assert crowded.until == at(5)
    # A cap counts everything it names and nothing else; a touch's own earlier claim is not in its own way.
    assert isinstance(
        decide(an_ask("k", purpose="transactional"), Situation(reachable_facts(), past=full), policy), Send
    )
    assert isinstance(decide(an_ask("a"), Situation(reachable_facts(), past=full), policy), Send)


WEEKLY = StatedCap(channels=("email", "sms"), purposes=("promotional",), max=1, days=7)


def test_what_the_contact_said_of_how_often_holds_over_its_channels_and_purposes(bare: Policy) -> None:
    policy = changed(bare, frequency={"weekly": WEEKLY})
    told = [past("a", at(-2)), past("b", at(-9)), past("c", at(-1), purpose="lifecycle"), past("d", at(-1), "push")]
    weekly = Situation(reachable_facts(frequency="weekly"), past=told)
    full = {"max": 1, "days": 7, "in_window": 1}
    assert decide(an_ask("k"), weekly, policy) == Wait("stated_frequency", at(5), inputs=full)
    assert reason(decide(an_ask("k", channel="sms"), weekly, policy)) == "stated_frequency"
    assert isinstance(decide(an_ask("k", at(5)), weekly, policy), Send)
    for purpose in ("lifecycle", "transactional"):
        assert isinstance(decide(an_ask("k", purpose=purpose), weekly, policy), Send)


@pytest.mark.parametrize("frequency", [None, "as_it_comes", "monthly", "whenever"])
def test_a_word_that_the_policy_gives_no_meaning_caps_nothing(bare: Policy, frequency: str | None) -> None:
    policy = changed(bare, frequency={"weekly": WEEKLY})
    facts = reachable_facts(frequency=frequency)
    assert isinstance(decide(an_ask("k"), Situation(facts, past=[past("a", at(-1))]), policy), Send)


def test_a_wish_for_more_lifts_no_cap(bare: Policy) -> None:
    caps = (Cap(channels=("email",), purposes=("promotional",), max=1, days=10),)
    generous = StatedCap(channels=("email",), purposes=("promotional",), max=9, days=1)
    policy = changed(bare, caps=caps, frequency={"weekly": generous})
    situation = Situation(reachable_facts(frequency="weekly"), past=[past("a", at(-1))])
    assert reason(decide(an_ask("k"), situation, policy)) == "valid_for"
    assert reason(decide(an_ask("k", valid_for=timedelta(days=20)), situation, policy)) == "frequency_cap"


def test_of_two_full_windows_the_longer_wait_counts(bare: Policy) -> None:
    caps = [Cap(channels=("email",), purposes=("promotional",), max=1, days=n) for n in (1, 3, 2)]
    situation = Situation(reachable_facts(), past=[past("a", at(-0.5))])
    verdict = decide(an_ask("k"), situation, changed(bare, caps=tuple(caps)))
    assert isinstance(verdict, Wait)
    assert verdict.until == at(2.5)


def test_what_cannot_go_out_in_time_is_dropped_at_once_and_says_why(bare: Policy) -> None:
    policy = changed(bare, caps=(Cap(channels=("email",), purposes=("promotional",), max=1, days=7),))
    situation = Situation(reachable_facts(), past=[past("a", START)])
    verdict = decide(an_ask("k", at(1), valid_for=timedelta(days=2)), situation, policy)
    assert isinstance(verdict, Drop)
    assert verdict.reason == "valid_for"
    assert verdict.inputs["because"] == "frequency_cap"
    assert verdict.inputs["could_go_at"] == at(7).isoformat()
    # A hold may end sooner than anybody can say, so it is waited for.
    held = decide(an_ask("k", valid_for=timedelta(hours=2)), Situation(with_hold()), policy)
    assert isinstance(held, Wait)


def test_a_reason_never_hides_behind_a_lesser_one(policy: Policy) -> None:
    """Everything is wrong at once; each thing mended brings out the next reason."""
    policy = changed(policy, quiet_hours=(NIGHT,))
    night = datetime(2026, 3, 2, 23, tzinfo=UTC)
    bounced = happening("message.bounced", address="alice@example.com", permanent=True)
    facts = apply(with_hold(), bounced, policy)
    facts = apply(facts, happening("contact.updated", frequency="weekly"), policy)
    full = Situation(replace(facts, erased_at=START, consents={}), "meeting.booked", [past("a", night)])
    ask = replace(an_ask("k", night), valid_until=night)
    SAID_OTHERWISE = happening("contact.updated", at(1), frequency="as_it_comes")
    reasons = []
    mend: list[Any] = [
        lambda s, a: (replace(s, facts=replace(s.facts, erased_at=None)), a),
        lambda s, a: (replace(s, ended_by=None), a),
        lambda s, a: (replace(s, facts=replace(s.facts, consents=facts.consents)), a),
        lambda s, a: (replace(s, facts=replace(s.facts, suppressions={})), a),
        lambda s, a: (s, replace(a, valid_until=at(30))),
        lambda s, a: (replace(s, facts=replace(s.facts, holds={})), a),
        lambda s, a: (s, replace(a, now=at(0.99))),
        lambda s, a: (replace(s, facts=apply(s.facts, SAID_OTHERWISE, policy)), a),
        lambda s, a: (replace(s, past=()), a),
    ]
    situation = full
    for step in mend:
        reasons.append(reason(decide(ask, situation, policy)))
        situation, ask = step(situation, ask)
    # Mending the night moves the ask to the morning, when the day's cap is still full.
    assert reasons == [
        "erased", "exited", "no_consent", "suppressed", "valid_for", "hold_ticket", "quiet_hours", "stated_frequency",
        "frequency_cap",
    ]  # fmt: skip
    assert isinstance(decide(ask, situation, policy), Send)


# What must hold for any policy, history and clock.

ZONES = sorted(available_timezones())
clock_times = st.times().map(lambda t: t.replace(microsecond=0))
every_purpose = st.sampled_from(["promotional", "lifecycle", "transactional"])
some_channels = st.lists(st.sampled_from(CHANNELS[:3]), min_size=1, max_size=3, unique=True).map(tuple)
some_purposes = st.lists(every_purpose, min_size=1, max_size=3, unique=True).map(tuple)
instants = st.datetimes(datetime(1980, 1, 1), datetime(2037, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001

edges = st.one_of(clock_times, st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45])))
nights = st.tuples(edges, edges).filter(lambda night: night[0] != night[1])
quiet_lines = st.builds(
    lambda channels, purposes, night: QuietHours(channels=channels, purposes=purposes, start=night[0], end=night[1]),
    some_channels,
    some_purposes,
    nights,
)
caps = st.builds(
    lambda channels, purposes, most, days: Cap(channels=channels, purposes=purposes, max=most, days=days),
    some_channels,
    some_purposes,
    st.integers(1, 4),
    st.floats(0.01, 20),
)
stated_caps = st.builds(
    lambda channels, purposes, most, days: StatedCap(channels=channels, purposes=purposes, max=most, days=days),
    some_channels,
    st.lists(st.sampled_from(["promotional", "lifecycle"]), min_size=1, unique=True).map(tuple),
    st.integers(1, 3),
    st.floats(0.01, 20),
)


def is_quiet(moment: datetime, zone: ZoneInfo, hours: QuietHours) -> bool:
    """By the clock on the contact's wall, and nothing else."""
    clock = moment.astimezone(zone).time()
    if hours.start < hours.end:
        return hours.start <= clock < hours.end
    return clock >= hours.start or clock < hours.end


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    lines = draw(st.lists(quiet_lines, max_size=2))
    said = draw(st.dictionaries(st.sampled_from(["weekly", "monthly"]), stated_caps))
    return {"quiet_hours": tuple(lines), "caps": tuple(draw(st.lists(caps, max_size=3))), "frequency": said}


@st.composite
def wishes(draw: st.DrawFn) -> list[Ask]:
    start = draw(instants)
    drawn = draw(
        st.lists(
            st.tuples(
                st.floats(0, 200).map(lambda h: timedelta(hours=h)),
                st.sampled_from(["email", "sms"]),
                every_purpose,
                st.floats(0.01, 500).map(lambda h: timedelta(hours=h)),
            ),
            min_size=1,
            max_size=12,
        )
    )
    return [
        replace(an_ask(f"k{n}", start + after, channel=channel, purpose=purpose, valid_for=worth), template=f"t{n}")
        for n, (after, channel, purpose, worth) in enumerate(drawn)
    ]


holds = st.lists(
    st.tuples(st.floats(0, 200), st.one_of(st.none(), st.floats(0.1, 100)), st.one_of(st.none(), st.floats(0.1, 200))),
    max_size=2,
)


frequencies = st.sampled_from([None, "as_it_comes", "weekly", "monthly"])


@given(policies(), wishes(), st.sampled_from(ZONES), holds, frequencies)
@settings(max_examples=250)
def test_whoever_follows_the_gate_breaks_no_rule_and_every_wait_ends(
    policy: Policy, changes: dict[str, Any], asks: list[Ask], zone: str, held: Any, frequency: str | None
) -> None:
    """Asks all wishes in the order of time, each again when it is told to, until each is sent or dropped."""
    policy = changed(policy, **changes)
    begin = min(a.now for a in asks)
    facts = replace(
        reachable_facts(timezone=zone, frequency=frequency),
        holds={
            f"ticket:{n}": Hold(
                "ticket",
                str(n),
                opened_at=begin + timedelta(hours=opened),
                released_at=None if release is None else begin + timedelta(hours=opened + release),
                expires_at=None if expires is None else begin + timedelta(hours=opened + expires),
            )
            for n, (opened, release, expires) in enumerate(held)
        },
    )
    sent: list[Past] = []
    open_asks = list(asks)
    tries = dict.fromkeys((a.key for a in asks), 0)
    while open_asks:
        ask = min(open_asks, key=lambda a: (a.now, a.key))
        open_asks.remove(ask)
        tries[ask.key] += 1
        # A hold opens only when its time comes.
        known = replace(facts, holds={k: h for k, h in facts.holds.items() if h.opened_at and h.opened_at <= ask.now})
        verdict = decide(ask, Situation(known, past=sent), policy)
        if isinstance(verdict, Send):
            assert ask.now < ask.valid_until
            assert ask.purpose != "promotional" or not known.active_holds(ask.now)
            sent.append(Past(ask.key, ask.channel, ask.purpose, ask.now))
        elif isinstance(verdict, Wait):
            assert ask.now < verdict.until <= ask.valid_until
            open_asks.append(replace(ask, now=verdict.until))
        # Once for each quiet line and day, each slot of a cap taken by another, each look at a hold.
        assert tries[ask.key] < 200
    assert not rules_broken(sent, policy, ZoneInfo(zone), frequency)


def rules_broken(sent: list[Past], policy: Policy, zone: ZoneInfo, frequency: str | None = None) -> list[str]:
    broken = []
    stated = [cap for name, cap in policy.frequency.items() if name == frequency]
    for p in sent:
        for hours in policy.quiet_hours:
            if p.channel in hours.channels and p.purpose in hours.purposes and is_quiet(p.claimed_at, zone, hours):
                broken.append(f"{p} in {hours}")
        for cap in (*policy.caps, *stated):
            window = [
                q
                for q in sent
                if q.channel in cap.channels
                and q.purpose in cap.purposes
                and p.claimed_at <= q.claimed_at < p.claimed_at + cap.window
            ]
            if len(window) > cap.max:
                broken.append(f"{len(window)} from {p} in {cap}")
    return broken


def test_rules_broken_would_be_seen() -> None:
    # Asks that ignore the gate break both kinds of rule: the judge above is not blind.
    night = datetime(2026, 3, 2, 23, tzinfo=UTC)
    policy = Policy.model_construct(
        quiet_hours=(NIGHT,),
        caps=(Cap(channels=("email",), purposes=("promotional",), max=1, days=1),),
        frequency={"weekly": WEEKLY},
    )
    sent = [past("a", night), past("b", night + timedelta(hours=1))]
    assert len(rules_broken(sent, policy, ZoneInfo("UTC"))) == 3
    assert len(rules_broken(sent, policy, ZoneInfo("UTC"), "weekly")) == 4


forbidding = st.sampled_from(
    [
        "erased",
        "exited",
        "withdrawn",
        "unsubscribed",
        "complained",
        "no consent",
        "no address",
        "bounced",
        "expired",
        "hold",
        "pause",
    ]
)


@given(policies(), st.lists(forbidding, min_size=1, unique=True), every_purpose, st.sampled_from(ZONES))
def test_nothing_forbidden_is_ever_sent(
    policy: Policy, changes: dict[str, Any], bans: list[str], purpose: Purpose, zone: str
) -> None:
    policy = changed(policy, **changes)
    ask = an_ask("k", purpose=purpose)
    facts, ended_by = reachable_facts(timezone=zone), None
    forbids = {"erased", "exited", "no address", "bounced", "expired"}
    marketing = {"withdrawn", "unsubscribed", "complained", "no consent"}
    if purpose != "transactional":
        forbids |= {*marketing, "pause"}
    if purpose == "promotional":
        forbids |= {"hold"}
    events: dict[str, Happening] = {
        "withdrawn": happening("consent.withdrawn", at(-1), channel="email"),
        "unsubscribed": happening("message.unsubscribed", at(-1), channel="email"),
        "complained": happening("message.complained", at(-1), channel="email"),
        "bounced": happening("message.bounced", at(-1), address="alice@example.com", permanent=True),
        "hold": happening("ticket.opened", at(-1), ticket_id="7"),
        "erased": happening("contact.erased", at(-1)),
        "pause": happening("contact.paused", at(-1), days=30),
    }
    for ban in bans:
        match ban:
            case "exited":
                ended_by = "meeting.booked"
            case "no consent":
                facts = replace(facts, consents={})
            case "no address":
                facts = replace(facts, profile={k: v for k, v in facts.profile.items() if k != "email"})
            case "expired":
                ask = replace(ask, valid_until=ask.now)
            case _:
                facts = apply(facts, events[ban], policy)
    verdict = decide(ask, Situation(facts, ended_by), policy)
    if forbids & set(bans):
        assert not isinstance(verdict, Send)
    if forbids & set(bans) - {"hold", "pause"}:
        assert isinstance(verdict, Drop)


@given(st.text(max_size=40))
@example("Europe")
@example("America/Argentina")
def test_no_text_for_a_zone_disturbs_the_gate(policy: Policy, text: str) -> None:
    verdict = decide(an_ask("k"), Situation(reachable_facts(timezone=text)), policy)
    assert isinstance(verdict, Send | Wait)


def test_a_gate_knows_how_far_back_it_must_look(policy: Policy) -> None:
    assert longest_window(policy) == timedelta(days=30)
    assert longest_window(changed(policy, frequency={})) == timedelta(days=14), "the coldest tier's"
    assert longest_window(changed(policy, frequency={}, tiers=())) == timedelta(days=7)
    assert longest_window(changed(policy, caps=(), frequency={}, tiers=())) == timedelta(days=2), "an echo's"
