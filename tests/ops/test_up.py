"""Everything comes up, stays up, and goes down without leaving a process behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

import settings
from ops import claim
from ops.claim import AlreadyRunning, Running
from ops.processes import DidNotStart
from ops.up import Programs, running

ROOT = Path(__file__).parents[2]

WORKER = """
import asyncio, os, signal
from pathlib import Path
from temporalio import workflow
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None: ...

async def main():
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    client = await Client.connect(**ClientConfig.load_client_connect_config())
    queue = os.environ["PERENNIAL_TASK_QUEUE"]
    async with Worker(client, task_queue=queue, workflows=[Nothing], workflow_runner=UnsandboxedWorkflowRunner()):
        await told.wait()
    with Path("stopped").open("a") as order:
        order.write("worker ")

asyncio.run(main())
"""

GATEWAY = """
import json, os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())

def stop(*_):
    with Path("stopped").open("a") as order:
        order.write("gateway ")
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
HTTPServer((os.environ["PERENNIAL_GATEWAY_HOST"], int(os.environ["PERENNIAL_GATEWAY_PORT"])), Handler).serve_forever()
"""

UP = """
import asyncio, sys
from pathlib import Path
import settings
from ops.up import Programs, up

async def main():
    programs = Programs((sys.executable, "worker.py"), (sys.executable, "gateway.py"), lambda url: print("upgraded"))
    await up(Path("data"), settings.load(), lambda line: print(line, flush=True), programs)

