"""Customer.io: its reporting webhooks come in; people and what they did go out."""

from base64 import b64encode
from binascii import hexlify
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import BeforeValidator, Field, HttpUrl, Json, SecretStr
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Refused, Request, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, event, identities

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Customer.io answers 200 before it looks: what is beyond these is dropped, and nobody hears of it.
_ATTRIBUTES = Limits("customerio", each=1_000, name=150, fields=300, unit="bytes")
_EVENT = Limits("customerio", named={"data": 100_000}, unit="bytes")


class CustomerIoSettings(Credentials):
    """``CUSTOMERIO_*``. Several signing secrets may stand side by side, with commas: each webhook has its own.

    ``site_id`` and ``api_key`` are those of the Track API; accounts in the EU set ``base_url`` to
    ``https://track-eu.customer.io``.
    """

    model_config = SettingsConfigDict(env_prefix="CUSTOMERIO_")

    signing_secret: SecretStr | None = None
    site_id: str | None = None
    api_key: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://track.customer.io")
    calls_per_second: Annotated[float, Field(gt=0)] | None = 100


@checked
class CustomerIo:
    """The ``Source`` of what became of Customer.io's messages, and a ``Sink``."""

    name: ClassVar[str] = "customerio"

    def __init__(self, settings: CustomerIoSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``."""
        secrets = secrets_in(self._settings.signing_secret)
        signature = request.headers.get("x-cio-signature", "")
        sent = request.headers.get("x-cio-timestamp", "")
        if not signature:
            raise Refused(401, "there is no X-CIO-Signature header")
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 11):
            raise Refused(400, "X-CIO-Timestamp is not a number of seconds")
        check_signature(secrets, f"v0:{sent}:".encode() + request.body, [signature.lower()], hexlify)
        check_age(_EPOCH + timedelta(seconds=int(sent)), now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is Customer.io's event id, which its retries repeat."""
        with one_line_errors():
            kind = _Kind.model_validate_json(request.body)
            if kind.metric == "cio_subscription_preferences_changed":
                return _Report.model_validate_json(request.body).chose()
            if kind.object_type == "customer" and kind.metric in _SWITCH:
                return [_Report.model_validate_json(request.body).say(*_SWITCH[kind.metric])]
            if kind.object_type in _CHANNELS and kind.metric in _BECAME:
                return _Report.model_validate_json(request.body).became(_BECAME[kind.metric])
            return []

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``. Customer.io drops a second event with the same id, and says no id of its own.

        A no is told as the attribute ``unsubscribed``, which stops every channel. A yes is told as an event only:
        attributes have no order, so that an old yes could lift a newer no.
        """
        path = f"/api/v1/customers/{quote(_name_of(told), safe='')}"
        match told.type:
            case "contact.identified" | "contact.updated":
                await self._ask("PUT", path, _attributes(told))
            case "consent.withdrawn" | "message.unsubscribed" | "message.complained":
                if told.data.get("purpose") != "transactional":
                    await self._ask("PUT", path, {"unsubscribed": True})
            case "contact.erased":
                await self._ask("DELETE", path)
            case _:
                happened = {
                    "name": told.type,
                    **_EVENT.check({"data": dict(told.data)}),
                    "timestamp": int(told.occurred_at.timestamp()),
                    "id": ulid(told.id, told.occurred_at),
                }
                await self._ask("POST", f"{path}/events", happened)
        return None

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        if not self._settings.site_id or not self._settings.api_key:
            raise NeverAgain(self.name, "no site id or API key is set (CUSTOMERIO_SITE_ID, CUSTOMERIO_API_KEY)")
        pair = f"{self._settings.site_id}:{self._settings.api_key.get_secret_value().strip()}"
        headers = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        url = str(self._settings.base_url).rstrip("/") + path
        request = self._client.build_request(method, url, json=body, headers=headers)
        await http.call(self._client, _PROVIDER, request, http.Unread, idempotent=True)


def ulid(id: str, at: datetime) -> str:
    """An id of ours as a ULID, which is the only kind Customer.io drops repeats by: the same id makes the same one.

    >>> ulid("0b5a-11", datetime(2026, 3, 2, 9, 0, tzinfo=UTC))
    '01KJPWD6M0PWCQ2VCX2Y2XEC3A'
    """
    milliseconds = max(0, int(at.timestamp() * 1000)) % 2**48
    number = milliseconds << 80 | int.from_bytes(sha256(id.encode()).digest()[:10], "big")
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> shift & 31] for shift in range(125, -1, -5))


# What it says besides the status is prose, which quotes what was sent.
_PROVIDER = http.Provider("customerio", busy=frozenset({429, 503}), read=lambda _: http.Refusal())


def _name_of(told: Told) -> str:
    cio_id = told.known_as("customerio")
    name = told.known_as("user") or (f"cio_{cio_id}" if cio_id else None) or told.known_as("email")
    if name is None:
        raise NeverAgain(CustomerIo.name, "the contact has no user id, Customer.io id or e-mail address")
    return name


def _attributes(told: Told) -> dict[str, Any]:
    known = {"email": told.known_as("email"), "phone": told.known_as("phone"), **told.data}
    return _ATTRIBUTES.check({name: value for name, value in known.items() if value is not None})


_CHANNELS = ("email", "sms", "push")

_BECAME = {
    "delivered": "message.delivered",
    "opened": "message.opened",
    "clicked": "message.clicked",
    "bounced": "message.bounced",
    "spammed": "message.complained",
    "unsubscribed": "message.unsubscribed",
}
_SWITCH: dict[str, tuple[str, dict[str, Any]]] = {
    # There is one switch for all that Customer.io sends.
    "unsubscribed": ("consent.withdrawn", {"channel": "all", "purpose": "all"}),
    # Whoever lifts it has not said that they want text messages.
    "subscribed": ("consent.granted", {"channel": "email", "purpose": "promotional"}),
}


class _Kind(Body):
    object_type: str = ""
    metric: str


class _Identifiers(Body):
    id: str | None = None
    email: str | None = None
    cio_id: str | None = None


class _Choices(Body):
    topics: dict[str, bool] = Field(default_factory=dict)
    channels: dict[str, bool] = Field(default_factory=dict)


class _Data(Body):
    customer_id: str | None = None
    identifiers: Annotated[_Identifiers, BeforeValidator(lambda value: value or {})] = _Identifiers()
    email_address: str | None = None
    recipient: str | None = None
    delivery_id: str | None = None
    campaign_id: str | None = None
    href: str | None = None
    content: Json[_Choices] | None = None


class _Report(Body):
    event_id: Annotated[str, Field(min_length=1, max_length=240)]
    object_type: str = ""
    timestamp: Moment
    data: _Data = _Data()

    def say(self, type: str, data: Mapping[str, Any], suffix: str = "") -> Event:
        named = self.data.identifiers
        reached = "phone" if self.object_type == "sms" else "email"
        return event(
            type,
            source=CustomerIo.name,
            source_id=self.event_id + suffix,
            occurred_at=self.timestamp,
            identities=identities(
                ("user", named.id or self.data.customer_id),
                ("customerio", named.cio_id),
                ("email", named.email),
                ("email", self.data.email_address),
                (reached, self.data.recipient),
            ),
            data={name: value for name, value in data.items() if value is not None},
        )

    def became(self, type: str) -> list[Event]:
        """What became of a message."""
        data: dict[str, Any] = {
            "channel": self.object_type,
            "message_id": self.data.delivery_id,
            "campaign": self.data.campaign_id,
            "url": self.data.href,
        }
        if type in ("message.bounced", "message.complained"):
            data["address"] = self.data.recipient
        if type == "message.bounced":
            # The webhook tells no soft bounce from a hard one; Customer.io writes to no bounced e-mail address again.
            data["permanent"] = self.object_type == "email"
        return [self.say(type, data)]

    def chose(self) -> list[Event]:
        """What somebody chose on the preferences page: channels by name, and topics, of which we know none."""
        choices = self.data.content or _Choices()
        events = [
            self.say(
                "consent.granted" if wanted else "consent.withdrawn",
                {"channel": channel, "purpose": "promotional" if wanted else "all"},
                suffix=f":{channel}",
            )
            for channel, wanted in choices.channels.items()
            if channel in _CHANNELS
        ]
        if choices.topics and not any(choices.topics.values()) and "email" not in choices.channels:
            events.append(self.say("consent.withdrawn", {"channel": "email", "purpose": "all"}, suffix=":topics"))
        return events
