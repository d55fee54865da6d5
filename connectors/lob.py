"""Lob: letters and postcards go out; what the post did with them comes in.

Lob keeps an idempotency key for a day. So that a touch is printed once for ever, it is also looked for under its key
before it is made: within the day the key holds, and after it the list does.
"""

from binascii import hexlify
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Annotated, Any, ClassVar, Literal

import httpx
from pydantic import Field, HttpUrl, SecretStr
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Accepted, Message, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain
from connectors.fields import check_header, checked
from connectors.limits import Limits
from connectors.postal import PostalAddress, address_in
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, event, identities

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

HTML_LIMIT = 10_000
VARIABLES_LIMIT = 25_000

# The key of an order is also among its metadata, where 500 would do.
_LIMITS = Limits(
    "lob", named={"key": 256, "to": 500, "text as a page": HTML_LIMIT, "subject and text": VARIABLES_LIMIT}
)
_NAMES = {"metadata.address.name": 40, "metadata.address.company": 40, "metadata.address.postal_code": 40}
_ABROAD = Limits("lob", named=_NAMES)
_IN_THE_US = Limits("lob", named={**_NAMES, "metadata.address.line1": 64, "metadata.address.line2": 64})


class LobSettings(Credentials):
    """``LOB_*``.

    Attributes:
        api_key: ``live_...`` prints and costs money; ``test_...`` does neither.
        signing_secret: The webhook's secret; several with commas.
        piece: What goes out.
        sender: Who it is from: the id of an address kept at Lob, ``adr_...``, in the US.
        template: A template's id, ``tmpl_...``, which gets ``subject`` and ``text``; without it our text is laid out
            plainly. On a postcard it is the back.
        front: The front of a postcard: a template's id, or the address of a picture or PDF.
        size: Of a postcard.
        verify_us: Ask first whether the post delivers to a US address; Lob charges for each question.
    """

    model_config = SettingsConfigDict(env_prefix="LOB_")

    api_key: SecretStr | None = None
    signing_secret: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://api.lob.com/v1")
    piece: Literal["letter", "postcard"] = "letter"
    sender: str | None = None
    template: Annotated[str, Field(pattern=r"^tmpl_[A-Za-z0-9]+$")] | None = None
    front: str | None = None
    size: Literal["4x6", "6x9", "6x11"] = "4x6"
    verify_us: bool = False


@checked
class Lob:
    """The ``Sender`` of mail on paper, and the ``Source`` of what became of it."""

    name: ClassVar[str] = "lob"
    channel: ClassVar[str] = "mail"
    idempotent: ClassVar[bool] = True
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, settings: LobSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. ``metadata["address"]`` is where it goes, see ``connectors.postal``.

        ``to`` is the contact's e-mail address: it goes along as metadata, so that what Lob tells us later names them.
        """
        address = address_in(message.metadata, self.name)
        piece = self._piece(message, _addressed(address))
        if (before := await self._made(message.key)) is not None:
            return before
        if self._settings.verify_us and address.country == "US":
            await self._deliverable(address)
        try:
            order = self._request("POST", self._path, json=piece, headers={"Idempotency-Key": message.key})
            made, request_id = await http.exchange(self._client, _PROVIDER, order, _Made, idempotent=False)
        except http.Rejected as refused:
            if "failed_deliverability_strictness" not in refused.reason:
                raise
            raise BadAddress(self.name, refused.reason, request_id=refused.request_id) from None
        return Accepted(made.id, request_id)

    async def look_up(self, key: str) -> Accepted | None:
        """Never asked, for ``send`` itself looks first.

        Raises:
            NeverAgain: Always.
        """
        raise NeverAgain(self.name, "sending looks first whether it was sent; there is nothing else to look up")

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. The timestamp may be in seconds or in milliseconds: Lob shows both."""
        secrets = secrets_in(self._settings.signing_secret)
        signature = request.headers.get("lob-signature", "")
        sent = request.headers.get("lob-signature-timestamp", "")
        if not signature:
            raise Refused(401, "there is no Lob-Signature header")
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 14):
            raise Refused(400, "Lob-Signature-Timestamp is not a number of seconds or milliseconds")
        check_signature(secrets, sent.encode() + b"." + request.body, [signature], hexlify)
        # Eleven digits of seconds reach the year 5138, and of milliseconds not 1974.
        check_age(_EPOCH + timedelta(milliseconds=int(sent) * (1000 if len(sent) <= 11 else 1)), now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            piece, _, what = notice.event_type.id.partition(".")
            # A certified letter is told of under names of its own; a reply in our own envelope is another story.
            told = _TOLD.get(what.removeprefix("certified.")) if piece in ("letter", "postcard") else None
            if told is None:
                return []
            type, facts = told
            ours = notice.body.metadata
            data = {**facts, "channel": self.channel, "touch": ours.get("touch"), "provider_id": notice.body.id}
            return [
                event(
                    type,
                    source=self.name,
                    source_id=notice.id,
                    occurred_at=notice.date_created,
                    identities=identities(("email", ours.get("email"))),
                    data={name: value for name, value in data.items() if value is not None},
                )
            ]

    @property
    def _path(self) -> str:
        return f"/{self._settings.piece}s"

    def _piece(self, message: Message, to: Mapping[str, str]) -> dict[str, Any]:
        settings = self._settings
        if not settings.sender:
            raise NeverAgain(self.name, "nothing says who it is from (LOB_SENDER)")
        check_header(self.name, "key", message.key)
        _LIMITS.check({"key": message.key, "to": message.to})
        metadata = {"touch": message.key, "email": message.to}
        for name, value in metadata.items():
            if '"' in value or "\\" in value:
                raise NeverAgain(self.name, f"{name} does not fit into Lob's metadata")
        inside = settings.template or _laid_out(message)
        variables = {"subject": message.subject, "text": message.text}
        if settings.template:
            _LIMITS.check({"subject and text": variables})
        shared = {
            "to": dict(to),
            "from": settings.sender,
            "use_type": "marketing" if message.purpose == "promotional" else "operational",
            "description": message.metadata.get("template", "")[:255],
            "metadata": metadata,
            **({"merge_variables": variables} if settings.template else {}),
        }
        if settings.piece == "letter":
            # A page of its own for the address: our text need not leave room for the envelope's window.
            letter = {"file": inside, "color": False, "double_sided": False, "address_placement": "insert_blank_page"}
            return {**shared, **letter}
        if not settings.front:
            raise NeverAgain(self.name, "a postcard has no front (LOB_FRONT)")
        return {**shared, "front": settings.front, "back": inside, "size": settings.size}

    async def _made(self, key: str) -> Accepted | None:
        params = {"metadata[touch]": key, "limit": "1"}
        found = await self._ask("GET", self._path, _List, params=params)
        # A filter that Lob did not understand would find somebody else's.
        return next((Accepted(piece.id) for piece in found.data if piece.metadata.get("touch") == key), None)

    async def _deliverable(self, address: PostalAddress) -> None:
        asked = {
            "primary_line": address.line1,
            "secondary_line": address.line2,
            "city": address.city,
            "state": address.region,
            "zip_code": address.postal_code,
        }
        body = {name: value for name, value in asked.items() if value}
        found = await self._ask("POST", "/us_verifications", _Verified, json=body)
        if found.deliverability == "undeliverable":
            raise BadAddress(self.name, "the post does not deliver to the address")

    async def _ask(self, method: str, path: str, answer: type[http.Answer], **what: Any) -> http.Answer:
        request = self._request(method, path, **what)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=True)

    def _request(self, method: str, path: str, **what: Any) -> httpx.Request:
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (LOB_API_KEY)")
        url = str(self._settings.base_url).rstrip("/") + path
        request = self._client.build_request(method, url, **what)
        user = httpx.BasicAuth(self._settings.api_key.get_secret_value().strip(), "")
        return next(user.auth_flow(request))


