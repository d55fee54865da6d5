"""One drill from beginning to end."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import settings as configuration
from chaos import verdict
from chaos import worker as drill_worker
from chaos.lives import Act, Life, lives
from chaos.monkey import Monkey
from chaos.provider import Provider
from chaos.teller import SECRETS, Teller
from chaos.verdict import Row, Verdict
from contacts import database, policy
from contacts.clock import Clock
from contacts.tables import contacts, dispatches, events, inbox, journal, runs, touches
from ops import temporal, up
from ops.claim import Running
from ops.installation import Installation
from ops.verify.findings import Finding, Summary
from ops.verify.proof import Proof
from ops.verify.workflows import Workflows
from workflows.registry import CARDS

_WATCH = 0.4
_AMBUSH_AHEAD = 1.5
_QUIET_FOR = 3
_SETTLED_IN = 10.0
_MONDAY = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """A drill.

    Attributes:
        contacts: How many.
        kills: How many times something is killed.
        arriving: Machine seconds in which the contacts come; the monkey works about as long.
        living: Machine seconds in which the drill goes on after that.
        day: Machine seconds that a day of the journeys takes.
        share: Of the provider's answers that go wrong.
        settling: Machine seconds at most until everything has come to rest at the end.
        without_lock: The gate forgets the row lock: the drill must fail.
    """

    seed: int
    contacts: int
    kills: int
    arriving: float
    living: float
    day: float
    share: float
    settling: float
    without_lock: bool = False


@dataclass
class Outcome:
    """What came of a drill."""

    plan: Plan
    counts: dict[str, Any]
    verdict: Verdict
    findings: list[Finding]
    proof: Summary
    unsettled: dict[str, int]
    seconds: float

    @property
    def faults(self) -> list[str]:
        """Everything that must not be; empty after a good drill."""
        resting = [f"unsettled: {count} {what}" for what, count in self.unsettled.items() if count]
        return self.verdict.faults + [f"verify: {f}" for f in self.findings if f.is_fault] + resting


async def drill(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Runs it.

    Raises:
        NotStartedAgain: What was killed did not come back.
    """
    begun = monotonic()
    # Not below a directory that others may not enter: PostgreSQL runs as a user of its own.
    data = Path(tempfile.mkdtemp(prefix="perennial-chaos-"))
    provider = Provider(plan.seed, plan.share)
    try:
        async with provider.serving() as url, _everything(plan, data, url, say) as (where, chosen):
            outcome = await _Drill(plan, data, provider, where, chosen, say).run()
    finally:
        shutil.rmtree(data, ignore_errors=True)
    outcome.seconds = monotonic() - begun
    return outcome


@asynccontextmanager
async def _everything(
    plan: Plan, data: Path, provider: str, say: Callable[[str], None]
) -> AsyncIterator[tuple[Running, configuration.Settings]]:
    """PostgreSQL, Temporal, the real gateway, and the real worker with the drill's provider."""
    clock = Clock(origin=datetime.now(UTC), start=_MONDAY, rate=86400 / plan.day)
    variables = {
        **SECRETS,
        drill_worker.PROVIDER: provider,
        drill_worker.WITHOUT_LOCK: str(int(plan.without_lock)),
        "PERENNIAL_ENVIRONMENT": "development",
    }
    with _variables(variables):
        chosen = configuration.load().model_copy(update={"clock": clock})
        programs = up.Programs(worker=(sys.executable, "-m", "chaos.worker"))
        async with up.running(data, chosen, say, programs) as where:
            yield where, chosen


