"""The connection to Temporal, and what the relay needs of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contacts.clock import Clock
from contacts.relay import NotYet
from ops.output import Failure
from workflows import search_attributes as attributes
from workflows.base import RunInput
from workflows.polling import PollingInput
from workflows.registry import CARDS
from workflows.sweep import SweepInput
from workflows.telling import TellingInput

_TIMEOUT = timedelta(seconds=5)


async def connect(*, lazy: bool = False, address: str | None = None) -> Client:
    """A client for the server that Temporal's own configuration names (``TEMPORAL_ADDRESS``, its TOML profiles).

    Args:
        lazy: Connect at the first call: for a process that must come up while Temporal is away.
        address: The server instead, where somebody knows better than the configuration.
    """
    config = ClientConfig.load_client_connect_config()
    if address is not None:
        config["target_host"] = address
    config.setdefault("target_host", "127.0.0.1:7233")
    return await Client.connect(**config, data_converter=pydantic_data_converter, lazy=lazy)


async def reach(address: str | None) -> Client:
    """The same for a command, which cannot wait.

    Raises:
        Failure: The server is out of reach.
    """
    try:
        return await connect(address=address)
    except RuntimeError as error:
        raise Failure(f"Temporal is out of reach ({str(error).splitlines()[0]}): is it running?") from None


@dataclass(frozen=True)
class TemporalRuns:
    """Starts and signals runs; implements ``contacts.relay.RunsClient``."""

    client: Client
    clock: Clock
    task_queue: str

    async def start(self, run_id: str, workflow_id: str, journey: str, start: Mapping[str, Any]) -> None:
        """Starts a run's workflow; finding it already there is as good."""
        card = next(c for c in CARDS if c.name == journey)
        given = RunInput(run_id=run_id, clock=self.clock, **start)
        entry = given.entry
        thing = next((str(entry["data"][k]) for k in ("resource", "form", "page") if entry["data"].get(k)), None)
        pairs: list[SearchAttributePair[Any]] = [
            SearchAttributePair(attributes.JOURNEY, journey),
            SearchAttributePair(attributes.CONTACT, given.contact_id),
            SearchAttributePair(attributes.OWNER, card.owner),
            SearchAttributePair(attributes.ENTRY_POINT, given.entry_point),
            SearchAttributePair(attributes.NEEDS_REVIEW, False),
        ]
        try:
            await self.client.start_workflow(
                journey,
                args=[given],
                id=workflow_id,
                task_queue=self.task_queue,
                memo={"run": run_id},
                search_attributes=TypedSearchAttributes(pairs),
                static_summary=f"{journey}: {entry['type']}" + (f" ({thing})" if thing else ""),
                static_details=f"Goal: {card.goal}. For {card.audience}. Owner: {card.owner}.",
                rpc_timeout=_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            await self._must_be(run_id, workflow_id)
        except RPCError as error:
            raise NotYet(_why(error)) from None

    async def signal(self, workflow_id: str, run_id: str, signal: str, payload: Mapping[str, Any]) -> None:
        """Signals a run's workflow; one that has closed needs no signal."""
        handle = self.client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(signal, {**payload, "run": run_id}, rpc_timeout=_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise NotYet(_why(error)) from None

    async def tell(self, telling: Mapping[str, Any]) -> None:
        """Starts the workflow that tells another system; one that runs already is as good."""
        given = TellingInput(**telling)
        try:
            await self.client.start_workflow(
                "telling",
                args=[given],
                id=given.workflow_id,
                task_queue=self.task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"{given.type} to {given.sink}",
                rpc_timeout=_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return
        except RPCError as error:
            raise NotYet(_why(error)) from None

    async def _must_be(self, run_id: str, workflow_id: str) -> None:
        """The workflow that has this id now is this run's; an earlier one must close first."""
        try:
            found = await self.client.get_workflow_handle(workflow_id).describe(rpc_timeout=_TIMEOUT)
            if await found.memo_value("run", None) != run_id:
                raise NotYet("the contact's last run of this journey is still closing")
        except RPCError as error:
            raise NotYet(_why(error)) from None


def _why(error: RPCError) -> str:
    return f"Temporal: {error.status.name.lower()}: {error.message.splitlines()[0][:200] if error.message else ''}"


SWEEP = "perennial-sweep"
"""The id of the Schedule that starts the sweep once a day of the journeys' clock."""


def sweep_every(clock: Clock) -> timedelta:
    """How often the sweep is started, in machine time."""
    return timedelta(seconds=max(clock.machine_seconds(timedelta(days=1)), 10))


async def schedule_sweep(client: Client, clock: Clock, task_queue: str) -> None:
    """Makes sure the daily sweep is scheduled. When it runs, and whether, stays as an operator has set it."""
    action = ScheduleActionStartWorkflow(
        "sweep", args=[SweepInput(clock)], id="sweep", task_queue=task_queue, static_summary="what did not happen"
    )
    await _schedule(client, SWEEP, action, sweep_every(clock))


async def schedule_polls(client: Client, every: Mapping[str, timedelta], task_queue: str) -> None:
    """Makes sure that these connectors, and no others, are asked what happened, each so often."""
    for name, pause in every.items():
        action = ScheduleActionStartWorkflow(
            "polling",
            args=[PollingInput(name)],
            id=f"polling/{name}",
            task_queue=task_queue,
            static_summary=f"ask {name} what happened",
        )
        await _schedule(client, POLL + name, action, pause)
    async for known in await client.list_schedules():
        if known.id.startswith(POLL) and known.id.removeprefix(POLL) not in every:
            await client.get_schedule_handle(known.id).delete()


POLL = "perennial-poll-"
"""Begins the ids of the Schedules that ask connectors what happened."""


async def _schedule(client: Client, id: str, action: ScheduleActionStartWorkflow, every: timedelta) -> None:
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )

    def as_we_are(found: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(replace(found.description.schedule, action=action))

    try:
        await client.create_schedule(id, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(id).update(as_we_are)
