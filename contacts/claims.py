"""The gate's transaction: with the contact's row locked, decide, write the decision down, and claim the touch.

A claim is a row that is unique by the touch's key. Whoever wants to call a provider must first hold the claim, so that
an event acknowledged before the claim is always seen, and a second attempt always finds the first.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import breaker, gate, journal, pauses, store
from contacts.channels import Choice, choose
from contacts.events import identity
from contacts.facts import Facts, address_kind, mailed
from contacts.gate import Ask, Drop, Past, Send, Situation, Verdict, Wait, Waiting
from contacts.policy import ERRANDS, Policy
from contacts.tables import decisions, runs, touches

Status = Literal["waiting", "claimed", "sent", "unknown", "failed", "dropped"]
TOOK_A_SLOT: tuple[Status, ...] = ("claimed", "sent", "unknown")
SETTLED: tuple[Status, ...] = ("sent", "unknown", "failed", "dropped")


_STATUS: dict[type[Verdict], Literal["claimed", "waiting", "dropped"]] = {
    Send: "claimed",
    Wait: "waiting",
    Drop: "dropped",
}


# Proof that it went out may still come after it was given up as unknown.
_MAY_BECOME: dict[Status, tuple[Status, ...]] = {
    "sent": ("claimed", "waiting", "unknown"),
    "unknown": ("claimed", "waiting"),
    "failed": ("claimed", "waiting"),
}


Read = Callable[[AsyncConnection, str], Awaitable[Facts]]
"""How a contact's facts are read: ``store.lock``, where no word of theirs may come in before the claim, or not."""


@dataclass(frozen=True)
class Claim:
    """What the gate's transaction found or decided.

    Attributes:
        status: ``claimed``: call the provider now. ``reclaimed``: an earlier attempt claimed it and may have called;
            another call is right only where ``reason`` is None, for else the gate has something against it now.
            ``waiting`` and ``dropped``: the verdict says why. ``sent``, ``unknown``, ``failed``: it is settled already.
        channel: The touch's. Once claimed it is the same for ever; before that, what was best when the gate was asked.
        facts: The contact as of now.
        provider: Who is to be called, or was; None where the caller did not say.
        until: Until when at most the gate says wait; None where it does not.
        called_ago: For ``reclaimed``, how long ago on the machine's clock it was claimed and the first call began.
    """

    touch_id: str
    status: Literal["claimed", "reclaimed", "waiting", "dropped", "sent", "unknown", "failed"]
    channel: str
    facts: Facts
    reason: str | None = None
    until: datetime | None = None
    hold: str | None = None
    called_ago: timedelta = timedelta(0)
    provider: str | None = None


def _touch_id(ask: Ask) -> str:
    return str(uuid5(NAMESPACE_URL, ask.key))


def _claimed(touch_id: str) -> sa.Update:
    return sa.update(touches).where(touches.c.id == touch_id, touches.c.status == "claimed")


def _reclaimed(touch: Any, facts: Facts, verdict: Verdict) -> Claim:
    """A provider may have been called for it, whatever is said now; what is said now decides on another call."""
    reason = None if isinstance(verdict, Send) else verdict.reason
    until, hold = (verdict.until, verdict.hold) if isinstance(verdict, Wait) else (None, None)
    called = {"called_ago": touch.called_ago, "provider": touch.provider}
    return Claim(touch.id, "reclaimed", touch.channel, facts, reason, until, hold, **called)


