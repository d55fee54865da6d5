"""Where contacts and their runs are, read from PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import store
from contacts.facts import Consent, Facts, Hold, Suppression
from contacts.lifecycle import Standing, standing
from contacts.policy import Policy
from contacts.specs import Card
from contacts.tables import contacts, events, handoffs, identities, journal, runs, touches
from ops.output import stamp
from ops.shared_columns import CONTACT, NOT_TAKEN

RECENT = 10
"""How many events, touches and ended runs the page of a contact shows."""


@dataclass(frozen=True)
class RunLine:
    """A run in a list.

    Attributes:
        contact: How a person knows the contact: an e-mail address, else a phone number, else the id.
        outcome: How it ended; None while it is open.
        ended_at: When it was told to end or finished, whichever came first.
    """

    run_id: str
    workflow_id: str
    journey: str
    key: str | None
    contact_id: str
    contact: str
    stage: str | None
    entered_at: datetime
    next_wake: datetime | None
    outcome: str | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Wanted:
    """Which runs to list; None means any. ``contact``: an id, e-mail address or other identity."""

    journey: str | None = None
    stage: str | None = None
    contact: str | None = None
    open: bool | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class OpenRun:
    """One run's six answers, each in words: where the contact is, what is next, which message, on which channel, who
    owns it, how success is measured."""

    run_id: str
    workflow_id: str
    journey: str
    key: str | None
    stage: str | None
    entered_at: datetime
    next_wake: datetime | None
    where: str
    next: str
    message: str
    channel: str
    owner: str
    success: str


@dataclass(frozen=True)
class KnownAs:
    """An identity, and since when it points to the contact."""

    kind: str
    value: str
    since: datetime


@dataclass(frozen=True)
class ScoreNow:
    """The lead score as of now, and whether it is over the threshold of a hand-off."""

    points: float
    handoff_at: float
    hot: bool


@dataclass(frozen=True)
class EventLine:
    """Something that happened to the contact."""

    occurred_at: datetime
    received_at: datetime
    type: str
    source: str
    source_id: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class TouchLine:
    """One attempt to reach the contact.

    Attributes:
        at: When it was settled, else when it was asked for.
    """

    touch_id: str
    at: datetime
    template: str
    channel: str
    purpose: str
    journey: str
    status: str
    reason: str | None
    subject: str | None


@dataclass(frozen=True)
class ContactPage:
    """Everything an operator may ask about a contact.

    Attributes:
        now: The journeys' time of the answers.
        runs: Open runs, oldest first.
        ended: Runs that are over, newest first, at most ``RECENT``.
        profile: Field name to value.
        consents: By channel and purpose, with their evidence.
        holds: Those in force.
        entry_point: The first thing known of the contact: its type, time and data.
        events: Newest first, at most ``RECENT``; so are ``touches``.
    """

    contact_id: str
    contact: str
    now: datetime
    runs: Sequence[OpenRun]
    ended: Sequence[RunLine]
    profile: Mapping[str, Any]
    identified_at: datetime | None
    customer_since: datetime | None
    engaged_at: datetime | None
    erased_at: datetime | None
    standing: Standing
    segments: Mapping[str, datetime]
    identities: Sequence[KnownAs]
    consents: Sequence[Consent]
    holds: Sequence[Hold]
    suppressions: Sequence[Suppression]
    score: ScoreNow
    entry_point: Mapping[str, Any] | None
    events: Sequence[EventLine]
    touches: Sequence[TouchLine]


async def fitting(conn: AsyncConnection, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    """What is true of the runs that fit, and of no others.

    Raises:
        NoSuchContact: ``wanted.contact`` is nobody.
    """
    ended = sa.or_(runs.c.exited_at.is_not(None), runs.c.ended_at.is_not(None))
    conditions: list[sa.ColumnElement[bool]] = []
    for column, value in ((runs.c.journey, wanted.journey), (runs.c.stage, wanted.stage)):
        if value is not None:
            conditions.append(column == value)
    if wanted.contact is not None:
        conditions.append(runs.c.contact_id == (await store.find(conn, wanted.contact)).contact_id)
    if wanted.open is not None:
        conditions.append(sa.not_(ended) if wanted.open else ended)
    if wanted.outcome is not None:
        conditions.append(runs.c.outcome == wanted.outcome)
    return conditions


async def list_runs(conn: AsyncConnection, wanted: Wanted, limit: int) -> list[RunLine]:
    """Runs that fit, the newest first.

    Raises:
        NoSuchContact: ``wanted.contact`` is nobody.
    """
    conditions = await fitting(conn, wanted)
    rows = await conn.execute(
        sa.select(runs, CONTACT)
        .join(contacts, contacts.c.id == runs.c.contact_id)
        .where(*conditions)
        .order_by(runs.c.entered_at.desc(), runs.c.id)
        .limit(limit)
    )
    return [_run_line(row) for row in rows]


def _run_line(row: Any) -> RunLine:
    ended_at = min((t for t in (row.exited_at, row.ended_at) if t is not None), default=None)
    return RunLine(
        run_id=row.id,
        workflow_id=row.workflow_id,
        journey=row.journey,
        key=row.key,
        contact_id=row.contact_id,
        contact=row.contact,
        stage=row.stage,
        entered_at=row.entered_at,
        next_wake=row.next_wake if ended_at is None else None,
        outcome=row.outcome,
        ended_at=ended_at,
    )


async def contact_page(
    conn: AsyncConnection, text: str, cards: Sequence[Card], policy: Policy, now: datetime
) -> ContactPage:
    """The page of the contact with this id, e-mail address or other identity.

    Raises:
        NoSuchContact: There is none.
    """
    facts = await store.find(conn, text)
    mine = facts.contact_id
    points = facts.score.at(now, timedelta(days=policy.score.half_life_days))
    known_as = await conn.execute(
        sa.select(identities.c.kind, identities.c.value, identities.c.since)
        .where(identities.c.contact_id == mine)
        .order_by(identities.c.since, identities.c.kind, identities.c.value)
    )
    open_rows = (
        await conn.execute(
            sa.select(runs, events.c.type.label("entry_type"))
            .join(events, events.c.id == runs.c.entry_event)
            .where(runs.c.contact_id == mine, runs.c.exited_at.is_(None), runs.c.ended_at.is_(None))
            .order_by(runs.c.entered_at, runs.c.id)
        )
    ).all()
    by_name = {card.name: card for card in cards}
    return ContactPage(
        contact_id=mine,
        contact=(await conn.execute(sa.select(CONTACT).where(contacts.c.id == mine))).scalar_one(),
        now=now,
        runs=[await _open_run(conn, row, by_name.get(row.journey), now) for row in open_rows],
        ended=await list_runs(conn, Wanted(contact=mine, open=False), RECENT),
        profile={name: stamped.value for name, stamped in sorted(facts.profile.items())},
        identified_at=facts.identified_at,
        customer_since=facts.customer_since,
        engaged_at=facts.engaged_at,
        erased_at=facts.erased_at,
        standing=standing(facts, policy, now),
        segments=facts.segments,
        identities=[KnownAs(*row) for row in known_as],
        consents=[consent for _, consent in sorted(facts.consents.items())],
        holds=facts.active_holds(now),
        suppressions=facts.suppressed,
        score=ScoreNow(round(points, 1), policy.score.handoff_at, points >= policy.score.handoff_at),
        entry_point=_entry_point(facts),
        events=await _recent_events(conn, mine),
        touches=await _recent_touches(conn, mine),
    )


def _entry_point(facts: Facts) -> Mapping[str, Any] | None:
    return {"at": facts.entry.at, **facts.entry.value} if facts.entry is not None else None


async def _recent_events(conn: AsyncConnection, contact_id: str) -> list[EventLine]:
    rows = await conn.execute(
        sa.select(
            events.c.occurred_at,
            events.c.received_at,
            events.c.type,
            events.c.source,
            events.c.source_id,
            events.c.data,
        )
        .where(events.c.contact_id == contact_id)
        .order_by(events.c.occurred_at.desc(), events.c.received_at.desc(), events.c.id)
        .limit(RECENT)
    )
    return [EventLine(*row) for row in rows]


async def _recent_touches(conn: AsyncConnection, contact_id: str) -> list[TouchLine]:
    at = sa.func.coalesce(touches.c.settled_at, touches.c.claimed_at, touches.c.asked_at).label("at")
    rows = await conn.execute(
        sa.select(touches, at, runs.c.exited_at, runs.c.ended_at)
        .join(runs, runs.c.id == touches.c.run_id)
        .where(touches.c.contact_id == contact_id)
        .order_by(at.desc(), touches.c.id)
        .limit(RECENT)
    )
    return [
        TouchLine(
            touch_id=r.id,
            at=r.at,
            template=r.template,
            channel=r.channel,
            purpose=r.purpose,
            journey=r.journey,
            status=r.status,
            reason=r.reason,
            subject=r.subject,
        )
        for r in rows
    ]


async def _open_run(conn: AsyncConnection, run: Any, card: Card | None, now: datetime) -> OpenRun:
    asked = (
        await conn.execute(sa.select(touches).where(touches.c.run_id == run.id).order_by(touches.c.asked_at))
    ).all()
    waiting = next((t for t in asked if t.status in ("waiting", "claimed")), None)
    handed = (
        await conn.execute(sa.select(handoffs).where(handoffs.c.run_id == run.id, NOT_TAKEN).limit(1))
    ).one_or_none()
    upcoming = waiting.template if waiting else _next_in_line(card, [t.template for t in asked])
    return OpenRun(
        run_id=run.id,
        workflow_id=run.workflow_id,
        journey=run.journey,
        key=run.key,
        stage=run.stage,
        entered_at=run.entered_at,
        next_wake=run.next_wake,
        where=_where(run),
        next=await _next(conn, run, waiting, handed, now),
        message=_message(upcoming, waiting, handed, asked),
        channel=_channel(upcoming, waiting, handed),
        owner=_owner(card, handed),
        success=_success(card),
    )


def _where(run: Any) -> str:
    since = f"entered {stamp(run.entered_at)} by {run.entry_type}"
    if run.paused_at is not None:
        since += f", paused by an operator {stamp(run.paused_at)}"
    return f"stage {run.stage}, {since}" if run.stage else f"about to begin (Temporal has not reported yet), {since}"


async def _next(conn: AsyncConnection, run: Any, waiting: Any, handed: Any, now: datetime) -> str:
    if run.stage is None:
        return "its first stage, as soon as Temporal takes it up"
    if waiting is not None and waiting.status == "claimed":
        return f"{waiting.template} is going out now"
    until = f" at {stamp(run.next_wake)}" if run.next_wake else " soon"
    if waiting is not None:
        held = f" ({waiting.reason})" if waiting.reason else ""
        return f"asks the gate again for {waiting.template}{until}{held}"
    if handed is not None:
        due = "until" if now <= handed.contact_by else "overdue since"
        return f"waits for {handed.owner} to take the hand-off, {due} {stamp(handed.contact_by)}"
    line = await _last_wait(conn, run.id)
    if line is None or run.next_wake is None or run.next_wake < now:
        return "is at work on it"
    what = line.get("reason")
    if "approved" in line:
        return "is at work on it"
    if line.get("name"):
        return f"waits for approval until {stamp(run.next_wake)}: {what}"
    if what in (None, "the time"):
        return f"goes on at {stamp(run.next_wake)}"
    return f"waits for {what}, at most until {stamp(run.next_wake)}"


async def _last_wait(conn: AsyncConnection, run_id: str) -> Mapping[str, Any] | None:
    """What the run said it waits for last; not what the gate said of one of its touches."""
    query = (
        sa.select(journal.c.data)
        .where(
            journal.c.run_id == run_id,
            journal.c.kind.in_(["wait", "approval"]),
            sa.not_(journal.c.data.has_key("touch")),
        )
        .order_by(journal.c.at.desc(), journal.c.id.desc())
        .limit(1)
    )
    data: Mapping[str, Any] | None = (await conn.execute(query)).scalar_one_or_none()
    return data


def _next_in_line(card: Card | None, asked: Sequence[str]) -> str | None:
    """The journey's first message after the last one the run asked for, in the order they are written."""
    messages = card.messages if card is not None else ()
    after = max((messages.index(t) + 1 for t in asked if t in messages), default=0)
    return next(iter(messages[after:]), None)


