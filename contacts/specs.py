"""What a journey declares, as plain values: conditions on events, re-entry, the card.

Journeys build these, routing and documentation read them. Nothing here does I/O or knows Temporal.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

Purpose = Literal["promotional", "lifecycle", "transactional"]
PROMOTIONAL: Purpose = "promotional"
LIFECYCLE: Purpose = "lifecycle"
TRANSACTIONAL: Purpose = "transactional"


class InvalidCard(ValueError):
    """A journey's declaration is incomplete or contradicts itself; the message names the journey and the part."""


def days(n: float) -> timedelta:
    """A span of days."""
    return timedelta(days=n)


def hours(n: float) -> timedelta:
    """A span of hours."""
    return timedelta(hours=n)


def minutes(n: float) -> timedelta:
    """A span of minutes."""
    return timedelta(minutes=n)


@dataclass(frozen=True)
class Heard:
    """An event as a run sees it: tolerant, so that no event can break a run.

    Fields of the event's data read as attributes; an absent one is None: ``self.entry.topic``.
    """

    id: str
    type: str
    occurred_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.data.get(name)


@dataclass(frozen=True)
class Condition:
    """Matches an event of one of ``types`` whose data has every value in ``match``.

    A tuple as a value means any of these.
    """

    types: tuple[str, ...]
    match: tuple[tuple[str, Any], ...] = ()

    def matches(self, type: str, data: Mapping[str, Any]) -> bool:
        """Whether an event of this type with this data is meant."""
        return type in self.types and all(
            data.get(name) in wanted if isinstance(wanted, tuple | list) else data.get(name) == wanted
            for name, wanted in self.match
        )

    def __str__(self) -> str:
        matching = ", ".join(f"{name}={value!r}" for name, value in self.match)
        return " or ".join(self.types) + (f" ({matching})" if matching else "")


def on(*types: str, **match: Any) -> Condition:
    """A condition on an event: ``on("page.viewed", page="pricing")``.

    Args:
        types: One or more event types; any of them will do.
        match: Fields of the event's data and the value each must have; a tuple or list means any of these.
    """
    if not types:
        raise ValueError("on() needs an event type, such as on('page.viewed')")
    wanted = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(match.items()))
    return Condition(types, wanted)


@dataclass(frozen=True)
class Happening:
    """A stored event, as the pure half sees it. ``addresses``: the identities that are addresses, by kind."""

    id: str
    type: str
    occurred_at: datetime
    data: Mapping[str, Any]
    addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pattern:
    """Behaviour rather than an event: ``what`` happened at least ``times`` times ``within`` a span, and ``without``
    did not. ``same`` names a field whose value must be the same each time.
    """

    what: Condition
    times: int
    within: timedelta
    without: Condition | None = None
    same: str | None = None

    def matches(self, event: Happening, recent: Iterable[Happening]) -> bool:
        """Whether the event completes the pattern.

        Args:
            event: What happened now.
            recent: The contact's events, this one included or not, at least as far back as ``within``.
        """
        if not self.what.matches(event.type, event.data):
            return False
        since = event.occurred_at - self.within
        window = [e for e in recent if since < e.occurred_at <= event.occurred_at and e.id != event.id]
        if self.without and any(self.without.matches(e.type, e.data) for e in window):
            return False
        value = event.data.get(self.same) if self.same else None
        if self.same and value is None:
            return False
        alike = [
            e
            for e in window
            if self.what.matches(e.type, e.data) and (self.same is None or e.data.get(self.same) == value)
        ]
        return len(alike) + 1 >= self.times

    def shown(self, recent: Iterable[Happening], now: datetime) -> bool:
        """Whether the contact has shown it in the span that ends now."""
        window = [e for e in recent if now - self.within < e.occurred_at <= now]
        if self.without and any(self.without.matches(e.type, e.data) for e in window):
            return False
        found = [e for e in window if self.what.matches(e.type, e.data)]
        if self.same is None:
            return len(found) >= self.times
        values = Counter(str(v) for e in found if (v := e.data.get(self.same)) is not None)
        return max(values.values(), default=0) >= self.times

    @property
    def types(self) -> tuple[str, ...]:
        """Event types that can complete it."""
        return self.what.types

    def __str__(self) -> str:
        same = f" with the same {self.same}" if self.same else ""
        without = f", and no {self.without}" if self.without else ""
        return f"{self.times} times {self.what}{same} in {self.within.days} days{without}"


