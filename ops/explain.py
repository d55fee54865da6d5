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
from contacts.specs import Happening
from contacts.tables import contacts, decisions, events, runs, touches
from ops.output import Failure, stamp
from ops.shared_columns import CONTACT

REASONS: Mapping[str, str] = {
    "erased": "The contact was erased, and nothing may reach them again.",
    "exited": "An event had already ended the journey's run.",
    "consent_withdrawn": "The contact said no to messages of this kind.",
    "no_consent": "There was no consent on record for messages of this kind.",
    "no_address": "We had no address for the contact on this channel.",
    "suppressed": "The address takes no messages.",
    "valid_for": "It would have come too late to be worth sending.",
    "hold_ticket": "The contact had an open support ticket: promotion waits until it is solved.",
    "hold_conversation": "A person was talking with the contact: promotion waits until they are done.",
    "hold_handoff": "The contact was in the hands of a person: promotion waits until they are done.",
    "hold_operator": "An operator had promotion to this contact wait.",
    "hold_pause": "The contact wanted a pause: all waits that their orders do not need.",
    "quiet_hours": "It was a quiet hour where the contact is.",
    "frequency_cap": "The contact had had as many messages as the policy allows in this time.",
    "paused": "An operator or the breaker had called a halt.",
    "engagement_tier": "The contact had shown no sign of life for long that promotion rests, or comes seldom.",
    "priority": "A more important journey waited for the same slot.",
    "hold_out": "The contact is among those who get nothing, so that what the journey does can be measured.",
    "echo": "The same message had gone to the contact a short while before.",
    "stated_frequency": "The contact said how often at most, and had had as many messages.",
}
"""What each reason code of the gate means, in a sentence."""

CHOSEN: Mapping[str, str] = {
    "preferred": "the contact prefers it",
    "role": "the first possible for what the message is for",
    "only": "the only one of the message's channels that we can send on",
    "none_possible": "the first in line, for none was possible",
    "claimed_before": "an earlier attempt may have used it, and no other may follow",
}
"""Why a touch that could go out on several channels took this one, by the code the gate keeps."""

_SAYS_YES_OR_NO = ("consent.granted", "consent.withdrawn", "message.unsubscribed", "message.complained")


