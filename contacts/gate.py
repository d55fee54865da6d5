"""The one place that decides whether a touch may go out now: a function of values.

Each check is a small function with its own reason code that answers ``Drop``, ``Wait`` or ``Passed``. They run in a
fixed order and the first that does not pass decides, so a reason never hides behind a lesser one. Whatever a check
answers, it says what it looked at, so that a touch that went out has its reasons as one that did not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from contacts import hours
from contacts.engagement import silent_since, tier
from contacts.facts import CHANNELS, Consent, Facts, address_kind
from contacts.policy import Cap, Experiment, Policy, Role
from contacts.specs import Purpose


@dataclass(frozen=True)
class Ask:
    """A touch that wants to go out.

    Attributes:
        channel: Where it goes out. Where there is a choice, it is made (``contacts.channels``) before the gate decides.
        now: The run's time.
        valid_until: From here on the message is not worth sending.
        channels: Those there is a choice of; empty where there is none.
        role: The message's, by which the choice is made.
    """

    key: str
    template: str
    channel: str
    purpose: Purpose
    journey: str
    now: datetime
    valid_until: datetime
    channels: tuple[str, ...] = ()
    role: Role | None = None

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every channel it may go out on."""
        return self.channels or (self.channel,)


@dataclass(frozen=True)
class Past:
    """A touch that took a slot: claimed, sent, or perhaps sent."""

    key: str
    channel: str
    purpose: Purpose
    claimed_at: datetime
    template: str = ""


@dataclass(frozen=True)
class Waiting:
    """Another touch of the contact that waits for its time, and until when at most it asks again."""

    key: str
    journey: str
    channel: str
    purpose: Purpose
    until: datetime
    valid_until: datetime


@dataclass(frozen=True)
class Pause:
    """A halt that an operator, or the breaker, has called: of a run, of a journey, of a channel, or of everything.

    Attributes:
        name: Of the journey or channel. A run's halt has none: nobody but the run is told of it.
        until: When it ends by itself; None: when somebody ends it.
    """

    scope: Literal["all", "channel", "journey", "run"]
    name: str
    reason: str
    until: datetime | None = None

    @property
    def what(self) -> str:
        """``journey/nurture``, ``channel/email`` or ``all``."""
        return f"{self.scope}/{self.name}" if self.name else self.scope

    @property
    def hold(self) -> str:
        """``pause:journey/nurture``."""
        return f"pause:{self.what}"

    def covers(self, ask: Ask) -> bool:
        """Whether the touch has to wait for its end. What a contact needs is never stopped with everything else."""
        if self.until is not None and ask.now >= self.until:
            return False
        match self.scope:
            case "all":
                return ask.purpose != "transactional"
            case "channel":
                return ask.channel == self.name
            case "journey":
                return ask.journey == self.name
            case "run":
                return True


@dataclass(frozen=True)
class Situation:
    """What the gate knows besides the ask.

    Attributes:
        ended_by: Why the run is over already (event type or ``ended``), or None.
        past: The contact's touches inside the longest window any cap looks at.
        waiting: The contact's other touches that wait.
        pauses: The halts in force, and the run's own.
        namesakes: By channel, who is known by the contact's address there, where that is another contact: several
            records may have one phone, and whoever answers by it answers for all.
    """

    facts: Facts
    ended_by: str | None = None
    past: Sequence[Past] = ()
    waiting: Sequence[Waiting] = ()
    pauses: Sequence[Pause] = ()
    namesakes: Mapping[str, Facts] = field(default_factory=dict)


@dataclass(frozen=True)
class Passed:
    """Nothing to object. ``inputs``: what was looked at and by how much it passed; empty where there was nothing to."""

    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Send:
    """The touch may go out now. ``inputs``: what every check looked at, as JSON."""

    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """Not now. Ask again at ``until`` at the latest, or when ``hold`` is released."""

    reason: str
    until: datetime
    hold: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drop:
    """Not at all, because of ``reason``."""

    reason: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


Verdict = Send | Wait | Drop
Check = Callable[[Ask, Situation, Policy], Passed | Wait | Drop]

HOLD_RECHECK = timedelta(days=1)
"""A run waiting for a release looks again after this long even if it hears of none."""


