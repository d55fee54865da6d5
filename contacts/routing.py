"""Which journeys an event starts, ends and speaks to: a function of values.

The rules, in the order they are applied:

1. An event that is an exit (or the success) of a journey ends that journey's open runs, if it happened after they
   were entered. Where the journey has a key and the event names a key we know, only the run with that key ends;
   an event that names none, one never seen, or one whose run gave way to a newer one, ends all of the contact's,
   unless the card says that only a run's own key counts. Where the card names a field that must be the same, an event
   that names another value than the run's trigger did does not end that run. What can happen only once, such as a
   checkout, is over whenever an exit names its very key: a trigger that is said to be later was told by another clock.
2. A trigger that is no exit of the same journey starts a run unless the contact is outside the audience, a run is
   already open, re-entry forbids it, the trigger is older than a whole run may last, or an exit that happened after
   the trigger is already known.
3. Where only the newest run counts, a start ends the contact's older runs, and a trigger older than a run starts none.
4. Where two contacts turn out to be one, what either had done ends the open runs of the other by the first rule.
5. Any other open run whose journey may be waiting for such an event hears it, and so does each when a hold ends.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from contacts.facts import Facts
from contacts.specs import Card, Happening


@dataclass(frozen=True)
class Run:
    """A run's row, as routing sees it.

    Attributes:
        entered_at: When the event that started it occurred.
        open: Neither ended nor told to end.
        entry: The data of that event.
    """

    id: str
    workflow_id: str
    journey: str
    contact_id: str
    key: str | None
    entered_at: datetime
    open: bool
    entry: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """Begin a run of this journey."""

    journey: str
    key: str | None


@dataclass(frozen=True)
class Exit:
    """End this run. ``outcome`` is ``converted`` for the journey's success, else ``exited`` or ``superseded``."""

    run: Run
    outcome: str


@dataclass(frozen=True)
class Tell:
    """Let this run hear the event."""

    run: Run