@contextmanager
def _variables(given: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process, which its children inherit, for as long as the block runs."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@dataclass
class _Drill:
    plan: Plan
    data: Path
    provider: Provider
    where: Running
    settings: configuration.Settings
    say: Callable[[str], None]
    waking: dict[str, datetime] = field(default_factory=dict)

    async def run(self) -> Outcome:
        plan, clock = self.plan, self.where.clock
        engine = database.connect(self.where.database, pool_size=2)
        teller = Teller(self.where.gateway, clock, clock.now())
        people = lives(plan.seed, plan.contacts, teller.begins, plan.arriving / plan.day)
        monkey = Monkey(self.data, plan.seed, plan.kills, plan.arriving / max(plan.kills, 1), self.say)
        try:
            watching = asyncio.create_task(self._watch(engine))
            async with asyncio.TaskGroup() as everything:
                everything.create_task(monkey.work())
                telling = everything.create_task(self._tell_all(teller, people))
                everything.create_task(self._report(teller, telling))
            watching.cancel()
            self.provider.well = True
            self.say("nothing is killed any more, and the provider is well; waiting for rest")
            unsettled = await self._rest(engine)
            self.say("verifying")
            return await self._judge(engine, teller, people, monkey, unsettled)
        finally:
            await teller.close()
            await engine.dispose()

    async def _tell_all(self, teller: Teller, people: list[Life]) -> None:
        end = (self.plan.arriving + self.plan.living) / self.plan.day
        async with asyncio.TaskGroup() as telling:
            for life in people:
                for act in life.acts:
                    if not act.lost and act.told < end:
                        telling.create_task(self._tell(teller, act))
        await teller.until(end)

    async def _tell(self, teller: Teller, act: Act) -> None:
        await teller.until(act.told)
        if act.ambush:
            await self._lie_in_wait(teller, act)
            act = _happening_now(act, teller)
        first = asyncio.create_task(teller.tell(act))
        copies = [asyncio.create_task(self._copy(teller, act, after)) for after in act.copies]
        await asyncio.gather(first, *copies)

    async def _copy(self, teller: Teller, act: Act, after: float) -> None:
        await teller.until(max(act.told, act.happens) + after)
        await teller.tell(act)

    async def _lie_in_wait(self, teller: Teller, act: Act) -> None:
        """Until the contact's run is about to wake: what is told then races with the message it asks for."""
        patience = monotonic() + 2 * self.plan.day
        while monotonic() < patience:
            wakes = self.waking.get(act.email)
            if wakes is not None:
                left = self.where.clock.machine_seconds(wakes - self.where.clock.now())
                if 0 <= left < _AMBUSH_AHEAD:
                    # Somewhat early, exactly then, or a moment late: the act's own id decides.
                    await asyncio.sleep(max(0.0, left + (crc32(act.id.encode()) % 200 - 60) / 1000))
                    return
            await asyncio.sleep(0.1)

    async def _watch(self, engine: AsyncEngine) -> None:
        """Keeps an eye on when runs will wake."""
        query = (
            sa.select(contacts.c.facts["profile"]["email"]["value"].astext, sa.func.min(runs.c.next_wake))
            .join(contacts, contacts.c.id == runs.c.contact_id)
            .where(runs.c.ended_at.is_(None), runs.c.next_wake > sa.bindparam("now"))
            .group_by(contacts.c.id)
        )
        while True:
            with suppress(SQLAlchemyError):
                async with engine.connect() as conn:
                    rows = await conn.execute(query, {"now": self.where.clock.now()})
                    self.waking = {email: at for email, at in rows if email is not None}
            await asyncio.sleep(_WATCH)

    async def _report(self, teller: Teller, telling: "asyncio.Task[None]") -> None:
        while not telling.done():
            await asyncio.wait([telling], timeout=15)
            day = (self.where.clock.now() - teller.begins) / timedelta(days=1)
            self.say(
                f"day {day:.1f}: {len(teller.acknowledged)} acknowledged in {teller.attempts} attempts, "
                f"{len(self.provider.delivered)} delivered, {self.provider.mishaps.total()} mishaps of the provider"
            )

    async def _rest(self, engine: AsyncEngine) -> dict[str, int]:
        """Waits until nothing is under way any more; says what still is when patience ends."""
        deadline = monotonic() + self.plan.settling
        quiet, left, looks = 0, {"looks": 1}, 0
        while monotonic() < deadline and quiet < _QUIET_FOR:
            await asyncio.sleep(2)
            looks += 1
            if looks % 15 == 0:
                self.say("still under way: " + ", ".join(f"{name} {count}" for name, count in left.items() if count))
            with suppress(SQLAlchemyError):
                left = await _under_way(engine, self.where.clock)
                quiet = 0 if any(left.values()) else quiet + 1
        return left

    async def _judge(
        self, engine: AsyncEngine, teller: Teller, people: list[Life], monkey: Monkey, unsettled: dict[str, int]
    ) -> Outcome:
        rules = policy.load(self.settings.policy_file)
        here = Installation(engine, rules, self.where.clock, self.settings, self.where.temporal)
        client = await temporal.connect(address=self.where.temporal)
        proof = Proof(here, Workflows(client), CARDS, late=timedelta(seconds=30))
        findings = [finding async for finding in proof.findings()]

        delivered = list(self.provider.delivered)
        await asyncio.sleep(_SETTLED_IN)
        acknowledged = list(teller.acknowledged.values())
        sources = {one.act.id: teller.source_of(one.act) for one in acknowledged}
        async with engine.connect() as conn:
            stored = Counter({(s, i): n for s, i, n in await conn.execute(_STORED)})
            lines: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
            for email, kind, name, count in await conn.execute(_LINES):
                lines[email][kind, name] += count
            rows = [Row(*row) for row in await conn.execute(_TOUCHES)]
            claims = {key: self._on_our_clock(at) for key, at in await conn.execute(_CLAIMS)}
            statuses = await _pairs(conn, _STATUSES)
            reasons = await _pairs(conn, _REASONS)
            outcomes = await _pairs(conn, _OUTCOMES)
        duplicated, sent_again = verdict.told_twice(self.provider.delivered)
        found = Verdict(
            lost=[*verdict.losses(acknowledged, sources, stored, lines), *(f"refused: {r}" for r in teller.refused)],
            duplicated=duplicated,
            sent_again=sent_again,
            forbidden=[
                *verdict.forbidden(acknowledged, self.provider.delivered),
                *verdict.claimed_after(acknowledged, self.provider.delivered, claims),
            ],
            unexplained=verdict.unexplained(rows, delivered, self.provider.delivered),
        )
        acts = [act for life in people for act in life.acts]
        counts = {
            "contacts": len(people),
            "lives": dict(Counter(life.kind for life in people)),
            **verdict.told(acts, acknowledged),
            "tellings": teller.tellings,
            "attempts": teller.attempts,
            "failed attempts": dict(teller.failures),
            "events stored": stored.total(),
            "kills": dict(monkey.killed),
            "provider calls": dict(self.provider.calls),
            "provider look-ups": self.provider.look_ups,
            "provider mishaps": dict(self.provider.mishaps),
            "repeats the provider dropped by key": self.provider.repeats_dropped,
            "messages delivered": len(self.provider.delivered),
            "touches": statuses,
            "reasons": reasons,
            "runs": outcomes,
        }
        return Outcome(self.plan, counts, found, findings, proof.summary, unsettled, 0.0)

    def _on_our_clock(self, at: datetime) -> float:
        """A moment of the journeys on this process's monotonic clock."""
        return monotonic() - self.where.clock.machine_seconds(self.where.clock.now() - at)


async def _pairs(conn: AsyncConnection, query: sa.Select[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in await conn.execute(query)}


def _happening_now(act: Act, teller: Teller) -> Act:
    day = (teller.clock.now() - teller.begins) / timedelta(days=1)
    return replace(act, happens=day, told=day)


async def _under_way(engine: AsyncEngine, clock: Clock) -> dict[str, int]:
    """What has not come to rest, counted."""
    late = clock.now() - timedelta(seconds=10) * clock.rate
    counts = {
        "dispatches to land": sa.select(sa.func.count()).where(dispatches.c.done_at.is_(None)),
        "touches claimed and not settled": sa.select(sa.func.count()).where(touches.c.status == "claimed"),
        "touches past their time": sa.select(sa.func.count()).where(
            touches.c.status == "waiting", touches.c.wait_until < late
        ),
        "requests to read": sa.select(sa.func.count()).where(inbox.c.status == "received"),
        "runs told to end": sa.select(sa.func.count()).where(runs.c.exited_at.is_not(None), runs.c.ended_at.is_(None)),
        "runs past their time": sa.select(sa.func.count()).where(runs.c.ended_at.is_(None), runs.c.next_wake < late),
    }
    async with engine.connect() as conn:
        return {what: (await conn.execute(query)).scalar_one() for what, query in counts.items()}


_STORED = sa.select(events.c.source, events.c.source_id, sa.func.count()).group_by(events.c.source, events.c.source_id)
_LINES = (
    sa.select(contacts.c.facts["profile"]["email"]["value"].astext, journal.c.kind, journal.c.journey, sa.func.count())
    .join(contacts, contacts.c.id == journal.c.contact_id)
    .where(journal.c.kind.in_(["enter", "skip"]))
    .group_by(contacts.c.id, journal.c.kind, journal.c.journey)
)
_CLAIMS = sa.select(touches.c.key, touches.c.claimed_at).where(touches.c.claimed_at.is_not(None))
_TOUCHES = sa.select(touches.c.key, touches.c.status, touches.c.purpose, touches.c.reason)
_STATUSES = sa.select(touches.c.status, sa.func.count()).group_by(touches.c.status)
_REASONS = sa.select(touches.c.reason, sa.func.count()).where(touches.c.reason.is_not(None)).group_by(touches.c.reason)
_OUTCOMES = sa.select(sa.func.coalesce(runs.c.outcome, "open"), sa.func.count()).group_by(runs.c.outcome)