def _addressed(address: PostalAddress) -> dict[str, str]:
    """The address in Lob's words, within its limits.

    Raises:
        NeverAgain: It does not fit.
    """
    us = address.country == "US"
    limits = _IN_THE_US if us else _ABROAD
    limits.check({f"metadata.address.{name}": value for name, value in address.model_dump().items()})
    if us and not (address.region and len(address.region) == 2 and address.postal_code):
        raise NeverAgain("lob", "metadata.address: in the US it needs a region of two letters and a postal_code")
    parts = {
        "name": address.name,
        "company": address.company,
        "address_line1": address.line1,
        "address_line2": address.line2,
        "address_city": address.city,
        "address_state": address.region,
        "address_zip": address.postal_code,
        "address_country": address.country,
    }
    return {name: value for name, value in parts.items() if value}


def _laid_out(message: Message) -> str:
    """The text as a plain page.

    Raises:
        NeverAgain: It is longer than Lob takes.
    """
    paragraphs = "".join(f"<p>{escape(part.strip())}</p>" for part in message.text.split("\n\n") if part.strip())
    style = "body{font:12pt/1.5 Georgia,serif;margin:1in}"
    page = f"<html><head><style>{style}</style></head><body>{paragraphs}</body></html>"
    _LIMITS.check({"text as a page": page})
    return page


def _refusal(response: httpx.Response) -> http.Refusal:
    error = http.body_of(response).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return http.Refusal(http.codes(code), response.headers.get("x-request-id"))


_PROVIDER = http.Provider("lob", busy=frozenset({429, 503}), read=_refusal)

_TOLD: dict[str, tuple[str, dict[str, Any]]] = {
    "delivered": ("message.delivered", {}),
    "returned_to_sender": ("message.bounced", {"permanent": True, "reason": "returned_to_sender"}),
    # It was never printed: that says nothing of the address.
    "rejected": ("message.bounced", {"permanent": False, "reason": "rejected"}),
    "failed": ("message.bounced", {"permanent": False, "reason": "failed"}),
}


class _Made(Body):
    id: str
    metadata: dict[str, str] = Field(default_factory=dict)


class _List(Body):
    data: list[_Made]


class _Verified(Body):
    deliverability: str


class _Type(Body):
    id: str


class _Told(Body):
    id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class _Notice(Body):
    id: Annotated[str, Field(min_length=1, max_length=200)]
    event_type: _Type
    date_created: Moment
    body: _Told
