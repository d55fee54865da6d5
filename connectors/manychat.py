"""ManyChat: what subscribers of a bot do comes in; messages, tags and fields go out."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import httpx
from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, ValidationError
from pydantic_core import to_json
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Accepted, Message, Refused, Reply, Request, Told
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain, OptedOut, TryAgain
from connectors.fields import checked
from connectors.limits import TEXT, Limits
from connectors.webhook import Body, Moment, check_secret, free_json, one_line_errors, secrets_in
from contacts.events import Event, event, identities

LONGEST_TEXT: Mapping[str | None, int] = {None: 2_000, "instagram": 1_000, "telegram": 4_096, "whatsapp": 4_096}
"""Characters in one text message, by network; the first is Messenger's."""

_LIMITS = Limits("manychat", each=TEXT)
"""ManyChat's pages say nothing of how long a tag's name or a field's value may be."""


class ManyChatSettings(Credentials):
    """``MANYCHAT_*``.

    Attributes:
        webhook_secret: What External Requests bring in the header ``X-Perennial-Secret``; several with commas between.
        api_key: As ManyChat shows it: page id, colon, key.
        network: Where subscribers are reached, if not on Messenger.
        message_tag: Meta's tag for what is sent outside the 24-hour window; without one it is refused there.
        flows: Flows that are sent in place of a template's text, by the template's name.
        fields: ManyChat's custom fields that a contact's traits are written into, by our name of the trait.
    """

    model_config = SettingsConfigDict(env_prefix="MANYCHAT_")

    webhook_secret: SecretStr | None = None
    api_key: SecretStr | None = None
    network: Literal["instagram", "whatsapp", "telegram"] | None = None
    message_tag: str | None = None
    flows: dict[str, str] = Field(default_factory=dict)
    fields: dict[str, str] = Field(default_factory=dict)
    base_url: HttpUrl = HttpUrl("https://api.manychat.com")
    calls_per_second: Annotated[float, Field(gt=0)] | None = 10


@checked
class ManyChat:
    """The ``Source`` of External Requests, which ``Replies``; a ``Sender``; a ``Sink`` of tags and fields.

    An address is a subscriber's id.
    """

    name: ClassVar[str] = "manychat"
    channel: ClassVar[str] = "social"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, settings: ManyChatSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. ManyChat signs nothing: the secret says who calls, and nothing about the body."""
        given = request.headers.get("x-perennial-secret", "")
        tokens = secrets_in(self._settings.webhook_secret)
        if not given:
            raise Refused(401, "there is no X-Perennial-Secret header")
        check_secret(tokens, given)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is the event id that the flow's author gives."""
        with one_line_errors():
            body = free_json(request.body)
            if not _KNOWN.fullmatch(_Kind.model_validate(body).type):
                return []
            said = _Said.model_validate(body)
            return [
                event(
                    said.type,
                    source=self.name,
                    source_id=said.event_id,
                    occurred_at=said.occurred_at or received_at,
                    identities=said.who(),
                    data=said.facts(),
                )
            ]

    def reply(self, request: Request) -> Reply | None:
        """See ``Replies.reply``: what the request wants said, now that it is kept; nothing where it wants nothing."""
        try:
            wanted = _Wanted.model_validate_json(request.body).reply
        except ValidationError:
            wanted = None
        return Reply(to_json(self._content(wanted[: LONGEST_TEXT[self._settings.network]] if wanted else None)))

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``.

        ManyChat drops no repeats and names no messages: a call whose answer is lost is ``Unknown``, and what it
        accepted is known by our key. Outside the window of 24 hours after the subscriber's last word Meta refuses what
        has no tag, and that is final: the window does not open by waiting.
        """
        if not re.fullmatch(r"[0-9]{1,25}", message.to):
            raise BadAddress(self.name, "to: is no subscriber id")
        flow = self._settings.flows.get(message.metadata.get("template", ""))
        if flow:
            await self._ask("/fb/sending/sendFlow", {"subscriber_id": message.to, "flow_ns": flow}, idempotent=False)
            return Accepted(message.key)
        if not message.text:
            raise NeverAgain(self.name, "text: is empty")
        Limits(self.name, named={"text": LONGEST_TEXT[self._settings.network]}).check({"text": message.text})
        body: dict[str, Any] = {"subscriber_id": message.to, "data": self._content(message.text)}
        if self._settings.message_tag:
            body["message_tag"] = self._settings.message_tag
        await self._ask("/fb/sending/sendContent", body, idempotent=False)
        return Accepted(message.key)

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``; ManyChat cannot be asked."""
        raise NeverAgain(self.name, "ManyChat cannot be asked what became of a message")

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``: segments become tags, traits the fields that the settings name. Returns the subscriber."""
        match told.type:
            case "segment.joined" | "segment.left":
                verb = "addTagByName" if told.type == "segment.joined" else "removeTagByName"
                segment = str(told.data["segment"])
                _LIMITS.check({"segment": segment})
                wanted: list[tuple[str, dict[str, Any]]] = [(verb, {"tag_name": segment})]
            case "contact.identified" | "contact.updated":
                fields = self._settings.fields
                traits = {n: v for n in fields if isinstance(v := told.data.get(n), str | int | float)}
                wanted = [
                    ("setCustomFieldByName", {"field_name": fields[name], "field_value": value})
                    for name, value in _LIMITS.check(traits).items()
                ]
            case _:
                raise NeverAgain(self.name, f"{told.type} is nothing that ManyChat can be told")
        if not wanted:
            return None
        subscriber = told.known_as(self.name) or await self._find(told)
        for verb, what in wanted:
            await self._ask(f"/fb/subscriber/{verb}", {"subscriber_id": subscriber, **what}, idempotent=True)
        return subscriber

    async def _find(self, told: Told) -> str:
        for kind in ("email", "phone"):
            if value := told.known_as(kind):
                found = await self._ask("/fb/subscriber/findBySystemField", None, idempotent=True, params={kind: value})
                if found.data is not None:
                    return found.data.id
        raise NeverAgain(self.name, "no subscriber has the contact's address or phone")

    def _content(self, text: str | None) -> dict[str, Any]:
        network = {"type": self._settings.network} if self._settings.network else {}
        messages = [{"type": "text", "text": text}] if text else []
        return {"version": "v2", "content": {**network, "messages": messages}}

    async def _ask(
        self, path: str, body: Mapping[str, Any] | None, *, idempotent: bool, params: Mapping[str, str] | None = None
    ) -> "_Answer":
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (MANYCHAT_API_KEY)")
        headers = {"Authorization": f"Bearer {self._settings.api_key.get_secret_value().strip()}"}
        url = str(self._settings.base_url).rstrip("/") + path
        method = "GET" if body is None else "POST"
        request = self._client.build_request(method, url, params=params, json=body, headers=headers)
        try:
            answer = await http.call(self._client, _PROVIDER, request, _Answer, idempotent=idempotent)
        except http.Rejected as error:
            # Errors come with status 400, and some with 200.
            raise _fault(error.reason) from None
        if answer.status != "success":
            raise _fault(_reason(answer.model_dump()))
        return answer


class _Subscriber(Body):
    id: str


class _Answer(Body):
    status: str
    code: Any = None
    message: Any = None
    details: Any = None
    data: Annotated[
        _Subscriber | None, BeforeValidator(lambda v: v if isinstance(v, dict) and v.get("id") else None)
    ] = None


_GONE, _LEFT, _BUSY = "no such subscriber", "no longer subscribed", "too many calls"
_LATE = "outside the 24-hour window"


def _reason(body: Mapping[str, Any]) -> str:
    """What an error means, in words of ours: ManyChat's are prose, and its codes say too little."""
    said = f"{body.get('message')} {body.get('details')}".lower()
    code = body.get("code")
    number = f"code {code}" if isinstance(code, int | str) and len(str(code)) <= 20 else "no code"
    if "rate limit" in said or "too many" in said:
        return f"{number}, {_BUSY}"
    if "subscriber" in said and ("not exist" in said or "not found" in said):
        return f"{number}, {_GONE}"
    if "subscriber" in said and "unsubscribed" in said:
        return f"{number}, {_LEFT}"
    if re.search(r"24[ -]?h|outside.*window|message.tag|last interaction", said):
        return f"{number}, {_LATE}"
    return number


