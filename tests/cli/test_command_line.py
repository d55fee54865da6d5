"""What all commands share: help, exit statuses, one line for what goes wrong, and which installation is meant."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner

import cli
import ops.simulate
import ops.up
import settings
from contacts.specs import InvalidCard
from ops import claim
from ops.claim import AlreadyRunning, Running
from ops.scenario import Line, Scenario
from ops.simulate import Played
from tests.cli.world import ROOT, World, ago, failed, perennial, said
from workflows import reading

COMMANDS = [
    ["up"],
    ["demo"],
    ["simulate"],
    ["event", "send"],
    ["contact", "show"],
    ["explain"],
    ["webhook", "check"],
    ["runs", "list"],
    ["journeys", "list"],
    ["journeys", "card"],
    ["journeys", "lint"],
    ["journeys", "docs"],
    ["segments", "list"],
    ["segments", "show"],
    ["segments", "why"],
    ["segments", "backfill"],
    ["segments", "broadcast"],
    ["rollouts", "list"],
    ["rollouts", "show"],
    ["rollouts", "pause"],
    ["rollouts", "resume"],
    ["rollouts", "stop"],
    ["runs", "pause"],
    ["runs", "resume"],
    ["doctor"],
    ["pauses", "list"],
    ["pauses", "show"],
    ["pauses", "call"],
    ["pauses", "end"],
    ["handoffs", "list"],
    ["handoffs", "ack"],
    ["inbox", "list"],
    ["inbox", "retry"],
    ["outgoing", "list"],
    ["outgoing", "replay"],
    ["reviews"],
    ["verify"],
    ["segments", "pressure"],
    ["approvals", "list"],
    ["approvals", "approve"],
    ["approvals", "refuse"],
]

READING = [
    ["runs", "list"],
    ["contact", "show", "x"],
    ["explain", "x"],
    ["handoffs", "list"],
    ["inbox", "list"],
    ["verify"],
]

WHERE = Running(
    pid=1,
    gateway="http://127.0.0.1:8080",
    temporal="127.0.0.1:7233",
    temporal_ui="http://127.0.0.1:8233",
    database="postgresql+psycopg://postgres@/perennial",
    mailbox_dir="mailbox",
    mailbox_port=1025,
)


def names(app: typer.Typer, *before: str) -> Iterator[list[str]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield [*before, command.name or command.callback.__name__.replace("_", "-")]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from names(group.typer_instance, *before, str(group.typer_instance.info.name))


def test_this_file_knows_every_command() -> None:
    assert sorted(names(cli.app)) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_helps_with_an_example_and_speaks_json(command: list[str]) -> None:
    result = perennial(*command, "--help", columns=80)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"Example:\n    perennial {' '.join(command)}" in result.stdout
    assert "--json" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, cli; cli.main()"
    report = "import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr)); " + code
    done = subprocess.run(
        (sys.executable, "-c", report, "--help"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    heavy = {"temporalio", "sqlalchemy", "pydantic", "rich", "psycopg", "httpx", "asyncio"}
    assert not heavy & set(done.stderr.split())


def test_the_bare_command_shows_its_help() -> None:
    result = perennial()
    assert result.exit_code == 2
    assert "Commands:" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["runz"], "no such command 'runz'. Did you mean 'runs'? (see `perennial --help`)"),
        (["runs"], "missing command (see `perennial runs --help`)"),
        (["runs", "list", "--bogus"], "no such option: --bogus (see `perennial runs list --help`)"),
        (["contact", "show"], "missing argument 'CONTACT' (see `perennial contact show --help`)"),
        (["runs", "list", "--limit", "0"], "invalid value for '--limit'"),
        (["inbox", "retry", "x"], "invalid value for"),
        (["handoffs", "ack", "x"], "missing option '--by'"),
    ],
)
def test_a_wrong_command_line_is_one_line(here: Path, arguments: list[str], line: str) -> None:
    assert line in failed(*arguments, status=2)


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_where_nothing_runs_the_line_says_what_to_do(here: Path, command: list[str]) -> None:
    line = failed(*command, status=1)
    assert line == "nothing is running here: start it with `perennial up` or set PERENNIAL_DATABASE_URL"


@pytest.mark.parametrize("place", [".perennial", ".perennial/demo"])
def test_what_runs_in_this_directory_is_asked(
    world: World, here: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    world.happens("checkout.started", at=ago(days=1), checkout_id="77")
    monkeypatch.delenv("PERENNIAL_DATABASE_URL")
    with claim.claim(here / place) as claimed:
        claimed.ready(Running(**{**WHERE.__dict__, "database": world.url}))
        assert [r["key"] for r in said("runs", "list")] == ["77"]
    failed("runs", "list", status=1)


def test_a_wrong_setting_is_one_line_and_exits_2(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", "mysql://secret@127.0.0.1/x")
    line = failed("runs", "list", status=2)
    assert line == "PERENNIAL_DATABASE_URL: must look like postgresql://user:password@host:5432/database"
    monkeypatch.delenv("PERENNIAL_DATABASE_URL")
    monkeypatch.setenv("PERENNIAL_POLICY_FILE", "nothing.toml")
    assert failed("runs", "list", status=2) == "PERENNIAL_POLICY_FILE: nothing.toml: No such file or directory"


def test_a_database_out_of_reach_is_one_line_without_its_password(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", "postgresql://me:hush@127.0.0.1:1/facts")
    line = failed("runs", "list", status=1)
    assert "127.0.0.1:1/facts is out of reach" in line
    assert "hush" not in line


def test_a_database_without_our_tables_is_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(world.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    assert failed("runs", "list", status=1).endswith("has no tables of ours: run `python -m ops.migrate`")


def test_a_journey_without_a_card_is_one_line_that_says_where(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(cls: object) -> None:
        raise InvalidCard("workflows/welcome.py:51: welcome: sends what?")

    monkeypatch.setattr(reading, "flow_of", refused)
    (here / "tests" / "scenarios").mkdir(parents=True)
    assert failed("journeys", "lint", status=1) == "workflows/welcome.py:51: welcome: sends what?"


def test_a_fault_of_ours_is_one_line_unless_it_is_debugged(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down() -> None:
        raise ZeroDivisionError("by zero\n[parameters: ada@example.com]")

    monkeypatch.setattr(settings, "load", break_down)
    line = failed("runs", "list", status=1)
    assert line == "unexpected ZeroDivisionError: by zero (PERENNIAL_DEBUG=1 shows where)"
    monkeypatch.setenv("PERENNIAL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(cli.app, ["runs", "list"], catch_exceptions=False)


def test_a_reader_that_has_seen_enough_is_no_fault(world: World) -> None:
    for n in range(400):
        world.stores("stripe", b"{}", error=f"{n} " + "x" * 300)
    command = f"{sys.executable} -m cli inbox list --limit 400 --json | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(("bash", "-c", command), env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout)["connector"] == "stripe"
    text = command.replace(" --json", "")
    done = subprocess.run(("bash", "-c", text), env=environment, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()[:2]) == ("", ["id", "from"])


# What starts everything. The real thing is tested where it lives; here only what the command makes of it.


def test_up_prints_where_everything_is_and_stops_when_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    @asynccontextmanager
    async def running(data: Path, settings: Any, announce: Any) -> AsyncIterator[Running]:
        asked.append(data)
        announce("starting PostgreSQL")
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
        yield WHERE
        announce("stopping")

    monkeypatch.setattr(ops.up, "running", running)
    result = perennial("up", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["gateway"] == WHERE.gateway
    assert result.stderr.startswith("starting PostgreSQL\n")
    text = perennial("up", "--data", "elsewhere")
    for part in (WHERE.gateway, WHERE.temporal_ui, "/docs", "/mailbox", WHERE.database):
        assert part in text.stdout
    assert asked == [settings.DATA, Path("elsewhere")]


def test_a_second_up_says_where_the_first_is(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claim.claim(here / ".perennial") as claimed:
        claimed.ready(WHERE)
        done = subprocess.run(
            (sys.executable, "-m", "cli", "up"),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"perennial: {AlreadyRunning(Running(**{**WHERE.__dict__}))}\n"


def test_up_needs_the_settings_of_development(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", "postgresql://127.0.0.1/x")
    assert failed("up", status=2).startswith("PERENNIAL_DATABASE_URL: perennial up brings its own PostgreSQL")


@pytest.mark.parametrize("status", [0, 1])
def test_the_demo_exits_as_its_story_came_out(here: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    import ops.demo

    async def demo(*, exit_when_done: bool, data: Path, say: Any) -> int:
        say.print(f"{exit_when_done} {data}")
        return status

    monkeypatch.setattr(ops.demo, "demo", demo)
    result = perennial("demo", "--exit")
    assert (result.exit_code, result.stdout) == (status, "True .perennial\n")
    result = perennial("demo", "--json", "--data", "there")
    assert (result.exit_code, json.loads(result.stdout)) == (status, {"as_told": status == 0})
    assert result.stderr == "False there\n"


SCENARIO = """
name: a story
start: 2026-03-02T09:00:00Z
contact: {email: ada@example.com}
events:
  - {at: 0d, type: page.viewed, page: home}
