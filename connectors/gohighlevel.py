"""GoHighLevel: contacts, replies, deals, appointments and invoices come in; contacts, tasks, notes and noes go out."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import quote

import httpx
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import AliasChoices, Field, HttpUrl, SecretStr, ValidationError, field_validator
from pydantic_core import from_json
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Person, Polled, Refused, Request, Task, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import checked
from connectors.limits import LINE, TEXT, Limits
from connectors.webhook import Body, Moment, check_age, one_line_errors
from contacts.events import Event, Identity, event, identities, minor_digits

PAGE = 100
"""Contacts in one page of a poll."""

OVERLAP = timedelta(minutes=5)
"""How far a poll looks back behind the newest change it has seen: a search index lags behind what it indexes."""

STAGE_TAG = "perennial stage "
"""What a tag that says a contact's stage begins with."""

_LIMITS = Limits("gohighlevel", each=LINE, named={"body": TEXT})
_OWN_FIELDS = Limits("gohighlevel", each=TEXT)
"""GoHighLevel's API file gives no lengths for what we send."""


class GoHighLevelSettings(Credentials):
    """``GOHIGHLEVEL_*``.

    Attributes:
        public_keys: GoHighLevel's keys, Ed25519 and RSA, as PEM or as its base64, with commas between.
        location_id: The sub-account. GoHighLevel signs for all its customers with one key: this says which is ours.
        version: Of the API, by date.
        stage_field: The id of a custom field that says the stage; without it, a tag does.
        custom_fields: The id of the custom field that holds a property of ours, by the property's name.
    """

    model_config = SettingsConfigDict(env_prefix="GOHIGHLEVEL_")

    public_keys: str | None = None
    location_id: str | None = None
    access_token: SecretStr | None = None
    version: str = "2021-07-28"
    stage_field: str | None = None
    custom_fields: Mapping[str, str] = Field(default_factory=dict)
    base_url: HttpUrl = HttpUrl("https://services.leadconnectorhq.com")
    calls_per_second: Annotated[float, Field(gt=0)] | None = 10

    @field_validator("public_keys")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        _Keys.read(text or "")
        return text


class _Keys:
    """GoHighLevel's public keys."""

    def __init__(self, ed25519: Sequence[Ed25519PublicKey], rsa: Sequence[RSAPublicKey]) -> None:
        self.ed25519 = ed25519
        self.rsa = rsa

    @classmethod
    def read(cls, text: str) -> Self:
        """The keys in a setting.

        Raises:
            ValueError: One is no public key, of another kind, or too short to prove anything.
        """
        ed25519: list[Ed25519PublicKey] = []
        rsa: list[RSAPublicKey] = []
        for part in filter(None, map(_der_of, text.split(","))):
            try:
                key = load_der_public_key(b64decode(part, validate=True))
            except (ValueError, UnsupportedAlgorithm):
                raise ValueError("must be public keys (PEM, or its base64) with commas between") from None
            if isinstance(key, Ed25519PublicKey):
                ed25519.append(key)
            elif isinstance(key, RSAPublicKey) and key.key_size >= 2048:
                rsa.append(key)
            else:
                raise ValueError("must be Ed25519 keys, or RSA keys of 2048 bits or more")
        return cls(ed25519, rsa)


def _der_of(pem: str) -> str:
    # Line ends survive an environment variable in several ways.
    return re.sub(r"-----[A-Z ]+-----|\\n|\s", "", pem)


