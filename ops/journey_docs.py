"""The pages of ``docs/journeys/``: every journey's card and the picture of its flow, written from its own code.

Nothing in a page depends on when or where it is written, so that a page that differs from its journey is stale.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ops import words
from ops.cards import CardPage, page
from ops.scenario import Scenario
from templates.render import Declared
from workflows.reading import Flow, Send

INDEX = "README.md"

SUBJECTS: Mapping[str, Sequence[str]] = {
    "Welcome by entry point": ["welcome"],
    "Nurture that builds trust": ["nurture"],
    "A fast first answer to a lead": ["lead-answer", "webinar-follow-up", "quiz-result"],
    "Abandoned checkouts and return visits": ["abandoned-checkout", "browse-follow-up"],
    "Booked calls, no-shows and missed calls": ["consultation", "missed-call"],
    "Onboarding along milestones": ["onboarding"],
    "Education after a purchase": ["post-purchase-education"],
    "Adoption of what is not used yet": ["adoption", "adoption-tip"],
    "Renewals": ["renewal"],
    "Expansion of healthy accounts": ["expansion"],
    "Referrals": ["referral"],
    "Reviews": ["review-request"],
    "Winning back": ["win-back"],
    "Re-engagement, then a goodbye": ["reengagement"],
    "Failed payments and expiring cards": ["dunning", "card-expiring", "payment-recovered"],
    "Cancellations by choice": ["cancel-save"],
    "Customers at risk": ["at-risk-care", "support-follow-up"],
    "Moments worth recognising": ["contract-signed", "value-realized", "milestone", "help-received"],
    "Notes, gifts, letters and calls": ["anniversary", "contract-signed", "value-realized", "value-check"],
    "Surveys and preferences": ["survey", "survey-thanks", "preferences"],
    "Dates made relevant": ["date-relevant"],
    "Thanks for visits and loyalty": ["loyalty-thanks"],
    "High-value customers": ["high-value-invitation", "high-value"],
    "One message to a segment": ["broadcast"],
}
"""What a business asks journeys for, and those that do it."""

_WRITTEN = "<!-- Written by `perennial journeys docs`"


def pages(flows: Sequence[Flow], templates: Sequence[Declared], scenarios: Mapping[str, Scenario]) -> dict[str, str]:
    """File name to text: the tables of all journeys, and a page for each."""
    cards = {flow.card.name: page(flow.card, scenarios) for flow in flows}
    written = {f"{flow.card.name}.md": _page(flow, cards[flow.card.name], templates, scenarios) for flow in flows}
    return {INDEX: _index(cards)} | written


def stale(folder: Path, expected: Mapping[str, str]) -> list[Path]:
    """Pages of a folder that are missing, differ from what is expected, or tell of a journey that is no more."""
    return sorted(
        [folder / name for name, text in expected.items() if _read(folder / name) != text] + _left(folder, expected)
    )


def write(folder: Path, expected: Mapping[str, str]) -> list[Path]:
    """Writes the pages that are stale and removes those of journeys that are no more. Returns what it touched."""
    touched = stale(folder, expected)
    folder.mkdir(parents=True, exist_ok=True)
    for path in touched:
        if path.name in expected:
            path.write_text(expected[path.name], encoding="utf-8")
        else:
            path.unlink()
    return touched


def label(*lines: str) -> str:
    """A quoted Mermaid label of so many lines, whatever is in them."""
    return '"' + "<br>".join(_escaped(" ".join(line.split())) for line in lines) + '"'


def _escaped(text: str) -> str:
    return re.sub(r"[^\w\s.,:=?!_/+\-'()]", lambda found: f"#{ord(found[0])};", text)


def diagram(flow: Flow) -> str:
    """The flow as a Mermaid flowchart: its stages, how a run comes in, and every way out."""
    return "\n".join(["flowchart TD", *(f"    {line}" for line in _diagram(flow))])


def _diagram(flow: Flow) -> Iterator[str]:
    card = page(flow.card, {})
    yield f"entry([{label(*_either(card.trigger))}]) --> {_id(flow.stages[0].name)}"
    yield f"subgraph run [{label(card.name)}]"
    for stage in flow.stages:
        steps = dict.fromkeys(map(words.step, stage.steps))
        yield f"    {_id(stage.name)}[{label(_stage(stage.name), *steps)}]"
    for stage in flow.stages:
        for following in stage.next:
            yield f"    {_id(stage.name)} --> {_id(following)}"
    yield "end"
    for stage in flow.stages:
        if stage.may_end:
            yield f"{_id(stage.name)} --> completed([{label('completed')}])"
    # One line to all of these: three would be drawn over each other.
    yield f"subgraph anytime [{label('at any time')}]"
    yield f"    converted([{label('converted', *_either(card.success))}])"
    yield f"    exited([{label('exited', *_either(card.exits))}])"
    yield f"    exhausted([{label('exhausted', f'after {card.max_run_days:g} days')}])"
    yield "end"
    yield "run -.-> anytime"


def _id(stage: str) -> str:
    # Some plain words, such as end, mean something to Mermaid.
    return f"stage_{stage}"


def _stage(name: str) -> str:
    return name.replace("_", " ")


def _either(conditions: Sequence[str]) -> list[str]:
    first, *more = conditions
    return [first, *(f"or {condition}" for condition in more)]


def _page(flow: Flow, card: CardPage, templates: Sequence[Declared], scenarios: Mapping[str, Scenario]) -> str:
    limits = [f"only {flag}" for flag in card.only] + [f"not {flag}" for flag in card.unless]
    rows = {
        "Starts on": _lines(card.trigger),
        "For": _cell(card.audience) + (f" ({_cell(', '.join(limits))})" if limits else ""),
        "Goal": _cell(card.goal),
        "Success": _lines(card.success),
        "Other exits": _lines(card.exits),
        "Purpose": card.purpose,
        "Owner": _cell(card.owner),
        "One run for each": f"`{_cell(card.key)}`{', the newest only' if card.newest_only else ''}" if card.key else "",
        "Re-entry": card.reentry,
        "May last": f"{card.max_run_days:g} days",
        "Review by": f"{card.review_by:%-d %B %Y}",
        "Listens for": _lines(card.hears),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)
    messages = "\n".join(_messages(flow, templates))
    told = "\n".join(f"- [{scenarios[name].name}](../../tests/scenarios/{name}.yaml)" for name in card.scenarios)
    return f"""{_written(flow.file)}

