"""Intercom: conversations, contacts and tickets come in; contacts, notes, tasks, messages and events go out."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import escape, unescape
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import Field, HttpUrl, SecretStr
from pydantic_settings import SettingsConfigDict

from connectors import http, intercom_events
from connectors.base import Accepted, Message, Person, Refused, Request, Task, Told
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain, NobodyThere, TryAgain
from connectors.fields import checked
from connectors.limits import LINE, TEXT, Limits
from connectors.webhook import Body, secrets_in
from contacts.events import Event

API_VERSION = "2.16"

_EXISTING = re.compile(r"\bid=([0-9a-f]{24})\b")
_METADATA_KEYS = 10
_LONGEST_VALUE = 255
"""Characters of a custom attribute, and of one value in an event's metadata."""
_NOTES_READ = 150

_ATTRIBUTES = Limits("intercom", each=_LONGEST_VALUE)
_LIMITS = Limits("intercom", each=LINE, named={"body": TEXT, "text": TEXT})
"""Of all else Intercom's API file says no length."""


class IntercomSettings(Credentials):
    """``INTERCOM_*``.

    Attributes:
        signing_secret: The app's client secret; several may stand side by side, with commas.
        base_url: Where the workspace is: ``https://api.eu.intercom.io`` and ``https://api.au.intercom.io`` are others.
        admin_id: The teammate our messages are from and our notes are by.
        ticket_type_id: The type of ticket a task becomes; a back-office one, which no contact sees.
        stage_attribute: The custom attribute that holds where a contact stands with us; it must exist in Intercom.
    """

    model_config = SettingsConfigDict(env_prefix="INTERCOM_")

    signing_secret: SecretStr | None = None
    access_token: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://api.intercom.io")
    admin_id: Annotated[str, Field(pattern=r"^\d+$")] | None = None
    ticket_type_id: str | None = None
    stage_attribute: Annotated[str, Field(pattern=r"^[^.$]{1,190}$")] = "perennial_stage"
    # An app may make 10,000 calls a minute, counted over ten seconds.
    calls_per_second: Annotated[float, Field(gt=0)] | None = 150.0


