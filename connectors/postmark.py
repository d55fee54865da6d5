"""Postmark: mail goes out, on a stream by purpose; deliveries, bounces, opens, clicks and opt-outs come in.

Postmark signs nothing: it proves itself by a login (HTTP Basic), so a body is as true as that login is secret.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from connectors import http, mail
from connectors.base import Accepted, Message, Refused, Request, Told
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain, OptedOut, TryAgain, Unknown
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, one_line_errors, secrets_in
from contacts.events import Event, event, identities

LONGEST_PART = 5 * 1024 * 1024
"""Bytes of a text or HTML part."""

LONGEST_METADATA = 80
"""Characters of one metadata value."""

_KEY_PARTS = ("touch", "touch_1", "touch_2", "touch_3")
"""The metadata that a touch's key is cut up into."""

_LIMITS = Limits("postmark", named={"key": len(_KEY_PARTS) * LONGEST_METADATA})
_PARTS = Limits("postmark", each=LONGEST_PART, unit="bytes")

LISTED_WITHIN = timedelta(minutes=30)
"""How late a message may be listed. Postmark gives no figure: whether the list keeps to ours, it has to show."""

SETTLED = timedelta(minutes=10)
"""An index that shows messages taken this long after ours was, shows ours if there is one."""

Stream = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,29}$")]


class PostmarkSettings(Credentials):
    """``POSTMARK_*``.

    Attributes:
        server_token: Of the server that mail goes out by.
        webhook_login: ``user:password`` that its webhooks bring along; several with commas between them while one
            replaces another.
        transactional_stream: The stream of transactional messages.
        broadcast_stream: The stream of all others.
        track_opens: Whether a pixel tells when a mail is opened.
        track_clicks: Whether links lead through Postmark, which tells when they are followed.
    """

    model_config = SettingsConfigDict(env_prefix="POSTMARK_")

    server_token: SecretStr | None = None
    webhook_login: SecretStr | None = None
    transactional_stream: Stream = "outbound"
    broadcast_stream: Stream = "broadcast"
    track_opens: bool = False
    track_clicks: bool = False
    base_url: HttpUrl = HttpUrl("https://api.postmarkapp.com")

    @field_validator("webhook_login")
    @classmethod
    def _logins(cls, value: SecretStr | None) -> SecretStr | None:
        parts = value.get_secret_value().split(",") if value else ()
        if any(part.strip() and not all(part.strip().partition(":")) for part in parts):
            raise ValueError("is not user:password")
        return value


