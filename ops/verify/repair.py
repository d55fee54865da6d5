"""Mends what is safe to mend. No repair sends a touch, and none decides anything that the tables do not say already."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from temporalio.service import RPCError

from activities import signatures as ask
from activities.record import Record
from contacts import store, tables, tellings
from contacts.inbox import Inbox
from contacts.relay import NotYet, Relay
from contacts.runs import drop_waiting, give_up_calls
from contacts.tables import dispatches, touches
from ops import retry
from ops.installation import Installation
from ops.temporal import TemporalRuns
from ops.verify import reading
from ops.verify.findings import Finding, Repair
from ops.verify.rows import RunRow
from workflows.registry import CARDS


@dataclass(frozen=True)
class Repairs:
    """Knows what to do about which finding."""

    here: Installation
    runs: TemporalRuns

    async def mend(self, finding: Finding) -> Repair | None:
        """Does what can be done about a finding; None where that is for a person to decide."""
        ways: dict[str, Callable[[Mapping[str, str]], Awaitable[str | None]]] = {
            "dispatch-stuck": self._dispatch,
            "request-unread": self._read,
            "run-without-workflow": self._start_or_give_up,
            "run-not-ended": self._end,
            "workflow-not-ended": self._tell_exit,
            "exit-not-heard": self._tell_exit,
            "touch-unanswered": self._settle,
            "touch-forgotten": self._settle,
            "telling-stuck": self._tell_again,
        }
        if finding.kind not in ways:
            return None
        what: str | None
        try:
            what = await ways[finding.kind](finding.evidence)
        except (NotYet, RPCError) as problem:
            what = f"could not be done: {problem}"
        if what is None:
            return None
        return Repair(finding.contact_id, what, finding.evidence)

    async def _dispatch(self, evidence: Mapping[str, str]) -> str:
        mine = (
            dispatches.c.run_id == evidence["run"]
            if "run" in evidence
            else dispatches.c.id == int(evidence["dispatch"])
        )
        waiting = sa.and_(mine, dispatches.c.done_at.is_(None))
        async with self.here.engine.begin() as conn:
            await conn.execute(sa.update(dispatches).where(waiting).values(next_try_at=sa.func.now()))
        await Relay(self.here.engine, self.runs).drain()
        async with self.here.engine.connect() as conn:
            error = (await conn.execute(sa.select(dispatches.c.error).where(waiting).order_by(dispatches.c.id))).first()
        return "Temporal has been told" if error is None else f"tried again, in vain: {error[0]}"

    async def _read(self, evidence: Mapping[str, str]) -> str:
        sources = retry.sources(self.here.settings)
        inbox = Inbox(self.here.intake)
        [read] = [one async for one in retry.retry(inbox, sources, self.here.clock, [int(evidence["request"])])]
        return f"not understood: {read.error}" if read.error else f"read: {read.events} events"

    async def _start_or_give_up(self, evidence: Mapping[str, str]) -> str:
        run = await self._run(evidence)
        if run.stage is None and run.exited_at is None and any(card.name == run.journey for card in CARDS):
            await self.runs.start(run.id, run.workflow_id, run.journey, await self._start_of(run))
            return "its workflow was started"
        # It has lived, or is over: to begin anew could say again what was said.
        return await self._finish(run, "lost", "its workflow is gone")

    async def _start_of(self, run: RunRow) -> Mapping[str, Any]:
        query = sa.select(dispatches.c.payload).where(dispatches.c.run_id == run.id, dispatches.c.kind == "start")
        async with self.here.engine.connect() as conn:
            start: Mapping[str, Any] = (await conn.execute(query)).scalars().one()
        return start

    async def _end(self, evidence: Mapping[str, str]) -> str:
        handle = self.runs.client.get_workflow_handle(evidence["workflow"], run_id=evidence["execution"])
        described = await handle.describe()
        status = described.status.name.lower() if described.status is not None else "closed"
        outcome = str(await handle.result()) if status == "completed" else status
        return await self._finish(await self._run(evidence), outcome, f"its workflow is {status}")

    async def _finish(self, run: RunRow, outcome: str, reason: str) -> str:
        ref = ask.RunRef(run.id, run.contact_id, run.journey, run.stage or "", self.here.clock.now())
        review = outcome != "completed" and run.exited_at is None
        record = Record(self.here.engine, self.here.policy)
        await record.finish(ask.FinishRequest(ref, outcome, reason, review))
        where = ", and is in the review queue" if review else ""
        return f"the run has ended: {run.outcome or outcome}{where}"

    async def _tell_exit(self, evidence: Mapping[str, str]) -> str:
        run = await self._run(evidence)
        await self.runs.signal(run.workflow_id, run.id, "exit", {"outcome": run.outcome or "exited", "by": "verify"})
        return "its workflow was told to end"

    async def _settle(self, evidence: Mapping[str, str]) -> str | None:
        """Only where nobody will ask again; a run that has not gone on may."""
        now, this = self.here.clock.now(), touches.c.id == evidence["touch"]
        async with self.here.engine.begin() as conn:
            touch = (await conn.execute(sa.select(touches).where(this))).one()
            await store.lock(conn, touch.contact_id)
            run = await reading.run_now(conn, evidence["run"])
            if run.ended_at is None and run.stage in (None, touch.stage):
                return None
            reason = "exited" if run.ended_at is not None else "stage_left"
            if await drop_waiting(conn, reason, now, this):
                return "the touch is dropped"
            if await give_up_calls(conn, now, this):
                return "the touch is settled as unknown"
        return "it was settled meanwhile"

    async def _tell_again(self, evidence: Mapping[str, str]) -> str:
        id, now = int(evidence["telling"]), self.here.clock.now()
        async with self.here.engine.begin() as conn:
            if not await reading.still_untold(conn, id):
                return "it was told meanwhile"
            await tellings.settle(conn, id, "failed", now, error="its workflow is gone", provider_id=None)
            await tellings.again(conn, [tables.tellings.c.id == id], now)
        await Relay(self.here.engine, self.runs).drain()
        return "it is told anew"

    async def _run(self, evidence: Mapping[str, str]) -> RunRow:
        async with self.here.engine.connect() as conn:
            return await reading.run_now(conn, evidence["run"])