def often(
    what: Condition, *, times: int, days: float, without: Condition | None = None, same: str | None = None
) -> Pattern:
    """Compound behaviour: ``often(on("page.viewed", page="pricing"), times=2, days=7, without=on("meeting.booked"))``.

    Args:
        what: The behaviour.
        times: How often at least, the present event included.
        days: Within how many days up to the present event.
        without: What must not have happened in that time.
        same: A field that must have the same value each time (``topic``).
    """
    return Pattern(what, times, timedelta(days=days), without, same)


Trigger = Condition | Pattern
"""What can start a run or end a wait: an event, or behaviour that an event completes."""


def fits(trigger: Trigger, event: Happening, recent: Iterable[Happening]) -> bool:
    """Whether the event is meant, given the contact's recent events."""
    if isinstance(trigger, Pattern):
        return trigger.matches(event, recent)
    return trigger.matches(event.type, event.data)


@dataclass(frozen=True)
class Reentry:
    """How often a contact may enter a journey (per key, where the journey has one). ``gap`` None: never again."""

    gap: timedelta | None

    def allows(self, last_entered: datetime | None, now: datetime) -> bool:
        """Whether a contact who last entered then may enter now."""
        return last_entered is None or (self.gap is not None and now - last_entered >= self.gap)

    def __str__(self) -> str:
        if self.gap is None:
            return "once"
        if 0 < self.gap.total_seconds() < 86_400:
            return f"once in {self.gap.total_seconds() / 60:g} minutes"
        return f"once in {self.gap.days} days" if self.gap else "always"


def once() -> Reentry:
    """Once in a contact's life (or once per key)."""
    return Reentry(None)


def once_per(*, days: float = 0, minutes: float = 0) -> Reentry:
    """At most once in so long a time, counted from entry to entry."""
    return Reentry(timedelta(days=days, minutes=minutes))


def always() -> Reentry:
    """Whenever the trigger comes and no run is open."""
    return Reentry(timedelta(0))


@dataclass(frozen=True)
class Card:
    """Everything a journey says about itself; see ``workflows.base.journey`` for the meaning of each part.

    ``stages``, ``messages`` and ``hears`` are read from the journey's code by ``workflows.reading``.
    """

    name: str
    trigger: tuple[Trigger, ...]
    audience: str
    goal: str
    success: tuple[Condition, ...]
    exits: tuple[Condition, ...]
    owner: str
    purpose: Purpose
    reentry: Reentry
    max_run: timedelta
    review_by: date
    key: str | None = None
    only: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    newest_only: bool = False
    own_key_only: bool = False
    same: str | None = None
    shared_key: bool = False
    doc: str = ""
    stages: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    hears: tuple[Trigger, ...] = ()

    @property
    def one_each(self) -> bool:
        """What its key names can happen only once, and so be over only once, whichever of two clocks is right."""
        return self.key is not None and not self.shared_key and self.reentry.gap is None

    def starts_on(self, event: Happening, recent: Iterable[Happening] = ()) -> bool:
        """Whether the event is one of the triggers, or completes one that is behaviour."""
        return any(fits(t, event, recent) for t in self.trigger)

    def ends_on(self, type: str, data: Mapping[str, Any]) -> bool:
        """Whether the event is one of the exits, or the success (which is always an exit)."""
        return self.succeeds_on(type, data) or any(c.matches(type, data) for c in self.exits)

    def succeeds_on(self, type: str, data: Mapping[str, Any]) -> bool:
        """Whether the event is what the journey is for."""
        return any(c.matches(type, data) for c in self.success)

    def listens_to(self, event: Happening, recent: Iterable[Happening] = ()) -> bool:
        """Whether a run may be waiting for such an event."""
        return any(fits(h, event, recent) for h in self.hears)

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The behaviour this journey looks for, in its triggers and its waits."""
        return tuple(t for t in (*self.trigger, *self.hears) if isinstance(t, Pattern))

    @property
    def ending_types(self) -> frozenset[str]:
        """Every event type that can end a run."""
        return frozenset(t for c in (*self.exits, *self.success) for t in c.types)


@dataclass(frozen=True)
class Rollout:
    """One event for every member of a segment, contact after contact: a backfill or a broadcast.

    Attributes:
        name: Nobody gets the event of one name twice.
        event: The event's type.
        about: The field of ``data`` that says what the event is about (``segment``, ``broadcast``): whoever has had
            such an event about the same since the rollout began needs none.
        data: The event's data. ``rollout`` in it is the name.
    """

    name: str
    segment: str
    event: str
    about: str
    data: Mapping[str, Any]


NAME = re.compile(r"[a-z][a-z0-9-]*")


def workflow_id(journey: str, contact: str, key: str | None) -> str:
    """The Temporal workflow id of a run: ``journey/<journey>/<contact>[/<key>]``."""
    return f"journey/{journey}/{contact}" + (f"/{key}" if key is not None else "")
