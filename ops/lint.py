"""Looks for what is wrong with journeys and can be seen without running them.

Each check is a function of the library that yields findings under one code of its own.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from typing import Literal

from contacts.specs import LIFECYCLE, PROMOTIONAL, TRANSACTIONAL, Card, Condition, Pattern, Purpose
from ops.scenario import Scenario
from templates.render import Declared, Templates
from workflows.reading import Approval, Flow, HandOff, Send, SendNamed, Sleep, Step, Wait

_LEAST_SCENARIOS = 2

_MOST_PROMOTIONAL: Mapping[Purpose, int | None] = {PROMOTIONAL: None, LIFECYCLE: 1, TRANSACTIONAL: 0}
"""How many promotional messages a journey of each purpose may send; None: all of them."""

_URGENT = re.compile(
    r"\b(last chance|final call|only today|today only|act (?:now|fast)|don't (?:miss|wait)|limited time"
    r"|before it's too late|(?<!no )(?<!need to )hurry|ends? (?:soon|today|tonight)|expires? (?:in|soon|today|tonight)"
    r"|while (?:stocks|supplies) last|(?:time is )?running out|\d+ (?:hours|minutes) left)\b",
    re.IGNORECASE,
)
"""Words that count down; ``no hurry`` does not."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do about it.

    Attributes:
        journey: The journey's name; ``templates`` where no single journey is meant.
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
    """What is looked at. ``today`` decides what is overdue."""

    flows: Sequence[Flow]
    templates: Templates
    scenarios: Sequence[Scenario]
    today: date


def lint(library: Library) -> list[Finding]:
    """Everything found, by file and line."""
    found = {finding for check in CHECKS for finding in check(library)}
    return sorted(found, key=lambda f: (f.file, f.line, f.code, f.journey, f.what))


def no_limit(library: Library) -> Iterator[Finding]:
    """Waits that do not say how long: such a wait is over as soon as it begins."""
    for flow in library.flows:
        for step in flow.steps:
            match step:
                case Wait(limit=None) | Sleep(length=None) | Approval(limit=None):
                    what = f"{step}, but not how long: give it days=, hours=, minutes= or until="
                    yield _at(flow, step.line, "no-limit", what)


def unreachable(library: Library) -> Iterator[Finding]:
    """Stages that no way from the first one leads to."""
    for flow in library.flows:
        reached = _reached(flow, flow.stages[0].name) | {flow.stages[0].name}
        for stage in flow.stages:
            if stage.name not in reached:
                what = f"no stage leads to {stage.name}: return self.{stage.name} somewhere, or take it out"
                yield _at(flow, stage.line, "unreachable", what)


def no_way_out(library: Library) -> Iterator[Finding]:
    """Stages that lead back to themselves without anything on the way that takes time."""
    for flow in library.flows:
        restless = {stage.name for stage in flow.stages if not any(map(_takes_time, stage.steps))}
        for stage in flow.stages:
            if stage.name in restless and stage.name in _reached(flow, stage.name, restless):
                what = f"{stage.name} comes round to itself without a wait: let it sleep, wait or send on the way"
                yield _at(flow, stage.line, "no-way-out", what)


def same_trigger(library: Library) -> Iterator[Finding]:
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
                        f"{_narrower(a, b)} starts {other.card.name} too, for the same contacts: part their audiences "
                        "(only, unless) or triggers, or let one exit on it"
                    )
                    yield _at(one, one.line_of("trigger"), "same-trigger", what)


def no_ticket_hold(library: Library) -> Iterator[Finding]:
    """Promotional templates sent as something else, past the holds that promotion waits for."""
    declared = _declared(library.templates)
    for flow in library.flows:
        for send in _sends(flow):
            template = declared.get(send.template)
            if template and template.purpose == PROMOTIONAL and send.purpose not in (PROMOTIONAL, None):
                what = (
                    f"{send.template} is promotional but sent as {send.purpose}, past tickets and other holds: "
                    f"send it with purpose=PROMOTIONAL, or change what its template says"
                )
                yield _at(flow, send.line, "no-ticket-hold", what)


def unknown_template(library: Library) -> Iterator[Finding]:
    """Sends of templates there are none of."""
    declared = _declared(library.templates)
    for flow in library.flows:
        for send in _sends(flow):
            if send.template not in declared:
                what = f"there is no template {send.template}: write it in templates/messages, or correct the name"
                yield _at(flow, send.line, "unknown-template", what)


def unsent_template(library: Library) -> Iterator[Finding]:
    """Templates that no journey sends."""
    sent = {message for flow in library.flows for message in flow.card.messages}
    for template in library.templates.declared():
        if template.name not in sent:
            what = "no journey sends it: take it out unless something else does"
            yield _in(template, "unsent-template", what, level="warning")


