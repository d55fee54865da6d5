"""Scenario files: what a person writes to say how a journey must go, read into values.

Exceptions::

    ValueError
      BadScenario   the file cannot be used; the message names the file, the place and the reason
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from pydantic_core import to_jsonable_python

from contacts.events import Event, InvalidEvent, event, identities, identity
from contacts.policy import Channel
from contacts.specs import Purpose

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([wdhms])")
_LONGEST = timedelta(days=36525)
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


class BadScenario(ValueError):
    """The file cannot be used."""


def offset(text: object) -> timedelta:
    """``90d``, ``3h30m``, ``2d3h`` as a span; a bare number is days.

    >>> offset("2d3h")
    datetime.timedelta(days=2, seconds=10800)
    """
    if isinstance(text, timedelta):
        return text
    written = str(text).strip().replace(" ", "")
    if _NUMBER.fullmatch(written):
        written += "d"
    if not written or _PART.sub("", written):
        raise ValueError("must be an offset such as 90d or 3h30m")
    seconds = sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(written))
    if seconds > _LONGEST.total_seconds():
        raise ValueError("must be at most 100 years")
    return timedelta(seconds=seconds)


Offset = Annotated[timedelta, BeforeValidator(offset)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _reachable(kind: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if identity(kind, value) is None:
            raise ValueError(f"no such {kind}: {value!r}")
        return value

    return check


class ContactLine(BaseModel):
    """Who the contact is at the start. Other fields than these are profile fields (``first_name``)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str | None = None
    email: Annotated[str, AfterValidator(_reachable("email"))] | None = None
    phone: Annotated[str, AfterValidator(_reachable("phone"))] | None = None
    timezone: str | None = None
    consent: dict[Channel, list[Purpose]] = Field(default_factory=dict)

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"no such time zone: {value!r}") from None
        return value


ANSWERS = {"approve": True, "refuse": False}
"""What a person may say to a journey that asks for approval; written among the events, with the ``journey``."""


