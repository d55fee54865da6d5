"""Segments at the command line: who is in them and why, and the two things that are done to all of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

import cli
import settings
from activities.rollout import RollOut
from contacts import database, tables
from contacts.clock import Clock
from contacts.events import event, identities
from contacts.intake import Intake
from ops import engines, segments
from templates.render import declared, render
from tests.cli.world import World, ago, failed, perennial, said
from tests.workflows.world import eventually
from worker import RUNNER
from workflows.registry import CARDS
from workflows.rollout import Rollout

BACKFILL = ["segments", "backfill", "high_value"]
BROADCAST = ["segments", "broadcast", "high_value", "expansion_idea"]


def remembers(world: World, whose: str, type: str, **data: Any) -> None:
    """Something from before the journeys began."""
    told = event(
        type, source="test", source_id=f"{type}/{whose}/{data}", occurred_at=ago(days=1),
        identities=identities(("email", whose)), data=data,
    )  # fmt: skip
    world.do(lambda engine: Intake(engine, CARDS, world.policy).remember(told, ago(days=1)))


def member(world: World, name: str, *, consents: bool = True) -> str:
    """A contact of high value who never joined."""
    whose = f"{name}@example.com"
    for n in range(3):
        remembers(world, whose, "purchase.completed", order_id=f"{name}-{n}", value=300_000, currency="EUR")
    for n in range(2):
        remembers(world, whose, "value.realized", n=n)
    remembers(world, whose, "contact.updated", email=whose, timezone="UTC")
    if consents:
        remembers(world, whose, "consent.granted", channel="email")
    return whose


@pytest.fixture
def crowd(world: World) -> World:
    """Three of high value, one of whom never allowed mail, and one who is of none."""
    for name in ("ada", "bob"):
        member(world, name)
    member(world, "eve", consents=False)
    remembers(world, "dan@example.com", "purchase.completed", order_id="dan", value=4_900, currency="EUR")
    return world


def events(world: World, type: str) -> list[Any]:
    return world.rows(sa.select(tables.events).where(tables.events.c.type == type))


def test_segments_are_listed_with_their_members_and_what_hangs_on_them(crowd: World) -> None:
    [line] = said("segments", "list")
    assert (line["name"], line["members"], line["uncounted"]) == ("high_value", 3, 0)
    assert line["used_by"] == {"high-value-invitation": ["starts"]}
    text = perennial("segments", "list", columns=80).stdout
    assert "starts" in text
    assert max(map(len, text.splitlines())) <= 80


def test_whom_nobody_has_counted_yet_is_said(crowd: World) -> None:
    forgotten = sa.update(tables.contacts).values(facts=tables.contacts.c.facts.op("-")("segments_as"))
    crowd.within(lambda conn: conn.execute(forgotten))
    assert [line["uncounted"] for line in said("segments", "list")] == [4]
    assert "4 not counted yet" in perennial("segments", "list").stdout


def test_a_segment_is_shown_in_words(crowd: World) -> None:
    [page] = said("segments", "show", "high_value")
    assert "is strong" in page["conditions"]
    assert sorted(page["sample"]) == ["ada@example.com", "bob@example.com", "eve@example.com"]
    text = perennial("segments", "show", "high_value").stdout
    for part in ("is customer", "spent at least 500000 EUR", "bob@example.com", "a person looks after them"):
        assert part in text
    assert failed("segments", "show", "hi", status=1) == "no segment 'hi'; there is high_value"


def test_why_says_each_condition(crowd: World) -> None:
    [inside], [outside] = said("segments", "why", "ada@example.com"), said("segments", "why", "dan@example.com")
    assert (inside["member"], all(c["holds"] for c in inside["conditions"])) == (True, True)
    assert inside["since"] is not None
    holds = {c["says"]: c["holds"] for c in outside["conditions"]}
    assert (outside["member"], holds["is customer"], holds["is strong"]) == (False, True, False)
    text = perennial("segments", "why", "dan@example.com").stdout
    assert "not in it" in text
    assert "counts again" not in text
    assert failed("segments", "why", "nobody@example.com", status=1) == "no contact 'nobody@example.com'"


def test_why_says_when_a_contact_is_about_to_be_counted_again(crowd: World) -> None:
    stale = sa.update(tables.contacts).values(
        facts=sa.func.jsonb_set(tables.contacts.c.facts, ["segments"], sa.literal({}, tables.contacts.c.facts.type))
    )
    crowd.within(lambda conn: conn.execute(stale))
    assert "counts again" in perennial("segments", "why", "ada@example.com").stdout


def test_a_dry_run_of_a_backfill_says_what_would_begin_and_begins_nothing(crowd: World) -> None:
    [found] = said(*BACKFILL, "--dry-run")
    assert (found["turns"], found["members"], found["starts"]) == (3, 3, {"high-value-invitation": 3})
    text = perennial(*BACKFILL, "--dry-run").stdout
    assert "3 would get it" in text
    assert "high-value-invitation 3" in text
    assert events(crowd, "segment.joined") == []
    assert crowd.rows(sa.select(tables.runs)) == []


def test_a_dry_run_of_a_broadcast_says_what_the_gate_would(crowd: World) -> None:
    crowd.happens("ticket.opened", at=ago(hours=1), whose="bob@example.com", ticket_id="t")
    [found] = said(*BROADCAST, "--dry-run")
    assert (found["members"], found["starts"], found["drops"]) == (3, {"broadcast": 3}, {"no_consent": 1})
    assert found["waits"]["hold_ticket"] == 1
    assert found["sends"] + sum(found["waits"].values()) == 2  # it may be night
    assert "no_consent 1" in perennial(*BROADCAST, "--dry-run").stdout
    assert events(crowd, "broadcast.due") == []


def test_a_dry_run_may_look_at_some_only(crowd: World) -> None:
    assert [found["turns"] for found in said(*BACKFILL, "--dry-run", "--sample", "2")] == [2]


def test_a_dry_run_of_nobody_is_zero(world: World) -> None:
    assert [found["members"] for found in said(*BACKFILL, "--dry-run")] == [0]


@pytest.mark.parametrize("command", [BACKFILL, BROADCAST], ids=["backfill", "broadcast"])
@pytest.mark.parametrize("more", [[], ["--json"], ["--rate", "5"]])
def test_nothing_begins_by_accident(crowd: World, command: list[str], more: list[str]) -> None:
    line = failed(*command, *more, status=2)
    assert line == "nothing was begun: --dry-run says what would come of it, --yes begins"


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["backfill", "hi"], 1, "no segment 'hi'; there is high_value"),
        (["broadcast", "hi", "expansion_idea"], 1, "no segment 'hi'; there is high_value"),
        (["broadcast", "high_value", "nonsense"], 1, "there is no template 'nonsense': see templates/messages"),
        (["broadcast", "high_value", "value_check"], 1, "value_check is lifecycle and the broadcast promotional"),
        (["broadcast", "high_value", "card_expiring"], 1, "card_expiring is transactional and the broadcast"),
        (["broadcast", "high_value", "expansion_idea", "--purpose", "transactional"], 2, "promotional or lifecycle"),
        (["broadcast", "high_value", "call_at_risk", "--purpose", "lifecycle"], 1, "a call that a colleague sees to"),
        (["broadcast", "high_value", "event_invitation"], 1, "event_invitation must be told event, which a broadcast"),
        (["broadcast", "high_value", "checkout_help"], 1, "checkout_help must be told checkout"),
        (["broadcast", "high_value", "expansion_idea", "--name", "Spring News!"], 2, "must be small letters"),
        (["broadcast", "high_value", "expansion_idea", "--valid-days", "90"], 2, "invalid value for '--valid-days'"),
        (["backfill", "high_value", "--rate", "0"], 2, "invalid value for '--rate'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(world: World, arguments: list[str], status: int, line: str) -> None:
    assert line in failed("segments", *arguments, "--dry-run", status=status)


def test_a_segment_no_journey_begins_with_cannot_be_filled(
    world: World, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = '\n[[segment]]\nname = "idle"\nwho = "a"\ndecides = "b"\nonly = ["known"]\n'
    (here / "policy.toml").write_text(Path(settings.load().policy_file).read_text() + more)
    monkeypatch.setenv("PERENNIAL_POLICY_FILE", "policy.toml")
    line = failed("segments", "backfill", "idle", "--dry-run", status=1)
    assert line == "no journey begins with joining idle: there is nothing to backfill"


def test_every_template_a_broadcast_takes_can_do_with_what_everybody_is_told() -> None:
    given = {
        "brand": {"name": "A", "address": "B", "url": "https://www.example.com"},
        "unsubscribe_url": "https://hub.example.com/u/x",
        "preferences_url": "https://hub.example.com/p/x",
    }
    assert given.keys() <= segments.GIVEN
    taken = []
    for template in declared():
        try:
            taken.append(segments.message_for_all(template.name, template.purpose).name)
        except segments.Failure:
            continue
    assert "expansion_idea" in taken
    assert "event_invitation" not in taken
    for name in taken:
        assert render(name, given).subject


def test_without_a_temporal_it_is_one_line(crowd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    assert "Temporal is out of reach" in failed("rollouts", "list", status=1)
    assert "Temporal is out of reach" in failed(*BACKFILL, "--yes", status=1)
    assert events(crowd, "segment.joined") == []


# With a worker

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="session")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with engines.temporal(tmp_path_factory.mktemp("temporal") / "log") as address:
        yield address


@pytest.fixture
async def queue(crowd: World, address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the worker is to look; rollouts of other tests are of no concern to it."""
    name = f"cli-{crowd.url.rsplit('_', 1)[-1]}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    monkeypatch.setenv("PERENNIAL_TASK_QUEUE", name)
    return name


