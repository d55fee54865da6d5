"""A rollout keeps to its rate, does what it is told between two pages, and loses nobody over a death."""

import asyncio
import sysconfig
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities import signatures as ask
from activities.rollout import RollOut
from contacts import rollouts, segments, store, tables
from contacts.clock import Clock
from contacts.facts import Facts, Stamped
from contacts.intake import Intake, Receipt
from contacts.policy import Policy, Segment
from contacts.specs import on
from tests.contacts.support import card, told
from tests.replays import replayer
from tests.workflows.conftest import CACHED, REPLAYED
from tests.workflows.world import eventually
from worker import RUNNER
from workflows.rollout import Progress, Rollout, RolloutInput
from workflows.search_attributes import ALL as SEARCH_ATTRIBUTES

MINUTE_IN_A_TENTH = 600
NEWS = rollouts.broadcast("news", "keen", "expansion_idea")


class Turns:
    """Stands in for the activities: pages as a test says, then full ones until everybody has had their turn."""

    def __init__(self, people: int) -> None:
        self.people = people
        self.pages: deque[ask.RolledOut] = deque()
        self.asked: list[ask.RollOutRequest] = []
        self.orders: list[str] = []
        self.held: asyncio.Event | None = None

    @activity.defn(name=ask.ROLL_OUT)
    async def roll_out(self, request: ask.RollOutRequest) -> ask.RolledOut:
        self.asked.append(request)
        if self.held is not None:
            await self.held.wait()
        if self.pages:
            page = self.pages.popleft()
        else:
            done = min(request.limit, self.people)
            page = ask.RolledOut(f"after {len(self.asked)}", self.people > done, done)
        self.people -= page.recorded
        return page

    @activity.defn(name=ask.STEER)
    async def steer(self, request: ask.SteerRequest) -> int:
        self.orders.append(request.order)
        return 0


Begin = Callable[..., Any]


@pytest.fixture(params=[CACHED, REPLAYED], ids=["cached", "replayed"])
async def begin(temporal: Client, request: pytest.FixtureRequest) -> AsyncIterator[Begin]:
    """Begins a rollout on the real server, whose clock makes a minute a tenth of a second."""
    queue = f"rollout-{uuid4()}"
    begun: list[WorkflowHandle[Any, Progress]] = []
    turns = Turns(0)
    activities = [turns.roll_out, turns.steer]
    workers = Worker(
        temporal,
        task_queue=queue,
        workflows=[Rollout],
        activities=activities,
        workflow_runner=RUNNER,
        max_cached_workflows=request.param,
    )

    async def start(people: int, rate: int = 60, **changes: Any) -> tuple[WorkflowHandle[Any, Progress], Turns]:
        turns.people = people
        now = datetime.now(UTC)
        given = RolloutInput(NEWS, rate, people, Clock(now, now, MINUTE_IN_A_TENTH), **changes)
        handle = await temporal.start_workflow(
            "rollout",
            args=[given],
            id=f"rollout/{uuid4()}",
            task_queue=queue,
            result_type=Progress,
            task_timeout=timedelta(seconds=3),
        )
        begun.append(handle)
        return handle, turns

    async with workers:
        yield start
    for handle in begun:
        await replayer(Rollout).replay_workflow(await handle.fetch_history())


async def progress(handle: WorkflowHandle[Any, Progress]) -> Progress:
    return await handle.query("progress", result_type=Progress)


