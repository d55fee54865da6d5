"""Reads the tables into values, a page of contacts at a time, each page as of one moment."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import store
from contacts.claims import TOOK_A_SLOT
from contacts.events import Identity, identities
from contacts.facts import ADDRESSES, addresses
from contacts.gate import Ask, Pause
from contacts.relay import BLOCKED
from contacts.routing import keys_named
from contacts.specs import Card, Happening
from contacts.tables import contacts, decisions, dispatches, events, inbox, journal, pauses, runs, tellings, touches
from contacts.tables import identities as identity_table
from ops.installation import Installation
from ops.verify.findings import Finding
from ops.verify.rows import Claimed, Halted, Life, Merged, RunRow, Sharer, Skipped, Stored, TouchRow, Untold
from workflows.telling import TellingInput

_PAGE = 200


def _to_look_at(since: datetime | None) -> sa.ColumnElement[bool]:
    """Contacts who are nobody else by now, and of whom something happened since or goes on."""
    whole = contacts.c.merged_into.is_(None)
    if since is None:
        return whole
    told = sa.exists().where(events.c.contact_id == contacts.c.id, events.c.received_at >= since)
    going_on = sa.exists().where(runs.c.contact_id == contacts.c.id, runs.c.ended_at.is_(None))
    claimed = sa.exists().where(touches.c.contact_id == contacts.c.id, touches.c.claimed_at >= since)
    return sa.and_(whole, sa.or_(told, going_on, claimed))


async def how_many(conn: AsyncConnection, since: datetime | None) -> int:
    """How many contacts ``lives`` will go through."""
    count = sa.select(sa.func.count()).select_from(contacts).where(_to_look_at(since))
    return int((await conn.execute(count)).scalar_one())


async def lives(here: Installation, cards: Sequence[Card], since: datetime | None) -> AsyncIterator[list[Life]]:
    """Every contact's life, in pages."""
    query = sa.select(contacts.c.id, contacts.c.facts).where(_to_look_at(since)).order_by(contacts.c.id).limit(_PAGE)
    after = None
    while True:
        async with here.reading() as conn:
            rows = (await conn.execute(query if after is None else query.where(contacts.c.id > after))).all()
            page = await _lives(conn, {row.id: row.facts for row in rows}, cards)
        yield page
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


async def life(here: Installation, cards: Sequence[Card], contact: str) -> Life:
    """The life of the contact with this id, address or other identity.

    Raises:
        NoSuchContact: There is none.
    """
    async with here.reading() as conn:
        found = (await store.find(conn, contact)).contact_id
        document = (await conn.execute(sa.select(contacts.c.facts).where(contacts.c.id == found))).scalar_one()
        [only] = await _lives(conn, {found: document}, cards)
    return only


async def _lives(conn: AsyncConnection, documents: Mapping[str, Any], cards: Sequence[Card]) -> list[Life]:
    ids = list(documents)
    stored: defaultdict[str, list[Stored]] = defaultdict(list)
    for row in await conn.execute(sa.select(events).where(events.c.contact_id.in_(ids))):
        stored[row.contact_id].append(_stored(row))
    own: defaultdict[str, list[RunRow]] = defaultdict(list)
    for run in await _runs(conn, runs.c.contact_id.in_(ids)):
        own[run.contact_id].append(run)
    named = {contact_id: _keys(stored[contact_id], cards) for contact_id in ids}
    pairs = sorted(set().union(*named.values()))
    keyed = await _runs(conn, sa.tuple_(runs.c.journey, runs.c.key).in_(pairs)) if pairs else []
    claims, let_out = await _claims(conn, ids)
    halts = await _halts(conn)
    sharers = await _sharers(conn, stored)
    skips: defaultdict[str, list[Skipped]] = defaultdict(list)
    said = sa.select(journal).where(journal.c.contact_id.in_(ids), journal.c.kind == "skip")
    for row in await conn.execute(said):
        skips[row.contact_id].append(Skipped(row.journey, row.at, row.data["by"]))
    return [
        Life(
            facts=store.read_facts(documents[contact_id]),
            merges=await _merges(conn, contact_id, stored[contact_id]),
            events=stored[contact_id],
            claims=claims[contact_id],
            runs=own[contact_id],
            touches=let_out[contact_id],
            skips=skips[contact_id],
            namesakes=[
                r for r in keyed if (r.journey, r.key or "") in named[contact_id] and r.contact_id != contact_id
            ],
            halts=halts,
            sharers=sharers.get(contact_id, {}),
        )
        for contact_id in ids
    ]