def decide(ask: Ask, situation: Situation, policy: Policy) -> Verdict:
    """May this touch go out now?"""
    passed: dict[str, Any] = {}
    for check in CHECKS:
        answer = check(ask, situation, policy)
        match answer:
            case Passed():
                passed |= answer.inputs
            case Drop():
                return answer
            case Wait(hold=None) if answer.until > ask.valid_until:
                until = answer.until.isoformat()
                return Drop("valid_for", {**answer.inputs, "because": answer.reason, "could_go_at": until})
            case Wait():
                return replace(answer, until=min(answer.until, ask.valid_until))
    return Send(passed)


def erased(ask: Ask, situation: Situation, policy: Policy) -> Passed | Drop:
    """Nothing reaches a contact who was erased."""
    return Drop("erased") if situation.facts.erased_at else Passed()


def exited(ask: Ask, situation: Situation, policy: Policy) -> Passed | Drop:
    """A run that an event has ended claims nothing more, even if it has not heard of it."""
    return Drop("exited", {"by": situation.ended_by}) if situation.ended_by else Passed()


def expired(ask: Ask, situation: Situation, policy: Policy) -> Passed | Drop:
    """A message past its time is not worth sending, whatever else holds it."""
    inputs = {"valid_until": ask.valid_until.isoformat()}
    return Drop("valid_for", inputs) if ask.now >= ask.valid_until else Passed(inputs)


def consent(ask: Ask, situation: Situation, policy: Policy) -> Passed | Drop:
    """The contact allowed this purpose on this channel, where the policy asks for that, and no namesake refused it."""
    word = situation.facts.consent(ask.channel, ask.purpose)
    required = ask.purpose in policy.consent.required and ask.channel in policy.consent.channels
    if word is None and required:
        return Drop("no_consent", {"channel": ask.channel, "purpose": ask.purpose})
    if word is not None and not word.granted:
        return Drop("consent_withdrawn", _said(word))
    namesake = situation.namesakes.get(ask.channel)
    theirs = namesake.consent(ask.channel, ask.purpose) if namesake is not None else None
    if namesake is not None and theirs is not None and not theirs.granted:
        return Drop("consent_withdrawn", {**_said(theirs), "by": namesake.contact_id})
    return Passed({"consent": {**_said(word), "implied": word.implied} if word is not None else None})


def _said(word: Consent) -> dict[str, Any]:
    return {"at": word.at.isoformat(), "event": word.event_id}


def reachable(ask: Ask, situation: Situation, policy: Policy) -> Passed | Drop:
    """There is an address on this channel, and it takes messages."""
    address = situation.facts.address(ask.channel)
    if address is None:
        return Drop("no_address", {"channel": ask.channel})
    namesake = situation.namesakes.get(ask.channel)
    for known in (situation.facts, *([namesake] if namesake is not None else [])):
        suppression = known.suppression(ask.channel, address)
        if suppression is not None:
            return Drop("suppressed", {"because": suppression.reason, "event": suppression.event_id})
    # Which address it was is told by the event; the address itself has no place in a decision.
    kind = address_kind(ask.channel)
    return Passed({"address": {"kind": kind, "event": situation.facts.profile[kind].event_id}})


def held_out(ask: Ask, situation: Situation, policy: Policy) -> Passed | Drop:
    """A part of the contacts gets no promotion from a journey that is being measured."""
    if ask.purpose != "promotional":
        return Passed()
    measured = [experiment for experiment in policy.experiments if ask.journey in experiment.journeys]
    for experiment in measured:
        if is_held_out(experiment, situation.facts.contact_id):
            return Drop("hold_out", {"experiment": experiment.name, "share": experiment.hold_out})
    shares = {experiment.name: experiment.hold_out for experiment in measured}
    return Passed({"experiments": shares} if shares else {})


def is_held_out(experiment: Experiment, contact_id: str) -> bool:
    """Whether the contact is among those who get nothing: always the same answer, and no one knows it beforehand."""
    drawn = int.from_bytes(sha256(f"{experiment.name}/{contact_id}".encode()).digest()[:8], "big")
    return drawn < experiment.hold_out * 2**64


