"""What is true of a contact, as a value, and how an event changes it.

``apply`` is commutative in time: events may arrive in any order and the facts come out the same, because each
fact remembers when it became true and an older event never replaces a newer fact.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar, get_args
from zoneinfo import ZoneInfo

from contacts.events import Identity, identity
from contacts.policy import Channel, HoldKind, Policy
from contacts.specs import Happening, Purpose

T = TypeVar("T")

CHANNELS: tuple[Channel, ...] = get_args(Channel)
"""Channels a contact can be reached on; ``all`` in a consent event stands for every one."""

MARKETING: tuple[Purpose, ...] = ("promotional", "lifecycle")

PROFILE_FIELDS = (
    "email", "phone", "email_as_given", "phone_as_given", "first_name", "last_name", "name", "company", "timezone",
    "locale", "postal_address", "topics", "frequency", "preferred_channel",
)  # fmt: skip


def with_mood(type: str, mood: str) -> str:
    """What ``last``, ``first`` and ``counts`` call answers of one mood: ``csat.answered/bad``."""
    return f"{type}/{mood}"


def address_kind(channel: str) -> str:
    """The profile field, and the kind of identity, that a channel's addresses are."""
    return _ADDRESSES.get(channel, channel)


def addresses(identities: Sequence[Identity]) -> dict[str, str]:
    """The identities that are addresses, by kind.

    Of several of a kind the first counts: those after it are what else the contact was once known by.
    """
    return {i.kind: i.value for i in reversed(identities) if i.kind in ADDRESSES}


_ADDRESSES = {
    **{"sms": "phone", "social": "manychat", "chat": "intercom"},
    # What a colleague carries out needs no address of its own: the e-mail address says who is meant.
    **{"call": "email", "note": "email", "gift": "email", "mail": "email"},
}

ADDRESSES = frozenset(map(address_kind, CHANNELS))
"""Kinds of identity that are addresses: whoever an event names by one can be reached there."""


@dataclass(frozen=True)
class Stamped:
    """A value, since when it is so, and which event said it.

    ``implied``: the event only came with it, as an order does with an address; a value that was told counts more.
    """

    value: Any
    at: datetime
    event_id: str
    implied: bool = False

    def outweighs(self, other: "Stamped") -> bool:
        """Whether this value counts more."""
        return (not self.implied, self.at, self.event_id) > (not other.implied, other.at, other.event_id)


@dataclass(frozen=True)
class Consent:
    """The contact's word on one channel and purpose, with its evidence."""

    channel: str
    purpose: Purpose
    granted: bool
    at: datetime
    event_id: str
    evidence: str
    implied: bool = False

    def outweighs(self, other: "Consent") -> bool:
        """Whether this word counts more: the contact's own beats an implied one, then the newer, then a refusal."""
        return self._weight() > other._weight()

    def _weight(self) -> tuple[bool, datetime, bool, str]:
        return (not self.implied, self.at, not self.granted, self.event_id)


@dataclass(frozen=True)
class Hold:
    """A reason promotional touches wait.

    Open and release are kept apart, each with the latest time it happened, so that a release that arrives
    before its opening still counts.
    """

    kind: HoldKind
    key: str
    opened_at: datetime | None = None
    released_at: datetime | None = None
    expires_at: datetime | None = None

    def active(self, now: datetime) -> bool:
        """Whether touches wait for it at this time."""
        return (
            self.opened_at is not None
            and (self.released_at is None or self.released_at < self.opened_at)
            and (self.expires_at is None or now < self.expires_at)
        )

    @property
    def name(self) -> str:
        """``ticket:4711``."""
        return f"{self.kind}:{self.key}"


@dataclass(frozen=True)
class Suppression:
    """Why an address takes no messages: it bounced for good (``bounced``) or its owner complained (``complained``)."""

    channel: str
    address: str
    reason: str
    at: datetime
    event_id: str

    @property
    def name(self) -> str:
        """``email:alice@example.com``."""
        return f"{self.channel}:{self.address}"


