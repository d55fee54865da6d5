"""The business's own endpoint: what is asked, what its answers mean, and what never leaks."""

import json
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from tenacity import wait_none

from connectors import http
from connectors.base import LiveFacts
from connectors.configured import MissingCredentials, Wiring, outlets
from connectors.errors import ConnectorError, NeverAgain
from connectors.live import Live, LiveSettings
from contacts.events import identities

URL = "https://app.example.com/perennial"
SECRET = "a-secret-of-the-endpoint"
ALICE = identities(
    ("email", "alice@example.com"), ("email", "a.smith@example.com"), ("user", "42"), ("anonymous", "cookie-1")
)


def settings(**changes: Any) -> LiveSettings:
    return LiveSettings(**{"_env_file": None, "url": URL, "secret": SecretStr(SECRET), **changes})


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setattr(http._send.retry, "wait", wait_none())
    return Live(settings())


def test_it_is_live_facts(live: Live) -> None:
    assert isinstance(live, LiveFacts)


@respx.mock
async def test_it_asks_for_a_name_and_says_of_whom(live: Live) -> None:
    route = respx.get(f"{URL}/usage").respond(200, json={"headline": "214 orders came from search."})
    assert await live.fetch("usage", ALICE, {}) == {"headline": "214 orders came from search."}
    request = route.calls.last.request
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.url.params.multi_items() == [
        ("email", "alice@example.com"),
        ("email", "a.smith@example.com"),
        ("user", "42"),
    ]


@respx.mock
async def test_a_name_stays_one_part_of_the_path() -> None:
    route = respx.route(host="app.example.com").respond(200, json={})
    await Live(settings(url=f"{URL}/")).fetch("../secrets?x=1", ALICE, {})
    assert route.calls.last.request.url.raw_path.startswith(b"/perennial/..%2Fsecrets%3Fx%3D1?email=")


@respx.mock
async def test_it_is_told_what_the_message_is_about(live: Live) -> None:
    route = respx.get(f"{URL}/invoice").respond(200, json={})
    about = {"invoice_id": "in_1", "attempt": 2, "order_id": 7, "plan_id": None, "note_id": ["x"]}
    await live.fetch("invoice", identities(("user", "42")), about)
    asked = route.calls.last.request.url.params.multi_items()
    assert asked == [("invoice_id", "in_1"), ("order_id", "7"), ("user", "42")]


@respx.mock
async def test_nobody_is_asked_about_a_stranger(live: Live) -> None:
    assert await live.fetch("usage", identities(("anonymous", "cookie-1")), {}) is None
    assert not respx.calls


@respx.mock
@pytest.mark.parametrize("answer", [httpx.Response(404), httpx.Response(200, content=b"null")])
async def test_what_it_does_not_know_is_none(live: Live, answer: httpx.Response) -> None:
    respx.get(f"{URL}/usage").mock(return_value=answer)
    assert await live.fetch("usage", ALICE, {}) is None


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401),
        httpx.Response(302, headers={"location": "https://elsewhere.example.com"}),
        httpx.Response(500, json={"error": f"no such token {SECRET} for alice@example.com"}),
        httpx.Response(503),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json=["headline"]),
        httpx.Response(200, content=b"[" * 100_000),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
    ],
)
async def test_what_it_cannot_say_is_an_error_that_tells_nothing(
    live: Live, answer: httpx.Response | Exception
) -> None:
    respx.route().mock(side_effect=answer) if isinstance(answer, Exception) else respx.route().mock(return_value=answer)
    with pytest.raises(ConnectorError) as caught:
        await live.fetch("usage", ALICE, {})
    for private in (SECRET, "alice", "42"):
        assert private not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.one_of(st.binary(max_size=60), st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode)))
async def test_junk_is_an_error_or_nothing(body: bytes) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    async with httpx.AsyncClient(transport=transport) as client:
        try:
            found = await Live(settings(), client).fetch("usage", ALICE, {})
        except ConnectorError:
            return
    assert found is None or isinstance(found, dict)


async def test_without_settings_nothing_is_asked() -> None:
    with pytest.raises(NeverAgain, match="LIVE_URL, LIVE_SECRET"):
        await Live(settings(url=None, secret=None)).fetch("usage", ALICE, {})


@pytest.mark.parametrize(
    "url", ["http://app.example.com", "https://app.example.com/?a=1", "https://me:pw@app.example.com", "app", "ftp://x"]
)
def test_an_address_that_would_give_the_secret_away_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(url=url)
    assert refused.value.errors()[0]["loc"] == ("url",)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/facts", "http://localhost", "http://[::1]:9000"])
def test_an_endpoint_on_this_machine_needs_no_tls(url: str) -> None:
    assert settings(url=url).url is not None


def test_it_is_configured_by_two_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert outlets(Wiring({}), mail_from="a@example.com", production=False).live == ()
    monkeypatch.setenv("LIVE_URL", URL)
    with pytest.raises(MissingCredentials) as missing:
        outlets(Wiring({}), mail_from="a@example.com", production=False)
    assert str(missing.value) == "LIVE_SECRET: is required where LIVE_URL is set"
    monkeypatch.setenv("LIVE_SECRET", SECRET)
    found = outlets(Wiring({}), mail_from="a@example.com", production=False)
    assert [type(source) for source in found.live] == [Live]
    assert SECRET not in repr(found)
    monkeypatch.setenv("LIVE_URL", "http://app.example.com")
    with pytest.raises(MissingCredentials, match=r"^LIVE_URL: must be https"):
        outlets(Wiring({}), mail_from="a@example.com", production=False)