def echoed(ask: Ask, situation: Situation, policy: Policy) -> Passed | Drop:
    """The same promotion does not come again, on another channel or from another journey, within a few days."""
    if ask.purpose != "promotional":
        return Passed()
    since = ask.now - timedelta(days=policy.echo_days)
    for past in situation.past:
        if past.template == ask.template and past.key != ask.key and past.claimed_at > since:
            return Drop("echo", {"of": past.key, "at": past.claimed_at.isoformat(), "days": policy.echo_days})
    return Passed({"no_echo_in_days": policy.echo_days})


def paused(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait:
    """An operator has halted the run, the journey, the channel or everything."""
    for pause in situation.pauses:
        if pause.covers(ask):
            until = min(at for at in (ask.now + HOLD_RECHECK, pause.until) if at is not None)
            return Wait("paused", until, pause.hold, {"reason": pause.reason})
    # Those still in force are for others.
    others = [pause.what for pause in situation.pauses if pause.until is None or ask.now < pause.until]
    return Passed({"halts": others} if others else {})


def held(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait:
    """Promotion waits while a ticket is open, a person talks with the contact, or an operator said so.

    While the contact wants a pause, all waits that their orders do not need.
    """
    active = situation.facts.active_holds(ask.now)
    holds = [h for h in active if ask.purpose == "promotional" or (ask.purpose == "lifecycle" and h.kind == "pause")]
    if not holds:
        # What is in force here does not hold this purpose.
        return Passed({"holds": [h.name for h in active]})
    first = holds[0]
    ends = [h.expires_at for h in holds if h.expires_at is not None]
    until = min([ask.now + HOLD_RECHECK, *ends])
    return Wait(f"hold_{first.kind}", until, first.name, {"holds": [h.name for h in holds]})


def tiered(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait | Drop:
    """Whoever no longer reads us gets less promotion, and in the end only the question whether to go on."""
    if ask.purpose != "promotional":
        return Passed()
    reached, since = tier(situation.facts, policy, ask.now), silent_since(situation.facts)
    inputs = {"tier": reached.name if reached else None, "silent_since": since.isoformat() if since else None}
    if reached is None or ask.journey in reached.journeys:
        return Passed({"engagement": inputs})
    if reached.journeys:
        return Drop("engagement_tier", inputs)
    # Whoever may still ask the more silent is not made to wait in the tiers before.
    asks_later = any(ask.journey in t.journeys for t in policy.tiers)
    if asks_later or reached.max is None or reached.days is None:
        return Passed({"engagement": inputs})
    cap = Cap(channels=CHANNELS, purposes=("promotional",), max=reached.max, days=reached.days)
    room = _room(cap, ask, situation)
    inputs |= room.inputs
    return Passed({"engagement": inputs}) if room.at is None else Wait("engagement_tier", room.at, inputs=inputs)


def quiet(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait:
    """Nobody is disturbed at night, by the contact's own clock."""
    clock = _Clock(ask, situation, policy)
    if not clock.hours.quiet:
        return Passed()
    if clock.hours.are_quiet(clock.local):
        until, seen = clock.until_open()
        return Wait("quiet_hours", until, inputs=seen)
    return Passed({"clock": clock.inputs, "quiet": [f"{h.start:%H:%M}-{h.end:%H:%M}" for h in clock.hours.quiet]})


def windowed(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait:
    """Some touches go out only at certain hours of some days, by the contact's own clock."""
    clock = _Clock(ask, situation, policy)
    if not clock.hours.windows:
        return Passed()
    if not clock.hours.in_window(clock.local):
        until, seen = clock.until_open()
        return Wait("send_window", until, inputs=seen)
    around = [w for w in clock.hours.windows if w.around(clock.local)]
    return Passed({"clock": clock.inputs, "windows": [f"{w.start:%H:%M}-{w.end:%H:%M}" for w in around]})


class _Clock:
    """The clock on the contact's wall, and what the policy says of its hours."""

    def __init__(self, ask: Ask, situation: Situation, policy: Policy) -> None:
        self._now = ask.now
        self._zone = situation.facts.zone(policy.defaults.timezone)
        self._own = situation.facts.get("timezone") == self._zone.key
        self.hours = policy.hours(ask.channel, ask.purpose)
        self.local = ask.now.astimezone(self._zone)

    @property
    def inputs(self) -> dict[str, Any]:
        """Local time and zone; ``assumed`` where the contact's own is not known and the policy's stands for it."""
        shown = {"local": self.local.isoformat(), "timezone": self._zone.key}
        return shown if self._own else {**shown, "assumed": True}

    def until_open(self) -> tuple[datetime, dict[str, Any]]:
        """When the quiet is over and a window is open, and with that what was looked at."""
        until = hours.opens(self.hours, self._now, self._zone)
        return until, {**self.inputs, "until": until.isoformat()}


def capped(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait:
    """No more touches than the policy allows in any window; the longest wait of all full windows counts."""
    rooms = [_room(cap, ask, situation) for cap in policy.caps if _counts(cap, ask)]
    full = [(room.at, room.inputs) for room in rooms if room.at is not None]
    if full:
        until, inputs = max(full, key=lambda found: found[0])
        return Wait("frequency_cap", until, inputs=inputs)
    return Passed({"caps": [room.inputs for room in rooms]} if rooms else {})


def stated(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait:
    """No more touches than the contact wants, where they said how often; the caps hold besides."""
    said = situation.facts.get("frequency")
    cap = policy.frequency.get(said)
    if cap is None or not _counts(cap, ask):
        return Passed()
    room = _room(cap, ask, situation)
    if room.at is not None:
        return Wait("stated_frequency", room.at, inputs=room.inputs)
    return Passed({"stated_frequency": {"said": said, **room.inputs}})


@dataclass(frozen=True)
class _Room:
    """How full a window is, and when it has room for one more; ``at`` is None where there is room now."""

    inputs: dict[str, Any]
    at: datetime | None


def _counts(cap: Cap, touch: Ask | Past) -> bool:
    return touch.channel in cap.channels and touch.purpose in cap.purposes


def _room(cap: Cap, ask: Ask, situation: Situation) -> _Room:
    since = ask.now - cap.window
    inside = sorted(
        p.claimed_at for p in situation.past if p.key != ask.key and _counts(cap, p) and p.claimed_at > since
    )
    # When the touch that makes the window full leaves it, there is room for one.
    at = inside[-cap.max] + cap.window if len(inside) >= cap.max else None
    return _Room({"max": cap.max, "days": cap.days, "in_window": len(inside)}, at)


def outranked(ask: Ask, situation: Situation, policy: Policy) -> Passed | Wait:
    """The slot is kept for a more important journey's touch that waits for the same."""
    if ask.purpose != "promotional":
        return Passed()
    kept = timedelta(hours=policy.priority.hold_hours)
    mine = _rank(ask.journey, policy)
    rivals = [
        other
        for other in situation.waiting
        if other.purpose == "promotional" and other.channel == ask.channel and other.key != ask.key
    ]
    theirs = [
        (min(other.until + kept, other.valid_until), other) for other in rivals if _rank(other.journey, policy) < mine
    ]
    in_the_way = [(ends, other.key, other.journey) for ends, other in theirs if ask.now < ends]
    if in_the_way:
        # Of several the one that has had its time first: whoever is left then is in the way again.
        ends, _, journey = min(in_the_way)
        return Wait("priority", ends, inputs={"for": journey, "until": ends.isoformat()})
    # Those that wait for the same slot are less important, or had their time.
    return Passed({"rivals": sorted({other.journey for other in rivals})} if rivals else {})


def _rank(journey: str, policy: Policy) -> int:
    order = policy.priority.journeys
    return order.index(journey) if journey in order else len(order)


CHECKS: tuple[Check, ...] = (
    erased, exited, consent, reachable, held_out, echoed, expired,
    paused, held, tiered, quiet, windowed, stated, capped, outranked,
)  # fmt: skip


def longest_window(policy: Policy) -> timedelta:
    """How far back the gate must see a contact's touches."""
    windows = [cap.window for cap in (*policy.caps, *policy.frequency.values())]
    windows += [timedelta(days=tier.days) for tier in policy.tiers if tier.days is not None]
    return max([*windows, timedelta(days=policy.echo_days)])