@dataclass(frozen=True)
class Score:
    """Points as of a moment; they halve with age, so the order in which they came does not matter."""

    points: float = 0.0
    as_of: datetime | None = None

    def at(self, now: datetime, half_life: timedelta) -> float:
        """The points left at this time."""
        if self.as_of is None:
            return 0.0
        return self.points * math.pow(0.5, max(now - self.as_of, timedelta(0)) / half_life)

    def plus(self, points: float, occurred: datetime, half_life: timedelta) -> "Score":
        """The score with points earned at some time, before or after ``as_of``."""
        if self.as_of is None:
            return Score(points, occurred)
        as_of = max(self.as_of, occurred)
        earned = points * math.pow(0.5, (as_of - occurred) / half_life)
        return Score(self.at(as_of, half_life) + earned, as_of)


@dataclass(frozen=True)
class Facts:
    """Everything the gate, the routing and the templates may know of a contact.

    Attributes:
        profile: Field name to its stamped value (``email``, ``first_name``, ``timezone``, ``topic`` ...).
        entry: What first brought the contact here: the earliest event known, as ``type`` and its data.
        identified_at: When the contact was first known by name or address; None for an anonymous visitor.
        customer_since: The first purchase.
        consents: By ``channel/purpose``; ask through ``consent``.
        holds: By ``kind:key``; ask through ``active_holds``.
        suppressions: By ``channel:address``; ask through ``suppression``.
        reactivated: When an address was last said to take messages again, likewise.
        engaged_at: The last sign of a person reading: an open, click or reply that surely no machine made.
        erased_at: When the contact was erased: nothing may reach them again.
        last: Event type to when it happened last. What a machine opened or clicked, or may have, does not count.
        first: Event type to when it happened first, likewise.
        counts: Event type to how often it happened. Answers count by mood too, see ``with_mood``.
        weeks: Event type to how often it happened in a week, by the week's Monday (UTC), for the types whose falls the
            policy looks for.
        topics: Topic to how often the contact looked into it.
        dates: Important dates by name (``renewal``), as ISO dates.
        answers: The contact's own answers in forms and surveys, by question; the newest of each.
        plan: What the contact subscribes to, as the newest event that named a plan said it.
        spent: What was bought less what was given back, in minor units, by currency.
        segments: Segments the contact is in, and since when; kept by the intake, see ``contacts.segments``.
        segments_as: Which definition of each segment that was judged by, and ``segments_at`` as of when.
    """

    contact_id: str
    profile: Mapping[str, Stamped] = field(default_factory=dict)
    consents: Mapping[str, Consent] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    suppressions: Mapping[str, Suppression] = field(default_factory=dict)
    reactivated: Mapping[str, datetime] = field(default_factory=dict)
    score: Score = field(default_factory=Score)
    entry: Stamped | None = None
    identified_at: datetime | None = None
    customer_since: datetime | None = None
    engaged_at: datetime | None = None
    erased_at: datetime | None = None
    last: Mapping[str, datetime] = field(default_factory=dict)
    first: Mapping[str, datetime] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    weeks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    topics: Mapping[str, int] = field(default_factory=dict)
    dates: Mapping[str, Stamped] = field(default_factory=dict)
    answers: Mapping[str, Stamped] = field(default_factory=dict)
    plan: Stamped | None = None
    spent: Mapping[str, int] = field(default_factory=dict)
    segments: Mapping[str, datetime] = field(default_factory=dict)
    segments_as: Mapping[str, str] = field(default_factory=dict)
    segments_at: datetime | None = None

    def get(self, name: str) -> Any:
        """A profile field's value, or None."""
        stamped = self.profile.get(name)
        return stamped.value if stamped else None

    def address(self, channel: str) -> str | None:
        """Where the contact is reached on a channel."""
        kind = address_kind(channel)
        if (value := self.get(kind)) is None:
            return None
        # Events from before an address in their data was read as an identity have it as its vendor wrote it.
        known = identity(kind, value)
        return known.value if known is not None else str(value)

    @property
    def telephone(self) -> str | None:
        """The number for a person to read and call, which may lack its country; no message goes out by it."""
        number = self.get("phone") or self.get("phone_as_given")
        return None if number is None else str(number)

    def consent(self, channel: str, purpose: Purpose) -> Consent | None:
        """The contact's word on a channel and purpose, if there is one."""
        return self.consents.get(f"{channel}/{purpose}")

    @property
    def topics_wanted(self) -> tuple[str, ...]:
        """What to write about, the most visited first: the topics the contact named, else all they looked into."""
        among = self.get("topics") or self.topics
        return tuple(sorted(among, key=lambda topic: (-self.topics.get(topic, 0), topic)))

    def subject(self, entry: Mapping[str, Any] | None = None) -> str | None:
        """The one topic to write about, or None where none is known.

        A topic the contact named comes before one they only read about, or asked for before they named any.

        Args:
            entry: The event that began the run, as ``contacts.runs.envelope`` has it.
        """
        asked = None
        if entry and (topic := (entry.get("data") or {}).get("topic")):
            at = datetime.fromisoformat(str(entry["occurred_at"]))
            asked = Stamped(topic, at, str(entry["id"]), implied=entry["type"] == "page.viewed")
        named, seen = self.profile.get("topics"), asked or self.profile.get("topic")
        if named is None or not named.value or (seen is not None and seen.value in named.value):
            return None if seen is None else str(seen.value)
        return str(asked.value) if asked is not None and asked.outweighs(named) else self.topics_wanted[0]

    def suppression(self, channel: str, address: str) -> Suppression | None:
        """Why an address takes no messages, if it does not."""
        return next((s for s in self.suppressed if s.name == f"{channel}:{address.lower()}"), None)

    @property
    def suppressed(self) -> tuple[Suppression, ...]:
        """The addresses that take no messages. A complaint is for good; a bounce until the address works again."""
        return tuple(
            found
            for name, found in sorted(self.suppressions.items())
            if found.reason == "complained" or self.reactivated.get(name, _NEVER) < found.at
        )

    def flags(self) -> frozenset[str]:
        """What a journey's ``only`` and ``unless`` may ask: ``known``, ``customer``, ``former``, ``erased`` and
        ``in:<segment>``.
        """
        reachable = any(self.get(name) for name in ("email", "phone"))
        return frozenset(
            name
            for name, true in (
                ("known", reachable or self.identified_at is not None),
                ("customer", self.customer_since is not None),
                ("former", self.customer_since is not None and self.left),
                ("erased", self.erased_at is not None),
            )
            if true
        ).union(f"in:{name}" for name in self.segments)

    @property
    def left(self) -> bool:
        """Whether they ended what they had and have bought nothing since."""
        return self.happened_after("subscription.canceled", "subscription.started", "purchase.completed")

    def happened_after(self, type: str, *others: str) -> bool:
        """Whether the last of a type came after the last of each of the others."""
        at = self.last.get(type)
        return at is not None and all((other := self.last.get(t)) is None or other < at for t in others)

    def zone(self, default: str) -> ZoneInfo:
        """The contact's time zone, or the default where none is known that is one."""
        try:
            return ZoneInfo(self.get("timezone") or default)
        except (KeyError, ValueError, OSError):
            return ZoneInfo(default)

    def active_holds(self, now: datetime) -> tuple[Hold, ...]:
        """Holds in force, oldest first."""
        active = [h for h in self.holds.values() if h.active(now)]
        return tuple(sorted(active, key=lambda h: (h.opened_at or now, h.name)))


