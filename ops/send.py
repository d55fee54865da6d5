"""An event from the command line: what was typed becomes data, what followed from it becomes an answer."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, get_args

from contacts.events import DATA, Event, Identity
from contacts.intake import Intake, Receipt
from ops.output import Failure

_ADDRESSES = ("email", "phone")


@dataclass(frozen=True)
class Sent:
    """What an event did.

    Attributes:
        result: ``stored``, or ``repeat`` when it was known already and did nothing.
        started: Runs that begin: journey and key.
        ended: Runs that are over: journey, key, run id and outcome.
        told: Runs that hear of it: journey, key and run id.
        skipped: Journeys it could have started and did not, with the reason.
        hint: A better name, where no journey or rule knows the event's type.
    """

    result: str
    type: str
    event_id: str | None
    contact_id: str | None
    started: Sequence[Mapping[str, str | None]]
    ended: Sequence[Mapping[str, str | None]]
    told: Sequence[Mapping[str, str | None]]
    skipped: Sequence[Mapping[str, str]]
    hint: str | None


async def send(intake: Intake, event: Event, now: datetime) -> Sent:
    """Records the event.

    Raises:
        InvalidEvent: It names nobody.
    """
    receipt = await intake.record(event, now)
    return _answer(event, receipt)


def _answer(event: Event, receipt: Receipt) -> Sent:
    plan = receipt.plan
    return Sent(
        result=receipt.result,
        type=event.type,
        event_id=receipt.event_id,
        contact_id=receipt.contact_id,
        started=[{"journey": s.journey, "key": s.key} for s in plan.starts],
        ended=[
            {"journey": e.run.journey, "key": e.run.key, "run_id": e.run.id, "outcome": e.outcome} for e in plan.exits
        ],
        told=[{"journey": t.run.journey, "key": t.run.key, "run_id": t.run.id} for t in plan.tells],
        skipped=[{"journey": s.journey, "reason": s.reason} for s in plan.skips],
        hint=_hint(event.type),
    )


def _hint(type: str) -> str | None:
    if type in DATA or type.startswith("custom."):
        return None
    near = get_close_matches(type, DATA, n=1)
    return f"nothing acts on {type}" + (f"; did you mean {near[0]}?" if near else "")


def data_of(type: str, document: str | None, pairs: Iterable[str], identities: Iterable[Identity]) -> dict[str, Any]:
    """The event's data from a JSON object and ``key=value`` pairs, which win.

    A value is read as JSON where it is JSON (``3``, ``true``, ``["a"]``) and the field is not known to be text;
    anything else is text. ``contact.identified`` and ``contact.updated`` also get the addresses they are sent with,
    which is what makes an address one we may write to.

    Raises:
        Failure: The document is no JSON object, or a pair has no ``=``.
    """
    data: dict[str, Any] = {}
    if type in ("contact.identified", "contact.updated"):
        data |= {i.kind: i.value for i in identities if i.kind in _ADDRESSES}
    data |= _object(document)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise Failure(f"{pair!r}: data is given as key=value, or as JSON with --data", status=2)
        data[name] = _value(type, name, text)
    return data


def _object(document: str | None) -> dict[str, Any]:
    try:
        found = json.loads(document) if document is not None else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Failure('--data must be a JSON object such as \'{"page": "pricing"}\'', status=2)
    return found


def _value(type: str, name: str, text: str) -> Any:
    field = DATA[type].model_fields.get(name) if type in DATA else None
    if field is not None and str in (field.annotation, *get_args(field.annotation)):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
