"""The real app over a real PostgreSQL, without Temporal."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.cloudevents import CloudEvents
from connectors.track import Track
from contacts.database import connect
from contacts.intake import Intake
from contacts.policy import Policy
from door.door import Door
from settings import Settings
from tests.databases import Databases
from tests.gateway.support import EVENTS_SECRET, KEY, NOW, PUBLIC_URL, Garden, Stopped, Stored, client_of


@pytest.fixture(scope="session")
def database_url(databases: Databases) -> Iterator[str]:
    """One database for all of these tests: none of them minds what the others left there."""
    with databases.lent() as url:
        yield url


@pytest.fixture(scope="session")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url, pool_size=5)
    yield engine
    await engine.dispose()


@pytest.fixture
def settings() -> Settings:
    return Settings(
        _env_file=None,
        secret=SecretStr("a secret of more than thirty-two characters"),
        write_keys=(SecretStr(KEY), SecretStr("another-key")),
        events_secret=SecretStr(EVENTS_SECRET),
        public_url=PUBLIC_URL,
        clock=Stopped(start=NOW),
    )


@pytest.fixture
def new_door(settings: Settings, policy: Policy) -> Callable[..., Door]:
    def make(engine: AsyncEngine, **changes: Any) -> Door:
        fields: dict[str, Any] = {
            "settings": settings,
            "intake": Intake(engine, (), policy),
            "track": Track(settings.write_keys),
            "cloudevents": CloudEvents(settings.events_secret),
            "sources": {"garden": Garden()},
        }
        return Door(**{**fields, **changes})

    return make


@pytest.fixture
def door(new_door: Callable[..., Door], engine: AsyncEngine) -> Door:
    return new_door(engine)


@pytest.fixture
async def client(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(door) as client:
        yield client


@pytest.fixture
async def client_without_database(new_door: Callable[..., Door]) -> AsyncIterator[httpx.AsyncClient]:
    engine = connect("postgresql://nobody@127.0.0.1:1/nothing")
    async with client_of(new_door(engine)) as client:
        yield client
    await engine.dispose()


@pytest.fixture
def stored(engine: AsyncEngine) -> Stored:
    return Stored(engine)
