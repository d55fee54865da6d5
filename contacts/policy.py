"""The numbers a business tunes, typed: ``policy.toml``.

A bad file is refused with one line that names the place and the reason; nothing falls back in silence.
"""

import hashlib
import tomllib
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from contacts import events
from contacts.specs import Condition, Purpose

Channel = Literal["email", "sms", "social", "chat", "call", "note", "gift", "mail", "push"]
MarketingPurpose = Literal["promotional", "lifecycle"]
HoldKind = Literal["ticket", "conversation", "handoff", "operator"]
Stage = Literal["visitor", "lead", "interested", "in_talks", "new_customer", "customer", "at_risk", "lapsed", "former"]
Days = Annotated[float, Field(gt=0, le=3650)]


def _known_type(value: str) -> str:
    if value not in events.DATA and not value.startswith("custom."):
        raise ValueError(f"no such event type: {value!r}")
    return value


def _local(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("must be a time of day such as 21:00:00, without an offset")
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
Words = Annotated[str, Field(min_length=1)]
Values = Annotated[tuple[str, ...], Field(min_length=1)]
Flag = Annotated[str, Field(pattern=r"^(known|customer|strong)$")]


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
    """Which purposes need a consent on record, on which channels, and which acts imply one until it is withdrawn."""

    channels: tuple[Channel, ...]
    required: tuple[Purpose, ...]
    implied: dict[EventType, tuple[MarketingPurpose, ...]] = Field(default_factory=dict)
    implied_channels: tuple[Channel, ...] = ("email",)


class QuietHours(_Part):
    """Local hours in which a contact is left alone. ``start`` later than ``end`` spans midnight."""

    channels: Channels
    purposes: Purposes
    start: LocalTime
    end: LocalTime

    @field_validator("end")
    @classmethod
    def _not_all_day(cls, end: time, info: Any) -> time:
        if end == info.data.get("start"):
            raise ValueError("must differ from start, or nothing could ever be sent")
        return end


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


class Strength(_Part):
    """What one kind of event adds to the strength of a relationship: ``points`` each, counted ``most`` times."""

    on: Annotated[str, AfterValidator(_of_no_segment)]
    points: Annotated[float, Field(ge=-100, le=100)]
    most: Annotated[int, Field(gt=0)] = 1


class Lifecycle(_Part):
    """Where stages begin, and what makes a relationship strong."""

    interested_at: float
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


class Policy(_Part):
    """The whole file. ``version`` is a fingerprint of its text, kept with every decision made under it."""

    version: str
    brand: Brand
    defaults: Defaults
    score: Score
    handoff: Handoff
    consent: Consent
    lifecycle: Lifecycle
    silence: tuple[Silence, ...] = ()
    dates: tuple[ImportantDate, ...] = ()
    segments: Annotated[tuple[Segment, ...], Field(alias="segment"), AfterValidator(_named_once)] = ()
    hold_days: dict[HoldKind, Days] = Field(default_factory=dict)
    quiet_hours: tuple[QuietHours, ...] = ()
    caps: tuple[Cap, ...] = ()


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
        return Policy.model_validate(raw | {"version": hashlib.sha256(text.encode()).hexdigest()[:12]})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(" ".join(str(part).split()) for part in first["loc"])
        raise PolicyError(f"{name}: {where}: {first['msg'].removeprefix('Value error, ')}") from None


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
