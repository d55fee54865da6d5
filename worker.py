"""Starts the Temporal worker. Every workflow and activity is wired here."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import settings as configuration
import workflows.polling
import workflows.rollout
import workflows.sweep
import workflows.telling
from activities.approval import Approval
from activities.deliver import Deliver
from activities.handoff import HandOff
from activities.own_events import OwnEvents
from activities.pace import Paces
from activities.poll import Poll
from activities.record import Record
from activities.rollout import RollOut
from activities.sweep import Sweep
from activities.tell import Tell
from connectors.configured import MissingCredentials, Outlets, outlets
from contacts import card_link, chores, preferences
from contacts import policy as policies
from contacts.claims import Gate
from contacts.clock import Clock
from contacts.database import connect
from contacts.intake import Intake
from contacts.policy import Policy
from ops import temporal
from ops.wiring import wiring
from workflows.registry import CARDS, JOURNEYS

CODE_VERSION = "0.1.0"

_OTHERS = (
    workflows.sweep.Sweep,
    workflows.rollout.Rollout,
    workflows.telling.Telling,
    workflows.polling.Polling,
)

# What journeys import besides the standard library. All of it is pure, so one copy serves every run.
_SHARED = ("contacts", "activities", "workflows.base", "workflows.search_attributes")


class _CheckedOnce(SandboxedWorkflowRunner):
    """The sandbox; whether a workflow can live in it is tried once, however many workers this process starts."""

    checked: ClassVar[set[type]] = set()

    def prepare_workflow(self, defn: Any) -> None:
        if defn.cls not in self.checked:
            super().prepare_workflow(defn)
            self.checked.add(defn.cls)


RUNNER = _CheckedOnce(restrictions=SandboxRestrictions.default.with_passthrough_modules(*_SHARED))
"""What workflows run in."""


def activities(
    *,
    engine: AsyncEngine,
    policy: Policy,
    out: Outlets,
    clock: Clock,
    secret: SecretStr,
    public_url: str,
    code_version: str,
) -> list[Callable[..., Any]]:
    """Every activity, with what it needs."""
    intake = Intake(engine, CARDS, policy)

    gate = Gate(policy, code_version)
    deliver = Deliver(
        engine=engine,
        gate=gate,
        intake=intake,
        senders=out.senders,
        links=partial(preferences.links, secret, public_url),
        clock=clock,
        directory=out.directory,
        live_facts=out.live,
        alert=out.alert,
        fallbacks=out.fallbacks,
        card_url=partial(card_link.url, secret, public_url) if out.card_pages else None,
    )
    hand_off = HandOff(engine, intake, policy, out.crm, out.alert, public_url, clock)
    approval = Approval(engine, intake, out.alert, public_url, clock)
    record = Record(engine, policy)
    own_events = OwnEvents(intake)
    sweep = Sweep(intake)
    rollout = RollOut(intake, clock)
    tell = Tell(engine, out.sinks, clock)
    poll = Poll(intake, out.pollers, clock)
    return [
        deliver.deliver,
        hand_off.hand_off,
        hand_off.remind,
        hand_off.acknowledge,
        approval.ask_approval,
        approval.settle,
        record.note,
        record.facts,
        record.finish,
        record.leave,
        own_events.record_event,
        sweep.sweep,
        rollout.roll_out,
        rollout.steer,
        tell.tell,
        tell.give_up,
        poll.poll,
    ]


def worker(
    client: Client,
    task_queue: str,
    acts: list[Callable[..., Any]],
    *,
    max_cached_workflows: int = 5000,
    **options: Any,
) -> Worker:
    """A worker for every journey. ``options`` are Temporal's own (versioning).

    Args:
        client: To the namespace.
        task_queue: What it polls.
        acts: See ``activities``.
        max_cached_workflows: Runs kept in memory, some 80 KiB each; one that is not must be replayed as it wakes.
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[*JOURNEYS, *_OTHERS],
        activities=acts,
        workflow_runner=RUNNER,
        max_cached_workflows=max_cached_workflows,
        # Runs sleep for weeks, so most of those that wake are in no worker's cache and come over the shared queue,
        # as all of them do after a crash. By default one poller in five reads it.
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(maximum=10),
        nonsticky_to_sticky_poll_ratio=0.5,
        graceful_shutdown_timeout=timedelta(seconds=20),
        **options,
    )


async def serve(settings: configuration.Settings, reach: Callable[..., Outlets]) -> None:
    """Runs the worker until SIGINT or SIGTERM; what is under way may finish."""
    if settings.database_url is None:
        raise configuration.WrongSetting("PERENNIAL_DATABASE_URL", "is required")
    production = settings.environment == "production"
    policy = policies.load(settings.policy_file)
    engine = connect(settings.database_url.get_secret_value())
    pace = Paces(engine).of
    out = reach(wiring(policy), mail_from=settings.mail_from, production=production, pace=pace)
    client = await temporal.connect()
    options: dict[str, Any] = {}
    if settings.build_id is not None:
        version = WorkerDeploymentVersion(deployment_name="perennial", build_id=settings.build_id)
        # A run stays with the code it began with until it continues as new, between two stages.
        options["deployment_config"] = WorkerDeploymentConfig(
            version=version, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.PINNED
        )
    acts = activities(
        engine=engine,
        policy=policy,
        out=out,
        clock=settings.clock,
        secret=settings.secret,
        public_url=settings.public_url,
        code_version=settings.build_id or CODE_VERSION,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for variable in out.stand_ins:
        print(f"{variable} is not set: a recording connector stands in")
    try:
        async with worker(client, settings.task_queue, acts, **options):
            await temporal.schedule_sweep(client, settings.clock, settings.task_queue)
            asked = {name: poller.every for name, poller in out.pollers.items()}
            await temporal.schedule_polls(client, asked, settings.task_queue)
            await _expect(engine, settings.clock, asked)
            print("worker ready", flush=True)
            await stop.wait()
    finally:
        await engine.dispose()


async def _expect(engine: AsyncEngine, clock: Clock, asked: Mapping[str, timedelta]) -> None:
    """From now on somebody is told where the sweep is not done, or a system not asked."""
    every = {
        chores.SWEEP: temporal.sweep_every(clock),
        **{chores.ASKING + name: often for name, often in asked.items()},
    }
    async with engine.begin() as conn:
        for name, often in every.items():
            await chores.expect(conn, name, often * clock.rate, clock.now())
        await chores.no_more(conn, every)


def main(reach: Callable[..., Outlets] = outlets) -> int:
    """The process. A wrong setting is one line and exit status 2.

    Args:
        reach: What it reaches the world through; the installation's connectors if not given.
    """
    try:
        asyncio.run(serve(configuration.load(), reach))
    except (configuration.WrongSetting, policies.PolicyError, MissingCredentials) as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
