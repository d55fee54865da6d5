"""The life of an event, inside one transaction: store it once, find its contact, change the facts, route it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from contacts import approvals, breaker, handoffs, journal, runs, segments, store, tellings
from contacts import facts as facts_module
from contacts.events import Event, Identity, InvalidEvent, event, identities
from contacts.facts import Facts, address_kind
from contacts.lifecycle import standing
from contacts.policy import Policy
from contacts.routing import Plan, keys_named, route
from contacts.specs import Card, Happening, once_per
from contacts.tables import events


@dataclass(frozen=True)
class Receipt:
    """What became of an event.

    Attributes:
        result: ``stored``, or ``repeat`` when this occurrence was already known and nothing happened.
        plan: What it did to runs (empty for a repeat).
    """

    result: Literal["stored", "repeat"]
    contact_id: str | None = None
    event_id: str | None = None
    plan: Plan = field(default_factory=Plan)


class _Repeat(Exception):
    """The event is known; the transaction must leave nothing behind."""


def _deadlocked(error: BaseException) -> bool:
    # 40P01: two events locked the same two people in opposite orders; PostgreSQL chose this one to go again.
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) == "40P01"


again_after_deadlock = retry(
    retry=retry_if_exception(_deadlocked), stop=stop_after_attempt(5), wait=wait_random(0, 0.2), reraise=True
)
"""Makes a transaction of its own go again if PostgreSQL chose it to."""


@dataclass(frozen=True)
class Intake:
    """The door every event goes through, whoever sent it."""

    engine: AsyncEngine
    cards: tuple[Card, ...]
    policy: Policy

    def __post_init__(self) -> None:
        days = self.policy.cooldown_days
        cards = (replace(c, reentry=once_per(days=days[c.name])) if c.name in days else c for c in self.cards)
        object.__setattr__(self, "cards", tuple(cards))

    @again_after_deadlock
    async def record(self, event: Event, now: datetime) -> Receipt:
        """Stores an event and everything that follows from it; a repeat changes nothing.

        Args:
            event: Checked by ``contacts.events.event``.
            now: When it arrived, on the journeys' clock.

        Raises:
            NamesNobody: Nobody can tell whose it is.
            InvalidEvent: It holds what no database can.
            sqlalchemy.exc.OperationalError: The database is out of reach; nothing was kept.
        """
        try:
            async with self.engine.begin() as conn:
                return await self.record_in(conn, event, now)
        except _Repeat:
            return Receipt("repeat")
        except DataError as error:
            raise InvalidEvent("event", f"cannot be stored: {str(error.orig).splitlines()[0]}") from None

    async def record_in(self, conn: AsyncConnection, event: Event, now: datetime) -> Receipt:
        """The same inside the caller's transaction, for facts of our own that must stand or fall with it."""
        known, happening = await self._store(conn, event, now)
        before = segments.without_new_definitions(known, self.policy, now)
        after = segments.counted(facts_module.apply(before, happening, self.policy), self.policy, now)
        await store.save(conn, after)
        await self._tell_holds(conn, before, after, happening, now)
        await handoffs.acknowledge(conn, after.contact_id, happening, now)
        await approvals.answer(conn, after.contact_id, happening, now)
        await tellings.write(conn, happening.id, event.type, self.policy.told(event.type, event.source), now)
        plan = await self._route(conn, before, after, happening, now)
        for moved in _moves(before, after, happening.id, now):
            await self.record_in(conn, moved, now)
        for closing in await handoffs.closed_by(conn, after.contact_id, happening):
            await self.record_in(conn, closing, now)
        return Receipt("stored", after.contact_id, happening.id, plan)

    @again_after_deadlock
    async def refresh(self, contact_id: str, now: datetime) -> int:
        """Brings a contact's segments up to date where only time has passed. Returns how many were joined or left."""
        async with self.engine.begin() as conn:
            before, after = await self.refresh_in(conn, contact_id, now)
            return len(before.segments.keys() ^ after.segments.keys())

    async def refresh_in(self, conn: AsyncConnection, contact_id: str, now: datetime) -> tuple[Facts, Facts]:
        """The same inside the caller's transaction. Returns the facts before and after, and leaves the row locked."""
        known = await store.lock(conn, contact_id)
        before = segments.without_new_definitions(known, self.policy, now)
        after = segments.counted(before, self.policy, now)
        if (after.segments, after.segments_as) != (known.segments, known.segments_as):
            await store.save(conn, after)
        for moved in _moves(before, after, now.isoformat(), now):
            await self.record_in(conn, moved, now)
        return before, after

    async def remember(self, event: Event, now: datetime) -> Receipt:
        """Applies an event to the facts without routing it: history from before the journeys began."""
        try:
            async with self.engine.begin() as conn:
                before, happening = await self._store(conn, event, now)
                after = facts_module.apply(before, happening, self.policy)
                await store.save(conn, segments.counted(after, self.policy, now))
                return Receipt("stored", after.contact_id, happening.id)
        except _Repeat:
            return Receipt("repeat")

    async def _store(self, conn: AsyncConnection, event: Event, now: datetime) -> tuple[Facts, Happening]:
        once = sa.and_(events.c.source == event.source, events.c.source_id == event.source_id)
        if (await conn.execute(sa.select(events.c.id).where(once))).first() is not None:
            raise _Repeat
        named_by = event.identities
        event = await _with_payer(conn, await _with_recipient(conn, event))
        facts = await store.identify(
            conn,
            event.identities,
            merging=event.type == "contact.merged",
            cards=self.cards,
            now=now,
            half_life=timedelta(days=self.policy.score.half_life_days),
        )
        filled = _with_address(event, named_by, facts)
        happened = await approvals.judged(conn, facts.contact_id, event.type, filled, now)
        event_id = str(uuid4())
        stored = await conn.execute(
            insert(events)
            .values(
                id=event_id,
                source=event.source,
                source_id=event.source_id,
                type=event.type,
                occurred_at=event.occurred_at,
                received_at=now,
                contact_id=facts.contact_id,
                identities=[[i.kind, i.value] for i in event.identities],
                data=happened,
            )
            .on_conflict_do_nothing(constraint="events_once")
            .returning(events.c.id)
        )
        if stored.first() is None:
            raise _Repeat
        told = {name: value for name, value in happened.items() if name != "postal_address"}
        data = {**told, "type": event.type, "source": event.source, "occurred": event.occurred_at.isoformat()}
        await journal.write(conn, journal.Entry(now, facts.contact_id, "event", data=data))
        addresses = facts_module.addresses(event.identities)
        return facts, Happening(event_id, event.type, event.occurred_at, happened, addresses)

    async def _tell_holds(
        self, conn: AsyncConnection, before: Facts, after: Facts, event: Happening, now: datetime
    ) -> None:
        was, is_ = ({h.name for h in f.active_holds(now)} for f in (before, after))
        entries = [("hold", name) for name in sorted(is_ - was)] + [("release", name) for name in sorted(was - is_)]
        for kind, name in entries:
            data = {"reason": name, "by": event.type}
            await journal.write(conn, journal.Entry(now, after.contact_id, kind, data=data))  # type: ignore[arg-type]

    async def _route(self, conn: AsyncConnection, before: Facts, after: Facts, event: Happening, now: datetime) -> Plan:
        if event.type == "contact.identified":
            # Only the first identification makes a contact new; journeys match on it.
            event = replace(event, data={**event.data, "first": before.identified_at is None})
        keys = keys_named(event, self.cards)
        # A checkout and its purchase may come at once and name two people: the second must see what the first did.
        await store.lock_names(conn, [f"key/{journey}/{key}" for journey, key in keys])
        endings = await self._endings(conn, after.contact_id, event)
        all_runs = await runs.known(
            conn, after.contact_id, [*keys, *(k for e in endings for k in keys_named(e, self.cards))]
        )
        for other in sorted({r.contact_id for r in all_runs if (r.journey, r.key) in keys} - {after.contact_id}):
            # Somebody else's run may end by its key: their claims must wait for us as this contact's do.
            await store.lock(conn, other)
        recent = await self._recent(conn, after.contact_id, event)
        was, is_ = ({h.name for h in f.active_holds(now)} for f in (before, after))
        plan = route(
            event,
            after,
            cards=self.cards,
            runs=all_runs,
            endings=endings,
            recent=recent,
            flags=standing(after, self.policy, now).flags,
            freed=await runs.that_wait_for(conn, after.contact_id, was - is_) if was - is_ else (),
            now=now,
        )
        by_name = {card.name: card for card in self.cards}
        for leaving in plan.exits:
            await runs.end(conn, leaving.run, leaving.outcome, event, now)
        for start in plan.starts:
            await runs.enter(conn, by_name[start.journey], start.key, after, event, now)
            if by_name[start.journey].purpose == "promotional":
                await breaker.entries(conn, start.journey, self.policy.breaker, now)
        for told in plan.tells:
            patterns = [str(p) for p in by_name[told.run.journey].patterns if p.matches(event, recent)]
            await runs.tell(conn, told.run.id, event, patterns, now)
        for skip in plan.skips:
            data = {"reason": skip.reason, "by": event.type}
            await journal.write(conn, journal.Entry(now, after.contact_id, "skip", skip.journey, data=data))
        return plan

    async def _endings(self, conn: AsyncConnection, contact_id: str, event: Happening) -> Sequence[Happening]:
        """Exits we already know of, for a trigger which is only arriving now."""
        starting = [c for c in self.cards if any(event.type in t.types for t in c.trigger)]
        types = {t for card in starting for t in card.ending_types}
        if not types:
            return ()
        keyed = [(c, c.key) for c in starting if c.key is not None and c.key in event.data and not c.shared_key]
        named = [(card, events.c.data.contains({key: event.data[key]})) for card, key in keyed]
        afterwards = sa.and_(
            events.c.occurred_at >= event.occurred_at,
            sa.or_(events.c.contact_id == contact_id, *(names_it for _, names_it in named)),
        )
        whenever = [names_it for card, names_it in named if card.one_each]
        rows = await conn.execute(
            sa.select(events.c.id, events.c.type, events.c.occurred_at, events.c.data).where(
                events.c.type.in_(types), sa.or_(afterwards, *whenever)
            )
        )
        return [Happening(r.id, r.type, r.occurred_at, r.data) for r in rows]

    async def _recent(self, conn: AsyncConnection, contact_id: str, event: Happening) -> Sequence[Happening]:
        """The contact's events that a pattern this event may complete looks at."""
        patterns = [p for card in self.cards for p in card.patterns if p.what.matches(event.type, event.data)]
        if not patterns:
            return ()
        types = {t for p in patterns for t in (*p.what.types, *(p.without.types if p.without else ()))}
        since = event.occurred_at - max(p.within for p in patterns)
        rows = await conn.execute(
            sa.select(events.c.id, events.c.type, events.c.occurred_at, events.c.data).where(
                events.c.contact_id == contact_id,
                events.c.type.in_(types),
                events.c.occurred_at > since,
                events.c.occurred_at <= event.occurred_at,
            )
        )
        return [Happening(r.id, r.type, r.occurred_at, r.data) for r in rows]


