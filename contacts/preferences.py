"""What a contact may say through the links in our messages: the signed token in a link, and the events a click makes.

Exceptions::

    ValueError
      BadToken   the token was not made with our secret
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from itsdangerous import BadData, URLSafeSerializer
from pydantic import SecretStr

from contacts.events import Event, Identity, event
from contacts.facts import CHANNELS, MARKETING, Consent, Facts, Hold
from contacts.specs import Purpose

SOURCE = "preferences"
EVIDENCE = "preference page"

PAUSES = (14, 30, 90)
"""Days of a pause that a contact may choose."""
LONGEST = 2000
"""Characters of a token; nothing longer is ours."""


class BadToken(ValueError):
    """The token was not made with our secret, or was changed on its way."""


@dataclass(frozen=True)
class Claim:
    """What a link in a message stands for. Whoever has the link may act on it: there is no other login.

    Attributes:
        contact_id: Whose choice it is.
        channel: The message's channel, ``email``.
        purpose: The message's purpose, ``promotional`` or ``lifecycle``.
        touch: The touch's key, so that an opt-out can be counted against the message that caused it.
    """

    contact_id: str
    channel: str
    purpose: Purpose
    touch: str


@dataclass(frozen=True)
class Choice:
    """One box on the preference page, and whether it is ticked."""

    channel: str
    purpose: Purpose
    granted: bool

    @property
    def name(self) -> str:
        """``email/promotional``."""
        return f"{self.channel}/{self.purpose}"


def _serializer(secret: SecretStr) -> URLSafeSerializer:
    signing = {"digest_method": sha256, "key_derivation": "hmac"}
    return URLSafeSerializer(secret.get_secret_value(), salt="perennial.preferences", signer_kwargs=signing)


def make(secret: SecretStr, contact_id: str, channel: str, purpose: Purpose, touch: str) -> str:
    """A token for the links of one message. It never expires: a link in an old mail must work.

    Raises:
        ValueError: There is nothing to opt out of: the channel is unknown or the message is transactional.
    """
    if channel not in CHANNELS or purpose not in MARKETING:
        raise ValueError(f"nobody opts out of {purpose} messages on channel {channel!r}")
    return _serializer(secret).dumps([contact_id, channel, purpose, touch])


def read(secret: SecretStr, token: str) -> Claim:
    """What a token stands for.

    Raises:
        BadToken: It is not one of ours.
    """
    try:
        parts = _serializer(secret).loads(token) if len(token) <= LONGEST else None
    except BadData:
        parts = None
    if parts is None:
        raise BadToken("the link is not complete")
    return Claim(*parts)


def links(
    secret: SecretStr, public_url: str, contact_id: str, channel: str, purpose: Purpose, touch: str
) -> dict[str, str]:
    """The links of one message: ``unsubscribe_url`` (RFC 8058, one click) and ``preferences_url``."""
    token = make(secret, contact_id, channel, purpose, touch)
    return {"unsubscribe_url": f"{public_url}/u/{token}", "preferences_url": f"{public_url}/preferences/{token}"}


def choices(facts: Facts, claim: Claim) -> list[Choice]:
    """The boxes a contact sees: by channel we can reach them on or have a yes for, and by purpose."""
    shown = {claim.channel} | {c for c in ("email", "sms") if facts.address(c)}
    shown |= {c.channel for c in facts.consents.values() if c.granted}
    return [Choice(c, p, _granted(facts.consent(c, p))) for c in CHANNELS if c in shown for p in MARKETING]


def unsubscribed(claim: Claim, facts: Facts, now: datetime) -> list[Event]:
    """The event of a one-click opt-out from what the message was; none if they had opted out already."""
    consent = facts.consent(claim.channel, claim.purpose)
    if consent is not None and not consent.granted:
        return []
    said = {"channel": claim.channel, "purpose": claim.purpose, "touch": claim.touch}
    return [_event("message.unsubscribed", facts, f"{claim.channel}/{claim.purpose}", _ids(consent), said, now)]


def saved(facts: Facts, shown: Sequence[Choice], ticked: Collection[str], now: datetime) -> list[Event]:
    """The events of a saved page: the contact's word on every box shown, where it is news.

    What a purchase implied counts as news: from here on it is the contact's own word.
    """
    events: list[Event] = []
    for choice in shown:
        consent = facts.consent(choice.channel, choice.purpose)
        wanted = choice.name in ticked
        if consent is None or consent.implied or consent.granted != wanted:
            said = {"channel": choice.channel, "purpose": choice.purpose, "evidence": EVIDENCE}
            type = "consent.granted" if wanted else "consent.withdrawn"
            events.append(_event(type, facts, choice.name, _ids(consent), said, now))
    return events


def stopped(facts: Facts, now: datetime) -> list[Event]:
    """The event of "stop everything": no channel, no purpose. None if that is how things are."""
    consents = [facts.consent(c, p) for c in CHANNELS for p in MARKETING]
    if all(c is not None and not c.granted for c in consents):
        return []
    said = {"channel": "all", "purpose": "all", "evidence": EVIDENCE}
    return [_event("consent.withdrawn", facts, "all", _ids(*consents), said, now)]


def channels(facts: Facts) -> tuple[str, ...]:
    """Where the contact can be reached and may rather want to be."""
    reached = ((c, facts.address(c)) for c in ("email", "sms", "social", "chat", "push"))
    return tuple(c for c, address in reached if address and facts.suppression(c, address) is None)


def wishes(facts: Facts) -> dict[str, Any]:
    """What the contact said of ``topics``, ``frequency`` and ``preferred_channel``, or what their silence means."""
    return {
        "topics": sorted(facts.get("topics") or []),
        "frequency": facts.get("frequency") or "as_it_comes",
        "preferred_channel": facts.get("preferred_channel") or "any",
    }


def wished(facts: Facts, said: Mapping[str, Any], now: datetime) -> list[Event]:
    """The event of what was said of topics, frequency and preferred channel, where it is news."""
    before = wishes(facts)
    news = {name: said[name] for name in sorted(said) if said[name] != before[name]}
    if not news:
        return []
    replaces = [stamped.event_id if (stamped := facts.profile.get(name)) else "-" for name in news]
    what = sha256(json.dumps(news).encode()).hexdigest()[:16]
    return [_event("contact.updated", facts, what, replaces, {**news, "evidence": EVIDENCE}, now)]


def pause(facts: Facts, now: datetime) -> Hold | None:
    """The pause the contact is taking, if they are."""
    return next((hold for hold in facts.active_holds(now) if hold.kind == "pause"), None)


def paused(facts: Facts, days: int, now: datetime) -> list[Event]:
    """The event of a pause of so many days from now; none if they are in one of that length."""
    current = pause(facts, now)
    if current is not None and current.opened_at and current.expires_at == current.opened_at + timedelta(days=days):
        return []
    return [_event("contact.paused", facts, str(days), _pauses(facts), {"days": days, "evidence": EVIDENCE}, now)]


def resumed(facts: Facts, now: datetime) -> list[Event]:
    """The event of a pause that the contact ends; none if they are in none."""
    if pause(facts, now) is None:
        return []
    return [_event("contact.resumed", facts, "pause", _pauses(facts), {"evidence": EVIDENCE}, now)]


def _pauses(facts: Facts) -> list[str]:
    holds = [hold for hold in facts.holds.values() if hold.kind == "pause"]
    return [f"{hold.opened_at}/{hold.released_at}" for hold in holds]


def _ids(*consents: Consent | None) -> list[str]:
    return [consent.event_id if consent else "-" for consent in consents]


def _granted(consent: Consent | None) -> bool:
    return consent is not None and consent.granted


def _event(
    type: str, facts: Facts, what: str, replaces: Sequence[str], said: Mapping[str, Any], now: datetime
) -> Event:
    # Named after the word it replaces: a second click says nothing new, but a choice made anew counts anew.
    before = sha256("".join(replaces).encode()).hexdigest()[:16]
    return event(
        type,
        source=SOURCE,
        source_id=f"{facts.contact_id}/{type}/{what}/{before}",
        occurred_at=now,
        identities=(Identity("contact", facts.contact_id),),
        data=said,
    )