def apply(facts: Facts, event: Happening, policy: Policy) -> Facts:
    """The facts after an event. Any order of the same events gives the same facts (scores up to rounding)."""
    facts = _profile(facts, event)
    facts = _consent(facts, event, policy)
    facts = _holds(facts, event, policy)
    facts = _suppress(facts, event)
    facts = _dealings(facts, event)
    return _life(facts, event, policy)


def _profile(facts: Facts, event: Happening) -> Facts:
    given: dict[str, Any] = {}
    if event.type in ("contact.identified", "contact.updated"):
        given = {k: event.data[k] for k in PROFILE_FIELDS if event.data.get(k) not in (None, "")}
    elif event.type in ("resource.downloaded", "page.viewed", "form.submitted"):
        given = {k: event.data[k] for k in ("topic", "resource") if event.data.get(k)}
    said = {name: Stamped(value, event.occurred_at, event.id) for name, value in given.items()}
    came_with = {
        name: Stamped(value, event.occurred_at, event.id, implied=True) for name, value in event.addresses.items()
    }
    return replace(facts, profile=_joined(facts.profile, {**came_with, **said}, _weightier))


def words(event: Happening) -> tuple[Consent, ...]:
    """The contact's own words on channels and purposes in an event that is about nothing else."""

    def said(channel: str, purpose: Purpose, granted: bool, evidence: str) -> list[Consent]:
        named = CHANNELS if channel == "all" else (channel,)
        return [Consent(name, purpose, granted, event.occurred_at, event.id, evidence) for name in named]

    purpose = event.data.get("purpose")
    purposes: tuple[Purpose, ...] = MARKETING if purpose in (None, "all") else (purpose,)
    found: list[Consent] = []
    if event.type in ("consent.granted", "consent.withdrawn"):
        evidence = str(event.data.get("evidence") or event.type)
        for purpose in purposes:
            found += said(event.data["channel"], purpose, event.type == "consent.granted", evidence)
    elif event.type == "message.unsubscribed":
        for purpose in purposes:
            found += said(str(event.data.get("channel", "email")), purpose, False, "unsubscribed")
    elif event.type == "message.complained":
        for purpose in MARKETING:
            found += said("all", purpose, False, "complained")
    return tuple(found)


