"""Chatbase: the details that people leave with a chat bot come in, by webhook or by asking.

A webhook carries neither a time nor an id of its own. It happened when it arrived, and it is known by what it says.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import httpx
import structlog
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Polled, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.webhook import Body, Moment, one_line_errors, secrets_in
from contacts.events import Event, event, identities

log = structlog.get_logger()

PAGE = 100


class ChatbaseSettings(Credentials):
    """``CHATBASE_*``.

    Attributes:
        signing_secret: The webhook's secret; several with commas.
        api_key: For polling.
        chatbots: The ids of the bots whose leads are polled, with commas; None: nothing is polled.
    """

    model_config = SettingsConfigDict(env_prefix="CHATBASE_")

    signing_secret: SecretStr | None = None
    api_key: SecretStr | None = None
    chatbots: str | None = None
    base_url: HttpUrl = HttpUrl("https://www.chatbase.co/api/v1")


class Chatbase:
    """The ``Source`` of leads that a chat bot takes, and their ``Poller``: a lost webhook may not be repeated."""

    name: ClassVar[str] = "chatbase"
    every: ClassVar[timedelta] = timedelta(minutes=15)

    def __init__(self, settings: ChatbaseSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. There is no timestamp to hold against ``now``: a repeat is known by its content."""
        secrets = secrets_in(self._settings.signing_secret)
        offered = request.headers.get("x-chatbase-signature", "").encode(errors="replace")
        if not offered:
            raise Refused(401, "there is no x-chatbase-signature header")
        # Chatbase signs by SHA-1. As a MAC it still holds, though it no longer does as a plain digest.
        expected = [hmac.new(secret, request.body, hashlib.sha1).hexdigest().encode() for secret in secrets]
        if not any(hmac.compare_digest(mac, offered) for mac in expected):
            raise Refused(401, "the signature does not match")

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            if notice.eventType != "leads.submit":
                return []
            return _left(notice.chatbotId, _Lead.model_validate(notice.payload), received_at)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``. Chatbase finds leads by the day, so the same ones are read again, which is harmless."""
        bots = [bot.strip() for bot in (self._settings.chatbots or "").split(",") if bot.strip()]
        if cursor is None or not bots:
            return Polled([], _Cursor(since=now, began=now).model_dump_json())
        at = _Cursor.model_validate_json(cursor)
        if (at.bot, at.page) == (0, 1):
            at = _Cursor(since=at.since, began=now)
        bot = bots[min(at.bot, len(bots) - 1)]
        page = await self._page(bot, at)
        events: list[Event] = []
        for item in page.leads:
            try:
                with one_line_errors():
                    lead = _Lead.model_validate(item)
                    if lead.created_at is None or lead.created_at >= at.since - timedelta(days=1):
                        events += _left(bot, lead, at.began)
            except ValueError as error:
                log.warning("chatbase.not_understood", chatbot=bot, error=str(error))
        if len(page.leads) == PAGE:
            after = at.model_copy(update={"page": at.page + 1})
        elif at.bot + 1 < len(bots):
            after = at.model_copy(update={"bot": at.bot + 1, "page": 1})
        else:
            return Polled(events, _Cursor(since=at.began, began=at.began).model_dump_json())
        return Polled(events, after.model_dump_json(), more=True)

    async def _page(self, bot: str, at: "_Cursor") -> "_Page":
        settings = self._settings
        if not settings.api_key:
            raise NeverAgain(self.name, "no API key is set (CHATBASE_API_KEY)")
        days = [(moment.astimezone(UTC) + more).date() for moment, more in ((at.since, -_DAY), (at.began, _DAY))]
        params = {
            "chatbotId": bot,
            "startDate": days[0].isoformat(),
            "endDate": days[1].isoformat(),
            "page": str(at.page),
            "size": str(PAGE),
        }
        headers = {"Authorization": f"Bearer {settings.api_key.get_secret_value().strip()}"}
        url = f"{str(settings.base_url).rstrip('/')}/get-leads"
        request = self._client.build_request("GET", url, params=params, headers=headers)
        return await http.call(self._client, _PROVIDER, request, _Page, idempotent=True)


_DAY = timedelta(days=1)


def _refusal(response: httpx.Response) -> http.Refusal:
    # Its errors are prose and no codes.
    return http.Refusal(request_id=response.headers.get("x-request-id"))


_PROVIDER = http.Provider("chatbase", busy=frozenset({429, 503}), read=_refusal)


class _Cursor(BaseModel):
    """``since``: earlier sweeps told what came before. ``began``: when this one did; ``bot``, ``page``: its place."""

    since: Moment
    began: Moment
    bot: Annotated[int, Field(ge=0)] = 0
    page: Annotated[int, Field(ge=1)] = 1


class _Notice(Body):
    eventType: str
    chatbotId: Annotated[str, Field(min_length=1)]
    payload: dict[str, Any] = Field(default_factory=dict)


def _or_none(value: Any) -> Any:
    return None if value == "" else value


class _Lead(Body):
    """A lead as the webhook names its parts, or as the list does."""

    conversation: str | None = Field(None, validation_alias=AliasChoices("conversationId", "conversation_id"))
    email: str | None = Field(None, validation_alias=AliasChoices("customerEmail", "email"))
    name: str | None = Field(None, validation_alias=AliasChoices("customerName", "name"))
    phone: str | None = Field(None, validation_alias=AliasChoices("customerPhone", "phone"))
    created_at: Annotated[Moment | None, BeforeValidator(_or_none)] = Field(
        None, validation_alias=AliasChoices("createdAt", "created_at")
    )


class _Page(Body):
    leads: list[dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _wherever(cls, body: Any) -> Any:
        """Under ``data`` or ``collectedCustomers``, or under the one inside the other."""
        found = body
        while isinstance(found, dict):
            found = found.get("collectedCustomers", found.get("data"))
        return {"leads": found}


def _left(bot: str, lead: _Lead, told_at: datetime) -> list[Event]:
    """Details left with a bot are no talk with a person: it opens no conversation, and carries no consent."""
    who = identities(("email", lead.email), ("phone", lead.phone))
    if not who:
        return []
    # A hash, for an id goes where no address may.
    said = json.dumps([bot, lead.conversation, (lead.email or lead.phone or "").strip().lower()])
    named = f"lead/{hashlib.sha256(said.encode()).hexdigest()[:32]}"
    at = lead.created_at or told_at
    facts = {"form": "chatbase", "chatbot": bot, "conversation": lead.conversation}
    known = {name: value for name, value in facts.items() if value}

    def event_of(type: str, source_id: str, data: dict[str, Any]) -> Event:
        return event(type, source=Chatbase.name, source_id=source_id, occurred_at=at, identities=who, data=data)

    events = [event_of("form.submitted", named, known)]
    if lead.name:
        events.append(event_of("contact.updated", f"{named}:name", {"name": lead.name}))
    return events
