"""Zendesk: support tickets, satisfaction ratings and users come in; users, tickets and notes go out."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from connectors import http, zendesk_events
from connectors.base import Person, Polled, Refused, Request, Task
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import check_header, checked
from connectors.limits import Limits
from connectors.webhook import Body, check_age, check_signature, secrets_in
from connectors.zendesk_events import OURS
from contacts.events import Event

PUBLIC_TEST_SECRET = b"dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="
"""Signs the test requests of a webhook that is not saved yet. Everybody knows it, so it proves nothing."""


_SINCE = "since:"
"""Begins a cursor of ours, a moment in seconds; Zendesk's are base64, which has no colon."""

_LINES = Limits("zendesk", each=255)
_TEXTS = Limits("zendesk", each=65_535, unit="bytes")
"""Comments and user fields: Zendesk counts what a text takes to store, not its characters."""


class ZendeskSettings(Credentials):
    """``ZENDESK_*``. Several signing secrets may stand side by side, with commas: each webhook has its own.

    Attributes:
        subdomain: ``acme`` of ``acme.zendesk.com``.
        oauth_token: For calls; used before ``api_token``.
        email: The agent whose API token ``api_token`` is.
        stage_field: Key of the user field that holds where a contact stands with us; it must exist in Zendesk.
    """

    model_config = SettingsConfigDict(env_prefix="ZENDESK_")

    signing_secret: SecretStr | None = None
    subdomain: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    oauth_token: SecretStr | None = None
    email: str | None = None
    api_token: SecretStr | None = None
    stage_field: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = "perennial_stage"
    # The smallest plan takes 200 a minute.
    calls_per_second: Annotated[float, Field(gt=0)] | None = 3.0


