"""Webhooks: what is genuine is kept and recorded once; what is not leaves a number."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connectors.base import SendsAgainOn
from connectors.configured import sources
from contacts.database import connect
from door.door import Door
from door.limits import BODY_LIMIT
from tests.gateway.support import NOW, PUBLIC_URL, Garden, Stored, client_of, unique

PATH = "/webhooks/garden"


def body_of(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": events}).encode()


def download(email: str, id: str) -> dict[str, Any]:
    return {"id": id, "type": "resource.downloaded", "email": email, "data": {"resource": "seo-guide"}}


async def send(
    client: httpx.AsyncClient, body: bytes, *, path: str = PATH, signed: str | None = None
) -> httpx.Response:
    signature = Garden().sign(signed or PUBLIC_URL + path, body)
    return await client.post(path, content=body, headers={"x-garden": signature})


async def test_a_genuine_webhook_is_kept_and_its_events_recorded(client: httpx.AsyncClient, stored: Stored) -> None:
    email, id = f"{unique()}@example.com", unique()
    answer = await send(client, body_of(download(email, id)))
    assert (answer.status_code, answer.json()) == (200, {"received": 1})
    [found] = await stored.events("email", email)
    assert (found.source, found.source_id, found.received_at) == ("garden", id, NOW)
    [kept] = await stored.inbox(id)
    assert (kept.status, kept.connector, kept.url) == ("parsed", "garden", PUBLIC_URL + PATH)


async def test_a_repeat_is_answered_the_same_and_changes_nothing(client: httpx.AsyncClient, stored: Stored) -> None:
    email, id = f"{unique()}@example.com", unique()
    answers = [await send(client, body_of(download(email, id))) for _ in range(3)]
    assert [a.json() for a in answers] == [{"received": 1}] * 3
    assert len(await stored.events("email", email)) == 1


async def test_a_forged_webhook_leaves_a_number_and_nothing_else(client: httpx.AsyncClient, stored: Stored) -> None:
    marker = unique()
    answer = await client.post(
        PATH, content=body_of(download(f"{marker}@example.com", marker)), headers={"x-garden": "no"}
    )
    assert answer.status_code == 401
    assert answer.json() == {"error": {"code": "unauthorized", "message": "the signature does not match"}}
    assert await stored.inbox(marker) == []
    assert (await client.get("/readyz")).json()["refused"] == {"garden": {"401": 1}}


async def test_the_signature_is_over_the_public_address_with_its_query(client: httpx.AsyncClient) -> None:
    path = f"{PATH}?tenant=a%20b"
    assert (await send(client, b"{}", path=path)).status_code == 200
    assert (await send(client, b"{}", path=path, signed=f"http://inside:8080{path}")).status_code == 401


async def test_no_forwarding_header_changes_the_address(client: httpx.AsyncClient) -> None:
    signature = Garden().sign(f"https://evil.example.com{PATH}", b"{}")
    headers = {"x-garden": signature, "x-forwarded-host": "evil.example.com", "forwarded": "host=evil.example.com"}
    assert (await client.post(PATH, content=b"{}", headers=headers)).status_code == 401


async def test_what_does_not_parse_is_kept_with_its_error(client: httpx.AsyncClient, stored: Stored) -> None:
    marker = unique()
    answer = await send(client, f"{marker} is not JSON".encode())
    assert (answer.status_code, answer.json()) == (200, {"received": 0, "kept": True})
    [kept] = await stored.inbox(marker)
    assert kept.status == "failed"
    assert "JSONDecodeError" in kept.error


async def test_one_bad_event_does_not_cost_the_others(client: httpx.AsyncClient, stored: Stored) -> None:
    email = f"{unique()}@example.com"
    nobody = {"id": unique(), "type": "meeting.booked", "email": "not an address"}
    answer = await send(client, body_of(nobody, download(email, unique())))
    assert answer.json()["kept"] is True
    assert len(await stored.events("email", email)) == 1


async def test_an_unknown_connector_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.post("/webhooks/nobody", content=b"{}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_another_method_is_405_in_the_same_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get(PATH)
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413(client: httpx.AsyncClient, declared: bool) -> None:
    read = 0

    async def chunks() -> Any:
        nonlocal read
        for _ in range(64):
            read += 65536
            yield b"x" * 65536

    headers = {"content-length": str(64 * 65536)} if declared else {}
    answer = await client.post(PATH, content=chunks(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert read <= (0 if declared else BODY_LIMIT + 65536 * 2), "the rest of the body was read all the same"


async def test_a_body_at_the_limit_is_taken(client: httpx.AsyncClient) -> None:
    assert (await send(client, b'{"a": "' + b"x" * (BODY_LIMIT - 9) + b'"}')).status_code == 200


async def test_without_a_database_the_sender_is_asked_to_try_again(client_without_database: httpx.AsyncClient) -> None:
    answer = await send(client_without_database, body_of(download("alice@example.com", "1")))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "unavailable"


class Picky(Garden):
    """A sender who sends again what is answered so, and nothing else."""

    again_on: ClassVar[int] = 429


class PickyAndBroken(Picky):
    def verify(self, request: Any, now: Any) -> None:
        raise RuntimeError("the secret is alice@example.com")


async def test_a_sender_is_asked_to_try_again_in_the_way_it_understands(new_door: Callable[..., Door]) -> None:
    body, nowhere = body_of(download("alice@example.com", "1")), connect("postgresql://nobody@127.0.0.1:1/nothing")
    async with client_of(new_door(nowhere, sources={"garden": Picky()})) as client:
        away = await send(client, body)
    assert (away.status_code, away.headers["retry-after"]) == (429, "5")
    async with client_of(new_door(nowhere, sources={"garden": PickyAndBroken()})) as client:
        broken = await send(client, body)
    assert broken.status_code == 429
    for answer in (away, broken):
        assert answer.json()["error"]["code"] == "unavailable"
        assert "alice" not in answer.text


def test_what_makes_each_system_send_again() -> None:
    only = {name: one.again_on for name, one in sources().items() if isinstance(one, SendsAgainOn)}
    assert only == {"gohighlevel": 429, "zendesk": 503}


async def test_a_fault_of_ours_is_500_without_a_trace(new_door: Callable[..., Door], engine: Any) -> None:
    class Broken(Garden):
        def verify(self, request: Any, now: Any) -> None:
            raise RuntimeError("the secret is alice@example.com")

    async with client_of(new_door(engine, sources={"garden": Broken()})) as client:
        answer = await client.post(PATH, content=b"{}")
    assert answer.status_code == 500
    assert answer.json() == {"error": {"code": "internal", "message": "something went wrong on our side"}}


_ANYTHING = st.binary(max_size=200)
_HEADERS = st.dictionaries(
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9\-]{0,20}", fullmatch=True),
    st.binary(max_size=50).filter(lambda b: not set(b) & {0, 10, 13}),
    max_size=4,
)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_ANYTHING, headers=_HEADERS, genuine=st.booleans())
async def test_junk_is_never_a_5xx(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, bytes], genuine: bool
) -> None:
    sent = {**headers, **({"x-garden": Garden().sign(PUBLIC_URL + PATH, body).encode()} if genuine else {})}
    sent.pop("Content-Length", None), sent.pop("content-length", None)
    answer = await client.post(PATH, content=body, headers=[(k.encode(), v) for k, v in sent.items()])
    assert answer.status_code in (200, 401), answer.text