def outdated(facts: Facts, event: Happening) -> bool:
    """Whether newer words of the contact than the event's are known.

    A yes is outdated as a whole by a newer word on any part of it, a no only by newer words on all of it: whoever goes
    by the rest must write less rather than more.
    """
    said = words(event)
    newer = [(known := facts.consent(w.channel, w.purpose)) is not None and known.outweighs(w) for w in said]
    return any(newer) if any(w.granted for w in said) else bool(newer) and all(newer)


def _consent(facts: Facts, event: Happening, policy: Policy) -> Facts:
    consents = dict(facts.consents)

    def put(new: Consent) -> None:
        old = consents.get(f"{new.channel}/{new.purpose}")
        if old is None or new.outweighs(old):
            consents[f"{new.channel}/{new.purpose}"] = new

    for word in words(event):
        put(word)
    stated = event.data.get(policy.consent.stated.get(event.type, ""))
    for channel, given in stated.items() if isinstance(stated, Mapping) else ():
        # A field nobody could mean as a consent gives none; the event counts all the same.
        for purpose in MARKETING if channel in CHANNELS and isinstance(given, list | tuple) else ():
            if purpose in given:
                evidence = str(event.data.get("evidence") or event.type)
                put(Consent(channel, purpose, True, event.occurred_at, event.id, evidence))
    for purpose in policy.consent.implied.get(event.type, ()):
        for channel in policy.consent.implied_channels:
            put(Consent(channel, purpose, True, event.occurred_at, event.id, event.type, implied=True))
    return replace(facts, consents=consents)


