"""What journeys ask and what they get: the shapes of activity arguments and results, and the activities' names.

Workflows import this module and nothing else of ``activities``. New fields need defaults: runs live for months and
old histories are replayed against this code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from contacts.specs import Pattern, Purpose, Rollout

DELIVER = "deliver"
HAND_OFF = "hand_off"
REMIND = "remind"
ACKNOWLEDGE = "acknowledge"
ASK_APPROVAL = "ask_approval"
SETTLE_APPROVAL = "settle_approval"
FACTS = "facts"
NOTE = "note"
FINISH = "finish"
SWEEP = "sweep"
RECORD_EVENT = "record_event"
ROLL_OUT = "roll_out"
STEER = "steer"
TELL = "tell"
GIVE_UP_TELLING = "give_up_telling"
POLL = "poll"


@dataclass(frozen=True)
class RunRef:
    """Which run asks, where it is, and what time it is there."""

    run_id: str
    contact_id: str
    journey: str
    stage: str
    now: datetime


@dataclass(frozen=True)
class Line:
    """Something the run wants remembered: written to the journal with whatever the run asks next.

    Attributes:
        seq: Counts within the run, so that a repeat is written once.
        kind: ``stage``, ``wait`` or ``approval``.
        until: When the run wakes if nothing happens.
    """

    seq: int
    at: datetime
    kind: str
    stage: str
    until: datetime | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeliverRequest:
    """A touch to send now, if the gate allows it.

    Attributes:
        key: Unique name of the touch, the same on every attempt.
        channel: Where it goes out; None for the best of the template's channels as of then.
        valid_until: From here on it is not worth sending; None for the policy's default span from ``asked_at``.
        context: Values for the template besides the contact's facts and the entry event.
    """

    run: RunRef
    key: str
    template: str
    channel: str | None
    purpose: Purpose
    asked_at: datetime
    valid_until: datetime | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """What became of a touch.

    Attributes:
        status: ``sent``, ``unknown`` (perhaps sent), ``dropped``, ``failed``, or ``waiting``: ask again at ``until``
            or when ``hold`` is released.
        reason: The gate's reason code, or the provider's words.
    """

    status: Literal["sent", "unknown", "dropped", "failed", "waiting"]
    reason: str | None = None
    until: datetime | None = None
    hold: str | None = None
    touch_id: str | None = None


@dataclass(frozen=True)
class HandOffRequest:
    """Give the contact to a person.

    Attributes:
        handoff_id: The same on every attempt.
        because_at: When what caused it happened; delays are measured from here.
    """

    run: RunRef
    handoff_id: str
    reason: str
    because_at: datetime
    owner: str | None = None
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class HandOffDone:
    """A person has been told.

    Attributes:
        contact_by: When somebody must have acknowledged.
        reminders: How often to remind before it is left to the review queue.
    """

    owner: str
    contact_by: datetime
    remind_every_seconds: float
    reminders: int


@dataclass(frozen=True)
class AcknowledgeRequest:
    """A person took the hand-off and said so to the run."""

    run: RunRef
    handoff_id: str
    by: str
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class RemindRequest:
    """Nobody acknowledged in time: tell them again, or, after the ``last`` time, leave it to the review queue."""

    run: RunRef
    handoff_id: str
    reminder: int
    last: bool = False
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class ApprovalRequest:
    """Ask a person for a yes.

    Attributes:
        approval_id: The same on every attempt.
        what: What they would allow.
        until: No answer by then is a no.
        owner: Who answers for the journey.
    """

    run: RunRef
    approval_id: str
    what: str
    until: datetime
    owner: str
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class SettleApprovalRequest:
    """The run waits no longer: say which answer counts, and let none count from now on.

    Attributes:
        asked: What it had asked.
        approved: The answer that the run itself was given; None if it was given none.
    """

    run: RunRef
    asked: ApprovalRequest
    approved: bool | None = None
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class ApprovalSettled:
    """What a person said; ``by`` is None if nobody said anything."""

    approved: bool
    by: str | None = None


@dataclass(frozen=True)
class FactsRequest:
    """What is true of the contact now, and whether they have shown a behaviour."""

    run: RunRef
    lines: tuple[Line, ...] = ()
    behaviour: Pattern | None = None


@dataclass(frozen=True)
class ContactNow:
    """The facts a journey may branch on.

    Attributes:
        score: Lead score as of the run's time.
        hot: Whether the score has reached the policy's hand-off threshold.
        flags: ``known``, ``customer``.
        holds: Holds in force, such as ``ticket:4711``.
        topic: The subject to write about: the one they showed interest in last, unless they named others.
        stage, strength: Lifecycle stage and strength of the relationship (0 to 100), see ``contacts.lifecycle``.
        topics: What they want to hear about, else all they looked into, the most visited topic first.
        entered_before: When the contact entered this journey the last time before this run.
        shown: Whether they have shown the behaviour that was asked about.
    """

    score: float
    hot: bool
    flags: tuple[str, ...]
    holds: tuple[str, ...]
    topic: str | None
    entered_before: datetime | None = None
    stage: str = ""
    strength: int = 0
    topics: tuple[str, ...] = ()
    shown: bool = False


@dataclass(frozen=True)
class RecordEventRequest:
    """Record something the run did or learned as an event of the contact.

    Attributes:
        event_id: The same on every attempt.
    """

    run: RunRef
    event_id: str
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class NoteRequest:
    """Write down what has gathered before the run goes to sleep."""

    run: RunRef
    lines: tuple[Line, ...] = ()
    next_wake: datetime | None = None


@dataclass(frozen=True)
class FinishRequest:
    """The run is over."""

    run: RunRef
    outcome: str
    reason: str | None
    review: bool
    story: tuple[Mapping[str, Any], ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class SweepRequest:
    """Look at the next page of contacts and record what time has made due."""

    now: datetime
    after: str | None = None


@dataclass(frozen=True)
class Swept:
    """What a page came to. ``last`` is where the next page goes on; None after the last."""

    last: str | None
    looked_at: int
    recorded: int


@dataclass(frozen=True)
class RollOutRequest:
    """Give the next contacts of a rollout their turn.

    Attributes:
        since: When the rollout began.
        now: When the page was asked for; a turn's own time goes on from there.
        limit: How many events to record at most.
    """

    rollout: Rollout
    since: datetime
    now: datetime
    limit: int
    after: str | None = None


@dataclass(frozen=True)
class RolledOut:
    """What a page of a rollout came to. ``last`` is where the next page goes on, if there is ``more``."""

    last: str | None
    more: bool
    recorded: int
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SteerRequest:
    """Pause, resume or stop the runs that a rollout has begun and that are its own."""

    rollout: Rollout
    order: Literal["pause", "resume", "stop"]
    now: datetime


@dataclass(frozen=True)
class TellRequest:
    """Tell another system of an event: the telling's id (``contacts.tellings``)."""

    telling: int


@dataclass(frozen=True)
class PollRequest:
    """Ask a system what happened: the connector's name."""

    connector: str


@dataclass(frozen=True)
class PollDone:
    """What an asking came to: ``events`` that were new, in ``pages``."""

    pages: int
    events: int