async def answered_since(conn: AsyncConnection) -> dict[tuple[str, str], datetime]:
    """By journey and type of event, since when such an event has begun the journey, or it is said why not."""
    by = journal.c.data["by"].astext
    query = (
        sa.select(journal.c.journey, by, sa.func.min(journal.c.at))
        .where(journal.c.kind.in_(["enter", "skip"]))
        .group_by(journal.c.journey, by)
    )
    return {(journey, type): at for journey, type, at in await conn.execute(query)}


def _stored(row: Any) -> Stored:
    named = [Identity(kind, value) for kind, value in row.identities]
    happened = Happening(row.id, row.type, row.occurred_at, row.data, addresses(named))
    return Stored(row.act, row.stored_for or row.contact_id, row.received_at, happened)


def _keys(stored: Iterable[Stored], cards: Sequence[Card]) -> set[tuple[str, str]]:
    """The (journey, key) pairs whose runs the events may end."""
    return {
        pair
        for s in stored
        for pair in keys_named(s.event, [card for card in cards if s.event.type in card.ending_types])
    }


async def _merges(conn: AsyncConnection, contact_id: str, stored: Sequence[Stored]) -> list[Merged]:
    """How contacts whose events are this one's by now came to be merged, one into the other."""
    found: dict[str, Merged] = {}
    wanted = {s.contact_id for s in stored} - {contact_id}
    while wanted:
        query = sa.select(contacts.c.id, contacts.c.merged_into, contacts.c.merge_act).where(contacts.c.id.in_(wanted))
        rows = [row for row in await conn.execute(query) if row.merged_into is not None]
        found |= {row.id: Merged(row.merge_act, row.id, row.merged_into, _at(row.merge_act, stored)) for row in rows}
        wanted = {row.merged_into for row in rows} - found.keys()
    return list(found.values())


def _at(merge_act: int | None, stored: Sequence[Stored]) -> datetime:
    # The event that shows it takes its number right after it, in the same transaction.
    after = [s for s in stored if (s.act or 0) > (merge_act or 0)]
    return min(after or stored, key=lambda s: s.act or 0).received_at


async def _runs(conn: AsyncConnection, which: sa.ColumnElement[bool]) -> list[RunRow]:
    entry = events.alias("entry")
    waiting = sa.select(dispatches).where(dispatches.c.run_id == runs.c.id, dispatches.c.done_at.is_(None))
    rows = await conn.execute(
        sa.select(
            runs,
            entry.c.act.label("entry_act"),
            entry.c.data.label("entry"),
            sa.func.coalesce(entry.c.stored_for, entry.c.contact_id).label("entered_for"),
            (~waiting.where(dispatches.c.kind == "start").exists()).label("start_landed"),
            (~waiting.exists()).label("all_landed"),
        )
        .join(entry, entry.c.id == runs.c.entry_event)
        .where(which)
        .order_by(runs.c.id)
    )
    names = [field.name for field in fields(RunRow)]
    return [RunRow(**{name: row[name] for name in names}) for row in rows.mappings()]