@checked
class Postmark:
    """The ``Source`` of what became of a mail, a ``Sender`` of mail, and the ``Sink`` of a yes after a no."""

    name: ClassVar[str] = "postmark"
    channel: ClassVar[str] = "email"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = LISTED_WITHIN

    def __init__(
        self,
        settings: PostmarkSettings,
        client: httpx.AsyncClient | None = None,
        *,
        from_address: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keeps the settings; connects to nothing.

        Args:
            settings: The account.
            client: The pool to call over.
            from_address: The sender, as ``Name <address>`` or an address alone; empty where nothing is sent.
            now: The machine's time, which tells how far behind Postmark's list is.

        Raises:
            ValueError: ``from_address`` holds no address.
        """
        self._settings = settings
        self._client = client or http.new_client()
        self._from = mail.sender(from_address) if from_address else None
        self._now = now

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``: the login, and nothing else, as Postmark signs neither body nor time."""
        logins = secrets_in(self._settings.webhook_login)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            raise Refused(401, "there is no HTTP Basic login")
        offered = given.strip().encode(errors="replace")
        if not any(hmac.compare_digest(b64encode(login), offered) for login in logins):
            raise Refused(401, "the login does not match")

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. Postmark has no event id: record, message, address and time together are one."""
        with one_line_errors():
            read = _READERS.get(_Kind.model_validate_json(request.body).RecordType)
            if read is None:
                return []
            notice = _Notice.model_validate_json(request.body)
            return read(notice)

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. ``provider_id`` is Postmark's message id, which its notices repeat.

        Raises:
            TryAgain, NeverAgain, Unknown: see ``connectors.errors``.
            BadAddress: Postmark has the address suppressed on this stream: it bounced or complained.
            OptedOut: ... its owner said no there, or on the broadcast stream nobody knows why.
        """
        if self._from is None:
            raise NeverAgain(self.name, "no sender is set (PERENNIAL_MAIL_FROM)")
        checked = mail.check(self.name, message, self._from.domain)
        _LIMITS.check({"key": message.key})
        _PARTS.check({"text": checked.text, "html": checked.html})
        settings = self._settings
        headers = {
            **checked.headers,
            "Message-ID": mail.message_id(message.key, self._from.domain),
            "X-PM-KeepID": "true",  # without it Postmark puts its own in place of ours
        }
        body: dict[str, Any] = {
            "From": str(self._from),
            "To": checked.to.addr_spec,
            "Subject": message.subject,
            "TextBody": checked.text,
            **({} if checked.html is None else {"HtmlBody": checked.html}),
            "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
            "Metadata": _metadata(message.key),
            "MessageStream": self._stream(message.purpose),
            "TrackOpens": settings.track_opens,
            "TrackLinks": "HtmlAndText" if settings.track_clicks else "None",
        }
        request = self._request("POST", "/email", json=body)
        try:
            answer = await http.call(self._client, _PROVIDER, request, _Answer, idempotent=False)
        except http.Rejected as error:
            if error.reason == f"422 {_INACTIVE}":
                raise await self._inactive(error.reason, body["MessageStream"], body["To"]) from None
            raise
        if answer.ErrorCode == _INACTIVE:
            # With one recipient this comes as 422; were it to come as 200, it would still not be taken.
            raise await self._inactive(f"200 {_INACTIVE}", body["MessageStream"], body["To"])
        if answer.ErrorCode:
            raise NeverAgain(self.name, f"200 {answer.ErrorCode}")
        if not answer.MessageID:
            raise Unknown(self.name, "200 without a message id")
        return Accepted(answer.MessageID)

    async def _inactive(self, reason: str, stream: str, address: str) -> NeverAgain:
        """What it means that a stream takes no mail for an address: the stream's list says why.

        Raises:
            TryAgain: It cannot be read now.
        """
        try:
            listed = await self._suppression(stream, address)
        except http.Rejected:
            listed = None
        why = (listed.SuppressionReason if listed else None) or ""
        # On the broadcast stream it counts as a no, which a later yes takes back. Receipts need no yes.
        unsaid = OptedOut if stream == self._settings.broadcast_stream else NeverAgain
        return _MEANS.get(why, unsaid)(self.name, f"{reason} {http.codes(why)}".strip())

    async def _suppression(self, stream: str, address: str) -> "_Suppression | None":
        path = f"/message-streams/{stream}/suppressions/dump"
        request = self._request("GET", path, params={"EmailAddress": address})
        page = await http.call(self._client, _PROVIDER, request, _Suppressions, idempotent=True)
        # The filter may find an address by a part of it.
        return next((s for s in page.Suppressions if s.EmailAddress.casefold() == address.casefold()), None)

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``: a yes to mail takes back the recipient's own earlier no to the broadcast stream.

        A bounce stays, and so does what an operator has put on the list.
        """
        if told.type != "consent.granted":
            raise NeverAgain(self.name, f"takes consent.granted, and no {told.type}")
        email, stream = told.known_as("email"), self._settings.broadcast_stream
        about_mail = told.data.get("channel") in ("email", "all") and told.data.get("purpose") != "transactional"
        listed = await self._suppression(stream, email) if email is not None and about_mail else None
        if listed is None or not listed.is_their_word_before(told.occurred_at):
            return None
        body = {"Suppressions": [{"EmailAddress": listed.EmailAddress}]}
        request = self._request("POST", f"/message-streams/{stream}/suppressions/delete", json=body)
        answer = await http.call(self._client, _PROVIDER, request, _Lifted, idempotent=True)
        if any(each.Status != "Deleted" for each in answer.Suppressions):
            raise NeverAgain(self.name, "Postmark keeps the address on its list")
        return None

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``. What Postmark lists, it has.

        What it does not list may not be listed yet, and for how long Postmark does not say. So the list has to show
        that it is up to date, by a message newer than any that a call ``LISTED_WITHIN`` ago can have made.

        Raises:
            TryAgain: It is not listed, and neither is anything new enough.
            NeverAgain: No server token is set, or Postmark refuses it.
        """
        # First whether the list has come so far, then whether the message is in it: the other way round, a list that
        # catches up in between would be believed about a message it did not have yet.
        up_to_date = self._now() - LISTED_WITHIN + SETTLED
        newest = [await self._search(stream) for stream in self._streams()]
        has_come_so_far = any(found.ReceivedAt >= up_to_date for page in newest for found in page)
        for stream in self._streams():
            for found in await self._search(stream, metadata_touch_hash=_hash(key)):
                return Accepted(found.MessageID)
        if not has_come_so_far:
            raise TryAgain(self.name, "the message is not listed, and neither is any new one", delay=SETTLED / 2)
        return None

    def _stream(self, purpose: str) -> str:
        settings = self._settings
        return settings.transactional_stream if purpose == "transactional" else settings.broadcast_stream

    def _streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._settings.transactional_stream, self._settings.broadcast_stream)))

    async def _search(self, stream: str, **by: str) -> "list[_Found]":
        """The newest message of a stream, or of those that match."""
        params = {"count": "1", "offset": "0", "messagestream": stream, **by}
        request = self._request("GET", "/messages/outbound", params=params)
        return (await http.call(self._client, _PROVIDER, request, _Page, idempotent=True)).Messages

    def _request(self, method: str, path: str, **what: Any) -> httpx.Request:
        if not self._settings.server_token:
            raise NeverAgain(self.name, "no server token is set (POSTMARK_SERVER_TOKEN)")
        headers = {
            "Accept": "application/json",
            "X-Postmark-Server-Token": self._settings.server_token.get_secret_value().strip(),
        }
        url = str(self._settings.base_url).rstrip("/") + path
        return self._client.build_request(method, url, headers=headers, **what)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _metadata(key: str) -> dict[str, str]:
    """A touch's key, cut to the length of a value, and its hash, which is what it can be found by."""
    parts = [key[start : start + LONGEST_METADATA] for start in range(0, len(key), LONGEST_METADATA)]
    return {**dict(zip(_KEY_PARTS, parts, strict=False)), "touch_hash": _hash(key)}