@dataclass(frozen=True)
class Gate:
    """Takes claims under one policy, for one version of the code."""

    policy: Policy
    code_version: str

    async def would_send(self, conn: AsyncConnection, ask: Ask, *, run_id: str, contact_id: str) -> bool:
        """Whether ``claim`` would let the touch out now, as far as one can tell without the lock. Changes nothing."""
        facts = await store.find(conn, contact_id)
        existing = await self._touch(conn, ask)
        if existing is not None and existing.status in SETTLED:
            return False
        situation = await self._situation(conn, ask, facts, run_id)
        choice = await self._choice(conn, ask, situation, existing)
        verdict = gate.decide(self._chosen(ask, choice), situation, self.policy)
        return isinstance(verdict, Send)

    async def claim(
        self,
        conn: AsyncConnection,
        ask: Ask,
        *,
        run_id: str,
        contact_id: str,
        stage: str,
        providers: Mapping[str, str] = MappingProxyType({}),
    ) -> Claim:
        """Chooses the channel, decides and, if the touch may go out, claims it.

        The caller commits before it calls the provider.

        Args:
            providers: By channel, who would carry the touch. A touch that may have reached one stays with it.
        """
        await pauses.claiming(conn)
        facts = await store.lock(conn, contact_id)
        touch_id = _touch_id(ask)
        existing = await self._touch(conn, ask)
        if existing is not None and existing.status in SETTLED:
            return Claim(touch_id, existing.status, existing.channel, facts, existing.reason)
        situation = await self._situation(conn, ask, facts, run_id, store.lock)
        choice = await self._choice(conn, ask, situation, existing)
        ask = self._chosen(ask, choice)
        verdict = gate.decide(ask, situation, self.policy)
        if existing is not None and existing.status == "claimed":
            if not isinstance(verdict, Send):
                await self._keep(conn, touch_id, ask, choice, verdict)
            return _reclaimed(existing, facts, verdict)
        if isinstance(verdict, Send) and ask.purpose == "promotional":
            verdict = await self._unless_far_from_usual(conn, ask, run_id, situation, verdict)
        status: Literal["claimed", "waiting", "dropped"] = _STATUS[type(verdict)]
        reason = None if isinstance(verdict, Send) else verdict.reason
        provider = providers.get(ask.channel) if status == "claimed" else None
        values = {
            "status": status,
            "channel": ask.channel,
            "reason": reason,
            "wait_until": verdict.until if isinstance(verdict, Wait) else None,
            "hold": verdict.hold if isinstance(verdict, Wait) else None,
            "claimed_at": ask.now if status == "claimed" else None,
            "called_at": sa.func.clock_timestamp() if status == "claimed" else None,
            "settled_at": ask.now if status == "dropped" else None,
            "provider": provider,
        }
        await conn.execute(
            insert(touches)
            .values(
                id=touch_id,
                key=ask.key,
                run_id=run_id,
                contact_id=facts.contact_id,
                journey=ask.journey,
                stage=stage,
                template=ask.template,
                purpose=ask.purpose,
                asked_at=ask.now,
                valid_until=ask.valid_until,
                **values,
            )
            .on_conflict_do_update(index_elements=["id"], set_=values)
        )
        await self._write_down(conn, touch_id, ask, choice, verdict, facts.contact_id, run_id)
        until, hold = (verdict.until, verdict.hold) if isinstance(verdict, Wait) else (None, None)
        return Claim(touch_id, status, ask.channel, facts, reason, until, hold, provider=provider)

    async def foresee(self, conn: AsyncConnection, ask: Ask, facts: Facts) -> Verdict:
        """What the gate would say of a touch of a run that is not over. Writes nothing and claims nothing."""
        return gate.decide(ask, await self._around(conn, ask, facts, None), self.policy)

    async def release(self, conn: AsyncConnection, touch_id: str, reason: str) -> None:
        """Gives a claim back after the provider surely did not take the touch; the next attempt asks the gate anew."""
        await conn.execute(_claimed(touch_id).values(status="waiting", claimed_at=None, reason=reason))

    async def note(self, conn: AsyncConnection, touch_id: str, **values: Any) -> None:
        """Keeps what is known of a touch that is claimed and not settled: what it says, why its fate is not known."""
        await conn.execute(_claimed(touch_id).values(**values))

    async def settle(self, conn: AsyncConnection, touch_id: str, status: Status, now: datetime, **values: Any) -> None:
        """Records how a claimed touch ended: ``sent``, ``unknown`` or ``failed``, and tells the journal."""
        whose = sa.select(touches.c.contact_id).where(touches.c.id == touch_id)
        # Always the contact before the touch, as a claim does: two attempts must not wait for each other.
        facts = await store.lock(conn, (await conn.execute(whose)).scalar_one())
        row = (
            await conn.execute(
                sa.update(touches)
                .where(touches.c.id == touch_id, touches.c.status.in_(_MAY_BECOME[status]))
                .values(status=status, settled_at=now, **values)
                .returning(touches)
            )
        ).one_or_none()
        if row is None:
            return
        if status == "sent" and row.channel not in ERRANDS:
            await store.save(conn, mailed(facts, now))
        data = {
            "touch": row.template,
            "channel": row.channel,
            "purpose": row.purpose,
            "subject": row.subject,
            "body": row.body,
            "reason": row.reason,
            "status": status,
            "touch_id": touch_id,
        }
        kind: journal.Kind = "drop" if status == "failed" else "touch"
        await journal.write(conn, journal.Entry(now, row.contact_id, kind, row.journey, row.run_id, data=data))

    async def _unless_far_from_usual(
        self, conn: AsyncConnection, ask: Ask, run_id: str, situation: Situation, verdict: Send
    ) -> Verdict:
        rush = await breaker.sends(conn, ask, run_id, self.policy.breaker)
        if rush is not None and rush.is_too_much:
            return gate.decide(ask, replace(situation, pauses=await pauses.in_force(conn)), self.policy)
        counted = {"in_window": rush.count, "allowed": rush.allowed} if rush is not None else None
        return Send({**verdict.inputs, "rush": counted})

    async def _situation(
        self, conn: AsyncConnection, ask: Ask, facts: Facts, run_id: str, read: Read = store.find
    ) -> Situation:
        run = (await conn.execute(sa.select(runs).where(runs.c.id == run_id))).one()
        ended_by = run.outcome or "ended" if run.exited_at is not None or run.ended_at is not None else None
        around = await self._around(conn, ask, facts, ended_by, read)
        return around if run.paused_at is None else replace(around, pauses=[*around.pauses, pauses.OF_A_RUN])

    async def _around(
        self, conn: AsyncConnection, ask: Ask, facts: Facts, ended_by: str | None, read: Read = store.find
    ) -> Situation:
        namesakes = await self._namesakes(conn, ask, facts, read)
        past, waiting = await self._past(conn, ask, facts), await self._waiting(conn, facts)
        return Situation(facts, ended_by, past, waiting, await pauses.in_force(conn), namesakes)

    async def _namesakes(self, conn: AsyncConnection, ask: Ask, facts: Facts, read: Read) -> dict[str, Facts]:
        addresses = {c: identity(address_kind(c), facts.address(c)) for c in ask.candidates}
        owners = await store.owners(conn, [address for address in addresses.values() if address is not None])
        others = {id: await read(conn, id) for id in sorted({*owners.values()} - {facts.contact_id})}
        return {
            channel: others[owners[address]]
            for channel, address in addresses.items()
            if address in owners and owners[address] in others
        }

    async def _waiting(self, conn: AsyncConnection, facts: Facts) -> list[Waiting]:
        """The contact's touches that wait for their time. One that waits for a hold takes no slot from anybody."""
        rows = await conn.execute(
            sa.select(
                touches.c.key,
                touches.c.journey,
                touches.c.channel,
                touches.c.purpose,
                touches.c.wait_until,
                touches.c.valid_until,
            ).where(
                touches.c.contact_id == facts.contact_id,
                touches.c.status == "waiting",
                touches.c.wait_until.is_not(None),
                touches.c.hold.is_(None),
            )
        )
        return [Waiting(*row) for row in rows]

    async def _past(self, conn: AsyncConnection, ask: Ask, facts: Facts) -> list[Past]:
        rows = await conn.execute(
            sa.select(touches.c.key, touches.c.channel, touches.c.purpose, touches.c.claimed_at, touches.c.template)
            .where(
                touches.c.contact_id == facts.contact_id,
                touches.c.status.in_(TOOK_A_SLOT),
                touches.c.claimed_at > ask.now - gate.longest_window(self.policy),
            )
            .order_by(touches.c.claimed_at, touches.c.key)
        )
        return [Past(*row) for row in rows]

    def _chosen(self, ask: Ask, choice: Choice) -> Ask:
        """The ask on its channel. One that was let out in time outlasts an outage, where the policy says so."""
        carrier = self.policy.carriers.get(choice.channel)
        valid_until = ask.valid_until
        if choice.because == "claimed_before" and carrier is not None and carrier.outage == "wait":
            valid_until = max(valid_until, ask.now + gate.HOLD_RECHECK)
        return replace(ask, channel=choice.channel, valid_until=valid_until)

    async def _touch(self, conn: AsyncConnection, ask: Ask) -> Any:
        ago = sa.func.coalesce(sa.func.clock_timestamp() - touches.c.called_at, timedelta(0)).label("called_ago")
        return (await conn.execute(sa.select(touches, ago).where(touches.c.id == _touch_id(ask)))).one_or_none()

    async def _choice(self, conn: AsyncConnection, ask: Ask, situation: Situation, existing: Any) -> Choice:
        """The channel and why. A claim that was given back binds too: a call before it may have reached the contact."""
        if existing is not None:
            claimed = sa.exists().where(decisions.c.touch_id == existing.id, decisions.c.verdict == "send")
            if (await conn.execute(sa.select(claimed))).scalar_one():
                return Choice(existing.channel, "claimed_before")
        return choose(ask, situation, self.policy)

    async def _write_down(
        self,
        conn: AsyncConnection,
        touch_id: str,
        ask: Ask,
        choice: Choice,
        verdict: Verdict,
        contact_id: str,
        run_id: str,
    ) -> None:
        """Keeps the decision and, where the touch did not go out, tells the journal."""
        await self._keep(conn, touch_id, ask, choice, verdict)
        if isinstance(verdict, Send):
            return
        until, hold = (verdict.until, verdict.hold) if isinstance(verdict, Wait) else (None, None)
        data = {
            "touch": ask.template,
            "channel": ask.channel,
            "purpose": ask.purpose,
            "reason": verdict.reason,
            "until": until.isoformat() if until else None,
            "hold": hold,
            "touch_id": touch_id,
        }
        kind: journal.Kind = "wait" if isinstance(verdict, Wait) else "drop"
        await journal.write(conn, journal.Entry(ask.now, contact_id, kind, ask.journey, run_id, data=data))

    async def _keep(self, conn: AsyncConnection, touch_id: str, ask: Ask, choice: Choice, verdict: Verdict) -> None:
        inputs = dict(verdict.inputs)
        if ask.channels:
            inputs["choice"] = choice.as_inputs()
        until, hold = (verdict.until, verdict.hold) if isinstance(verdict, Wait) else (None, None)
        await conn.execute(
            sa.insert(decisions).values(
                touch_id=touch_id,
                at=ask.now,
                verdict=type(verdict).__name__.lower(),
                reason=None if isinstance(verdict, Send) else verdict.reason,
                until=until,
                hold=hold,
                inputs=inputs,
                policy_version=self.policy.version,
                code_version=self.code_version,
            )
        )
