"""The door as a whole: health, errors, the development pages, the API page, the relay's life, junk of every shape."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from connectors.cloudevents import CloudEvents
from connectors.mailbox import Letters
from door.app import create_app
from door.door import Door
from settings import Settings
from tests.gateway.support import KEY, client_of


class TestHealth:
    async def test_alive(self, client_without_database: httpx.AsyncClient) -> None:
        answer = await client_without_database.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    async def test_ready(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"ready": True, "postgresql": True, "refused": {}})

    async def test_not_ready_without_a_database(self, client_without_database: httpx.AsyncClient) -> None:
        answer = await client_without_database.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["error"] == {"code": "unavailable", "message": "PostgreSQL does not answer"}

    @pytest.mark.parametrize("there", [True, False])
    async def test_temporal_is_told_but_does_not_decide(
        self, new_door: Callable[..., Door], engine: AsyncEngine, there: bool
    ) -> None:
        async def temporal() -> bool:
            return there

        async with client_of(new_door(engine, temporal=temporal)) as client:
            answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["temporal"]) == (200, there)


async def test_an_unknown_path_is_404_in_our_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_the_api_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "https://" not in page
    script = page.partition('<script src="')[2].partition('"')[0]
    assert (await client.get(script)).status_code == 200
    schema = (await client.get("/openapi.json")).json()
    assert {"/webhooks/{connector}", "/v1/track", "/v1/batch", "/events", "/readyz"} <= set(schema["paths"])
    assert not [path for path in schema["paths"] if path in ("/v1/t", "/u/{token}", "/mailbox")]
    for methods in schema["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["description"].strip()


class TestDevelopment:
    async def test_mailbox(self, new_door: Callable[..., Door], engine: AsyncEngine, tmp_path: Path) -> None:
        letters = Letters(tmp_path)
        id = letters.add("us@example.com", ["alice@example.com"], b"Subject: Hello\r\n\r\nA letter")
        async with client_of(new_door(engine, letters=letters)) as client:
            assert "/mailbox" in (await client.get("/")).text
            assert "Hello" in (await client.get("/mailbox")).text
            assert "A letter" in (await client.get(f"/mailbox/{id}")).text
            assert (await client.get("/mailbox/nobody")).status_code == 404

    async def test_never_in_production(
        self, new_door: Callable[..., Door], engine: AsyncEngine, settings: Settings, tmp_path: Path
    ) -> None:
        production = settings.model_copy(update={"environment": "production"})
        async with client_of(new_door(engine, settings=production, letters=Letters(tmp_path))) as client:
            assert [(await client.get(path)).status_code for path in ("/", "/mailbox", "/mailbox/x")] == [404] * 3


async def test_the_relay_lives_as_long_as_the_app_and_is_started_again(
    new_door: Callable[..., Door], engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("door.app._PAUSE", 0)
    starts, running, ended = 0, asyncio.Event(), asyncio.Event()

    async def relay() -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise RuntimeError("Temporal is away")
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    app = create_app(new_door(engine, chores={"relay": relay}))
    async with app.router.lifespan_context(app):
        async with asyncio.timeout(5):
            await running.wait()
        assert not ended.is_set()
    assert ended.is_set()


def test_no_request_the_api_page_allows_is_a_fault_of_ours(new_door: Callable[..., Door], database_url: str) -> None:
    # Each call runs on a loop of its own, which a pooled connection would not survive.
    engine = create_async_engine(database_url, poolclass=NullPool)
    door = new_door(engine, cloudevents=CloudEvents(None, [SecretStr(KEY)]))
    api = schemathesis.openapi.from_asgi("/openapi.json", create_app(door))
    asked = set()

    @hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(api.as_strategy())
    def attempt(case: Case) -> None:
        asked.add(case.operation.path)
        allowed = f"Bearer {KEY}" if case.operation.path == "/events" else "Basic " + b64encode(KEY.encode()).decode()
        case.call_and_validate(
            headers={"authorization": allowed},
            checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
        )

    attempt()
    assert {"/webhooks/{connector}", "/v1/batch", "/events"} <= asked