@checked
class Intercom:
    """``Source`` of what happens in the inbox; ``Crm``, ``Directory`` and ``Sink``; ``Sender`` of in-app messages."""

    name: ClassVar[str] = intercom_events.SOURCE
    channel: ClassVar[str] = "chat"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, settings: IntercomSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. Intercom signs by SHA-1 and signs no time, so a request is as good at any age.

        A repeat of an old one changes nothing: its events have the ids they had.
        """
        secrets = secrets_in(self._settings.signing_secret)
        offered = request.headers.get("x-hub-signature", "")
        if not offered:
            raise Refused(401, "there is no X-Hub-Signature header")
        given = offered.encode(errors="replace")
        expected = [f"sha1={hmac.new(secret, request.body, hashlib.sha1).hexdigest()}".encode() for secret in secrets]
        if not any(hmac.compare_digest(one, given) for one in expected):
            raise Refused(401, "the signature does not match")

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is the notification's, which its repeats share."""
        return intercom_events.read(request.body)

    async def email(self, id: str) -> str | None:
        """See ``Directory.email``."""
        contact = await self._contact(id)
        return contact.email if contact else None

    async def upsert(self, person: Person) -> str:
        """See ``Crm.upsert``. Of several contacts with the address, which Intercom allows, a user comes first."""
        name = " ".join(part for part in (person.first_name, person.last_name) if part)
        traits: dict[str, Any] = {"name": name or None, "phone": person.phone}
        traits = _LIMITS.check({field: value for field, value in traits.items() if value})
        if person.properties:
            traits["custom_attributes"] = _ATTRIBUTES.check(dict(person.properties))
        found = await self._by_email(person.email)
        if found is None:
            # A user: Intercom lets there be one with an address, so a repeat cannot make a second.
            new = {"role": "user", "email": person.email, **traits}
            try:
                return (await self._ask("POST", "/contacts", _Contact, json=new)).id
            except http.Rejected as error:
                existing = _EXISTING.search(error.reason) if error.status == 409 else None
                if existing is None:
                    raise
                id = existing[1]
        else:
            id = found.id
        if traits:
            await self._ask("PUT", f"/contacts/{quote(id, safe='')}", _Contact, json=traits)
        return id

    async def task(self, crm_id: str, task: Task) -> str:
        """See ``Crm.task``: a back-office ticket about the contact.

        The contact's tickets are searched for the key before one is opened. The search lags behind by moments, so a
        repeat within them can make a second.
        """
        if not self._settings.ticket_type_id:
            raise NeverAgain(self.name, "no type of ticket is set for tasks (INTERCOM_TICKET_TYPE_ID)")
        numbered = task.owner if task.owner and task.owner.isdigit() else None
        mark = _mark(task.key)
        owner = f"\n\nFor {task.owner}" if task.owner and not numbered else ""
        due = f"Due {task.due.astimezone(UTC):%d %b %Y %H:%M} UTC"
        said = _LIMITS.check({"title": task.title, "body": f"{task.body}\n\n{due}{owner}\n\n{mark}"})
        about = {"query": {"field": "contact_ids", "operator": "=", "value": crm_id}}
        there = await self._ask("POST", "/tickets/search", _Tickets, json=about)
        for ticket in there.tickets:
            if mark in unescape(str(ticket.ticket_attributes.get("_default_description_") or "")):
                return ticket.id
        new = {
            "ticket_type_id": self._settings.ticket_type_id,
            "contacts": [{"id": crm_id}],
            "skip_notifications": True,
            "ticket_attributes": {"_default_title_": said["title"], "_default_description_": said["body"]},
            **({"assignment": {"admin_assignee_id": numbered}} if numbered else {}),
        }
        return (await self._ask("POST", "/tickets", _Ticket, json=new, idempotent=False)).id

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """See ``Crm.note``. The contact's notes are read before one is written, and the key is at the foot of each."""
        path, mark = f"/contacts/{quote(crm_id, safe='')}/notes", _mark(key)
        new = _LIMITS.check({"body": _html(f"{body}\n\n{mark}")})
        there = await self._ask("GET", path, _Notes, params={"per_page": str(_NOTES_READ)})
        for note in there.data:
            if mark in unescape(note.body or ""):
                return note.id
        if self._settings.admin_id:
            new["admin_id"] = self._settings.admin_id
        return (await self._ask("POST", path, _Note, json=new, idempotent=False)).id

    async def stage(self, crm_id: str, stage: str) -> None:
        """See ``Crm.stage``."""
        attributes = {"custom_attributes": _ATTRIBUTES.check({self._settings.stage_attribute: stage})}
        await self._ask("PUT", f"/contacts/{quote(crm_id, safe='')}", _Contact, json=attributes)

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. ``to`` is an Intercom contact's id, or an e-mail address."""
        if not self._settings.admin_id:
            raise NeverAgain(self.name, "no teammate is set for messages to come from (INTERCOM_ADMIN_ID)")
        if not message.text.strip():
            raise NeverAgain(self.name, "text: is empty")
        _LIMITS.check({"text": message.text})
        contact = await (self._by_email(message.to) if "@" in message.to else self._contact(message.to))
        if contact is None:
            raise BadAddress(self.name, "nobody there has this address")
        new = {
            "message_type": "inapp",
            "body": _html(message.text),
            "from": {"type": "admin", "id": self._settings.admin_id},
            "to": {"type": "lead" if contact.role == "lead" else "user", "id": contact.id},
        }
        try:
            request = self._request("POST", "/messages", json=new)
            made, request_id = await http.exchange(self._client, _PROVIDER, request, _Made, idempotent=False)
        except http.Rejected as error:
            if error.status != 404:
                raise
            # A contact that was just made cannot be written to for a moment.
            raise TryAgain(self.name, error.reason, delay=timedelta(minutes=1), request_id=error.request_id) from None
        return Accepted(made.id, request_id)

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``. Intercom keeps no key of ours with a message."""
        raise NeverAgain(self.name, "cannot be asked what became of a message")

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``. An opt-out from e-mail unsubscribes the contact there; other events become Intercom's.

        Somebody whom Intercom does not know is not made known to it by this. A contact that was merged into another is
        unknown from then on by its own id, whichever of the two was known to us first: so every name is tried.

        Raises:
            NobodyThere: Intercom knows none of them.
        """
        if told.type == "contact.erased":
            raise NeverAgain(self.name, "a contact is erased in Intercom itself")
        if _is_opt_out(told):
            contact = await self._find(told)
            path = f"/contacts/{quote(contact.id, safe='')}"
            return (await self._ask("PUT", path, _Contact, json={"unsubscribed_from_emails": True})).id
        happened = {
            "event_name": told.type.replace(".", "-"),
            "created_at": int(told.occurred_at.timestamp()),
            "metadata": _metadata(told),
        }
        for kind, value in _names(told):
            try:
                await self._ask("POST", "/events", http.Unread, json={**happened, _EVENT_OF[kind]: value})
            except http.Rejected as error:
                if error.status != 404:
                    raise
            else:
                return None
        raise NobodyThere(self.name, _KNOWS_NOBODY)

    async def _find(self, told: Told) -> "_Contact":
        look = {"intercom": self._contact, "user": self._by_external_id, "email": self._by_email}
        for kind, value in _names(told):
            if (found := await look[kind](value)) is not None:
                return found
        raise NobodyThere(self.name, _KNOWS_NOBODY)

    async def _by_email(self, email: str) -> "_Contact | None":
        wanted = {
            "query": {"field": "email", "operator": "=", "value": email},
            "pagination": {"per_page": 50},
        }
        found = (await self._ask("POST", "/contacts/search", _Contacts, json=wanted)).data
        return max(found, key=lambda contact: (contact.role == "user", contact.updated_at or 0), default=None)

    async def _by_external_id(self, id: str) -> "_Contact | None":
        return await self._get(f"/contacts/find_by_external_id/{quote(id, safe='')}")

    async def _contact(self, id: str) -> "_Contact | None":
        return await self._get(f"/contacts/{quote(id, safe='')}")

    async def _get(self, path: str) -> "_Contact | None":
        try:
            return await self._ask("GET", path, _Contact)
        except http.Rejected as error:
            if error.status != 404:
                raise
            return None

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        idempotent: bool = True,
    ) -> http.Answer:
        request = self._request(method, path, params=params, json=json)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=idempotent)

    def _request(self, method: str, path: str, **what: Any) -> httpx.Request:
        if not self._settings.access_token:
            raise NeverAgain(self.name, "no access token is set (INTERCOM_ACCESS_TOKEN)")
        url = str(self._settings.base_url).rstrip("/") + path
        headers = {
            "Authorization": f"Bearer {self._settings.access_token.get_secret_value().strip()}",
            "Intercom-Version": API_VERSION,
        }
        return self._client.build_request(method, url, headers=headers, **what)


