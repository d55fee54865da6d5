"""Giving a contact to a person: the fact, the CRM's task and note, the alert, and the reminders."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities import signatures as ask
from activities.people import call, who
from activities.record import open_review, write_lines
from activities.running import RunTime, pulse
from connectors.base import Alert, Crm, Person, Task
from contacts import journal, store
from contacts.clock import Clock
from contacts.events import event, identities
from contacts.facts import Facts
from contacts.intake import Intake
from contacts.policy import Policy
from contacts.tables import handoffs


@dataclass(frozen=True)
class HandOff:
    """The activities behind ``Journey.hand_off``."""

    engine: AsyncEngine
    intake: Intake
    policy: Policy
    crm: Crm
    alert: Alert
    public_url: str
    clock: Clock

    @activity.defn(name=ask.HAND_OFF)
    async def hand_off(self, request: ask.HandOffRequest) -> ask.HandOffDone:
        """Rests promotion, tells the owner in the CRM and by alert, and notes when they were told.

        Each step is recorded as it is done, so a repeat goes on where the last attempt stopped.
        """
        time = RunTime(request.run.now, self.clock)
        owner = request.owner or self.policy.handoff.owner
        async with pulse():
            facts = await self._open(request, owner)
            await self._tell_crm(request, facts)
            await self._tell_owner(request, facts, owner, time)
        rules = self.policy.handoff
        return ask.HandOffDone(
            owner=owner,
            contact_by=request.because_at + timedelta(minutes=rules.contact_within_minutes),
            remind_every_seconds=rules.contact_within_minutes * 60.0,
            reminders=rules.reminders,
        )

    @activity.defn(name=ask.REMIND)
    async def remind(self, request: ask.RemindRequest) -> None:
        """Tells the owner again; after the last reminder the run goes to the review queue instead."""
        async with pulse():
            row = await self._row(request.handoff_id)
            if request.last:
                async with self.engine.begin() as conn:
                    await write_lines(conn, request.run, request.lines)
                    await open_review(conn, request.run, row.contact_id, f"nobody took the hand-off: {row.reason}")
                return
            await call(
                self.alert.alert(
                    f"{request.handoff_id}/reminder/{request.reminder}",
                    f"Still waiting: {row.owner}, please take this contact",
                    row.reason,
                    self._link(row.contact_id),
                )
            )
            async with self.engine.begin() as conn:
                await write_lines(conn, request.run, request.lines)
                mine = handoffs.c.id == request.handoff_id
                await conn.execute(sa.update(handoffs).where(mine).values(reminders=request.reminder))
                entry = journal.Entry(
                    at=request.run.now,
                    contact_id=row.contact_id,
                    kind="escalate",
                    journey=request.run.journey,
                    run_id=request.run.run_id,
                    once=f"reminder/{request.handoff_id}/{request.reminder}",
                    data={"owner": row.owner, "reminder": request.reminder, "reason": row.reason},
                )
                await journal.write(conn, entry)

    @activity.defn(name=ask.ACKNOWLEDGE)
    async def acknowledge(self, request: ask.AcknowledgeRequest) -> None:
        """A person took the hand-off by answering the run itself; everybody else learns of it as of any event."""
        now = request.run.now
        taken = event(
            "handoff.acknowledged",
            source="perennial",
            source_id=f"acknowledged/{request.handoff_id}",
            occurred_at=now,
            identities=identities(("contact", request.run.contact_id)),
            data={"handoff_id": request.handoff_id, "by": request.by},
        )
        await self.intake.record(taken, now)

    async def _open(self, request: ask.HandOffRequest, owner: str) -> Facts:
        run = request.run
        rules = self.policy.handoff
        opened = event(
            "handoff.opened",
            source="perennial",
            source_id=f"opened/{request.handoff_id}",
            occurred_at=run.now,
            identities=identities(("contact", run.contact_id)),
            data={"handoff_id": request.handoff_id, "owner": owner, "reason": request.reason},
        )
        await self.intake.record(opened, run.now)
        async with self.engine.begin() as conn:
            facts = await store.lock(conn, run.contact_id)
            values = {
                "id": request.handoff_id,
                "run_id": run.run_id,
                "contact_id": facts.contact_id,
                "journey": run.journey,
                "owner": owner,
                "reason": request.reason,
                "because_at": request.because_at,
                "opened_at": run.now,
                "tell_by": request.because_at + timedelta(minutes=rules.tell_within_minutes),
                "contact_by": request.because_at + timedelta(minutes=rules.contact_within_minutes),
            }
            await conn.execute(insert(handoffs).values(values).on_conflict_do_nothing())
            await write_lines(conn, run, request.lines)
        return facts

    async def _tell_crm(self, request: ask.HandOffRequest, facts: Facts) -> None:
        row = await self._row(request.handoff_id)
        email = facts.address("email")
        if row.crm_task_id is not None or email is None:
            return
        person = Person(
            email=email,
            first_name=facts.get("first_name"),
            last_name=facts.get("last_name"),
            phone=facts.get("phone"),
            company=facts.get("company"),
        )
        crm_id = await call(self.crm.upsert(person))
        story = await self._story(facts)
        await call(self.crm.note(crm_id, f"{request.handoff_id}/note", story, request.run.now))
        task = Task(f"{request.handoff_id}/task", request.reason, story, row.contact_by, row.owner)
        task_id = await call(self.crm.task(crm_id, task))
        await self._update(request.handoff_id, crm_id=crm_id, crm_task_id=task_id)

    async def _tell_owner(self, request: ask.HandOffRequest, facts: Facts, owner: str, time: RunTime) -> None:
        row = await self._row(request.handoff_id)
        if row.told_at is not None:
            return
        body = f"{who(facts)}: {request.reason} Please be in touch by {row.contact_by:%d %b %H:%M} UTC."
        alert_id = await call(self.alert.alert(request.handoff_id, f"For {owner}", body, self._link(facts.contact_id)))
        told_at = time.now()
        async with self.engine.begin() as conn:
            mine = handoffs.c.id == request.handoff_id
            await conn.execute(sa.update(handoffs).where(mine).values(told_at=told_at, alert_id=alert_id))
            data = {
                "owner": owner,
                "reason": request.reason,
                "handoff_id": request.handoff_id,
                "told_after_seconds": round((told_at - request.because_at).total_seconds()),
                "in_time": told_at <= row.tell_by,
                "contact_by": row.contact_by.isoformat(),
            }
            entry = journal.Entry(
                at=told_at,
                contact_id=facts.contact_id,
                kind="handoff",
                journey=request.run.journey,
                run_id=request.run.run_id,
                once=f"handoff/{request.handoff_id}",
                data=data,
            )
            await journal.write(conn, entry)

    async def _story(self, facts: Facts) -> str:
        """What the person should know before they write or call: the last things that happened, newest first."""
        async with self.engine.connect() as conn:
            entries = [e for _, e in await journal.read(conn, facts.contact_id)]
        told = [line for e in reversed(entries) if (line := _in_words(e)) is not None]
        return "\n".join([f"{who(facts)}. What happened, newest first:", *told[:12]])

    async def _row(self, handoff_id: str) -> Any:
        async with self.engine.connect() as conn:
            return (await conn.execute(sa.select(handoffs).where(handoffs.c.id == handoff_id))).one()

    async def _update(self, handoff_id: str, **values: Any) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(sa.update(handoffs).where(handoffs.c.id == handoff_id).values(values))

    def _link(self, contact_id: str) -> str:
        return f"{self.public_url}/contacts/{contact_id}"


def _in_words(entry: journal.Entry) -> str | None:
    at: datetime = entry.at
    what = {
        "event": entry.data.get("type"),
        "touch": f"we sent {entry.data.get('touch')}: {entry.data.get('subject')}",
        "drop": f"we did not send {entry.data.get('touch')} ({entry.data.get('reason')})",
    }.get(entry.kind)
    if what is None:
        return None
    detail = ", ".join(
        str(entry.data[k]) for k in ("page", "resource", "topic", "form") if entry.kind == "event" and entry.data.get(k)
    )
    return f"- {at:%d %b %H:%M} {what}" + (f" ({detail})" if detail else "")
