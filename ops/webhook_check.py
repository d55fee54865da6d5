"""Judges one captured request: would we believe it, and what would we understand? Without any side effect.

Exceptions::

    Failure
      BadCapture   the file is no captured request; the message names the field
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import httpx
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from connectors import configured
from connectors.base import Prepares, Refused, Request, Source
from connectors.cloudevents import CloudEvents
from connectors.configured import Known, Place
from connectors.errors import ConnectorError
from connectors.track import Track
from contacts.events import Event, PartlyUnderstood
from ops.output import Failure

S = TypeVar("S", bound=BaseSettings)


class BadCapture(Failure):
    """The file is no captured request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, status=2)


@dataclass(frozen=True)
class Judgement:
    """What a captured request is worth.

    Attributes:
        valid: Whether the connector believes it.
        reason: Why not; or what in a believed request was not understood; None where all is well.
        events: What it means.
    """

    valid: bool
    reason: str | None
    events: tuple[Event, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The public format."""
        events = [event.model_dump(mode="json", exclude={"source"}) for event in self.events]
        return {"valid": self.valid, "reason": self.reason, "events": events}


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return b64decode(value, validate=True)
    except ValueError:
        raise ValueError("is not base64") from None


def _moment(value: float) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("is not a time a clock can show") from None


class Capture(BaseModel):
    """A captured request as the file holds it; fields we do not know are ignored.

    ``fetched``: what verification would have to fetch, by address, such as the certificate a request names; nothing is
    called.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    connector: str
    method: Annotated[str, Field(min_length=1), AfterValidator(str.upper)] = "POST"
    url: str
    headers: dict[str, str]
    body_base64: Annotated[bytes, BeforeValidator(_decoded)]
    now_unix: Annotated[float, AfterValidator(_moment)]
    credentials: dict[str, Any] = Field(default_factory=dict)
    fetched: dict[str, str] = Field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The moment of verification."""
        return self.now_unix  # type: ignore[return-value]  # the validator made a time of it

    @property
    def request(self) -> Request:
        """The request, as the front door would hand it on."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.method, self.url, headers, self.body_base64)


def only(given: type[S], credentials: Mapping[str, Any]) -> S:
    """A connector's settings from credentials and nothing else: a missing one must not come from this machine."""

    class OnlyGiven(given):  # type: ignore[valid-type, misc]  # the base is known when this runs
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            **others: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings,)

    settings: S = OnlyGiven(**credentials)
    return settings


class _OwnDoors(BaseModel):
    """What of our own settings the doors without a vendor are verified by."""

    write_keys: list[SecretStr] = Field(default_factory=list)
    events_secret: SecretStr | None = Field(None, validation_alias=AliasChoices("events_secret", "signing_secret"))


def _cloudevents(given: Mapping[str, Any], _: httpx.AsyncClient) -> CloudEvents:
    door = _OwnDoors.model_validate(given)
    return CloudEvents(door.events_secret, door.write_keys)


def _known(known: Known) -> Callable[[Mapping[str, Any], httpx.AsyncClient], Source]:
    return lambda given, client: known.make(only(known.settings, given), Place(client=client))


CONNECTORS: Mapping[str, Callable[[Mapping[str, Any], httpx.AsyncClient], Source]] = {
    **{name: _known(configured.CONNECTORS[name]) for name in configured.SOURCES},
    "track": lambda given, _: Track(_OwnDoors.model_validate(given).write_keys),
    "cloudevents": _cloudevents,
}
"""How each connector is made from the credentials of a capture, by name."""


def read(text: bytes) -> Capture:
    """The captured request in a file.

    Raises:
        BadCapture: It is none; the message names the field.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadCapture(f"not JSON{where}") from None
    if not isinstance(document, dict):
        raise BadCapture("must be a JSON object with connector, method, url, headers, body_base64 and now_unix")
    try:
        return Capture.model_validate(document)
    except ValidationError as error:
        raise BadCapture(_first(error)) from None


def judge(capture: Capture) -> Judgement:
    """What the connector makes of the request at the capture's own time.

    Raises:
        BadCapture: There is no such connector, or its credentials are malformed.
    """
    if capture.connector not in CONNECTORS:
        raise BadCapture(f"connector: no connector {capture.connector!r}; there is {', '.join(CONNECTORS)}")
    try:
        source = CONNECTORS[capture.connector](capture.credentials, _only_fetched(capture))
    except ValidationError as error:
        raise BadCapture(f"credentials.{_first(error)}") from None
    except ValueError as error:
        raise BadCapture(f"credentials: {error}") from None
    try:
        if isinstance(source, Prepares):
            asyncio.run(source.prepare(capture.request))
        source.verify(capture.request, capture.now)
    except Refused as refusal:
        return Judgement(False, refusal.reason)
    except ConnectorError as problem:
        return Judgement(False, f"{problem.reason}: give what it would fetch under fetched, by address")
    try:
        events, reason = _understood(source, capture)
    except PartlyUnderstood as partly:
        return Judgement(True, str(partly), tuple(partly.events))
    except ValueError as error:
        return Judgement(True, " ".join(str(error).split()))
    except Exception as error:  # a fault of the parser's: the inbox would keep the request with this error
        return Judgement(True, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Judgement(True, reason, tuple(events))


def _only_fetched(capture: Capture) -> httpx.AsyncClient:
    """A client that calls nobody: it knows what the capture says was fetched."""

    def answer(request: httpx.Request) -> httpx.Response:
        text = capture.fetched.get(str(request.url))
        return httpx.Response(404) if text is None else httpx.Response(200, text=text)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def _understood(source: Source, capture: Capture) -> tuple[Sequence[Event], str | None]:
    if isinstance(source, Track | CloudEvents):
        reading = source.read(capture.request, capture.now)
        return reading.events, "; ".join(f"call {p.index}: {p.reason}" for p in reading.problems) or None
    return source.parse(capture.request, capture.now), None


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason.removeprefix('Input ')}"
