"""Where a contact stands with us: lifecycle stage and relationship strength, as functions of the facts.

Both come with the reasons that made them so, since people act on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from contacts.facts import Facts, with_mood
from contacts.policy import Policy, Stage

STAGE_GOALS: Mapping[Stage, str] = {
    "visitor": "learns what we are for, and gets a reason to leave an address",
    "lead": "gets further with the problem they came for",
    "interested": "can tell whether this is right for them",
    "in_talks": "has a person who answers",
    "new_customer": "gets the first real use out of what they bought",
    "customer": "gets lasting use, and more of it",
    "at_risk": "gets help before they are lost",
    "lapsed": "finds a reason to come back, or peace",
    "former": "leaves well, and knows the door is open",
}
"""What each stage is for, from the contact's side."""


@dataclass(frozen=True)
class Standing:
    """Where a contact stands.

    Attributes:
        strength: 0 (nothing) to 100 (as close as it gets).
        reasons: What made stage and strength so, in words, the weightiest first.
    """

    stage: Stage
    strength: int
    reasons: tuple[str, ...]

    @property
    def flags(self) -> frozenset[str]:
        """For a journey's ``only`` and ``unless``: the stage, and ``strong`` from 60 on."""
        return frozenset({self.stage, *({"strong"} if self.strength >= 60 else ())})


def standing(facts: Facts, policy: Policy, now: datetime) -> Standing:
    """Stage and strength as of a moment."""
    stage, why = _stage(facts, policy, now)
    strength, reasons = _strength(facts, policy, now)
    return Standing(stage, strength, (why, *reasons))


def _stage(facts: Facts, policy: Policy, now: datetime) -> tuple[Stage, str]:
    rules = policy.lifecycle
    quiet_since = _latest(facts, now)
    if facts.customer_since is not None:
        if facts.left:
            return "former", "canceled and bought nothing since"
        if quiet_since > timedelta(days=rules.lapsed_days):
            return "lapsed", f"a customer of whom nothing was seen for {quiet_since.days} days"
        for type, mended in _SIGNS_OF_RISK.items():
            at = facts.last.get(type)
            if at is None or now - at > timedelta(days=rules.at_risk_days):
                continue
            # A card that fails at the till and then works is no sign of a customer who leaves.
            if at > facts.customer_since and facts.happened_after(type, mended):
                return "at_risk", f"{type} on {at:%d %b %Y}"
        if now - facts.customer_since <= timedelta(days=rules.new_customer_days):
            return "new_customer", f"bought first on {facts.customer_since:%d %b %Y}"
        return "customer", f"a customer since {facts.customer_since:%b %Y}"
    booked = facts.last.get("meeting.booked")
    meets = (
        booked is not None
        and now - booked <= timedelta(days=rules.in_talks_days)
        and facts.happened_after("meeting.booked", "meeting.canceled", "meeting.no_show", "meeting.completed")
    )
    if meets or any(h.kind in ("conversation", "handoff") for h in facts.active_holds(now)):
        return "in_talks", "a person is in touch with them"
    known = "known" in facts.flags()
    if known and quiet_since > timedelta(days=rules.lapsed_days):
        return "lapsed", f"nothing was seen for {quiet_since.days} days"
    score = facts.score.at(now, timedelta(days=policy.score.half_life_days))
    if known and score >= rules.interested_at:
        return "interested", f"lead score {score:.0f}"
    if known:
        return "lead", "known by an address"
    return "visitor", "known by a device only"


def _strength(facts: Facts, policy: Policy, now: datetime) -> tuple[int, list[str]]:
    parts: list[tuple[float, str]] = []
    for line in policy.lifecycle.strength:
        name = with_mood(line.on, line.mood) if line.mood else line.on
        count = facts.counts.get(name, 0)
        at = facts.last.get(name)
        if not count or at is None:
            continue
        fresh = 0.5 ** ((now - at) / timedelta(days=policy.lifecycle.strength_half_life_days))
        worth = line.points * min(count, line.most) * fresh
        parts.append((worth, f"{name} {count} times, last on {at:%d %b %Y}: {worth:+.0f}"))
    parts.sort(key=lambda part: -abs(part[0]))
    total = sum(worth for worth, _ in parts)
    return max(0, min(100, round(total))), [why for _, why in parts[:5]]


def _latest(facts: Facts, now: datetime) -> timedelta:
    seen = [at for type, at in facts.last.items() if type.startswith(_SIGNS_OF_LIFE)]
    return now - max(seen) if seen else timedelta(0)


_SIGNS_OF_LIFE = (
    "page.", "resource.", "form.", "webinar.", "checkout.started", "purchase.completed", "subscription.started",
    "ticket.opened", "meeting.booked", "meeting.completed", "call.missed", "contract.", "conversation.", "feature.",
    "milestone.", "value.", "message.opened", "message.clicked", "message.replied", "survey.", "csat.", "nps.",
    "review.", "referral.", "loyalty.", "custom.",
)  # fmt: skip
"""What a contact does; everything else happens to them, or is of our own making."""

_SIGNS_OF_RISK: Mapping[str, str] = {
    "invoice.payment_failed": "invoice.paid",
    "usage.fell": "value.realized",
    with_mood("csat.answered", "bad"): with_mood("csat.answered", "good"),
    with_mood("nps.answered", "bad"): with_mood("nps.answered", "good"),
}
"""What puts a customer at risk, and what has mended it if it came later."""