@pytest.fixture
async def asking(crowd: World, queue: str, address: str) -> AsyncIterator[Ask]:
    """The command line, beside a worker."""
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    engine = database.connect(crowd.url)
    turns = RollOut(Intake(engine, CARDS, crowd.policy), Clock())

    async def ask(function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        return await asyncio.to_thread(function, *args, **more)

    async with Worker(
        client,
        task_queue=queue,
        workflows=[Rollout],
        activities=[turns.roll_out, turns.steer],
        workflow_runner=RUNNER,
    ):
        yield ask
    await engine.dispose()


async def test_a_backfill_goes_through_everybody_once(crowd: World, asking: Ask) -> None:
    name = f"fill-{crowd.url[-8:]}"
    [begun] = await asking(said, *BACKFILL, "--yes", "--name", name)
    assert (begun["name"], begun["total"], begun["rate"]) == (name, 3, 60)

    async def finished() -> Any:
        [page] = await asking(said, "rollouts", "show", name)
        return page if page["progress"]["stand"] == "finished" else None

    page = await eventually(finished)
    assert (page["progress"]["recorded"], page["began"]) == (3, {"high-value-invitation": 3})
    assert len(await asking(events, crowd, "segment.joined")) == 3
    line = await asking(failed, *BACKFILL, "--yes", "--name", name, status=1)
    assert line.startswith(f"rollout {name} has been through everybody (3 got it)")
    line = await asking(failed, *BROADCAST, "--yes", "--name", name, status=1)
    assert line == f"rollout {name} is about something else: give this one another --name"
    text = (await asking(perennial, "rollouts", "show", name)).stdout
    assert "finished" in text
    assert "3 of 3" in text


async def test_a_broadcast_is_paused_resumed_and_stopped_with_what_it_began(crowd: World, asking: Ask) -> None:
    name = f"news-{crowd.url[-8:]}"
    begin = [*BROADCAST, "--yes", "--name", name, "--rate", "1"]
    await asking(said, *begin)

    async def one_is_out() -> Any:
        [page] = await asking(said, "rollouts", "show", name)
        return page["progress"]["recorded"] == 1

    await eventually(one_is_out)
    [again] = await asking(said, *begin)  # the same words again: it is found, not begun a second time
    assert (again["stand"], again["recorded"], again["total"]) == ("going", 1, 3)
    [paused] = await asking(said, "rollouts", "pause", name)
    assert (paused["stand"], paused["runs"]) == ("paused", None)

    async def told(*kinds: str) -> bool:
        found = await asking(crowd.rows, sa.select(tables.dispatches).order_by(tables.dispatches.c.id))
        return [row.kind for row in found] == ["start", *kinds]

    await eventually(lambda: told("pause"))
    assert "is going" in (await asking(perennial, "rollouts", "resume", name)).stdout
    await eventually(lambda: told("pause", "resume"))
    await asking(said, "rollouts", "stop", name)
    await eventually(lambda: told("pause", "resume", "exit"))

    async def stopped() -> Any:
        listed = await asking(said, "rollouts", "list")
        return [line["stand"] for line in listed if line["name"] == name] == ["stopped"]

    await eventually(stopped)
    assert len(await asking(events, crowd, "broadcast.due")) == 1
    [begun] = await asking(said, *begin)  # what was stopped may go on with those it had not come to
    assert (begun["stand"], begun["total"]) == ("going", 2)
    await asking(said, "rollouts", "stop", name)


async def test_what_a_finished_broadcast_began_can_still_be_stopped(crowd: World, asking: Ask) -> None:
    name = f"late-{crowd.url[-8:]}"
    await asking(said, *BROADCAST, "--yes", "--name", name)

    async def finished() -> Any:
        [page] = await asking(said, "rollouts", "show", name)
        return page["progress"]["stand"] == "finished"

    await eventually(finished)
    [done] = await asking(said, "rollouts", "pause", name)
    assert (done["stand"], done["runs"]) == ("finished", 3)
    text = (await asking(perennial, "rollouts", "stop", name)).stdout
    assert text == f"{name} is finished; 3 of the runs it began were told to stop\n"
    [page] = await asking(said, "rollouts", "show", name)
    assert page["began"] == {"broadcast": 3}


async def test_a_terminal_is_shown_what_would_come_of_it_and_asked(
    crowd: World, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"asked-{crowd.url[-8:]}"
    monkeypatch.setattr(cli, "_at_a_terminal", lambda: True)
    result = await asking(perennial, *BACKFILL, "--name", name, input="n\n")
    assert result.exit_code == 1
    assert "3 would get it" in result.stdout
    assert "Begin, 60 a minute?" in result.stderr
    assert await asking(failed, "rollouts", "show", name, status=1) == (
        f"no rollout {name!r}: `perennial rollouts list` shows those there are"
    )
    assert await asking(events, crowd, "segment.joined") == []


async def test_a_rollout_nobody_knows_is_one_line(asking: Ask) -> None:
    for word in ("show", "pause", "resume", "stop"):
        assert (await asking(failed, "rollouts", word, "nonsense", status=1)).startswith("no rollout 'nonsense'")


async def test_without_a_worker_it_is_one_line(crowd: World, queue: str) -> None:
    command = [*BACKFILL, "--yes", "--name", f"alone-{crowd.url[-8:]}"]
    line = await asyncio.to_thread(failed, *command, status=1)
    assert line == "no worker answers: is one running, and does it know rollouts?"