until: 1d
"""


@pytest.fixture
def played(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the engines; what is added to the list are the misses."""
    misses: list[str] = []

    @asynccontextmanager
    async def stage(data: Path) -> AsyncIterator[str]:
        yield "a database"

    async def play(template: str, written: Scenario, policy: Any) -> Played:
        at = datetime(2026, 3, 2, 9, tzinfo=UTC)
        lines = [
            Line(at, 0.0, "ada@example.com", "event", None, {"type": "page.viewed", "page": "[home]"}),
            Line(at, 0.0, "ada@example.com", "touch", "welcome", {"touch": "welcome", "channel": "email"}),
        ]
        return Played(written, lines, misses)

    monkeypatch.setattr(ops.simulate, "stage", stage)
    monkeypatch.setattr(ops.simulate, "play", play)
    (here / "story.yaml").write_text(SCENARIO)
    return misses


def test_simulate_prints_the_timeline(played: list[str]) -> None:
    (event, touch) = said("simulate", "story.yaml")
    assert (event["kind"], event["type"], event["day"]) == ("event", "page.viewed", 0)
    assert (touch["kind"], touch["touch"], touch["journey"]) == ("touch", "welcome", "welcome")
    result = perennial("simulate", "story.yaml", "story.yaml")
    assert result.exit_code == 0
    assert result.stdout.count("a story") == 2
    assert "page [home]" in result.stdout


def test_a_miss_is_shown_and_exits_1(played: list[str]) -> None:
    played += ["- day: 1, touch: welcome"]
    result = perennial("simulate", "story.yaml")
    assert result.exit_code == 1
    assert result.stderr == "a story: not as expected\n- day: 1, touch: welcome\n"


def test_a_scenario_that_cannot_be_read_is_one_line(played: list[str], here: Path) -> None:
    (here / "bad.yaml").write_text("name: x")
    assert failed("simulate", "story.yaml", "bad.yaml", status=2).startswith("bad.yaml: ")
    assert failed("simulate", "nothing.yaml", status=2) == "nothing.yaml: No such file or directory"