def _fault(reason: str) -> NeverAgain | TryAgain:
    if reason.endswith(_BUSY):
        return TryAgain(ManyChat.name, reason)
    if reason.endswith(_LEFT):
        return OptedOut(ManyChat.name, reason)
    return (BadAddress if reason.endswith(_GONE) else NeverAgain)(ManyChat.name, reason)


_PROVIDER = http.Provider("manychat", busy=frozenset({429, 503}), read=lambda r: http.Refusal(_reason(http.body_of(r))))


_KNOWN = re.compile(
    r"contact\.(identified|updated)|consent\.(granted|withdrawn)|message\.(replied|unsubscribed)"
    r"|conversation\.(started|ended)|form\.submitted|survey\.answered|resource\.downloaded|custom\.[a-z0-9][a-z0-9_\-]*"
)
"""What a flow may tell us. The body is not signed, so nothing here erases, merges or releases."""


class _Kind(Body):
    type: str


class _Wanted(Body):
    reply: str | None = None


def _or_none(value: Any) -> Any:
    """A field of a subscriber that is empty comes as an empty text."""
    return None if isinstance(value, str) and not value.strip() else value


def _every_digit(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError("is too large for a number with a fraction: its last digits are lost")
    return value


Text = Annotated[str | None, BeforeValidator(_or_none)]


class _Said(Body):
    type: str
    event_id: Annotated[str, Field(min_length=1, max_length=255)]
    subscriber_id: Annotated[str, Field(pattern=r"^[0-9]{1,25}$"), BeforeValidator(_every_digit)]
    occurred_at: Annotated[Moment | None, BeforeValidator(_or_none)] = None
    email: Text = None
    phone: Text = None
    whatsapp_phone: Text = None
    first_name: Text = None
    last_name: Text = None
    channel: Text = None
    data: dict[str, Any] = Field(default_factory=dict)

    def who(self) -> tuple[Any, ...]:
        return identities(
            ("manychat", self.subscriber_id),
            ("email", self.email),
            ("phone", self.phone),
            ("phone", self.whatsapp_phone),
        )

    def facts(self) -> dict[str, Any]:
        known: dict[str, Any] = {}
        if self.type.startswith("contact."):
            phone = self.phone or self.whatsapp_phone
            known = {"email": self.email, "phone": phone, "first_name": self.first_name, "last_name": self.last_name}
        if self.type.startswith(("consent.", "message.")):
            said = (self.channel or "").lower()
            known["channel"] = said if said in ("email", "sms") else "social"
        return {**self.data, **{name: value for name, value in known.items() if value}}
