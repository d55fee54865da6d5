"""Looks for what is wrong with journeys and can be seen without running them.

Each check is a function of the library that yields the places of its faults and what to do about them.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from contacts.events import DATA
from contacts.policy import Policy, Stage
from contacts.specs import LIFECYCLE, PROMOTIONAL, TRANSACTIONAL, Card, Condition, Pattern, Purpose, Trigger
from ops import words
from ops.cards import tells_of
from ops.scenario import Scenario
from templates.render import Declared, Templates
from workflows.reading import Approval, Flow, HandOff, Look, Note, Send, Sleep, Step, Wait

_LEAST_SCENARIOS = 2

_MOST_PROMOTIONAL: Mapping[Purpose, int | None] = {PROMOTIONAL: None, LIFECYCLE: 1, TRANSACTIONAL: 0}
"""How many promotional messages a journey of each purpose may send; None: all of them."""

_MOST_SELLING: Mapping[Purpose, float] = {PROMOTIONAL: 0.5, LIFECYCLE: 0.2, TRANSACTIONAL: 0}
"""Which share of a message's sentences may sell, by its purpose."""

_URGENT = re.compile(
    r"\b(last\s+chance|final\s+call|only\s+today|today\s+only|act\s+(?:now|fast)|don['’]t\s+(?:miss|wait)"
    r"|limited\s+time|before\s+it['’]s\s+too\s+late|(?<!no\s)(?<!need\sto\s)hurry|ends?\s+(?:soon|today|tonight)"
    r"|expires?\s+(?:in|soon|today|tonight)|while\s+(?:stocks|supplies)\s+last|(?:time\s+is\s+)?running\s+out"
    r"|\d+\s+(?:hours|minutes)\s+left)\b",
    re.IGNORECASE,
)
"""Words that count down; ``no hurry`` does not."""