class EventLine(BaseModel):
    """An event, or one of ``ANSWERS``. Other fields than these are its data."""

    model_config = ConfigDict(frozen=True, extra="allow")

    at: Offset
    type: str
    id: str | None = None
    occurred: Offset | None = None
    contact: str | None = None
    identities: dict[str, str] | None = None

    @field_validator("id", "contact", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return None if value is None else str(value)


class Expectation(BaseModel):
    """Fields a line of the timeline must have; ``day`` without a fraction means any time of that day."""

    model_config = ConfigDict(frozen=True, extra="allow")

    day: float | None = None
    kind: str | None = None
    touch: str | None = None


class Never(BaseModel):
    """Fields no line of the timeline may have, at all or ``after`` an offset (or up to ``before`` one)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    day: float | None = None
    after: Offset | None = None
    before: Offset | None = None
    kind: str | None = None
    touch: str | None = None


class Scenario(_Part):
    """A whole file."""

    name: str
    start: AwareDatetime
    contact: ContactLine | None = None
    contacts: tuple[ContactLine, ...] = ()
    events: tuple[EventLine, ...]
    until: Offset
    expect: tuple[Expectation, ...] = ()
    never: tuple[Never, ...] = ()

    @property
    def people(self) -> Mapping[str, ContactLine]:
        """Every contact by the name that events and the timeline use."""
        everybody = [*([self.contact] if self.contact else []), *self.contacts]
        return {c.id or c.email or f"contact-{n}": c for n, c in enumerate(everybody, 1)}


@dataclass(frozen=True)
class Line:
    """One line of a timeline: when, who, what, and what the kind needs."""

    at: datetime
    day: float
    contact: str
    kind: str
    journey: str | None
    data: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The public format."""
        journey = {"journey": self.journey} if self.journey else {}
        head = {"at": self.at.isoformat(), "day": self.day, "contact": self.contact, "kind": self.kind}
        return head | journey | {k: v for k, v in self.data.items() if k not in head}


def read(path: Path) -> Scenario:
    """Reads and checks a scenario file.

    Raises:
        BadScenario: It is missing or wrong.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadScenario(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise BadScenario(f"{path}: not YAML: nested too deeply") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadScenario(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadScenario(f"{path}: must be a mapping with name, start, contact, events and until")
    try:
        # YAML reads a time without an offset as naive; scenarios mean UTC.
        if isinstance(start := raw.get("start"), datetime) and start.tzinfo is None:
            raw["start"] = start.replace(tzinfo=UTC)
        scenario = Scenario.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadScenario(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    problem = _contradiction(scenario)
    if problem:
        raise BadScenario(f"{path}: {problem}")
    where = "contact"
    try:
        history(scenario)
        for n, line in enumerate(scenario.events):
            where = f"events.{n}"
            if line.type in ANSWERS:
                if answer_of(scenario, n) is None:
                    raise BadScenario(f"{path}: {where}: {line.type} what? name the journey that asks")
            elif not event_of(scenario, n).identities:
                raise BadScenario(f"{path}: {where}: none of the identities is one")
    except InvalidEvent as error:
        raise BadScenario(f"{path}: {where}: {error}") from None
    except OverflowError:
        raise BadScenario(f"{path}: start: is too far from today") from None
    return scenario


def _contradiction(scenario: Scenario) -> str | None:
    people = scenario.people
    if not people:
        return "contact: is missing"
    if len(people) < len(scenario.contacts) + (scenario.contact is not None):
        return "contacts: two have the same id"
    if len(people) > 1:
        for n, line in enumerate(scenario.events):
            if line.contact is None and line.identities is None:
                return f"events.{n}: which contact? there are several ({', '.join(people)})"
    for n, line in enumerate(scenario.events):
        if line.contact is not None and line.contact not in people:
            return f"events.{n}: no contact {line.contact!r}; there is {', '.join(people)}"
    return None


def _identities(name: str, person: ContactLine) -> tuple[Any, ...]:
    # The scenario's own name is an identity too, so that a contact without an address can be spoken of.
    return identities(("user", f"scenario:{name}"), ("email", person.email), ("phone", person.phone))


def history(scenario: Scenario) -> Sequence[Event]:
    """What is known of the contacts before the scenario starts: their profile and consents."""
    before = scenario.start - timedelta(minutes=1)
    found: list[Event] = []
    for name, person in scenario.people.items():
        whose = _identities(name, person)
        traits = person.model_dump(exclude={"id", "consent"}, exclude_none=True)
        told = event(
            "contact.updated",
            source="scenario",
            source_id=f"{name}/profile",
            occurred_at=before,
            identities=whose,
            data=traits,
        )
        found.append(told)
        for channel, purposes in person.consent.items():
            found += [
                event(
                    "consent.granted",
                    source="scenario",
                    source_id=f"{name}/consent/{channel}/{purpose}",
                    occurred_at=before,
                    identities=whose,
                    data={"channel": channel, "purpose": purpose, "evidence": "scenario"},
                )
                for purpose in purposes
            ]
    return found


@dataclass(frozen=True)
class Answer:
    """What a person says to a contact's run of a journey that waits for approval."""

    contact: str
    journey: str
    approved: bool


def answer_of(scenario: Scenario, n: int) -> Answer | None:
    """The n-th line if it is an answer; None if it is an event."""
    line = scenario.events[n]
    journey = (line.model_extra or {}).get("journey")
    if line.type not in ANSWERS or not isinstance(journey, str):
        return None
    return Answer(line.contact or next(iter(scenario.people)), journey, ANSWERS[line.type])


def event_of(scenario: Scenario, n: int) -> Event:
    """The n-th event of the scenario.

    Raises:
        InvalidEvent: Its data does not fit its type.
    """
    line = scenario.events[n]
    if line.identities is not None:
        whose = identities(*line.identities.items())
    else:
        name = line.contact or next(iter(scenario.people))
        whose = _identities(name, scenario.people[name])
    return event(
        line.type,
        source="scenario",
        source_id=line.id or f"event-{n}",
        occurred_at=scenario.start + (line.at if line.occurred is None else line.occurred),
        identities=whose,
        # YAML reads what looks like a date as one; a sender can only write it out.
        data=to_jsonable_python(line.model_extra or {}),
    )


def judge(scenario: Scenario, lines: Sequence[Line]) -> list[str]:
    """What did not come out as the file says, as lines of a diff; empty when all did."""
    misses: list[str] = []
    free = list(lines)
    for wanted in scenario.expect:
        given = wanted.model_dump(exclude_none=True)
        match = next((line for line in free if _fits(line, given)), None)
        if match is None:
            misses.append(f"- {_words(given)}")
            near = [ln for ln in lines if wanted.touch is not None and ln.data.get("touch") == wanted.touch]
            misses += [f"+   {_seen(line)}" for line in near[:5]]
        else:
            free.remove(match)
    for banned in scenario.never:
        given = banned.model_dump(exclude_none=True, exclude={"after", "before"})
        after = scenario.start + banned.after if banned.after is not None else None
        before = scenario.start + banned.before if banned.before is not None else None
        misses += [
            f"+ {_seen(line)}   (never: {_words(banned.model_dump(exclude_none=True))})"
            for line in lines
            if (after is None or line.at > after) and (before is None or line.at < before) and _fits(line, given)
        ]
    return misses


def _fits(line: Line, wanted: Mapping[str, Any]) -> bool:
    shown = line.as_json()
    if "touch" in wanted and "kind" not in wanted and line.kind != "touch":
        return False
    for name, value in wanted.items():
        if name == "day":
            if value == int(value):
                if math.floor(line.day) != value:
                    return False
            elif abs(line.day - value) > 0.05:
                return False
        elif shown.get(name) != value:
            return False
    return True


def _words(wanted: Mapping[str, Any]) -> str:
    def word(value: Any) -> str:
        if isinstance(value, timedelta):
            return f"{value / timedelta(days=1):g}d"
        return f"{value:g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{k}: {word(v)}" for k, v in wanted.items())


def _seen(line: Line) -> str:
    keys = ("touch", "channel", "reason", "stage", "outcome", "type")
    detail = ", ".join(f"{k}: {line.data[k]}" for k in keys if line.data.get(k))
    return f"day: {line.day:g}, kind: {line.kind}, {detail}"
