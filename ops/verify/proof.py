"""Goes through everything: contacts in pages, then what belongs to no contact.

What it costs: PostgreSQL is read once, in order of the contacts' ids, and each page is let go before the next. Temporal
answers one list for a page, one description for each run about which a list leaves doubt, and the whole history of each
run with touches, a few at a time. The histories are half of the time: ``docs/verify.md`` has figures.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from contacts.specs import Card
from ops.installation import Installation
from ops.monitor.counts import SETTLED_BY
from ops.verify import reading
from ops.verify.agreement import RUNNING, Execution, agree, checked, without_run
from ops.verify.deliveries import History, compared
from ops.verify.findings import Finding, Summary
from ops.verify.lives import Rules, judged
from ops.verify.rows import Life, RunRow, Untold
from ops.verify.workflows import Workflows

LATE = timedelta(minutes=5)
"""After so long (on the machine's clock) what has not happened is overdue."""

T = TypeVar("T")

_AT_ONCE = 8
_LOOKED_UP_TOGETHER = 500

Progress = Callable[[int, int], None]
"""(contacts looked at, contacts in all)."""


@dataclass(frozen=True)
class Proof:
    """What is to be proved, and of what.

    Attributes:
        contact: Only this one: an id, address or other identity.
        since: Only what was done from then on, on the journeys' clock.
        summary: How much was looked at, so far.
    """

    here: Installation
    workflows: Workflows
    cards: Sequence[Card]
    contact: str | None = None
    since: datetime | None = None
    late: timedelta = LATE
    summary: Summary = field(default_factory=Summary)

    async def findings(self, progress: Progress = lambda done, total: None) -> AsyncIterator[Finding]:
        """Everything that is not as it should be. Changes nothing.

        Raises:
            NoSuchContact: ``contact`` is nobody.
            RPCError: Temporal is out of reach.
        """
        async for finding in self._all(progress):
            self.summary.count(finding)
            yield finding

    async def _all(self, progress: Progress) -> AsyncIterator[Finding]:
        contact_id = None
        async with self.here.reading() as conn:
            answered_since = await reading.answered_since(conn)
        rules = Rules(self.cards, self.here.policy, self._allowance(), self.since, answered_since)
        if self.contact is not None:
            life = await reading.life(self.here, self.cards, self.contact)
            contact_id = life.facts.contact_id
            async for finding in self._page([life], rules):
                yield finding
            known_as = {contact_id, *(run.entered_for for run in life.runs), *(merged.gone for merged in life.merges)}
            async for finding in self._orphans(known_as):
                yield finding
        else:
            async with self.here.reading() as conn:
                total = await reading.how_many(conn, self.since)
            progress(0, total)
            async for page in reading.lives(self.here, self.cards, self.since):
                async for finding in self._page(page, rules):
                    yield finding
                progress(self.summary.contacts, total)
            async for finding in self._orphans():
                yield finding
        before = self._overdue()
        async with self.here.reading() as conn:
            found = await reading.stuck(conn, before, contact_id)
            found += await reading.unsettled(conn, before, self._given_up(), contact_id)
            found += await reading.went_out(conn, contact_id, self.since)
            found += await reading.same_provider_id(conn, contact_id, self.since)
            if contact_id is None:
                found += await reading.requests(conn, before, self.since)
            untold = await reading.untold(conn, contact_id)
        found += [finding for finding in await _few_at_once(map(self._telling, untold)) if finding is not None]
        for finding in found:
            yield finding

    def _overdue(self) -> datetime:
        """What should have happened before this time has had all the time it needs."""
        return self.here.clock.now() - self._allowance()

    def _given_up(self) -> datetime:
        """What was asked of a provider before this time is not asked any more, or has been asked anew."""
        return self.here.clock.now() - SETTLED_BY * self.here.clock.rate

    def _allowance(self) -> timedelta:
        return self.late * self.here.clock.rate

    async def _page(self, page: Sequence[Life], rules: Rules) -> AsyncIterator[Finding]:
        for life in page:
            self._count(life, rules)
            for finding in judged(life, rules):
                yield finding
        executions = await self._executions(page)
        for finding in await self._runs(page, executions):
            yield finding
        for finding in await self._histories(page, rules, executions):
            yield finding

    def _count(self, life: Life, rules: Rules) -> None:
        covered = [claim for claim in life.claims if rules.covers(claim.ask.now)]
        numbered = [claim for claim in covered if claim.act is not None]
        self.summary.contacts += 1
        self.summary.events += len(life.events)
        self.summary.claims += len(covered)
        self.summary.claims_unnumbered += len(covered) - len(numbered)
        self.summary.claims_other_policy += sum(c.policy_version != rules.policy.version for c in numbered)
        self.summary.touches += len(life.touches)
        self.summary.runs += len(life.runs)

    async def _executions(self, page: Iterable[Life]) -> Mapping[str, list[Execution]]:
        """What Temporal keeps of the runs, by run."""
        whose = {run.entered_for for life in page for run in life.runs}
        found: defaultdict[str, list[Execution]] = defaultdict(list)
        for execution in await self.workflows.of(whose):
            if execution.run_id is not None:
                found[execution.run_id].append(execution)
        return found

    async def _runs(self, page: Sequence[Life], executions: Mapping[str, list[Execution]]) -> list[Finding]:
        before = self._overdue()
        doubtful = [run for life in page for run in life.runs if not agree(run, executions.get(run.id, ()), before)]
        found = await _few_at_once(self._look_closer(run, executions.get(run.id, ()), before) for run in doubtful)
        return [finding for finding in found if finding is not None]

    async def _look_closer(self, run: RunRow, listed: Sequence[Execution], before: datetime) -> Finding | None:
        newest = await self.workflows.find(run.workflow_id)
        if newest is None or newest.run_id != run.id:
            # The id is another run's by now, or nobody's; the run's own workflow can only be one that has closed.
            newest = next((execution for execution in listed if execution.status != "running"), None)
        async with self.here.reading() as conn:
            now = await reading.run_now(conn, run.id)
        return checked(now, run.start_landed, newest, before)

    async def _histories(
        self, page: Iterable[Life], rules: Rules, executions: Mapping[str, list[Execution]]
    ) -> list[Finding]:
        touched = [
            (run, life)
            for life in page
            for run in life.runs
            if any(t.run_id == run.id and t.claimed_at is not None and rules.covers(t.claimed_at) for t in life.touches)
        ]
        read = await _few_at_once(self._history(run, executions.get(run.id, ())) for run, _ in touched)
        async with self.here.reading() as conn:
            after = await reading.touches_now(conn, [run.id for run, _ in touched])
        found: list[Finding] = []
        for (run, life), history in zip(touched, read, strict=True):
            if history is not None:
                before = [touch for touch in life.touches if touch.run_id == run.id]
                found += compared(life.facts.contact_id, history, before, after)
        return found

    async def _history(self, run: RunRow, executions: Sequence[Execution]) -> History | None:
        ids = [execution.execution_id for execution in executions]
        history = await self.workflows.history(run.id, run.workflow_id, ids)
        if history is not None and history.whole:
            self.summary.histories += 1
        else:
            self.summary.histories_gone += 1
        return history

    async def _telling(self, untold: Untold) -> Finding | None:
        telling = untold.telling
        found = await self.workflows.find(telling.workflow_id) if untold.dispatched else None
        if found is not None and found.status == RUNNING:
            return None
        async with self.here.reading() as conn:
            if not await reading.still_untold(conn, telling.telling):
                return None
        what = f"{telling.sink} has not been told {telling.type}, and " + (
            "the workflow that was to do so is gone" if untold.dispatched else "Temporal was never to hear of it"
        )
        evidence = {"telling": str(telling.telling), "event": telling.event, "workflow": telling.workflow_id}
        return Finding("telling-stuck", untold.contact_id, what, evidence)

    async def _orphans(self, contact_ids: Collection[str] | None = None) -> AsyncIterator[Finding]:
        batch: list[Execution] = []
        async for execution in self.workflows.running(contact_ids):
            self.summary.open_workflows += 1
            batch.append(execution)
            if len(batch) == _LOOKED_UP_TOGETHER:
                for finding in await self._without_run(batch):
                    yield finding
                batch = []
        for finding in await self._without_run(batch):
            yield finding

    async def _without_run(self, batch: Sequence[Execution]) -> list[Finding]:
        async with self.here.reading() as conn:
            unknown = await reading.without_row(conn, {e.run_id for e in batch if e.run_id is not None})
        found = []
        for execution in batch:
            if execution.run_id is None or execution.run_id in unknown:
                now = await self.workflows.find(execution.workflow_id)
                if now is not None and now.status == "running" and now.run_id == execution.run_id:
                    found.append(without_run(now))
        return found


async def _few_at_once(work: Iterable[Awaitable[T]]) -> list[T]:
    """The results, in order, with so many under way at a time that nobody else has to wait."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(awaited: Awaitable[T]) -> T:
        async with room:
            return await awaited

    return await asyncio.gather(*map(one, work))
