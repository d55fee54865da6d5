"""Resend: mail goes out; what became of it and who unsubscribed comes in."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr
from pydantic_settings import SettingsConfigDict

from connectors import http, mail, standard_webhooks
from connectors.base import Accepted, Message, Request, key_of
from connectors.credentials import Credentials
from connectors.errors import NeverAgain, Unknown
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, one_line_errors
from contacts.events import Event, event, identities

TAG = "touch"
"""The tag that holds our touch's key."""

LARGEST_MAIL = 40 * 1024 * 1024
"""Bytes of text and HTML together. Resend counts the mail it makes of them, which is larger."""

_LIMITS = Limits("resend", named={"text and html": LARGEST_MAIL}, unit="bytes")

_ABOUT_THE_MAIL = frozenset({"MessageTooLarge", "ContentRejected", "AttachmentRejected", "MailboxFull"})
"""Kinds of bounce that say nothing lasting about the address."""


def _checked(setting: SecretStr) -> SecretStr:
    standard_webhooks.keys_in(setting)
    return setting


class ResendSettings(Credentials):
    """``RESEND_*``.

    Attributes:
        api_key: Sends (``re_...``).
        signing_secret: The webhook's (``whsec_...``); several may stand side by side, with commas: each webhook has its
            own.
        calls_per_second: Two, which is what Resend lets a team do.
    """

    model_config = SettingsConfigDict(env_prefix="RESEND_")

    api_key: SecretStr | None = None
    signing_secret: Annotated[SecretStr, AfterValidator(_checked)] | None = None
    base_url: HttpUrl = HttpUrl("https://api.resend.com")
    calls_per_second: Annotated[float, Field(gt=0)] | None = 2


@checked
class Resend:
    """The ``Sender`` of mail through Resend, and the ``Source`` of what became of it."""

    name: ClassVar[str] = "resend"
    channel: ClassVar[str] = "email"
    idempotent: ClassVar[bool] = True
    listed_within: ClassVar[timedelta | None] = None

    def __init__(
        self, settings: ResendSettings, client: httpx.AsyncClient | None = None, *, from_address: str = ""
    ) -> None:
        """Keeps the settings; connects to nothing.

        Raises:
            ValueError: ``from_address`` is given and holds no address.
        """
        self._settings = settings
        self._client = client or http.new_client()
        self._from = mail.sender(from_address) if from_address else None
        self._keys = standard_webhooks.keys_in(settings.signing_secret)

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``."""
        standard_webhooks.verify(self._keys, request, now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            read = _READERS.get(notice.type)
            return read(notice, standard_webhooks.message_id(request)) if read else []

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. The touch's key is the idempotency key, which Resend keeps for a day."""
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (RESEND_API_KEY)")
        if self._from is None:
            raise NeverAgain(self.name, "there is no address to send from")
        checked = mail.check(self.name, message, self._from.domain)
        _LIMITS.check({"text and html": checked.text + (checked.html or "")})
        content = {
            "from": str(self._from),
            "to": [checked.to.addr_spec],
            "subject": message.subject,
            "text": checked.text,
            **({} if checked.html is None else {"html": checked.html}),
            "headers": dict(checked.headers),
            "tags": [{"name": TAG, "value": mail.tag(self.name, message.key)}],
        }
        headers = {
            "Authorization": f"Bearer {self._settings.api_key.get_secret_value().strip()}",
            "Idempotency-Key": message.key,
            "User-Agent": "perennial",  # Resend turns away a call without one
        }
        url = f"{str(self._settings.base_url).rstrip('/')}/emails"
        request = self._client.build_request("POST", url, json=content, headers=headers)
        try:
            return Accepted((await http.call(self._client, _PROVIDER, request, _Created, idempotent=False)).id)
        except http.Rejected as error:
            if error.reason == "409 concurrent_idempotent_requests":
                # An attempt of ours that nobody waits for any more is being carried out just now.
                raise Unknown(self.name, error.reason, request_id=error.request_id) from None
            if error.reason == "409 invalid_idempotent_request":
                # An attempt of ours was taken and its answer lost; by now the facts are others, and so is the mail.
                return Accepted(message.key)
            raise

    async def look_up(self, key: str) -> Accepted | None:
        """Never needed, since a second call with the same key is harmless.

        Raises:
            NeverAgain: Always; mail cannot be found by a tag.
        """
        raise NeverAgain(self.name, "Resend cannot be asked for a mail by its key")


class _Created(Body):
    id: Annotated[str, Field(min_length=1)]


_DELAYS = {
    # A quota ends with its day or month, and when that is only the account knows.
    "daily_quota_exceeded": timedelta(hours=1),
    "monthly_quota_exceeded": timedelta(hours=6),
}


def _refusal(response: httpx.Response) -> http.Refusal:
    name = http.body_of(response).get("name")
    delay = _DELAYS.get(name) if isinstance(name, str) else None
    return http.Refusal(http.codes(name), delay=delay)


_PROVIDER = http.Provider("resend", busy=frozenset({429}), read=_refusal)


