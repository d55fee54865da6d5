"""The cards of journeys, as operators read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from contacts.specs import Card
from ops import words
from ops.scenario import Scenario


@dataclass(frozen=True)
class CardPage:
    """A journey's card with every condition in words.

    Attributes:
        only, unless: What is asked of a contact, in words.
        hears: The events a run may wait for.
        scenarios: Names of the scenario files that tell of it, as far as they are at hand.
    """

    name: str
    about: str
    trigger: Sequence[str]
    audience: str
    goal: str
    success: Sequence[str]
    exits: Sequence[str]
    messages: Sequence[str]
    owner: str
    purpose: str
    key: str | None
    newest_only: bool
    reentry: str
    only: Sequence[str]
    unless: Sequence[str]
    max_run_days: float
    review_by: date
    stages: Sequence[str]
    hears: Sequence[str]
    scenarios: Sequence[str]


def page(card: Card, scenarios: Mapping[str, Scenario]) -> CardPage:
    """The card in words. ``scenarios``: by the name of their file."""
    return CardPage(
        name=card.name,
        about=" ".join(card.doc.split()),
        trigger=[words.happening(c) for c in card.trigger],
        audience=card.audience,
        goal=card.goal,
        success=[words.happening(c) for c in card.success],
        exits=[words.happening(c) for c in card.exits],
        messages=card.messages,
        owner=card.owner,
        purpose=card.purpose,
        key=card.key,
        newest_only=card.newest_only,
        reentry=str(card.reentry),
        only=[words.flag(flag) for flag in card.only],
        unless=[words.flag(flag) for flag in card.unless],
        max_run_days=card.max_run / timedelta(days=1),
        review_by=card.review_by,
        stages=card.stages,
        hears=[words.happening(c) for c in card.hears],
        scenarios=[name for name, scenario in scenarios.items() if tells_of(scenario, card)],
    )


def tells_of(scenario: Scenario, card: Card) -> bool:
    """Whether a scenario says what the journey must or must not do."""
    named = [(line.model_extra or {}).get("journey") for line in (*scenario.expect, *scenario.never)]
    return card.name in named or any(line.touch in card.messages for line in scenario.expect)
