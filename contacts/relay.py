"""Tells Temporal what the transactions decided, until it has heard.

Dispatches of one run go out in order; a repeat is harmless (a run drops an event it has seen, a start finds its
run). While Temporal is away dispatches wait here and events are accepted all the same.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contacts.runs import CHANNEL
from contacts.tables import dispatches, runs

log = structlog.get_logger()

_BATCH = 20
_LONGEST_PAUSE = timedelta(seconds=30)

_earlier = dispatches.alias("earlier")
BLOCKED = sa.exists().where(
    _earlier.c.run_id == dispatches.c.run_id, _earlier.c.done_at.is_(None), _earlier.c.id < dispatches.c.id
)
"""Something of the same run must go out first."""


class NotYet(Exception):
    """Temporal cannot take this now; the relay asks again later."""


class RunsClient(Protocol):
    """What the relay needs of Temporal. Every method may raise ``NotYet``; each is harmless to repeat."""

    async def start(self, run_id: str, workflow_id: str, journey: str, start: Mapping[str, Any]) -> None:
        """Starts the workflow of a run unless it runs already."""

    async def signal(self, workflow_id: str, run_id: str, signal: str, payload: Mapping[str, Any]) -> None:
        """Signals the workflow of a run; a workflow that has closed needs no signal."""

    async def tell(self, telling: Mapping[str, Any]) -> None:
        """Has another system told of an event (``contacts.tellings``), unless that is under way."""


@dataclass
class Relay:
    """Carries dispatches from the table to Temporal."""

    engine: AsyncEngine
    client: RunsClient

    async def drain(self) -> int:
        """Sends everything that is due, in order within each run; returns how many landed."""
        landed = 0
        while True:
            async with self.engine.begin() as conn:
                batch = await self._due(conn)
                results = await asyncio.gather(*(self._send(row) for row in batch))
                for row, problem in zip(batch, results, strict=True):
                    await self._settle(conn, row, problem)
                landed += results.count(None)
            if not batch:
                return landed

    async def run(self) -> None:
        """Drains whenever a transaction commits dispatches, and retries what did not land. Runs until cancelled."""
        pause = 0.5
        while True:
            try:
                async with self._listening() as (heard, listener):
                    pause = 0.5
                    while not listener.done():
                        await self.drain()
                        longest = await self._until_next_try()
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(longest):
                                await heard.wait()
                        heard.clear()
            except (SQLAlchemyError, psycopg.Error) as error:
                log.warning("relay.database_away", error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 15)

    async def _due(self, conn: AsyncConnection) -> list[Any]:
        query = (
            sa.select(dispatches, runs.c.workflow_id, runs.c.journey, runs.c.ended_at)
            .outerjoin(runs, runs.c.id == dispatches.c.run_id)
            .where(dispatches.c.done_at.is_(None), dispatches.c.next_try_at <= sa.func.now(), ~BLOCKED)
            .order_by(dispatches.c.id)
            .limit(_BATCH)
            .with_for_update(of=dispatches, skip_locked=True)
        )
        return list(await conn.execute(query))

    async def _send(self, row: Any) -> str | None:
        try:
            if row.ended_at is not None:
                return None
            if row.kind == "tell":
                await self.client.tell(row.payload)
            elif row.kind == "start":
                await self.client.start(row.run_id, row.workflow_id, row.journey, row.payload)
            else:
                await self.client.signal(row.workflow_id, row.run_id, row.kind, row.payload)
        except NotYet as problem:
            return str(problem)
        except Exception as problem:
            # One dispatch that nobody can carry (its journey is gone from the code) must not hold up the others.
            return f"{type(problem).__name__}: {problem}"
        return None

    async def _settle(self, conn: AsyncConnection, row: Any, problem: str | None) -> None:
        change: dict[str, Any] = {"attempts": row.attempts + 1, "error": problem}
        if problem is None:
            change["done_at"] = sa.func.now()
        else:
            pause = min(timedelta(seconds=0.25 * 2**row.attempts), _LONGEST_PAUSE)
            change["next_try_at"] = sa.func.now() + pause
            log.warning("relay.not_yet", dispatch=row.id, run=row.run_id, error=problem)
        await conn.execute(sa.update(dispatches).where(dispatches.c.id == row.id).values(change))

    async def _until_next_try(self) -> float:
        wait = sa.func.extract("epoch", sa.func.min(dispatches.c.next_try_at) - sa.func.now())
        async with self.engine.connect() as conn:
            query = sa.select(wait).where(dispatches.c.done_at.is_(None), ~BLOCKED)
            seconds = (await conn.execute(query)).scalar_one()
        # A dispatch another gateway holds right now counts as due; it is not worth spinning for.
        return 60.0 if seconds is None else max(0.1, float(seconds))

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[tuple[asyncio.Event, asyncio.Task[None]]]:
        heard = asyncio.Event()
        dsn = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")

            async def listen() -> None:
                async for _ in connection.notifies():
                    heard.set()

            listener = asyncio.create_task(listen())
            listener.add_done_callback(lambda _: heard.set())
            try:
                yield heard, listener
            finally:
                listener.cancel()
                await asyncio.wait([listener])