# {card.name}

{card.about}

| | |
|---|---|
{table}

```mermaid
{diagram(flow)}
```

The dotted line leads out of every stage, wherever it waits. An exhausted run waits for a person to look at it.

## Messages

| message | channel | purpose |
|---|---|---|
{messages}

## Scenarios

{told}
"""


def _messages(flow: Flow, templates: Sequence[Declared]) -> Iterator[str]:
    for send in dict.fromkeys((s.template, s.channel, s.purpose) for s in flow.steps if isinstance(s, Send)):
        template, channel, purpose = send
        written = words.either(dict.fromkeys(t.channel for t in templates if t.name == template))
        yield (
            f"| [{template}](../../templates/messages/{template}.j2) | {channel or written} "
            f"| {purpose or 'decided at the time'} |"
        )


def _index(cards: Mapping[str, CardPage]) -> str:
    rows = "\n".join(
        f"| {_link(card.name)} | {_lines(card.trigger)} | {_cell(card.goal)} | {_lines(card.success)} "
        f"| {_cell(card.owner)} | {card.review_by:%-d %b %Y} |"
        for card in cards.values()
    )
    named = {subject: [name for name in names if name in cards] for subject, names in SUBJECTS.items()}
    subjects = "\n".join(f"| {subject} | {', '.join(map(_link, names))} |" for subject, names in named.items() if names)
    return f"""{_written("workflows/")}

# Journeys

How to write one is in [the guide](../journeys.md).

| what for | journeys |
|---|---|
{subjects}

## All of them

| journey | starts on | goal | success | owner | review by |
|---|---|---|---|---|---|
{rows}
"""


def _link(journey: str) -> str:
    return f"[{journey}]({journey}.md)"


def _written(source: str) -> str:
    return f"{_WRITTEN} from {source}: change it there and run that again. -->"


def _lines(texts: Iterable[str]) -> str:
    return "<br>".join(map(_cell, texts))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _left(folder: Path, expected: Mapping[str, str]) -> list[Path]:
    """Pages we once wrote that nobody expects any more; what somebody else put there is not ours."""
    return [p for p in folder.glob("*.md") if p.name not in expected and (_read(p) or "").startswith(_WRITTEN)]
