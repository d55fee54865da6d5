"""What a message may be told, by declared type: raw values in, values a template can print out.

A value a template cannot use (absent, empty, of the wrong kind) becomes None, and then the message's declared
fallback is used or the message is refused. Nothing half-usable gets through.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from templates import content
from templates.money import money

Type = Literal["name", "url", "brand", "topic", "resource", "entry_point", "basket"]
"""
``name``         a person's first name
``url``          an http or https address
``brand``        ``{name, address, url}`` of the business that writes
``topic``        a topic's slug; an unknown one becomes the general topic
``resource``     the slug or title of what the contact took
``entry_point``  where the contact came in, such as ``form.submitted``; becomes a sentence of thanks
``basket``       a checkout or an order: ``{items: [{name, quantity, amount}], value, currency, url}``; every part may
                 be absent; ``amount`` is that of the line, and amounts are minor units
"""

_LINES_SHOWN = 8


@dataclass(frozen=True)
class Brand:
    """The business that writes."""

    name: str
    address: str
    url: str


@dataclass(frozen=True)
class Line:
    """One line of a basket; ``amount`` is printable, empty where unknown."""

    name: str
    quantity: int
    amount: str


@dataclass(frozen=True)
class Basket:
    """A checkout or an order. ``more`` counts the lines not shown; unknown texts are empty."""

    lines: tuple[Line, ...]
    more: int
    total: str
    url: str


def convert(type: Type, value: Any, context: Mapping[str, Any]) -> Any:
    """The value as a template prints it, or None where it cannot be used.

    Args:
        type: The declared type.
        value: As the caller gave it.
        context: Everything the caller gave; a topic can follow from the resource.
    """
    return _CONVERTERS[type](value, context)


def clean(value: Any, limit: int = 200) -> str | None:
    """Text on one line without invisible characters, or None where there is none.

    >>> clean("  two\\n words\\x00 ")
    'two words'
    """
    if not isinstance(value, str):
        return None
    text = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return text if 0 < len(text) <= limit else None


def _name(value: Any, _: Mapping[str, Any]) -> str | None:
    """A sign-up form's name field is where strangers put adverts: what does not look like a name is not greeted."""
    text = clean(value, 40)
    if text is None or re.search(r"\.\w|[./]{2}", text) or not any(c.isalpha() for c in text):
        return None
    return text if all(unicodedata.category(c)[0] in "LM" or c in " '’-." for c in text) else None


def _url(value: Any, _: Mapping[str, Any] | None = None) -> str | None:
    if not isinstance(value, str) or len(value) > 2000 or not value.isprintable() or re.search(r"[\s<>\"\\]", value):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in ("http", "https") and parts.hostname else None


def _brand(value: Any, _: Mapping[str, Any]) -> Brand | None:
    if not isinstance(value, Mapping):
        return None
    name, address, url = clean(value.get("name")), clean(value.get("address")), _url(value.get("url"))
    return Brand(name, address, url) if name and address and url else None


def _resource(value: Any, _: Mapping[str, Any]) -> content.Taken | None:
    text = clean(value)
    if text is None or not any(c.isalnum() for c in text):
        return None
    return content.SHIPPED.taken(text)


def _topic(value: Any, context: Mapping[str, Any]) -> content.Topic:
    return content.topic(clean(value) or content.FALLBACK, _resource(context.get("resource"), context))


def _entry_point(value: Any, _: Mapping[str, Any]) -> str | None:
    text = clean(value)
    return content.SHIPPED.thanks_for(text) if text else None


def _basket(value: Any, _: Mapping[str, Any]) -> Basket | None:
    if not isinstance(value, Mapping):
        return None
    currency = value.get("currency")
    items = value.get("items")
    found = [_line(item, currency) for item in items] if isinstance(items, list | tuple) else []
    lines = tuple(line for line in found if line is not None)
    shown = lines[:_LINES_SHOWN]
    return Basket(shown, len(lines) - len(shown), _amount(value.get("value"), currency), _url(value.get("url")) or "")


def _line(item: Any, currency: Any) -> Line | None:
    if not isinstance(item, Mapping):
        item = {"name": item}
    name = clean(item.get("name"))
    if name is None:
        return None
    quantity = item.get("quantity")
    counted = quantity if isinstance(quantity, int) and quantity > 0 else 1
    return Line(name, counted, _amount(item.get("amount"), currency))


def _amount(minor: Any, currency: Any) -> str:
    if not isinstance(minor, int) or isinstance(minor, bool) or not isinstance(currency, str):
        return ""
    code = currency.upper()
    return money(minor, code) if re.fullmatch("[A-Z]{3}", code) else ""


_CONVERTERS: dict[Type, Callable[[Any, Mapping[str, Any]], Any]] = {
    "name": _name,
    "url": _url,
    "brand": _brand,
    "topic": _topic,
    "resource": _resource,
    "entry_point": _entry_point,
    "basket": _basket,
}
