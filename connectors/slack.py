"""Slack: tells a channel of the people who work here, and hears what they answer."""

import re
from binascii import hexlify
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
from pydantic import Field, RootModel, SecretStr
from pydantic_core import from_json, to_json
from pydantic_settings import SettingsConfigDict

from connectors import http, slack_blocks, slack_questions
from connectors.base import Refused, Reply, Request, Told
from connectors.credentials import Credentials
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, InvalidEvent

API = "https://slack.com/api"

_RECENT = 100
"""Messages of the channel that are read to see whether an alert is there already."""

_LIMITS = Limits("slack", named={"link": 3_000})
"""Words are cut, for an alert that is short is better than none; half a link leads nowhere."""

Said = TypeVar("Said", bound="_Answer")


class SlackSettings(Credentials):
    """``SLACK_*``. Either ``bot_token`` and ``channel``, or an incoming webhook alone.

    Attributes:
        channel: The channel's id; the bot must be a member.
        webhook_url: An incoming webhook's address, which is a secret. Used where there is no bot token.
        signing_secret: Signs what people click; without it alerts have no buttons.
        allowed_users: Slack's ids (``U...``) of who may answer, with commas; None: whoever sees the channel.
    """

    model_config = SettingsConfigDict(env_prefix="SLACK_")

    bot_token: SecretStr | None = None
    channel: str | None = None
    webhook_url: SecretStr | None = None
    signing_secret: SecretStr | None = None
    allowed_users: str | None = None
    calls_per_second: Annotated[float, Field(gt=0)] | None = 1.0


