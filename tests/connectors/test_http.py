"""What each way a call can fail becomes."""

import asyncio
import logging
from datetime import timedelta

import httpx
import pytest
from pydantic import BaseModel
from tenacity import wait_none

from connectors import http
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown

PROVIDER = http.Provider(
    "vendor",
    busy=frozenset({429}),
    read=lambda response: http.Refusal(
        http.codes(http.body_of(response).get("code")), response.headers.get("x-id"), timedelta(seconds=5)
    ),
)


TOKEN = "secret-token"


class Thing(BaseModel):
    id: str


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http._send.retry, "wait", wait_none())


class Vendor:
    """Plays its answers one after another, the last one for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


async def ask(vendor: Vendor, *, idempotent: bool) -> Thing:
    async with httpx.AsyncClient(transport=httpx.MockTransport(vendor)) as client:
        request = client.build_request("POST", "https://vendor.example.com/things", headers={"Authorization": TOKEN})
        return await http.call(client, PROVIDER, request, Thing, idempotent=idempotent)


async def failure(vendor: Vendor, *, idempotent: bool) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        await ask(vendor, idempotent=idempotent)
    return caught.value


async def test_a_good_answer_is_read() -> None:
    assert await ask(Vendor(httpx.Response(201, json={"id": "7", "more": 1})), idempotent=False) == Thing(id="7")


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
async def test_a_blip_costs_two_more_tries(error: httpx.TransportError) -> None:
    vendor = Vendor(error, error, httpx.Response(200, json={"id": "7"}))
    assert (await ask(vendor, idempotent=False)).id == "7"
    assert vendor.asked == 3


@pytest.mark.parametrize("idempotent", [True, False])
async def test_no_connection_is_surely_not_done(idempotent: bool) -> None:
    vendor = Vendor(httpx.ConnectError("refused"))
    assert type(await failure(vendor, idempotent=idempotent)) is TryAgain
    assert vendor.asked == 3


@pytest.mark.parametrize(
    "lost",
    [httpx.ReadTimeout("x"), httpx.WriteError("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("hung up")],
)
async def test_a_lost_answer_is_not_asked_for_again_here(lost: httpx.TransportError) -> None:
    vendor = Vendor(lost)
    assert type(await failure(vendor, idempotent=False)) is Unknown
    assert vendor.asked == 1
    assert type(await failure(Vendor(lost), idempotent=True)) is TryAgain


@pytest.mark.parametrize(
    ("status", "repeatable", "once"),
    [
        (429, TryAgain, TryAgain),
        (500, TryAgain, Unknown),
        (502, TryAgain, Unknown),
        (408, TryAgain, Unknown),
        (400, http.Rejected, http.Rejected),
        (401, http.Rejected, http.Rejected),
        (404, http.Rejected, http.Rejected),
        (302, http.Rejected, http.Rejected),
    ],
)
async def test_statuses(status: int, repeatable: type, once: type) -> None:
    answer = httpx.Response(status, json={"code": "because"}, headers={"x-id": "req_1"})
    for idempotent, kind in ((True, repeatable), (False, once)):
        error = await failure(Vendor(answer), idempotent=idempotent)
        assert type(error) is kind
        assert error.request_id == "req_1"
        assert error.reason == f"{status} because"


async def test_rejected_says_with_what_status() -> None:
    error = await failure(Vendor(httpx.Response(410)), idempotent=True)
    assert isinstance(error, http.Rejected)
    assert isinstance(error, NeverAgain)
    assert error.status == 410


@pytest.mark.parametrize(
    ("header", "seconds"), [("30", 30), ("0", 5), ("soon", 5), ("-1", 5), ("٣", 5), ("9" * 40, 5), (None, 5)]
)
async def test_the_providers_own_delay_comes_first(header: str | None, seconds: int) -> None:
    headers = {"retry-after": header.encode()} if header else {}
    error = await failure(Vendor(httpx.Response(429, headers=headers)), idempotent=True)
    assert isinstance(error, TryAgain)
    assert error.delay == timedelta(seconds=seconds)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": null}', b"[" * 100_000])
async def test_a_good_status_with_an_unreadable_body(body: bytes) -> None:
    assert type(await failure(Vendor(httpx.Response(200, content=body)), idempotent=False)) is Unknown
    assert type(await failure(Vendor(httpx.Response(200, content=body)), idempotent=True)) is TryAgain
    assert type(await failure(Vendor(httpx.Response(400, content=body)), idempotent=True)) is http.Rejected


@pytest.mark.parametrize("body", [b"", b'{"id": 7}', b"[]"])
async def test_where_nothing_is_needed_of_an_answer_it_may_be_empty(body: bytes) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    async with httpx.AsyncClient(transport=transport) as client:
        request = client.build_request("POST", "https://vendor.example.com/things")
        await http.call(client, PROVIDER, request, http.Unread, idempotent=False)


async def test_no_error_quotes_a_token_or_prose() -> None:
    said = httpx.Response(400, json={"code": "no such person: alice@example.com, " + "x" * 60})
    assert "alice" not in str(await failure(Vendor(said), idempotent=True))
    with pytest.raises(NeverAgain) as caught:
        await ask(Vendor(httpx.LocalProtocolError("Illegal header value b'secret-token\\n'")), idempotent=True)
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_an_address_without_a_scheme_is_never_tried_again() -> None:
    async with http.new_client() as client:
        request = client.build_request("GET", "vendor.example.com/things")
        with pytest.raises(NeverAgain):
            await http.call(client, PROVIDER, request, Thing, idempotent=True)


async def test_calls_at_once_count_their_tries_apart() -> None:
    vendors = [Vendor(httpx.ConnectError("refused")) for _ in range(5)]
    await asyncio.gather(*(failure(vendor, idempotent=False) for vendor in vendors))
    assert [vendor.asked for vendor in vendors] == [3] * 5


async def test_no_call_is_logged_with_its_address(caplog: pytest.LogCaptureFixture) -> None:
    """Even where a process logs everything: some systems want their key in the address."""
    caplog.set_level(logging.DEBUG)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"id": "1"}))
    async with httpx.AsyncClient(transport=transport) as client:
        request = client.build_request("GET", f"https://api.example.com/things?api_key={TOKEN}")
        await http.call(client, PROVIDER, request, Thing, idempotent=True)
    assert TOKEN not in caplog.text
    assert [logging.getLogger(name).level for name in ("httpx", "httpcore")] == [logging.WARNING] * 2
