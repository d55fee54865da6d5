"""Our outgoing webhooks, read by the standard's own library as a receiver would."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from connectors import http
from connectors.base import Sink, Told
from connectors.endpoint import BODY_LIMIT, Endpoint, EndpointSettings
from connectors.errors import ConnectorError, NeverAgain, TryAgain
from contacts.events import identities

URL = "https://erp.example.com/hook"
OLD = "whsec_" + "b2xkIHNlY3JldCBvZiB0d2VudHktZm91ciBieXRlcw=="
NEW = "whsec_" + "bmV3IHNlY3JldCBvZiB0d2VudHktZm91ciBieXRlcw=="
TOLD = Told(
    "0b5a1111-2222-4333-8444-555566667777",
    "purchase.completed",
    datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
    "c-1",
    identities(("email", "zoe@example.com"), ("stripe", "cus_1")),
    {"order_id": "o-1", "value": 4900, "currency": "EUR", "note": "für Zoë"},
)


def made(
    secret: str = OLD, *, private: bool = True, url: str = URL, client: httpx.AsyncClient | None = None
) -> Endpoint:
    return Endpoint("erp", url, EndpointSettings(_env_file=None, secret=SecretStr(secret)), client, private=private)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with http.new_client() as client:
        yield made(client=client)


def test_it_is_a_sink() -> None:
    assert isinstance(made(), Sink)
    assert made().name == "webhook/erp"


@respx.mock
async def test_a_receiver_can_verify_and_read_it(endpoint: Endpoint) -> None:
    route = respx.post(URL).respond(204)
    assert await endpoint.tell(TOLD) is None
    request = route.calls.last.request
    read = Webhook(OLD).verify(request.content, dict(request.headers))
    assert request.headers["webhook-id"] == TOLD.id
    assert read["type"] == "purchase.completed"
    assert datetime.fromisoformat(read["timestamp"]) == TOLD.occurred_at
    assert read["data"]["value"] == 4900
    assert read["data"]["identities"] == {"email": "zoe@example.com", "stripe": "cus_1"}
    assert "für Zoë".encode() in request.content


@respx.mock
async def test_while_a_secret_is_replaced_both_sign() -> None:
    route = respx.post(URL).respond(200, text="ok")
    async with http.new_client() as client:
        await made(f"{OLD},{NEW}", client=client).tell(TOLD)
    request = route.calls.last.request
    for secret in (OLD, NEW):
        Webhook(secret).verify(request.content, dict(request.headers))


@pytest.mark.parametrize(
    ("status", "headers", "error", "delay"),
    [
        (429, {"retry-after": "7"}, TryAgain, timedelta(seconds=7)),
        (503, {}, TryAgain, None),
        (500, {}, TryAgain, None),
        (408, {}, TryAgain, None),
        (301, {"location": "https://elsewhere.example.com"}, NeverAgain, None),
        (410, {}, NeverAgain, None),
        (400, {}, NeverAgain, None),
    ],
)
@respx.mock
async def test_what_an_answer_means(
    endpoint: Endpoint, status: int, headers: dict[str, str], error: type[ConnectorError], delay: timedelta | None
) -> None:
    elsewhere = respx.get("https://elsewhere.example.com")
    respx.post(URL).respond(status, headers={"x-request-id": "r-1", **headers}, text="prose about zoe@example.com")
    with pytest.raises(error) as caught:
        await endpoint.tell(TOLD)
    assert getattr(caught.value, "delay", None) == delay
    assert caught.value.request_id == "r-1"
    assert "zoe" not in str(caught.value)
    assert not elsewhere.called


@respx.mock
async def test_a_lost_answer_is_asked_for_again(endpoint: Endpoint) -> None:
    respx.post(URL).mock(side_effect=httpx.ReadTimeout)
    with pytest.raises(TryAgain):
        await endpoint.tell(TOLD)


async def test_too_much_is_refused_before_the_call(endpoint: Endpoint) -> None:
    big = Told("e", "custom.big", TOLD.occurred_at, "c-1", (), {"text": "x" * BODY_LIMIT})
    with pytest.raises(NeverAgain, match="data: is longer than 20,000 bytes"):
        await endpoint.tell(big)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.7", "192.168.1.1", "169.254.169.254", "[::1]", "[fd00::1]", "localhost"]
)
@respx.mock
async def test_our_own_network_is_never_called_in_production(host: str) -> None:
    with pytest.raises(NeverAgain, match="private network"):
        await made(private=False, url=f"https://{host}/hook").tell(TOLD)


@pytest.mark.parametrize(
    ("secret", "url", "reason"),
    [
        ("whsec_c2hvcnQ=", URL, "24 to 64 bytes"),
        ("whsec_" + "A" * 200, URL, "24 to 64 bytes"),
        ("whsec_%%%", URL, "base64"),
        (OLD, "http://erp.example.com/hook", "must be https in production"),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(secret: str, url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as wrong:
        made(secret, url=url, private=False)
    assert secret.removeprefix("whsec_")[:8] not in str(wrong.value)


@respx.mock
async def test_the_body_is_json_whatever_is_in_it(endpoint: Endpoint) -> None:
    route = respx.post(URL).respond(200)
    data: dict[str, Any] = {"nested": {"list": [1, None, True]}, "line": "a\nb"}
    await endpoint.tell(Told("e", "custom.any", TOLD.occurred_at, "c-1", (), data))
    assert json.loads(route.calls.last.request.content)["data"]["nested"] == {"list": [1, None, True]}