def _message(upcoming: str | None, waiting: Any, handed: Any, asked: Sequence[Any]) -> str:
    settled = [t for t in asked if t.settled_at is not None]
    last = f" (last: {settled[-1].template}, {settled[-1].status} {stamp(settled[-1].settled_at)})" if settled else ""
    if handed is not None and waiting is None:
        return f"none while a person has the contact{last}"
    if upcoming is None:
        return f"none: the journey has no further one{last}"
    return f"{upcoming}{'' if waiting else ', if nothing ends the run before'}{last}"


def _channel(template: str | None, waiting: Any, handed: Any) -> str:
    from templates.render import TemplateError, declared

    if waiting is not None:
        return str(waiting.channel)
    if handed is not None:
        return "the person's own choice"
    try:
        return " or ".join(d.channel for d in declared() if d.name == template) or "none"
    except TemplateError:
        return "unknown: the templates are broken"


def _owner(card: Card | None, handed: Any) -> str:
    journeys = card.owner if card is not None else "nobody: this journey is not in the code any more"
    return f"{handed.owner}, by hand-off; the journey is {journeys}'s" if handed is not None else journeys


def _success(card: Card | None) -> str:
    if card is None:
        return "unknown: this journey is not in the code any more"
    return f"{' or '.join(map(str, card.success))}; so that {card.goal}"
