"""The embedded engines start, are shared, and leave nothing behind."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from ops import engines, processes
from workflows import search_attributes

ROOT = Path(__file__).parents[2]

USER_OF_POSTGRES = """
import sys
from pathlib import Path
from ops.engines import postgres
with postgres(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that PostgreSQL's own user can enter, too: pytest closes its own to others at every start."""
    with tempfile.TemporaryDirectory(prefix="perennial-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def another_user(data: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        (sys.executable, "-c", USER_OF_POSTGRES, data),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def postmaster(data: Path) -> psutil.Process:
    return psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  # what another process does sets no event
            await asyncio.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_postgres_keeps_its_data_and_stops(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with engines.postgres(data) as url:
            kept = engines.create_database(url, "kept")
            ask(kept, "CREATE TABLE t AS SELECT 7 AS n")
            server = postmaster(data)
    assert gone(server)
    with engines.postgres(data) as url:
        assert ask(engines.database_url(url, "kept"), "SELECT n FROM t") == [(7,)]


def test_a_database_is_copied_from_a_template_and_dropped_under_its_users(postgres_url: str) -> None:
    template = engines.create_database(postgres_url, "template_of_two")
    ask(template, "CREATE TABLE t AS SELECT 2 AS n")
    copy = engines.create_database(postgres_url, "Copy-of-it", template="template_of_two")
    assert ask(copy, "SELECT n FROM t") == [(2,)]
    with pytest.raises(psycopg.errors.DuplicateDatabase):
        engines.create_database(postgres_url, "Copy-of-it")
    with psycopg.connect(copy.replace("+psycopg", "")):
        engines.drop_database(postgres_url, "Copy-of-it")
    engines.drop_database(postgres_url, "Copy-of-it")
    with pytest.raises(psycopg.OperationalError):
        ask(copy, "SELECT 1")


@pytest.fixture
def postgres_url(tmp_path: Path) -> object:
    with engines.postgres(tmp_path / "pg") as url:
        yield url


def test_the_last_process_stops_the_shared_postgres(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    with engines.postgres(data):
        other = another_user(data)
        server = postmaster(data)
    assert not gone(server)
    other.communicate()
    assert other.returncode == 0
    assert gone(server)


async def test_a_killed_process_leaves_no_postgres(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    other = another_user(data)
    server = postmaster(data)
    keepers = psutil.Process(other.pid).children()
    other.kill()
    other.communicate()
    await eventually(lambda: gone(server))
    await eventually(lambda: all(gone(keeper) for keeper in keepers))
    with engines.postgres(data) as url:
        assert ask(url, "SELECT 1") == [(1,)]


async def test_a_killed_process_takes_postgres_from_nobody_else(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    with engines.postgres(data) as url:
        other = another_user(data)
        other.kill()
        other.communicate()
        assert ask(url, "SELECT 1") == [(1,)]
        server = postmaster(data)
    assert gone(server)


def test_postgres_that_cannot_start_says_where_its_log_is(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    with engines.postgres(data):
        pass
    with (data / "postgresql.conf").open("a") as conf:
        conf.write("no_such_parameter = 1\n")
    failure = pytest.raises(engines.EngineFailed, match=r"PostgreSQL did not start: .*log: .*pg/log")
    with failure as caught, engines.postgres(data):
        pass
    assert "\n" not in str(caught.value)


async def test_temporal_in_memory_knows_our_search_attributes(tmp_path: Path) -> None:
    async with engines.temporal(tmp_path / "temporal.log") as address:
        assert await known_attributes(address) == {
            "Journey": "Keyword",
            "Stage": "Keyword",
            "Contact": "Keyword",
            "Owner": "Keyword",
            "Hold": "Keyword",
            "Outcome": "Keyword",
            "EntryPoint": "Keyword",
            "NeedsReview": "Bool",
            "NextWake": "Datetime",
        }
        server = listener(address)
    assert gone(server)


async def test_temporal_on_file_keeps_runs_and_gains_new_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, database = tmp_path / "temporal.log", tmp_path / "temporal.db"
    with monkeypatch.context() as earlier_version:
        earlier_version.setattr(search_attributes, "ALL", (search_attributes.JOURNEY,))
        async with engines.temporal(log, database=database) as address:
            client = await Client.connect(address)
            await client.start_workflow("Waits", id="kept", task_queue="nobody")
    with sqlite3.connect(database) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    async with engines.temporal(log, database=database) as address:
        assert set(await known_attributes(address)) == {key.name for key in search_attributes.ALL}
        client = await Client.connect(address)
        assert [run.id async for run in client.list_workflows("WorkflowType = 'Waits'")] == ["kept"]


async def test_temporal_that_cannot_start_says_where_its_log_is(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((engines.LOOPBACK, 0))
        taken.listen()
        ports = engines.TemporalPorts(taken.getsockname()[1])
        with pytest.raises(engines.EngineFailed, match=r"Temporal did not start: .+log: .*temporal\.log"):
            async with engines.temporal(tmp_path / "temporal.log", ports=ports):
                pass


def test_a_taken_port_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind((engines.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert engines.free_port(port) not in (0, port)
    assert engines.free_port(port) == port


async def test_a_tethered_process_dies_with_its_parent(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ties a process to its parent")
    spawn_and_wait = (
        "import asyncio, sys; from pathlib import Path; from ops.processes import spawn\n"
        "async def main():\n"
        "    child = await spawn(['sleep', '600'], Path(sys.argv[1]))\n"
        "    print(child.pid, flush=True)\n"
        "    await child.wait()\n"
        "asyncio.run(main())"
    )
    parent = subprocess.Popen(  # noqa: ASYNC220
        (sys.executable, "-c", spawn_and_wait, tmp_path / "log"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    await eventually(lambda: child.name() == "sleep")
    parent.kill()
    parent.communicate()
    await eventually(lambda: gone(child))


async def test_a_process_that_will_not_end_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = await processes.spawn([sys.executable, "-c", deaf], log)
    await eventually(lambda: processes.last_line(log) == "deaf")
    await processes.end(process, grace=0.01)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    await processes.end(process, grace=0.01)


async def known_attributes(address: str) -> dict[str, str]:
    client = await Client.connect(address)
    answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    names = {1: "Text", 2: "Keyword", 3: "Int", 4: "Double", 5: "Bool", 6: "Datetime", 7: "KeywordList"}
    return {name: names[number] for name, number in answer.custom_attributes.items()}


def listener(address: str) -> psutil.Process:
    port = int(address.rpartition(":")[2])
    return next(
        child
        for child in psutil.Process().children()
        if any(c.laddr.port == port for c in child.net_connections() if c.status == psutil.CONN_LISTEN)
    )
