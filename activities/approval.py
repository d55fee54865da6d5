"""Asking a person for a yes: the question as a fact, the alert, and which answer counts."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities import signatures as ask
from activities.people import call, who
from activities.record import write_lines
from activities.running import RunTime, pulse
from connectors.base import Alert
from contacts import approvals, store
from contacts.clock import Clock
from contacts.events import event, identities
from contacts.facts import Facts
from contacts.intake import Intake


@dataclass(frozen=True)
class Approval:
    """The activities behind ``Journey.approval``."""

    engine: AsyncEngine
    intake: Intake
    alert: Alert
    public_url: str
    clock: Clock

    @activity.defn(name=ask.ASK_APPROVAL)
    async def ask_approval(self, request: ask.ApprovalRequest) -> None:
        """Keeps the question and tells a person of it, once, while it waits for an answer."""
        time = RunTime(request.run.now, self.clock)
        async with pulse():
            async with self.engine.begin() as conn:
                facts = await self._keep(conn, request)
            run = request.run
            asked = event(
                "approval.asked",
                source="perennial",
                source_id=f"asked/{request.approval_id}",
                occurred_at=run.now,
                identities=identities(("contact", facts.contact_id)),
                data={
                    "approval_id": request.approval_id,
                    "what": request.what,
                    "journey": run.journey,
                    "owner": request.owner,
                    "until": request.until.isoformat(),
                },
            )
            await self.intake.record(asked, run.now)
            await self._tell(request, facts, time)

    @activity.defn(name=ask.SETTLE_APPROVAL)
    async def settle(self, request: ask.SettleApprovalRequest) -> ask.ApprovalSettled:
        """Ends the wait. The run may not have heard yet what a person said: what was recorded first counts.

        An answer that was given to the run itself is recorded here, and everybody else learns of it as of any event.
        """
        asked = request.asked
        async with pulse():
            async with self.engine.begin() as conn:
                facts = await self._keep(conn, asked)
                await write_lines(conn, request.run, request.lines)
                answered = await approvals.answered(conn, asked.approval_id)
            if request.approved is not None and not answered:
                # It came in time; that this took a moment does not make it late.
                now = min(request.run.now, asked.until)
                said = event(
                    approvals.ANSWERED,
                    source="perennial",
                    source_id=f"answered/{asked.approval_id}",
                    occurred_at=now,
                    identities=identities(("contact", facts.contact_id)),
                    data={"approval_id": asked.approval_id, "approved": request.approved, "by": "an operator"},
                )
                await self.intake.record(said, now)
            async with self.engine.begin() as conn:
                row = await approvals.close(conn, asked.approval_id, request.run.now)
        return ask.ApprovalSettled(row.approved is True, row.answered_by)

    async def _keep(self, conn: AsyncConnection, request: ask.ApprovalRequest) -> Facts:
        run = request.run
        facts = await store.lock(conn, run.contact_id)
        question = approvals.Question(
            approval_id=request.approval_id,
            run_id=run.run_id,
            contact_id=facts.contact_id,
            journey=run.journey,
            what=request.what,
            until=request.until,
        )
        await approvals.ask(conn, question, run.now)
        return facts

    async def _tell(self, request: ask.ApprovalRequest, facts: Facts, time: RunTime) -> None:
        async with self.engine.connect() as conn:
            if not await approvals.untold(conn, request.approval_id):
                return
        short = request.approval_id[:8]
        body = (
            f"{who(facts)}: {request.what}. The journey {request.run.journey} waits for a yes until "
            f"{request.until:%d %b %H:%M} UTC; no answer is a no. At a command line: "
            f"perennial approvals approve {short} --by you (or refuse)."
        )
        key, link = f"{request.approval_id}/approval", f"{self.public_url}/contacts/{facts.contact_id}"
        alert_id = await call(self.alert.alert(key, f"For {request.owner}: yes or no?", body, link))
        async with self.engine.begin() as conn:
            await approvals.told(conn, request.approval_id, alert_id, time.now())
