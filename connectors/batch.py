"""JSON that anybody may send, with one call in it or many: read without surprises, understood call by call."""

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from connectors.base import Refused
from contacts.events import Event, PartlyUnderstood

DEEPEST = 64
"""Levels of nesting in a body; nothing honest needs as many, and deeper ones break serialisers downstream."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a call. ``index`` is its place in the body, from 0."""

    index: int
    reason: str


@dataclass(frozen=True)
class Reading:
    """What was understood of a body.

    Attributes:
        events: The events of every call that was understood.
        problems: Calls that were not.
        remarks: What had to be left out of the others.
    """

    events: tuple[Event, ...]
    problems: tuple[Problem, ...]
    remarks: tuple[Problem, ...] = ()

    def understood(self) -> tuple[Event, ...]:
        """The events.

        Raises:
            PartlyUnderstood: Some calls were not; the events of the others come with it.
        """
        if self.problems:
            raise PartlyUnderstood(self.problems[0].reason, self.events)
        return self.events


def load_json(body: bytes) -> Any:
    """The JSON in a body, fit to be stored.

    PostgreSQL keeps neither NUL nor half a surrogate pair (browsers send the latter when they cut a text in the
    middle of an emoji): both become U+FFFD. A number too large for a float is refused.

    Raises:
        Refused: 400, the body is not JSON or is nested too deeply.
    """
    try:
        return _storable(json.loads(body, parse_constant=_no_constant), 0)
    except RecursionError:
        raise Refused(400, f"the body is nested more than {DEEPEST} levels deep") from None
    except ValueError as error:
        where = f" (at character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise Refused(400, f"the body is not JSON{where}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _storable(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise RecursionError
    match value:
        case str():
            return _text(value)
        case dict():
            return {_text(name): _storable(item, depth + 1) for name, item in value.items()}
        case list():
            return [_storable(item, depth + 1) for item in value]
        case float() if not math.isfinite(value):
            raise ValueError("a number is too large")
        case _:
            return value


def _text(value: str) -> str:
    return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
