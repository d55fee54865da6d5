"""The cards of journeys, as operators read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from contacts.specs import Card


@dataclass(frozen=True)
class CardPage:
    """A journey's card with every condition in words. ``hears``: the events a run may wait for."""

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


def page(card: Card) -> CardPage:
    """The card in words."""
    return CardPage(
        name=card.name,
        about=" ".join(card.doc.split()),
        trigger=[str(c) for c in card.trigger],
        audience=card.audience,
        goal=card.goal,
        success=[str(c) for c in card.success],
        exits=[str(c) for c in card.exits],
        messages=card.messages,
        owner=card.owner,
        purpose=card.purpose,
        key=card.key,
        newest_only=card.newest_only,
        reentry=str(card.reentry),
        only=card.only,
        unless=card.unless,
        max_run_days=card.max_run / timedelta(days=1),
        review_by=card.review_by,
        stages=card.stages,
        hears=[str(c) for c in card.hears],
    )