def overdue(library: Library) -> Iterator[Finding]:
    """Journeys that should have been looked at again."""
    for flow in library.flows:
        due = flow.card.review_by
        if due < library.today:
            what = f"was to be looked at by {due:%-d %b %Y}: look at it with {flow.card.owner}, then set review_by anew"
            yield _at(flow, flow.line_of("review_by"), "overdue", what)


def urgency(library: Library) -> Iterator[Finding]:
    """Words of hurry in promotion that knows of no end."""
    for template in library.templates.declared():
        if template.purpose == PROMOTIONAL and "ends_at" not in template.context:
            words = {word for text in _samples(library.templates, template) for word in _hurry(text)}
            for word in sorted(words):
                what = f"it says {word!r} and knows of no end: leave it out, or declare ends_at and say when it ends"
                yield _in(template, "urgency", what)


def too_promotional(library: Library) -> Iterator[Finding]:
    """Journeys that send more promotion than a journey of their purpose may."""
    for flow in library.flows:
        most = _MOST_PROMOTIONAL[flow.card.purpose]
        selling = dict.fromkeys(send.template for send in _sends(flow) if send.purpose == PROMOTIONAL)
        if most is not None and len(selling) > most:
            what = (
                f"sends {len(selling)} promotional messages ({', '.join(selling)}), and a {flow.card.purpose} journey "
                f"may send {most}: take some out, or make it a promotional journey"
            )
            yield _at(flow, flow.line_of("purpose"), "too-promotional", what)


def missing_scenario(library: Library) -> Iterator[Finding]:
    """Journeys that too few scenarios tell of."""
    for flow in library.flows:
        told = sum(_tells_of(scenario, flow.card) for scenario in library.scenarios)
        if told < _LEAST_SCENARIOS:
            what = (
                f"scenarios that expect it: {told} of {_LEAST_SCENARIOS}: write the goal reached and the quiet contact "
                "in tests/scenarios"
            )
            yield _at(flow, flow.line, "missing-scenario", what)


CHECKS: tuple[Callable[[Library], Iterable[Finding]], ...] = (
    no_limit,
    unreachable,
    no_way_out,
    same_trigger,
    no_ticket_hold,
    unknown_template,
    unsent_template,
    overdue,
    urgency,
    too_promotional,
    missing_scenario,
)


def _at(flow: Flow, line: int, code: str, what: str) -> Finding:
    return Finding(flow.card.name, flow.file, line, code, what)


def _in(template: Declared, code: str, what: str, level: Literal["error", "warning"] = "error") -> Finding:
    return Finding("templates", f"templates/messages/{template.name}.toml", 1, code, what, level)


def _sends(flow: Flow) -> list[Send]:
    return [step for step in flow.steps if isinstance(step, Send)]


def _takes_time(step: Step) -> bool:
    match step:
        case Wait(limit=None) | Sleep(length=None) | Approval(limit=None):
            return False
        case Wait() | Sleep() | Approval() | HandOff() | Send() | SendNamed():
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


def _event(trigger: Condition | Pattern) -> Condition:
    return trigger.what if isinstance(trigger, Pattern) else trigger


def _overlap(one: Condition, other: Condition) -> bool:
    """Whether an event can match both."""
    a, b = dict(one.match), dict(other.match)
    return bool(set(one.types) & set(other.types)) and all(_values(a[f]) & _values(b[f]) for f in a.keys() & b.keys())


def _values(wanted: object) -> set[object]:
    return set(wanted) if isinstance(wanted, tuple) else {wanted}


def _narrower(one: Condition, other: Condition) -> Condition:
    types = tuple(t for t in one.types if t in other.types)
    return Condition(types, tuple(sorted({**dict(one.match), **dict(other.match)}.items())))


def _declared(templates: Templates) -> dict[str, Declared]:
    return {template.name: template for template in templates.declared()}


def _samples(templates: Templates, template: Declared) -> Iterator[str]:
    for sample in template.samples.values():
        mail = templates.render(template.name, sample)
        yield f"{mail.subject}\n{mail.preheader}\n{mail.text}"


def _hurry(text: str) -> Iterator[str]:
    plain = " ".join(text.replace("’", "'").split())
    return (found.group().lower() for found in _URGENT.finditer(plain))


def _tells_of(scenario: Scenario, card: Card) -> bool:
    named = [(line.model_extra or {}).get("journey") for line in (*scenario.expect, *scenario.never)]
    return card.name in named or any(line.touch in card.messages for line in scenario.expect)
