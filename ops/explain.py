"""Why a message was or was not sent: every decision of the gate with what it was based on, in plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import facts as facts_module
from contacts import journal, store
from contacts.facts import Consent, Facts
from contacts.policy import Policy
from contacts.specs import Card, Happening
from contacts.tables import contacts, decisions, events, runs, touches
from ops.explain_words import REASONS, channel, details, passed
from ops.output import Failure
from ops.shared_columns import CONTACT

_SAYS_YES_OR_NO = ("consent.granted", "consent.withdrawn", "message.unsubscribed", "message.complained")


@dataclass(frozen=True)
class Decision:
    """One answer of the gate.

    Attributes:
        because: The reason in a sentence; None for ``send``.
        details: What the gate saw, in words; for ``send``, by how much it passed. None of touches that went out before
            that was kept.
        channel: Which channel was chosen, why, and what spoke against others, in words; None where there was no choice.
        until: When it would be asked again, for ``wait``.
    """

    at: datetime
    verdict: Literal["send", "wait", "drop"]
    reason: str | None
    because: str | None
    details: str | None
    channel: str | None
    until: datetime | None
    hold: str | None
    inputs: Mapping[str, Any]
    policy_version: str
    code_version: str


@dataclass(frozen=True)
class ConsentUsed:
    """The word of the contact that counted when the gate was asked last, and where it came from."""

    channel: str
    purpose: str
    granted: bool
    implied: bool
    at: datetime
    evidence: str
    event_id: str
    event: str
    source: str


@dataclass(frozen=True)
class Touch:
    """The story of one touch.

    Attributes:
        run_ended_at: When the run ended; what was waiting then never went out.
        run_ended_by: The event that ended it; None where it came to its own end.
        consent_required: Whether the policy asks for a consent for this purpose.
        consent: The record in force at the last decision; None where there was none.
        template_hash: The fingerprint of the template's version that went out.
        template_today: Whether that version is the ``same`` today, has ``changed`` or is ``gone``; None where nothing
            went out or that cannot be told.
        template_code: The version of the code that had that version of the template.
        live: What came of the values fetched as it went out, by name: ``live``, or why the fallback was used.
        decisions: Every answer of the gate, in order of time.
    """

    kind: Literal["touch"]
    touch_id: str
    key: str
    template: str
    channel: str
    purpose: str
    journey: str
    stage: str
    run_id: str
    status: str
    reason: str | None
    asked_at: datetime
    valid_until: datetime
    settled_at: datetime | None
    subject: str | None
    provider: str | None
    provider_id: str | None
    request_id: str | None
    template_hash: str | None
    template_today: Literal["same", "changed", "gone"] | None
    template_code: str | None
    live: Mapping[str, str] | None
    run_outcome: str | None
    run_ended_at: datetime | None
    run_ended_by: str | None
    consent_required: bool
    consent: ConsentUsed | None
    decisions: Sequence[Decision]


@dataclass(frozen=True)
class Skipped:
    """A journey that an event could have started and did not."""

    kind: Literal["skip"]
    at: datetime
    journey: str
    event: str
    reason: str


@dataclass(frozen=True)
class Unasked:
    """A message that no run has asked to send so far, for each journey that sends it.

    Attributes:
        state: ``open``: the contact's run has not come to it. ``ended``: it ended before. ``skipped``: an event could
            have started one and did not. ``never``: nothing has ever called for one.
        run_id: The newest run; None where there was none.
        stage: Where the run is, or was as it ended.
        next_wake: When an open run goes on by itself.
        outcome: How an ended run ended; ``by``: the event that ended it, or that started none.
        reason: Why none was started.
        at: When the run began, the run ended, or none was started.
    """

    kind: Literal["unasked"]
    template: str
    journey: str
    state: Literal["open", "ended", "skipped", "never"]
    run_id: str | None = None
    stage: str | None = None
    next_wake: datetime | None = None
    outcome: str | None = None
    by: str | None = None
    reason: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Explanation:
    """What was and was not sent to a contact, and why, in order of time."""

    contact_id: str
    contact: str
    parts: Sequence[Touch | Skipped | Unasked]


async def explain(
    conn: AsyncConnection, contact: str, touch: str | None, cards: Sequence[Card], policy: Policy
) -> Explanation:
    """Explains every touch and every journey not entered, or the touches that ``touch`` names.

    Args:
        contact: An id, e-mail address or other identity.
        touch: A template's name, a touch's id or its key; None for everything. Of a template that no run has asked for
            it is said why not, for each journey that sends it.

    Raises:
        NoSuchContact: There is no such contact.
        Failure: The contact has no such touch, and no journey sends a template of that name.
    """
    facts = await store.find(conn, contact)
    told = await _touches(conn, facts.contact_id)
    chosen = [t for t in told if touch is None or touch in (t.row.template, t.row.id, t.row.key)]
    who = (await conn.execute(sa.select(CONTACT).where(contacts.c.id == facts.contact_id))).scalar_one()
    senders = [card.name for card in cards if touch in card.messages]
    if touch is not None and not chosen and senders:
        return Explanation(facts.contact_id, who, await _unasked(conn, facts.contact_id, touch, senders))
    if touch is not None and not chosen:
        names = ", ".join(dict.fromkeys(t.row.template for t in told)) or "none at all"
        raise Failure(f"{who} has no touch {touch!r}; touches so far: {names}")
    words = await _consent_events(conn, facts.contact_id, policy, [named for t in chosen if (named := t.consent_event)])
    parts: list[Touch | Skipped] = [_touch(t, words, policy) for t in chosen]
    if touch is None:
        parts += await _skipped(conn, facts.contact_id)
    parts.sort(key=lambda part: part.at if isinstance(part, Skipped) else part.asked_at)
    return Explanation(facts.contact_id, who, parts)


@dataclass(frozen=True)
class _Touched:
    """A touch's row with those of its decisions, in order of time."""

    row: Any
    decided: Sequence[Any]

    @property
    def consent_event(self) -> str | None:
        """The event whose word counted when the gate was asked last, as the gate wrote it down, if it did."""
        last = self.decided[-1] if self.decided else None
        if last is None:
            return None
        said = last.inputs if last.reason == "consent_withdrawn" else last.inputs.get("consent")
        return said["event"] if said else None