@dataclass(frozen=True)
class Decision:
    """One answer of the gate.

    Attributes:
        because: The reason in a sentence; None for ``send``.
        details: What the gate saw, in words.
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
class Explanation:
    """What was and was not sent to a contact, and why, in order of time."""

    contact_id: str
    contact: str
    parts: Sequence[Touch | Skipped]


async def explain(conn: AsyncConnection, contact: str, touch: str | None, policy: Policy) -> Explanation:
    """Explains every touch and every journey not entered, or the touches that ``touch`` names.

    Args:
        contact: An id, e-mail address or other identity.
        touch: A template's name, a touch's id or its key; None for everything.

    Raises:
        NoSuchContact: There is no such contact.
        Failure: The contact has no such touch.
    """
    facts = await store.find(conn, contact)
    told = await _touches(conn, facts.contact_id)
    chosen = [t for t in told if touch is None or touch in (t.row.template, t.row.id, t.row.key)]
    who = (await conn.execute(sa.select(CONTACT).where(contacts.c.id == facts.contact_id))).scalar_one()
    if touch is not None and not chosen:
        names = ", ".join(dict.fromkeys(t.row.template for t in told)) or "none at all"
        raise Failure(f"{who} has no touch {touch!r}; touches so far: {names}")
    words = await _consent_events(conn, facts.contact_id, policy)
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


async def _consent_events(conn: AsyncConnection, contact_id: str, policy: Policy) -> list[_Word]:
    types = (*_SAYS_YES_OR_NO, *policy.consent.implied, *policy.consent.stated)
    rows = await conn.execute(
        sa.select(events)
        .where(events.c.contact_id == contact_id, events.c.type.in_(types))
        .order_by(events.c.received_at)
    )
    return [_Word(r.received_at, r.source, Happening(r.id, r.type, r.occurred_at, r.data)) for r in rows]


def _touch(touched: _Touched, words: Sequence[_Word], policy: Policy) -> Touch:
    row = touched.row
    asked_last = touched.decided[-1].at if touched.decided else row.asked_at
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
        live=row.live,
        run_outcome=row.outcome,
        run_ended_at=min((t for t in (row.exited_at, row.ended_at) if t is not None), default=None),
        run_ended_by=row.ended_by,
        consent_required=row.purpose in policy.consent.required,
        consent=_consent_at(row, words, asked_last, policy),
        decisions=[_decision(d) for d in touched.decided],
    )


def _consent_at(row: Any, words: Sequence[_Word], at: datetime, policy: Policy) -> ConsentUsed | None:
    """The consent the gate found then: what had arrived by that time, applied as it was applied then."""
    facts = Facts(row.contact_id)
    for word in words:
        if word.received_at <= at:
            facts = facts_module.apply(facts, word.event, policy)
    found: Consent | None = facts.consent(row.channel, row.purpose)
    if found is None:
        return None
    origin = next(w for w in words if w.event.id == found.event_id)
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


def _decision(row: Any) -> Decision:
    return Decision(
        at=row.at,
        verdict=row.verdict,
        reason=row.reason,
        because=REASONS.get(row.reason, row.reason) if row.reason else None,
        details=_details(row.reason, row.inputs),
        channel=_channel(row.inputs.get("choice")),
        until=row.until,
        hold=row.hold,
        inputs=row.inputs,
        policy_version=row.policy_version,
        code_version=row.code_version,
    )


def _channel(choice: Mapping[str, Any] | None) -> str | None:
    if choice is None:
        return None
    against = ", ".join(f"{channel} ({reason})" for channel, reason in choice["passed_over"].items())
    words = f"By {choice['channel']}: {CHOSEN.get(choice['because'], choice['because'])}."
    return words + (f" Not possible: {against}." if against else "")


def _details(reason: str | None, inputs: Mapping[str, Any]) -> str | None:
    """What the gate saw, in words; None where the reason says it all."""
    match reason:
        case "exited":
            return f"The run's outcome: {inputs.get('by')}."
        case "consent_withdrawn":
            return f"They said so on {_moment(inputs.get('at'))}."
        case "suppressed":
            because = {"bounced": "It bounced for good.", "complained": "Its owner complained."}
            return because.get(str(inputs.get("because")))
        case "valid_for" if "because" in inputs:
            waited = REASONS.get(str(inputs["because"]), str(inputs["because"]))
            return f"{waited} It could have gone out at {_moment(inputs.get('could_go_at'))} at the earliest."
        case "valid_for":
            return f"It was worth sending until {_moment(inputs.get('valid_until'))}."
        case "quiet_hours":
            return f"Until {_moment(inputs.get('until'))} in {inputs.get('timezone')}."
        case "paused" | "priority" | "hold_out" | "echo" | "engagement_tier" if inputs:
            return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in inputs.items()) + "."
        case "frequency_cap" | "stated_frequency":
            return f"At most {inputs.get('max')} in {_span(inputs.get('days'))}; there were {inputs.get('in_window')}."
        case str() if reason.startswith("hold_"):
            holds = [str(name).removesuffix(":-").replace(":", " ") for name in inputs.get("holds", ())]
            return f"In force: {', '.join(holds)}." if holds else None
    return None


def _moment(text: Any) -> str:
    return stamp(datetime.fromisoformat(text)) if isinstance(text, str) else "an unknown time"


def _span(days: Any) -> str:
    if not isinstance(days, int | float):
        return "a while"
    if days < 1:
        return f"{days * 24:g} hours"
    return f"{days:g} day{'' if days == 1 else 's'}"
