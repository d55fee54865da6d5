"""Twilio SendGrid: mail goes out; deliveries, bounces, opens, clicks, complaints and opt-outs come in, in batches."""

import hashlib
import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import httpx
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import Field, HttpUrl, RootModel, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors import http, mail
from connectors.base import Accepted, Message, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain, Unknown
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, check_age, one_line_errors, secrets_in
from contacts.events import Event, PartlyUnderstood, event, identities

LARGEST_MAIL = 30 * 1024 * 1024
"""Bytes of text and HTML together."""

_LIMITS = Limits("sendgrid", named={"text and html": LARGEST_MAIL}, unit="bytes")

RETRIED_FOR = timedelta(hours=25)
"""How old a signed request may be: SendGrid tries for a day, and does not say that it signs anew each time.

A repeat changes nothing, for its events have the ids they had.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SendGridSettings(Credentials):
    """``SENDGRID_*``.

    Attributes:
        verification_key: The public key of the signed event webhook, as SendGrid shows it (base64, one line); several
            with commas between them, as each webhook has its own. As a credential ``signing_secret``, the name other
            connectors use, is understood too.
        track_opens: Whether a pixel tells when a mail is opened.
        track_clicks: Whether links lead through SendGrid, which tells when they are followed.
        base_url: ``https://api.eu.sendgrid.com`` for a subuser that lives in the EU.
    """

    model_config = SettingsConfigDict(env_prefix="SENDGRID_")

    api_key: SecretStr | None = None
    verification_key: SecretStr | None = None
    track_opens: bool = False
    track_clicks: bool = False
    base_url: HttpUrl = HttpUrl("https://api.sendgrid.com")
    calls_per_second: Annotated[float, Field(gt=0)] | None = 10_000

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "signing_secret" in values:
            values = {**values, "verification_key": values["signing_secret"]}
        return values

    @field_validator("verification_key")
    @classmethod
    def _keys(cls, value: SecretStr | None) -> SecretStr | None:
        for part in value.get_secret_value().split(",") if value else ():
            if part.strip():
                _public_key(part.strip().encode())
        return value


@checked
class SendGrid:
    """The ``Source`` of what became of a mail, and a ``Sender`` of mail."""

    name: ClassVar[str] = "sendgrid"
    channel: ClassVar[str] = "email"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(
        self, settings: SendGridSettings, client: httpx.AsyncClient | None = None, *, from_address: str = ""
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
        """See ``Source.verify``: ECDSA on P-256 with SHA-256 over timestamp and raw body.

        A signature of another SendGrid account is as good as none: only our webhook's key is tried.
        """
        keys = [_public_key(key) for key in secrets_in(self._settings.verification_key)]
        given = request.headers.get("x-twilio-email-event-webhook-signature", "")
        sent = request.headers.get("x-twilio-email-event-webhook-timestamp", "")
        if not given:
            raise Refused(401, "there is no X-Twilio-Email-Event-Webhook-Signature header")
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 11):
            raise Refused(400, "X-Twilio-Email-Event-Webhook-Timestamp is not a number of seconds")
        try:
            signature = b64decode(given, validate=True)
        except ValueError:
            raise Refused(400, "X-Twilio-Email-Event-Webhook-Signature is not base64") from None
        if not any(_signed(key, signature, sent.encode() + request.body) for key in keys):
            raise Refused(401, "the signature does not match")
        check_age(_EPOCH + timedelta(seconds=int(sent)), now, RETRIED_FOR)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is SendGrid's event id, which its many repeats repeat.

        Raises:
            PartlyUnderstood: Some items do not parse; those that do are in its ``events``.
        """
        with one_line_errors():
            items = _Batch.model_validate_json(request.body).root
        events: list[Event] = []
        faults: list[str] = []
        for position, item in enumerate(items):
            try:
                with one_line_errors():
                    events += _events(item)
            except ValueError as error:
                faults.append(f"item {position}: {error}")
        if faults:
            raise PartlyUnderstood(f"{faults[0]} ({len(faults)} of {len(items)} items do not parse)", events)
        return events

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. ``provider_id`` is SendGrid's message id, with which the id in its events begins.

        SendGrid takes the mail for suppressed addresses too and then drops it: a ``dropped`` event tells.

        Raises:
            TryAgain, NeverAgain, Unknown: see ``connectors.errors``.
            BadAddress: SendGrid will not write to an address of this form.
        """
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (SENDGRID_API_KEY)")
        if self._from is None:
            raise NeverAgain(self.name, "no sender is set (PERENNIAL_MAIL_FROM)")
        checked = mail.check(self.name, message, self._from.domain)
        parts = {"text/plain": checked.text, "text/html": checked.html or ""}
        for field, empty in (("subject", not message.subject.strip()), ("text", not any(parts.values()))):
            if empty:
                raise NeverAgain(self.name, f"{field} is empty")
        _LIMITS.check({"text and html": "".join(parts.values())})
        tracks = self._settings
        body = {
            "personalizations": [{"to": [{"email": checked.to.addr_spec}]}],
            "from": {
                "email": self._from.addr_spec,
                **({"name": self._from.display_name} if self._from.display_name else {}),
            },
            "subject": message.subject,
            # SendGrid wants plain text first, and no part without a character in it.
            "content": [{"type": type, "value": value} for type, value in parts.items() if value],
            "headers": {**checked.headers, "Message-ID": mail.message_id(message.key, self._from.domain)},
            "custom_args": {"touch": message.key},
            "tracking_settings": {
                "open_tracking": {"enable": tracks.track_opens},
                "click_tracking": {"enable": tracks.track_clicks, "enable_text": False},
                "subscription_tracking": {"enable": False},
                "ganalytics": {"enable": False},
            },
            "mail_settings": {"footer": {"enable": False}},
        }
        request = self._client.build_request(
            "POST",
            str(tracks.base_url).rstrip("/") + "/v3/mail/send",
            headers={"Authorization": f"Bearer {self._settings.api_key.get_secret_value().strip()}"},
            json=body,
        )
        try:
            answer = await http.ask(self._client, _PROVIDER, request, idempotent=False)
        except http.Rejected as error:
            if error.status == 400 and _RECIPIENT in error.reason.split():
                raise BadAddress(self.name, error.reason, request_id=error.request_id) from None
            raise
        id = answer.headers.get("x-message-id", "")
        if not id:
            reason = f"{answer.status_code} without a message id"
            raise Unknown(self.name, reason, request_id=_refusal(answer).request_id)
        return Accepted(id)

    async def look_up(self, key: str) -> Accepted | None:
        """Never answers.

        Raises:
            NeverAgain: Always; SendGrid cannot be asked by our key.
        """
        raise NeverAgain(self.name, "SendGrid cannot be asked what became of a message")


def _public_key(text: bytes) -> EllipticCurvePublicKey:
    try:
        key = load_der_public_key(b64decode(text, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("is not the public key of a signed event webhook")
    return key


def _signed(key: EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


_RECIPIENT = "personalizations.0.to.0.email"


def _refusal(response: httpx.Response) -> http.Refusal:
    body = http.body_of(response)
    errors = body.get("errors")
    fields = [error.get("field") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return http.Refusal(http.codes(*fields), http.codes(body.get("id")) or None, _until_reset(response))


def _until_reset(response: httpx.Response) -> timedelta | None:
    """How long until there are calls left again; an hour at most, for a clock that is wrong must not stop all mail."""
    reset = response.headers.get("x-ratelimit-reset", "")
    if not (reset.isascii() and reset.isdigit() and len(reset) <= 11):
        return None
    seconds = min(int(reset) - time.time(), 3600)
    return timedelta(seconds=seconds) if seconds > 0 else None


# 503: the API is not there at all, so nothing was taken.
_PROVIDER = http.Provider("sendgrid", busy=frozenset({429, 503}), read=_refusal)


class _Batch(RootModel[list[Any]]):
    """What happened since the last batch."""


class _Kind(Body):
    event: str


class _Item(Body):
    event: str
    timestamp: Moment
    email: str | None = None
    sg_event_id: str | None = None
    sg_message_id: str | None = None
    touch: Any = None
    type: str | None = None
    reason: str | None = None
    status: str | None = None
    bounce_classification: str | None = None
    url: str | None = None
    asm_group_id: str | None = None
    sg_machine_open: bool | None = None

    def say(self, type: str, **more: Any) -> list[Event]:
        data = {
            "touch": self.touch if isinstance(self.touch, str) else None,
            "channel": "email",
            "message_id": self._message_id(),
            "address": self.email,
            **more,
        }
        return [
            event(
                type,
                source=SendGrid.name,
                source_id=self._id(),
                occurred_at=self.timestamp,
                identities=identities(("email", self.email)),
                data={name: value for name, value in data.items() if value is not None},
            )
        ]

    def _message_id(self) -> str | None:
        """As it was when the mail was taken: events append by which of SendGrid's machines it went."""
        return re.split(r"\.(?=filter|recv)", self.sg_message_id)[0] if self.sg_message_id else None

    def _id(self) -> str:
        if self.sg_event_id and len(self.sg_event_id) <= 255:
            return self.sg_event_id
        # Events of older features come without an id.
        what = (self.event, self.sg_event_id, self.sg_message_id, self.email, self.timestamp.isoformat(), self.url)
        return f"{self.event[:100]}/{hashlib.sha256(repr(what).encode(errors='replace')).hexdigest()[:40]}"