_OPENS: Mapping[str, tuple[HoldKind, str | None]] = {
    "ticket.opened": ("ticket", "ticket_id"),
    "conversation.started": ("conversation", "conversation_id"),
    "handoff.opened": ("handoff", "handoff_id"),
    "hold.opened": ("operator", "hold_id"),
    "contact.paused": ("pause", None),
}
"""Event type to the hold's kind and the field that tells one from another; a contact has one pause."""
_RELEASES: Mapping[str, tuple[HoldKind, str | None]] = {
    "ticket.solved": ("ticket", "ticket_id"),
    "conversation.ended": ("conversation", "conversation_id"),
    "handoff.closed": ("handoff", "handoff_id"),
    "hold.released": ("operator", "hold_id"),
    "contact.resumed": ("pause", None),
}


def _holds(facts: Facts, event: Happening, policy: Policy) -> Facts:
    holds = dict(facts.holds)
    if event.type in _OPENS:
        hold = _named(event, *_OPENS[event.type])
        lengths = {**policy.hold_days, "handoff": policy.handoff.hold_days, "pause": event.data.get("days")}
        length = lengths.get(hold.kind)
        expires = event.occurred_at + timedelta(days=length) if length else None
        if hold.kind == "operator" and "until" in event.data:
            expires = datetime.fromisoformat(event.data["until"])
        opened = replace(hold, opened_at=event.occurred_at, expires_at=expires)
        holds[hold.name] = _both_holds(holds.get(hold.name, hold), opened)
    elif event.type in _RELEASES:
        hold = _named(event, *_RELEASES[event.type])
        hold = holds.get(hold.name, hold)
        if hold.released_at is None or event.occurred_at > hold.released_at:
            holds[hold.name] = replace(hold, released_at=event.occurred_at)
    return replace(facts, holds=holds)


def _named(event: Happening, kind: HoldKind, name: str | None) -> Hold:
    return Hold(kind, str((name and event.data.get(name)) or "-"))


def _suppress(facts: Facts, event: Happening) -> Facts:
    channel = str(event.data.get("channel", "email"))
    # Which address an event without one means depends on what we knew when it came: the intake has written it in.
    address = str(event.data.get("address") or "").lower()
    name = f"{channel}:{address}"
    if address and event.type == "address.reactivated":
        return replace(facts, reactivated=_joined(facts.reactivated, {name: event.occurred_at}, max))
    final = event.type == "message.complained" or (event.type == "message.bounced" and event.data.get("permanent"))
    if not final or not address:
        return facts
    reason = "complained" if event.type == "message.complained" else "bounced"
    new = Suppression(channel, address, reason, event.occurred_at, event.id)
    return replace(facts, suppressions=_joined(facts.suppressions, {name: new}, _graver))


def _dealings(facts: Facts, event: Happening) -> Facts:
    data, at = event.data, event.occurred_at
    changes: dict[str, Any] = {}
    if event.type in ("form.submitted", "survey.answered") and isinstance(data.get("answers"), Mapping):
        said = {str(q): Stamped(a, at, event.id) for q, a in data["answers"].items() if a not in (None, "", [], {})}
        changes["answers"] = _joined(facts.answers, said, _weightier)
    if event.type.startswith("subscription.") and data.get("plan"):
        plan = {name: data[name] for name in ("plan", "value", "currency", "subscription_id") if name in data}
        new = Stamped(plan, at, event.id)
        changes["plan"] = new if facts.plan is None else _weightier(facts.plan, new)
    sign = {"purchase.completed": 1, "purchase.refunded": -1}.get(event.type, 0)
    value, currency = data.get("value"), data.get("currency")
    if sign and isinstance(value, int) and isinstance(currency, str):
        changes["spent"] = {**facts.spent, currency: facts.spent.get(currency, 0) + sign * value}
    return replace(facts, **changes)


