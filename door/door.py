"""What the front door is made of. ``gateway.compose`` makes one for a process, a test makes its own."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from connectors.base import CardPages, Source
from connectors.cloudevents import CloudEvents
from connectors.mailbox import Letters
from connectors.track import Track
from contacts.inbox import Inbox
from contacts.intake import Intake
from ops.monitor.watch import Monitor
from settings import Settings


@dataclass(frozen=True)
class Door:
    """Everything the routes need.

    Attributes:
        sources: By the name in ``/webhooks/{connector}``.
        chores: What goes on besides until cancelled, by name: the relay to Temporal, and whoever reads what is left.
        monitor: Looks for what is overdue; None for a door that leaves this to others.
        card_pages: Where customers change their card; None where there is no such system.
        temporal: Asks whether Temporal answers; None where nobody knows.
        letters: The development mailbox, if there is one.
        temporal_ui: Where Temporal's pages are, for the development index.
        refused: How many requests were refused since the start, by source and status.
    """

    settings: Settings
    intake: Intake
    track: Track
    cloudevents: CloudEvents
    sources: Mapping[str, Source] = field(default_factory=dict)
    chores: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    monitor: Monitor | None = None
    card_pages: CardPages | None = None
    temporal: Callable[[], Awaitable[bool]] | None = None
    letters: Letters | None = None
    temporal_ui: str | None = None
    refused: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def inbox(self) -> Inbox:
        """Where verified requests go."""
        return Inbox(self.intake)
