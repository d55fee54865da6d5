"""The numbers a business tunes, typed: ``policy.toml``.

A bad file is refused with one line that names the place and the reason; nothing falls back in silence.
"""

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from contacts import events
from contacts.specs import Condition, Purpose

Channel = Literal["email", "sms", "social", "chat", "call", "note", "gift", "mail", "push"]
Role = Literal["educate", "urgent", "converse", "high_intent", "recognise"]
"""
What a message is for, which says on which channel it is at home.

``educate``      something to learn or to read
``urgent``       of use now, or before a certain time
``converse``     an invitation to talk
``high_intent``  to somebody who is about to decide
``recognise``    thanks, or the honour of a moment
"""
MarketingPurpose = Literal["promotional", "lifecycle"]
HoldKind = Literal["ticket", "conversation", "handoff", "operator", "pause"]
Frequency = Literal["weekly", "monthly"]
"""What a contact may say of how often, besides ``as_it_comes``."""
Stage = Literal["visitor", "lead", "interested", "in_talks", "new_customer", "customer", "at_risk", "lapsed", "former"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Weekday, ...] = get_args(Weekday)
Days = Annotated[float, Field(gt=0, le=3650)]

_ANSWERS = ("handoff.acknowledged", "approval.answered")
"""What people answer to an alert."""


def _known_type(value: str) -> str:
    if value not in events.DATA and not value.startswith("custom."):
        raise ValueError(f"no such event type: {value!r}")
    return value