async def _claims(
    conn: AsyncConnection, ids: Sequence[str]
) -> tuple[Mapping[str, list[Claimed]], Mapping[str, list[TouchRow]]]:
    # By their runs, so that every claim has one.
    theirs = sa.select(touches, runs.c.contact_id.label("whose")).join(runs, runs.c.id == touches.c.run_id)
    touched = {row.id: row for row in await conn.execute(theirs.where(runs.c.contact_id.in_(ids)))}
    sends = (
        sa.select(decisions)
        .join(touches, touches.c.id == decisions.c.touch_id)
        .join(runs, runs.c.id == touches.c.run_id)
        .where(runs.c.contact_id.in_(ids), decisions.c.verdict == "send")
        .order_by(decisions.c.id)
    )
    decided = (await conn.execute(sends)).all()
    last = {decision.touch_id: decision.id for decision in decided}
    times = Counter(decision.touch_id for decision in decided)
    claims: defaultdict[str, list[Claimed]] = defaultdict(list)
    for decision in decided:
        touch = touched[decision.touch_id]
        claims[touch.whose].append(
            Claimed(
                act=decision.act,
                decision_id=decision.id,
                touch_id=touch.id,
                run_id=touch.run_id,
                ask=Ask(
                    key=touch.key,
                    template=touch.template,
                    channel=touch.channel,
                    purpose=touch.purpose,
                    journey=touch.journey,
                    now=decision.at,
                    valid_until=touch.valid_until,
                ),
                policy_version=decision.policy_version,
                takes_slot=touch.status in TOOK_A_SLOT and decision.id == last[touch.id],
            )
        )
    let_out: defaultdict[str, list[TouchRow]] = defaultdict(list)
    for touch in touched.values():
        let_out[touch.whose].append(_touch(touch, times[touch.id]))
    return claims, let_out


async def _halts(conn: AsyncConnection) -> list[Halted]:
    """Halts that can be ordered with claims: not the breaker's, and none that was called or ended without a number."""
    ended = sa.or_(pauses.c.released_at.is_(None), pauses.c.released_act.is_not(None))
    rows = await conn.execute(sa.select(pauses).where(pauses.c.opened_act.is_not(None), ended).order_by(pauses.c.id))
    return [Halted(row.opened_act, row.released_act, Pause(row.scope, row.name, row.reason, row.until)) for row in rows]


async def _sharers(conn: AsyncConnection, stored: Mapping[str, Sequence[Stored]]) -> dict[str, dict[Identity, Sharer]]:
    """For each contact, who else is known by an address that is or was theirs."""
    named = {contact_id: _addresses(told) for contact_id, told in stored.items()}
    pairs = sorted({(i.kind, i.value) for mine in named.values() for i in mine})
    of_them = sa.tuple_(identity_table.c.kind, identity_table.c.value).in_(pairs)
    rows = (await conn.execute(sa.select(identity_table).where(of_them))).all() if pairs else []
    known = {Identity(row.kind, row.value): row for row in rows}
    shared = {c: {i for i in mine if i in known and known[i].contact_id != c} for c, mine in named.items()}
    others = {known[i].contact_id for mine in shared.values() for i in mine}
    if not others:
        return {}
    told: defaultdict[str, list[Stored]] = defaultdict(list)
    for row in await conn.execute(sa.select(events).where(events.c.contact_id.in_(others))):
        told[row.contact_id].append(_stored(row))
    into = contacts.alias("merged")
    merges = sa.select(sa.func.max(into.c.merge_act)).where(into.c.merged_into == contacts.c.id).scalar_subquery()
    theirs = sa.select(contacts, sa.func.coalesce(merges, 0).label("merged_act")).where(contacts.c.id.in_(others))
    of = {row.id: (row.merged_act, store.read_facts(row.facts), told[row.id]) for row in await conn.execute(theirs)}
    return {c: {i: Sharer(known[i].since, *of[known[i].contact_id]) for i in mine} for c, mine in shared.items()}


def _addresses(told: Iterable[Stored]) -> set[Identity]:
    """The addresses that somebody gave for the contact. What an event names the contact by is nobody else's."""
    said = [s.event.data for s in told if s.event.type in ("contact.identified", "contact.updated")]
    return set(identities(*((kind, data.get(kind)) for data in said for kind in ADDRESSES)))


def _touch(row: Any, claims: int) -> TouchRow:
    return TouchRow(row.id, row.key, row.contact_id, row.run_id, row.status, row.claimed_at, claims)


async def run_now(conn: AsyncConnection, run_id: str) -> RunRow:
    """A run as it is now."""
    [run] = await _runs(conn, runs.c.id == run_id)
    return run


