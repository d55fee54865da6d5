"""What checks look at, and what they say of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from contacts.policy import Policy
from ops.scenario import Scenario
from templates.render import Declared, Rendered, Templates
from workflows.reading import Flow, Send, Step


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

    @cached_property
    def shown(self) -> Sequence[tuple[Declared, Sequence[str]]]:
        """Every version of every template, with what its samples say."""
        return [
            (
                version,
                [_said(self.templates.render(version.name, s, version.channel)) for s in version.samples.values()],
            )
            for version in self.templates.declared()
        ]

    @property
    def steps(self) -> Iterator[tuple[Flow, Step]]:
        """What journeys ask for."""
        return ((flow, step) for flow in self.flows for step in flow.steps)

    @property
    def sends(self) -> Iterator[tuple[Flow, Send]]:
        """What journeys send."""
        return ((flow, step) for flow, step in self.steps if isinstance(step, Send))


@dataclass(frozen=True)
class Place:
    """Where a fault is; see ``Finding``."""

    journey: str
    file: str
    line: int


Faults = Iterator[tuple[Place, str]]
"""Where, and what is wrong there."""


def at(flow: Flow, line: int) -> Place:
    """A line of a journey."""
    return Place(flow.card.name, flow.file, line)


def within(template: Declared, ending: str = "toml", line: int = 1) -> Place:
    """A line of one of a template's files."""
    return Place("templates", f"templates/messages/{template.file}.{ending}", line)


def _said(message: Rendered) -> str:
    return f"{message.subject}\n\n{message.preheader}\n\n{message.text}"
