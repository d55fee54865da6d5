"""CloudEvents 1.0 over HTTP, from systems of our own: structured, batched and binary, signed by Standard Webhooks."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connectors import standard_webhooks
from connectors.base import Refused, Request
from connectors.batch import Problem, Reading, load_json
from connectors.webhook import Moment, one_line_errors
from contacts.events import DATA, IDENTITY_KINDS, Event, Identity, InvalidEvent, event, identity

BATCH_EVENTS = 1000
"""Events in one batch."""

AHEAD = timedelta(minutes=5)
"""How far a sender's clock may be ahead of ours before we take our own word for it."""

_ATTRIBUTE = re.compile("ce-[a-z0-9]+")
"""The header of an attribute."""


class Envelope(BaseModel):
    """A CloudEvent, as far as we use one. ``time`` needs an offset; extensions are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=255)
    source: str = Field(min_length=1, max_length=88)
    type: str = Field(min_length=1)
    time: Moment | None = None
    subject: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class CloudEvents:
    """The ``Source`` of events from systems that speak CloudEvents.

    The signature is over the body. In binary mode the attributes are headers, which it does not cover: whoever can
    change a request on its way can change those. Senders that cannot rely on TLS use the structured mode.
    """

    name: ClassVar[str] = "cloudevents"

    def __init__(self, secret: SecretStr | None, bearer_keys: Sequence[SecretStr] = ()) -> None:
        """Takes the keys of Standard Webhooks (``whsec_...``), and keys that do as a Bearer token in development.

        Raises:
            ValueError: The secret is not base64.
        """
        self._keys = standard_webhooks.keys_in(secret)
        self._bearer_keys = [key.get_secret_value().encode() for key in bearer_keys]

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. A single event that is malformed is refused; in a batch it costs only itself."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode(errors="replace")
        bearer = scheme.lower() == "bearer" and any(compare_digest(key, given) for key in self._bearer_keys)
        if not bearer:
            standard_webhooks.verify(self._keys, request, now)
        for found in _envelopes(request):
            if isinstance(found, Problem) and _mode(request) != "batched":
                raise Refused(400, found.reason)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``; ``read`` tells more."""
        return self.read(request, received_at).understood()

    def read(self, request: Request, received_at: datetime) -> Reading:
        """Every event, and what could not be understood.

        A CloudEvent of a kind that is not ours, and that cannot become an event as it is, means nothing here: a sender
        may well tell us everything it tells others.

        Raises:
            Refused: The request is not one that ``verify`` lets pass.
        """
        events: list[Event] = []
        problems: list[Problem] = []
        for index, found in enumerate(_envelopes(request)):
            if isinstance(found, Problem):
                problems.append(found)
                continue
            try:
                events.append(_event(found, received_at))
            except InvalidEvent as error:
                if _is_ours(found.type):
                    problems.append(Problem(index, str(error)))
        return Reading(tuple(events), tuple(problems))


def _mode(request: Request) -> Literal["structured", "batched", "binary"]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/cloudevents+json":
        return "structured"
    if media_type == "application/cloudevents-batch+json":
        return "batched"
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if "ce-specversion" in request.headers and (is_json or not request.body):
        return "binary"
    raise Refused(415, "not a CloudEvent with JSON in it: see the Content-Type and ce-* headers")


def _envelopes(request: Request) -> Iterator[Envelope | Problem]:
    match _mode(request):
        case "binary":
            # No attribute has another name: data in a header would take the place of those that are signed.
            attributes: dict[str, Any] = {
                name.removeprefix("ce-"): unquote(value).replace("\0", "\ufffd")
                for name, value in request.headers.items()
                if _ATTRIBUTE.fullmatch(name)
            }
            data = load_json(request.body) if request.body else {}
            yield _envelope({**attributes, "data": data}, 0)
        case "structured":
            yield _envelope(load_json(request.body), 0)
        case "batched":
            items = load_json(request.body)
            if not isinstance(items, list) or len(items) > BATCH_EVENTS:
                raise Refused(400, f"a batch must be a list of at most {BATCH_EVENTS} events")
            yield from (_envelope(item, index) for index, item in enumerate(items))


def _envelope(fields: Any, index: int) -> Envelope | Problem:
    try:
        if not isinstance(fields, dict):
            return Problem(index, "an event must be an object")
        with one_line_errors():
            return Envelope.model_validate({**fields, "data": _data(fields)})
    except InvalidEvent as error:
        return Problem(index, str(error))


def _is_ours(type: object) -> bool:
    return isinstance(type, str) and (type in DATA or type.startswith("custom."))


def _data(fields: Mapping[str, Any]) -> Any:
    """The data of a CloudEvent. That of another's kind may have any form, and then says nothing to us."""
    ours = _is_ours(fields.get("type"))
    try:
        data = _decoded(fields["data_base64"]) if "data_base64" in fields else fields.get("data")
    except InvalidEvent:
        if ours:
            raise
        data = None
    return {} if data is None or not (ours or isinstance(data, dict)) else data


def _decoded(value: Any) -> Any:
    try:
        return load_json(b64decode(value, validate=True))
    except (TypeError, ValueError, Refused):
        raise InvalidEvent("data_base64", "must be JSON in base64") from None


def _event(envelope: Envelope, received_at: datetime) -> Event:
    data = dict(envelope.data)
    return event(
        envelope.type,
        source=f"cloudevents:{envelope.source}",
        source_id=envelope.id,
        occurred_at=min(envelope.time or received_at, received_at + AHEAD),
        identities=_identities(data.pop("identities", None), envelope.subject),
        data=data,
    )


def _identities(given: Any, subject: str | None) -> tuple[Identity, ...]:
    if given is not None and not isinstance(given, dict):
        raise InvalidEvent("data.identities", 'must be an object such as {"email": "alice@example.com"}')
    found: list[Identity] = []
    for kind, value in (given or {}).items():
        if kind not in IDENTITY_KINDS:
            raise InvalidEvent("data.identities", f"knows no kind {kind[:40]!r}")
        if value is None:
            continue
        one = identity(kind, value) if isinstance(value, str | int) and not isinstance(value, bool) else None
        if one is None:
            raise InvalidEvent(f"data.identities.{kind}", "has no usable value")
        found.append(one)
    # A subject of another form is about something else than a contact, and that is allowed.
    if named := re.fullmatch(r"([a-z]+):(.+)", subject or ""):
        kind, value = named.groups()
        if kind in IDENTITY_KINDS and (one := identity(kind, value)):
            found.append(one)
    if not found:
        raise InvalidEvent("data.identities", "names nobody; so does the subject")
    return tuple(dict.fromkeys(found))
