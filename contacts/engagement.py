"""How awake a contact is to what we send: a function of the facts.

Promotion follows engagement. Whoever shows no sign of life for long gets less of it, then none but the question
whether to go on. What a machine opens or clicks is no sign of life.
"""

from datetime import datetime, timedelta

from contacts.facts import Facts
from contacts.policy import Policy, Tier

SIGNS_OF_LIFE = (
    "page.", "resource.", "form.", "webinar.", "checkout.started", "purchase.completed", "subscription.started",
    "ticket.opened", "meeting.booked", "meeting.completed", "call.missed", "contract.", "conversation.", "feature.",
    "milestone.", "value.", "message.opened", "message.clicked", "message.replied", "survey.", "csat.", "nps.",
    "review.", "referral.", "loyalty.", "custom.",
)  # fmt: skip
"""What a contact does; everything else happens to them, or is of our own making."""


def last_sign(facts: Facts) -> datetime | None:
    """When the contact last did anything that we know of."""
    return max((at for type, at in facts.last.items() if type.startswith(SIGNS_OF_LIFE)), default=None)


def silent_since(facts: Facts) -> datetime | None:
    """Since when our mail has met with silence; None where there was none to read."""
    first_mail = facts.first.get("message.sent")
    if first_mail is None:
        return None
    return max(first_mail, last_sign(facts) or first_mail)


def tier(facts: Facts, policy: Policy, now: datetime) -> Tier | None:
    """The tier of the policy that the contact has fallen to; None for whoever is awake."""
    since = silent_since(facts)
    if since is None:
        return None
    reached = [t for t in policy.tiers if now - since >= timedelta(days=t.after_days)]
    return max(reached, key=lambda t: t.after_days, default=None)
