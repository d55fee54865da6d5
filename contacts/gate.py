"""The one place that decides whether a touch may go out now: a function of values.

Each check is a small function with its own reason code that answers ``Drop``, ``Wait`` or nothing. They run in a
fixed order and the first that speaks decides, so a reason never hides behind a lesser one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal
from zoneinfo import ZoneInfo

from contacts.engagement import silent_since, tier
from contacts.facts import CHANNELS, Facts
from contacts.policy import Cap, Experiment, Policy, QuietHours, Role
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
    """A halt that an operator, or the breaker, has called: of a journey, of a channel, or of everything.

    Attributes:
        until: When it ends by itself; None: when somebody ends it.
    """

    scope: Literal["all", "channel", "journey"]
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


@dataclass(frozen=True)
class Situation:
    """What the gate knows besides the ask.

    Attributes:
        ended_by: Why the run is over already (event type or ``ended``), or None.
        past: The contact's touches inside the longest window any cap looks at.
        waiting: The contact's other touches that wait.
        pauses: The halts in force.
    """

    facts: Facts
    ended_by: str | None = None
    past: Sequence[Past] = ()
    waiting: Sequence[Waiting] = ()
    pauses: Sequence[Pause] = ()


@dataclass(frozen=True)
class Send:
    """The touch may go out now."""


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
Check = Callable[[Ask, Situation, Policy], Wait | Drop | None]

HOLD_RECHECK = timedelta(days=1)
"""A run waiting for a release looks again after this long even if it hears of none."""


def decide(ask: Ask, situation: Situation, policy: Policy) -> Verdict:
    """May this touch go out now?"""
    for check in CHECKS:
        verdict = check(ask, situation, policy)
        if isinstance(verdict, Drop):
            return verdict
        if isinstance(verdict, Wait):
            if verdict.hold is None and verdict.until > ask.valid_until:
                until = verdict.until.isoformat()
                return Drop("valid_for", {**verdict.inputs, "because": verdict.reason, "could_go_at": until})
            return Wait(verdict.reason, min(verdict.until, ask.valid_until), verdict.hold, verdict.inputs)
    return Send()


def erased(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    """Nothing reaches a contact who was erased."""
    return Drop("erased") if situation.facts.erased_at else None


def exited(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    """A run that an event has ended claims nothing more, even if it has not heard of it."""
    return Drop("exited", {"by": situation.ended_by}) if situation.ended_by else None


def expired(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    """A message past its time is not worth sending, whatever else holds it."""
    return Drop("valid_for", {"valid_until": ask.valid_until.isoformat()}) if ask.now >= ask.valid_until else None


def consent(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    """The contact allowed this purpose on this channel, where the policy asks for that."""
    word = situation.facts.consent(ask.channel, ask.purpose)
    if word is not None and not word.granted:
        return Drop("consent_withdrawn", {"at": word.at.isoformat(), "event": word.event_id})
    if word is None and ask.purpose in policy.consent.required and ask.channel in policy.consent.channels:
        return Drop("no_consent", {"channel": ask.channel, "purpose": ask.purpose})
    return None


def reachable(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    """There is an address on this channel, and it takes messages."""
    address = situation.facts.address(ask.channel)
    if address is None:
        return Drop("no_address", {"channel": ask.channel})
    suppression = situation.facts.suppression(ask.channel, address)
    if suppression is not None:
        return Drop("suppressed", {"because": suppression.reason, "event": suppression.event_id})
    return None


def held_out(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    """A part of the contacts gets no promotion from a journey that is being measured."""
    if ask.purpose != "promotional":
        return None
    for experiment in policy.experiments:
        if ask.journey in experiment.journeys and is_held_out(experiment, situation.facts.contact_id):
            return Drop("hold_out", {"experiment": experiment.name, "share": experiment.hold_out})
    return None


def is_held_out(experiment: Experiment, contact_id: str) -> bool:
    """Whether the contact is among those who get nothing: always the same answer, and no one knows it beforehand."""
    drawn = int.from_bytes(sha256(f"{experiment.name}/{contact_id}".encode()).digest()[:8], "big")
    return drawn < experiment.hold_out * 2**64


def echoed(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    """The same promotion does not come again, on another channel or from another journey, within a few days."""
    if ask.purpose != "promotional":
        return None
    since = ask.now - timedelta(days=policy.echo_days)
    for past in situation.past:
        if past.template == ask.template and past.key != ask.key and past.claimed_at > since:
            return Drop("echo", {"of": past.key, "at": past.claimed_at.isoformat(), "days": policy.echo_days})
    return None


def paused(ask: Ask, situation: Situation, policy: Policy) -> Wait | None:
    """An operator has halted the journey, the channel or everything."""
    for pause in situation.pauses:
        if pause.covers(ask):
            until = min(ask.now + HOLD_RECHECK, pause.until or datetime.max.replace(tzinfo=UTC))
            return Wait("paused", until, pause.hold, {"reason": pause.reason})
    return None


def held(ask: Ask, situation: Situation, policy: Policy) -> Wait | None:
    """Promotion waits while a ticket is open, a person talks with the contact, or an operator said so.

    While the contact wants a pause, all waits that their orders do not need.
    """
    if ask.purpose == "transactional":
        return None
    active = situation.facts.active_holds(ask.now)
    holds = [h for h in active if ask.purpose == "promotional" or h.kind == "pause"]
    if not holds:
        return None
    first = holds[0]
    ends = [h.expires_at for h in holds if h.expires_at is not None]
    until = min([ask.now + HOLD_RECHECK, *ends])
    return Wait(f"hold_{first.kind}", until, first.name, {"holds": [h.name for h in holds]})


def tiered(ask: Ask, situation: Situation, policy: Policy) -> Wait | Drop | None:
    """Whoever no longer reads us gets less promotion, and in the end only the question whether to go on."""
    reached = tier(situation.facts, policy, ask.now) if ask.purpose == "promotional" else None
    # Whoever may still ask the most silent is not made to wait in the tiers before.
    if reached is None or any(ask.journey in t.journeys for t in policy.tiers):
        return None
    since = silent_since(situation.facts)
    inputs = {"tier": reached.name, "silent_since": since.isoformat() if since else None}
    if reached.journeys:
        return Drop("engagement_tier", inputs)
    if reached.max is None or reached.days is None:
        return None
    cap = Cap(channels=CHANNELS, purposes=("promotional",), max=reached.max, days=reached.days)
    full = _full(cap, ask, situation)
    return Wait("engagement_tier", full[0], inputs={**inputs, **full[1]}) if full is not None else None


def quiet(ask: Ask, situation: Situation, policy: Policy) -> Wait | None:
    """Nobody is disturbed at night, by the contact's own clock."""
    zone = situation.facts.zone(policy.defaults.timezone)
    for hours in policy.quiet_hours:
        if ask.channel in hours.channels and ask.purpose in hours.purposes:
            until = quiet_until(ask.now, zone, hours)
            if until is not None:
                return Wait("quiet_hours", until, inputs={"timezone": zone.key, "until": until.isoformat()})
    return None