class _Contact(Body):
    id: str
    role: str | None = None
    email: str | None = None
    updated_at: int | None = None


class _Contacts(Body):
    data: list[_Contact] = Field(default_factory=list)


class _Ticket(Body):
    id: str
    ticket_attributes: dict[str, Any] = Field(default_factory=dict)


class _Tickets(Body):
    tickets: list[_Ticket] = Field(default_factory=list)


class _Note(Body):
    id: str
    body: str | None = None


class _Notes(Body):
    data: list[_Note] = Field(default_factory=list)


class _Made(Body):
    id: str


def _refusal(response: httpx.Response) -> http.Refusal:
    body = http.body_of(response)
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    # The one thing of its prose that is a code: which contact is in the way.
    existing = _EXISTING.search(str(first.get("message"))) if response.status_code == 409 else None
    request_id = body.get("request_id")
    return http.Refusal(
        http.codes(first.get("code"), first.get("field"), existing and existing[0]),
        request_id if isinstance(request_id, str) else response.headers.get("x-request-id"),
        _until_reset(response),
    )


_PROVIDER = http.Provider("intercom", busy=frozenset({429, 503}), read=_refusal)


def _until_reset(response: httpx.Response) -> timedelta | None:
    """How long until calls are taken again, by the clock that the answer came from."""
    reset = response.headers.get("x-ratelimit-reset", "")
    try:
        sent = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    if not (reset.isascii() and reset.isdigit() and len(reset) <= 11):
        return None
    seconds = int(reset) - sent.timestamp()
    return timedelta(seconds=seconds) if 0 < seconds <= 3600 else None


def _is_opt_out(told: Told) -> bool:
    if told.type == "message.complained":
        return True
    opted_out = told.type in ("message.unsubscribed", "consent.withdrawn")
    return opted_out and told.data.get("channel", "email") in ("email", "all")


_EVENT_OF = {"intercom": "id", "user": "user_id", "email": "email"}
"""The field of an event that says whose it is, by kind of identity, the surest first."""

_KNOWS_NOBODY = "knows nobody by any of the contact's names"


def _names(told: Told) -> list[tuple[str, str]]:
    """What Intercom may know the contact by, in the order to ask in; of a kind the newest first."""
    return [(kind, i.value) for kind in _EVENT_OF for i in reversed(told.identities) if i.kind == kind]


def _metadata(told: Told) -> dict[str, str]:
    """The event's plain values, as many as Intercom takes, and our id of it, by which a repeat can be told."""
    plain = {
        name.replace(".", "_").replace("$", "_"): str(value)
        for name, value in sorted(told.data.items())
        if isinstance(value, str | int | float) and 0 < len(str(value)) <= _LONGEST_VALUE
    }
    return {"perennial_id": told.id, **dict(list(plain.items())[: _METADATA_KEYS - 1])}


def _mark(key: str) -> str:
    return f"[perennial {key}]"


def _html(text: str) -> str:
    # A contact's own words must not become markup.
    return escape(text, quote=False).replace("\n", "<br>")