@dataclass(frozen=True)
class _Word:
    """An event that says something of consent, and who told us when."""

    received_at: datetime
    source: str
    event: Happening


async def _touches(conn: AsyncConnection, contact_id: str) -> list[_Touched]:
    mine = touches.c.contact_id == contact_id
    told = (
        sa.select(touches, runs.c.outcome, runs.c.exited_at, runs.c.ended_at, events.c.type.label("ended_by"))
        .join(runs, runs.c.id == touches.c.run_id)
        .outerjoin(events, events.c.id == runs.c.exit_event)
        .where(mine)
        .order_by(touches.c.asked_at, touches.c.id)
    )
    rows = (await conn.execute(told)).all()
    query = sa.select(decisions).join(touches, touches.c.id == decisions.c.touch_id).where(mine)
    decided = (await conn.execute(query.order_by(decisions.c.at, decisions.c.id))).all()
    return [_Touched(row, [d for d in decided if d.touch_id == row.id]) for row in rows]


async def _skipped(conn: AsyncConnection, contact_id: str) -> list[Skipped]:
    entries = [e for _, e in await journal.read(conn, contact_id) if e.kind == "skip"]
    return [Skipped("skip", e.at, str(e.journey), str(e.data.get("by")), str(e.data.get("reason"))) for e in entries]


async def _unasked(conn: AsyncConnection, contact_id: str, template: str, journeys: Sequence[str]) -> list[Unasked]:
    skips = {skip.journey: skip for skip in await _skipped(conn, contact_id)}
    mine = (
        sa.select(runs, events.c.type.label("ended_by"))
        .outerjoin(events, events.c.id == runs.c.exit_event)
        .where(runs.c.contact_id == contact_id, runs.c.journey.in_(journeys))
        .order_by(runs.c.entered_at, runs.c.id)
    )
    newest = {run.journey: run for run in await conn.execute(mine)}
    told: list[Unasked] = []
    for journey in journeys:
        run, skip = newest.get(journey), skips.get(journey)
        ended_at = min((t for t in (run.exited_at, run.ended_at) if t is not None), default=None) if run else None
        if run is not None and ended_at is None:
            one = Unasked("unasked", template, journey, "open", run.id, run.stage, run.next_wake, at=run.entered_at)
        elif skip is not None and (run is None or skip.at > run.entered_at):
            one = Unasked("unasked", template, journey, "skipped", by=skip.event, reason=skip.reason, at=skip.at)
        elif run is not None:
            ending = {"outcome": run.outcome, "by": run.ended_by, "at": ended_at}
            one = Unasked("unasked", template, journey, "ended", run.id, run.stage, **ending)
        else:
            one = Unasked("unasked", template, journey, "never")
        told.append(one)
    return told


