"""``/events`` over HTTP."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks import Webhook

from connectors.cloudevents import CloudEvents
from door.door import Door
from tests.gateway.support import EVENTS_SECRET, Stored, client_of, unique

STRUCTURED = "application/cloudevents+json"


def envelope(user: str, **changes: Any) -> dict[str, Any]:
    fields = {"specversion": "1.0", "id": unique(), "source": "shop", "type": "call.missed", "subject": f"user:{user}"}
    return {**fields, **changes}


async def send(client: httpx.AsyncClient, value: object, content_type: str = STRUCTURED) -> httpx.Response:
    body, now = json.dumps(value), datetime.now(UTC)
    headers = {
        "content-type": content_type,
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(EVENTS_SECRET).sign("msg_1", now, body),
    }
    return await client.post("/events", content=body, headers=headers)


async def test_a_signed_event_is_recorded_once(client: httpx.AsyncClient, stored: Stored) -> None:
    user = unique("user")
    event = envelope(user)
    answers = [await send(client, event) for _ in range(2)]
    assert [(a.status_code, a.json()) for a in answers] == [(202, {"accepted": 1})] * 2
    [found] = await stored.events("user", user)
    assert (found.type, found.source, found.source_id) == ("call.missed", "cloudevents:shop", event["id"])


async def test_a_batch(client: httpx.AsyncClient, stored: Stored) -> None:
    user = unique("user")
    events = [envelope(user), envelope(user, subject=None), envelope(user)]
    answer = await send(client, events, "application/cloudevents-batch+json")
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 2,
        "errors": [{"index": 1, "error": "data.identities: names nobody; so does the subject"}],
    }
    assert len(await stored.events("user", user)) == 2


async def test_an_event_of_anothers_kind_is_stored_and_ignored(client: httpx.AsyncClient, stored: Stored) -> None:
    event = envelope("1", type="com.example.OrderPlaced", subject=None)
    answer = await send(client, event)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0})
    [kept] = await stored.inbox(event["id"])
    assert (kept.status, kept.error) == ("ignored", None)


async def test_what_is_refused(client: httpx.AsyncClient) -> None:
    unsigned = await client.post("/events", json=envelope("1"), headers={"content-type": STRUCTURED})
    assert (unsigned.status_code, unsigned.json()["error"]["code"]) == (401, "unauthorized")
    malformed = await send(client, envelope("1", id=""))
    assert (malformed.status_code, malformed.json()["error"]["code"]) == (400, "invalid_request")
    other = await send(client, envelope("1"), "application/xml")
    assert (other.status_code, other.json()["error"]["code"]) == (415, "unsupported_media_type")
    large = await client.post("/events", content=b"x" * 2_000_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_contact_that_does_not_exist_costs_only_its_event(client: httpx.AsyncClient, stored: Stored) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    event = envelope("x", subject=f"contact:{nobody}")
    answer = await send(client, event)
    assert answer.status_code == 202
    [kept] = await stored.inbox(event["id"])
    assert kept.status == "failed"


async def test_a_write_key_will_do_in_development(new_door: Callable[..., Door], engine: AsyncEngine) -> None:
    door = new_door(engine, cloudevents=CloudEvents(None, [SecretStr("dev-key")]))
    async with client_of(door) as client:
        headers = {"content-type": STRUCTURED, "authorization": "Bearer dev-key"}
        answer = await client.post("/events", content=json.dumps(envelope(unique("user"))), headers=headers)
    assert answer.status_code == 202