def _touch(metadata: Mapping[str, Any]) -> str | None:
    """The key that ``_metadata`` cut up; a key of somebody else's making has one part."""
    parts = [metadata.get(name) for name in _KEY_PARTS]
    return "".join(part for part in parts if isinstance(part, str)) or None


class _Answer(Body):
    ErrorCode: int = 0
    MessageID: str = ""


class _Found(Body):
    MessageID: str
    ReceivedAt: Moment


class _Page(Body):
    Messages: list[_Found]


_INACTIVE = 406
"""The error code of an address that a stream takes no mail for."""

_MEANS: Mapping[str, type[NeverAgain]] = {
    "ManualSuppression": OptedOut,
    "HardBounce": BadAddress,
    "SpamComplaint": BadAddress,
}
"""By the reason on the stream's list."""


class _Suppression(Body):
    EmailAddress: str
    SuppressionReason: str | None = None
    Origin: str | None = None
    CreatedAt: Moment | None = None

    def is_their_word_before(self, moment: datetime) -> bool:
        """Whether the recipient said no, and earlier than that."""
        theirs = self.SuppressionReason == "ManualSuppression" and self.Origin == "Recipient"
        return theirs and self.CreatedAt is not None and self.CreatedAt <= moment


class _Suppressions(Body):
    Suppressions: list[_Suppression]


class _Status(Body):
    Status: str


class _Lifted(Body):
    Suppressions: list[_Status]