async def _consent_events(conn: AsyncConnection, contact_id: str, policy: Policy, named: Sequence[str]) -> list[_Word]:
    """Events that say something of consent under this policy, and those that did when the gate was asked."""
    types = (*_SAYS_YES_OR_NO, *policy.consent.implied, *policy.consent.stated)
    says = sa.or_(events.c.type.in_(types), events.c.id.in_(named))
    rows = await conn.execute(
        sa.select(events).where(events.c.contact_id == contact_id, says).order_by(events.c.received_at)
    )
    return [_Word(r.received_at, r.source, Happening(r.id, r.type, r.occurred_at, r.data)) for r in rows]


def _touch(touched: _Touched, words: Sequence[_Word], policy: Policy) -> Touch:
    row = touched.row
    return Touch(
        kind="touch",
        touch_id=row.id,
        key=row.key,
        template=row.template,
        channel=row.channel,
        purpose=row.purpose,
        journey=row.journey,
        stage=row.stage,
        run_id=row.run_id,
        status=row.status,
        reason=row.reason,
        asked_at=row.asked_at,
        valid_until=row.valid_until,
        settled_at=row.settled_at,
        subject=row.subject,
        provider=row.provider,
        provider_id=row.provider_id,
        request_id=row.request_id,
        template_hash=row.template_hash,
        template_today=_template_today(row),
        template_code=next((d.code_version for d in reversed(touched.decided) if d.verdict == "send"), None),
        live=row.live,
        run_outcome=row.outcome,
        run_ended_at=min((t for t in (row.exited_at, row.ended_at) if t is not None), default=None),
        run_ended_by=row.ended_by,
        consent_required=row.purpose in policy.consent.required,
        consent=_consent_used(touched, words, policy),
        decisions=[_decision(d) for d in touched.decided],
    )


def _consent_used(touched: _Touched, words: Sequence[_Word], policy: Policy) -> ConsentUsed | None:
    """The consent the gate found: the one it wrote down, or else what had arrived by then, applied as it was then."""
    row, last = touched.row, touched.decided[-1] if touched.decided else None
    origin = next((w for w in words if w.event.id == touched.consent_event), None)
    if origin is not None and last is not None:
        said = last.inputs.get("consent", {})
        found: Consent | None = Consent(
            channel=row.channel,
            purpose=row.purpose,
            granted=last.reason != "consent_withdrawn",
            at=origin.event.occurred_at,
            event_id=origin.event.id,
            evidence=str(origin.event.data.get("evidence") or origin.event.type),
            implied=said.get("implied", False),
        )
    else:
        facts, asked_last = Facts(row.contact_id), last.at if last is not None else row.asked_at
        for word in words:
            if word.received_at <= asked_last:
                facts = facts_module.apply(facts, word.event, policy)
        found = facts.consent(row.channel, row.purpose)
        origin = next((w for w in words if found is not None and w.event.id == found.event_id), None)
    if found is None or origin is None:
        return None
    return ConsentUsed(
        channel=found.channel,
        purpose=found.purpose,
        granted=found.granted,
        implied=found.implied,
        at=found.at,
        evidence=found.evidence,
        event_id=found.event_id,
        event=origin.event.type,
        source=origin.source,
    )


def _template_today(row: Any) -> Literal["same", "changed", "gone"] | None:
    if row.template_hash is None:
        return None
    from templates.render import (
        TemplateError,
        UnknownTemplate,
        versions,
    )  # reads all of them, so only where there is need

    try:
        today = {version.channel: version.fingerprint for version in versions(row.template)}
    except UnknownTemplate:
        return "gone"
    except TemplateError:
        return None
    if row.channel not in today:
        return "gone"
    return "same" if today[row.channel] == row.template_hash else "changed"


def _decision(row: Any) -> Decision:
    return Decision(
        at=row.at,
        verdict=row.verdict,
        reason=row.reason,
        because=REASONS.get(row.reason, row.reason) if row.reason else None,
        details=passed(row.inputs) if row.verdict == "send" else details(row.reason, row.inputs),
        channel=channel(row.inputs.get("choice")),
        until=row.until,
        hold=row.hold,
        inputs=row.inputs,
        policy_version=row.policy_version,
        code_version=row.code_version,
    )
