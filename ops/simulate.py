"""Plays scenario files: the real journeys, gate and templates on real engines, under skipped time."""

import asyncio
import sysconfig
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from math import ceil
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ListClosedWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsRequest,
)
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

import worker
from connectors.configured import Outlets
from connectors.recording import Recording
from contacts import database, journal, migrate, segments, store, tables
from contacts.absence import due
from contacts.clock import Clock
from contacts.facts import CHANNELS, Facts
from contacts.intake import Intake
from contacts.policy import Policy
from contacts.relay import Relay
from contacts.sweep import sweep_page
from ops import engines, scenario
from ops.scenario import Answer, Line, Scenario
from ops.temporal import TemporalRuns
from workflows.registry import CARDS
from workflows.search_attributes import ALL as SEARCH_ATTRIBUTES

_TEMPLATE = "perennial_schema_"
_LATE = 10.0
"""Seconds by which runs wake late: longer than one takes to do something. This server loses a run whose timer goes off
while the run is calling it off, as it would if an event came at the very moment a wait ends.
"""


@dataclass(frozen=True)
class Played:
    """What came of a scenario: its timeline, what did not come out as the file says, and the histories of its runs."""

    scenario: Scenario
    lines: Sequence[Line]
    misses: Sequence[str]
    histories: Sequence[WorkflowHistory] = field(default=(), repr=False)


@asynccontextmanager
async def stage(data: Path) -> AsyncIterator[str]:
    """A PostgreSQL server with an empty, current schema to copy from; yields the template database's URL."""
    with engines.postgres(data / "postgres") as server:
        name = f"{_TEMPLATE}{uuid4().hex[:12]}"
        template = engines.create_database(server, name)
        try:
            await asyncio.to_thread(migrate.upgrade, template)
            yield template
        finally:
            engines.drop_database(server, name)


async def play(template: str, written: Scenario, policy: Policy) -> Played:
    """Plays one scenario on a database and a Temporal server of its own."""
    name = f"perennial_scenario_{uuid4().hex[:12]}"
    source = sa.make_url(template).database or ""
    server = engines.database_url(template, "postgres")
    url = await asyncio.to_thread(engines.create_database, server, name, source)
    engine = database.connect(url, pool_size=5)
    try:
        async with _time_skipping() as (environment, client):
            played = _Play(written, policy, engine, environment, client)
            lines = await played.through()
            histories = await _histories(client)
    finally:
        await engine.dispose()
        await asyncio.to_thread(engines.drop_database, server, name)
    return Played(written, lines, [*played.unheard, *scenario.judge(written, lines)], histories)


async def _histories(client: Client) -> list[WorkflowHistory]:
    """Of every run there was; each continues in another where it was carried over."""
    # This server cannot list workflows by a query.
    running = await client.workflow_service.list_open_workflow_executions(
        ListOpenWorkflowExecutionsRequest(namespace=client.namespace)
    )
    over = await client.workflow_service.list_closed_workflow_executions(
        ListClosedWorkflowExecutionsRequest(namespace=client.namespace)
    )
    found = [info.execution for info in (*over.executions, *running.executions)]
    return [await client.get_workflow_handle(e.workflow_id, run_id=e.run_id).fetch_history() for e in found]


@asynccontextmanager
async def _time_skipping() -> AsyncIterator[tuple[WorkflowEnvironment, Client]]:
    binary = str(Path(sysconfig.get_path("scripts")) / "temporal-test-server")
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=binary, data_converter=pydantic_data_converter, runtime=_quiet()
    )
    async with environment:
        types = {key.name: key.indexed_value_type.value for key in SEARCH_ATTRIBUTES}
        request = AddSearchAttributesRequest(namespace=environment.client.namespace, search_attributes=types)  # type: ignore[arg-type]
        await environment.client.operator_service.add_search_attributes(request)
        yield environment, environment.client


@cache
def _quiet() -> Runtime:
    """Without the core's warning that this test server is an old one; errors are still told."""
    level = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=level)))