@pytest.mark.parametrize(
    ("rate", "slot", "seconds"), [(60, 60, 60), (100, 100, 60), (101, 50, 30), (250, 83, 20), (1, 1, 60)]
)
async def test_a_rate_is_slots_of_a_minute(begin: Begin, rate: int, slot: int, seconds: float) -> None:
    handle, turns = await begin(2 * slot + slot // 2 + 1, rate)
    ended = await handle.result()
    assert (ended.stand, ended.recorded, ended.total) == ("finished", 2 * slot + slot // 2 + 1, ended.recorded)
    assert {request.limit for request in turns.asked} == {slot}
    apart = [b.now - a.now for a, b in pairwise(turns.asked)]
    assert min(apart) >= timedelta(seconds=seconds)
    assert [request.after for request in turns.asked] == [None, *(f"after {n + 1}" for n in range(len(apart)))]
    assert {request.since for request in turns.asked} == {ended.since}


async def test_who_is_skipped_costs_nothing_of_the_rate(begin: Begin) -> None:
    handle, turns = await begin(100)
    turns.pages += [
        ask.RolledOut("a", True, 20, {"left": 40}),
        ask.RolledOut("b", True, 0, {"left": 40}),
        ask.RolledOut("c", True, 40, {"had": 1}),
    ]
    ended = await handle.result()
    assert [request.limit for request in turns.asked] == [60, 40, 40, 60]
    in_one_go, waited = turns.asked[2].now - turns.asked[0].now, turns.asked[3].now - turns.asked[2].now
    assert waited >= timedelta(minutes=1)
    assert in_one_go < waited + timedelta(hours=1)  # no clock is asked how fast this machine is
    assert (ended.recorded, ended.skipped) == (100, {"left": 80, "had": 1})


async def test_a_pause_lets_the_page_end_and_is_told_to_the_runs(begin: Begin) -> None:
    handle, turns = await begin(180)
    turns.held = asyncio.Event()
    await eventually(lambda: _is(turns.asked))
    await handle.signal("pause", args=["with junk", 7])
    assert (await progress(handle)).stand == "paused"
    assert turns.orders == []
    turns.held.set()
    await eventually(lambda: _is(turns.orders))
    assert (turns.orders, len(turns.asked)) == (["pause"], 1)
    assert (await progress(handle)).recorded == 60
    await handle.signal("resume")
    ended = await handle.result()
    assert (turns.orders, ended.stand, ended.recorded) == (["pause", "resume"], "finished", 180)
    assert turns.asked[1].now - turns.asked[0].now >= timedelta(minutes=1)


async def test_a_pause_at_the_last_page_is_told_too(begin: Begin) -> None:
    handle, turns = await begin(10)
    turns.held = asyncio.Event()
    await eventually(lambda: _is(turns.asked))
    await handle.signal("pause")
    turns.held.set()
    assert (await handle.result()).stand == "finished"
    assert turns.orders == ["pause"]


@pytest.mark.parametrize("paused", [False, True])
async def test_a_stop_ends_it_with_what_it_began(begin: Begin, paused: bool) -> None:
    handle, turns = await begin(10_000)
    if paused:
        await handle.signal("pause")
        await eventually(lambda: _is(turns.orders))
    else:
        await eventually(lambda: _is(turns.asked))
    await handle.signal("stop")
    ended = await handle.result()
    assert ended.stand == "stopped"
    assert ended.recorded < 10_000
    assert turns.orders[-1] == "stop"
    assert (await progress(handle)).stand == "stopped"


async def test_a_long_one_moves_to_a_fresh_history_and_takes_everything_along(begin: Begin, temporal: Client) -> None:
    handle, turns = await begin(1000, carry_on_after=30)
    turns.pages.append(ask.RolledOut("a", True, 30, {"left": 7}))
    turns.held = asyncio.Event()
    await eventually(lambda: _is(turns.asked))
    await handle.signal("pause")
    turns.held.set()
    await eventually(lambda: _is(turns.orders))
    await handle.signal("resume")
    ended = await handle.result()
    assert (ended.recorded, ended.skipped, ended.total) == (1000, {"left": 7}, 1000)
    assert turns.orders == ["pause", "resume"]
    assert [request.limit for request in turns.asked][:3] == [60, 30, 60]
    statuses = [w.status async for w in temporal.list_workflows(f"WorkflowId = '{handle.id}'")]
    assert statuses.count(WorkflowExecutionStatus.CONTINUED_AS_NEW) >= 2


async def _is(found: list[Any]) -> bool:
    return bool(found)


# Five hundred people, a real database and a clock that skips.

KEEN = Segment.model_validate(
    {"name": "keen", "who": "a", "decides": "b", "did": [{"on": "form.submitted"}], "did_not": [{"on": "page.viewed"}]}
)
COURSE = card("course", trigger=on("segment.joined", segment="keen"))
PEOPLE, RATE = 500, 130
START = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Deadly(Intake):
    """An intake whose worker dies in the middle of a page, once, at the ``dies_at``-th event."""

    recorded = 0
    dies_at = 30
    dying: asyncio.Event

    async def record_in(self, conn: AsyncConnection, event: Any, now: datetime) -> Receipt:
        receipt = await super().record_in(conn, event, now)
        Deadly.recorded += 1
        if Deadly.recorded == Deadly.dies_at:
            Deadly.dying.set()
            await asyncio.Event().wait()
        return receipt


@pytest.fixture
async def crowd(engine: AsyncEngine, policy: Policy) -> Intake:
    """An intake, and the members of the segment. The last by id is no member yet, the one before is about to leave."""
    policy = policy.model_copy(update={"segments": (KEEN,)})
    rows, names = [], []
    for n in range(PEOPLE + 2):
        facts = Facts(str(UUID(int=n + 1)), profile={"email": Stamped(f"c{n}@example.com", START, "e")})
        done = {"form.submitted": START} if n <= PEOPLE else {"contact.identified": START}
        facts = segments.counted(
            Facts(facts.contact_id, facts.profile, last=done, counts=dict.fromkeys(done, 1)), policy, START
        )
        document = store._FACTS.dump_python(facts, mode="json")
        rows.append({"id": facts.contact_id, "created_at": START, "facts": document})
        names.append({"kind": "email", "value": f"c{n}@example.com", "contact_id": facts.contact_id, "since": START})
    async with engine.begin() as conn:
        await conn.execute(sa.insert(tables.contacts), rows)
        await conn.execute(sa.insert(tables.identities), names)
    Deadly.recorded, Deadly.dying = 0, asyncio.Event()
    return Deadly(engine, (COURSE,), policy)


@pytest.mark.timeout(600)
async def test_five_hundred_people_a_death_and_never_more_than_the_rate(engine: AsyncEngine, crowd: Intake) -> None:
    binary = str(Path(sysconfig.get_path("scripts")) / "temporal-test-server")
    skipping = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=binary, data_converter=pydantic_data_converter
    )
    async with skipping as environment:
        client = environment.client
        types = {key.name: key.indexed_value_type.value for key in SEARCH_ATTRIBUTES}
        request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)  # type: ignore[arg-type]
        await client.operator_service.add_search_attributes(request)
        clock = Clock(await environment.get_current_time(), START)

        def working() -> Worker:
            turns = RollOut(crowd, clock)
            return Worker(
                client,
                task_queue="rollout",
                workflows=[Rollout],
                activities=[turns.roll_out, turns.steer],
                workflow_runner=RUNNER,
                max_cached_workflows=0,
            )

        async def start() -> WorkflowHandle[Any, Progress]:
            what = rollouts.backfill("first", "keen")
            async with engine.connect() as conn:
                since = await rollouts.begun_at(conn, what)
            given = RolloutInput(what, RATE, PEOPLE + 1, clock, since)
            return await client.start_workflow(
                "rollout", args=[given], id="rollout/first", task_queue="rollout", result_type=Progress
            )

        async with working():
            handle = await start()
            await Deadly.dying.wait()
            with pytest.raises(WorkflowAlreadyStartedError):
                await start()
        now = clock.at(await environment.get_current_time())
        for type, n, data in (("page.viewed", PEOPLE, {"page": "home"}), ("form.submitted", PEOPLE + 1, {"form": "f"})):
            happened = told(type, now, who={"email": f"c{n}@example.com"}, **data)
            assert (await crowd.record(happened, now)).result == "stored"
        async with working():
            ended = await handle.result()
            assert (ended.stand, ended.recorded, ended.skipped) == ("finished", PEOPLE, {})
            again = await (await start()).result()
            assert (again.stand, again.recorded) == ("finished", 0)

    async with engine.connect() as conn:
        mine = tables.events.c.data.contains({"rollout": "first"})
        found = (await conn.execute(sa.select(tables.events).where(mine).order_by(tables.events.c.received_at))).all()
        runs = (await conn.execute(sa.select(tables.runs.c.contact_id))).scalars().all()
    assert {UUID(event.contact_id).int for event in found} == set(range(1, PEOPLE + 1))
    assert len(found) == PEOPLE
    assert len(runs) == len(set(runs)) == PEOPLE + 1  # the one who joined meanwhile is in the journey too, and once
    times = [event.received_at for event in found]
    assert busiest(times, timedelta(minutes=1)) <= RATE
    assert busiest(times, timedelta(minutes=2)) > RATE  # or this would not see a thing
    assert times[-1] - times[0] >= timedelta(minutes=3)


def busiest(times: list[datetime], span: timedelta) -> int:
    """The most of them in any span of time."""
    return max(sum(begins <= at < begins + span for at in times) for begins in times)