def quiet_until(now: datetime, zone: ZoneInfo, hours: QuietHours) -> datetime | None:
    """When the quiet hours around ``now`` end (UTC), or None outside them. Right across changes of clock time."""
    local = now.astimezone(zone)
    clock = local.time()
    if hours.start < hours.end:
        inside, ends_tomorrow = hours.start <= clock < hours.end, False
    else:
        inside, ends_tomorrow = clock >= hours.start or clock < hours.end, clock >= hours.start
    if not inside:
        return None
    day = local.date() + timedelta(days=1 if ends_tomorrow else 0)
    end = datetime.combine(day, hours.end, tzinfo=zone).astimezone(UTC)
    # In the hour that a clock change repeats, the end's first pass may already be behind us.
    return end if end > now else datetime.combine(day, hours.end.replace(fold=1), tzinfo=zone).astimezone(UTC)


def capped(ask: Ask, situation: Situation, policy: Policy) -> Wait | None:
    """No more touches than the policy allows in any window; the longest wait of all full windows counts."""
    full = [found for cap in policy.caps if (found := _full(cap, ask, situation)) is not None]
    if not full:
        return None
    until, inputs = max(full, key=lambda found: found[0])
    return Wait("frequency_cap", until, inputs=inputs)


def stated(ask: Ask, situation: Situation, policy: Policy) -> Wait | None:
    """No more touches than the contact wants, where they said how often; the caps hold besides."""
    cap = policy.frequency.get(situation.facts.get("frequency"))
    full = _full(cap, ask, situation) if cap is not None else None
    return Wait("stated_frequency", full[0], inputs=full[1]) if full is not None else None


def _full(cap: Cap, ask: Ask, situation: Situation) -> tuple[datetime, dict[str, Any]] | None:
    """When a full window has room for this touch again, and what is in it; None where there is room now."""
    if ask.channel not in cap.channels or ask.purpose not in cap.purposes:
        return None
    inside = sorted(
        p.claimed_at
        for p in situation.past
        if p.key != ask.key
        and p.channel in cap.channels
        and p.purpose in cap.purposes
        and p.claimed_at > ask.now - cap.window
    )
    if len(inside) < cap.max:
        return None
    # When the touch that makes the window full leaves it, there is room for one.
    return inside[-cap.max] + cap.window, {"max": cap.max, "days": cap.days, "in_window": len(inside)}


def outranked(ask: Ask, situation: Situation, policy: Policy) -> Wait | None:
    """The slot is kept for a more important journey's touch that waits for the same."""
    if ask.purpose != "promotional":
        return None
    kept = timedelta(hours=policy.priority.hold_hours)
    mine = _rank(ask.journey, policy)
    for other in situation.waiting:
        ends = min(other.until + kept, other.valid_until)
        if (
            other.purpose == "promotional"
            and other.channel == ask.channel
            and other.key != ask.key
            and _rank(other.journey, policy) < mine
            and ask.now < ends
        ):
            return Wait("priority", ends, inputs={"for": other.journey, "until": ends.isoformat()})
    return None


def _rank(journey: str, policy: Policy) -> int:
    order = policy.priority.journeys
    return order.index(journey) if journey in order else len(order)


CHECKS: tuple[Check, ...] = (
    erased, exited, consent, reachable, held_out, echoed, expired,
    paused, held, tiered, quiet, stated, capped, outranked,
)  # fmt: skip


def longest_window(policy: Policy) -> timedelta:
    """How far back the gate must see a contact's touches."""
    windows = [cap.window for cap in (*policy.caps, *policy.frequency.values())]
    windows += [timedelta(days=tier.days) for tier in policy.tiers if tier.days is not None]
    return max([*windows, timedelta(days=policy.echo_days)])