_SELLING = re.compile(
    r"\b(\d+ ?% off|(?:discount|coupon|voucher|promo) codes?|(?:special|exclusive|limited) (?:offer|deal|price)"
    r"|(?:buy|order|shop|upgrade|subscribe) (?:now|today)|save (?:up to )?[€$£]?\d+|on sale|free trial)\b",
    re.IGNORECASE,
)
"""Words that ask for a purchase or sweeten one."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")

FLAGS = frozenset({"known", "customer", "erased", "strong", *get_args(Stage)})
"""What a card may ask of a contact besides ``in:<segment>``."""

TOLD = frozenset(
    {"first_name", "timezone", "account", "topic", "resource", "entry_point", "brand", "reply_to"}
    | {"unsubscribe_url", "preferences_url"}
)
"""What every message is told, whatever its journey gives it."""

TOLD_BY_ENTRY = {"checkout": "checkout_id", "order": "order_id"}
"""What a message is told if the event that began the run has this field."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do about it.

    Attributes:
        journey: The journey's name; ``templates`` or ``policy`` where no single journey is meant.
        file: From the root of the project.
        code: The check that found it.
        level: A ``warning`` asks for a look and is no fault.
    """

    journey: str
    file: str
    line: int
    code: str
    what: str
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        note = " (warning)" if self.level == "warning" else ""
        return f"{self.journey}: {self.file}:{self.line}: {self.code}{note}: {self.what}"


@dataclass(frozen=True)
class Library:
    """What is looked at.

    Attributes:
        folder: Where the templates are.
        policy_file: Where the policy is.
        today: Decides what is overdue.
    """

    flows: Sequence[Flow]
    templates: Templates
    folder: Path
    scenarios: Sequence[Scenario]
    policy: Policy
    policy_file: Path
    today: date


@dataclass(frozen=True)
class Place:
    """Where a fault is; see ``Finding``."""

    journey: str
    file: str
    line: int


Faults = Iterator[tuple[Place, str]]


def lint(library: Library) -> list[Finding]:
    """Everything found, by file and line."""
    found = {
        Finding(place.journey, place.file, place.line, code, what, "warning" if code in _WARNINGS else "error")
        for code, check in CHECKS.items()
        for place, what in check(library)
    }
    return sorted(found, key=lambda f: (f.file, f.line, f.code, f.journey, f.what))


# How a run goes on and ends.


def no_limit(library: Library) -> Faults:
    """Waits that do not say how long: such a wait is over as soon as it begins."""
    for flow, step in _steps(library):
        match step:
            case Wait(limit=None) | Sleep(length=None) | Approval(limit=None):
                what = f"{words.step(step)}, but not how long: give it days=, hours=, minutes= or until="
                yield _at(flow, step.line), what


def wait_without_exit(library: Library) -> Faults:
    """Waits before a message that nothing but time ends, short of the goal: whatever happens, it goes out."""
    for flow in library.flows:
        if any(not _covered(exit, flow.card.success) and set(exit.types) - _NO_WAY_OUT for exit in flow.card.exits):
            continue
        for stage in flow.stages:
            later = [step for other in flow.stages if other.name in _reached(flow, stage.name) for step in other.steps]
            for n, step in enumerate(stage.steps):
                idle = isinstance(step, Sleep) or (isinstance(step, Wait) and not step.conditions)
                if idle and any(isinstance(s, Send) for s in (*stage.steps[n + 1 :], *later)):
                    what = (
                        f"{words.step(step)}, and then a message goes out, whatever happened: give the card an exit "
                        "that takes its reason away, or wait for an event"
                    )
                    yield _at(flow, step.line), what


def unreachable(library: Library) -> Faults:
    """Stages that no way from the first one leads to."""
    for flow in library.flows:
        reached = _reached(flow, flow.stages[0].name) | {flow.stages[0].name}
        for stage in flow.stages:
            if stage.name not in reached:
                what = f"no stage leads to {stage.name}: return self.{stage.name} somewhere, or take it out"
                yield _at(flow, stage.line), what


def no_way_out(library: Library) -> Faults:
    """Stages that lead back to themselves without anything on the way that takes time."""
    for flow in library.flows:
        restless = {stage.name for stage in flow.stages if not any(map(_takes_time, stage.steps))}
        for stage in flow.stages:
            if stage.name in restless and stage.name in _reached(flow, stage.name, restless):
                what = f"{stage.name} comes round to itself without a wait: let it sleep, wait or send on the way"
                yield _at(flow, stage.line), what


def never_starts(library: Library) -> Faults:
    """Triggers that end the journey too: routing lets such an event end runs and start none."""
    for flow in library.flows:
        for trigger in map(_event, flow.card.trigger):
            for one in _each(trigger):
                if _covered(one, (*flow.card.success, *flow.card.exits)):
                    what = f"{words.happening(one)} ends it too, so it starts nothing: take it out of trigger or exits"
                    yield _at(flow, flow.line_of("trigger")), what


def unseen_exit(library: Library) -> Faults:
    """Exits that another one always comes before."""
    for flow in library.flows:
        card = flow.card
        for n, exit in enumerate(card.exits):
            for one in _each(exit):
                if _covered(one, (*card.success, *card.exits[:n])):
                    what = f"{words.happening(one)} ends the run already, as success or by an earlier exit: take it out"
                    yield _at(flow, flow.line_of("exits")), what


def deaf_wait(library: Library) -> Faults:
    """Waits for what ends the run: they never hear it."""
    for flow, step in _steps(library):
        # With a key, such an event may be about another run of the same contact, and then ends nothing here.
        if isinstance(step, Wait) and flow.card.key is None:
            for one in (one for condition in step.conditions for one in _each(_event(condition))):
                if _covered(one, (*flow.card.success, *flow.card.exits)):
                    what = f"the run ends on {words.happening(one)} and never hears it here: take it out of the wait"
                    yield _at(flow, step.line), what


# What journeys may know.


def unknown_event(library: Library) -> Faults:
    """Events that never happen: of a type there is none of, or with data that such events do not have."""
    for flow in library.flows:
        card = flow.card
        written = [(flow.line_of(part), c) for part in ("trigger", "success", "exits") for c in getattr(card, part)]
        written += [(s.line, c) for s in flow.steps if isinstance(s, Wait) for c in s.conditions]
        written += [(s.line, Condition((s.type,))) for s in flow.steps if isinstance(s, Note) and s.type]
        for line, trigger in written:
            for condition in _conditions(trigger):
                yield from ((_at(flow, line), why) for why in _impossible(condition, library.policy))


def unknown_flag(library: Library) -> Faults:
    """Flags that no contact ever has."""
    flags = FLAGS | {f"in:{segment.name}" for segment in library.policy.segments}
    for flow in library.flows:
        asked = [(flow.line_of(part), flag) for part in ("only", "unless") for flag in getattr(flow.card, part)]
        asked += [(step.line, step.flag) for step in flow.steps if isinstance(step, Look)]
        for line, flag in asked:
            if flag not in flags:
                yield _at(flow, line), f"no contact is ever {flag!r}; there is {', '.join(sorted(flags))}"


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
        for a in map(_event, one.card.trigger):
            for b in map(_event, other.card.trigger):
                ends = [*one.card.success, *one.card.exits, *other.card.success, *other.card.exits]
                if _overlap(a, b) and not any(_overlap(end, a) and _overlap(end, b) for end in ends):
                    what = (
                        f"{words.happening(_narrower(a, b))} starts {other.card.name} too, for the same contacts: "
                        "part their audiences (only, unless) or triggers, or let one exit on it"
                    )
                    yield _at(one, one.line_of("trigger")), what


# What journeys send.


def no_ticket_hold(library: Library) -> Faults:
    """Promotional templates sent as something else, past the holds that promotion waits for."""
    for flow, send, template in _sent(library):
        if template.purpose == PROMOTIONAL and send.purpose != PROMOTIONAL:
            what = (
                f"{send.template} is promotional but sent as {send.purpose or 'what is decided at run time'}, past "
                "tickets and other holds: send it with purpose=PROMOTIONAL, or change what its template says"
            )
            yield _at(flow, send.line), what


def no_opt_out(library: Library) -> Faults:
    """Messages that need a way to opt out, with a template that has none."""
    for flow, send, template in _sent(library):
        if template.purpose == TRANSACTIONAL and send.purpose in (PROMOTIONAL, LIFECYCLE):
            what = (
                f"{send.template} is transactional, without a way to opt out, but sent as {send.purpose}: send it with "
                "purpose=TRANSACTIONAL, or change the purpose its template declares"
            )
            yield _at(flow, send.line), what


def wrong_channel(library: Library) -> Faults:
    """Templates sent on a channel they are not written for."""
    written = _channels(library.templates)
    for flow, send in _sends(library):
        channels = written.get(send.template, ())
        if channels and send.channel is not None and send.channel not in channels:
            what = f"{send.template} is written for {words.either(channels)}: send it with channel={channels[0]!r}"
            yield _at(flow, send.line), what


def undeclared_context(library: Library) -> Faults:
    """Context that a template does not declare, and so never shows."""
    for flow, send, template in _sent(library):
        for name in sorted((send.context or frozenset()) - template.context.keys()):
            what = f"{send.template} declares no {name}: declare it under [context] and use it, or do not pass it"
            yield _at(flow, send.line), what


def missing_context(library: Library) -> Faults:
    """Context that a template cannot do without and is not told."""
    for flow, send, template in _sent(library):
        if send.context is None:
            continue
        told = TOLD | send.context | {name for name, field in TOLD_BY_ENTRY.items() if _always_has(flow.card, field)}
        for name in (name for name, need in template.context.items() if need.fallback is None and name not in told):
            what = f"{send.template} cannot do without {name}: pass {name}=, or declare a fallback for it"
            yield _at(flow, send.line), what


def unknown_template(library: Library) -> Faults:
    """Sends of templates there are none of."""
    written = _channels(library.templates)
    for flow, send in _sends(library):
        if send.template not in written:
            what = f"there is no template {send.template}: write it in templates/messages, or correct the name"
            yield _at(flow, send.line), what


def unsent_template(library: Library) -> Faults:
    """Templates that no journey sends."""
    sent = {send.template for _, send in _sends(library)}
    for template in library.templates.declared():
        if template.name not in sent:
            yield _in(template), "no journey sends it: take it out unless something else does"


def urgency(library: Library) -> Faults:
    """Words of hurry in promotion that knows of no end."""
    for template in library.templates.declared():
        if template.purpose != PROMOTIONAL or "ends_at" in template.context:
            continue
        seen: set[str] = set()
        for ending in ("toml", "j2"):
            text = (library.folder / "messages" / f"{template.name}.{ending}").read_text(encoding="utf-8")
            for found in _URGENT.finditer(text):
                seen.add(_plain(found.group()))
                yield _in(template, ending, text[: found.start()].count("\n") + 1), _leave_out(found.group())
        shown = {_plain(f.group()) for text in _samples(library.templates, template) for f in _URGENT.finditer(text)}
        # what comes from the content that messages share stands in neither file
        yield from ((_in(template), _leave_out(word)) for word in sorted(shown - seen))


def too_promotional(library: Library) -> Faults:
    """Journeys that send more promotion than a journey of their purpose may."""
    for flow in library.flows:
        most = _MOST_PROMOTIONAL[flow.card.purpose]
        sends = (step for step in flow.steps if isinstance(step, Send))
        selling = dict.fromkeys(send.template for send in sends if send.purpose == PROMOTIONAL)
        if most is not None and len(selling) > most:
            what = (
                f"sends {len(selling)} promotional messages ({', '.join(selling)}), and a {flow.card.purpose} journey "
                f"may send {most}: take some out, or make it a promotional journey"
            )
            yield _at(flow, flow.line_of("purpose")), what


def oversold(library: Library) -> Faults:
    """Messages that sell more than a message of their purpose may."""
    for template in library.templates.declared():
        most = _MOST_SELLING[template.purpose]
        for text in _samples(library.templates, template):
            sentences = [sentence for sentence in _SENTENCE.split(text) if sentence.strip()]
            selling = [sentence for sentence in sentences if _SELLING.search(" ".join(sentence.split()))]
            if len(selling) > most * len(sentences):
                example = _plain(selling[0])
                what = (
                    f"{len(selling)} of {len(sentences)} sentences sell ({example[:60]}), and a {template.purpose} "
                    f"message may do so in {most:.0%}: say less of it, or declare what the message is"
                )
                yield _in(template), what
                break


# How journeys are kept.


def overdue(library: Library) -> Faults:
    """Journeys that should have been looked at again."""
    for flow in library.flows:
        due = flow.card.review_by
        if due < library.today:
            what = f"was to be looked at by {due:%-d %b %Y}: look at it with {flow.card.owner}, then set review_by anew"
            yield _at(flow, flow.line_of("review_by")), what


def missing_scenario(library: Library) -> Faults:
    """Journeys that too few scenarios tell of."""
    for flow in library.flows:
        told = sum(tells_of(scenario, flow.card) for scenario in library.scenarios)
        if told < _LEAST_SCENARIOS:
            what = (
                f"scenarios that expect it: {told} of {_LEAST_SCENARIOS}: write the goal reached and the quiet contact "
                "in tests/scenarios"
            )
            yield _at(flow, flow.line), what


CHECKS: Mapping[str, Callable[[Library], Faults]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        no_limit,
        wait_without_exit,
        unreachable,
        no_way_out,
        never_starts,
        unseen_exit,
        deaf_wait,
        unknown_event,
        unknown_flag,
        unused_segment,
        same_trigger,
        no_ticket_hold,
        no_opt_out,
        wrong_channel,
        undeclared_context,
        missing_context,
        unknown_template,
        unsent_template,
        urgency,
        too_promotional,
        oversold,
        overdue,
        missing_scenario,
    )
}
"""Every check by its code."""

_WARNINGS = frozenset({"unsent-template"})

_NO_WAY_OUT = frozenset({"contact.erased", "contact.merged"})
"""Types that end no reason to write: the erased are not written to anyway."""


def _at(flow: Flow, line: int) -> Place:
    return Place(flow.card.name, flow.file, line)


def _in(template: Declared, ending: str = "toml", line: int = 1) -> Place:
    return Place("templates", f"templates/messages/{template.name}.{ending}", line)


def _steps(library: Library) -> Iterator[tuple[Flow, Step]]:
    return ((flow, step) for flow in library.flows for step in flow.steps)


def _sends(library: Library) -> Iterator[tuple[Flow, Send]]:
    return ((flow, step) for flow, step in _steps(library) if isinstance(step, Send))


def _sent(library: Library) -> Iterator[tuple[Flow, Send, Declared]]:
    """Sends, each with the template it is of."""
    written = {template.name: template for template in library.templates.declared()}
    return ((flow, send, written[send.template]) for flow, send in _sends(library) if send.template in written)


def _channels(templates: Templates) -> Mapping[str, Sequence[str]]:
    channels: dict[str, list[str]] = {}
    for template in templates.declared():
        channels.setdefault(template.name, []).append(template.channel)
    return channels


def _takes_time(step: Step) -> bool:
    match step:
        case Wait(limit=None) | Sleep(length=None) | Approval(limit=None) | Note() | Look():
            return False
        case Wait() | Sleep() | Approval() | HandOff() | Send():
            return True


def _reached(flow: Flow, start: str, through: Iterable[str] | None = None) -> set[str]:
    """Stages that a stage leads to, itself only if it comes round to it; only by way of ``through`` if given."""
    leads = {stage.name: stage.next for stage in flow.stages if through is None or stage.name in through}
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for following in leads.get(ahead.pop(), ()):
            if following not in reached:
                reached.add(following)
                ahead.append(following)
    return reached


def _may_meet(one: Card, other: Card) -> bool:
    """Whether a contact can be in the audience of both."""
    return not (set(one.only) & set(other.unless) or set(other.only) & set(one.unless))


def _event(trigger: Trigger) -> Condition:
    return trigger.what if isinstance(trigger, Pattern) else trigger


def _conditions(trigger: Trigger) -> Iterator[Condition]:
    """Every condition in a trigger."""
    yield _event(trigger)
    if isinstance(trigger, Pattern) and trigger.without is not None:
        yield trigger.without


def _each(condition: Condition) -> list[Condition]:
    """One condition for each of its types."""
    return [Condition((type,), condition.match) for type in condition.types]


def _overlap(one: Condition, other: Condition) -> bool:
    """Whether an event can match both."""
    a, b = dict(one.match), dict(other.match)
    return bool(set(one.types) & set(other.types)) and all(_values(a[f]) & _values(b[f]) for f in a.keys() & b.keys())


def _covered(condition: Condition, by: Iterable[Condition]) -> bool:
    """Whether every event that matches also matches one of the others."""
    wanted = dict(condition.match)
    return any(
        set(condition.types) <= set(other.types)
        and all(f in wanted and _values(wanted[f]) <= _values(value) for f, value in other.match)
        for other in by
    )


def _values(wanted: object) -> set[object]:
    return set(wanted) if isinstance(wanted, tuple) else {wanted}


def _narrower(one: Condition, other: Condition) -> Condition:
    types = tuple(t for t in one.types if t in other.types)
    return Condition(types, tuple(sorted({**dict(one.match), **dict(other.match)}.items())))


def _impossible(condition: Condition, policy: Policy) -> Iterator[str]:
    """Why an event can never match."""
    for type in condition.types:
        if type not in DATA:
            if not type.startswith("custom."):
                yield f"there is no event {type}: correct it, or name an event of your own custom.<name>"
            continue
        for name, wanted in condition.match:
            if not any(_possible(type, name, value, policy) for value in _values(wanted)):
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
    asked = [c for trigger in (*card.trigger, *card.success, *card.exits, *card.hears) for c in _conditions(trigger)]
    return f"in:{segment}" in flags or any(
        {"segment.joined", "segment.left"} & set(c.types) and segment in _values(dict(c.match).get("segment"))
        for c in asked
    )


def _always_has(card: Card, field: str) -> bool:
    """Whether every event that starts the journey has a value in this field."""
    types = {type for trigger in card.trigger for type in _event(trigger).types}
    return all(type in DATA and (f := DATA[type].model_fields.get(field)) and f.is_required() for type in types)


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".j2", ".toml", ".yaml"))


def _samples(templates: Templates, template: Declared) -> Iterator[str]:
    for sample in template.samples.values():
        shown = templates.render(template.name, sample)
        yield f"{shown.subject}\n\n{shown.preheader}\n\n{shown.text}"


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").lower().split())


def _leave_out(words: str) -> str:
    return f"it says {_plain(words)!r} and knows of no end: leave it out, or declare ends_at and say when it ends"