_OPENED = "message.opened"
_ENGAGEMENT = ("message.opened", "message.clicked", "message.replied")
_OWN_WORDS = (
    "handoff.", "approval.", "hold.", "segment.", "broadcast.", "consent.", "message.", "address.", "payment.",
    "contact.updated", "contact.merged", "contact.erased", "contact.paused", "contact.resumed",
)  # fmt: skip


def _by_a_person(event: Happening) -> bool:
    """Whether no machine did it: for an open of a mail, only where its source can tell."""
    machine = event.data.get("machine")
    return machine is False if event.type == _OPENED and _is_mail(event) else not machine


def _is_mail(event: Happening) -> bool:
    return bool(event.data.get("channel", "email") == "email")


def _life(facts: Facts, event: Happening, policy: Policy) -> Facts:
    at = event.occurred_at
    changes: dict[str, Any] = {}
    if event.type == "contact.identified" and (facts.identified_at is None or at < facts.identified_at):
        changes["identified_at"] = at
    if event.type == "purchase.completed" and (facts.customer_since is None or at < facts.customer_since):
        changes["customer_since"] = at
    if event.type == "contact.erased":
        changes["erased_at"] = _earliest(facts.erased_at, at)
    if event.type in _ENGAGEMENT and _by_a_person(event):
        changes["engaged_at"] = max(facts.engaged_at or at, at)
    if not event.type.startswith(_OWN_WORDS) and (
        facts.entry is None or (at, event.id) < (facts.entry.at, facts.entry.event_id)
    ):
        changes["entry"] = Stamped({**event.data, "type": event.type}, at, event.id)
    half_life = timedelta(days=policy.score.half_life_days)
    score = facts.score
    for line in policy.score.behaviour:
        if line.condition.matches(event.type, {**event.data, "machine": not _by_a_person(event)}):
            score = score.plus(line.points, at, half_life)
    if _by_a_person(event):
        mood = event.data.get("mood")
        names = [event.type, *([with_mood(event.type, mood)] if mood else [])]
        changes["last"] = {**facts.last, **{n: max(at, facts.last.get(n, at)) for n in names}}
        changes["first"] = {**facts.first, **{n: min(at, facts.first.get(n, at)) for n in names}}
        changes["counts"] = {**facts.counts, **{n: facts.counts.get(n, 0) + 1 for n in names}}
    if any(fall.of == event.type for fall in policy.falls):
        week, counted = monday(at).isoformat(), facts.weeks.get(event.type, {})
        changes["weeks"] = {**facts.weeks, event.type: {**counted, week: counted.get(week, 0) + 1}}
    topic = event.data.get("topic")
    if topic and event.type in _INTEREST:
        changes["topics"] = {**facts.topics, str(topic): facts.topics.get(str(topic), 0) + 1}
    if named := _named_dates(event):
        stamped = {name: Stamped(day, at, event.id) for name, day in named.items()}
        changes["dates"] = _joined(facts.dates, stamped, _weightier)
    return replace(facts, score=score, **changes)


def mailed(facts: Facts, at: datetime) -> Facts:
    """The facts after a message went out: from then on it can be read, or not."""
    type = "message.sent"
    return replace(
        facts,
        last={**facts.last, type: max(at, facts.last.get(type, at))},
        first={**facts.first, type: min(at, facts.first.get(type, at))},
        counts={**facts.counts, type: facts.counts.get(type, 0) + 1},
    )


_INTEREST = ("page.viewed", "resource.downloaded", "webinar.attended", "feature.used")

_DATES = {
    "subscription.started": ("renewal", "renews_on"),
    "subscription.renewed": ("renewal", "renews_on"),
    "card.expiring": ("card_expiry", "date"),
    "card.updated": ("card_expiry", "date"),
    "subscription.trial_ending": ("trial_end", "date"),
}
"""Which field of an event is an important date, and the date's name."""


