"""Temporal hears of everything that was decided, in order, once it can."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import runs as runs_module
from contacts import tables
from contacts.intake import Intake
from contacts.relay import NotYet, Relay
from tests.contacts.support import START, a_run, at, happening, rows, someone, told


class FakeRuns:
    """Temporal as the relay sees it: remembers what it was told, and refuses while told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, Any]] = []
        self.refuses: dict[str, Exception] = {}
        self.news = asyncio.Event()

    async def start(self, run_id: str, workflow_id: str, journey: str, start: Mapping[str, Any]) -> None:
        await self._take(run_id, "start", (workflow_id, journey, start))

    async def signal(self, workflow_id: str, run_id: str, signal: str, payload: Mapping[str, Any]) -> None:
        await self._take(run_id, signal, payload)

    async def _take(self, run_id: str, kind: str, payload: Any) -> None:
        await asyncio.sleep(0)
        self.news.set()
        if problem := self.refuses.get(run_id):
            raise problem
        self.heard.append((run_id, kind, payload))

    def of(self, run_id: str) -> list[str]:
        """What a run heard: kinds, and the days of events."""
        return [
            f"{kind} {payload['data']['n']}" if kind == "event" else kind
            for r, kind, payload in self.heard
            if r == run_id
        ]


@pytest.fixture
def temporal() -> FakeRuns:
    return FakeRuns()


@pytest.fixture
def relay(engine: AsyncEngine, temporal: FakeRuns) -> Relay:
    return Relay(engine, temporal)


@pytest.fixture
async def alice(intake: Intake) -> str:
    return await someone(intake)


async def dispatch(engine: AsyncEngine, run_id: str, *numbers: int) -> None:
    """Lets a run hear events, each in a transaction of its own."""
    for n in numbers:
        async with engine.begin() as conn:
            await runs_module.tell(conn, run_id, happening("page.viewed", n=n), [], START)


async def due_now(engine: AsyncEngine) -> None:
    """The time until the next try is over."""
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.dispatches).values(next_try_at=sa.func.now()))


async def undone(engine: AsyncEngine) -> list[Any]:
    return await rows(engine, tables.dispatches, tables.dispatches.c.done_at.is_(None))


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def news(temporal: FakeRuns) -> None:
    async with asyncio.timeout(30):
        await temporal.news.wait()
    temporal.news.clear()


async def test_a_run_hears_its_life_in_order(
    engine: AsyncEngine, intake: Intake, relay: Relay, temporal: FakeRuns
) -> None:
    await someone(intake)
    await intake.record(told("resource.downloaded", at(0), resource="guide"), at(0))
    await intake.record(told("resource.downloaded", at(1), resource="checklist"), at(1))
    await intake.record(told("meeting.booked", at(2)), at(2))
    assert await relay.drain() == 3
    [run] = await rows(engine, tables.runs)
    assert [(run_id, kind) for run_id, kind, _ in temporal.heard] == [(run.id, k) for k in ("start", "event", "exit")]
    workflow_id, journey, start = temporal.heard[0][2]
    assert (workflow_id, journey) == (run.workflow_id, "welcome")
    assert set(start) == {"contact_id", "key", "entry", "entry_point", "started_at"}
    assert start["entry_point"] == "resource.downloaded"
    assert await undone(engine) == []
    assert await relay.drain() == 0


async def test_many_dispatches_are_carried_in_one_go(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str
) -> None:
    first, second = await a_run(engine, alice), await a_run(engine, alice, journey="other")
    for n in range(30):
        await dispatch(engine, first if n % 3 else second, n)
    assert await relay.drain() == 30
    assert temporal.of(first) == [f"event {n}" for n in range(30) if n % 3]
    assert temporal.of(second) == [f"event {n}" for n in range(30) if not n % 3]


@pytest.mark.parametrize("problem", [NotYet("Temporal: unavailable"), KeyError("a journey that is gone")])
async def test_a_run_that_cannot_be_told_holds_up_no_other_and_is_tried_again(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str, problem: Exception
) -> None:
    stuck, well = await a_run(engine, alice), await a_run(engine, alice, journey="other")
    temporal.refuses[stuck] = problem
    await dispatch(engine, stuck, 1, 2)
    await dispatch(engine, well, 3)
    assert await relay.drain() == 1
    assert temporal.of(well) == ["event 3"]
    first, second = await undone(engine)
    assert (first.attempts, second.attempts) == (1, 0)
    assert str(problem) in first.error
    assert first.next_try_at > second.next_try_at
    # Not due yet, and what follows waits its turn.
    assert await relay.drain() == 0
    temporal.refuses.clear()
    assert await relay.drain() == 0
    await due_now(engine)
    assert await relay.drain() == 2
    assert temporal.of(stuck) == ["event 1", "event 2"]
    assert [d.error for d in await rows(engine, tables.dispatches)] == [None] * 3