@dataclass(frozen=True)
class Skip:
    """A trigger that starts nothing, and why: what an operator asks first."""

    journey: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What an event does to runs."""

    exits: tuple[Exit, ...] = ()
    starts: tuple[Start, ...] = ()
    tells: tuple[Tell, ...] = ()
    skips: tuple[Skip, ...] = ()


def route(
    event: Happening,
    facts: Facts,
    *,
    cards: Iterable[Card],
    runs: Sequence[Run],
    endings: Sequence[Happening],
    recent: Sequence[Happening] = (),
    flags: frozenset[str] = frozenset(),
    freed: Collection[str],
    now: datetime,
) -> Plan:
    """Decides what an event does.

    Args:
        event: The event, already applied to ``facts``.
        facts: The contact after the event.
        cards: Every journey there is.
        runs: The contact's runs, open and ended, and any run of a keyed journey whose key the event or one of
            ``endings`` names, whoever it belongs to.
        endings: Stored events of ending types: those of this contact or key that occurred at or after this event, and
            whatever names the key of something that can happen only once.
        recent: The contact's events as far back as any journey's patterns look.
        flags: What is true of the contact besides ``facts.flags()`` and the runs they are in: their lifecycle stage.
        freed: The runs that have a touch which waited for a hold that the event ended.
        now: When the event arrived, on the journeys' clock.
    """
    exits: list[Exit] = []
    starts: list[Start] = []
    tells: list[Tell] = []
    skips: list[Skip] = []
    theirs = [r for r in runs if r.contact_id == facts.contact_id]
    for card in cards:
        mine = [r for r in runs if r.journey == card.name]
        leaving = _exits(event, card, mine, facts.contact_id)
        ending = [one.run for one in leaving]
        exits += leaving
        if card.starts_on(event, recent) and not card.ends_on(event.type, event.data):
            key = _key(card, event)
            if reason := _why_not(event, facts, flags, card, key, mine, theirs, endings, now):
                skips.append(Skip(card.name, reason))
            else:
                starts.append(Start(card.name, key))
                if card.newest_only:
                    older = [r for r in mine if r.open and r.contact_id == facts.contact_id and r not in ending]
                    exits += [Exit(run, "superseded") for run in older]
                    ending += older
        listens = card.listens_to(event, recent)
        going_on = [r for r in mine if r.open and r.contact_id == facts.contact_id and r not in ending]
        tells += [Tell(r) for r in going_on if listens or r.id in freed]
    return Plan(tuple(exits), tuple(starts), tuple(tells), tuple(skips))


def keys_named(event: Happening, cards: Iterable[Card]) -> list[tuple[str, str]]:
    """The (journey, key) pairs the event names, whoever has them."""
    unique = [(card.name, event.data.get(card.key)) for card in cards if card.key and not card.shared_key]
    return [(name, str(key)) for name, key in unique if key is not None]


def learned(
    known: Iterable[Happening], contact_id: str, *, cards: Sequence[Card], runs: Sequence[Run]
) -> list[tuple[Exit, Happening]]:
    """Which of a contact's runs end by what somebody else had done, now that they turn out to be the same person.

    Args:
        known: What the other had done, as far as it is stored.
        runs: The runs of both, each still under the contact it was of, and any run of a keyed journey whose key an
            event names, whoever it belongs to.
    """
    left, found = list(runs), []
    for event in sorted(known, key=lambda event: event.occurred_at):
        for card in cards:
            mine = [run for run in left if run.journey == card.name]
            over = [one for one in _exits(event, card, mine, contact_id) if one.run.contact_id == contact_id]
            found += [(one, event) for one in over]
            ended = {one.run.id for one in over}
            left = [replace(run, open=False) if run.id in ended else run for run in left]
    return found


def _key(card: Card, event: Happening) -> str | None:
    value = event.data.get(card.key) if card.key else None
    return None if value is None else str(value)


def _exits(event: Happening, card: Card, runs: Sequence[Run], contact_id: str) -> list[Exit]:
    if not card.ends_on(event.type, event.data):
        return []
    key = _key(card, event)
    named = [r for r in runs if key is not None and r.key == key]
    if card.newest_only and not any(r.open for r in named):
        # The run of this key gave way to a newer one, whose reason has gone with it.
        named = []
    if not named and not (card.own_key_only and key is not None):
        named = [r for r in runs if r.contact_id == contact_id]
    ending = [
        r
        for r in named
        if r.open
        and (r.entered_at <= event.occurred_at or (card.one_each and r.key == key))
        and _agree(card, r.entry, event.data)
    ]
    outcome = "converted" if card.succeeds_on(event.type, event.data) else "exited"
    return [Exit(run, outcome) for run in ending]


def _agree(card: Card, entry: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    both = (entry.get(card.same), data.get(card.same)) if card.same else (None, None)
    return None in both or both[0] == both[1]


def _why_not(
    event: Happening,
    facts: Facts,
    flags: frozenset[str],
    card: Card,
    key: str | None,
    runs: Sequence[Run],
    runs_of_contact: Sequence[Run],
    endings: Sequence[Happening],
    now: datetime,
) -> str | None:
    flags |= facts.flags() | {f"during:{r.journey}" for r in runs_of_contact if r.open}
    if "erased" in flags:
        return "erased"
    if card.key and key is None:
        return f"no {card.key} in the event"
    if missing := [f for f in card.only if f not in flags]:
        return f"not {missing[0]}"
    if present := [f for f in card.unless if f in flags]:
        return f"already {present[0]}"
    if now - event.occurred_at > card.max_run:
        return "too long ago"
    same = [r for r in runs if r.key == key and r.contact_id == facts.contact_id]
    if any(r.open for r in same):
        return "already in it"
    if card.newest_only and any(r.entered_at > event.occurred_at for r in runs if r.contact_id == facts.contact_id):
        return "a newer one is known"
    if not card.reentry.allows(max((r.entered_at for r in same), default=None), event.occurred_at):
        return f"re-entry: {card.reentry}"
    for other in endings:
        if other.id != event.id and card.ends_on(other.type, other.data) and _agree(card, event.data, other.data):
            other_key = _key(card, other)
            if other.occurred_at < event.occurred_at and not (card.one_each and other_key == key):
                continue
            elsewhere = other_key != key and any(r.key == other_key for r in runs)
            if key is None or other_key is None or not elsewhere:
                return f"already ended by {other.type}"
    return None
