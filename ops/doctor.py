"""Looks at every part of an installation and says of each whether it is well, and what to do if not."""

import asyncio
import platform
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa
import temporalio
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

import settings as configuration
from connectors.configured import MissingCredentials, outlets
from contacts import migrate, pauses
from contacts import policy as policies
from contacts.clock import Clock
from contacts.database import connect
from ops import temporal
from ops.installation import place
from ops.monitor import counts, watch
from ops.monitor.counts import Counts
from ops.monitor.incidents import WHAT_TO_DO
from ops.output import Failure, stamp
from settings import Settings, WrongSetting
from workflows import search_attributes

State = Literal["ok", "warn", "fail"]

_PATIENCE = timedelta(seconds=5)

_POLLED_LATELY = timedelta(minutes=2)
"""A worker asks for work once a minute; the server remembers one that is gone for longer than that."""

_LOOKS_MISSED = 3
"""A gateway whose monitor has not looked so many times in a row is gone."""


@dataclass(frozen=True)
class Check:
    """A part, and how it is.

    Attributes:
        what: What was found, in a line.
        todo: What to do about it; None where all is well.
    """

    name: str
    state: State
    what: str
    todo: str | None = None

    def __str__(self) -> str:
        return f"{self.state:<5} {self.name:<18} {self.what}" + (f": {self.todo}" if self.todo else "")


async def examine() -> AsyncIterator[Check]:
    """Every part, one after the other; one that cannot be looked at because another failed is left out."""
    try:
        settings = configuration.load()
    except WrongSetting as wrong:
        yield Check("settings", "fail", str(wrong), "docs/deploy.md says what each means")
        return
    yield Check("settings", "ok", f"{settings.environment}, policy {settings.policy_file}")
    yield _policy(settings)
    try:
        url, clock, address = place(settings)
    except Failure as failure:
        yield Check("database", "fail", str(failure))
        return
    for check in _connectors(settings, embedded=address is not None):
        yield check
    engine = connect(url, pool_size=2)
    try:
        async for check in _database(engine, clock):
            yield check
    finally:
        await engine.dispose()
    async for check in _temporal(address, settings):
        yield check


def _policy(settings: Settings) -> Check:
    try:
        policy = policies.load(settings.policy_file)
    except policies.PolicyError as wrong:
        return Check("policy", "fail", str(wrong), "correct the file; what runs keeps the policy it began with")
    return Check("policy", "ok", f"version {policy.version}")


def _connectors(settings: Settings, *, embedded: bool) -> Iterator[Check]:
    try:
        missing = outlets(mail_from=settings.mail_from, production=False).stand_ins
    except MissingCredentials as wrong:
        yield Check("connectors", "fail", str(wrong), "correct the variable")
        return
    # `perennial up` gives its worker the development mailbox.
    missing = tuple(variable for variable in missing if not (embedded and variable == "SMTP_HOST"))
    if not missing:
        yield Check("connectors", "ok", "all have credentials")
    elif settings.environment == "production":
        yield Check("connectors", "fail", f"{', '.join(missing)} not set", "the worker does not start without")
    else:
        what = f"{', '.join(missing)} not set, so recording connectors stand in"
        yield Check("connectors", "warn", what, "set them to reach somebody")


async def _database(engine: AsyncEngine, clock: Clock) -> AsyncIterator[Check]:
    where = engine.url.render_as_string(hide_password=True)
    try:
        async with engine.connect() as conn:
            version = (await conn.execute(sa.text("SHOW server_version"))).scalar_one()
            yield Check("database", "ok", f"{where}, PostgreSQL {str(version).split()[0]}")
            schema = await _schema(conn)
            yield schema
            if schema.state != "ok":
                return
            now = clock.now()
            found = await counts.count(conn, clock, now)
            for check in (_gateway(found, clock), *_overdue(found), await _halts(conn, now)):
                yield check
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).splitlines()[0]
        yield Check("database", "fail", f"{where} does not answer ({why})", "is it running, are the settings right?")


async def _schema(conn: AsyncConnection) -> Check:
    there = (await conn.execute(sa.text("SELECT to_regclass('alembic_version')"))).scalar_one()
    query = sa.text("SELECT version_num FROM alembic_version")
    current = (await conn.execute(query)).scalar_one_or_none() if there else None
    if current == (head := migrate.head()):
        return Check("schema", "ok", f"revision {current}")
    what = f"revision {current}, this code wants {head}" if current else "there are no tables of ours"
    return Check("schema", "fail", what, "run `python -m ops.migrate`")


def _gateway(found: Counts, clock: Clock) -> Check:
    looked = found.chores.get(watch.CHORE)
    if looked is None:
        return Check("gateway", "fail", "no gateway has ever run here", "start one: it takes events and tells Temporal")
    age = (found.at - looked) / clock.rate
    what = f"its monitor looked {max(age.total_seconds(), 0):.0f} s ago"
    if age > _LOOKS_MISSED * watch.EVERY:
        return Check("gateway", "fail", what, "start a gateway: it takes events and tells Temporal")
    return Check("gateway", "ok", what)


