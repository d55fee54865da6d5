"""What the gate ought to answer, worked out a second time from the history itself and the words of docs/restraint.md.

Nothing here asks the gate, the facts or their helpers: consents, holds, tiers and windows are counted anew from the
list of what happened. It is slow and plain, and knows only the kinds of events that ``worlds`` draws.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal
from zoneinfo import ZoneInfo

from contacts.policy import WEEK, Policy, QuietHours, SendWindow
from contacts.specs import Purpose

Outcome = Literal["sent", "unknown", "failed", "claimed", "given back"]

MAIL, NUMBER = "alice@example.com", "+4930901820"
SIGNS = ("page.viewed", "ticket.opened", "conversation.started", "conversation.ended", "custom.over", "message.opened")
OPENS = {"ticket.opened": "ticket", "conversation.started": "conversation", "hold.opened": "operator"}
RELEASES = {"ticket.solved": "ticket", "conversation.ended": "conversation", "hold.released": "operator"}
NAMED = {"ticket": "ticket_id", "conversation": "conversation_id", "operator": "hold_id"}


@dataclass(frozen=True)
class Told:
    """An event, and when it happened."""

    at: datetime
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """A touch that a run wants to send from some time on, and what becomes of it once it is let out."""

    key: str
    journey: str
    template: str
    channel: str
    purpose: Purpose
    at: datetime
    worth: timedelta
    ends: Outcome = "sent"

    @property
    def valid_until(self) -> datetime:
        return self.at + self.worth


@dataclass(frozen=True)
class Halt:
    """A halt of ``scope`` and ``name`` from one time to another, when somebody ends it or it ends ``by_itself``."""

    scope: str
    name: str
    begins: datetime
    ends: datetime
    by_itself: bool

    @property
    def hold(self) -> str:
        return f"pause:{self.scope}/{self.name}" if self.name else f"pause:{self.scope}"


@dataclass(frozen=True)
class Answer:
    """What was or ought to be said of a wish.

    Attributes:
        because: Where it could only go out too late: what stood in the way.
    """

    verdict: Literal["send", "wait", "drop"]
    reason: str | None = None
    until: datetime | None = None
    hold: str | None = None
    because: str | None = None


@dataclass(frozen=True)
class Slot:
    at: datetime
    channel: str
    purpose: str
    template: str


@dataclass(frozen=True)
class Queued:
    wish: Wish
    until: datetime


@dataclass
class Seen:
    """What has happened so far, in the order in which it was done."""

    policy: Policy
    contact_id: str
    told: list[Told] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    over: set[str] = field(default_factory=set)
    slots: dict[str, Slot] = field(default_factory=dict)
    queue: dict[str, Queued] = field(default_factory=dict)
    mails: list[datetime] = field(default_factory=list)

    # What is done.

    def hear(self, event: Told) -> None:
        self.told.append(event)
        if event.type == "custom.over":
            self.over.add(event.data["journey"])
            self.queue = {k: q for k, q in self.queue.items() if q.wish.journey not in self.over}

    def answered(self, wish: Wish, now: datetime, answer: Answer) -> None:
        self.queue.pop(wish.key, None)
        if answer.verdict == "send":
            self.slots[wish.key] = Slot(now, wish.channel, wish.purpose, wish.template)
        elif answer.verdict == "wait" and answer.hold is None and answer.until is not None:
            self.queue[wish.key] = Queued(wish, answer.until)

    def settled(self, wish: Wish, now: datetime) -> None:
        if wish.ends in ("failed", "given back"):
            del self.slots[wish.key]
        elif wish.ends == "sent":
            self.mails.append(now)

    # What ought to be answered.

    def expected(self, wish: Wish, now: datetime) -> Answer:
        for reason, until, hold in self._objections(wish, now):
            if until is None:
                return Answer("drop", reason)
            if hold is None and until > wish.valid_until:
                return Answer("drop", "valid_for", because=reason)
            return Answer("wait", reason, min(until, wish.valid_until), hold)
        return Answer("send")

    def counts(self, wish: Wish, now: datetime) -> list[int]:
        """For each cap that concerns the wish, how many are in its window."""
        return [
            len(self._inside(wish, now, cap.days, cap.channels, cap.purposes))
            for cap in self.policy.caps
            if wish.channel in cap.channels and wish.purpose in cap.purposes
        ]

    def _objections(self, wish: Wish, now: datetime) -> Iterator[tuple[str, datetime | None, str | None]]:
        """What speaks against it, in the order of the gate: reason, until when, and for the release of which hold."""
        promotes = wish.purpose == "promotional"
        if any(event.type == "contact.erased" for event in self.told):
            yield "erased", None, None
        if wish.journey in self.over:
            yield "exited", None, None
        yield from ((reason, None, None) for reason in self._refusals(wish))
        if promotes:
            for experiment in self.policy.experiments:
                if wish.journey in experiment.journeys and self._draws(experiment.name) < experiment.hold_out:
                    yield "hold_out", None, None
            echo = timedelta(days=self.policy.echo_days)
            if any(s.template == wish.template and s.at > now - echo for k, s in self.slots.items() if k != wish.key):
                yield "echo", None, None
        if now >= wish.valid_until:
            yield "valid_for", None, None
        for halt in self.halts:
            if not (halt.by_itself and now >= halt.ends) and (
                (halt.scope == "all" and wish.purpose != "transactional")
                or (halt.scope == "channel" and halt.name == wish.channel)
                or (halt.scope == "journey" and halt.name == wish.journey)
            ):
                tomorrow = now + timedelta(days=1)
                yield "paused", min(tomorrow, halt.ends) if halt.by_itself else tomorrow, halt.hold
        yield from self._holds(wish, now)
        if promotes:
            yield from self._tier(wish, now)
        yield from self._hours(wish, now)
        said = self._said("frequency")
        stated = self.policy.frequency.get(said)
        if stated is not None and wish.channel in stated.channels and wish.purpose in stated.purposes:
            until = self._room(wish, now, stated.max, stated.days, stated.channels, stated.purposes)
            if until is not None:
                yield "stated_frequency", until, None
        full = [
            until
            for cap in self.policy.caps
            if wish.channel in cap.channels and wish.purpose in cap.purposes
            if (until := self._room(wish, now, cap.max, cap.days, cap.channels, cap.purposes)) is not None
        ]
        if full:
            yield "frequency_cap", max(full), None
        if promotes:
            yield from self._rivals(wish, now)

    def _said(self, name: str) -> Any:
        said = [(e.at, n, e.data[name]) for n, e in enumerate(self.told) if e.data.get(name) is not None]
        return max(said, default=(None, 0, None))[2]

    def _refusals(self, wish: Wish) -> Iterator[str]:
        words: list[tuple[datetime, bool]] = []
        for event in self.told:
            concerned = event.data.get("purpose") in (None, wish.purpose) and wish.purpose != "transactional"
            if event.type in ("consent.granted", "consent.withdrawn", "message.unsubscribed"):
                if concerned and event.data["channel"] in (wish.channel, "all"):
                    words.append((event.at, event.type != "consent.granted"))
            elif event.type == "message.complained" and wish.purpose != "transactional":
                words.append((event.at, True))
        if words and max(words)[1]:
            yield "consent_withdrawn"
        rule = self.policy.consent
        if not words and wish.purpose in rule.required and wish.channel in rule.channels:
            yield "no_consent"
        bounced = [e.at for e in self.told if e.type == "message.bounced"]
        works = [e.at for e in self.told if e.type == "address.reactivated"]
        bad = bool(bounced) and not (works and max(works) >= max(bounced))
        if wish.channel == "email" and (bad or any(e.type == "message.complained" for e in self.told)):
            yield "suppressed"

    def _draws(self, experiment: str) -> float:
        return int(sha256(f"{experiment}/{self.contact_id}".encode()).hexdigest()[:16], 16) / 16**16

    def _holds(self, wish: Wish, now: datetime) -> Iterator[tuple[str, datetime, str]]:
        opened: dict[tuple[str, str], datetime] = {}
        lasts: dict[tuple[str, str], float | None] = {}
        released: dict[tuple[str, str], datetime] = {}
        for event in self.told:
            if event.type in OPENS:
                kind = OPENS[event.type]
                name = (kind, str(event.data[NAMED[kind]]))
                if name not in opened or event.at > opened[name]:
                    opened[name], lasts[name] = event.at, self.policy.hold_days.get(kind)  # type: ignore[call-overload]
            elif event.type in RELEASES:
                kind = RELEASES[event.type]
                name = (kind, str(event.data[NAMED[kind]]))
                released[name] = max(event.at, released.get(name, event.at))
            elif event.type == "contact.paused" and event.at > opened.get(("pause", "-"), event.at - timedelta(1)):
                opened["pause", "-"], lasts["pause", "-"] = event.at, event.data["days"]
            elif event.type == "contact.resumed":
                released["pause", "-"] = max(event.at, released.get(("pause", "-"), event.at))
        ends = {name: at + timedelta(days=span) for name, at in opened.items() if (span := lasts[name])}
        active = [
            name
            for name, at in opened.items()
            if not (name in released and released[name] >= at) and not (name in ends and now >= ends[name])
        ]
        concern = {"promotional": ("ticket", "conversation", "operator", "pause"), "lifecycle": ("pause",)}
        mine = [name for name in active if name[0] in concern.get(wish.purpose, ())]
        if mine:
            first = min(mine, key=lambda name: (opened[name], f"{name[0]}:{name[1]}"))
            until = min([now + timedelta(days=1), *(ends[name] for name in mine if name in ends)])
            yield f"hold_{first[0]}", until, f"{first[0]}:{first[1]}"

    def _tier(self, wish: Wish, now: datetime) -> Iterator[tuple[str, datetime | None, None]]:
        if not self.mails:
            return
        signs = [
            e.at for e in self.told if e.type in SIGNS and (e.type != "message.opened" or e.data["machine"] is False)
        ]
        silent = now - max([min(self.mails), *signs])
        reached = [tier for tier in self.policy.tiers if silent >= timedelta(days=tier.after_days)]
        if not reached:
            return
        deepest = reached[0]
        for tier in reached:
            if tier.after_days > deepest.after_days:
                deepest = tier
        if deepest.journeys:
            if wish.journey not in deepest.journeys:
                yield "engagement_tier", None, None
        elif any(wish.journey in tier.journeys for tier in self.policy.tiers):
            return
        elif deepest.max is not None and deepest.days is not None:
            until = self._room(wish, now, deepest.max, deepest.days, None, ("promotional",))
            if until is not None:
                yield "engagement_tier", until, None

    def _hours(self, wish: Wish, now: datetime) -> Iterator[tuple[str, datetime, None]]:
        quiet = [q for q in self.policy.quiet_hours if wish.channel in q.channels and wish.purpose in q.purposes]
        windows = [w for w in self.policy.send_windows if wish.channel in w.channels and wish.purpose in w.purposes]
        zone = ZoneInfo(self._said("timezone") or self.policy.defaults.timezone)

        def is_open(moment: datetime) -> bool:
            local = moment.astimezone(zone)
            within = not windows or any(is_within(local, window) for window in windows)
            return within and not any(is_quiet(local, night) for night in quiet)

        if is_open(now):
            return
        # All hours and all changes of clocks that are drawn are at quarters of an hour.
        moment = now.astimezone(UTC).replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
        moment += timedelta(minutes=15)
        while not is_open(moment):
            moment += timedelta(minutes=15)
        local = now.astimezone(zone)
        yield ("quiet_hours" if any(is_quiet(local, night) for night in quiet) else "send_window"), moment, None

    def _inside(self, wish: Wish, now: datetime, days: float, channels: Any, purposes: Any) -> list[datetime]:
        return sorted(
            slot.at
            for key, slot in self.slots.items()
            if key != wish.key
            and (channels is None or slot.channel in channels)
            and slot.purpose in purposes
            and slot.at + timedelta(days=days) > now
        )

    def _room(self, wish: Wish, now: datetime, most: int, days: float, channels: Any, purposes: Any) -> datetime | None:
        """When fewer than ``most`` are left in the window; None if that is now."""
        inside = self._inside(wish, now, days, channels, purposes)
        left = len(inside)
        if left < most:
            return None
        for at in inside:
            left -= 1
            if left < most:
                return at + timedelta(days=days)
        raise AssertionError("a window empties")

    def _rivals(self, wish: Wish, now: datetime) -> Iterator[tuple[str, datetime, None]]:
        order = list(self.policy.priority.journeys)

        def rank(journey: str) -> int:
            return order.index(journey) if journey in order else 99

        turns = []
        for queued in self.queue.values():
            other = queued.wish
            turn_over = min(queued.until + timedelta(hours=self.policy.priority.hold_hours), other.valid_until)
            if (
                other.key != wish.key
                and other.purpose == "promotional"
                and other.channel == wish.channel
                and rank(other.journey) < rank(wish.journey)
                and now < turn_over
            ):
                turns.append(turn_over)
        if turns:
            yield "priority", min(turns), None


def is_quiet(local: datetime, hours: QuietHours) -> bool:
    clock = local.time()
    if hours.start < hours.end:
        return hours.start <= clock < hours.end
    return not hours.end <= clock < hours.start


def is_within(local: datetime, window: SendWindow) -> bool:
    clock = local.replace(tzinfo=None)
    for ago in (0, 1):
        day = clock.date() - timedelta(days=ago)
        begins, ends = datetime.combine(day, window.start), datetime.combine(day, window.end)
        if ends <= begins:
            ends += timedelta(days=1)
        if WEEK[day.weekday()] in window.days and begins <= clock < ends:
            return True
    return False


def windows_exceeded(policy: Policy, slots: list[Slot]) -> list[str]:
    """Caps with more in some window than they allow, by trying every window that begins with a touch."""
    found = []
    for cap in policy.caps:
        counted = [s.at for s in slots if s.channel in cap.channels and s.purpose in cap.purposes]
        for first in counted:
            inside = [at for at in counted if first <= at < first + timedelta(days=cap.days)]
            if len(inside) > cap.max:
                found.append(f"{len(inside)} from {first} on, and {cap.max} in {cap.days} days are allowed")
    return found