@checked
class GoHighLevel:
    """The ``Source`` and ``Poller`` of what changed in GoHighLevel, its ``Crm``, and a ``Sink`` of noes."""

    name: ClassVar[str] = "gohighlevel"
    every: ClassVar[timedelta] = timedelta(minutes=5)
    # After ten minutes, six times. What fails in another way is lost, but for contacts, which are asked for.
    again_on: ClassVar[int] = 429

    def __init__(self, settings: GoHighLevelSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._keys = _Keys.read(settings.public_keys or "")
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``.

        A request that brings the newer signature is held to it, whatever the older one says. The body must be about
        our location. Its ``timestamp`` must be in the window, where it has one; one without is no danger when it is
        sent again, because its source id is made of the body.
        """
        signature = request.headers.get("x-ghl-signature", "")
        older = request.headers.get("x-wh-signature", "")
        if signature:
            self._check(signature, "X-GHL-Signature", [key.verify for key in self._keys.ed25519], request.body)
        elif older:
            self._check(older, "X-WH-Signature", [_rsa_verifier(key) for key in self._keys.rsa], request.body)
        else:
            raise Refused(401, "there is no X-GHL-Signature header")
        self._check_envelope(request.body, now)

    def _check(self, signature: str, header: str, keys: Sequence[Callable[[bytes, bytes], None]], body: bytes) -> None:
        if not keys:
            raise Refused(401, f"no public key for {header} is set, so nothing can be verified")
        try:
            raw = b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(401, "the signature does not match") from None
        for verify in keys:
            try:
                verify(raw, body)
            except InvalidSignature:
                continue
            return
        raise Refused(401, "the signature does not match")

    def _check_envelope(self, body: bytes, now: datetime) -> None:
        if not self._settings.location_id:
            raise Refused(401, "no location is set (GOHIGHLEVEL_LOCATION_ID), and a signature does not say whose it is")
        try:
            envelope = _Envelope.model_validate_json(body)
        except ValidationError:
            raise Refused(400, "the body is no GoHighLevel event, or its timestamp is no ISO 8601 time") from None
        if envelope.location != self._settings.location_id:
            raise Refused(401, "the body is about another location than ours")
        if envelope.timestamp:
            check_age(envelope.timestamp, now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        with one_line_errors():
            envelope = _Envelope.model_validate_json(request.body)
            read = _READERS.get(envelope.kind)
            if read is None:
                return []
            id = envelope.webhookId or f"{envelope.kind}:{sha256(request.body).hexdigest()}"
            return read(from_json(request.body), id, envelope.timestamp or received_at)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``: contacts that changed, since GoHighLevel sends few failed webhooks again.

        A contact that was created meanwhile makes the very event that its webhook would have made.
        """
        if cursor is None:
            return Polled((), _Cursor(since=now, newest=now).model_dump_json())
        at = _Cursor.model_validate_json(cursor)
        wanted: dict[str, Any] = {
            "locationId": self._location(),
            "pageLimit": PAGE,
            "filters": [{"field": "dateUpdated", "operator": "range", "value": {"gte": _iso(at.since)}}],
            "sort": [{"field": "dateUpdated", "direction": "asc"}],
            **({"searchAfter": at.after} if at.after else {}),
        }
        page = (await self._ask("POST", "/contacts/search", _Page, wanted)).contacts
        changed = [contact for contact in map(_found, page) if contact]
        newest = max([at.newest, *(contact.dateUpdated for contact in changed if contact.dateUpdated)])
        after = _search_after(page[-1]) if len(page) >= PAGE else None
        since = at.since if after else max(at.since, newest if len(page) >= PAGE else newest - OVERLAP)
        return Polled(
            tuple(event for contact in changed for event in contact.changed_since(at.since)),
            _Cursor(since=since, newest=newest, after=after).model_dump_json(),
            more=len(page) >= PAGE,
        )

    async def upsert(self, person: Person) -> str:
        """See ``Crm.upsert``. Whether address or phone finds the contact is a setting of the location."""
        fields = {
            "email": person.email,
            "firstName": person.first_name,
            "lastName": person.last_name,
            "phone": person.phone,
            "companyName": person.company,
        }
        own = [self._custom_field(name, value) for name, value in person.properties.items()]
        return await self._upsert({name: value for name, value in fields.items() if value is not None}, own)

    def _custom_field(self, name: str, value: str) -> dict[str, str]:
        # GoHighLevel wants its own id of a field; a name alone is not enough.
        id = self._settings.custom_fields.get(name)
        if id is None:
            raise NeverAgain(self.name, f"no custom field is set for {name} (GOHIGHLEVEL_CUSTOM_FIELDS)")
        _OWN_FIELDS.check({name: value})
        return {"id": id, "field_value": value}

    async def _upsert(self, fields: Mapping[str, Any], own: Sequence[Mapping[str, str]] = ()) -> str:
        body = {"locationId": self._location(), **_LIMITS.check(fields), **({"customFields": own} if own else {})}
        return (await self._ask("POST", "/contacts/upsert", _OneContact, body)).contact.id

    async def task(self, crm_id: str, task: Task) -> str:
        """See ``Crm.task``; ``_once`` says how a key makes one task. An owner is a user's id, or a name to read."""
        user = task.owner if task.owner and re.fullmatch(r"[A-Za-z0-9]{20}", task.owner) else None
        body = task.body if user or not task.owner else f"{task.body}\n\nFor {task.owner}"
        new = {"title": task.title, "dueDate": _iso(task.due), "completed": False}
        return await self._once("task", crm_id, task.key, body, {**new, **({"assignedTo": user} if user else {})})

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """See ``Crm.note``; ``_once`` says how a key makes one note. A note has no time of its own, so its text has."""
        return await self._once("note", crm_id, key, f"{body}\n\n{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC", {})

    async def _once(self, kind: str, crm_id: str, key: str, text: str, new: Mapping[str, Any]) -> str:
        """Creates a task or note on a contact unless the contact has one with this key; returns its id.

        GoHighLevel takes no idempotency key, so the key is written at the foot of the text, and the contact's own
        tasks or notes are read before. Two creates at the very same moment can still make two.
        """
        mark = f"[perennial {key}]"
        new = _LIMITS.check({**new, "body": f"{text}\n\n{mark}"})
        path = f"/contacts/{quote(crm_id, safe='')}/{kind}s"
        for thing in (await self._ask("GET", path, _Things)).things:
            if mark in (thing.body or ""):
                return thing.id
        return (await self._ask("POST", path, _Made, new, idempotent=False)).thing.id

    async def stage(self, crm_id: str, stage: str) -> None:
        """See ``Crm.stage``: in the custom field that the settings name, else as a tag in place of the last one."""
        path = f"/contacts/{quote(crm_id, safe='')}"
        if self._settings.stage_field:
            field = {"id": self._settings.stage_field, "field_value": stage}
            await self._ask("PUT", path, http.Unread, {"customFields": [field]})
            return
        tag = STAGE_TAG + stage
        said = [each for each in (await self._ask("GET", path, _OneContact)).contact.tags if each.startswith(STAGE_TAG)]
        if tag not in said:
            await self._ask("POST", f"{path}/tags", http.Unread, {"tags": [tag]})
        if old := [each for each in said if each != tag]:
            await self._ask("DELETE", f"{path}/tags", http.Unread, {"tags": old})

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``: contacts, consent as Do Not Disturb, segments as tags. Returns the contact's id."""
        match told.type:
            case "contact.identified" | "contact.updated":
                return await self._upsert({**_names(told), **_traits(told.data)})
            case "consent.withdrawn" | "message.unsubscribed" | "message.complained":
                return await self._refuse(told)
            case "consent.granted":
                return await self._allow(told)
            case "segment.joined" | "segment.left":
                segment = str(told.data["segment"])
                _LIMITS.check({"segment": segment})
                id = told.known_as(self.name) or await self._upsert(_names(told))
                verb = "POST" if told.type == "segment.joined" else "DELETE"
                tags = {"tags": [segment]}
                await self._ask(verb, f"/contacts/{quote(id, safe='')}/tags", http.Unread, tags)
                return id
        raise NeverAgain(self.name, f"{told.type} is nothing that GoHighLevel can be told")

    async def _refuse(self, told: Told) -> str | None:
        channels = _dnd_channels(told)
        contact = await self._known(told) if channels and told.data.get("purpose") != "transactional" else None
        if contact is None:
            return None
        no = {"status": "active", "code": "perennial", "message": _iso(told.occurred_at)}
        kept = contact.dnd_settings()
        changed = {name: no for name in channels if kept.get(name, {}).get("status") not in ("active", "permanent")}
        return await self._set_dnd(contact, kept, changed)

    async def _allow(self, told: Told) -> str | None:
        """Lifts what an earlier no of ours set, and nothing that a colleague, a carrier or the contact set there."""
        if told.data.get("purpose", "all") not in ("promotional", "all"):
            return None
        contact = await self._known(told)
        if contact is None:
            return None
        kept = contact.dnd_settings()
        ours = {name for name, set in kept.items() if set.get("code") == "perennial" and set.get("status") == "active"}
        older = {name for name in ours if str(kept[name].get("message", "9")) < _iso(told.occurred_at)}
        return await self._set_dnd(
            contact, kept, {name: {"status": "inactive"} for name in _dnd_channels(told) if name in older}
        )

    async def _set_dnd(self, contact: "_Contact", kept: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
        if changed:
            # All of them go back: it is not said that the others would stay.
            body = {"dndSettings": {**kept, **changed}}
            await self._ask("PUT", f"/contacts/{quote(contact.id, safe='')}", http.Unread, body)
        return contact.id

    async def _known(self, told: Told) -> "_Contact | None":
        """The contact there, if there is one; a no must not make one."""
        if id := told.known_as(self.name):
            try:
                return (await self._ask("GET", f"/contacts/{quote(id, safe='')}", _OneContact)).contact
            except http.Rejected as error:
                if error.status != 404:
                    raise
        names = {"email": told.known_as("email"), "number": told.known_as("phone")}
        query = {name: value for name, value in names.items() if value}
        if not query:
            return None
        query["locationId"] = self._location()
        found = (await self._ask("GET", "/contacts/search/duplicate", _MaybeContact, params=query)).contact
        if found is None:
            return None
        return (await self._ask("GET", f"/contacts/{quote(found.id, safe='')}", _OneContact)).contact

    def _location(self) -> str:
        if not self._settings.location_id:
            raise NeverAgain(self.name, "no location is set (GOHIGHLEVEL_LOCATION_ID)")
        return self._settings.location_id

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        idempotent: bool = True,
    ) -> http.Answer:
        if not self._settings.access_token:
            raise NeverAgain(self.name, "no access token is set (GOHIGHLEVEL_ACCESS_TOKEN)")
        headers = {
            "Authorization": f"Bearer {self._settings.access_token.get_secret_value().strip()}",
            "Version": self._settings.version,
        }
        url = str(self._settings.base_url).rstrip("/") + path
        request = self._client.build_request(method, url, params=params, json=body, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=idempotent)


def _rsa_verifier(key: RSAPublicKey) -> Callable[[bytes, bytes], None]:
    return lambda signature, body: key.verify(signature, body, PKCS1v15(), SHA256())


def _refusal(response: httpx.Response) -> http.Refusal:
    body = http.body_of(response)
    trace = body.get("traceId")
    # The burst is over within ten seconds; the day's allowance is not.
    spent = response.headers.get("x-ratelimit-daily-remaining") == "0"
    return http.Refusal(
        http.codes(body.get("error")),
        trace if isinstance(trace, str) else None,
        timedelta(hours=1) if spent else timedelta(seconds=10),
    )


_PROVIDER = http.Provider("gohighlevel", busy=frozenset({429, 503}), read=_refusal)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _names(told: Told) -> dict[str, str]:
    named = {"email": told.known_as("email"), "phone": told.known_as("phone")}
    names = {name: value for name, value in named.items() if value}
    if not names:
        raise NeverAgain(GoHighLevel.name, "the contact has no e-mail address and no phone number")
    return names


def _traits(data: Mapping[str, Any]) -> dict[str, Any]:
    theirs = {"first_name": "firstName", "last_name": "lastName", "company": "companyName", "timezone": "timezone"}
    return {theirs[name]: value for name, value in data.items() if name in theirs and value}


_CHANNELS = {"Email": "email", "SMS": "sms", "Call": "call", "WhatsApp": "social", "FB": "social", "GMB": "social"}
"""Channels as GoHighLevel's Do Not Disturb names them, and ours."""


def _dnd_channels(told: Told) -> tuple[str, ...]:
    said = "all" if told.type == "message.complained" else told.data.get("channel", "email")
    return tuple(theirs for theirs, ours in _CHANNELS.items() if said in ("all", ours))


class _Envelope(Body):
    type: str | None = None
    webhookId: Annotated[str, Field(min_length=1, max_length=240)] | None = None
    timestamp: Moment | None = None
    locationId: str | None = None
    altId: str | None = None
    altType: str | None = None
    invoiceNumber: str | None = None
    status: Any = None

    @property
    def location(self) -> str | None:
        return self.locationId or (self.altId if self.altType == "location" else None)

    @property
    def kind(self) -> str:
        """An invoice's body is the invoice itself; not all of them say a type."""
        return self.type or ("InvoicePaid" if self.invoiceNumber and self.status == "paid" else "")


def _say(
    type: str, id: str, at: datetime, who: tuple[Identity, ...], data: Mapping[str, Any], suffix: str = ""
) -> Event:
    known = {name: value for name, value in data.items() if value is not None}
    return event(type, source=GoHighLevel.name, source_id=id + suffix, occurred_at=at, identities=who, data=known)


class _Contact(Body):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    email: str | None = None
    phone: str | None = None
    firstName: str | None = None
    lastName: str | None = None
    companyName: str | None = None
    timezone: str | None = None
    source: str | None = None
    tags: list[str] = Field(default_factory=list)
    dnd: bool | None = None
    dndSettings: dict[str, dict[str, Any] | None] | None = None
    dateAdded: Moment | None = None
    dateUpdated: Moment | None = None

    def who(self) -> tuple[Identity, ...]:
        return identities(("gohighlevel", self.id), ("email", self.email), ("phone", self.phone))

    def traits(self) -> dict[str, Any]:
        return {
            "email": self.email,
            "phone": self.phone,
            "first_name": self.firstName,
            "last_name": self.lastName,
            "company": self.companyName,
            "timezone": self.timezone,
            "lead_source": self.source,
            "tags": self.tags or None,
        }

    def dnd_settings(self) -> dict[str, dict[str, Any]]:
        return {name: set for name, set in (self.dndSettings or {}).items() if set}

    def created(self) -> list[Event]:
        """A contact is created once: its id names the event, for webhook and poll alike."""
        at = self.dateAdded
        return [_say("contact.identified", f"created:{self.id}", at, self.who(), self.traits())] if at else []

    def noes(self, id: str, at: datetime) -> list[Event]:
        """What the contact does not want. A channel that is not shut is no yes: it may never have been asked for."""
        if self.dndSettings:
            shut = [n for n, set in self.dnd_settings().items() if set.get("status") in ("active", "permanent")]
            channels = list(dict.fromkeys(_CHANNELS[name] for name in shut if name in _CHANNELS))
        else:
            channels = ["all"] if self.dnd else []
        told = {"purpose": "all", "evidence": "do not disturb"}
        return [
            _say("consent.withdrawn", id, at, self.who(), {"channel": channel, **told}, f":{channel}")
            for channel in channels
        ]

    def changed_since(self, moment: datetime) -> list[Event]:
        """What a poll makes of it."""
        at = self.dateUpdated
        if at is None:
            return []
        created = self.created() if self.dateAdded and self.dateAdded >= moment else []
        id = f"polled:{self.id}:{_iso(at)}"
        return [*created, _say("contact.updated", id, at, self.who(), self.traits()), *self.noes(id, at)]


class _OneContact(Body):
    contact: _Contact


class _Reference(Body):
    id: str


class _MaybeContact(Body):
    contact: _Reference | None = None


class _Thing(Body):
    id: str
    body: str | None = None


class _Things(Body):
    things: list[_Thing] = Field(default_factory=list, validation_alias=AliasChoices("tasks", "notes"))


class _Made(Body):
    thing: _Thing = Field(validation_alias=AliasChoices("task", "note"))


class _Page(Body):
    contacts: list[Any] = Field(default_factory=list)


class _Cursor(Body):
    since: Moment
    newest: Moment
    after: list[Any] | None = None


def _found(item: object) -> _Contact | None:
    # One record we cannot read must not stop all that come after it.
    try:
        return _Contact.model_validate(item)
    except ValidationError:
        return None


def _search_after(item: object) -> list[Any] | None:
    after = item.get("searchAfter") if isinstance(item, dict) else None
    return after if isinstance(after, list) and after else None


def _contact_created(body: Any, id: str, at: datetime) -> list[Event]:
    contact = _Contact.model_validate(body)
    contact = contact.model_copy(update={"dateAdded": contact.dateAdded or at})
    return [*contact.created(), *contact.noes(id, at)]


def _contact_updated(body: Any, id: str, at: datetime) -> list[Event]:
    contact = _Contact.model_validate(body)
    return [_say("contact.updated", id, at, contact.who(), contact.traits()), *contact.noes(id, at)]


def _dnd_updated(body: Any, id: str, at: datetime) -> list[Event]:
    return _Contact.model_validate(body).noes(id, at)


def _tags_updated(body: Any, id: str, at: datetime) -> list[Event]:
    contact = _Contact.model_validate(body)
    return [_say("custom.gohighlevel_tags", id, at, contact.who(), {"tags": contact.tags})]


class _Message(Body):
    type: str
    contactId: str
    direction: str | None = None
    messageType: str = ""
    callStatus: str | None = None
    conversationId: str | None = None
    messageId: str | None = None
    dateAdded: Moment | None = None


def _message(body: Any, id: str, at: datetime) -> list[Event]:
    said = _Message.model_validate(body)
    who = identities(("gohighlevel", said.contactId))
    about = {"conversation_id": said.conversationId, "message_id": said.messageId}
    if (said.direction or ("inbound" if said.type == "InboundMessage" else "")) != "inbound":
        return []
    if said.messageType.upper() == "CALL":
        missed = (said.callStatus or "").lower() in ("missed", "no-answer", "busy", "failed", "canceled", "voicemail")
        return [_say("call.missed", id, said.dateAdded or at, who, about)] if missed else []
    channel = {"EMAIL": "email", "SMS": "sms", "LIVE_CHAT": "chat"}.get(said.messageType.upper(), "social")
    return [_say("message.replied", id, said.dateAdded or at, who, {"channel": channel, **about})]


class _Opportunity(Body):
    id: str
    contactId: str | None = None
    pipelineId: str | None = None
    pipelineStageId: str | None = None
    status: str | None = None
    monetaryValue: Annotated[float, Field(allow_inf_nan=False)] | None = None


def _opportunity(body: Any, id: str, at: datetime) -> list[Event]:
    deal = _Opportunity.model_validate(body)
    facts = {
        "deal_id": deal.id,
        "stage": deal.pipelineStageId,
        "pipeline": deal.pipelineId,
        "status": deal.status,
        # Without a currency it is no amount.
        "monetary_value": deal.monetaryValue,
    }
    return [_say("deal.stage_changed", id, at, identities(("gohighlevel", deal.contactId)), facts)]


class _Appointment(Body):
    id: str
    contactId: str | None = None
    appointmentStatus: str = ""
    title: str | None = None
    address: str | None = None
    startTime: Moment | None = None
    dateAdded: Moment | None = None
    dateUpdated: Moment | None = None


class _Appointed(Body):
    type: str
    appointment: _Appointment


_MEETINGS = {
    "cancelled": "meeting.canceled",
    "canceled": "meeting.canceled",
    "invalid": "meeting.canceled",
    "noshow": "meeting.no_show",
    "showed": "meeting.completed",
}


def _appointment(body: Any, id: str, at: datetime) -> list[Event]:
    told = _Appointed.model_validate(body)
    meeting = told.appointment
    type = _MEETINGS.get(meeting.appointmentStatus.lower(), "meeting.booked")
    if told.type == "AppointmentDelete":
        type = "meeting.canceled"
    facts = {
        "meeting_id": meeting.id,
        "starts_at": meeting.startTime.isoformat() if meeting.startTime else None,
        "url": meeting.address if meeting.address and meeting.address.startswith("https://") else None,
    }
    when = meeting.dateUpdated or meeting.dateAdded or at
    return [_say(type, id, when, identities(("gohighlevel", meeting.contactId)), facts)]


class _Buyer(Body):
    id: str | None = None
    email: str | None = None
    phoneNo: str | None = None


class _Invoice(Body):
    id: Annotated[str, Field(min_length=1, validation_alias=AliasChoices("_id", "id"))]
    amountPaid: Annotated[Decimal, Field(ge=0, lt=10**12)] | None = None
    currency: str | None = None
    contactDetails: _Buyer = _Buyer()
    updatedAt: Moment | None = None


def _invoice_paid(body: Any, id: str, at: datetime) -> list[Event]:
    invoice = _Invoice.model_validate(body)
    buyer = invoice.contactDetails
    who = identities(("gohighlevel", buyer.id), ("email", buyer.email), ("phone", buyer.phoneNo))
    facts: dict[str, Any] = {"invoice_id": invoice.id}
    if invoice.amountPaid is not None and invoice.currency:
        amount = invoice.amountPaid.scaleb(minor_digits(invoice.currency.upper()))
        facts |= {"value": int(amount.to_integral_value()), "currency": invoice.currency}
    return [_say("invoice.paid", id, invoice.updatedAt or at, who, facts)]


class _Done(Body):
    id: str
    contactId: str | None = None


def _task_done(body: Any, id: str, at: datetime) -> list[Event]:
    task = _Done.model_validate(body)
    who = identities(("gohighlevel", task.contactId))
    return [_say("custom.gohighlevel_task_completed", id, at, who, {"task_id": task.id})]


_READERS: dict[str, Callable[[Any, str, datetime], list[Event]]] = {
    "ContactCreate": _contact_created,
    "ContactUpdate": _contact_updated,
    "ContactDndUpdate": _dnd_updated,
    "ContactTagUpdate": _tags_updated,
    "InboundMessage": _message,
    "OutboundMessage": _message,
    "OpportunityCreate": _opportunity,
    "OpportunityStageUpdate": _opportunity,
    "OpportunityStatusUpdate": _opportunity,
    "AppointmentCreate": _appointment,
    "AppointmentUpdate": _appointment,
    "AppointmentDelete": _appointment,
    "InvoicePaid": _invoice_paid,
    "TaskComplete": _task_done,
}
