"""Klaviyo: what it saw of its profiles comes in; events, profiles and consent go out."""

from binascii import hexlify
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import Field, HttpUrl, SecretStr, ValidationError
from pydantic_core import to_json
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Refused, Request, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, PartlyUnderstood, event, identities, minor_digits

BATCH_EVENTS = 1000
"""Events in one webhook request."""

# Of what is sent as a whole; of an event's properties; of every text in one of them, however deep.
_LIMITS = Limits("klaviyo", named={"profile": 100_000, "event": 5_000_000}, unit="bytes")
_PROPERTIES = Limits("klaviyo", fields=400)
_TEXTS = Limits("klaviyo", each=100_000, unit="bytes")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MEDIA_TYPE = "application/vnd.api+json"


class KlaviyoSettings(Credentials):
    """``KLAVIYO_*``. Several signing secrets may stand side by side, with commas: each webhook has its own.

    Attributes:
        revision: The date of the API's version; Klaviyo retires one after two years.
        list_id: The list to which those who say yes are added; its own double opt-in then counts.
    """

    model_config = SettingsConfigDict(env_prefix="KLAVIYO_")

    signing_secret: SecretStr | None = None
    api_key: SecretStr | None = None
    revision: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$")] = "2026-07-15"
    list_id: str | None = None
    base_url: HttpUrl = HttpUrl("https://a.klaviyo.com")
    # 750 profiles a minute; events have more room, but share the bucket.
    calls_per_second: Annotated[float, Field(gt=0)] | None = 12


