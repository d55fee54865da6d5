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

NO_SIGNS_OF_LIFE = (
    "custom.sms_status", "custom.stripe_dispute", "custom.stripe_invoice", "custom.stripe_refund",
    "custom.stripe_subscription", "custom.gift_canceled", "custom.gift_expired", "custom.gift_failed",
    "custom.gift_flagged", "custom.tag_", "custom.activecampaign_", "custom.gohighlevel_", "custom.intercom_",
    "custom.salesforce_deleted",
)  # fmt: skip
"""What connectors tell under names of their own and no contact does: what became of a message, a present, a bill."""


def is_sign_of_life(type: str) -> bool:
    """Whether events of this type are the contact's doing."""
    return type.startswith(SIGNS_OF_LIFE) and not type.startswith(NO_SIGNS_OF_LIFE)


def last_sign(facts: Facts) -> datetime | None:
    """When the contact last did anything that we know of."""
    return max((at for type, at in facts.last.items() if is_sign_of_life(type)), default=None)


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