asyncio.run(main())
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that PostgreSQL's own user can enter, too: pytest closes its own to others at every start."""
    with tempfile.TemporaryDirectory(prefix="perennial-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a stand-in worker and gateway, to start things in."""
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "gateway.py").write_text(GATEWAY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORAL_API_KEY", "of-another-server")
    return tmp_path


@pytest.fixture
def programs() -> Programs:
    return Programs((sys.executable, "worker.py"), (sys.executable, "gateway.py"), lambda url: None)


class Up:
    """A ``perennial up`` of its own, as a shell would start it."""

    def __init__(self, process: asyncio.subprocess.Process, place: Path) -> None:
        self.process = process
        self.data = place / "data"
        self.lines: list[str] = []

    async def says(self, beginning: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while raw := await self.process.stdout.readline():
                line = raw.decode().rstrip()
                self.lines.append(line)
                if line.startswith(beginning):
                    return line
        raise AssertionError(f"it never said {beginning!r}, but {self.lines}")

    def found(self) -> Running:
        running = claim.find(self.data)
        assert running is not None
        return running

    def family(self) -> list[psutil.Process]:
        """All processes below it, and those of PostgreSQL, which stand apart."""
        postmaster = psutil.Process(int((self.data / "postgres" / "postmaster.pid").read_text().split()[0]))
        return [*psutil.Process(self.process.pid).children(recursive=True), postmaster, *postmaster.children()]

    def child(self, name: str) -> int:
        return int(json.loads((self.data / "up.json").read_text())["children"][name]["pid"])


@asynccontextmanager
async def started(place: Path) -> AsyncIterator[Up]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UP),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield Up(process, place)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  # what another process does sets no event
            await asyncio.sleep(0.05)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(url: str) -> dict[str, str] | None:
    try:
        found: dict[str, str] = httpx.get(url, trust_env=False).json()
    except httpx.TransportError:
        return None
    return found


async def test_up_serves_until_told_to_stop_and_leaves_nothing(place: Path, programs: Programs) -> None:
    async with started(place) as up:
        await up.says("ready")
        assert "upgraded" in up.lines
        where = up.found()
        assert where.pid == up.process.pid

        with pytest.raises(AlreadyRunning) as second:
            async with running(up.data, settings.load(), print, programs):
                pass
        assert second.value.running == where

        told = answers(where.gateway)
        assert told is not None
        assert told["PERENNIAL_DATABASE_URL"] == where.database
        assert told["PERENNIAL_PUBLIC_URL"] == where.gateway
        assert told["PERENNIAL_MAILBOX_DIR"] == str(up.data / "mailbox")
        assert told["TEMPORAL_ADDRESS"] == where.temporal
        assert "TEMPORAL_API_KEY" not in told

        family = up.family()
        up.process.send_signal(signal.SIGTERM)
        up.process.send_signal(signal.SIGINT)
        await up.says("stopping")
        assert await up.process.wait() == 0
        assert [process for process in family if not gone(process)] == []
        assert (place / "stopped").read_text() == "gateway worker "
        assert claim.find(up.data) is None


@pytest.mark.parametrize("name", ["worker", "gateway", "Temporal"])
async def test_what_dies_is_started_again(name: str, place: Path) -> None:
    async with started(place) as up:
        await up.says("ready")
        before = up.child(name)
        os.kill(before, signal.SIGKILL)
        assert await up.says(f"{name} ended") == (
            f"{name} ended (SIGKILL); starting it again in 0.5 s (log: {up.data / 'logs' / name.lower()}.log)"
        )
        await eventually(lambda: up.child(name) != before)
        where = up.found()
        await eventually(lambda: answers(where.gateway) is not None)
        await eventually(lambda: listens(where.temporal))


async def test_a_database_that_dies_is_started_again(place: Path) -> None:
    async with started(place) as up:
        await up.says("ready")
        before = up.child("PostgreSQL")
        database = up.found().database.replace("+psycopg", "")
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        os.kill(before, signal.SIGKILL)
        assert (await up.says("PostgreSQL ended")).startswith("PostgreSQL ended; starting it again")
        await eventually(lambda: up.child("PostgreSQL") != before)
        with psycopg.connect(database) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def test_a_killed_up_leaves_nothing_and_the_next_one_starts(place: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ties a process to its parent")
    async with started(place) as up:
        await up.says("ready")
        family = up.family()
        up.process.kill()
        await up.process.wait()
        await eventually(lambda: all(gone(process) for process in family))
        assert claim.find(up.data) is None
    async with started(place) as up:
        await up.says("ready")


async def test_a_signal_while_starting_stops_what_has_started(place: Path) -> None:
    async with started(place) as up:
        await up.says("starting worker")
        family = up.family()
        up.process.send_signal(signal.SIGINT)
        assert await up.process.wait() == 0
        assert [process for process in family if not gone(process)] == []


@pytest.mark.parametrize("name", ["worker", "gateway"])
async def test_a_program_that_cannot_start_says_why(name: str, place: Path, programs: Programs) -> None:
    (place / f"{name}.py").write_text("raise SystemExit('PERENNIAL_X: is required')")
    with pytest.raises(DidNotStart, match=rf"{name} did not start: PERENNIAL_X: is required \(log: .*{name}\.log\)"):
        async with running(place / "data", settings.load(), print, programs):
            pass
    assert not (place / "data" / "up.json").exists()


async def test_a_taken_port_is_replaced_and_told(place: Path, programs: Programs) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        wanted = settings.load().model_copy(update={"gateway_port": port, "mailbox_port": port})
        async with running(place / "data", wanted, print, programs) as where:
            told = answers(where.gateway)
            assert told is not None
            assert int(told["PERENNIAL_GATEWAY_PORT"]) != port
            assert int(told["PERENNIAL_MAILBOX_PORT"]) == where.mailbox_port != port


def test_what_a_crash_left_behind_is_ended(tmp_path: Path) -> None:
    left, stranger = (subprocess.Popen(("sleep", "600")) for _ in range(2))
    try:
        started = psutil.Process(left.pid).create_time()
        note = {
            "owner": {"pid": 1, "started": 0},
            "children": {
                "Temporal": {"pid": left.pid, "started": started},
                "worker": {"pid": stranger.pid, "started": psutil.Process(stranger.pid).create_time() - 1},
            },
            "running": None,
        }
        (tmp_path / "up.json").write_text(json.dumps(note))
        with claim.claim(tmp_path):
            assert left.poll() is not None
            assert stranger.poll() is None
    finally:
        left.kill()
        stranger.kill()
        left.wait()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "{", '{"owner": 1}', "\x00"])
def test_a_note_that_is_junk_is_no_note(content: str, tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text(content)
    assert claim.find(tmp_path) is None
    with claim.claim(tmp_path):
        assert json.loads((tmp_path / "up.json").read_text())["running"] is None


@pytest.mark.parametrize(
    ("change", "variable"), [({"environment": "production"}, "ENVIRONMENT"), ({"database_url": "x"}, "DATABASE_URL")]
)
async def test_up_is_for_development(change: dict[str, object], variable: str, place: Path, programs: Programs) -> None:
    with pytest.raises(settings.WrongSetting, match=f"PERENNIAL_{variable}"):
        async with running(place / "data", settings.load().model_copy(update=change), print, programs):
            pass
