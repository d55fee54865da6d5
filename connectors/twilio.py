"""Twilio: text messages go out; what became of them, answers, and STOP and START come in.

A request is signed over its URL and its form's fields, without a time. A capture can thus be sent again for ever, and
does nothing: every status of a message and every inbound message is one event with one id.
"""

import hashlib
import hmac
import re
import unicodedata
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote

import httpx
from pydantic import Field, HttpUrl, SecretStr, model_validator
from pydantic_core import from_json
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Accepted, Message, Refused, Reply, Request, key_of, tag_of
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain, OptedOut
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, one_line_errors, secrets_in
from contacts.events import Event, InvalidEvent, event, identities, identity

LONGEST_TEXT = 1600
"""Characters of a message, as UTF-16 counts them; Twilio refuses longer ones."""

_LIMITS = Limits("twilio", named={"text": LONGEST_TEXT}, unit="characters of UTF-16")

RETRIES = "#rc=5&rp=all"
"""Asks Twilio to repeat a callback we did not take, which by itself it would not. It does so within 15 seconds."""

RANKS = {
    "accepted": 0, "scheduled": 1, "queued": 2, "sending": 3, "sent": 4,
    "canceled": 5, "failed": 5, "undelivered": 5, "partially_delivered": 5, "delivered": 6, "read": 7,
}  # fmt: skip
"""How far a message has come. Callbacks arrive in any order: the status of the highest rank is where it stands."""

_KINDS = {
    "delivered": "message.delivered",
    "read": "message.opened",
    "failed": "message.bounced",
    "undelivered": "message.bounced",
}

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "UNSTOP"})
"""Without YES: Twilio unblocks a number for it, but whoever says yes may be answering a question of ours."""
HELP_WORDS = frozenset({"HELP", "INFO"})

OPTED_OUT = "21610"

_NO_SUCH_NUMBER = frozenset({"21211", "21614", "21635", "30005"})
"""Not a number, not a mobile, a landline, unknown to its network."""

_MOST_FIELDS = 500


