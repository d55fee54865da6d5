"""The whole road: PostgreSQL, Temporal, SMTP, the relay and the worker, as in production but for their size."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

import worker
from connectors.configured import Outlets
from connectors.mailbox import Letter, Mailbox
from connectors.recording import Recording
from connectors.smtp import Smtp, SmtpSettings
from contacts import tables
from contacts.clock import Clock
from contacts.events import event, identities
from contacts.intake import Intake, Receipt
from contacts.policy import Policy
from contacts.relay import Relay, RunsClient
from ops import engines
from ops.temporal import TemporalRuns
from tests.workflows.world import eventually

MORNING = datetime(2030, 3, 4, 9, 0, tzinfo=UTC)  # a Monday, outside everybody's quiet hours


@dataclass
class Road:
    """The parts, and ways to start and stop them."""

    directory: Path
    engine: AsyncEngine
    policy: Policy
    intake: Intake
    mailbox: Mailbox
    clock: Clock = field(default_factory=lambda: Clock(datetime.now(UTC), MORNING))
    port: int = field(default_factory=engines.free_port)
    task_queue: str = field(default_factory=lambda: f"road-{uuid4()}")
    recording: Recording = field(default_factory=Recording)

    def fast(self, rate: float) -> None:
        """The journeys' clock goes so many times as fast as the machine's, and knows no nights."""
        self.clock = Clock(datetime.now(UTC), MORNING, rate)
        self.policy = self.policy.model_copy(update={"quiet_hours": (), "caps": ()})

    @asynccontextmanager
    async def temporal(self) -> AsyncIterator[None]:
        """The Temporal server; what it knows is in a file and outlives it."""
        database, ports = self.directory / "temporal.db", engines.TemporalPorts(self.port)
        async with engines.temporal(self.directory / "temporal.log", database=database, ports=ports):
            yield

    async def client(self) -> Client:
        """A client that connects at its first call, as the gateway's does."""
        return await Client.connect(f"127.0.0.1:{self.port}", data_converter=pydantic_data_converter, lazy=True)

    async def runs(self) -> TemporalRuns:
        return TemporalRuns(await self.client(), self.clock, self.task_queue)

    @asynccontextmanager
    async def relay(self, client: RunsClient | None = None) -> AsyncIterator[None]:
        """The relay, until the block ends: then it is killed."""
        running = asyncio.create_task(Relay(self.engine, client or await self.runs()).run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        smtp = Smtp(SmtpSettings(host="127.0.0.1", port=self.mailbox.port, tls="none"), "hello@example.com")
        acts = worker.activities(
            engine=self.engine,
            policy=self.policy,
            out=Outlets({"email": smtp, "gift": self.recording}, self.recording, self.recording),
            clock=self.clock,
            secret=SecretStr("a secret of more than thirty-two characters"),
            public_url="https://hub.example.com",
            code_version="test",
        )
        # Not the relay's client: that one is lazy, and a worker needs the server anyway.
        client = await Client.connect(f"127.0.0.1:{self.port}", data_converter=pydantic_data_converter)
        async with worker.worker(client, self.task_queue, acts):
            yield

    @asynccontextmanager
    async def all(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as parts:
            for part in (self.temporal(), self.worker(), self.relay()):
                await parts.enter_async_context(part)
            yield

    async def tell(self, type: str, **data: Any) -> Receipt:
        """Something happens to Alice, now."""
        now = self.clock.now()
        alice = identities(("email", "alice@example.com"))
        told = event(type, source="test", source_id=str(uuid4()), occurred_at=now, identities=alice, data=data)
        return await self.intake.record(told, now)

    async def consent(self) -> None:
        await self.tell("consent.granted", channel="email", evidence="form")
        await self.tell("contact.updated", email="alice@example.com", first_name="Alice", timezone="Europe/Berlin")

    async def letters(self, number: int = 1) -> list[Letter]:
        """Waits for so many letters."""

        async def look() -> list[Letter]:
            found = self.mailbox.letters.list()
            return found if len(found) >= number else []

        found: list[Letter] = await eventually(look)
        return found

    async def rows(self, table: sa.Table) -> list[Any]:
        async with self.engine.connect() as conn:
            return list(await conn.execute(sa.select(table)))

    async def ended(self, number: int = 1) -> list[Any]:
        """Waits until so many runs are over, in Temporal too; returns them all."""

        async def look() -> list[Any]:
            found = await self.rows(tables.runs)
            return found if len([run for run in found if run.ended_at]) >= number else []

        found: list[Any] = await eventually(look)
        return found

    async def dispatched(self) -> list[Any]:
        """Waits until Temporal has heard everything."""

        async def look() -> list[Any]:
            found = await self.rows(tables.dispatches)
            return found if all(row.done_at for row in found) else []

        found: list[Any] = await eventually(look)
        return found


@pytest.fixture
async def road(tmp_path: Path, engine: AsyncEngine, policy: Policy, intake: Intake) -> AsyncIterator[Road]:
    async with Mailbox(tmp_path / "mail") as mailbox:
        yield Road(tmp_path, engine, policy, intake, mailbox)


def days_in(days: float, seconds: float) -> float:
    """The rate at which so many days pass in so many seconds."""
    return timedelta(days=days) / timedelta(seconds=seconds)
