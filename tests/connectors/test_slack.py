"""Slack: what an alert looks like and what each refusal means."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import respx

from connectors import http
from connectors.base import Alert
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.slack import Slack, SlackSettings

POST = "https://slack.com/api/chat.postMessage"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Slack:
    return Slack(SlackSettings(_env_file=None, **{"bot_token": "xoxb-1", "channel": "C1", **settings}), client)


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with http.new_client() as client:
        yield made(client)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


def test_it_is_an_alert() -> None:
    assert isinstance(made(), Alert)


@respx.mock
async def test_an_alert(slack: Slack) -> None:
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1772442000.000100"})
    link = "https://hub.example.com/contacts/1"
    assert await slack.alert("run-1/handoff", "Zoë <Ash> & co", "Saw pricing twice", link) == "C1/1772442000.000100"
    body = sent(route)
    assert body["channel"] == "C1"
    assert body["text"] == "Zoë &lt;Ash&gt; &amp; co"
    assert body["metadata"] == {"event_type": "perennial_alert", "event_payload": {"key": "run-1/handoff"}}
    assert (body["unfurl_links"], body["unfurl_media"]) == (False, False)
    header, section, actions = body["blocks"]
    assert (header["type"], header["text"]["text"]) == ("header", "Zoë <Ash> & co")
    assert section["text"] == {"type": "plain_text", "text": "Saw pricing twice", "emoji": False}
    assert (actions["elements"][0]["type"], actions["elements"][0]["url"]) == ("button", link)
    assert route.calls.last.request.headers["authorization"] == "Bearer xoxb-1"


@respx.mock
async def test_blocks_stay_within_slacks_limits(slack: Slack) -> None:
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    await slack.alert("k", "t" * 151, "b" * 3001)
    header, section = sent(route)["blocks"]
    assert header["text"]["text"] == "t" * 149 + "…"
    assert len(section["text"]["text"]) == 3000
    await slack.alert("k", "t" * 150, "")
    (header,) = sent(route)["blocks"]
    assert header["text"]["text"] == "t" * 150


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ratelimited", TryAgain),
        ("service_unavailable", TryAgain),
        ("request_timeout", TryAgain),
        ("internal_error", Unknown),
        ("fatal_error", Unknown),
        ("invalid_auth", NeverAgain),
        ("channel_not_found", NeverAgain),
        ("not_in_channel", NeverAgain),
        ("something_new", NeverAgain),
    ],
)
@respx.mock
async def test_errors_in_an_answer_of_status_200(slack: Slack, error: str, kind: type[ConnectorError]) -> None:
    respx.post(POST).respond(json={"ok": False, "error": error})
    with pytest.raises(kind) as caught:
        await slack.alert("k", "title", "body")
    assert type(caught.value) is kind
    assert caught.value.reason == error


@respx.mock
async def test_a_limit_names_its_delay(slack: Slack) -> None:
    respx.post(POST).respond(429, json={"ok": False, "error": "ratelimited"}, headers={"retry-after": "30"})
    with pytest.raises(TryAgain) as caught:
        await slack.alert("k", "title", "body")
    assert caught.value.delay == timedelta(seconds=30)


@respx.mock
async def test_a_lost_answer_is_unknown_and_not_repeated(slack: Slack) -> None:
    route = respx.post(POST).mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await slack.alert("k", "title", "body")
    route.respond(500)
    with pytest.raises(Unknown):
        await slack.alert("k", "title", "body")
    assert route.call_count == 2


@pytest.mark.parametrize("missing", [{"bot_token": None}, {"channel": None}, {"channel": ""}])
async def test_without_settings_nothing_is_asked(missing: dict[str, Any]) -> None:
    with pytest.raises(NeverAgain, match="SLACK_BOT_TOKEN"):
        await made(**missing).alert("k", "title", "body")