class TwilioSettings(Credentials):
    """``TWILIO_*``.

    Attributes:
        account_sid: Whose messages they are.
        auth_token: Signs what Twilio sends; several may stand side by side, with commas, while one replaces another.
            The first one also makes our calls, where there is no API key. ``signing_secret``, the name other connectors
            use, is understood too where settings are given as credentials.
        api_key: With ``api_key_secret``, makes our calls instead of the account's token. It signs nothing.
        messaging_service_sid: Sends; the service chooses the number.
        from_number: Sends where there is no service, or is the one the service must use: a number, short code or name.
        status_callback: The address of this webhook, ``https://<your host>/webhooks/twilio``; without it nobody says
            what became of a message.
        validity_seconds: How long a message may wait at Twilio; there, no gate can hold it back any more.
        calls_per_second: One, which is what a long number may send: more would wait at Twilio instead of with us.
    """

    model_config = SettingsConfigDict(env_prefix="TWILIO_")

    account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-fA-F]{32}$")] | None = None
    auth_token: SecretStr | None = None
    api_key: str | None = None
    api_key_secret: SecretStr | None = None
    messaging_service_sid: Annotated[str, Field(pattern=r"^MG[0-9a-fA-F]{32}$")] | None = None
    from_number: Annotated[str, Field(pattern=r"^(\+?[0-9]{3,15}|[A-Za-z0-9 ]{1,11})$")] | None = None
    status_callback: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:-]+(/[^?#\s]*)?$")] | None = None
    validity_seconds: Annotated[int, Field(ge=1, le=36_000)] = 3600
    base_url: HttpUrl = HttpUrl("https://api.twilio.com")
    calls_per_second: Annotated[float, Field(gt=0)] | None = 1

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "signing_secret" in values:
            values = {**values, "auth_token": values["signing_secret"]}
        return values


@checked
class Twilio:
    """The ``Sender`` of text messages, and the ``Source`` of what comes back."""

    name: ClassVar[str] = "twilio"
    channel: ClassVar[str] = "sms"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, settings: TwilioSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. There is no timestamp to hold against ``now``."""
        tokens = secrets_in(self._settings.auth_token)
        signature = request.headers.get("x-twilio-signature", "")
        if not signature:
            raise Refused(401, "there is no X-Twilio-Signature header")
        try:
            digest, form = _body_digest(request.url), _form(request)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        if digest is not None:
            if not hmac.compare_digest(
                hashlib.sha256(request.body).hexdigest().encode(), digest.lower().encode(errors="replace")
            ):
                raise Refused(401, "the body is not the one bodySHA256 names")
            signed = ""
        else:
            signed = "".join(name + value for name, value in sorted(set(form)))
        given = signature.encode(errors="replace")
        messages = [f"{url}{signed}".encode(errors="replace") for url in _spellings(request.url)]
        made = [b64encode(hmac.new(token, text, hashlib.sha1).digest()) for token in tokens for text in messages]
        if not any(hmac.compare_digest(mac, given) for mac in made):
            raise Refused(401, "the signature does not match")

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. Twilio says no times, so everything occurred when it was received."""
        fields = _fields(request)
        with one_line_errors():
            if "MessageStatus" in fields:
                return _became(_Status.model_validate(fields), _touch(request.url), received_at)
            if "Body" in fields:
                return _said(_Inbound.model_validate(fields), received_at)
        return []

    def reply(self, request: Request) -> Reply:
        """See ``Replies.reply``: TwiML that does nothing. Any other answer to a message would be sent to its author."""
        return Reply(b'<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml")

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. The text alone is sent: it has to say itself how one gets out."""
        form = {"To": message.to, "Body": message.text, "ValidityPeriod": str(self._settings.validity_seconds)}
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", message.to):
            raise BadAddress(self.name, "the recipient's address is not a phone number with its country")
        _check_text(message.text)
        if self._settings.status_callback:
            form["StatusCallback"] = f"{self._settings.status_callback}?touch={quote(tag_of(message.key))}{RETRIES}"
        return await self._create({**form, **self._sender()})

    async def look_up(self, key: str) -> Accepted | None:
        """Never answers.

        Messages carry no key of ours that one could ask by. They are found by number and by the day they were sent,
        which one in the queue was not yet: a list without it proves nothing.

        Raises:
            NeverAgain: Always.
        """
        raise NeverAgain(self.name, "Twilio cannot be asked whether it has a message")

    def _sender(self) -> dict[str, str]:
        settings = self._settings
        chosen = {"MessagingServiceSid": settings.messaging_service_sid, "From": settings.from_number}
        found = {name: value for name, value in chosen.items() if value}
        if not found:
            raise NeverAgain(self.name, "no sender is set (TWILIO_MESSAGING_SERVICE_SID or TWILIO_FROM_NUMBER)")
        return found

    async def _create(self, form: Mapping[str, str]) -> Accepted:
        settings = self._settings
        if not settings.account_sid:
            raise NeverAgain(self.name, "no account is set (TWILIO_ACCOUNT_SID)")
        url = f"{str(settings.base_url).rstrip('/')}/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        request = self._client.build_request("POST", url, data=form, headers={"Authorization": self._credentials()})
        try:
            made, request_id = await http.exchange(self._client, _PROVIDER, request, _Created, idempotent=False)
        except http.Rejected as error:
            code = error.reason.rpartition(" ")[2]
            if code in _NO_SUCH_NUMBER | {OPTED_OUT}:
                refused = OptedOut if code == OPTED_OUT else BadAddress
                raise refused(self.name, error.reason, request_id=error.request_id) from None
            raise
        return Accepted(made.sid, request_id)

    def _credentials(self) -> str:
        settings = self._settings
        if settings.api_key and settings.api_key_secret:
            pair = f"{settings.api_key}:{settings.api_key_secret.get_secret_value().strip()}"
        elif settings.auth_token:
            pair = f"{settings.account_sid}:{settings.auth_token.get_secret_value().split(',')[0].strip()}"
        else:
            raise NeverAgain(self.name, "no token is set (TWILIO_AUTH_TOKEN, or TWILIO_API_KEY with its secret)")
        return f"Basic {b64encode(pair.encode()).decode()}"


class _Created(Body):
    sid: Annotated[str, Field(min_length=1)]


def _refusal(response: httpx.Response) -> http.Refusal:
    code = http.body_of(response).get("code")
    return http.Refusal(
        http.codes(str(code) if isinstance(code, int) else None), response.headers.get("twilio-request-id")
    )


# A 5xx does not say whether the message was taken, and Twilio drops no repeats: only 429 is sure.
_PROVIDER = http.Provider("twilio", busy=frozenset({429}), read=_refusal)


def _check_text(text: str) -> None:
    if not text.strip():
        raise NeverAgain(Twilio.name, "text is empty")
    if any(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in text):
        raise NeverAgain(Twilio.name, "text holds a control character")
    _LIMITS.check({"text": text})


def _spellings(url: str) -> list[str]:
    """The URL with its port and without: Twilio does not always sign the one that was typed into its console."""
    found = re.fullmatch(r"(https?)://([^/?#]*?)(:[0-9]+)?([/?#].*)?", url, flags=re.S)
    if found is None:
        return [url]
    scheme, host, port, rest = found.groups(default="")
    return [f"{scheme}://{host}{rest}", f"{scheme}://{host}{port or {'https': ':443', 'http': ':80'}[scheme]}{rest}"]


def _query(url: str) -> list[tuple[str, str]]:
    return _pairs(url.partition("#")[0].partition("?")[2], "query")


def _form(request: Request) -> list[tuple[str, str]]:
    """The fields of a form; none where the body is covered by a digest in the URL instead."""
    return [] if _body_digest(request.url) is not None else _pairs(request.body.decode("latin-1"), "body")


def _pairs(text: str, what: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:  # its own words quote the body
        raise InvalidEvent(what, f"is not a form in UTF-8 of at most {_MOST_FIELDS} fields") from None


def _body_digest(url: str) -> str | None:
    return next((value for name, value in _query(url) if name == "bodySHA256"), None)


def _touch(url: str) -> str | None:
    """The key we put into the callback's address, which is signed."""
    return next((key_of(value) for name, value in _query(url) if name == "touch" and value), None)


def _fields(request: Request) -> Mapping[str, Any]:
    if _body_digest(request.url) is not None:
        try:
            document = from_json(request.body)
        except ValueError:
            raise InvalidEvent("body", "is not JSON") from None
        if not isinstance(document, dict):
            raise InvalidEvent("body", "is not an object")
        return document
    fields: dict[str, str] = {}
    for name, value in _form(request):
        # What is signed is sorted: of two values nobody could say which one Twilio sent first.
        if fields.setdefault(name, value) != value:
            raise InvalidEvent(name if name.isalnum() and len(name) <= 60 else "body", "has two values")
    return fields


class _Status(Body):
    MessageSid: Annotated[str, Field(min_length=1, max_length=100)]
    MessageStatus: str
    To: str = ""
    ErrorCode: str | None = None


class _Inbound(Body):
    MessageSid: Annotated[str, Field(min_length=1, max_length=100)]
    From: str
    Body: str
    NumMedia: str = "0"
    OptOutType: str | None = None


def _number(address: str) -> str:
    """The number in an address, which has another channel's name before it where Twilio chose that."""
    return address.rpartition(":")[2]


def _became(said: _Status, touch: str | None, at: datetime) -> list[Event]:
    status = said.MessageStatus.lower()
    if status not in RANKS:
        return []
    told = {"touch": touch, "channel": "sms", "message_id": said.MessageSid, "status": status, "rank": RANKS[status]}
    kind = _KINDS.get(status, "custom.sms_status")
    if kind == "message.bounced":
        phone = identity("phone", _number(said.To))
        permanent = said.ErrorCode in _NO_SUCH_NUMBER
        told |= {"permanent": permanent, "address": phone.value if phone else None, "reason": said.ErrorCode}
    known = {name: value for name, value in told.items() if value is not None}
    events = [_event(kind, f"{said.MessageSid}:{status}", at, said.To, known)]
    if said.ErrorCode == OPTED_OUT:
        # A service takes a message before it looks at who opted out; then only this says so.
        events.append(_event("consent.withdrawn", f"{said.MessageSid}:opted_out", at, said.To, _word("STOP", said)))
    return events


def _said(said: _Inbound, at: datetime) -> list[Event]:
    match _heard(said):
        case "STOP":
            return [_event("consent.withdrawn", said.MessageSid, at, said.From, _word("STOP", said))]
        case "START":
            # Somebody who writes this on another channel did not ask for text messages.
            asked = _number(said.From) == said.From
            return [_event("consent.granted", said.MessageSid, at, said.From, _word("START", said))] if asked else []
        case heard:
            media = {"media": said.NumMedia} if said.NumMedia != "0" else {}
            data = {"channel": "sms", "message_id": said.MessageSid, "text": said.Body, **media}
            kind = "custom.sms_help" if heard == "HELP" else "message.replied"
            return [_event(kind, said.MessageSid, at, said.From, data)]


def _event(type: str, source_id: str, at: datetime, person: str, data: Mapping[str, Any]) -> Event:
    return event(
        type,
        source=Twilio.name,
        source_id=source_id,
        occurred_at=at,
        identities=identities(("phone", _number(person))),
        data=data,
    )


def _heard(said: _Inbound) -> Literal["STOP", "START", "HELP"] | None:
    """The keyword in a message. Twilio names it where the service reads keywords; elsewhere they are read here."""
    word = (said.OptOutType or said.Body).strip(" \t\r\n.!\"'").upper().replace(" ", "")
    if word in STOP_WORDS:
        return "STOP"
    if word in START_WORDS:
        return "START"
    return "HELP" if word in HELP_WORDS else None


def _word(word: str, said: _Status | _Inbound) -> dict[str, Any]:
    return {"channel": "sms", "purpose": "all", "evidence": f"{word} by SMS, {said.MessageSid}"}
