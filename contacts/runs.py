"""Runs in the database and what Temporal must hear of them.

Each change to a run is written together with its dispatch, so that Temporal learns of it even if we stop right after.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import journal, routing
from contacts.facts import PROFILE_FIELDS, Facts
from contacts.routing import Run
from contacts.specs import Card, Happening, workflow_id
from contacts.tables import ACTS, dispatches, events, runs, touches

OPEN = sa.and_(runs.c.exited_at.is_(None), runs.c.ended_at.is_(None))
"""Runs that are neither over nor told to end."""

OURS = "perennial"
"""The source of events that we record ourselves."""

ROLLOUT = "rollout/"
"""How the ``source_id`` of such an event begins if it is a contact's turn in a rollout."""

CHANNEL = "perennial_dispatch"
"""The PostgreSQL notification that wakes the relay when a transaction with dispatches commits."""


_PRIVATE = ("email", "phone", "first_name", "last_name", "postal_address")


def envelope(event: Happening) -> dict[str, Any]:
    """An event as a run is told of it: plain JSON, so that it always decodes.

    Names and addresses stay behind: a run has no use for them, and Temporal keeps its histories for long.
    """
    # Only of a contact is a name personal; a milestone or a date has one too, and a wait may ask for it.
    private = PROFILE_FIELDS if event.type.startswith("contact.") else _PRIVATE
    return {
        "id": event.id,
        "type": event.type,
        "occurred_at": event.occurred_at.isoformat(),
        "data": {k: v for k, v in event.data.items() if k not in private},
    }


async def enter(
    conn: AsyncConnection, card: Card, key: str | None, facts: Facts, event: Happening, now: datetime
) -> None:
    """Begins a run: its row, and the start that Temporal must hear."""
    run_id = str(uuid4())
    contact_id = facts.contact_id
    name = workflow_id(card.name, contact_id, key)
    await conn.execute(
        sa.insert(runs).values(
            id=run_id,
            workflow_id=name,
            journey=card.name,
            contact_id=contact_id,
            key=key,
            entry_event=event.id,
            entered_at=event.occurred_at,
            started_at=now,
        )
    )
    entry_point = facts.entry.value["type"] if facts.entry else event.type
    start = {
        "contact_id": contact_id,
        "key": key,
        "entry": envelope(event),
        "entry_point": entry_point,
        "started_at": now.isoformat(),
    }
    await _dispatch(conn, run_id, "start", start, now)
    data = {"by": event.type, "key": key}
    await journal.write(conn, journal.Entry(now, contact_id, "enter", card.name, run_id, data=data))


async def end(conn: AsyncConnection, run: Run, outcome: str, event: Happening | None, now: datetime) -> None:
    """Marks an open run as over; from this commit on the gate lets none of its touches out.

    The caller has locked the run's contact. ``event`` is what ended it; None where two contacts in the same journey
    turned out to be one.
    """
    await conn.execute(
        sa.update(runs)
        .where(runs.c.id == run.id, runs.c.exited_at.is_(None), runs.c.ended_at.is_(None))
        .values(exited_at=now, exit_event=event.id if event else None, exit_act=ACTS.next_value(), outcome=outcome)
    )
    by = event.type if event else "contact.merged"
    await drop_waiting(conn, "exited", now, touches.c.run_id == run.id)
    await _dispatch(conn, run.id, "exit", {"outcome": outcome, "by": by}, now)
    data = {"outcome": outcome, "by": by}
    await journal.write(
        conn, journal.Entry(now, run.contact_id, "exit", run.journey, run.id, once=f"exit/{run.id}", data=data)
    )


async def end_by_events_of(
    conn: AsyncConnection, other_id: str, contact_id: str, cards: Sequence[Card], now: datetime
) -> None:
    """Ends the contact's open runs by what another contact had done, who turns out to be the same person.

    The caller has locked the rows of both, and nothing of one has been given to the other yet.
    """
    mine = [run for run in await known(conn, contact_id) if run.open]
    types = {t for card in cards for t in card.ending_types if card.name in {run.journey for run in mine}}
    if not types:
        return
    told = sa.select(events.c.id, events.c.type, events.c.occurred_at, events.c.data).where(
        events.c.contact_id == other_id, events.c.type.in_(types)
    )
    done = [Happening(row.id, row.type, row.occurred_at, row.data) for row in await conn.execute(told)]
    keys = [pair for event in done for pair in routing.keys_named(event, cards)]
    theirs = {run.id: run for run in (*await known(conn, contact_id, keys), *await known(conn, other_id))}
    for leaving, event in routing.learned(done, contact_id, cards=cards, runs=list(theirs.values())):
        await end(conn, leaving.run, leaving.outcome, event, now)


async def drop_waiting(conn: AsyncConnection, reason: str, now: datetime, *which: sa.ColumnElement[bool]) -> int:
    """Settles touches that wait and for which nobody will ask again: dropped, and anyone can read why. How many."""
    settled = {"status": "dropped", "reason": reason, "settled_at": now}
    return await _settle(conn, "drop", settled, touches.c.status == "waiting", *which)