async def test_each_refusal_doubles_the_pause_up_to_a_limit(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    temporal.refuses[run_id] = NotYet("away")
    await dispatch(engine, run_id, 1)
    pauses = []
    for n in range(12):
        await due_now(engine)
        [before] = await undone(engine)
        await relay.drain()
        [after] = await undone(engine)
        assert (before.attempts, after.attempts) == (n, n + 1)
        pauses.append((after.next_try_at - before.next_try_at).total_seconds())
    expected = [min(0.25 * 2**n, 30) for n in range(12)]
    assert all(pause >= wanted for pause, wanted in zip(pauses, expected, strict=True))
    # From the sixth on a pause is long against the time a try takes, however busy the machine.
    assert all(pause < 2 * wanted for pause, wanted in zip(pauses[5:], expected[5:], strict=True))


async def test_a_crash_between_sending_and_committing_sends_again(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await a_run(engine, alice)
    await dispatch(engine, run_id, 1, 2)

    async def crash(*_: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(Relay, "_settle", crash)
        with pytest.raises(ConnectionResetError):
            await relay.drain()
    assert len(await undone(engine)) == 2
    assert await relay.drain() == 2
    assert temporal.of(run_id) == ["event 1", "event 1", "event 2"]


async def test_two_relays_at_once_deliver_everything_once_and_in_order(
    engine: AsyncEngine, temporal: FakeRuns, alice: str
) -> None:
    runs = [await a_run(engine, alice, journey=f"j{n}") for n in range(6)]
    for n in range(10):
        for run_id in runs:
            await dispatch(engine, run_id, n)
    landed = await asyncio.gather(*(Relay(engine, temporal).drain() for _ in range(4)))
    landed.append(await Relay(engine, temporal).drain())
    assert sum(landed) == 60
    for run_id in runs:
        assert temporal.of(run_id) == [f"event {n}" for n in range(10)]
    assert set(Counter((r, p["data"]["n"]) for r, _, p in temporal.heard).values()) == {1}


async def test_a_run_that_is_over_needs_nothing(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    await dispatch(engine, run_id, 1)
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.runs).values(ended_at=at(1)))
    assert await relay.drain() == 1
    assert temporal.heard == []
    assert await undone(engine) == []


async def test_a_commit_wakes_the_relay(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = asyncio.Event()

    async def for_ever(_: Relay) -> float:
        asleep.set()
        return 3600

    monkeypatch.setattr(Relay, "_until_next_try", for_ever)
    run_id = await a_run(engine, alice)
    async with running(relay):
        for n in range(3):
            async with asyncio.timeout(30):
                await asleep.wait()
            asleep.clear()
            await dispatch(engine, run_id, n)
            await news(temporal)
        assert temporal.of(run_id) == ["event 0", "event 1", "event 2"]


async def test_what_was_committed_while_nobody_listened_is_sent_at_once(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    await dispatch(engine, run_id, 1)
    async with running(relay):
        await news(temporal)
    assert temporal.of(run_id)[:1] == ["event 1"]


async def test_a_refusal_is_tried_again_without_anybody_knocking(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str
) -> None:
    run_id = await a_run(engine, alice)
    temporal.refuses[run_id] = NotYet("away")
    await dispatch(engine, run_id, 1)
    async with running(relay):
        await news(temporal)
        temporal.refuses.clear()
        await news(temporal)
    assert temporal.of(run_id) == ["event 1"]


async def test_a_dispatch_that_waits_for_another_makes_nobody_spin(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str
) -> None:
    """The second is long due, but it is the first that must be waited for."""
    run_id = await a_run(engine, alice)
    temporal.refuses[run_id] = NotYet("away")
    await dispatch(engine, run_id, 1, 2)
    await relay.drain()
    first = (await undone(engine))[0]
    far = sa.update(tables.dispatches).where(tables.dispatches.c.id == first.id)
    async with engine.begin() as conn:
        await conn.execute(far.values(next_try_at=sa.text("now() + interval '30 seconds'")))
    assert await relay._until_next_try() > 20


async def test_a_database_that_restarts_is_survived(
    engine: AsyncEngine, relay: Relay, temporal: FakeRuns, alice: str, postgres_server: str
) -> None:
    run_id = await a_run(engine, alice)
    await dispatch(engine, run_id, 1)
    async with running(relay):
        await news(temporal)
        for n in (2, 3):
            async with engine.connect() as conn:
                name = (await conn.execute(sa.text("SELECT current_database()"))).scalar_one()
            await asyncio.to_thread(end_all_connections, postgres_server, name)
            await dispatch(engine, run_id, n)
            await news(temporal)
            assert temporal.of(run_id)[-1] == f"event {n}"


def end_all_connections(server: str, name: str) -> None:
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


async def test_a_relay_that_is_cancelled_as_it_hears_something_ends(
    engine: AsyncEngine, temporal: FakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asyncio.Event()

    @asynccontextmanager
    async def listening(_: Relay) -> AsyncIterator[tuple[asyncio.Event, "asyncio.Future[None]"]]:
        yield heard, asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Relay, "_listening", listening)
    waits = asyncio.Event()
    wait = heard.wait

    async def waiting() -> bool:
        waits.set()
        return await wait()

    monkeypatch.setattr(heard, "wait", waiting)
    running = asyncio.create_task(Relay(engine, temporal).run())
    await waits.wait()
    await asyncio.sleep(0)
    heard.set()
    running.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.cancelled()