def _moves(before: Facts, after: Facts, because: str, now: datetime) -> list[Event]:
    """The segments a contact has joined and left, as events, to be recorded like any other."""
    changes = [(segments.LEFT, name) for name in before.segments.keys() - after.segments.keys()]
    changes += [(segments.JOINED, name) for name in after.segments.keys() - before.segments.keys()]
    return [
        event(
            type,
            source="perennial",
            source_id=f"{type}/{name}/{after.contact_id}/{because}",
            occurred_at=now,
            identities=identities(("contact", after.contact_id)),
            data={"segment": name},
        )
        for type, name in sorted(changes)
    ]


async def _with_recipient(conn: AsyncConnection, event: Event) -> Event:
    """An event about a message is of whoever the message went to, whatever else it names.

    A mail is passed on, and a phone is several people's: what it names makes nobody one with the recipient, nor the
    recipient's. It is kept where it says no more than is known: some of it is the recipient's, and none is another's.
    """
    data = event.data
    message = data.get("provider_id") or data.get("message_id")
    touch = await store.recipient(conn, event.source, data.get("touch"), message)
    if touch is None:
        return event
    named = [i for i in event.identities if i.kind != "contact"]
    known = set((await store.owners(conn, named)).values())
    theirs = named if known == {touch.contact_id} else ()
    whose = (*identities(("contact", touch.contact_id)), *theirs)
    return event.model_copy(update={"identities": whose, "data": {**data, "touch": touch.key}})


_PAYMENT = ("payment_intent", "charge")
"""What an event's data call the payment it is about."""


async def _with_payer(conn: AsyncConnection, event: Event) -> Event:
    """An event that names nobody but a payment is of whom its sender first spoke of with that payment."""
    named = [events.c.data.contains({name: event.data[name]}) for name in _PAYMENT if event.data.get(name)]
    if event.identities or not named:
        return event
    spoken_of = sa.select(events.c.contact_id).where(events.c.source == event.source, sa.or_(*named))
    first = spoken_of.order_by(events.c.received_at, events.c.id).limit(1)
    payer = (await conn.execute(first)).scalar_one_or_none()
    return event if payer is None else event.model_copy(update={"identities": identities(("contact", payer))})


def _with_address(event: Event, named_by: Sequence[Identity], facts: Facts) -> dict[str, Any]:
    """The event's data; a bounce or complaint that names no address means the one we use as it comes."""
    if event.type not in ("message.bounced", "message.complained") or event.data.get("address"):
        return event.data
    channel = str(event.data.get("channel", "email"))
    named = (i.value for i in named_by if i.kind == address_kind(channel))
    address = next(named, None) or facts.address(channel)
    return event.data if address is None else {**event.data, "address": address}
