"""The pages of ``docs/journeys/``: every journey's card and the picture of its flow, written from its own code.

Nothing in a page depends on when or where it is written, so that a page that differs from its journey is stale.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ops.cards import page
from workflows.reading import Flow

INDEX = "README.md"

_WRITTEN = "<!-- Written by `perennial journeys docs`"


def pages(flows: Sequence[Flow]) -> dict[str, str]:
    """File name to text: the table of all journeys, and a page for each."""
    return {INDEX: _index(flows)} | {f"{flow.card.name}.md": _page(flow) for flow in flows}


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
    card = flow.card
    yield f"entry([{label(*_either(card.trigger))}]) --> {_id(flow.stages[0].name)}"
    yield f"subgraph run [{label(card.name)}]"
    for stage in flow.stages:
        yield f"    {_id(stage.name)}[{label(stage.name, *map(str, stage.steps))}]"
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
    yield f"    exhausted([{label('exhausted', f'after {page(card).max_run_days:g} days')}])"
    yield "end"
    yield "run -.-> anytime"


def _id(stage: str) -> str:
    # Some plain words, such as end, mean something to Mermaid.
    return f"stage_{stage}"


def _either(conditions: Sequence[object]) -> list[str]:
    first, *more = map(str, conditions)
    return [first, *(f"or {condition}" for condition in more)]


def _page(flow: Flow) -> str:
    card = page(flow.card)
    limits = [f"only {fact}" for fact in card.only] + [f"not {fact}" for fact in card.unless]
    rows = {
        "Starts on": _codes(card.trigger),
        "For": _cell(card.audience) + (f" ({_cell(', '.join(limits))})" if limits else ""),
        "Goal": _cell(card.goal),
        "Success": _codes(card.success),
        "Other exits": _codes(card.exits),
        "Messages": _codes(card.messages),
        "Purpose": card.purpose,
        "Owner": _cell(card.owner),
        "One run for each": _codes([card.key]) + (", the newest only" if card.newest_only else "") if card.key else "",
        "Re-entry": card.reentry,
        "May last": f"{card.max_run_days:g} days",
        "Review by": f"{card.review_by:%-d %B %Y}",
        "Listens for": _codes(card.hears),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)
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
"""


def _index(flows: Sequence[Flow]) -> str:
    rows = "\n".join(
        f"| [{card.name}]({card.name}.md) | {_cell(card.goal)} | {_codes(card.trigger)} | {_cell(card.owner)} "
        f"| {_codes(card.success)} | {card.review_by:%-d %b %Y} |"
        for card in (page(flow.card) for flow in flows)
    )
    return f"""{_written("workflows/")}

# Journeys

How to write one is in [the guide](../journeys.md).

| journey | goal | starts on | owner | success | review by |
|---|---|---|---|---|---|
{rows}
"""


def _written(source: str) -> str:
    return f"{_WRITTEN} from {source}: change it there and run that again. -->"


def _codes(texts: Iterable[str]) -> str:
    return "<br>".join(f"`{_cell(text)}`" for text in texts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _left(folder: Path, expected: Mapping[str, str]) -> list[Path]:
    """Pages we once wrote that nobody expects any more; what somebody else put there is not ours."""
    return [p for p in folder.glob("*.md") if p.name not in expected and (_read(p) or "").startswith(_WRITTEN)]