class _Play:
    def __init__(
        self, written: Scenario, policy: Policy, engine: AsyncEngine, environment: WorkflowEnvironment, client: Client
    ) -> None:
        self._scenario = written
        self._policy = policy
        self._engine = engine
        self._environment = environment
        self._client = client
        self._intake = Intake(engine, CARDS, policy)
        self.unheard: list[str] = []

    async def through(self) -> list[Line]:
        """From the first event to ``until``; returns the timeline."""
        start = self._scenario.start.astimezone(UTC)
        origin = await self._environment.get_current_time()
        clock = Clock(origin, start, late=_LATE)
        recording = Recording()
        acts = worker.activities(
            engine=self._engine,
            policy=self._policy,
            out=Outlets(dict.fromkeys(CHANNELS, recording), recording, recording),
            clock=clock,
            secret=SecretStr("a scenario's links lead nowhere but look real"),
            public_url="https://hub.example.com",
            code_version=worker.CODE_VERSION,
        )
        relay = Relay(self._engine, TemporalRuns(self._client, clock, "scenario"))
        for told in scenario.history(self._scenario):
            await self._intake.remember(told, told.occurred_at)
        # No time is taken here, where it is skipped: on a busy machine a collection of garbage passes for a deadlock.
        async with worker.worker(self._client, "scenario", acts, debug_mode=True):
            order = sorted(range(len(self._scenario.events)), key=lambda n: (self._scenario.events[n].at, n))
            for n in order:
                arrives = start + self._scenario.events[n].at
                await self._live_until(clock, arrives, relay)
                if (answer := scenario.answer_of(self._scenario, n)) is not None:
                    await self._answer(answer, arrives)
                else:
                    await self._intake.record(scenario.event_of(self._scenario, n), arrives)
                await self._settle(relay)
            await self._live_until(clock, start + self._scenario.until, relay)
            await self._settle(relay)
        return await self._timeline()

    async def _live_until(self, clock: Clock, moment: datetime, relay: Relay) -> None:
        """Lets time pass; what becomes due on the way is recorded when it does, as the daily sweep would."""
        while True:
            now = clock.at(await self._environment.get_current_time())
            async with self._engine.connect() as conn:
                rows = await conn.execute(
                    sa.select(tables.contacts.c.facts).where(tables.contacts.c.merged_into.is_(None))
                )
                known = [store.read_facts(document) for document in rows.scalars()]
            ripe = min((d.at for facts in known for d in due(facts, self._policy) if d.at > now), default=moment)
            ripe = self._first_move(known, now, min(ripe, moment))
            await self._skip_to(clock, ripe)
            if ripe >= moment:
                return
            await sweep_page(self._intake, ripe)
            await self._settle(relay)

    def _first_move(self, known: Sequence[Facts], now: datetime, before: datetime) -> datetime:
        """When a day's sweep would find that a contact has joined or left a segment, if that is earlier."""
        days = (now + timedelta(days=n) for n in range(1, ceil((before - now) / timedelta(days=1))))
        moves = (
            day
            for day in days
            for facts in known
            if segments.counted(facts, self._policy, day).segments != facts.segments
        )
        return next(moves, before)

    async def _answer(self, answer: Answer, now: datetime) -> None:
        asked = (
            sa.select(tables.runs.c.workflow_id, tables.journal.c.data)
            .join(tables.journal, tables.journal.c.run_id == tables.runs.c.id)
            .join(tables.identities, tables.identities.c.contact_id == tables.runs.c.contact_id)
            .where(
                tables.journal.c.kind == "approval",
                tables.journal.c.data.has_key("name"),
                tables.runs.c.journey == answer.journey,
                tables.runs.c.ended_at.is_(None),
                tables.identities.c.value == f"scenario:{answer.contact}",
            )
            .order_by(tables.journal.c.id)
        )
        async with self._engine.connect() as conn:
            waiting = [r for r in await conn.execute(asked) if datetime.fromisoformat(r.data["until"]) > now]
        if not waiting:
            self.unheard.append(f"- {answer.journey}: nothing waits for an answer on {now:%d %b}")
            return
        run = self._client.get_workflow_handle(waiting[-1].workflow_id)
        await run.execute_update("approve", args=[waiting[-1].data["name"], answer.approved])

    async def _skip_to(self, clock: Clock, moment: datetime) -> None:
        ahead = moment - clock.at(await self._environment.get_current_time())
        if ahead > timedelta(0):
            await self._environment.sleep(ahead)

    async def _settle(self, relay: Relay) -> None:
        """Waits until every run has done what it can do without time passing."""
        quiet = 0
        while quiet < 2:
            await relay.drain()
            quiet = 0 if await self._busy() else quiet + 1
            await asyncio.sleep(0.01)

    async def _busy(self) -> bool:
        async with self._engine.connect() as conn:
            waiting = sa.select(sa.func.count()).where(tables.dispatches.c.done_at.is_(None))
            if (await conn.execute(waiting)).scalar_one():
                return True
            open_runs = sa.select(tables.runs.c.workflow_id).where(tables.runs.c.ended_at.is_(None))
            names = (await conn.execute(open_runs)).scalars().all()
        return any(await asyncio.gather(*(self._run_is_busy(name) for name in names)))

    async def _run_is_busy(self, workflow_id: str) -> bool:
        # The SDK's own describe() cannot read what this server answers for a search attribute that was unset.
        request = DescribeWorkflowExecutionRequest(
            namespace=self._client.namespace, execution=WorkflowExecution(workflow_id=workflow_id)
        )
        try:
            found = await self._client.workflow_service.describe_workflow_execution(request)
        except RPCError:
            return True
        active = [a for a in found.pending_activities if a.state != PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED]
        return found.HasField("pending_workflow_task") or any(a.attempt <= 1 for a in active)

    async def _timeline(self) -> list[Line]:
        names = {}
        async with self._engine.connect() as conn:
            for value, contact_id in await conn.execute(
                sa.select(tables.identities.c.value, tables.identities.c.contact_id).where(
                    tables.identities.c.kind == "user", tables.identities.c.value.like("scenario:%")
                )
            ):
                names[contact_id] = value.removeprefix("scenario:")
            entries = [entry for _, entry in await journal.read(conn)]
        end = self._scenario.start + self._scenario.until
        start = self._scenario.start
        return [
            Line(
                at=e.at,
                day=round((e.at - start) / timedelta(days=1), 3),
                contact=names.get(e.contact_id, e.contact_id),
                kind=e.kind,
                journey=e.journey,
                data=e.data,
            )
            for e in entries
            if start <= e.at <= end
        ]
