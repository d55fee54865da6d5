"""What no system can be sent: refused before any call, with the field named.

A connector has ``@checked`` over its class. What one system alone does not take, its connector says itself: how long
its fields may be by ``connectors.limits``.
"""

import inspect
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar

from connectors.errors import NeverAgain
from contacts.events import Identity

C = TypeVar("C", bound=type)

ABILITIES = frozenset(
    {"send", "look_up", "upsert", "task", "note", "stage", "tell", "alert", "email", "card_page", "fetch"}
)
"""The methods of ``connectors.base`` that carry something of ours to another system."""

LONGEST_TEXT = 1024 * 1024
LONGEST = dict.fromkeys(
    ("key", "to", "email", "phone", "identities", "person", "id", "crm_id", "contact_id", "customer_id", "stage"), 1000
)
"""Characters that any text may have, and those fields that name somebody or something."""

_LARGEST_BITS = 1024
"""Of a whole number: what lies beyond is no float either, and more than most systems can read."""

_UNSENDABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, and half a surrogate pair, which has no encoding at all."""


def checked(connector: C) -> C:
    """The connector, with every ability refusing what cannot be sent.

    Raises:
        NeverAgain: By each ability, before it calls anybody; the reason is the field and what is wrong with it.
    """
    for name in ABILITIES & vars(connector).keys():
        setattr(connector, name, _checking(getattr(connector, name)))
    return connector


def check_header(connector: str, field: str, value: str) -> None:
    """Holds a value against what a header can carry.

    Raises:
        NeverAgain: It holds something else than printable ASCII.
    """
    if not (value.isascii() and value.isprintable()):
        raise NeverAgain(connector, f"{field}: holds a character that no header can carry")


def _checking(ability: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    signature = inspect.signature(ability)

    @wraps(ability)
    async def does(self: Any, *args: Any, **named: Any) -> Any:
        given = dict(signature.bind(self, *args, **named).arguments)
        del given["self"]
        # A mail's parts have bounds of their own, and half an emoji in one must not cost it: see ``connectors.mail``.
        prose = ("text", "html") if getattr(self, "channel", None) == "email" else ()
        for field, wrong in _faults(given):
            if field not in prose:
                raise NeverAgain(self.name, f"{field}: {wrong}")
        return await ability(self, *args, **named)

    return does


def _faults(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Whatever is wrong with the arguments, by field; those of a record are named without it."""
    for name, value in given.items():
        if is_dataclass(value):
            for field in fields(value):
                yield from _wrong(field.name, getattr(value, field.name))
        else:
            yield from _wrong(name, value)


def _wrong(field: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            most = LONGEST.get(field.partition(".")[0], LONGEST_TEXT)
            if _UNSENDABLE.search(value):
                yield field, "holds a character that cannot be sent"
            elif len(value) > most:
                yield field, f"is longer than {most:,} characters"
        case Identity(kind, known_as):
            yield from _wrong(f"{field}.{kind}", known_as)
        case float() if not math.isfinite(value):
            yield field, "is not a number"
        case int() if value.bit_length() > _LARGEST_BITS:
            yield field, "is too large a number"
        case Mapping():
            for name, each in value.items():
                if _UNSENDABLE.search(str(name)) or len(str(name)) > LONGEST["id"]:
                    yield field, "has a part whose name cannot be sent"
                else:
                    yield from _wrong(f"{field}.{name}", each)
        case Sequence() if not isinstance(value, bytes):
            for each in value:
                yield from _wrong(field, each)
