"""Mailgun: mail goes out; deliveries, failures, opens, clicks, complaints and opt-outs come in.

Mailgun signs a time and a token, and not the body: so a token may come with one body only (``SingleUse``). It does not
repeat a ``delivered`` that found our door closed, so its list of events is read as well (``Poller``).
"""

import hashlib
import re
from base64 import b64encode
from binascii import hexlify
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

import httpx
from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from connectors import http, mail
from connectors.base import Accepted, Message, Polled, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import NeverAgain, TryAgain
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, event, identities

LARGEST_MAIL = 25 * 1024 * 1024
"""Bytes of text and HTML together."""

_LIMITS = Limits("mailgun", named={"text and html": LARGEST_MAIL}, unit="bytes")

RETRIED_FOR = timedelta(hours=9)
"""How old a signed request may be: Mailgun tries for eight hours, and does not say that it signs anew each time."""

COMPLETE_AFTER = timedelta(minutes=30)
"""By Mailgun's own word, events may appear in its list up to this long after they happened."""

PAGE = 300
"""Events on a page; the most there may be."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MailgunSettings(Credentials):
    """``MAILGUN_*``.

    Attributes:
        signing_secret: The HTTP webhook signing key, which is not the API key; several with commas between them while
            one replaces another.
        api_key: One that may read events too, where messages are looked up or events polled; a domain's sending key
            may only send.
        domain: That mail goes out by.
        track_opens: Whether a pixel tells when a mail is opened.
        track_clicks: Whether links lead through Mailgun, which tells when they are followed.
        base_url: ``https://api.eu.mailgun.net`` for a domain that lives in the EU.
    """

    model_config = SettingsConfigDict(env_prefix="MAILGUN_")

    signing_secret: SecretStr | None = None
    api_key: SecretStr | None = None
    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")] | None = None
    track_opens: bool = False
    track_clicks: bool = False
    base_url: HttpUrl = HttpUrl("https://api.mailgun.net")


@checked
class Mailgun:
    """The ``Source`` of what became of a mail, its ``Poller``, and a ``Sender`` of mail."""

    name: ClassVar[str] = "mailgun"
    channel: ClassVar[str] = "email"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = COMPLETE_AFTER
    every: ClassVar[timedelta] = timedelta(minutes=5)

    def __init__(
        self, settings: MailgunSettings, client: httpx.AsyncClient | None = None, *, from_address: str = ""
    ) -> None:
        """Keeps the settings; connects to nothing.

        Args:
            settings: The account.
            client: The pool to call over.
            from_address: The sender, as ``Name <address>`` or an address alone; empty where nothing is sent.

        Raises:
            ValueError: ``from_address`` holds no address.
        """
        self._settings = settings
        self._client = client or http.new_client()
        self._from = mail.sender(from_address) if from_address else None

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. What is signed says nothing of the body: see ``token``."""
        secrets = secrets_in(self._settings.signing_secret)
        signed = _signature(request)
        if not re.fullmatch(r"[0-9]{10}", signed.timestamp):
            raise Refused(400, "signature.timestamp is not a number of seconds")
        check_signature(secrets, signed.what().encode(errors="replace"), [signed.signature.lower()], hexlify)
        check_age(_EPOCH + timedelta(seconds=int(signed.timestamp)), now, RETRIED_FOR)

    def token(self, request: Request) -> str:
        """See ``SingleUse.token``."""
        return _signature(request).what()

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is Mailgun's event id with its day, within which it is unique."""
        with one_line_errors():
            return _events(_Notice.model_validate_json(request.body).event_data)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``.

        A round reads on, page by page, until an empty one. The next begins half an hour before this one did, since
        events may take that long to be listed. An item that cannot be read is passed over: it must not keep all later
        ones from being read.
        """
        if cursor is None:
            return Polled((), str(_seconds(now)))
        begin, *rest = cursor.split()
        then, token = rest or (str(max(int(begin), _seconds(now - COMPLETE_AFTER))), "")
        try:
            if token:
                page = await self._events(f"/{token}")
            else:
                kinds = " OR ".join(_READERS)
                page = await self._events("", begin=begin, ascending="yes", limit=str(PAGE), event=kinds)
        except http.Rejected as error:
            if token and error.status in (400, 404):
                # Mailgun no longer knows the page: the round begins again.
                return Polled((), begin, more=True)
            raise
        events: list[Event] = []
        for item in page.items:
            with suppress(ValueError), one_line_errors():
                events += _events(item)
        following = page.following() if page.items else ""
        return Polled(events, f"{begin} {then} {following}" if following else then, more=bool(following))

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. ``provider_id`` is the ``Message-ID``, without its brackets as in Mailgun's events.

        Mailgun takes the mail for suppressed addresses too and then lets it fail: a ``failed`` event tells.

        Raises:
            TryAgain, NeverAgain, BadAddress, Unknown: see ``connectors.errors``.
        """
        if self._from is None:
            raise NeverAgain(self.name, "no sender is set (PERENNIAL_MAIL_FROM)")
        checked = mail.check(self.name, message, self._from.domain)
        if not checked.text and not checked.html:
            raise NeverAgain(self.name, "text is empty")
        _LIMITS.check({"text and html": checked.text + (checked.html or "")})
        headers = {**checked.headers, "Message-Id": mail.message_id(message.key, self._from.domain)}
        form = {
            "from": str(self._from),
            "to": checked.to.addr_spec,
            "subject": message.subject,
            "text": checked.text,
            **({} if checked.html is None else {"html": checked.html}),
            **{f"h:{name}": value for name, value in headers.items()},
            "v:touch": message.key,
            "o:tracking-opens": "yes" if self._settings.track_opens else "no",
            "o:tracking-clicks": "yes" if self._settings.track_clicks else "no",
        }
        request = self._request("POST", "/messages", data=form)
        answer = await http.call(self._client, _PROVIDER, request, _Answer, idempotent=False)
        return Accepted(answer.id.strip("<>"))

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``. What has an event, Mailgun has.

        Raises:
            TryAgain: The list cannot be had now, or shows nothing of ours.
            NeverAgain: Credentials are missing, or Mailgun refuses them or the ids we give.
        """
        if self._from is None:
            raise NeverAgain(self.name, "no sender is set (PERENNIAL_MAIL_FROM)")
        id = mail.message_id(key, self._from.domain).strip("<>")
        now = str(_seconds(datetime.now(UTC)))
        page = await self._events("", begin=now, ascending="no", limit="1", **{"message-id": id})
        if not page.items:
            return await self._among_newest(key, self._from.domain)
        return Accepted(id)

    async def _among_newest(self, key: str, domain: str) -> Accepted | None:
        """The message, if it is one of the newest that are listed; None where it is not and would have had our id.

        That Mailgun keeps the id we give a mail is not documented, and nothing is found by an id that it has replaced.
        So a miss counts only while the newest mail of ours that is listed has the id we gave it.

        Raises:
            TryAgain: No mail of ours is listed.
            NeverAgain: The newest has another id.
        """
        begin, kinds = str(_seconds(datetime.now(UTC))), "accepted OR delivered OR failed"
        page = await self._events("", begin=begin, ascending="no", limit=str(PAGE), event=kinds)
        ours: list[tuple[str, str]] = []
        for listed in page.items:
            with suppress(ValidationError):
                item = _Item.model_validate(listed)
                if item.touch and item.message_id:
                    ours.append((item.touch, item.message_id))
        for touch, message in ours:
            if touch == key:
                return Accepted(message)
        if not ours:
            raise TryAgain(
                self.name, "no message of ours is listed, so a miss proves nothing", delay=COMPLETE_AFTER / 6
            )
        touch, message = ours[0]
        if message != mail.message_id(touch, domain).strip("<>"):
            raise NeverAgain(self.name, "messages have other ids than we gave them, and cannot be found by ours")
        return None

    async def _events(self, path: str, **params: str) -> "_Page":
        request = self._request("GET", f"/events{path}", params=params)
        return await http.call(self._client, _PROVIDER, request, _Page, idempotent=True)

    def _request(self, method: str, path: str, **what: Any) -> httpx.Request:
        settings = self._settings
        if not settings.api_key or not settings.domain:
            raise NeverAgain(self.name, "no API key or domain is set (MAILGUN_API_KEY, MAILGUN_DOMAIN)")
        url = f"{str(settings.base_url).rstrip('/')}/v3/{settings.domain}{path}"
        login = b64encode(f"api:{settings.api_key.get_secret_value().strip()}".encode()).decode()
        return self._client.build_request(method, url, headers={"Authorization": f"Basic {login}"}, **what)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


class _Answer(Body):
    id: str


class _Links(Body):
    next: str = ""


class _Page(Body):
    items: list[Any]
    paging: _Links = _Links()

    def following(self) -> str:
        """What the next page is called. Its whole address is Mailgun's word, and is not where our key is sent.

        Raises:
            NeverAgain: There is no such name in its address, so the rest would be lost without a word.
        """
        _, _, token = urlsplit(self.paging.next).path.rpartition("/events/")
        if not re.fullmatch(r"[\w.~%=+-]*[\w%=-]", token, re.ASCII):
            raise NeverAgain(Mailgun.name, "the list of events has no address of its next page")
        return token


def _refusal(response: httpx.Response) -> http.Refusal:
    # A refusal is prose, and prose quotes addresses.
    return http.Refusal()


_PROVIDER = http.Provider("mailgun", busy=frozenset({429}), read=_refusal)


class _Signature(Body):
    timestamp: str
    token: Annotated[str, Field(min_length=1, max_length=200)]
    signature: str

    def what(self) -> str:
        """What is signed. There is nothing between the two, so the token alone would not tell one from another."""
        return self.timestamp + self.token


class _Signed(Body):
    signature: _Signature


def _signature(request: Request) -> _Signature:
    try:
        return _Signed.model_validate_json(request.body).signature
    except ValidationError:
        raise Refused(400, "the body has no signature of timestamp, token and signature") from None


class _Notice(Body):
    event_data: Any = Field(alias="event-data")


class _Kind(Body):
    event: str


Known = Annotated[Mapping[str, Any], BeforeValidator(lambda value: value or {})]


class _Item(Body):
    event: str
    id: str
    timestamp: Moment
    recipient: str | None = None
    severity: str | None = None
    reason: str | None = None
    url: str | None = None
    message: Known = Field(default_factory=dict)
    variables: Known = Field(default_factory=dict, alias="user-variables")
    status: Known = Field(default_factory=dict, alias="delivery-status")
    client: Known = Field(default_factory=dict, alias="client-info")

    @property
    def touch(self) -> str | None:
        touch = self.variables.get("touch")
        return touch if isinstance(touch, str) else None

    @property
    def message_id(self) -> str | None:
        headers = self.message.get("headers")
        message_id = headers.get("message-id") if isinstance(headers, dict) else None
        return message_id.strip("<>") if isinstance(message_id, str) else None

    def say(self, type: str, **more: Any) -> list[Event]:
        data = {
            "touch": self.touch,
            "channel": "email",
            "message_id": self.message_id,
            "address": self.recipient,
            **more,
        }
        return [
            event(
                type,
                source=Mailgun.name,
                source_id=f"{self.timestamp:%Y-%m-%d}/{self._id()}",
                occurred_at=self.timestamp,
                identities=identities(("email", self.recipient)),
                data={name: value for name, value in data.items() if value is not None},
            )
        ]

    def _id(self) -> str:
        return self.id if len(self.id) <= 200 else hashlib.sha256(self.id.encode()).hexdigest()


def _failed(item: _Item) -> list[Event]:
    status = item.status
    answer = " ".join(str(status.get(name) or "") for name in ("bounce-code", "enhanced-code", "message"))
    enhanced = re.search(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])", answer)
    cause = item.reason if item.reason and re.fullmatch(r"[a-z-]{1,40}", item.reason) else None
    code = status.get("code")
    reason = http.codes(
        item.severity, cause, str(code) if isinstance(code, int) else None, enhanced[0] if enhanced else None
    )
    if item.severity == "permanent" and cause == "suppress-unsubscribe":
        return item.say("message.unsubscribed", reason=reason)
    if item.severity == "permanent" and cause == "suppress-complaint":
        return item.say("message.complained", reason=reason)
    # Mailgun gives up for good over policy and reputation too; the address is at fault where the code says so, or
    # where Mailgun calls it a bounce and there is no code to say otherwise.
    of_address = mail.about_address(answer) or (cause == "bounce" and not enhanced) or cause == "suppress-bounce"
    return item.say("message.bounced", permanent=item.severity == "permanent" and of_address, reason=reason or None)


def _opened(item: _Item) -> list[Event]:
    # Google's proxy fetches a picture when a person looks at it; others fetch it whether anybody looks or not.
    return item.say("message.opened", machine=item.client.get("bot") not in (None, "", "gmail"))


def _clicked(item: _Item) -> list[Event]:
    return item.say("message.clicked", machine=item.client.get("bot") not in (None, ""), url=item.url)


_READERS: Mapping[str, Callable[[_Item], list[Event]]] = {
    "delivered": lambda item: item.say("message.delivered"),
    "failed": _failed,
    "rejected": lambda item: item.say("message.bounced", permanent=False, reason="rejected"),
    "opened": _opened,
    "clicked": _clicked,
    "complained": lambda item: item.say("message.complained"),
    "unsubscribed": lambda item: item.say("message.unsubscribed"),
}


def _events(item: object) -> list[Event]:
    """What a notice tells, or an item of the list: they have the same shape."""
    read = _READERS.get(_Kind.model_validate(item).event)
    return read(_Item.model_validate(item)) if read else []