@checked
class Slack:
    """The ``Alert`` that people see, ``Source`` of what they click on it, and ``Sink`` that shows who was first."""

    name: ClassVar[str] = slack_questions.SOURCE

    def __init__(self, settings: SlackSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()
        allowed = settings.allowed_users
        self._allowed = None if allowed is None else {user.strip() for user in allowed.split(",") if user.strip()}

    # What people click.

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``."""
        secrets = secrets_in(self._settings.signing_secret)
        signature = request.headers.get("x-slack-signature", "")
        sent = request.headers.get("x-slack-request-timestamp", "")
        if not signature:
            raise Refused(401, "there is no X-Slack-Signature header")
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 11):
            raise Refused(400, "X-Slack-Request-Timestamp is not a number of seconds")
        check_signature(
            secrets, f"v0:{sent}:".encode() + request.body, [signature], lambda digest: b"v0=" + hexlify(digest)
        )
        check_age(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(sent)), now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. Only the first click counts: its event is named after what was asked about."""
        with one_line_errors():
            document = _document(request.body)
            if _Kind.model_validate(document).type != "block_actions":
                return []
            clicked = slack_questions.Clicked.model_validate(document)
            if self._allowed is not None and clicked.user.id not in self._allowed:
                return []
            return slack_questions.events(clicked)

    def reply(self, request: Request) -> Reply | None:
        """See ``Replies.reply``. A challenge is echoed; a click is answered by nothing, as Slack wants it."""
        try:
            document = _document(request.body)
        except ValueError:
            return None
        if document.get("type") == "url_verification":
            return Reply(to_json({"challenge": str(document.get("challenge", ""))}))
        return Reply(media_type="text/plain") if _is_form(request.body) else None

    # What people see.

    async def alert(self, key: str, title: str, body: str, link: str | None = None) -> str:
        """See ``Alert.alert``; returns ``channel/timestamp``, Slack's name for a message.

        Slack drops no repeats. So the key is in the message's metadata, and the channel's newest messages are read
        before a post, where the app may read them. By an incoming webhook neither is possible: the id is then the key.
        """
        _LIMITS.check({"link": link})
        blocks = slack_blocks.alert(title, body, self._buttons(key, link))
        text = slack_blocks.fallback(title)
        if not self._settings.bot_token and self._settings.webhook_url:
            await self._post_to_webhook({"text": text, "blocks": blocks})
            return f"webhook/{key}"
        if not self._settings.bot_token or not self._settings.channel:
            raise NeverAgain(
                self.name, "no bot token and channel are set (SLACK_BOT_TOKEN, SLACK_CHANNEL), and no SLACK_WEBHOOK_URL"
            )
        if (there := await self._posted(self._settings.channel, key)) is not None:
            return there
        message = {
            "channel": self._settings.channel,
            "text": text,
            "blocks": blocks,
            "metadata": {"event_type": "perennial_alert", "event_payload": {"key": key}},
            "unfurl_links": False,
            "unfurl_media": False,
        }
        answer = await self._ask("chat.postMessage", _Answer, json=message, idempotent=False)
        return f"{answer.channel}/{answer.ts}"

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``. Once a person has answered, the alert says who and what, and loses its buttons.

        Only the first is shown: a message without the buttons is left as it is. The event must say which message it is
        (``alert``, as ``alert`` returned it).
        """
        channel, _, stamp = str(told.data.get("alert") or "").partition("/")
        question = next((q for q in slack_questions.QUESTIONS if q.type == told.type), None)
        if question is None or not stamp or channel == "webhook":
            return None
        where = {"channel": channel, "latest": stamp, "inclusive": "true", "limit": "1"}
        history = await self._ask("conversations.history", _History, params=where)
        blocks = next((m.blocks for m in history.messages if m.ts == stamp), [])
        rest = question.without_buttons(blocks, str(told.data.get(question.names)))
        if rest is None:
            return None
        words = question.words(told.data, str(told.data.get("by") or "a colleague"))
        update = {
            "channel": channel,
            "ts": stamp,
            "text": slack_blocks.fallback(words),
            "blocks": [*rest, slack_blocks.context(words)],
        }
        await self._ask("chat.update", _Answer, json=update)
        return f"{channel}/{stamp}"

    def _buttons(self, key: str, link: str | None) -> list[slack_blocks.Block]:
        if not link:
            return []
        contact = slack_questions.contact_in(urlsplit(link).path)
        asked = slack_questions.buttons(key, contact) if contact and self._settings.signing_secret else []
        return [*asked, slack_blocks.link("Open", link)]

    async def _posted(self, channel: str, key: str) -> str | None:
        """The alert with this key among the newest messages; None if there is none, or we may not look."""
        newest = {"channel": channel, "limit": str(_RECENT), "include_all_metadata": "true"}
        try:
            history = await self._ask("conversations.history", _History, params=newest)
        except NeverAgain:
            return None
        found = next((m for m in history.messages if m.metadata.event_payload.get("key") == key), None)
        return f"{channel}/{found.ts}" if found else None

    async def _post_to_webhook(self, message: Mapping[str, Any]) -> None:
        url = self._settings.webhook_url.get_secret_value().strip() if self._settings.webhook_url else ""
        request = self._client.build_request("POST", url, json=message)
        await http.call(self._client, _PROVIDER, request, _Text, idempotent=False)

    async def _ask(
        self,
        method: str,
        answer: type[Said],
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        idempotent: bool = True,
    ) -> Said:
        if not self._settings.bot_token:
            raise NeverAgain(self.name, "no bot token is set (SLACK_BOT_TOKEN)")
        request = self._client.build_request(
            "GET" if json is None else "POST",
            f"{API}/{method}",
            headers={"Authorization": f"Bearer {self._settings.bot_token.get_secret_value().strip()}"},
            params=params,
            json=json,
        )
        said = await http.call(self._client, _PROVIDER, request, answer, idempotent=idempotent)
        if not said.ok:
            raise _fault(said.error or "no reason given")
        return said


class _Answer(Body):
    ok: bool
    channel: str | None = None
    ts: str | None = None
    error: str | None = None


class _Metadata(Body):
    event_payload: dict[str, Any] = Field(default_factory=dict)


class _Message(Body):
    ts: str
    metadata: _Metadata = _Metadata()
    blocks: list[dict[str, Any]] = Field(default_factory=list)


class _History(_Answer):
    messages: list[_Message] = Field(default_factory=list)


class _Text(RootModel[str]):
    """An answer that is no JSON: an incoming webhook says ``ok``."""

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, *_: Any, **__: Any) -> "_Text":
        return cls(json_data if isinstance(json_data, str) else json_data.decode(errors="replace"))


class _Kind(Body):
    type: str


def _is_form(body: bytes) -> bool:
    return not body.lstrip().startswith((b"{", b"["))


def _document(body: bytes) -> dict[str, Any]:
    """What Slack says: JSON from the Events API; from people's clicks, JSON in the field of a form.

    Raises:
        InvalidEvent: It is neither.
    """
    text: str | bytes = body
    if _is_form(body):
        fields = parse_qs(body.decode(errors="replace"), max_num_fields=10) if body.count(b"&") < 10 else {}
        if len(fields.get("payload", ())) != 1:
            raise InvalidEvent("body", "is neither JSON nor a form with one payload")
        text = fields["payload"][0]
    try:
        document = from_json(text)
    except ValueError:
        raise InvalidEvent("body", "is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidEvent("body", "is not an object")
    return document


def _refusal(response: httpx.Response) -> http.Refusal:
    said = http.body_of(response).get("error")
    plain = response.text if re.fullmatch(r"[a-z_]{1,60}", response.text) else None
    return http.Refusal(http.codes(said or plain), response.headers.get("x-slack-req-id"))


_PROVIDER = http.Provider("slack", busy=frozenset({429, 503}), read=_refusal)


def _fault(error: str) -> ConnectorError:
    """What an error in an answer of status 200 means."""
    if error in ("ratelimited", "rate_limited"):
        return TryAgain(Slack.name, error, delay=timedelta(seconds=1))
    if error in ("service_unavailable", "request_timeout", "team_added_to_org"):
        return TryAgain(Slack.name, error)
    if error in ("internal_error", "fatal_error"):  # Slack: some of it may have happened
        return Unknown(Slack.name, error)
    return NeverAgain(Slack.name, error)