class _Notice(Body):
    type: str
    created_at: Moment
    data: dict[str, Any] = Field(default_factory=dict)


_OrEmpty = BeforeValidator(lambda value: {} if value is None else value)


class _Bounce(Body):
    type: str | None = None
    subType: str | None = None


class _Click(Body):
    link: str | None = None
    timestamp: Moment | None = None


class _Because(Body):
    reason: str | None = None


class _Mail(Body):
    email_id: str | None = None
    to: list[str | None] = Field(default_factory=list)
    tags: Annotated[dict[str, Any], _OrEmpty] = Field(default_factory=dict)
    bounce: Annotated[_Bounce, _OrEmpty] = _Bounce()
    click: Annotated[_Click, _OrEmpty] = _Click()
    failed: Annotated[_Because, _OrEmpty] = _Because()
    suppressed: Annotated[_Because, _OrEmpty] = _Because()


class _Received(Body):
    email_id: str | None = None
    from_: str = Field("", alias="from")
    subject: str | None = None
    message_id: str | None = None


class _Contact(Body):
    updated_at: Moment | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    unsubscribed: bool | None = None


def _event(type: str, id: str, at: datetime, address: str | None, data: Mapping[str, Any]) -> Event:
    return event(
        type,
        source=Resend.name,
        source_id=id if len(id) <= 200 else hashlib.sha256(id.encode(errors="replace")).hexdigest(),
        occurred_at=at,
        identities=identities(("email", address)),
        data={name: value for name, value in data.items() if value is not None},
    )


def _told(type: str, notice: _Notice, id: str, *, at: datetime | None = None, **data: Any) -> list[Event]:
    """An event for every recipient of a mail; ours have one."""
    sent = _Mail.model_validate(notice.data)
    tag = sent.tags.get(TAG)
    about = {
        "touch": key_of(tag) if isinstance(tag, str) and tag else None,
        "channel": "email",
        "message_id": sent.email_id,
        **data,
    }
    recipients = sent.to or [None]
    return [
        _event(type, id if place == 0 else f"{id}:{place}", at or notice.created_at, to, {**about, "address": to})
        for place, to in enumerate(recipients)
    ]


def _delivered(notice: _Notice, id: str) -> list[Event]:
    return _told("message.delivered", notice, id)


def _opened(notice: _Notice, id: str) -> list[Event]:
    return _told("message.opened", notice, id)


def _clicked(notice: _Notice, id: str) -> list[Event]:
    click = _Mail.model_validate(notice.data).click
    return _told("message.clicked", notice, id, at=click.timestamp, url=click.link)


def _bounced(notice: _Notice, id: str) -> list[Event]:
    bounce = _Mail.model_validate(notice.data).bounce
    permanent = bounce.type == "Permanent" and bounce.subType not in _ABOUT_THE_MAIL
    reason = http.codes(bounce.type, bounce.subType) or None
    return _told("message.bounced", notice, id, permanent=permanent, reason=reason)


def _delayed(notice: _Notice, id: str) -> list[Event]:
    return _told("message.bounced", notice, id, permanent=False, reason="delayed")


def _failed(notice: _Notice, id: str) -> list[Event]:
    reason = http.codes(_Mail.model_validate(notice.data).failed.reason)
    return _told("message.bounced", notice, id, permanent=False, reason=f"failed {reason}".strip())


def _suppressed(notice: _Notice, id: str) -> list[Event]:
    # Resend's list holds addresses that bounced for good or complained: either way, this one takes no mail.
    reason = http.codes(_Mail.model_validate(notice.data).suppressed.reason)
    return _told("message.bounced", notice, id, permanent=True, reason=f"suppressed {reason}".strip())


def _complained(notice: _Notice, id: str) -> list[Event]:
    return _told("message.complained", notice, id)


def _received(notice: _Notice, id: str) -> list[Event]:
    said = _Received.model_validate(notice.data)
    data = {"channel": "email", "message_id": said.email_id, "subject": said.subject}
    return [_event("message.replied", id, notice.created_at, parseaddr(said.from_)[1], data)]


def _changed(notice: _Notice, id: str) -> list[Event]:
    contact = _Contact.model_validate(notice.data)
    if not contact.email:
        return []
    at = contact.updated_at or notice.created_at
    traits = {"email": contact.email, "first_name": contact.first_name, "last_name": contact.last_name}
    events = [_event("contact.updated", id, at, contact.email, {n: v for n, v in traits.items() if v})]
    if contact.unsubscribed:
        no = {"channel": "email", "purpose": "all", "evidence": "unsubscribed at Resend"}
        events.append(_event("consent.withdrawn", f"{id}:unsubscribed", at, contact.email, no))
    return events


_READERS = {
    "email.delivered": _delivered,
    "email.opened": _opened,
    "email.clicked": _clicked,
    "email.bounced": _bounced,
    "email.delivery_delayed": _delayed,
    "email.failed": _failed,
    "email.suppressed": _suppressed,
    "email.complained": _complained,
    "email.received": _received,
    "contact.created": _changed,
    "contact.updated": _changed,
}