@checked
class Klaviyo:
    """The ``Source`` of what Klaviyo saw, and a ``Sink`` of what we did."""

    name: ClassVar[str] = "klaviyo"

    def __init__(self, settings: KlaviyoSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``.

        Header and body both say when the request was made, and both are signed. One of them in the window is enough:
        headers have been seen that are off by a time zone, and a body is not known to be made anew for a repeat.
        """
        secrets = secrets_in(self._settings.signing_secret)
        signature = request.headers.get("klaviyo-signature", "")
        sent = request.headers.get("klaviyo-timestamp", "")
        if not signature or not sent:
            raise Refused(401, "the Klaviyo-Signature and Klaviyo-Timestamp headers are needed")
        check_signature(secrets, request.body + sent.encode(errors="replace"), [signature.lower()], hexlify)
        times = [time for time in (_moment(sent), _made_at(request.body)) if time]
        if not times:
            raise Refused(400, "Klaviyo-Timestamp is not a time")
        check_age(min(times, key=lambda time: abs(now - time)), now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. One event we cannot read does not cost the others.

        Raises:
            PartlyUnderstood: Some events do not parse; those that do are in its ``events``.
        """
        with one_line_errors():
            batch = _Batch.model_validate_json(request.body)
        events: list[Event] = []
        faults: list[str] = []
        for position, item in enumerate(batch.data):
            try:
                with one_line_errors():
                    events += _events(item, batch.meta.timestamp or received_at)
            except ValueError as error:
                faults.append(f"data.{position}: {error}")
        if faults:
            raise PartlyUnderstood(f"{faults[0]} ({len(faults)} of {len(batch.data)} events do not parse)", events)
        return events

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``; returns a profile's id, and none for the rest: Klaviyo only says that it took it.

        Klaviyo drops a second event with the same ``unique_id``, which is our id; the other calls converge.
        """
        match told.type:
            case "contact.identified" | "contact.updated":
                return await self._import(told)
            case "consent.granted":
                await self._subscribe(told)
            case "consent.withdrawn" | "message.unsubscribed" | "message.complained":
                await self._unsubscribe(told)
            case "contact.erased":
                # An event would make the profile anew.
                raise NeverAgain(self.name, "a profile is erased in Klaviyo itself, under Privacy")
            case _:
                await self._ask("POST", "/api/events", http.Unread, _event_body(told))
        return None

    async def _import(self, told: Told) -> str:
        attributes = {**_everything(told), **_traits(told.data)}
        if not attributes.keys() & {"email", "phone_number", "external_id"}:
            raise NeverAgain(self.name, "the contact has no e-mail address, phone number or user id to import")
        profile: dict[str, Any] = {"type": "profile", "attributes": attributes}
        if id := told.known_as("klaviyo"):
            profile["id"] = id
        _LIMITS.check({"profile": {"data": profile}})
        return (await self._ask("POST", "/api/profile-import", _Single, {"data": profile})).data.id

    async def _subscribe(self, told: Told) -> None:
        """Tells of a contact's own yes.

        Subscribing lifts an earlier unsubscription, complaint or suppression. So only a ``consent.granted`` leads
        here, and Klaviyo is asked first whether it has heard a no since.
        """
        if told.data.get("purpose", "all") not in ("promotional", "all"):
            return
        for channel, addresses in self._reached(told).items():
            address, field = addresses[-1], _FIELDS[channel]
            filter = f'equals({field},"{_quoted(address)}")'
            query = {"filter": filter, "additional-fields[profile]": "subscriptions", "page[size]": "1"}
            found = await self._ask("GET", "/api/profiles", _Profiles, params=query)
            if any(profile.said_no_after(told.occurred_at, channel) for profile in found.data):
                raise NeverAgain(
                    self.name, f"Klaviyo has heard a no on {channel} since this yes, and the later word counts"
                )
            yes = {channel: {"marketing": {"consent": "SUBSCRIBED"}}}
            await self._job("create", [{field: address, "subscriptions": yes}])

    async def _unsubscribe(self, told: Told) -> None:
        # A no means all of the contact's addresses: each may be a profile of its own.
        if told.data.get("purpose") == "transactional":
            return
        profiles = [
            {_FIELDS[channel]: address, "subscriptions": {channel: {"marketing": {"consent": "UNSUBSCRIBED"}}}}
            for channel, addresses in self._reached(told).items()
            for address in addresses
        ]
        for start in range(0, len(profiles), 100):
            await self._job("delete", profiles[start : start + 100])

    def _reached(self, told: Told) -> dict[str, tuple[str, ...]]:
        """The contact's addresses, oldest first, on each channel this is about and Klaviyo keeps consent for."""
        # Whoever complains of one message wants none.
        said = "all" if told.type == "message.complained" else told.data.get("channel", "email")
        channels = [channel for channel in _FIELDS if said in ("all", channel)]
        reached = {channel: found for channel in channels if (found := _addresses(told, channel))}
        if channels and not reached:
            raise NeverAgain(self.name, f"the contact has no address on {' or '.join(channels)}")
        return reached

    async def _job(self, verb: str, profiles: Iterable[Mapping[str, Any]]) -> None:
        kind = f"profile-subscription-bulk-{verb}-job"
        data = {"profiles": {"data": [{"type": "profile", "attributes": profile} for profile in profiles]}}
        job: dict[str, Any] = {"type": kind, "attributes": data}
        if verb == "create":
            job["attributes"] = {**data, "custom_source": "Perennial"}
            if self._settings.list_id:
                job["relationships"] = {"list": {"data": {"type": "list", "id": self._settings.list_id}}}
        await self._ask("POST", f"/api/{kind}s", http.Unread, {"data": job})

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
    ) -> http.Answer:
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (KLAVIYO_API_KEY)")
        headers = {
            "Authorization": f"Klaviyo-API-Key {self._settings.api_key.get_secret_value().strip()}",
            "revision": self._settings.revision,
            "Accept": _MEDIA_TYPE,
            "Content-Type": _MEDIA_TYPE,
        }
        url = str(self._settings.base_url).rstrip("/") + path
        content = None if body is None else to_json(body)
        request = self._client.build_request(method, url, params=params, content=content, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=True)


def _refusal(response: httpx.Response) -> http.Refusal:
    errors = http.body_of(response).get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    source, id = first.get("source"), first.get("id")
    where = source.get("pointer") or source.get("parameter") if isinstance(source, dict) else None
    return http.Refusal(http.codes(first.get("code"), where), id if isinstance(id, str) else None)


_PROVIDER = http.Provider("klaviyo", busy=frozenset({429, 503}), read=_refusal)

_FIELDS = {"email": "email", "sms": "phone_number"}
"""Channels on which Klaviyo keeps consent, and the field of a profile that has the address."""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _addresses(told: Told, channel: str) -> tuple[str, ...]:
    kind = "email" if channel == "email" else "phone"
    return tuple(i.value for i in told.identities if i.kind == kind)


