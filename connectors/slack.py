"""Slack: tells a channel of the people who work here."""

from datetime import timedelta
from typing import Any, ClassVar

import httpx
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors import http
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.webhook import Body

API = "https://slack.com/api"


class SlackSettings(BaseSettings):
    """``SLACK_*``. ``channel`` is a channel's id, or its name for a public one; the bot must be a member."""

    model_config = SettingsConfigDict(
        env_prefix="SLACK_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    bot_token: SecretStr | None = None
    channel: str | None = None


class Slack:
    """The ``Alert`` that people see."""

    name: ClassVar[str] = "slack"

    def __init__(self, settings: SlackSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    async def alert(self, key: str, title: str, body: str, link: str | None = None) -> str:
        """See ``Alert.alert``; returns channel and timestamp, Slack's name for a message.

        Slack drops no repeats. A call whose answer is lost is ``Unknown``; the key is in the message's metadata, so
        that a repeat can be told from a second alert.
        """
        if not self._settings.bot_token or not self._settings.channel:
            raise NeverAgain(self.name, "no bot token or channel is set (SLACK_BOT_TOKEN, SLACK_CHANNEL)")
        request = self._client.build_request(
            "POST",
            f"{API}/chat.postMessage",
            headers={"Authorization": f"Bearer {self._settings.bot_token.get_secret_value().strip()}"},
            json={
                "channel": self._settings.channel,
                "text": _escaped(title),
                "blocks": _blocks(title, body, link),
                "metadata": {"event_type": "perennial_alert", "event_payload": {"key": key}},
                "unfurl_links": False,
                "unfurl_media": False,
            },
        )
        answer = await http.call(self._client, _PROVIDER, request, _Answer, idempotent=False)
        if not answer.ok:
            raise _fault(answer.error or "no reason given")
        return f"{answer.channel}/{answer.ts}"


class _Answer(Body):
    ok: bool
    channel: str | None = None
    ts: str | None = None
    error: str | None = None


def _refusal(response: httpx.Response) -> http.Refusal:
    return http.Refusal(http.codes(http.body_of(response).get("error")), response.headers.get("x-slack-req-id"))


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


def _blocks(title: str, body: str, link: str | None) -> list[dict[str, Any]]:
    # Plain text throughout: a contact's own words must not become a mention or a link.
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(title, 150)}]
    if body:
        blocks.append({"type": "section", "text": _plain(body, 3000)})
    if link:
        button = {"type": "button", "action_id": "open", "text": _plain("Open", 75), "url": link}
        blocks.append({"type": "actions", "elements": [button]})
    return blocks


def _plain(text: str, limit: int) -> dict[str, Any]:
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return {"type": "plain_text", "text": shown, "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
