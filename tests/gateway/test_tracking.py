"""The tracking API over HTTP: who may call, what is kept, and whose it becomes."""

import base64
import gzip
import json
from typing import Any

import httpx
import pytest

from contacts.clock import Clock
from tests.gateway.support import KEY, Stored, unique

BASIC = {"authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}


async def call(client: httpx.AsyncClient, path: str, **fields: Any) -> httpx.Response:
    return await client.post(f"/v1/{path}", json=fields, headers=BASIC)


async def test_an_anonymous_visitor_who_becomes_known_keeps_what_they_did(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    visitor, email = unique("visitor"), f"{unique()}@example.com"
    await call(client, "page", anonymousId=visitor, name="Pricing", messageId=unique())
    await call(client, "track", anonymousId=visitor, event="resource.downloaded", properties={"resource": "guide"})
    traits = {"email": email, "consent": {"email": ["promotional"]}}
    await call(client, "identify", anonymousId=visitor, userId=unique("user"), traits=traits)
    types = {e.type for e in await stored.events("email", email)}
    assert types == {"page.viewed", "resource.downloaded", "consent.granted", "contact.identified"}
    assert await stored.consent("email", email) == {"email/promotional": True}


async def test_a_repeated_message_id_changes_nothing(client: httpx.AsyncClient, stored: Stored) -> None:
    user, message = unique("user"), unique("message")
    answers = [await call(client, "track", userId=user, event="Signed Up", messageId=message) for _ in range(2)]
    assert [a.json() for a in answers] == [{"success": True}] * 2
    assert len(await stored.events("user", user)) == 1


async def test_an_unknown_key_is_401_and_counted(client: httpx.AsyncClient, stored: Stored) -> None:
    user = unique("user")
    answer = await client.post("/v1/track", json={"userId": user, "event": "x", "writeKey": "no"})
    assert answer.status_code == 401
    assert answer.json()["error"] == {"code": "unauthorized", "message": "the write key is not known"}
    assert await stored.inbox(user) == []
    assert (await client.get("/readyz")).json()["refused"] == {"track": {"401": 1}}


@pytest.mark.parametrize("path", ["t", "track"])
async def test_a_beacon_is_plain_text_with_its_key_inside(client: httpx.AsyncClient, stored: Stored, path: str) -> None:
    user = unique("user")
    body = json.dumps({"userId": user, "event": "Left", "writeKey": KEY})
    answer = await client.post(f"/v1/{path}", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 200
    assert [e.type for e in await stored.events("user", user)] == ["custom.left"]


async def test_a_batch_keeps_the_good_and_names_the_bad(client: httpx.AsyncClient, stored: Stored) -> None:
    user = unique("user")
    good = {"type": "track", "userId": user, "event": "Signed Up"}
    body = gzip.compress(json.dumps({"batch": [good, {"type": "track"}, {**good, "event": "hold.opened"}]}).encode())
    answer = await client.post("/v1/batch", content=body, headers={**BASIC, "content-encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "errors": [
            {"index": 1, "error": "needs a userId or an anonymousId"},
            {"index": 2, "error": "the tracking API does not take this type of event"},
        ],
    }
    assert [e.type for e in await stored.events("user", user)] == ["custom.signed_up"]


async def test_a_batch_with_a_bad_call_can_be_read_again(client: httpx.AsyncClient, stored: Stored) -> None:
    user = unique("user")
    await call(client, "batch", batch=[{"type": "track", "userId": user, "event": "x"}, {"type": "later"}])
    [kept] = await stored.inbox(user)
    assert (kept.status, kept.events) == ("failed", 1)
    assert len(await stored.events("user", user)) == 1


async def test_a_call_that_is_no_event_yet_is_kept_and_reported(client: httpx.AsyncClient, stored: Stored) -> None:
    user = unique("user")
    answer = await call(client, "track", userId=user, event="checkout.started", properties={"value": 19.99})
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["error"].startswith("data.")
    [kept] = await stored.inbox(user)
    assert kept.status == "failed"
    assert "authorization" not in kept.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"userId":"1"}', 400),
        (b'{"userId":"1","event":"' + b"x" * 40_000 + b'"}', 400),
        (b"x" * 2_000_000, 413),
    ],
)
async def test_malformed_and_oversized_calls(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    answer = await client.post("/v1/track", content=body, headers=BASIC)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message"}


async def test_browsers_of_any_site_may_call(client: httpx.AsyncClient) -> None:
    site = {"origin": "https://shop.example.com"}
    asked = {
        **site,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    preflight = await client.options("/v1/track", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert {"authorization", "content-type"} <= set(
        preflight.headers["access-control-allow-headers"].lower().split(", ")
    )
    for body in (b"{", b"x" * 2_000_000):
        refused = await client.post("/v1/track", content=body, headers=site)
        assert refused.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/webhooks/garden", "/events", "/readyz"])
async def test_browsers_may_call_nothing_else(client: httpx.AsyncClient, path: str) -> None:
    asked = {"origin": "https://shop.example.com", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in (await client.options(path, headers=asked)).headers


async def test_a_call_is_dated_on_the_journeys_clock(client: httpx.AsyncClient, stored: Stored, settings: Any) -> None:
    user = unique("user")
    await call(client, "track", userId=user, event="x", timestamp="2020-01-01T00:00:00Z", sentAt="2020-01-01T00:01:00Z")
    [event] = await stored.events("user", user)
    assert isinstance(settings.clock, Clock)
    assert (settings.clock.now() - event.occurred_at).total_seconds() == 60


async def test_without_a_database_the_client_is_asked_to_try_again(client_without_database: httpx.AsyncClient) -> None:
    assert (await call(client_without_database, "track", userId="1", event="x")).status_code == 503