async def give_up_calls(conn: AsyncConnection, now: datetime, *which: sa.ColumnElement[bool]) -> int:
    """Settles claimed touches for which nobody will ask again: their calls are without an answer. How many."""
    settled = {"status": "unknown", "reason": "no answer from the provider", "settled_at": now}
    return await _settle(conn, "touch", settled, touches.c.status == "claimed", *which)


async def _settle(
    conn: AsyncConnection, kind: journal.Kind, settled: Mapping[str, Any], *which: sa.ColumnElement[bool]
) -> int:
    rows = (await conn.execute(sa.update(touches).where(*which).values(settled).returning(touches))).all()
    entries = [
        journal.Entry(
            at=row.settled_at,
            contact_id=row.contact_id,
            kind=kind,
            journey=row.journey,
            run_id=row.run_id,
            data={
                "touch": row.template,
                "channel": row.channel,
                "purpose": row.purpose,
                "reason": row.reason,
                "status": row.status,
                "touch_id": row.id,
            },
        )
        for row in rows
    ]
    await journal.write(conn, *entries)
    return len(rows)


async def tell(conn: AsyncConnection, run_id: str, event: Happening, patterns: Sequence[str], now: datetime) -> None:
    """Lets a run hear an event, and which of its patterns the event completes."""
    await _dispatch(conn, run_id, "event", {**envelope(event), "patterns": list(patterns)}, now)


async def signal(conn: AsyncConnection, name: str, now: datetime, *which: sa.ColumnElement[bool]) -> int:
    """Has a signal without content (``pause``, ``resume``) sent to all open runs of which this is so; says how many."""
    return await _dispatch_to_all(conn, name, {}, now, *which)


async def tell_all(conn: AsyncConnection, event: Happening, now: datetime, *which: sa.ColumnElement[bool]) -> int:
    """Lets all open runs of which this is so hear an event that is nobody's own; says how many."""
    return await _dispatch_to_all(conn, "event", {**envelope(event), "patterns": []}, now, *which)


async def _dispatch_to_all(
    conn: AsyncConnection, kind: str, payload: dict[str, Any], now: datetime, *which: sa.ColumnElement[bool]
) -> int:
    mine = sa.select(runs.c.id, sa.literal(kind), sa.literal(payload, JSONB), sa.literal(now)).where(*which, OPEN)
    told = await conn.execute(
        sa.insert(dispatches)
        .from_select(["run_id", "kind", "payload", "created_at"], mine.order_by(runs.c.id))
        .returning(dispatches.c.id)
    )
    count = len(told.all())
    await conn.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
    return count


async def _dispatch(conn: AsyncConnection, run_id: str, kind: str, payload: dict[str, Any], now: datetime) -> None:
    await conn.execute(sa.insert(dispatches).values(run_id=run_id, kind=kind, payload=payload, created_at=now))
    await conn.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))


def of_a_rollout(run_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether a rollout began the run."""
    run = runs.alias("begun")
    ours = sa.and_(events.c.source == OURS, events.c.source_id.startswith(ROLLOUT))
    # Not EXISTS: PostgreSQL would make a join of it and read everybody's events to know of a few.
    return sa.select(ours).join(run, run.c.entry_event == events.c.id).where(run.c.id == run_id).scalar_subquery()


def resumed_since(run_id: sa.ColumnElement[str], at: sa.ColumnElement[datetime]) -> sa.ColumnElement[bool]:
    """Whether an operator has let the run go on since then."""
    run = runs.alias("resumed")
    return sa.select(sa.func.coalesce(run.c.resumed_at >= at, sa.false())).where(run.c.id == run_id).scalar_subquery()


async def that_wait_for(conn: AsyncConnection, contact_id: str, holds: Collection[str]) -> Collection[str]:
    """The runs of a contact that have a touch which waits for one of these holds."""
    waiting = [touches.c.contact_id == contact_id, touches.c.status == "waiting", touches.c.hold.in_(holds)]
    return set((await conn.execute(sa.select(touches.c.run_id).where(*waiting))).scalars())


async def known(conn: AsyncConnection, contact_id: str, keys: Sequence[tuple[str, str]] = ()) -> list[Run]:
    """The contact's runs, open and ended, and every run of a (journey, key) pair, whoever's it is."""
    mine = runs.c.contact_id == contact_id
    keyed = sa.tuple_(runs.c.journey, runs.c.key).in_(list(keys)) if keys else sa.false()
    rows = await conn.execute(
        sa.select(runs, events.c.data.label("entry"))
        .join(events, events.c.id == runs.c.entry_event)
        .where(sa.or_(mine, keyed))
        .order_by(runs.c.entered_at, runs.c.id)
    )
    return [
        Run(
            id=r.id,
            workflow_id=r.workflow_id,
            journey=r.journey,
            contact_id=r.contact_id,
            key=r.key,
            entered_at=r.entered_at,
            open=r.exited_at is None and r.ended_at is None,
            entry=r.entry,
        )
        for r in rows
    ]
