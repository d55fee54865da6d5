"""``/metrics``: what Prometheus reads, who may read it, and that nobody's data is in it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import database, tables
from contacts.clock import Clock
from contacts.intake import Intake
from contacts.policy import Policy
from door.app import create_app
from door.door import Door
from ops.monitor.counts import KINDS
from ops.monitor.watch import Monitor
from settings import Settings
from tests.contacts.support import at, told
from tests.databases import Databases
from tests.gateway.support import client_of
from tests.workflows.world import eventually
from workflows.registry import CARDS


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A database of each test's own: what there is, is counted."""
    with databases.lent() as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> Any:
    engine = database.connect(database_url, pool_size=3)
    yield engine
    await engine.dispose()


def numbers(text: str) -> dict[str, float]:
    """``name{label}`` to the value."""
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_it_shows_what_the_monitor_found(
    new_door: Callable[..., Door], engine: AsyncEngine, policy: Policy
) -> None:
    intake = Intake(engine, CARDS, policy)
    whose = {"email": "ada@example.com"}
    for event in (
        told("contact.identified", at(0), who=whose, email="ada@example.com", first_name="Ada"),
        told("resource.downloaded", at(0), who=whose, resource="seo-guide"),
    ):
        await intake.record(event, at(0))
    kept = {"method": "POST", "url": "u", "headers": {}, "body": b"", "connector": "garden", "received_at": at(0)}
    async with engine.begin() as conn:
        await conn.execute(sa.insert(tables.inbox).values(status="received", **kept))
    monitor = Monitor(engine, Clock(start=at(1), origin=at(1)))
    async with client_of(new_door(engine, monitor=monitor)) as client:
        assert set(numbers((await client.get("/metrics")).text)) == {"perennial_monitor_up"}
        await client.post("/webhooks/garden", content=b"{}")
        await monitor.look()
        answer = await client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = numbers(answer.text)
    assert found["perennial_requests_refused_total{garden}{401}"] == 1
    async with engine.connect() as conn:
        unheard = (await conn.execute(sa.select(sa.func.count()).select_from(tables.dispatches))).scalar_one()
    assert unheard > 0
    assert (found["perennial_overdue{dispatches}"], found["perennial_overdue{requests}"]) == (unheard, 1)
    assert found["perennial_overdue_oldest_seconds{requests}"] >= 86400
    assert {f"perennial_overdue{{{kind}}}" for kind in KINDS} <= set(found)
    assert (found["perennial_inbox{received}"], found["perennial_inbox{failed}"]) == (1, 0)
    assert found["perennial_runs_open{welcome}"] == 1
    assert found["perennial_touches{waiting}"] == 0
    assert found["perennial_monitor_up"] == 1
    assert found["perennial_monitor_looked_timestamp_seconds"] > 0
    assert "ada" not in answer.text.lower()


async def test_a_monitor_that_cannot_look_says_so_and_keeps_what_it_knew(
    new_door: Callable[..., Door], engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor(engine, Clock())
    await monitor.look()
    monkeypatch.setattr(monitor, "engine", database.connect("postgresql://nobody@127.0.0.1:1/nothing"))
    with pytest.raises(sa.exc.OperationalError):
        await monitor.look()
    async with client_of(new_door(engine, monitor=monitor)) as client:
        found = numbers((await client.get("/metrics")).text)
    assert (found["perennial_monitor_up"], found["perennial_overdue{ends}"]) == (0, 0)


@pytest.mark.parametrize(
    ("environment", "key", "given", "status"),
    [
        ("development", None, None, 200),
        ("development", "k1", None, 401),
        ("production", None, None, 401),
        ("production", "k1", None, 401),
        ("production", "k1", "Bearer k2", 401),
        ("production", "k1", "k1", 401),
        ("production", "k1", "Bearer k1", 200),
    ],
)
async def test_who_may_read_it(
    new_door: Callable[..., Door], settings: Settings, engine: AsyncEngine,
    environment: str, key: str | None, given: str | None, status: int,
) -> None:  # fmt: skip
    changed = {"environment": environment, "metrics_key": SecretStr(key) if key else None}
    door = new_door(engine, settings=settings.model_copy(update=changed))
    async with client_of(door) as client:
        answer = await client.get("/metrics", headers={"authorization": given} if given else {})
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["code"] == "unauthorized"
        assert "k1" not in answer.text


async def test_the_monitor_lives_as_long_as_the_app(new_door: Callable[..., Door], engine: AsyncEngine) -> None:
    monitor = Monitor(engine, Clock())
    app = create_app(new_door(engine, monitor=monitor))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inside:8080") as client,
    ):

        async def looked() -> bool:
            return "perennial_monitor_up 1.0" in (await client.get("/metrics")).text

        await eventually(looked)
