"""The doctor on a whole installation: all is well, and then one part after the other is not."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.client import Client

from contacts import chores, migrate, pauses, tables
from contacts.gate import Pause
from ops import claim, doctor, temporal
from ops.claim import Running
from ops.doctor import Check
from ops.monitor.watch import Monitor
from tests.cli.world import perennial
from tests.road.conftest import Road

ROOT = Path(__file__).parents[2]
CREDENTIALS = ("SMTP_HOST", "HUBSPOT_ACCESS_TOKEN", "SLACK_BOT_TOKEN", "SLACK_CHANNEL")


@pytest.fixture
def place(road: Road, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Road:
    """The environment says where everything of the road is."""
    monkeypatch.chdir(tmp_path)
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "given")
    clock = {"origin": road.clock.origin.isoformat(), "start": road.clock.start.isoformat(), "rate": road.clock.rate}
    for name, value in {
        "PERENNIAL_DATABASE_URL": road.engine.url.render_as_string(hide_password=False),
        "PERENNIAL_POLICY_FILE": str(ROOT / "policy.toml"),
        "PERENNIAL_TASK_QUEUE": road.task_queue,
        "PERENNIAL_CLOCK": json.dumps(clock),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{road.port}",
    }.items():
        monkeypatch.setenv(name, value)
    return road


async def examined() -> dict[str, Check]:
    found = [check async for check in doctor.examine()]
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert "\n" not in str(check)
        assert (check.state == "ok") == (check.todo is None) or check.name in ("database", "temporal")
    return {check.name: check for check in found}


async def ill() -> dict[str, tuple[str, str]]:
    """What is not well: state, and what was found with what to do."""
    found = (await examined()).values()
    return {c.name: (c.state, f"{c.what}: {c.todo}") for c in found if c.state != "ok"}


async def change(road: Road, statement: Any) -> None:
    async with road.engine.begin() as conn:
        await conn.execute(statement)


async def test_all_is_well_and_then_one_part_after_the_other_is_not(
    place: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = place
    monitor = Monitor(road.engine, road.clock)
    async with road.temporal():
        client = await road.client()
        async with road.worker():
            await temporal.schedule_sweep(client, road.clock, road.task_queue)
            await monitor.look()
            found = await examined()
            assert {c.name: str(c) for c in found.values() if c.state != "ok"} == {}
            assert found["worker"].what == f"1 worker polls task queue {road.task_queue!r}"
            assert found["schema"].what == f"revision {migrate.head()}"
            with monkeypatch.context() as longer_ago:
                # The server remembers a worker for minutes after its end.
                longer_ago.setattr(doctor, "_POLLED_LATELY", timedelta(0))
                assert (await ill())["worker"][0] == "fail"
            await _schedule(client)
            await _facts(road, monitor)
            await _attributes(client)


async def _schedule(client: Client) -> None:
    schedule = client.get_schedule_handle(temporal.SWEEP)
    await schedule.pause(note="while we import")
    assert (await ill())["sweep schedule"] == (
        "fail",
        "is paused (while we import): `temporal schedule toggle --unpause --schedule-id perennial-sweep`",
    )
    await schedule.delete()
    assert "there is no schedule" in (await ill())["sweep schedule"][1]


async def _facts(road: Road, monitor: Monitor) -> None:
    async with road.engine.begin() as conn:
        await pauses.trip(conn, Pause("journey", "nurture", "r"), figures={}, now=road.clock.now())
        await pauses.call(conn, Pause("all", "", "r", road.clock.now()), by="Kim", now=road.clock.now())
        await chores.expect(conn, chores.SWEEP, timedelta(days=1), road.clock.now() - timedelta(days=2))
    kept = {"method": "POST", "url": "u", "headers": {}, "body": b"", "connector": "c", "status": "failed"}
    await change(road, sa.insert(tables.inbox).values(received_at=road.clock.now(), **kept))
    await change(road, sa.update(tables.chores).where(tables.chores.c.name == "monitor").values(
        done_at=road.clock.now() - timedelta(minutes=4)))  # fmt: skip
    found = await ill()
    assert found["halts"] == (
        "warn", "1 in force (journey/nurture by breaker, nobody was told): `perennial pauses list`",
    )  # fmt: skip
    assert found["sweeps"][0] == "fail"
    assert found["sweeps"][1].startswith("1 overdue (sweep), since ")
    assert found["inbox"] == ("warn", "1 requests were not understood: `perennial inbox list --failed`")
    assert found["gateway"][0] == "fail"
    await monitor.look()
    assert "gateway" not in await ill()
    await change(road, sa.delete(tables.chores))
    assert "no gateway has ever run here" in (await ill())["gateway"][1]


async def _attributes(client: Client) -> None:
    gone = RemoveSearchAttributesRequest(namespace="default", search_attributes=["NextWake"])
    await client.operator_service.remove_search_attributes(gone)
    assert (await ill())["search attributes"] == (
        "fail", "NextWake missing or of another type: register them: deploy/temporal-namespace.sh",
    )  # fmt: skip


async def test_without_a_worker(place: Road) -> None:
    async with place.temporal():
        found = await ill()
    assert found["worker"] == (
        "fail",
        f"no worker polls task queue {place.task_queue!r}: start one with the same PERENNIAL_TASK_QUEUE",
    )
    assert "start a worker" in found["sweep schedule"][1]


async def test_without_temporal_the_rest_is_looked_at(place: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await examined()
    assert found["temporal"].what.startswith("Temporal is out of reach")
    assert (found["temporal"].state, found["schema"].state) == ("fail", "ok")
    assert "worker" not in found
    for name in CREDENTIALS[1:]:
        monkeypatch.delenv(name)
    assert (await examined())["connectors"].what.startswith("HUBSPOT_ACCESS_TOKEN, SLACK_BOT_TOKEN not")
    monkeypatch.setenv("PERENNIAL_POLICY_FILE", "nowhere.toml")
    found = await examined()
    assert found["policy"].what.startswith("nowhere.toml: ")
    assert found["schema"].state == "ok"


async def test_production_does_not_do_without_credentials(place: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLACK_CHANNEL")
    monkeypatch.delenv("PERENNIAL_CLOCK")
    for name, value in {
        "ENVIRONMENT": "production",
        "PUBLIC_URL": "https://hub.example.com",
        "WRITE_KEYS": "web",
        "MAIL_FROM": "a@example.com",
        "SECRET": "s" * 40,
    }.items():
        monkeypatch.setenv(f"PERENNIAL_{name}", value)
    assert (await ill())["connectors"] == ("fail", "SLACK_CHANNEL not set: the worker does not start without")


async def test_a_database_that_is_behind_or_away(place: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    await change(place, sa.text("UPDATE alembic_version SET version_num = '0004'"))
    assert (await ill())["schema"] == (
        "fail", f"revision 0004, this code wants {migrate.head()}: run `python -m ops.migrate`",
    )  # fmt: skip
    await change(place, sa.text("DROP TABLE alembic_version"))
    assert "there are no tables of ours" in (await ill())["schema"][1]
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", "postgresql://u:secret-word@127.0.0.1:1/d")
    found = await ill()
    assert "does not answer" in found["database"][1]
    assert "secret-word" not in str(found)
    monkeypatch.delenv("PERENNIAL_DATABASE_URL")
    assert (await ill())["database"][1].startswith("nothing is running here")


async def test_what_runs_here_has_a_mailbox(place: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    where = Running(
        1, "g", f"127.0.0.1:{place.port}", "u", place.engine.url.render_as_string(hide_password=False), "m", 1
    )
    monkeypatch.delenv("PERENNIAL_DATABASE_URL")
    monkeypatch.delenv("SMTP_HOST")
    monkeypatch.setattr(claim, "find", lambda _: where)
    assert (await examined())["connectors"].state == "ok"


def test_the_command_says_a_line_for_each_and_exits_1_on_a_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    async def well(state: Any = "warn") -> Any:
        yield Check("halts", state, "one [in force]", "look")
        yield Check("schema", "ok", "revision 1")

    monkeypatch.setattr(doctor, "examine", well)
    result = perennial("doctor", columns=20)
    assert result.exit_code == 0
    assert result.stdout == "warn  halts              one [in force]: look\nok    schema             revision 1\n"
    monkeypatch.setattr(doctor, "examine", lambda: well("fail"))
    result = perennial("doctor", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["fail", "ok"]
