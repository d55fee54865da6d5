"""What some senders need of the door besides: something fetched first, a token used once, an answer, a call back."""

import json
from typing import ClassVar

import httpx
import pytest

from connectors.base import Refused, Reply, Request
from connectors.errors import TryAgain
from door.door import Door
from tests.gateway.support import PUBLIC_URL, Garden, Stored, client_of, unique


class Orchard(Garden):
    """A garden whose keys must be fetched, that calls back, and that reads our answer."""

    name: ClassVar[str] = "orchard"

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.confirmed = 0
        self.away = False
        self.deaf = False

    async def prepare(self, request: Request) -> None:
        if request.headers.get("x-key") == "elsewhere":
            raise Refused(401, "the key is somewhere else")
        if self.away:
            raise TryAgain("orchard", "no answer")
        self.fetched.append(request.headers.get("x-key", ""))

    async def confirm(self, request: Request) -> None:
        if self.deaf:
            raise TryAgain("orchard", "no answer")
        self.confirmed += 1

    def reply(self, request: Request) -> Reply | None:
        found = json.loads(request.body).get("challenge")
        return Reply(f"<echo>{found}</echo>".encode(), "text/xml", 202) if found else None


class Meadow:
    """A sender who signs a token and not the body."""

    name: ClassVar[str] = "meadow"

    def verify(self, request: Request, now: object) -> None:
        if request.headers.get("x-mac") != f"mac of {self.token(request)}":
            raise Refused(401, "the signature does not match")

    def token(self, request: Request) -> str:
        return request.headers.get("x-token", "")

    def parse(self, request: Request, received_at: object) -> list[object]:
        return []


@pytest.fixture
def orchard() -> Orchard:
    return Orchard()


@pytest.fixture
def visited(door: Door, orchard: Orchard) -> httpx.AsyncClient:
    door.sources["orchard"] = orchard  # type: ignore[index]
    door.sources["meadow"] = Meadow()  # type: ignore[index]
    return client_of(door)


async def tell(client: httpx.AsyncClient, marker: str, **more: object) -> httpx.Response:
    body = json.dumps({"events": [], "marker": marker, **more}).encode()
    signature = Garden().sign(PUBLIC_URL + "/webhooks/orchard", body)
    return await client.post("/webhooks/orchard", content=body, headers={"x-garden": signature, "x-key": "k1"})


async def test_what_verification_needs_is_fetched_first(visited: httpx.AsyncClient, orchard: Orchard) -> None:
    assert (await tell(visited, unique())).status_code == 200
    assert orchard.fetched == ["k1"]
    elsewhere = await visited.post("/webhooks/orchard", content=b"{}", headers={"x-key": "elsewhere"})
    assert elsewhere.status_code == 401


async def test_a_sender_who_cannot_be_reached_is_asked_to_send_again(
    visited: httpx.AsyncClient, orchard: Orchard, stored: Stored
) -> None:
    orchard.away, marker = True, unique()
    answer = await tell(visited, marker)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert await stored.inbox(marker) == []


async def test_it_is_asked_in_the_way_it_understands(visited: httpx.AsyncClient, orchard: Orchard) -> None:
    orchard.again_on = 429  # type: ignore[attr-defined]
    orchard.away = True
    answer = await tell(visited, unique())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    orchard.away, orchard.deaf = False, True
    assert (await tell(visited, unique())).status_code == 429


async def test_a_handshake_happens_after_the_request_is_kept(
    visited: httpx.AsyncClient, orchard: Orchard, stored: Stored
) -> None:
    marker = unique()
    assert (await tell(visited, marker)).status_code == 200
    assert orchard.confirmed == 1
    orchard.deaf, other = True, unique()
    assert (await tell(visited, other)).status_code == 503
    assert len(await stored.inbox(other)) == 1


async def test_a_challenge_is_answered_as_its_sender_reads_it(visited: httpx.AsyncClient) -> None:
    answer = await tell(visited, unique(), challenge="abc")
    assert (answer.status_code, answer.text) == (202, "<echo>abc</echo>")
    assert answer.headers["content-type"].startswith("text/xml")
    assert (await tell(visited, unique())).json() == {"received": 0}


async def test_a_token_comes_with_one_body_only(visited: httpx.AsyncClient, stored: Stored) -> None:
    token, first, other = unique(), unique(), unique()

    async def send(marker: str, mac: str = "mac of ") -> int:
        headers = {"x-token": token, "x-mac": mac + token}
        return (await visited.post("/webhooks/meadow", content=marker.encode(), headers=headers)).status_code

    assert await send(other, mac="forged ") == 401
    assert [await send(first), await send(first)] == [200, 200], "a retry of the same is as good as the first"
    assert await send(other) == 401
    assert await stored.inbox(other) == []
    assert len(await stored.inbox(first)) == 2
    refused = (await visited.get("/readyz")).json()["refused"]
    assert refused["meadow"] == {"401": 2}


async def test_who_asks_whether_the_address_is_there(visited: httpx.AsyncClient) -> None:
    assert (await visited.head("/webhooks/orchard")).status_code == 200
    assert (await visited.head("/webhooks/nobody")).status_code == 404
