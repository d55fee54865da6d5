"""What the gate answered and saw, in words."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ops.output import stamp

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
    "send_window": "Messages of this kind go out only at certain hours, and it was none of them where the contact is.",
    "frequency_cap": "The contact had had as many messages as the policy allows in this time.",
    "paused": "An operator or the breaker had called a halt.",
    "engagement_tier": "The contact had shown no sign of life for long that promotion rests, or comes seldom.",
    "priority": "A more important journey waited for the same slot.",
    "hold_out": "The contact is among those who get nothing, so that what the journey does can be measured.",
    "echo": "The same message had gone to the contact a short while before.",
    "stage_left": "The run had left the stage that was to send it.",
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


def channel(choice: Mapping[str, Any] | None) -> str | None:
    """Which channel was chosen, why, and what spoke against others; None where there was no choice."""
    if choice is None:
        return None
    against = ", ".join(f"{other} ({reason})" for other, reason in choice["passed_over"].items())
    words = f"By {choice['channel']}: {CHOSEN.get(choice['because'], choice['because'])}."
    return words + (f" Not possible: {against}." if against else "")


def details(reason: str | None, inputs: Mapping[str, Any]) -> str | None:
    """What the gate saw that made it say wait or drop; None where the reason says it all."""
    match reason:
        case "exited":
            return f"The run's outcome: {inputs.get('by')}."
        case "consent_withdrawn":
            who = "Another contact with the same address" if "by" in inputs else "They"
            return f"{who} said so on {_moment(inputs.get('at'))}."
        case "suppressed":
            because = {"bounced": "It bounced for good.", "complained": "Its owner complained."}
            return because.get(str(inputs.get("because")))
        case "valid_for" if "because" in inputs:
            waited = REASONS.get(str(inputs["because"]), str(inputs["because"]))
            return f"{waited} It could have gone out at {_moment(inputs.get('could_go_at'))} at the earliest."
        case "valid_for":
            return f"It was worth sending until {_moment(inputs.get('valid_until'))}."
        case "quiet_hours" | "send_window":
            was = f"It was {_clock(inputs)}. " if "local" in inputs else ""
            return f"{was}Until {_moment(inputs.get('until'))} in {inputs.get('timezone')}."
        case "paused" | "priority" | "hold_out" | "echo" | "engagement_tier" if inputs:
            return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in inputs.items()) + "."
        case "frequency_cap" | "stated_frequency":
            return f"At most {inputs.get('max')} in {_span(inputs.get('days'))}; there were {inputs.get('in_window')}."
        case str() if reason.startswith("hold_"):
            return f"In force: {_holds(inputs['holds'])}." if inputs.get("holds") else None
    return None


def passed(inputs: Mapping[str, Any]) -> str | None:
    """What the gate saw of a touch that it let out, and by how much it passed; None where that was not kept."""
    return " ".join(_passed(inputs)) or None


def _passed(inputs: Mapping[str, Any]) -> Iterator[str]:
    if "consent" in inputs:
        said = inputs["consent"]
        how = "an implied yes" if said and said.get("implied") else "a yes"
        yield f"Consent: {how} of {_moment(said['at'])}." if said else "No word on consent, and none needed."
    for name, share in inputs.get("experiments", {}).items():
        yield f"Measured by {name}, which leaves out {share:.0%} of the contacts, not this one."
    if days := inputs.get("no_echo_in_days"):
        yield f"The same had not gone out in {_span(days)} before."
    if "valid_until" in inputs:
        yield f"Worth sending until {_moment(inputs['valid_until'])}."
    if halts := inputs.get("halts"):
        yield f"Halted were only others: {', '.join(halts)}."
    if "holds" in inputs:
        held = inputs["holds"]
        yield f"In force, but not for this purpose: {_holds(held)}." if held else "No hold was in force."
    if engagement := inputs.get("engagement"):
        yield _engagement(engagement)
    if clock := inputs.get("clock"):
        quiet, windows = ", ".join(inputs.get("quiet", ())), ", ".join(inputs.get("windows", ()))
        judged = [f"outside the quiet hours ({quiet})"] if quiet else []
        judged += [f"inside the hours for it ({windows})"] if windows else []
        yield f"It was {_clock(clock)}: {' and '.join(judged)}."
    if stated := inputs.get("stated_frequency"):
        yield f"They want it {stated['said']}: {_room(stated)}."
    if caps := inputs.get("caps"):
        yield f"Had before: {', '.join(map(_room, caps))}."
    if rivals := inputs.get("rivals"):
        yield f"Waiting for the same slot, and less important or past their turn: {', '.join(rivals)}."
    if rush := inputs.get("rush"):
        yield f"Number {rush['in_window']} of the journey of late, {rush['allowed']} are never too many."
    elif "rush" in inputs:
        yield "Begun by a rollout, or let go with the end of a halt: the breaker does not count it."


def _engagement(seen: Mapping[str, Any]) -> str:
    if seen["silent_since"] is None:
        return "They had had no e-mail yet that could meet with silence."
    room = f", {_room(seen)}" if "max" in seen else ""
    tier = f"in tier {seen['tier']}{room}" if seen["tier"] else "in no tier"
    return f"Silent since {_moment(seen['silent_since'])}: {tier}."


def _room(cap: Mapping[str, Any]) -> str:
    return f"{cap['in_window']} of at most {cap['max']} in {_span(cap['days'])}"


def _clock(seen: Mapping[str, Any]) -> str:
    local = datetime.fromisoformat(seen["local"])
    whose = " (assumed, theirs is not known)" if seen.get("assumed") else ""
    return f"{local:%a %-d %b %H:%M} in {seen['timezone']}{whose}"


def _holds(names: Any) -> str:
    return ", ".join(str(name).removesuffix(":-").replace(":", " ") for name in names)


def _moment(text: Any) -> str:
    return stamp(datetime.fromisoformat(text)) if isinstance(text, str) else "an unknown time"


def _span(days: Any) -> str:
    if not isinstance(days, int | float):
        return "a while"
    if days < 1:
        return f"{days * 24:g} hours"
    return f"{days:g} day{'' if days == 1 else 's'}"
