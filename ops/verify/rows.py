"""What the tables say, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contacts.events import Identity
from contacts.facts import Facts
from contacts.gate import Ask, Pause
from contacts.specs import Happening
from workflows.telling import TellingInput


@dataclass(frozen=True)
class Stored:
    """An event was stored.

    Attributes:
        act: Its number; None from before acts were numbered.
        contact_id: Whose it was then; a merge may have given it to another contact since.
    """

    act: int | None
    contact_id: str
    received_at: datetime
    event: Happening


@dataclass(frozen=True)
class Merged:
    """Two contacts turned out to be one.

    Attributes:
        at: When the event came in that showed it.
    """

    act: int | None
    gone: str
    kept: str
    at: datetime


@dataclass(frozen=True)
class Skipped:
    """A journey that an event did not begin, and it is said why not.

    Attributes:
        at: When the event came in.
        by: Its type.
    """

    journey: str
    at: datetime
    by: str


@dataclass(frozen=True)
class Claimed:
    """The gate let a touch out.

    Attributes:
        ask: As the gate was asked; ``ask.now`` is the run's time.
        takes_slot: Whether the touch counts against the caps: it went out by this claim, or may have.
    """

    act: int | None
    decision_id: int
    touch_id: str
    run_id: str
    ask: Ask
    policy_version: str
    takes_slot: bool


@dataclass(frozen=True)
class Halted:
    """A person called a halt; ``released_act`` is None while nobody has ended it."""

    opened_act: int
    released_act: int | None
    pause: Pause

    def binds(self, act: int) -> bool:
        """Whether the claim of this number had to see it."""
        return self.opened_act < act and (self.released_act is None or act < self.released_act)


@dataclass(frozen=True)
class Sharer:
    """Another contact, who is known by an address that is the contact's too.

    Attributes:
        since: Since when they are known by it; no number orders that with a claim.
        merged_act: The number of the last merge that made somebody one with them; 0 where there was none.
        facts: As they are stored.
        events: All of theirs.
    """

    since: datetime
    merged_act: int
    facts: Facts
    events: Sequence[Stored]


@dataclass(frozen=True)
class RunRow:
    """A run.

    Attributes:
        entered_for: Whose it was when it began; ``contact_id`` is whose it is now.
        entry_act, exit_act: The numbers of its beginning and of its exit.
        entry_event, entry: The event that began it, and its data.
        start_landed: Temporal has been told to start it.
        all_landed: Temporal has been told everything there is to tell of it.
    """

    id: str
    workflow_id: str
    journey: str
    contact_id: str
    entered_for: str
    key: str | None
    entered_at: datetime
    started_at: datetime
    entry_act: int | None
    entry_event: str
    entry: Mapping[str, Any]
    stage: str | None
    next_wake: datetime | None
    exit_event: str | None
    exit_act: int | None
    exited_at: datetime | None
    outcome: str | None
    ended_at: datetime | None
    start_landed: bool
    all_landed: bool


@dataclass(frozen=True)
class TouchRow:
    """A touch. ``claims``: how often the gate let it out."""

    id: str
    key: str
    contact_id: str
    run_id: str
    status: str
    claimed_at: datetime | None
    claims: int


@dataclass(frozen=True)
class Untold:
    """Another system that is to be told of an event, and has not been.

    Attributes:
        dispatched: Temporal was to hear of it, and has.
    """

    telling: TellingInput
    contact_id: str
    dispatched: bool


@dataclass(frozen=True)
class Life:
    """All there is of one contact, and of those who turned out to be the same person, as of one moment.

    Attributes:
        facts: As they are stored.
        runs: The contact's own.
        skips: What the contact's journal says of triggers that began nothing.
        namesakes: Runs of other contacts with a journey and key that one of the contact's events names.
        halts: Those that people called, of whatever, so everybody's.
        sharers: By address, who else is known by it.
    """

    facts: Facts
    merges: Sequence[Merged]
    events: Sequence[Stored]
    claims: Sequence[Claimed]
    runs: Sequence[RunRow]
    touches: Sequence[TouchRow]
    skips: Sequence[Skipped] = ()
    namesakes: Sequence[RunRow] = ()
    halts: Sequence[Halted] = ()
    sharers: Mapping[Identity, Sharer] = field(default_factory=dict)