async def touches_now(conn: AsyncConnection, run_ids: Sequence[str]) -> dict[str, TouchRow]:
    """The touches of some runs as they are now, by key."""
    rows = await conn.execute(sa.select(touches).where(touches.c.run_id.in_(run_ids)))
    return {row.key: _touch(row, 1) for row in rows}


async def without_row(conn: AsyncConnection, run_ids: Collection[str]) -> set[str]:
    """Those of the ids that are no run's."""
    known = await conn.execute(sa.select(runs.c.id).where(runs.c.id.in_([id for id in run_ids if _is_id(id)])))
    return set(run_ids) - set(known.scalars())


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


async def requests(conn: AsyncConnection, before: datetime, since: datetime | None) -> list[Finding]:
    """Requests that were acknowledged and had no effect: never read, or not understood."""
    recent = inbox.c.received_at >= since if since is not None else sa.true()
    open_ = inbox.c.status.in_(["received", "failed"])
    query = sa.select(inbox).where(open_, inbox.c.received_at < before, recent).order_by(inbox.c.id)
    found = []
    for row in await conn.execute(query):
        evidence = {"request": str(row.id)}
        if row.status == "received":
            what = f"a request of {row.connector} was acknowledged and never read"
            found.append(Finding("request-unread", None, what, evidence))
        else:
            what = f"a request of {row.connector} was not understood and waits for `perennial inbox retry`: {row.error}"
            found.append(Finding("request-failed", None, what, evidence))
    return found


async def stuck(conn: AsyncConnection, before: datetime, contact_id: str | None) -> list[Finding]:
    """What Temporal should have heard long ago; only the first thing of each run."""
    mine = runs.c.contact_id == contact_id if contact_id is not None else sa.true()
    query = (
        sa.select(dispatches, runs.c.contact_id, runs.c.journey)
        .outerjoin(runs, runs.c.id == dispatches.c.run_id)
        .where(dispatches.c.done_at.is_(None), dispatches.c.created_at < before, ~BLOCKED, mine)
        .order_by(dispatches.c.id)
    )
    return [
        Finding(
            "dispatch-stuck",
            row.contact_id,
            f"Temporal has not been told the {row.kind} of "
            + (f"a run of {row.journey}" if row.run_id else f"{row.payload['type']} to {row.payload['sink']}")
            + f" after {row.attempts} attempts: {row.error or 'nobody tried'}",
            {"dispatch": str(row.id), **({"run": row.run_id} if row.run_id else {})},
        )
        for row in await conn.execute(query)
    ]


async def unsettled(
    conn: AsyncConnection, before: datetime, given_up: datetime, contact_id: str | None
) -> list[Finding]:
    """Touches for which nobody asks any more, and those of which nothing has been heard for too long.

    Args:
        before: A call that began before this time is not on its way any more, if its run has gone on.
        given_up: No attempt for a touch that began before this time goes on.
    """
    # Whoever leaves a stage, and whoever ends, settles what was still to be sent, in the transaction that says so.
    gone_on = sa.or_(runs.c.ended_at.is_not(None), runs.c.stage != touches.c.stage)
    asked = sa.select(sa.func.max(decisions.c.at)).where(decisions.c.touch_id == touches.c.id).scalar_subquery()
    due = sa.func.coalesce(touches.c.wait_until, asked, touches.c.asked_at)
    unanswered = sa.or_(sa.and_(gone_on, touches.c.claimed_at < before), touches.c.claimed_at < given_up)
    forgotten = sa.or_(gone_on, sa.and_(due < given_up, runs.c.paused_at.is_(None)))
    mine = runs.c.contact_id == contact_id if contact_id is not None else sa.true()
    query = (
        sa.select(touches, due.label("due"), gone_on.label("gone_on"))
        .join(runs, runs.c.id == touches.c.run_id)
        .where(
            mine,
            sa.or_(
                sa.and_(touches.c.status == "claimed", unanswered), sa.and_(touches.c.status == "waiting", forgotten)
            ),
        )
        .order_by(touches.c.id)
    )
    return [_unsettled(row) for row in await conn.execute(query)]