_ABOUT_US = ("content", "frequency", "reputation", "technical")
"""How the classes of bounces begin that say nothing of the address."""


def _bounced(item: _Item) -> list[Event]:
    of_class = (item.bounce_classification or "").strip().lower()
    final = (item.type or "bounce") == "bounce" and not of_class.startswith(_ABOUT_US)
    reason = http.codes(item.type, _code(item.bounce_classification), item.status)
    return item.say("message.bounced", permanent=final, reason=reason or None)


def _dropped(item: _Item) -> list[Event]:
    why = _code(item.reason)
    reason = http.codes("dropped", why)
    if why == "unsubscribed_address":
        return item.say("message.unsubscribed", reason=reason)
    if why == "spam_reporting_address":
        return item.say("message.complained", reason=reason)
    return item.say("message.bounced", permanent=why in ("bounced_address", "invalid"), reason=reason)


_REASONS = (
    "bounced_address", "unsubscribed_address", "spam_reporting_address", "invalid", "spam_content",
    "invalid_smtpapi_header", "recipient_list_over_package_quota",
    "invalid_address", "mailbox_unavailable", "technical", "technical_failure", "content", "reputation",
    "frequency_volume", "frequency_or_volume_too_high", "unclassified",
)  # fmt: skip


def _code(said: str | None) -> str | None:
    """One of SendGrid's own words for why; anything else may be a server's prose, which quotes addresses."""
    word = "_".join(re.findall(r"[a-z]+", (said or "").lower()))
    return word if word in _REASONS else None


_READERS: Mapping[str, Callable[[_Item], list[Event]]] = {
    "delivered": lambda item: item.say("message.delivered"),
    "bounce": _bounced,
    "dropped": _dropped,
    "deferred": lambda item: item.say("message.bounced", permanent=False, reason="deferred"),
    "open": lambda item: item.say("message.opened", machine=item.sg_machine_open),
    "click": lambda item: item.say("message.clicked", url=item.url),
    "spamreport": lambda item: item.say("message.complained"),
    "unsubscribe": lambda item: item.say("message.unsubscribed"),
    "group_unsubscribe": lambda item: item.say("message.unsubscribed", group=item.asm_group_id),
}
"""``processed`` is our own doing; who resubscribes to a group at SendGrid has not said yes to us."""


def _events(item: object) -> list[Event]:
    read = _READERS.get(_Kind.model_validate(item).event)
    return read(_Item.model_validate(item)) if read else []
