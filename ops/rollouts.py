"""Rollouts from the command line: begin one or find the one there is, ask how far it is, steer it."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contacts import rollouts
from contacts.rollouts import Order
from contacts.specs import Rollout
from contacts.tables import events, runs, touches
from ops import temporal
from ops.installation import Installation
from ops.output import Failure
from workflows.rollout import Progress, RolloutInput

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")

_TIMEOUT = timedelta(seconds=10)
_NOBODY_ANSWERED = (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION)
_RUNNING = WorkflowExecutionStatus.RUNNING
_COMPLETED = WorkflowExecutionStatus.COMPLETED


@dataclass(frozen=True)
class Steered:
    """What came of a word to a rollout.

    Attributes:
        stand: Where the rollout is; None if Temporal does not know it any more.
        runs: How many of the runs it had begun were told; None while it goes on and tells them itself.
    """

    name: str
    order: Order
    stand: str | None
    runs: int | None


@dataclass(frozen=True)
class RolloutPage:
    """A rollout in full.

    Attributes:
        began: Runs that began by it, by journey.
        messages: What those runs sent or are about to send, by how it stands: ``sent``, ``waiting (quiet_hours)``.
    """

    progress: Progress
    began: Mapping[str, int]
    messages: Mapping[str, int]


async def rollout_page(conn: AsyncConnection, progress: Progress) -> RolloutPage:
    """What has come of a rollout so far."""
    mine = events.c.data.contains({"rollout": progress.name})
    began = sa.select(runs.c.journey, sa.func.count().label("runs")).join(events, events.c.id == runs.c.entry_event)
    stands = sa.select(touches.c.status, touches.c.reason, sa.func.count()).join(runs, runs.c.id == touches.c.run_id)
    stands = stands.join(events, events.c.id == runs.c.entry_event)
    found = await conn.execute(began.where(mine).group_by(runs.c.journey).order_by(runs.c.journey))
    touched = await conn.execute(
        stands.where(mine).group_by(touches.c.status, touches.c.reason).order_by(sa.func.count().desc())
    )
    messages = {status + (f" ({reason})" if reason else ""): count for status, reason, count in touched}
    return RolloutPage(progress, {row.journey: row.runs for row in found}, messages)


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of an installation."""

    here: Installation
    client: Client

    async def begin(self, what: Rollout, rate: int, total: int, since: datetime) -> Progress:
        """Begins a rollout, unless one of this name goes on already; one that was stopped goes on where it was.

        Args:
            since: When it began, if it has before.

        Raises:
            Failure: One of this name has been through everybody, or is about something else.
        """
        known = await self.about(what)
        if known is not None:
            return known
        given = RolloutInput(what, rate, total, self.here.clock, since)
        with suppress(WorkflowAlreadyStartedError):  # somebody else was quicker
            await self.client.start_workflow(
                "rollout",
                args=[given],
                id=_id(what.name),
                task_queue=self.here.settings.task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary=f"{what.event} for segment {what.segment}, {rate} a minute",
                rpc_timeout=_TIMEOUT,
            )
        return await self.find(what.name)

    async def about(self, what: Rollout) -> Progress | None:
        """The rollout of this name while it goes on; None if it may begin.

        Raises:
            Failure: As for ``begin``.
        """
        known = await self._find(what.name)
        if known is None or known.stand == "stopped":
            return None
        if (known.segment, known.event, dict(known.data)) != (what.segment, what.event, dict(what.data)):
            raise Failure(f"rollout {what.name} is about something else: give this one another --name")
        if known.stand == "finished":
            raise Failure(
                f"rollout {what.name} has been through everybody ({known.recorded} got it): to go through them again, "
                "give it another --name"
            )
        return known

    async def find(self, name: str) -> Progress:
        """Where the rollout is.

        Raises:
            Failure: There is none of this name.
        """
        found = await self._find(name)
        if found is None:
            raise Failure(f"no rollout {name!r}: `perennial rollouts list` shows those there are")
        return found

    async def list(self) -> list[Progress]:
        """Every rollout Temporal remembers, the newest first."""
        query = "WorkflowType = 'rollout' AND ExecutionStatus != 'ContinuedAsNew'"
        names = dict.fromkeys([w.id async for w in self.client.list_workflows(query, rpc_timeout=_TIMEOUT)])
        found = [await self._find(id.removeprefix("rollout/")) for id in names]
        return [progress for progress in found if progress is not None]

    async def steer(self, name: str, order: Order) -> Steered:
        """Pauses, resumes or stops a rollout, and with it what it has begun; that also when itself it is over.

        Raises:
            Failure: There is none of this name.
        """
        known = await self._find(name)
        if known is not None and known.stand in ("going", "paused", "stopping"):
            try:
                await self._handle(name).signal(order, rpc_timeout=_TIMEOUT)
                return Steered(name, order, (await self.find(name)).stand, None)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
        about, value = (known.about, str(known.data[known.about])) if known is not None else ("broadcast", name)
        told = await rollouts.steer(self.here.intake, about, value, order, self.here.clock.now())
        if known is None and not told:
            await self.find(name)
        return Steered(name, order, known.stand if known is not None else None, told)

    async def _find(self, name: str) -> Progress | None:
        handle = self._handle(name)
        try:
            status = (await handle.describe(rpc_timeout=_TIMEOUT)).status
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise
        if status == _COMPLETED:
            return await handle.result(rpc_timeout=_TIMEOUT)
        progress: Progress = await handle.query("progress", result_type=Progress, rpc_timeout=_TIMEOUT)
        # Whoever ended it in Temporal's own way has stopped it, too.
        return progress if status == _RUNNING else replace(progress, stand="stopped")

    def _handle(self, name: str) -> WorkflowHandle[object, Progress]:
        return self.client.get_workflow_handle(_id(name), result_type=Progress)


@asynccontextmanager
async def connected(here: Installation) -> AsyncIterator[Rollouts]:
    """The rollouts, for as long as the block runs.

    Raises:
        Failure: Temporal or the worker does not answer.
    """
    client = await temporal.reach(here.temporal_address)
    try:
        yield Rollouts(here, client)
    except RPCError as error:
        if error.status in _NOBODY_ANSWERED:
            raise Failure("no worker answers: is one running, and does it know rollouts?") from None
        raise Failure(f"Temporal: {error.message.splitlines()[0] if error.message else error.status.name}") from None


def named(name: str) -> str:
    """The name of a rollout, if it can be one.

    Raises:
        Failure: It cannot.
    """
    if not NAME.fullmatch(name):
        raise Failure(f"--name {name!r}: must be small letters, digits, - and _, at most 80", status=2)
    return name


def _id(name: str) -> str:
    return f"rollout/{name}"