def _unsettled(row: Any) -> Finding:
    evidence = {"touch": row.id, "run": row.run_id}
    since = ", and its run has gone on" if row.gone_on else ""
    if row.status == "claimed":
        what = f"{row.template} was claimed at {row.claimed_at:{_TIME}}, and nobody knows what came of it{since}"
        return Finding("touch-unanswered", row.contact_id, what, evidence)
    what = f"{row.template} waits since {row.due:{_TIME}}, and nobody asks for it{since}"
    return Finding("touch-forgotten", row.contact_id, what, evidence)


_TIME = "%Y-%m-%dT%H:%M:%SZ"

_PROOF = ("message.delivered", "message.opened", "message.clicked", "message.replied")


async def went_out(conn: AsyncConnection, contact_id: str | None, since: datetime | None) -> list[Finding]:
    """Touches that their contact has got, as events tell, though their rows say that they did not go out."""
    query = (
        sa.select(touches, sa.func.min(sa.cast(events.c.id, sa.Text)).label("event"), events.c.type)
        .join(touches, touches.c.key == events.c.data["touch"].astext)
        .where(events.c.type.in_(_PROOF), touches.c.status.in_(["waiting", "dropped", "failed"]))
        .where(events.c.received_at >= since if since is not None else sa.true())
        .where(touches.c.contact_id == contact_id if contact_id is not None else sa.true())
        .group_by(touches.c.id, events.c.type)
        .order_by(touches.c.id, events.c.type)
    )
    return [
        Finding(
            "touch-went-out",
            row.contact_id,
            f"{row.type} of {row.template}, and the touch's row says {row.status} ({row.reason})",
            {"touch": row.id, "run": row.run_id, "event": row.event},
        )
        for row in await conn.execute(query)
    ]


async def untold(conn: AsyncConnection, contact_id: str | None) -> list[Untold]:
    """Tellings that wait though everything that Temporal should hear of them has landed."""
    of_it = sa.and_(
        dispatches.c.kind == "tell",
        dispatches.c.payload["telling"].astext == sa.cast(tellings.c.id, sa.Text),
        dispatches.c.payload["round"].astext == sa.cast(tellings.c.round, sa.Text),
    )
    open_ = sa.exists().where(of_it, dispatches.c.done_at.is_(None))
    query = (
        sa.select(tellings, events.c.contact_id, events.c.type, sa.exists().where(of_it).label("dispatched"))
        .join(events, events.c.id == tellings.c.event_id)
        .where(tellings.c.status == "waiting", ~open_)
        .where(events.c.contact_id == contact_id if contact_id is not None else sa.true())
        .order_by(tellings.c.id)
    )
    return [
        Untold(TellingInput(row.id, row.event_id, row.round, row.sink, row.type), row.contact_id, row.dispatched)
        for row in await conn.execute(query)
    ]


async def still_untold(conn: AsyncConnection, telling_id: int) -> bool:
    """Whether a telling waits."""
    query = sa.select(tellings.c.status).where(tellings.c.id == telling_id)
    return bool((await conn.execute(query)).scalar_one() == "waiting")


async def same_provider_id(conn: AsyncConnection, contact_id: str | None, since: datetime | None) -> list[Finding]:
    """Touches that a provider knows by one id."""
    ids = sa.func.array_agg(sa.cast(touches.c.id, sa.Text)).label("ids")
    whose = sa.func.min(sa.cast(touches.c.contact_id, sa.Text)).label("whose")
    query = (
        sa.select(touches.c.provider, touches.c.provider_id, ids, whose)
        .where(touches.c.provider_id.is_not(None))
        .group_by(touches.c.provider, touches.c.provider_id)
        .having(sa.func.count() > 1)
    )
    if contact_id is not None:
        query = query.having(sa.func.bool_or(touches.c.contact_id == contact_id))
    if since is not None:
        query = query.having(sa.func.max(touches.c.claimed_at) >= since)
    return [
        Finding(
            "sent-twice",
            row.whose,
            f"{row.provider} knows {len(row.ids)} touches by one id, {row.provider_id}",
            {"touches": ",".join(sorted(row.ids))},
        )
        for row in await conn.execute(query)
    ]