def _overdue(found: Counts) -> Iterator[Check]:
    names = {"dispatches": "relay", "chores": "sweeps"}
    for kind, late in found.late.items():
        name = names.get(kind, kind)
        if not late.count:
            yield Check(name, "ok", "nothing is overdue")
            continue
        which = f" ({', '.join(found.late_chores)})" if kind == "chores" else ""
        since = f", since {stamp(late.since)}" if late.since else ""
        # A person who is late is no fault of the installation.
        state: State = "warn" if kind == "hand-offs" else "fail"
        yield Check(name, state, f"{late.count} overdue{which}{since}", WHAT_TO_DO[kind])
    failed = found.inbox.get("failed", 0)
    if failed:
        yield Check("inbox", "warn", f"{failed} requests were not understood", "`perennial inbox list --failed`")
    else:
        yield Check("inbox", "ok", "every request was understood")


async def _halts(conn: AsyncConnection, now: datetime) -> Check:
    found = [called for called in await pauses.listed(conn, pauses.OPEN) if called.ended_at(now) is None]
    if not found:
        return Check("halts", "ok", "none in force")
    told = {c.pause.what: f"{c.pause.what} by {c.opened_by}" for c in found}
    for called in found:
        if called.opened_by == pauses.BREAKER and called.told_at is None:
            told[called.pause.what] += ", nobody was told"
    return Check("halts", "warn", f"{len(found)} in force ({'; '.join(told.values())})", "`perennial pauses list`")


async def _temporal(address: str | None, settings: Settings) -> AsyncIterator[Check]:
    try:
        client = await temporal.reach(address)
    except Failure as failure:
        yield Check("temporal", "fail", str(failure))
        return
    try:
        info = await client.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=_PATIENCE)
        where = f"{client.service_client.config.target_host}, namespace {client.namespace}"
        yield Check("temporal", "ok", f"{where}, server {info.server_version}")
        yield await _search_attributes(client)
        yield await _worker(client, settings.task_queue)
        yield await _schedule(client)
        yield _versions(settings)
    except RPCError as error:
        why = error.message.splitlines()[0] if error.message else error.status.name.lower()
        yield Check("temporal", "fail", f"it answers: {why}", "is the namespace there?")


async def _search_attributes(client: Client) -> Check:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(request, timeout=_PATIENCE)).custom_attributes
    missing = [key.name for key in search_attributes.ALL if known.get(key.name) != key.indexed_value_type.value]
    if missing:
        todo = "register them: deploy/temporal-namespace.sh"
        return Check("search attributes", "fail", f"{', '.join(missing)} missing or of another type", todo)
    return Check("search attributes", "ok", f"all {len(search_attributes.ALL)} are registered")


async def _worker(client: Client, task_queue: str) -> Check:
    def ask(kind: "TaskQueueType.ValueType") -> DescribeTaskQueueRequest:
        return DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
        )

    both = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    answers = await asyncio.gather(
        *(client.workflow_service.describe_task_queue(ask(kind), timeout=_PATIENCE) for kind in both)
    )
    since = datetime.now(UTC) - _POLLED_LATELY
    alive = [
        {poller.identity for poller in answer.pollers if poller.last_access_time.ToDatetime(UTC) > since}
        for answer in answers
    ]
    polling = set.intersection(*alive)
    if not polling:
        todo = "start one with the same PERENNIAL_TASK_QUEUE"
        return Check("worker", "fail", f"no worker polls task queue {task_queue!r}", todo)
    number = "1 worker polls" if len(polling) == 1 else f"{len(polling)} workers poll"
    return Check("worker", "ok", f"{number} task queue {task_queue!r}")


async def _schedule(client: Client) -> Check:
    try:
        found = await client.get_schedule_handle(temporal.SWEEP).describe(rpc_timeout=_PATIENCE)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return Check(
            "sweep schedule", "fail", f"there is no schedule {temporal.SWEEP!r}", "start a worker: it makes it"
        )
    if found.schedule.state.paused:
        todo = f"`temporal schedule toggle --unpause --schedule-id {temporal.SWEEP}`"
        note = f" ({found.schedule.state.note})" if found.schedule.state.note else ""
        return Check("sweep schedule", "fail", f"is paused{note}", todo)
    following = next(iter(found.info.next_action_times), None)
    return Check("sweep schedule", "ok", f"next {stamp(following)} by the machine's clock" if following else "is there")


def _versions(settings: Settings) -> Check:
    build = f", build {settings.build_id}" if settings.build_id else ""
    return Check("versions", "ok", f"Temporal SDK {temporalio.__version__}, Python {platform.python_version()}{build}")