@checked
class Zendesk:
    """The ``Source`` and ``Poller`` of support tickets, and a ``Crm`` for teams that work in the help desk."""

    name: ClassVar[str] = zendesk_events.SOURCE
    every: ClassVar[timedelta] = timedelta(minutes=5)
    # At once or after Retry-After, five times; not at 500.
    again_on: ClassVar[int] = 503

    def __init__(self, settings: ZendeskSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``."""
        secrets = secrets_in(self._settings.signing_secret)
        if PUBLIC_TEST_SECRET in secrets:
            raise Refused(401, "the signing secret is Zendesk's public test secret: set the webhook's own")
        signature = request.headers.get("x-zendesk-webhook-signature", "")
        sent = request.headers.get("x-zendesk-webhook-signature-timestamp", "")
        if not signature:
            raise Refused(401, "there is no X-Zendesk-Webhook-Signature header")
        try:
            sent_at = datetime.fromisoformat(sent)
        except ValueError:
            sent_at = None
        if sent_at is None or sent_at.tzinfo is None:
            raise Refused(400, "X-Zendesk-Webhook-Signature-Timestamp is not an ISO 8601 time with an offset")
        check_signature(secrets, sent.encode(errors="replace") + request.body, [signature], b64encode)
        check_age(sent_at, now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        return zendesk_events.read(request.body)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``. Tickets that changed, and who asked.

        The export leaves out the last minute, so it begins a minute ago. Where it gives no cursor, because nothing has
        changed since, the beginning is kept.
        """
        place = cursor or f"{_SINCE}{int(now.timestamp()) - 60}"
        start = place.removeprefix(_SINCE)
        path = "/incremental/tickets/cursor.json"
        params = {"cursor" if start == place else "start_time": start, "include": "users,metric_sets"}
        page = await self._ask("GET", path, zendesk_events.Export, params=params)
        return Polled(page.events(), page.after_cursor or place, more=not page.end_of_stream)

    async def upsert(self, person: Person) -> str:
        """See ``Crm.upsert``. Nobody is sent a mail by it. A user we know no name of keeps the one they have."""
        name = " ".join(part for part in (person.first_name, person.last_name) if part)
        _LINES.check({"name": name, "phone": person.phone})
        _TEXTS.check(person.properties)
        user: dict[str, Any] = {"email": person.email, "skip_verify_email": True}
        if person.phone:
            user["phone"] = person.phone
        if person.properties:
            user["user_fields"] = dict(person.properties)
        if not name:
            # Zendesk wants a name for a new user, and writes it over that of an old one.
            found = await self._ask("GET", "/users/search.json", _Users, params={"query": f'email:"{person.email}"'})
            name = next((u.name for u in found.users if u.name and u.is_(person.email)), person.email)
        user["name"] = name
        return (await self._ask("POST", "/users/create_or_update.json", _OneUser, json={"user": user})).user.id

    async def task(self, crm_id: str, task: Task) -> str:
        """See ``Crm.task``: a private ticket of type task, asked for by the person and due when the task is."""
        ticket = {"type": "task", "due_at": _stamp(task.due)}
        body = task.body
        if task.owner and task.owner.isdigit():
            ticket["assignee_id"] = task.owner
        elif task.owner:
            body = f"{body}\n\nFor {task.owner}"
        return await self._once(crm_id, task.key, task.title, body, ticket)

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """See ``Crm.note``: an internal comment in a ticket of its own, which is solved at once.

        A comment in one of the person's tickets would go where that ticket's conversation is about something else, and
        a closed ticket takes none.
        """
        title = f"Note of {at.astimezone(UTC):%d %b %Y %H:%M} UTC"
        return await self._once(crm_id, key, title, body, {"status": "solved"})

    async def stage(self, crm_id: str, stage: str) -> None:
        """See ``Crm.stage``. Zendesk ignores a field that it does not have."""
        path = f"/users/{quote(crm_id, safe='')}.json"
        user = {"user_fields": {self._settings.stage_field: stage}}
        await self._ask("PUT", path, _OneUser, json={"user": user})

    async def _once(self, crm_id: str, key: str, subject: str, body: str, more: Mapping[str, str]) -> str:
        """Opens a ticket unless there is one with this key; returns its id.

        The key is the external id, by which Zendesk lists its records and not its lagging index, and the idempotency
        key of the create, so that two attempts at one moment make one ticket as well. Zendesk keeps the latter for
        hours only.
        """
        _LINES.check({"subject": subject})
        _TEXTS.check({"body": body})
        if not body:
            raise NeverAgain(self.name, "body: is empty")
        check_header(self.name, "key", key)
        external_id = _external_id(key)
        there = await self._ask("GET", "/tickets.json", _Tickets, params={"external_id": external_id})
        if there.tickets:
            return there.tickets[0].id
        ticket = {
            "subject": subject,
            "requester_id": crm_id,
            "external_id": external_id,
            "tags": [OURS],
            "comment": {"body": body, "public": False},
            **more,
        }
        made = await self._ask("POST", "/tickets.json", _OneTicket, json={"ticket": ticket}, key=external_id)
        return made.ticket.id

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        key: str | None = None,
    ) -> http.Answer:
        """With a key it creates; every other call reads, or says how things are."""
        settings = self._settings
        if settings.subdomain is None:
            raise NeverAgain(self.name, "no subdomain is set (ZENDESK_SUBDOMAIN)")
        url = f"https://{settings.subdomain}.zendesk.com/api/v2{path}"
        headers = {"Authorization": self._authorization(), **({"Idempotency-Key": key} if key else {})}
        request = self._client.build_request(method, url, params=params, json=json, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=key is None)

    def _authorization(self) -> str:
        settings = self._settings
        if settings.oauth_token:
            return f"Bearer {settings.oauth_token.get_secret_value().strip()}"
        if settings.email and settings.api_token:
            pair = f"{settings.email}/token:{settings.api_token.get_secret_value().strip()}"
            return f"Basic {b64encode(pair.encode()).decode()}"
        raise NeverAgain(self.name, "no token is set (ZENDESK_OAUTH_TOKEN, or ZENDESK_EMAIL with ZENDESK_API_TOKEN)")


def _external_id(key: str) -> str:
    """Within the 255 characters of an external id and of an idempotency key."""
    named = f"{OURS}/{key}"
    return named if len(named) <= 255 else f"{OURS}/{sha256(key.encode()).hexdigest()}"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refusal(response: httpx.Response) -> http.Refusal:
    body = http.body_of(response)
    error, details = body.get("error"), body.get("details")
    named = error.get("title") if isinstance(error, dict) else error
    fields = [f for f in details if isinstance(f, str)] if isinstance(details, dict) else []
    request_id = response.headers.get("x-zendesk-request-id") or response.headers.get("x-request-id")
    return http.Refusal(http.codes(named, *fields[:3]), request_id)


# 409: another request is changing the same record, or has the same idempotency key.
_PROVIDER = http.Provider("zendesk", busy=frozenset({429, 503}), unclear=frozenset({408, 409}), read=_refusal)


class _User(Body):
    id: str
    name: str | None = None
    email: str | None = None

    def is_(self, email: str) -> bool:
        return (self.email or "").casefold() == email.casefold()


class _Users(Body):
    users: list[_User] = Field(default_factory=list)


class _OneUser(Body):
    user: _User


class _Ticket(Body):
    id: str


class _Tickets(Body):
    tickets: list[_Ticket] = Field(default_factory=list)


class _OneTicket(Body):
    ticket: _Ticket