def _address(told: Told, channel: str) -> str | None:
    return next(reversed(_addresses(told, channel)), None)


def _everything(told: Told) -> dict[str, str]:
    named = {
        "email": _address(told, "email"),
        "phone_number": _address(told, "sms"),
        "external_id": told.known_as("user"),
    }
    return {name: value for name, value in named.items() if value}


def _traits(data: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a profile; what Klaviyo has no field for becomes a property. Nothing is cleared."""
    known = {"first_name": "first_name", "last_name": "last_name", "company": "organization", "locale": "locale"}
    traits: dict[str, Any] = {theirs: data[ours] for ours, theirs in known.items() if data.get(ours)}
    if data.get("timezone"):
        traits["location"] = {"timezone": data["timezone"]}
    own = known.keys() | {"email", "phone", "timezone"}
    properties = {name: value for name, value in data.items() if name not in own and value is not None}
    return {**traits, "properties": properties} if properties else traits


def _event_body(told: Told) -> dict[str, Any]:
    for name, value in told.data.items():
        for text in _texts(value):
            _TEXTS.check({name: text})
    attributes: dict[str, Any] = {
        "metric": {"data": {"type": "metric", "attributes": {"name": told.type}}},
        "profile": {"data": _profile(told)},
        "properties": _PROPERTIES.check(dict(told.data)),
        "time": told.occurred_at.isoformat(),
        "unique_id": told.id,
    }
    value, currency = told.data.get("value"), told.data.get("currency")
    if isinstance(value, int) and isinstance(currency, str):
        attributes |= {"value": value / 10 ** minor_digits(currency), "value_currency": currency}
    return _LIMITS.check({"event": {"data": {"type": "event", "attributes": attributes}}})["event"]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a property, however deep."""
    match value:
        case str():
            yield value
        case Mapping():
            yield from _texts(list(value.values()))
        case list():
            for each in value:
                yield from _texts(each)


def _profile(told: Told) -> dict[str, Any]:
    """One name of the contact: several could contradict each other at Klaviyo, and the event would be lost."""
    if id := told.known_as("klaviyo"):
        return {"type": "profile", "id": id, "attributes": {}}
    names = {**_everything(told), "anonymous_id": told.known_as("anonymous")}
    first = next(((name, value) for name, value in names.items() if value), None)
    if first is None:
        raise NeverAgain(Klaviyo.name, "the contact has no name that Klaviyo could know")
    return {"type": "profile", "attributes": dict([first])}


class _Data(Body):
    id: str


class _Single(Body):
    data: _Data


class _Suppression(Body):
    reason: str = ""
    timestamp: str = ""


class _Marketing(Body):
    consent: str = ""
    consent_timestamp: str | None = None
    last_updated: str | None = None
    suppression: list[_Suppression] = Field(default_factory=list)


class _Channel(Body):
    marketing: _Marketing | None = None


class _Subscriptions(Body):
    email: _Channel | None = None
    sms: _Channel | None = None


class _Attributes(Body):
    subscriptions: _Subscriptions | None = None


class _Profile(Body):
    attributes: _Attributes = _Attributes()

    def said_no_after(self, moment: datetime, channel: str) -> bool:
        """Whether this profile unsubscribed, complained or was suppressed after a moment, or nobody knows when."""
        subscriptions = self.attributes.subscriptions or _Subscriptions()
        kept = subscriptions.email if channel == "email" else subscriptions.sms
        marketing = (kept and kept.marketing) or _Marketing()
        noes = [each.timestamp for each in marketing.suppression if each.reason in _NOES]
        if marketing.consent == "UNSUBSCRIBED":
            noes.append(marketing.consent_timestamp or marketing.last_updated or "")
        return any(at is None or at > moment for at in map(_moment, noes))


_NOES = ("UNSUBSCRIBE", "SPAM_COMPLAINT", "USER_SUPPRESSED")


class _Profiles(Body):
    data: list[_Profile]


def _moment(text: str) -> datetime | None:
    """A time as a header has it: an HTTP date, ISO 8601 or seconds; None for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= 11:
        return _EPOCH + timedelta(seconds=int(text))
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        if moment.tzinfo is not None:
            return moment
    return None


def _made_at(body: bytes) -> datetime | None:
    try:
        return _Stamp.model_validate_json(body).meta.timestamp
    except ValidationError:
        return None


class _Meta(Body):
    timestamp: Moment | None = None


class _Stamp(Body):
    meta: _Meta = _Meta()


class _Batch(_Stamp):
    data: Annotated[list[Any], Field(max_length=BATCH_EVENTS)]


class _Topic(Body):
    topic: str


class _What(Body):
    datetime: Moment | None = None
    timestamp: Moment | None = None
    event_properties: dict[str, Any] = Field(default_factory=dict)


class _Related(Body):
    data: _Data | None = None


class _Relationships(Body):
    profile: _Related = _Related()


class _Happened(Body):
    attributes: _What = _What()
    relationships: _Relationships = _Relationships()


class _Whose(Body):
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None


class _Included(Body):
    type: str
    id: str | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class _Payload(Body):
    data: _Happened = _Happened()
    included: list[_Included] = Field(default_factory=list)


class _Item(Body):
    external_id: Annotated[str, Field(min_length=1, max_length=255)]
    payload: _Payload = _Payload()

    def who(self) -> list[tuple[str, object]]:
        whose = next((each for each in self.payload.included if each.type == "profile"), None)
        named = _Whose.model_validate(whose.attributes) if whose else _Whose()
        related = self.payload.data.relationships.profile.data
        said = self.payload.data.attributes.event_properties
        return [
            ("user", named.external_id),
            ("klaviyo", whose.id if whose else related and related.id),
            ("email", named.email),
            ("phone", named.phone_number),
            *(("email", said.get(name)) for name in ("email_address", "Recipient Email Address", "$email")),
        ]


def _events(raw: object, made_at: datetime) -> list[Event]:
    known = _TOPICS.get(_Topic.model_validate(raw).topic.removeprefix("event:klaviyo."))
    if known is None:
        return []
    item = _Item.model_validate(raw)
    what = item.payload.data.attributes
    type, fixed = known
    return [
        event(
            type,
            source=Klaviyo.name,
            source_id=item.external_id,
            occurred_at=what.datetime or what.timestamp or made_at,
            identities=identities(*item.who()),
            data={**_details(type, what.event_properties), **fixed},
        )
    ]


def _details(type: str, said: Mapping[str, Any]) -> dict[str, Any]:
    if not type.startswith("message."):
        return {}
    details: dict[str, Any] = {
        "message_id": _text(said.get("$message")),
        "campaign": _text(said.get("Campaign Name")),
        "url": _text(said.get("URL")),
    }
    if type == "message.opened" and said.get("machine_open") is not None:
        details["machine"] = str(said.get("machine_open")).lower() == "true"
    if type == "message.bounced":
        kind = str(said.get("Bounce Type") or said.get("bounce_type") or "").lower()
        details |= {"permanent": kind.startswith("hard"), "address": _text(said.get("Recipient Email Address"))}
    return {name: value for name, value in details.items() if value is not None}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


_NO = {"purpose": "all"}

_TOPICS: dict[str, tuple[str, dict[str, Any]]] = {
    "subscribed_to_email_marketing": ("consent.granted", {"channel": "email", "purpose": "promotional"}),
    "subscribed_to_sms_marketing": ("consent.granted", {"channel": "sms", "purpose": "promotional"}),
    "unsubscribed_from_email_marketing": ("consent.withdrawn", {"channel": "email", **_NO}),
    "unsubscribed_from_sms_marketing": ("consent.withdrawn", {"channel": "sms", **_NO}),
    "manually_suppressed_from_email_marketing": ("consent.withdrawn", {"channel": "email", **_NO}),
    "marked_email_as_spam": ("message.complained", {"channel": "email"}),
    "bounced_email": ("message.bounced", {"channel": "email"}),
    "received_email": ("message.delivered", {"channel": "email"}),
    "opened_email": ("message.opened", {"channel": "email"}),
    "clicked_email": ("message.clicked", {"channel": "email"}),
    "clicked_sms": ("message.clicked", {"channel": "sms"}),
    "failed_to_deliver_sms": ("message.bounced", {"channel": "sms", "permanent": False}),
}
"""Klaviyo's topics, without ``event:klaviyo.``: our type and what the topic itself says."""
