"""What journeys wait for and do, in plain words: for their cards, their pages and the findings of lint."""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from contacts.specs import Condition, Pattern, Trigger
from workflows.reading import Approval, HandOff, Look, Note, Send, SendNamed, Sleep, Step, Wait

_UNITS = r"(days|hours|minutes)"


def event(type: str) -> str:
    """``page.viewed`` as ``page viewed``; what a sender named freely, by its own name."""
    return type.removeprefix("custom.").replace(".", " ").replace("_", " ")


def happening(trigger: Trigger) -> str:
    """A condition or a pattern: ``page viewed (page: pricing)``."""
    if isinstance(trigger, Condition):
        matching = ", ".join(_field(name, value) for name, value in trigger.match)
        return " or ".join(map(event, trigger.types)) + (f" ({matching})" if matching else "")
    return _behaviour(trigger)


def _behaviour(pattern: Pattern) -> str:
    span = f"{pattern.within / timedelta(days=1):g} days"
    without = f"no {happening(pattern.without)}" if pattern.without else None
    if pattern.times == 1:
        return happening(pattern.what) + (f", and {without} in the {span} before" if without else "")
    same = f", each with the same {pattern.same}" if pattern.same else ""
    often = f"{happening(pattern.what)} {pattern.times} times in {span}{same}"
    return often + (f", and {without} in that time" if without else "")


def _field(name: str, value: Any) -> str:
    match value:
        case True:
            return name
        case False:
            return f"not {name}"
        case None:
            return f"no {name}"
        case tuple() if set(value) <= {None, False}:
            return f"not {name}"
        case tuple():
            return f"{name}: {either('none' if one is None else str(one) for one in value)}"
    return f"{name}: {value}"


def flag(name: str) -> str:
    """What a flag says of a contact: ``new customer``, ``in high value``, ``during welcome``."""
    return name.replace(":", " ").replace("_", " ")


def step(asked: Step) -> str:
    """What a stage asks for, as ``waits for page viewed (page: pricing), at most 4 days``."""
    match asked:
        case Send():
            return f"sends {asked.template}" + (f" by {asked.channel}" if asked.channel not in (None, "email") else "")
        case SendNamed():
            return "sends the message its event names"
        case Wait():
            return f"waits for {either(map(happening, asked.conditions)) or 'time to pass'}{_at_most(asked.limit)}"
        case Sleep():
            return f"waits {_limit(asked.length)}" if asked.length else "waits for no time"
        case HandOff():
            return f"hands over: {asked.reason}" if asked.reason else "hands over to a person"
        case Approval():
            return f"asks a person to approve {asked.what or 'something'}{_at_most(asked.limit)}"
        case Note():
            return f"records {event(asked.type) if asked.type else 'what happened'}"
        case Look():
            return f"looks whether {flag(asked.flag)}"


def _at_most(limit: str | None) -> str:
    if limit is None:
        return ""
    return f", {_limit(limit)}" if limit.startswith("until ") else f", at most {_limit(limit)}"


def _limit(limit: str) -> str:
    """A limit with as little code in it as can be."""
    plain = re.sub(r"\bself\.(?:entry\.)?_?|\(\)", "", limit).replace("_", " ")
    plain = re.sub(rf"\bafter\({_UNITS}=(\d+)\)", r"in \2 \1", plain)
    return re.sub(r"\b1 (day|hour|minute)s\b", r"1 \1", re.sub(rf"\b{_UNITS}\((\d+)\)", r"\2 \1", plain))


def either(parts: Iterable[str]) -> str:
    """``a, b or c``."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} or {last}" if most else last
