"""What journeys may ask of events, contacts and segments, and of each other."""

import json
import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from contacts.events import DATA
from contacts.policy import Policy, Stage, line_of
from contacts.specs import PROMOTIONAL, Card, Condition
from ops import words
from ops.checks.conditions import conditions, event, narrower, overlap, values
from ops.checks.library import Faults, Library, Place, at
from workflows.reading import Flow, Look, Note, Wait

FLAGS = frozenset({"known", "customer", "erased", "strong", *get_args(Stage)})
"""What a card may ask of a contact besides ``in:<segment>`` and ``during:<journey>``."""

_OF_FACTS = frozenset({"known", "customer", "former", "erased"})
"""What a rule of the policy that looks at time may ask besides ``in:<segment>``: ``Facts.flags``."""


def unknown_event(library: Library) -> Faults:
    """Events that never happen: of a type there is none of, or with data that such events do not have."""
    for flow in library.flows:
        card = flow.card
        written = [(flow.line_of(part), c) for part in ("trigger", "success", "exits") for c in getattr(card, part)]
        written += [(s.line, c) for s in flow.steps if isinstance(s, Wait) for c in s.conditions]
        written += [(s.line, Condition((s.type,))) for s in flow.steps if isinstance(s, Note) and s.type]
        for line, trigger in written:
            for condition in conditions(trigger):
                yield from ((at(flow, line), why) for why in _impossible(condition, library.policy))


def unknown_flag(library: Library) -> Faults:
    """Flags that no contact ever has."""
    flags = FLAGS | {f"in:{segment.name}" for segment in library.policy.segments}
    flags |= {f"during:{flow.card.name}" for flow in library.flows}
    for flow in library.flows:
        asked = [(flow.line_of(part), flag) for part in ("only", "unless") for flag in getattr(flow.card, part)]
        asked += [(step.line, step.flag) for step in flow.steps if isinstance(step, Look)]
        for line, flag in asked:
            if flag not in flags:
                yield at(flow, line), f"no contact is ever {flag!r}; there is {', '.join(sorted(flags))}"


def unknown_name(library: Library) -> Faults:
    """Journeys and flags, segments among them, that the policy names and that there are none of."""
    journeys = {flow.card.name for flow in library.flows}
    flags = _OF_FACTS | {f"in:{segment.name}" for segment in library.policy.segments}
    text = library.policy_file.read_text(encoding="utf-8")
    for place, name in _named_journeys(library.policy):
        if name not in journeys:
            yield _in_policy(library, text, place, name), f"there is no journey {name!r}{_meant(name, journeys)}"
    for place, name in _named_flags(library.policy):
        if name not in flags:
            yield _in_policy(library, text, place, name), f"no contact is ever {name!r}{_meant(name, flags)}"


def _named_journeys(policy: Policy) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every journey that the policy names, and where."""
    yield from ((("tier", n, "journeys"), name) for n, tier in enumerate(policy.tiers) for name in tier.journeys)
    yield from ((("priority", "journeys"), name) for name in policy.priority.journeys)
    yield from (
        (("experiment", n, "journeys"), name)
        for n, experiment in enumerate(policy.experiments)
        for name in experiment.journeys
    )
    yield from ((("cooldown_days", name), name) for name in policy.cooldown_days)
    yield from ((("breaker", "journeys", name), name) for name in policy.breaker.journeys)


def _named_flags(policy: Policy) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every flag that the policy's rules of time ask for, and where."""
    for part, rules in (("silence", policy.silence), ("fall", policy.falls)):
        for n, rule in enumerate(rules):
            yield from (((part, n, list_), flag) for list_ in ("only", "unless") for flag in getattr(rule, list_))


def _in_policy(library: Library, text: str, place: tuple[str | int, ...], name: str) -> Place:
    """The line in which a name stands: a list may have several."""
    first, lines = line_of(text, place), text.splitlines()
    here = (n for n, line in enumerate(lines[first - 1 :], start=first) if re.search(rf"\b{re.escape(name)}\b", line))
    return Place("policy", library.policy_file.name, next(here, first))


def _meant(name: str, names: Collection[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f": {near[0]!r} is meant?" if near else f"; there is {', '.join(sorted(names))}"


def unused_segment(library: Library) -> Faults:
    """Segments that change nothing."""
    sources = "".join(path.read_text(encoding="utf-8") for path in _sources(library.folder))
    text = library.policy_file.read_text(encoding="utf-8")
    for segment in library.policy.segments:
        if not any(_uses(flow, segment.name) for flow in library.flows) and f"in:{segment.name}" not in sources:
            found = re.search(rf"^\s*name\s*=\s*[\"']{segment.name}[\"']", text, re.MULTILINE)
            line = text[: found.end()].count("\n") + 1 if found else 1
            what = (
                f"segment {segment.name} changes nothing: let a journey, a card (in:{segment.name}) or a template ask "
                "for it, or take it out"
            )
            yield Place("policy", library.policy_file.name, line), what


def same_trigger(library: Library) -> Faults:
    """Promotional journeys that one event starts for the same contact, neither of which gives way to the other."""
    promotional = [flow for flow in library.flows if flow.card.purpose == PROMOTIONAL]
    for one, other in combinations(promotional, 2):
        if not _may_meet(one.card, other.card):
            continue
        for a in map(event, one.card.trigger):
            for b in map(event, other.card.trigger):
                ends = [*one.card.success, *one.card.exits, *other.card.success, *other.card.exits]
                if overlap(a, b) and not any(overlap(end, a) and overlap(end, b) for end in ends):
                    what = (
                        f"{words.happening(narrower(a, b))} starts {other.card.name} too, for the same contacts: "
                        "part their audiences (only, unless) or triggers, or let one exit on it"
                    )
                    yield at(one, one.line_of("trigger")), what


def _may_meet(one: Card, other: Card) -> bool:
    """Whether a contact can be in the audience of both."""
    return not (set(one.only) & set(other.unless) or set(other.only) & set(one.unless))


def _impossible(condition: Condition, policy: Policy) -> Iterator[str]:
    """Why an event can never match."""
    for type in condition.types:
        if type not in DATA:
            if not type.startswith("custom."):
                yield f"there is no event {type}: correct it, or name an event of your own custom.<name>"
            continue
        for name, wanted in condition.match:
            if not any(_possible(type, name, value, policy) for value in values(wanted)):
                yield f"no {type} ever has {name}={wanted!r}: correct the value"


def _possible(type: str, name: str, value: Any, policy: Policy) -> bool:
    if (type, name) == ("date.approaching", "name"):
        return value in {rule.name for rule in policy.dates}
    if (type, name) == ("date.approaching", "days"):
        return any(value in rule.days_before for rule in policy.dates)
    if name == "segment" and type in ("segment.joined", "segment.left"):
        return value in {segment.name for segment in policy.segments}
    field = DATA[type].model_fields.get(name)
    if field is None or value is None:
        return field is None or not field.is_required()
    try:
        # events are kept as JSON, so a date is compared as text
        TypeAdapter(field.rebuild_annotation()).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


def _uses(flow: Flow, segment: str) -> bool:
    card = flow.card
    flags = [*card.only, *card.unless, *(step.flag for step in flow.steps if isinstance(step, Look))]
    asked = [c for trigger in (*card.trigger, *card.success, *card.exits, *card.hears) for c in conditions(trigger)]
    return f"in:{segment}" in flags or any(
        {"segment.joined", "segment.left"} & set(c.types) and segment in values(dict(c.match).get("segment"))
        for c in asked
    )


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".j2", ".toml", ".yaml"))