def _local(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("must be a time of day such as 21:00:00, without an offset")
    return value


def _each_once(value: tuple[Channel, ...]) -> tuple[Channel, ...]:
    if twice := [channel for n, channel in enumerate(value) if channel in value[:n]]:
        raise ValueError(f"names {twice[0]} twice")
    return value


def _every_role(value: dict[Role, tuple[Channel, ...]]) -> dict[Role, tuple[Channel, ...]]:
    if missing := [role for role in get_args(Role) if role not in value]:
        raise ValueError(f"has no order for {', '.join(missing)}")
    return value


def _of_no_segment(value: str) -> str:
    # Score and strength decide who is in a segment: if joining changed them, one event might never come to an end.
    if value.startswith("segment."):
        raise ValueError("a segment cannot depend on joining or leaving one")
    return value


EventType = Annotated[str, AfterValidator(_known_type)]
LocalTime = Annotated[time, AfterValidator(_local)]
Channels = Annotated[tuple[Channel, ...], Field(min_length=1)]
Purposes = Annotated[tuple[Purpose, ...], Field(min_length=1)]
JourneyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
Words = Annotated[str, Field(min_length=1)]
Link = Annotated[str, Field(pattern=r"^https?://[^\s<>\"]+$")]
Values = Annotated[tuple[str, ...], Field(min_length=1)]
Flag = Annotated[str, Field(pattern=r"^(known|customer|strong)$")]
ChannelOrders = Annotated[dict[Role, Annotated[Channels, AfterValidator(_each_once)]], AfterValidator(_every_role)]


class PolicyError(ValueError):
    """The policy file cannot be used; the message names the file, the place and the reason."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Points(_Part):
    """Lead score points for one kind of behaviour."""

    on: Annotated[EventType, AfterValidator(_of_no_segment)]
    points: Annotated[float, Field(ge=-1000, le=1000)]
    match: dict[str, str | int | bool] = Field(default_factory=dict)

    @property
    def condition(self) -> Condition:
        """The behaviour as a condition."""
        return Condition((self.on,), tuple(sorted(self.match.items())))


class Score(_Part):
    """Lead score: points that halve with age."""

    half_life_days: Days
    handoff_at: Annotated[float, Field(allow_inf_nan=False)]
    behaviour: tuple[Points, ...]


class Handoff(_Part):
    """Handing a contact to a person."""

    owner: str
    tell_within_minutes: Annotated[int, Field(gt=0)]
    contact_within_minutes: Annotated[int, Field(gt=0)]
    reminders: Annotated[int, Field(ge=0, le=10)]
    hold_days: Days


class Consent(_Part):
    """Which purposes need a consent on record, on which channels, and what else than ``consent.granted`` gives one.

    Attributes:
        implied: Acts that imply a consent until it is withdrawn.
        stated: Acts that come with the contact's own word, and the field of their data that holds it:
            ``{"email": ["promotional"]}``.
    """

    channels: tuple[Channel, ...]
    required: tuple[Purpose, ...]
    implied: dict[EventType, tuple[MarketingPurpose, ...]] = Field(default_factory=dict)
    implied_channels: tuple[Channel, ...] = ("email",)
    stated: dict[EventType, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)


class _Hours(_Part):
    """From ``start`` until just before ``end``, on the contact's own clock."""

    channels: Channels
    purposes: Purposes
    start: LocalTime
    end: LocalTime

    def are_for(self, channel: str, purpose: Purpose) -> bool:
        """Whether they say anything of such a touch."""
        return channel in self.channels and purpose in self.purposes


class QuietHours(_Hours):
    """Local hours in which a contact is left alone. ``start`` later than ``end`` spans midnight."""

    def around(self, local: datetime) -> bool:
        """Whether it is quiet at this local time."""
        clock = local.time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    @field_validator("end")
    @classmethod
    def _not_all_day(cls, end: time, info: Any) -> time:
        if end == info.data.get("start"):
            raise ValueError("must differ from start, or nothing could ever be sent")
        return end


class SendWindow(_Hours):
    """Local hours of some days of the week in which touches may go out; outside all that are for them, they wait.

    An ``end`` that is not later than ``start`` is on the next day, so midnight to midnight is the whole day.
    """

    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEK

    def around(self, local: datetime) -> bool:
        """Whether the window is open at this local time."""
        clock, day = local.time(), local.weekday()
        if self.start < self.end:
            return WEEK[day] in self.days and self.start <= clock < self.end
        # Python's weekdays begin with Monday at 0, so the day before Monday is the last of the week.
        return (clock >= self.start and WEEK[day] in self.days) or (clock < self.end and WEEK[day - 1] in self.days)


@dataclass(frozen=True)
class Hours:
    """What the policy says of the hours for one channel and purpose."""

    quiet: tuple[QuietHours, ...] = ()
    windows: tuple[SendWindow, ...] = ()

    def are_quiet(self, local: datetime) -> bool:
        """Whether a contact is left alone at this local time."""
        return any(hours.around(local) for hours in self.quiet)

    def in_window(self, local: datetime) -> bool:
        """Whether this local time is inside a window; always, where there is none."""
        return not self.windows or any(window.around(local) for window in self.windows)

    def are_open(self, local: datetime) -> bool:
        """Whether a touch may go out at this local time."""
        return self.in_window(local) and not self.are_quiet(local)

    @property
    def turns(self) -> frozenset[time]:
        """The times of day at which what they say may change; none, if they say nothing."""
        turns = {turn for hours in (*self.quiet, *self.windows) for turn in (hours.start, hours.end)}
        return frozenset(turns | {time()} if turns else turns)


class Cap(_Part):
    """At most ``max`` touches in any window of ``days`` days (sliding)."""

    channels: Channels
    purposes: Purposes
    max: Annotated[int, Field(gt=0)]
    days: Days

    @property
    def window(self) -> timedelta:
        """The window's length."""
        return timedelta(days=self.days)


class Tier(_Part):
    """How promotion treats a contact who has shown no sign of life for ``after_days``.

    Attributes:
        max, days: At most so many promotional touches in any window of so many days; None: no limit of its own.
        journeys: Only these journeys may promote at all; empty: every one.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    after_days: Days
    max: Annotated[int, Field(gt=0)] | None = None
    days: Days | None = None
    journeys: tuple[JourneyName, ...] = ()

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if (self.max is None) != (self.days is None):
            raise ValueError("max and days belong together")
        if self.max is None and not self.journeys:
            raise ValueError("changes nothing: give it max and days, or journeys")
        return self


class Priority(_Part):
    """Which journey's promotion goes first where there is room for one.

    Attributes:
        journeys: The most important first; those not named come last, all alike.
        hold_hours: How long a slot is kept for a more important touch once that may go out.
    """

    journeys: tuple[JourneyName, ...] = ()
    hold_hours: Annotated[float, Field(gt=0, le=24)] = 1


class Experiment(_Part):
    """A part of the contacts who get nothing from some journeys, so that what these do can be measured.

    Attributes:
        hold_out: Their share; who is among them follows from the contact's id and the experiment's name.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    journeys: Annotated[tuple[JourneyName, ...], Field(min_length=1)]
    hold_out: Annotated[float, Field(gt=0, le=0.5)]


class JourneyBreaker(_Part):
    """A journey's own numbers, where they are not those of every journey; see ``Breaker``."""

    sends: Annotated[int, Field(gt=0)] | None = None
    entries: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.sends is None and self.entries is None:
            raise ValueError("changes nothing: give it sends, entries or both")
        return self


class Pressure(_Part):
    """From where on ``perennial segments pressure`` says that a group gets too much, too little or too much promotion.

    Attributes:
        promotional_share: Of all messages, so much may sell.
        over: So many times as much promotion a member as everybody gets is too much.
        under: So much of what everybody gets a member is too little.
        at_least: Of fewer members, or fewer messages, nothing is said.
    """

    promotional_share: Annotated[float, Field(ge=0, le=1)] = 0.6
    over: Annotated[float, Field(ge=1)] = 2.0
    under: Annotated[float, Field(ge=0, le=1)] = 0.5
    at_least: Annotated[int, Field(ge=1)] = 20


class Breaker(_Part):
    """What is far from usual: then a journey's promotion stops, and a person is asked.

    Attributes:
        window_minutes: The span that is looked at.
        sends, entries: So many promotional touches of one journey, and entries into it, are never too many.
        times_usual: Beyond that, so many times what was usual in such a span over the last four weeks.
        journeys: Journeys with numbers of their own, by name.
    """

    window_minutes: Annotated[float, Field(gt=0, le=1440)]
    sends: Annotated[int, Field(gt=0)]
    entries: Annotated[int, Field(gt=0)]
    times_usual: Annotated[float, Field(ge=1)]
    journeys: dict[JourneyName, JourneyBreaker] = Field(default_factory=dict)

    def sends_of(self, journey: str) -> int:
        """How many promotional touches of this journey are never too many."""
        own = self.journeys.get(journey)
        return own.sends if own is not None and own.sends is not None else self.sends

    def entries_of(self, journey: str) -> int:
        """How many entries into this journey are never too many."""
        own = self.journeys.get(journey)
        return own.entries if own is not None and own.entries is not None else self.entries


Connector = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Provider(_Part):
    """Who carries a channel's messages.

    Attributes:
        primary: A connector, or ``errands``: a colleague who is given a task in the CRM.
        fallback: Who stands in for it in an outage.
        outage: What to do then. ``fall_back``: the other one carries them. ``drop``: a message waits as long as it is
            worth sending. ``wait``: one that the gate let out in time goes out in the end, however long it takes.
        after_minutes: So long nothing but failures is an outage.
    """

    primary: Connector
    fallback: Connector | None = None
    outage: Literal["wait", "fall_back", "drop"] = "drop"
    after_minutes: Annotated[float, Field(ge=0, le=1440)] = 5

    @model_validator(mode="after")
    def _somebody_stands_in(self) -> Self:
        if (self.outage == "fall_back") != (self.fallback is not None):
            raise ValueError("outage = fall_back and fallback belong together")
        if self.fallback == self.primary:
            raise ValueError("fallback must be another one than primary")
        return self


ERRANDS: tuple[Channel, ...] = ("call", "note", "gift", "mail")
"""Channels on which a colleague reaches the contact, unless a system does: nobody reads what we wrote."""


class Systems(_Part):
    """Which connector is the CRM, and which one alerts the people who work here."""

    crm: Connector = "hubspot"
    alert: Connector = "slack"


class Endpoint(_Part):
    """An address of another system that is told what happened, signed as Standard Webhooks are.

    Attributes:
        name: ``webhook/<name>`` in ``[[outgoing]]``. Its secret is the variable ``WEBHOOK_<NAME>_SECRET``.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    url: Annotated[str, Field(pattern=r"^https?://[^\s<>\"@]+$")]


class Outgoing(_Part):
    """What another system is told of.

    Attributes:
        to: A connector (``hubspot``), or ``webhook/<name>`` for an endpoint.
        types: Event types: ``consent.granted``, ``consent.*`` or ``*``.
    """

    to: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)?$")]
    types: Annotated[
        tuple[Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_.]*[a-z0-9_]|[a-z][a-z0-9_.]*\.\*)$")], ...],
        Field(min_length=1),
    ]

    def covers(self, type: str) -> bool:
        """Whether the system is told of events of this type."""
        return any(w in ("*", type) or (w.endswith(".*") and type.startswith(w[:-1])) for w in self.types)


class StatedCap(Cap):
    """What a contact's word on how often means. It comes on top of the caps, and delays nothing transactional."""

    purposes: Annotated[tuple[MarketingPurpose, ...], Field(min_length=1)]


class Strength(_Part):
    """What one kind of event adds to the strength of a relationship: ``points`` each, counted ``most`` times.

    With a ``mood``, only answers of that mood count.
    """

    on: Annotated[EventType, AfterValidator(_of_no_segment)]
    mood: events.Mood | None = None
    points: Annotated[float, Field(ge=-100, le=100)]
    most: Annotated[int, Field(gt=0)] = 1


class Lifecycle(_Part):
    """Where stages begin, and what makes a relationship strong."""

    interested_at: float
    in_talks_days: Days
    new_customer_days: Days
    at_risk_days: Days
    lapsed_days: Days
    strength_half_life_days: Days
    strength: tuple[Strength, ...]


class Silence(_Part):
    """Something that did not happen: ``days`` after one of ``after`` with none of ``none_of``, ``event`` is recorded.

    Attributes:
        from_latest: Each of ``after`` begins the count anew. Otherwise it goes on from the last of ``none_of`` (or the
            first of ``after`` ever), as long as ``after`` has happened since: mail that nobody reads does not reset it.
        at_most: Only while the first of ``after`` happened no more than so often.
        within_days: Only so long after the last of ``after``.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    event: EventType
    after: Annotated[tuple[EventType, ...], Field(min_length=1)]
    none_of: Annotated[tuple[EventType, ...], Field(min_length=1)]
    days: Days
    only: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    from_latest: bool = True
    at_most: int | None = None
    within_days: Days | None = None


class Fall(_Part):
    """Something that goes on, but much less than usual: ``event`` is recorded at the end of a calendar week (UTC).

    Attributes:
        of: What is counted, week by week.
        to_at_most: The share of the usual that is left; 0.5 is half. The usual is the mean of ``usual_weeks`` before.
        usual_at_least: Less than so many a week is too little to fall. A week without any is a silence, not a fall.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    event: EventType
    of: EventType
    to_at_most: Annotated[float, Field(gt=0, lt=1)]
    usual_weeks: Annotated[int, Field(ge=1, le=26)] = 4
    usual_at_least: Annotated[float, Field(gt=0)]
    only: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


class ImportantDate(_Part):
    """A date of the contact that comes near: ``date.approaching`` is recorded so many days before."""

    name: str
    days_before: tuple[Annotated[int, Field(ge=0, le=366)], ...]


class Did(_Part):
    """Something the contact did: ``times`` in all, the last time ``within_days``."""

    on: Annotated[EventType, AfterValidator(_of_no_segment)]
    times: Annotated[int, Field(gt=0)] = 1
    within_days: Days | None = None

    def __str__(self) -> str:
        times = f" {self.times} times" if self.times > 1 else ""
        return self.on + times + (f" in the last {self.within_days:g} days" if self.within_days else "")


class Segment(_Part):
    """A named condition on the facts: a contact is in the segment while every part that is given holds.

    Attributes:
        who: Who they are, in words.
        decides: What is done differently for them; a segment that changes nothing should not be here.
        only, unless: ``known``, ``customer``, ``strong``.
        stages: One of these lifecycle stages.
        spent_at_least: Minor units by currency; one of them is enough.
        topics: One of these was looked into.
        came_with: Fields of the event that first brought the contact here (``type``, ``source``, ``campaign``) and the
            values each may have.
        answered: The contact's own answers, by question, likewise.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    who: Words
    decides: Words
    only: tuple[Flag, ...] = ()
    unless: tuple[Flag, ...] = ()
    stages: tuple[Stage, ...] = ()
    strength_at_least: Annotated[int, Field(ge=1, le=100)] | None = None
    score_at_least: Annotated[float, Field(allow_inf_nan=False)] | None = None
    spent_at_least: dict[Annotated[str, Field(pattern=r"^[A-Z]{3}$")], Annotated[int, Field(gt=0)]] = Field(
        default_factory=dict
    )
    topics: tuple[str, ...] = ()
    did: tuple[Did, ...] = ()
    did_not: tuple[Did, ...] = ()
    came_with: dict[str, Values] = Field(default_factory=dict)
    answered: dict[str, Values] = Field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Changes when the conditions do."""
        return hashlib.sha256(self.model_dump_json(exclude={"who", "decides"}).encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"name", "who", "decides"}:
            raise ValueError("has no condition, so everybody would be in it")
        return self


class Defaults(_Part):
    """What holds where nothing better is known."""

    timezone: str
    valid_for_days: Days

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no such time zone: {value!r}") from None
        return value


class Brand(_Part):
    """Who writes to the contact."""

    name: str
    address: str
    url: str
    reply_to: str


def _named_once(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    names = [segment.name for segment in segments]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"there are two segments {twice[0]!r}")
    return segments


class Referral(_Part):
    """Where a friend is sent, and what both sides get for it."""

    url: Link | None = None
    reward: Words | None = None


class Survey(_Part):
    """The questions we ask.

    Attributes:
        name: As its answers carry it (``survey`` of ``survey.answered``).
        minutes: How long it takes.
        incentive: Completes "in return you get ...".
        incentive_url: Where they get it.
    """

    name: Words
    url: Link
    minutes: Annotated[int, Field(gt=0)] = 2
    incentive: Words | None = None
    incentive_url: Link | None = None


class Links(_Part):
    """The business's own pages that messages lead to. A message does without one that is not set.

    Attributes:
        plan: Where a plan is changed or ended.
        billing: Where a card is changed.
        export: Where their data are taken out.
        cancel_reason: A form that asks why; the answer is added to its address as ``reason=``.
        review: Where reviews are left.
    """

    plan: Link | None = None
    billing: Link | None = None
    export: Link | None = None
    cancel_reason: Link | None = None
    review: Link | None = None
    referral: Referral = Referral()
    survey: Survey | None = None


class Policy(_Part):
    """The whole file.

    Attributes:
        version: A fingerprint of the text, kept with every decision made under it.
        channels: For each role the order in which a message's channels are tried.
        cooldown_days: How long after entering a journey a contact enters it anew, where that is not what its card says.
        providers: By channel, who carries its messages, where it is not who usually does; see ``carriers``.
        polls: Connectors that are asked what happened.
    """

    version: str
    brand: Brand
    links: Links = Links()
    defaults: Defaults
    score: Score
    handoff: Handoff
    consent: Consent
    channels: ChannelOrders
    lifecycle: Lifecycle
    silence: tuple[Silence, ...] = ()
    falls: Annotated[tuple[Fall, ...], Field(alias="fall")] = ()
    dates: tuple[ImportantDate, ...] = ()
    segments: Annotated[tuple[Segment, ...], Field(alias="segment"), AfterValidator(_named_once)] = ()
    hold_days: dict[HoldKind, Days] = Field(default_factory=dict)
    quiet_hours: tuple[QuietHours, ...] = ()
    send_windows: tuple[SendWindow, ...] = ()
    caps: tuple[Cap, ...] = ()
    tiers: Annotated[tuple[Tier, ...], Field(alias="tier")] = ()
    priority: Priority = Priority()
    cooldown_days: dict[JourneyName, Days] = Field(default_factory=dict)
    experiments: Annotated[tuple[Experiment, ...], Field(alias="experiment")] = ()
    echo_days: Days = 2
    breaker: Breaker
    pressure: Pressure = Pressure()
    frequency: dict[Frequency, StatedCap] = Field(default_factory=dict)
    providers: dict[Channel, Provider] = Field(default_factory=dict)
    systems: Systems = Systems()
    endpoints: Annotated[tuple[Endpoint, ...], Field(alias="endpoint")] = ()
    outgoing: tuple[Outgoing, ...] = ()
    polls: tuple[Connector, ...] = ()

    @property
    def carriers(self) -> Mapping[str, Provider]:
        """Who carries the messages of every channel that has somebody; mail and colleagues have, if nothing is said."""
        usual: dict[str, Provider] = {
            "email": Provider(primary="smtp"),
            **dict.fromkeys(ERRANDS, Provider(primary="errands")),
        }
        return usual | dict(self.providers)

    @model_validator(mode="after")
    def _endpoints_are_there(self) -> Self:
        there = {f"webhook/{endpoint.name}" for endpoint in self.endpoints}
        for rule in self.outgoing:
            if rule.to.startswith("webhook/") and rule.to not in there:
                raise ValueError(f"outgoing: there is no endpoint {rule.to.removeprefix('webhook/')!r}")
        return self

    def told(self, type: str, source: str) -> list[str]:
        """Who is told of an event of this type, each once; never whoever it came from, or it would come back.

        But who alerts people is told of their answers there, too: it shows them, and nothing comes back of it.
        """
        shown = source == self.systems.alert and type in _ANSWERS
        return list(dict.fromkeys(r.to for r in self.outgoing if r.covers(type) and (shown or r.to != source)))

    def hours(self, channel: str, purpose: Purpose) -> Hours:
        """What is said of the hours for a touch of this purpose on this channel."""
        return Hours(
            tuple(hours for hours in self.quiet_hours if hours.are_for(channel, purpose)),
            tuple(window for window in self.send_windows if window.are_for(channel, purpose)),
        )


def parse(text: str, name: str = "policy.toml") -> Policy:
    """Reads a policy from TOML text.

    Raises:
        PolicyError: The text is not TOML or does not fit; the message has the place and the reason.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name}: {error}") from None
    if "version" in raw:
        raise PolicyError(f"{name}: version: is made from the text and cannot be set")
    try:
        policy = Policy.model_validate(raw | {"version": hashlib.sha256(text.encode()).hexdigest()[:12]})
    except ValidationError as error:
        first = error.errors()[0]
        raise _refused(text, name, first["loc"], first["msg"].removeprefix("Value error, ")) from None
    for place, reason in _never_open(policy):
        raise _refused(text, name, place, reason)
    return policy


def _refused(text: str, name: str, place: Sequence[str | int], reason: str) -> PolicyError:
    where = ".".join(" ".join(str(part).split()) for part in place)
    return PolicyError(f"{name}: {where}: {reason} (line {line_of(text, place)})")


_ORDINARY_WEEK = tuple(datetime(2001, 1, day) for day in range(1, 8))  # noqa: DTZ001 - on anybody's clock


def _never_open(policy: Policy) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Windows, or where there are none quiet hours, that leave some touches no instant of the week to go out."""
    for part, name in ((policy.send_windows, "send_windows"), (policy.quiet_hours, "quiet_hours")):
        for n, line in enumerate(part):
            for channel, purpose in product(line.channels, line.purposes):
                hours = policy.hours(channel, purpose)
                moments = (datetime.combine(day, turn) for day in _ORDINARY_WEEK for turn in hours.turns)
                if not any(map(hours.are_open, moments)):
                    both = "with the quiet hours, " if name == "send_windows" and hours.quiet else ""
                    yield (name, n), f"{both}no instant of the week is left for {purpose} touches by {channel}"


def line_of(text: str, place: Sequence[str | int]) -> int:
    """The line that comes nearest to a place in a policy's text: of the key, or of the table that lacks it."""
    table: tuple[str | int, ...] = ()
    tables: Counter[str] = Counter()
    nearest, shared = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            name = header.group(2)
            table = tuple(name.split("."))
            if header.group(1) == "[[":
                table += (tables[name],)
                tables[name] += 1
            here = table
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            here = (*table, *key.group(1).split("."))
        else:
            continue
        if here == tuple(place[: len(here)]) and len(here) > shared:
            nearest, shared = number, len(here)
    return nearest


def load(path: Path) -> Policy:
    """Reads the policy file.

    Raises:
        PolicyError: The file is missing, unreadable or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: {error.strerror if isinstance(error, OSError) else 'not UTF-8 text'}") from None
    return parse(text, str(path))