def _refusal(response: httpx.Response) -> http.Refusal:
    code = http.body_of(response).get("ErrorCode")
    return http.Refusal(str(code) if isinstance(code, int) else "")


# 503: Postmark is down for maintenance and takes nothing.
_PROVIDER = http.Provider("postmark", busy=frozenset({429, 503}), read=_refusal)


class _Kind(Body):
    RecordType: str = ""


Known = Annotated[Mapping[str, Any], BeforeValidator(lambda value: value or {})]


class _Notice(Body):
    RecordType: str
    MessageID: str | None = None
    MessageStream: str | None = None
    Metadata: Known = Field(default_factory=dict)
    Recipient: str | None = None
    Email: str | None = None
    ID: str | None = None
    Type: str | None = None
    Inactive: bool | None = None
    FirstOpen: bool | None = None
    OriginalLink: str | None = None
    SuppressSending: bool | None = None
    SuppressionReason: str | None = None
    Origin: str | None = None
    DeliveredAt: Moment | None = None
    BouncedAt: Moment | None = None
    ReceivedAt: Moment | None = None
    ChangedAt: Moment | None = None

    def say(self, type: str, at: datetime | None, **more: Any) -> list[Event]:
        if at is None:
            raise ValueError("the notice has no time")
        address = (self.Recipient or self.Email or "").strip()
        # The address is in the id, as one message may go to several; hashed, as ids are for logs.
        what = (self.MessageID, address.lower(), self.ID, at.isoformat(), self.OriginalLink)
        data = {
            "touch": _touch(self.Metadata),
            "channel": "email",
            "message_id": self.MessageID,
            "stream": self.MessageStream,
            "address": address or None,
            **more,
        }
        return [
            event(
                type,
                source=Postmark.name,
                source_id=f"{self.RecordType}/{_hash(chr(31).join(str(part) for part in what))[:40]}",
                occurred_at=at,
                identities=identities(("email", address)),
                data={name: value for name, value in data.items() if value is not None},
            )
        ]


def _delivered(notice: _Notice) -> list[Event]:
    return notice.say("message.delivered", notice.DeliveredAt)


def _bounced(notice: _Notice) -> list[Event]:
    kind = notice.Type or ""
    if kind == "SpamComplaint":
        return _complained(notice)
    if kind == "Unsubscribe":
        return notice.say("message.unsubscribed", notice.BouncedAt, reason=kind)
    # Not every type is about the address, and the same type may or may not be final: Postmark says so apart.
    if kind in ("AutoResponder", "Subscribe", "ChallengeVerification") and not notice.Inactive:
        return []
    return notice.say("message.bounced", notice.BouncedAt, permanent=bool(notice.Inactive), reason=kind or None)


def _complained(notice: _Notice) -> list[Event]:
    return notice.say("message.complained", notice.BouncedAt)


def _opened(notice: _Notice) -> list[Event]:
    return notice.say("message.opened", notice.ReceivedAt, first=notice.FirstOpen)


def _clicked(notice: _Notice) -> list[Event]:
    return notice.say("message.clicked", notice.ReceivedAt, url=notice.OriginalLink)


def _subscription_changed(notice: _Notice) -> list[Event]:
    at, why = notice.ChangedAt, {"reason": notice.SuppressionReason, "origin": notice.Origin}
    if not notice.SuppressSending:
        # The address takes mail again; whoever it belongs to has not said yes to us by that.
        return notice.say("address.reactivated", at, **why)
    if notice.SuppressionReason == "HardBounce":
        return notice.say("message.bounced", at, permanent=True, **why)
    if notice.SuppressionReason == "SpamComplaint":
        return notice.say("message.complained", at, **why)
    return notice.say("message.unsubscribed", at, **why)


_READERS: Mapping[str, Callable[[_Notice], list[Event]]] = {
    "Delivery": _delivered,
    "Bounce": _bounced,
    "SpamComplaint": _complained,
    "Open": _opened,
    "Click": _clicked,
    "SubscriptionChange": _subscription_changed,
}