def monday(at: datetime) -> date:
    """The day on which the week of a moment began (UTC)."""
    day = at.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def _named_dates(event: Happening) -> dict[str, str]:
    given = event.data.get("dates") if event.type in ("contact.identified", "contact.updated") else None
    found = {str(k): v for k, v in given.items()} if isinstance(given, Mapping) else {}
    if event.type in _DATES:
        name, field_ = _DATES[event.type]
        found[name] = event.data.get(field_)
    dates: dict[str, str] = {}
    for name, value in found.items():
        with suppress(ValueError):
            dates[name] = date.fromisoformat(str(value)[:10]).isoformat()
    return dates


def merge(kept: Facts, gone: Facts, half_life: timedelta) -> Facts:
    """The facts of two contacts that turned out to be one person, as if every event of both had been this one's.

    Only the id tells which of the two was kept.
    """
    score = kept.score if gone.score.as_of is None else kept.score.plus(gone.score.points, gone.score.as_of, half_life)
    entries = [e for e in (kept.entry, gone.entry) if e is not None]
    return replace(
        kept,
        profile=_joined(kept.profile, gone.profile, _weightier),
        consents=_joined(kept.consents, gone.consents, lambda a, b: b if b.outweighs(a) else a),
        holds=_joined(kept.holds, gone.holds, _both_holds),
        suppressions=_joined(kept.suppressions, gone.suppressions, _graver),
        reactivated=_joined(kept.reactivated, gone.reactivated, max),
        score=score,
        entry=min(entries, key=lambda e: (e.at, e.event_id)) if entries else None,
        identified_at=_earliest(kept.identified_at, gone.identified_at),
        customer_since=_earliest(kept.customer_since, gone.customer_since),
        engaged_at=_latest(kept.engaged_at, gone.engaged_at),
        erased_at=_earliest(kept.erased_at, gone.erased_at),
        last=_joined(kept.last, gone.last, max),
        first=_joined(kept.first, gone.first, min),
        counts=_joined(kept.counts, gone.counts, int.__add__),
        weeks=_joined(kept.weeks, gone.weeks, lambda a, b: _joined(a, b, int.__add__)),
        topics=_joined(kept.topics, gone.topics, int.__add__),
        dates=_joined(kept.dates, gone.dates, _weightier),
        answers=_joined(kept.answers, gone.answers, _weightier),
        plan=_weightier(kept.plan, gone.plan) if kept.plan and gone.plan else kept.plan or gone.plan,
        spent=_joined(kept.spent, gone.spent, int.__add__),
        segments=_joined(kept.segments, gone.segments, min),
        # What only one of them was judged by, the two as one were not.
        segments_as={name: by for name, by in kept.segments_as.items() if gone.segments_as.get(name) == by},
        segments_at=_latest(kept.segments_at, gone.segments_at),
    )


def _joined(ours: Mapping[str, T], theirs: Mapping[str, T], choose: Callable[[T, T], T]) -> dict[str, T]:
    return {**theirs, **{name: choose(a, theirs[name]) if name in theirs else a for name, a in ours.items()}}


def _weightier(a: Stamped, b: Stamped) -> Stamped:
    return b if b.outweighs(a) else a


def _graver(a: Suppression, b: Suppression) -> Suppression:
    """A complaint, which nothing ends; of two bounces the later, after which the address must have worked again."""
    return max(a, b, key=lambda s: (s.reason == "complained", s.at, s.event_id))


_NEVER, _FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _both_holds(a: Hold, b: Hold) -> Hold:
    """The newer of two openings, and of two at the same moment the one that lasts longer; and the latest release."""
    opened = max(a, b, key=lambda h: (h.opened_at or _NEVER, h.expires_at or _FOREVER))
    return replace(opened, released_at=_latest(a.released_at, b.released_at))


def _latest(a: datetime | None, b: datetime | None) -> datetime | None:
    return max((x for x in (a, b) if x is not None), default=None)


def _earliest(a: datetime | None, b: datetime | None) -> datetime | None:
    return min((x for x in (a, b) if x is not None), default=None)
