"""What did not happen is counted, said once, and said again when it got worse or a day went by."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

import pytest
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.testing import capture_logs
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from activities.sweep import Sweep
from connectors.errors import TryAgain
from connectors.recording import Alerted, Recording
from contacts import chores, pauses, tables
from contacts.claims import Gate
from contacts.clock import Clock
from contacts.database import connect
from contacts.gate import Pause
from contacts.intake import Intake
from ops.monitor import incidents
from ops.monitor.counts import KINDS, LATE, SETTLED_BY, Counts, Kind, Late, count, statement
from ops.monitor.incidents import AGAIN, OVER, Incident, follow, lines
from ops.monitor.watch import EVERY, Monitor
from tests.contacts.support import a_run, an_ask, at, claim, someone
from tests.road.conftest import Road
from tests.workflows.world import eventually

CLOCK = Clock()
MINUTE = timedelta(minutes=1)

Seed = Callable[[AsyncConnection, datetime, str, str], Awaitable[Any]]
"""Makes something due at a moment, of a run and its contact."""


async def _wake(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    mine = tables.runs.c.id == run_id
    await conn.execute(sa.update(tables.runs).where(mine).values(stage="greet", next_wake=due))


async def _begin(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    await conn.execute(sa.update(tables.runs).where(tables.runs.c.id == run_id).values(started_at=due, stage=None))


async def _end(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    # A run that was told to end has no wake-up to miss.
    values = {"stage": "greet", "exited_at": due, "next_wake": at(-9)}
    await conn.execute(sa.update(tables.runs).where(tables.runs.c.id == run_id).values(values))


async def _dispatch(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    values = {"run_id": run_id, "kind": "start", "payload": {}, "created_at": due}
    await conn.execute(sa.insert(tables.dispatches).values(values))


async def _request(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    kept = {"method": "POST", "url": "u", "headers": {}, "body": b"", "connector": "stripe", "received_at": due}
    await conn.execute(sa.insert(tables.inbox).values(status="received", **kept))


async def _touch(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    values = {
        "id": str(uuid4()), "key": str(uuid4()), "run_id": run_id, "contact_id": contact_id, "journey": "course",
        "stage": "s", "template": "t", "channel": "email", "purpose": "promotional", "status": "claimed",
        "asked_at": due, "valid_until": due, "claimed_at": due,
    }  # fmt: skip
    await conn.execute(sa.insert(tables.touches).values(values))


async def _hand_off(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    times = dict.fromkeys(("because_at", "opened_at", "tell_by", "contact_by"), due)
    values = {"id": str(uuid4()), "run_id": run_id, "contact_id": contact_id, "journey": "course"}
    await conn.execute(sa.insert(tables.handoffs).values(owner="sales", reason="r", **values, **times))


async def _chore(conn: AsyncConnection, due: datetime, run_id: str, contact_id: str) -> None:
    await chores.expect(conn, chores.SWEEP, timedelta(days=1), due - timedelta(days=1.25))


SEEDS: dict[Kind, tuple[Seed, timedelta]] = {
    "wake-ups": (_wake, LATE),
    "beginnings": (_begin, LATE),
    "ends": (_end, LATE),
    "dispatches": (_dispatch, LATE),
    "requests": (_request, LATE),
    "touches": (_touch, SETTLED_BY),
    "hand-offs": (_hand_off, LATE),
    "chores": (_chore, LATE),
}
"""How to make something due, and what is allowed for it."""


async def counted(engine: AsyncEngine, now: datetime, clock: Clock = CLOCK) -> Counts:
    async with engine.connect() as conn:
        return await count(conn, clock, now)


@pytest.fixture(autouse=True)
def loud() -> None:
    """A command of another test may have silenced the log of this process."""
    structlog.reset_defaults()


@pytest.fixture
async def run(engine: AsyncEngine, intake: Intake) -> tuple[str, str]:
    """A run that is where it should be, and its contact."""
    who = await someone(intake)
    run_id = await a_run(engine, who)
    async with engine.begin() as conn:
        await _wake(conn, at(99), run_id, who)
    return run_id, who


async def change(engine: AsyncEngine, statement: Any) -> None:
    async with engine.begin() as conn:
        await conn.execute(statement)


def test_every_kind_is_seeded_and_has_a_word_of_advice() -> None:
    assert set(SEEDS) == set(KINDS) == set(incidents.WHAT_TO_DO)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [1.0, 86400.0])
async def test_it_is_overdue_after_its_allowance_of_machine_time_and_not_before(
    engine: AsyncEngine, run: tuple[str, str], kind: Kind, rate: float
) -> None:
    seed, allowed = SEEDS[kind]
    now, clock = at(50), Clock(rate=rate)
    async with engine.begin() as conn:
        await seed(conn, now - allowed * rate, *run)
    assert (await counted(engine, now, clock)).overdue == {}
    found = (await counted(engine, now + MINUTE, clock)).overdue
    assert list(found) == [kind]
    assert found[kind].count == 1
    assert found[kind].since is not None


async def test_what_has_happened_is_not_overdue(engine: AsyncEngine, run: tuple[str, str]) -> None:
    t = tables
    async with engine.begin() as conn:
        for seed, _ in SEEDS.values():
            await seed(conn, at(-30), *run)
    assert set((await counted(engine, at(0))).overdue) == set(KINDS) - {"wake-ups", "beginnings"}
    for done in (
        sa.update(t.runs).values(ended_at=at(0)),
        sa.update(t.dispatches).values(done_at=at(0)),
        sa.update(t.inbox).values(status="failed"),
        sa.update(t.touches).values(status="unknown", settled_at=at(0)),
        sa.update(t.handoffs).values(acknowledged_at=at(0)),
    ):
        await change(engine, done)
    async with engine.begin() as conn:
        await chores.done(conn, chores.SWEEP, at(0))
    found = await counted(engine, at(0) + MINUTE)
    assert found.overdue == {}
    assert found.inbox == {"received": 0, "failed": 1}, "one that was not understood waits for a person, and is counted"


async def test_a_run_that_an_operator_has_paused_misses_nothing(engine: AsyncEngine, run: tuple[str, str]) -> None:
    run_id, who = run
    async with engine.begin() as conn:
        await _wake(conn, at(0), run_id, who)
    orders: list[tuple[Literal["pause", "resume"], int]] = [("pause", 0), ("resume", 1), ("pause", 0)]
    for order, missed in orders:
        async with engine.begin() as conn:
            assert await pauses.steer(conn, order, at(1), tables.runs.c.id == run_id) == 1
        assert (await counted(engine, at(2))).late["wake-ups"].count == missed


async def test_a_run_that_temporal_has_not_heard_of_is_counted_once(engine: AsyncEngine, run: tuple[str, str]) -> None:
    async with engine.begin() as conn:
        await _begin(conn, at(0), *run)
        await conn.execute(sa.update(tables.runs).values(next_wake=None))
        await _dispatch(conn, at(0), *run)
    assert set((await counted(engine, at(1))).overdue) == {"dispatches"}


async def test_a_chore_is_done_as_of_the_latest_time_and_only_if_somebody_expects_it(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await chores.done(conn, "poll", at(0))
        await chores.expect(conn, "poll", timedelta(hours=1), at(0))
        await chores.done(conn, "poll", at(2))
        await chores.done(conn, "poll", at(1))
        await chores.expect(conn, "poll", timedelta(days=2), at(9))
        [row] = (await conn.execute(sa.select(tables.chores))).all()
    assert tuple(row) == ("poll", timedelta(days=2), at(2))
    assert (await counted(engine, at(4))).late_chores == ()
    assert (await counted(engine, at(5))).late_chores == ("poll",)


async def test_a_sweep_counts_as_done_when_it_is_through(engine: AsyncEngine, intake: Intake) -> None:
    async with engine.begin() as conn:
        await chores.expect(conn, chores.SWEEP, timedelta(days=1), at(-3))
    assert (await counted(engine, at(0))).late_chores == ("sweep",)
    await someone(intake)
    swept = await ActivityEnvironment().run(Sweep(intake).sweep, ask.SweepRequest(at(0)))
    assert (swept.last, swept.looked_at) == (None, 1)
    found = await counted(engine, at(1))
    assert (found.late_chores, found.chores) == ((), {"sweep": at(0)})


async def test_there_is_a_number_for_everything(engine: AsyncEngine, intake: Intake, run: tuple[str, str]) -> None:
    run_id, who = run
    await a_run(engine, who, journey="another")
    async with engine.begin() as conn:
        await _request(conn, at(0), run_id, who)
        await _touch(conn, at(0), run_id, who)
        await conn.execute(sa.insert(tables.inbox).from_select(
            ["connector", "received_at", "method", "url", "headers", "body", "status"],
            sa.select(
                sa.literal("stripe"), sa.literal(at(-2)), sa.literal("POST"), sa.literal("u"),
                sa.cast(sa.literal("{}"), tables.inbox.c.headers.type), sa.literal(b""), sa.literal("parsed"),
            ),
        ))  # fmt: skip
        await pauses.trip(conn, Pause("journey", "course", "r"), figures={}, now=at(0))
        await pauses.call(conn, Pause("all", "", "r", at(0) + MINUTE), by="mia", now=at(0))
    found = await counted(engine, at(0) + 2 * MINUTE)
    assert found.runs == {"course": 1, "another": 1}
    assert (found.inbox["received"], found.inbox_day["received"], found.inbox_day["parsed"]) == (1, 1, 0)
    assert (found.touches, found.touches_day["sent"]) == ({"waiting": 0, "claimed": 1}, 0)
    assert (found.halts, found.untold) == ({"all": 0, "channel": 0, "journey": 1}, 1)
    sent = {"status": "sent", "settled_at": at(0), "claimed_at": at(0)}
    await change(engine, sa.update(tables.touches).values(sent))
    assert (await counted(engine, at(0.9))).touches_day["sent"] == 1
    assert (await counted(engine, at(1.1))).touches_day["sent"] == 0


async def test_a_look_reads_no_table_through(engine: AsyncEngine) -> None:
    # With parameters, as PostgreSQL keeps it once it has been asked a few times.
    asked = str(statement(CLOCK, at(0)).compile(dialect=asyncpg.dialect()))
    async with engine.connect() as conn:
        await conn.execute(sa.text("SET enable_seqscan = off"))
        plan = [row[0] for row in await conn.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {asked}")]
    read = {line.split(" on ")[1].split()[0] for line in plan if "Seq Scan on" in line}
    # Chores and pauses are few; everything else grows for ever.
    assert read <= {"chores", "pauses"}, "\n".join(plan)


# When a person is told


def overdue(**numbers: int) -> Counts:
    late: dict[Kind, Late] = {kind: Late(numbers.get(kind.replace("-", "_"), 0), at(0)) for kind in KINDS}
    return Counts(at(1), late, late_chores=("sweep",))


NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


async def told(engine: AsyncEngine, *looks: tuple[timedelta, Counts]) -> list[bool]:
    """Of each look whether a person was told."""
    return [await follow(engine, counts, Recording(), NOW + after) for after, counts in looks]


async def test_once_for_an_incident_and_again_when_it_got_worse_or_after_a_day(engine: AsyncEngine) -> None:
    some, more, twice = overdue(wake_ups=5), overdue(wake_ups=9), overdue(wake_ups=10)
    looks = [(n * MINUTE, some) for n in range(3)] + [(3 * MINUTE, more), (4 * MINUTE, twice), (5 * MINUTE, twice)]
    assert await told(engine, *looks) == [True, False, False, False, True, False]
    # Seen every minute in between; the last telling was at the fourth.
    minutes = [(n * MINUTE, twice) for n in range(6, 24 * 60, 10)]
    assert not any(await told(engine, *minutes))
    assert await told(engine, (4 * MINUTE + AGAIN, twice), (5 * MINUTE + AGAIN, twice)) == [True, False]


async def test_another_kind_is_news_and_the_message_says_all_there_is(engine: AsyncEngine) -> None:
    recording = Recording()
    for n, counts in enumerate([overdue(wake_ups=5), overdue(wake_ups=6, chores=1)]):
        assert await follow(engine, counts, recording, NOW + n * MINUTE)
    last = recording.calls[-1]
    assert isinstance(last, Alerted)
    assert last.title == "Overdue: 6 wake-ups, 1 chores"
    assert last.body.splitlines() == [
        f"6 wake-ups, since 2 Mar 2026 09:00 UTC: {incidents.WHAT_TO_DO['wake-ups']}",
        f"1 chores (sweep), since 2 Mar 2026 09:00 UTC: {incidents.WHAT_TO_DO['chores']}",
    ]
    assert lines(overdue()) == []
    # What has been told of counts as told, so that nothing is said twice.
    assert await told(engine, (2 * MINUTE, overdue(wake_ups=7, chores=1))) == [False]


async def test_what_comes_and_goes_is_one_incident_and_what_comes_back_late_is_another(engine: AsyncEngine) -> None:
    some, none = overdue(requests=1), overdue()
    assert await told(engine, (0 * MINUTE, some), (MINUTE, none), (OVER, some)) == [True, False, False]
    assert await told(engine, (OVER + OVER, none), (2 * OVER + MINUTE, none), (2 * OVER + 2 * MINUTE, some)) == [
        False, False, True,
    ]  # fmt: skip
    assert await told(engine, (9 * OVER, none)) == [False]
    async with engine.connect() as conn:
        assert (await conn.execute(sa.select(tables.incidents))).all() == []


async def test_a_telling_that_fails_is_done_at_the_next_look(engine: AsyncEngine) -> None:
    recording = Recording()
    recording.fail(TryAgain("slack", "busy"))
    said = [await follow(engine, overdue(ends=1), recording, NOW + n * MINUTE) for n in range(3)]
    assert said == [False, True, False]


async def test_nobody_to_tell_is_no_reason_to_forget(engine: AsyncEngine) -> None:
    assert not await follow(engine, overdue(ends=1), None, NOW)
    assert await told(engine, (MINUTE, overdue(ends=1))) == [True]


async def test_of_several_gateways_one_tells(database_url: str) -> None:
    recording, engines_ = Recording(), [connect(database_url, pool_size=1) for _ in range(4)]
    try:
        said = await asyncio.gather(*(follow(one, overdue(ends=1), recording, NOW) for one in engines_))
        said += [await follow(one, overdue(ends=1), recording, NOW + MINUTE) for one in engines_]
    finally:
        for one in engines_:
            await one.dispose()
    assert sum(said) == 1
    assert len(recording.calls) == 1


async def test_whoever_is_slow_to_tell_keeps_no_other_gateway_waiting(engine: AsyncEngine) -> None:
    class Slow(Recording):
        async def alert(self, *args: Any, **named: Any) -> str:
            async with asyncio.timeout(20):
                assert not await follow(engine, overdue(ends=1), Recording(), NOW)
            return await super().alert(*args, **named)

    assert await follow(engine, overdue(ends=1), Slow(), NOW)


def test_an_incident_is_as_old_as_its_first_sight() -> None:
    first = incidents.seen({}, {"ends": Late(1)}, NOW)
    later = incidents.seen(first, {"ends": Late(3)}, NOW + MINUTE)
    assert later == {"ends": Incident("ends", NOW, NOW + MINUTE)}


# The look


async def test_a_look_says_what_is_overdue_tells_it_and_that_it_has_looked(
    engine: AsyncEngine, run: tuple[str, str]
) -> None:
    now = CLOCK.now()
    async with engine.begin() as conn:
        await _wake(conn, now - timedelta(hours=1), *run)
    recording = Recording()
    monitor = Monitor(engine, CLOCK, recording)
    with capture_logs() as logs:
        for _ in range(2):
            await monitor.look()
    assert [(line["event"], line["wake_ups"], line["log_level"]) for line in logs] == [
        ("monitor.overdue", 1, "warning")
    ] * 2
    assert len(recording.calls) == 1
    assert monitor.works
    assert monitor.counts is not None
    assert monitor.counts.chores.keys() == {"monitor"}
    async with engine.connect() as conn:
        [row] = (await conn.execute(sa.select(tables.chores))).all()
    assert (row.every, row.done_at >= now) == (EVERY, True)


async def test_a_halt_of_the_breaker_is_told_though_nothing_goes_out(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await pauses.trip(conn, Pause("journey", "course", "a rush"), figures={}, now=at(0))
        await pauses.call(conn, Pause("all", "", "mine"), by="mia", now=at(0))
    recording = Recording()
    monitor = Monitor(engine, CLOCK, recording)
    assert [(await monitor.look()).untold for _ in range(3)] == [1, 0, 0]
    assert [call.title for call in recording.calls if isinstance(call, Alerted)] == ["Stopped: journey/course"]


async def test_it_goes_on_when_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = connect("postgresql://nobody@127.0.0.1:1/nothing")
    monitor = Monitor(engine, CLOCK, every=timedelta(0))
    with capture_logs() as logs:
        running = asyncio.create_task(monitor.run())

        async def twice() -> bool:
            return len(logs) >= 2

        await eventually(twice)
        running.cancel()
    assert {line["event"] for line in logs} == {"monitor.database_away"}
    assert (monitor.works, monitor.counts) == (False, None)
    await engine.dispose()


async def test_a_wake_up_that_nobody_is_there_for_is_noticed(road: Road) -> None:
    """Worker, relay and Temporal are gone: that is when it has to be seen."""
    async with road.all():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        await road.letters()

        async def sleeping() -> Any:
            [run] = await road.rows(tables.runs)
            return run.next_wake

        wakes = await eventually(sleeping)
    due = wakes - road.clock.now()

    def seen(later: timedelta) -> Monitor:
        clock = replace(road.clock, start=road.clock.start + due + later)
        return Monitor(road.engine, clock, road.recording)

    assert (await seen(LATE - MINUTE).look()).overdue == {}
    found = (await seen(LATE + MINUTE).look()).overdue
    assert found == {"wake-ups": Late(1, wakes)}
    assert [c.title for c in road.recording.calls if isinstance(c, Alerted)] == ["Overdue: 1 wake-ups"]


async def test_a_claim_and_its_settling(engine: AsyncEngine, run: tuple[str, str], intake: Intake) -> None:
    """The gate's own claim is what is counted."""
    run_id, who = run
    gate = Gate(intake.policy.model_copy(update={"quiet_hours": ()}), "1")
    async with engine.begin() as conn:
        claimed = await claim(gate, conn, an_ask("k", at(0)), run_id, who)
    assert (await counted(engine, at(1))).late["touches"] == Late(1, at(0))
    async with engine.begin() as conn:
        await gate.settle(conn, claimed.touch_id, "sent", at(1))
    assert (await counted(engine, at(1))).late["touches"].count == 0
