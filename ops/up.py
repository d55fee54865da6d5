"""Everything on one machine: both engines, worker and gateway, kept running until told to stop."""

import asyncio
import fcntl
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import ConnectConfig, RPCError, ServiceClient

from connectors.smtp import SmtpSettings
from contacts import migrate
from ops import engines
from ops.claim import Running, claim
from ops.processes import Kept
from settings import Settings, WrongSetting

_DATABASE = "perennial"
_TEMPORAL_PORT = 7233
_TEMPORAL_UI_PORT = 8233
_LOCK_INTERVAL = 0.1


@dataclass(frozen=True)
class Programs:
    """What runs besides the engines.

    Attributes:
        worker: The command line of the worker; it is ready once it polls the task queue.
        gateway: The command line of the gateway; it is ready once ``/readyz`` answers 200.
        upgrade: Brings the schema of the database at a URL up to date.
    """

    worker: Sequence[str] = (sys.executable, "-m", "worker")
    gateway: Sequence[str] = (sys.executable, "-m", "gateway")
    upgrade: Callable[[str], None] = migrate.upgrade


async def up(data: Path, settings: Settings, announce: Callable[[str], None], programs: Programs | None = None) -> None:
    """Keeps everything running until SIGINT or SIGTERM, then stops it and returns; see ``running``."""

    async def until_told() -> None:
        async with running(data, settings, announce, programs):
            await asyncio.Event().wait()

    await interruptible(until_told())


async def interruptible(work: Coroutine[object, object, None]) -> None:
    """Runs ``work``; the first SIGINT or SIGTERM cancels it, and further ones do not disturb its clean-up."""
    task = asyncio.create_task(work)
    told = asyncio.Event()

    def stop() -> None:
        if not told.is_set():
            told.set()
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not told.is_set():
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def running(
    data: Path, settings: Settings, announce: Callable[[str], None], programs: Programs | None = None
) -> AsyncIterator[Running]:
    """Everything, ready, for as long as the block runs; what dies meanwhile is started again.

    Args:
        data: Where the engines' data, the mail and the logs are kept; one at a time may use it.
        settings: For worker and gateway, who get them with the addresses and ports in use filled in.
        announce: Called with one line for each step and each mishap.
        programs: What to start; None for the real worker and gateway.

    Yields:
        Where everything is.

    Raises:
        AlreadyRunning: Somebody uses ``data``.
        WrongSetting: The settings are those of another place.
        EngineFailed: PostgreSQL or Temporal did not start.
        DidNotStart: Worker or gateway did not become ready.
    """
    _check(settings)
    programs = programs or Programs()
    data = data.absolute()  # noqa: ASYNC240  # asks only for the current directory, once
    begun = asyncio.get_running_loop().time()
    async with AsyncExitStack() as stack:
        claimed = stack.enter_context(claim(data))

        announce("starting PostgreSQL")
        server = stack.enter_context(engines.postgres(data / "postgres"))
        with suppress(psycopg.errors.DuplicateDatabase):
            engines.create_database(server, _DATABASE)
        database = engines.database_url(server, _DATABASE)
        keeping = asyncio.create_task(
            engines.keep_postgres(data / "postgres", announce, lambda pid: claimed.child("PostgreSQL", pid))
        )
        stack.push_async_callback(_end, keeping)
        announce("bringing the schema up to date")
        await asyncio.to_thread(programs.upgrade, database)

        async with _choosing_ports():
            ports = engines.TemporalPorts(engines.free_port(_TEMPORAL_PORT), engines.free_port(_TEMPORAL_UI_PORT))
            gateway_port = engines.free_port(settings.gateway_port, settings.gateway_host)
            where = Running(
                pid=os.getpid(),
                gateway=f"http://{engines.LOOPBACK}:{gateway_port}",
                temporal=f"{engines.LOOPBACK}:{ports.grpc}",
                temporal_ui=f"http://{engines.LOOPBACK}:{ports.ui}",
                database=database,
                mailbox_dir=str(settings.mailbox_dir or data / "mailbox"),
                mailbox_port=engines.free_port(settings.mailbox_port),
                clock=settings.clock,
            )
            environment = _environment(settings, where, gateway_port)

            def kept(name: str, command: Sequence[str]) -> Kept:
                log = data / "logs" / f"{name.lower()}.log"
                child = Kept(name, command, environment, log, announce, lambda pid: claimed.child(name, pid))
                stack.push_async_callback(child.stop)
                return child

            announce("starting Temporal")
            temporal = kept("Temporal", engines.temporal_command(ports, data / "temporal.db"))
            await engines.temporal_ready(await temporal.start(), ports, temporal.log)
            temporal.keep()

            announce("starting worker and gateway")
            worker = kept("worker", programs.worker)
            gateway = kept("gateway", programs.gateway)
            await worker.start()
            await gateway.start()
            service = await ServiceClient.connect(ConnectConfig(target_host=where.temporal))
            await worker.ready(lambda: _is_polled(service, settings.task_queue))
            worker.keep()
            await gateway.ready(lambda: _answers(f"{where.gateway}/readyz"))
            gateway.keep()

        claimed.ready(where)
        announce(f"ready after {asyncio.get_running_loop().time() - begun:.1f} s")
        try:
            yield where
        finally:
            announce("stopping")


@asynccontextmanager
async def _choosing_ports() -> AsyncIterator[None]:
    """Held from the choice of ports until all are listened on, or two that start at once would choose the same."""
    with (Path(tempfile.gettempdir()) / f"perennial-{os.getuid()}.lock").open("a") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(_LOCK_INTERVAL)
        yield


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _check(settings: Settings) -> None:
    if settings.environment != "development":
        raise WrongSetting("PERENNIAL_ENVIRONMENT", "perennial up is for development; docs/deploy.md is for production")
    if settings.database_url is not None:
        raise WrongSetting("PERENNIAL_DATABASE_URL", "perennial up brings its own PostgreSQL; unset it")


def _environment(settings: Settings, where: Running, gateway_port: int) -> dict[str, str]:
    """The variables of our children: this process's own, less what would lead them to another Temporal."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    if SmtpSettings().host is None:
        # Mail goes to the mailbox unless somebody has named a relay.
        inherited |= {"SMTP_HOST": engines.LOOPBACK, "SMTP_PORT": str(where.mailbox_port), "SMTP_TLS": "none"}
    public_url = settings.public_url if "public_url" in settings.model_fields_set else where.gateway
    return {
        **inherited,
        **settings.as_environment(),
        "PERENNIAL_DATABASE_URL": where.database,
        "PERENNIAL_GATEWAY_PORT": str(gateway_port),
        "PERENNIAL_PUBLIC_URL": public_url,
        "PERENNIAL_MAILBOX_DIR": where.mailbox_dir,
        "PERENNIAL_MAILBOX_PORT": str(where.mailbox_port),
        "PERENNIAL_TEMPORAL_UI": where.temporal_ui,
        "TEMPORAL_ADDRESS": where.temporal,
        "TEMPORAL_NAMESPACE": engines.NAMESPACE,
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }


async def _is_polled(service: ServiceClient, task_queue: str) -> bool:
    """Whether a worker polls. Only for a server just started: it remembers a poller for minutes after its end."""
    request = DescribeTaskQueueRequest(
        namespace=engines.NAMESPACE,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    try:
        return bool((await service.workflow_service.describe_task_queue(request)).pollers)
    except RPCError:
        return False


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
