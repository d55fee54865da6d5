"""What a message may be told, by declared type: raw values in, values a template can print out.

A value a template cannot use (absent, empty, of the wrong kind) becomes None, and then the message's declared
fallback is used or the message is refused. Nothing half-usable gets through.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from contacts.policy import Stage
from templates import content
from templates.money import money

Type = Literal[
    "name", "url", "brand", "topic", "resource", "entry_point", "basket",
    "text", "integer", "date", "account", "meeting", "renewal", "milestone",
    "webinar", "quiz", "survey", "event", "standing", "answers",
    "invoice", "subscription", "feature", "ticket", "form", "referral", "review", "usage",
]  # fmt: skip
"""
``name``         a person's first name
``url``          an http or https address
``brand``        ``{name, address, url}`` of the business that writes
``topic``        a topic's slug; an unknown one becomes the general topic
``resource``     the slug or title of what the contact took
``entry_point``  where the contact came in, such as ``form.submitted``; becomes a sentence of thanks
``basket``       a checkout or an order: ``{items: [{name, quantity, amount}], value, currency, url}``; every part may
                 be absent; ``amount`` is that of the line, and amounts are minor units
``text``         what somebody wrote: one line without markup or links, cut at 240 characters
``integer``      a count from 0 up, as a number or in digits
``date``         an ISO 8601 date, or a time whose date is meant; becomes ``1 April 2026``
``account``      ``{name}`` of the company the contact belongs to
``meeting``      ``{starts_at, url, move_url}``, all optional; ``starts_at`` is ISO 8601 with an offset; it is shown in
                 the ``timezone`` (IANA) the caller gives beside it, else with that offset
``renewal``      ``{date, plan, value, currency, manage_url}``, every part optional; ``value`` is minor units
``milestone``    ``{name, number, next}``: what there now is that many of; without ``number``, a name that stands alone;
                 ``next`` is the one after it, or the next move towards it, optional
``webinar``      ``{name, recording_url}``, both optional
``quiz``         ``{name, answers: [{question, answer}], advice}``; answers or advice there must be
``survey``       ``{url, incentive, minutes}``; ``incentive`` completes "in return you get ..."; two minutes if not said
``event``        ``{name, starts_at, url}``, all needed; ``starts_at`` as in a meeting
``standing``     ``{stage, strength, since, days, used}``: where they stand with us, every part optional; ``since`` is
                 the ISO 8601 date of the first purchase, ``days`` how long ago that is, ``used`` whether they have
                 begun to use what they bought
``answers``      a list of ``{question, answer}``, the newest first: what they told us in forms and surveys; only
                 questions that ``content/questions.yaml`` knows are of use
``invoice``      ``{value, currency, number, card_url, retry_at}``, every part optional; ``retry_at`` is ISO 8601
``subscription`` ``{plan, ends_at, export_url}``, every part optional; ``ends_at`` is ISO 8601
``feature``      ``{name, url}`` of something a plan can do; ``url`` is optional
``ticket``       ``{subject, yes_url, no_url}``, every part optional; one link without the other is of no use
``form``         ``{url, incentive}``, both optional
``referral``     ``{url, reward}``, both optional
``review``       ``{url}`` of the place where reviews are left
``usage``        ``{headline}``: what came of using it, as a sentence
"""

PLAIN: frozenset[Type] = frozenset(("name", "url", "topic", "resource", "entry_point", "text", "integer", "date"))
"""Types whose value is not an object with named parts."""

_LINES_SHOWN = 8
_TEXT_READ = 4000
_MARKUP = re.compile(r"</?[a-zA-Z!?][^<>]*>|[<>{}`]")
_LINK = re.compile(r"://|\bwww\.|\b(?:mailto|tel|javascript|data):\S|\w@\w|\.[^\W\d_]{2,}[/?#:]\S", re.IGNORECASE)
_NO_LINK = "(link removed)"


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


@dataclass(frozen=True)
class Account:
    """The company a contact belongs to."""

    name: str


@dataclass(frozen=True)
class Meeting:
    """A meeting. ``when`` completes "on ..." (``Tuesday 17 March at 15:00 CET``); unknown texts are empty."""

    when: str
    url: str
    move_url: str


@dataclass(frozen=True)
class Renewal:
    """The renewal of what they have; unknown texts are empty."""

    date: str
    plan: str
    amount: str
    manage_url: str


@dataclass(frozen=True)
class Milestone:
    """A milestone; ``label`` is ``1,000 orders``, or the name alone where it is no count; ``next`` may be empty."""

    label: str
    next: str


@dataclass(frozen=True)
class Invoice:
    """A payment that is due or was made; unknown texts are empty."""

    amount: str
    number: str
    card_url: str
    retry_at: str


@dataclass(frozen=True)
class Subscription:
    """A plan that ends; unknown texts are empty."""

    plan: str
    ends_at: str
    export_url: str


@dataclass(frozen=True)
class Feature:
    """Something a plan can do; an unknown ``url`` is empty."""

    name: str
    url: str


@dataclass(frozen=True)
class Ticket:
    """A request for help; unknown texts are empty. ``yes_url`` and ``no_url`` are there both or neither."""

    subject: str
    yes_url: str
    no_url: str


@dataclass(frozen=True)
class Form:
    """Questions, and what was promised for the answers; unknown texts are empty."""

    url: str
    incentive: str


@dataclass(frozen=True)
class Referral:
    """A link to pass on, and what both sides get for it; unknown texts are empty."""

    url: str
    reward: str


@dataclass(frozen=True)
class Review:
    """Where reviews are left."""

    url: str


@dataclass(frozen=True)
class Usage:
    """What came of using it."""

    headline: str


@dataclass(frozen=True)
class Webinar:
    """A session somebody came to; unknown texts are empty."""

    name: str
    recording_url: str


@dataclass(frozen=True)
class Answer:
    """What somebody was asked and said."""

    question: str
    answer: str


@dataclass(frozen=True)
class Quiz:
    """A quiz somebody took, with their answers or our advice or both; unknown texts are empty."""

    name: str
    answers: tuple[Answer, ...]
    advice: str


@dataclass(frozen=True)
class Survey:
    """Questions we ask; ``incentive`` is empty where there is none."""

    url: str
    incentive: str
    minutes: int


@dataclass(frozen=True)
class Event:
    """Something to come to; ``when`` as in ``Meeting``."""

    name: str
    when: str
    url: str


@dataclass(frozen=True)
class Standing:
    """Where somebody stands with us; unknown texts are empty.

    Attributes:
        stage: A lifecycle stage.
        since: The month of the first purchase (``May 2024``); empty for who is no customer.
        years: Whole years since then.
        unused: They have bought and not begun to use it.
    """

    stage: str
    strength: int | None
    since: str
    years: int
    unused: bool


@dataclass(frozen=True)
class Told:
    """Something they told us.

    Attributes:
        asked: The question, as it was asked.
        what: Completes "you told us ...".
        answer: Theirs, in words.
        reply: What we have to say to it, or empty.
        choice: The slug of what they chose; empty where they wrote something of their own.
    """

    question: str
    asked: str
    what: str
    answer: str
    reply: str
    choice: str


@dataclass(frozen=True)
class Answers:
    """What they told us, the newest first."""

    told: tuple[Told, ...]

    def to(self, question: str) -> Told | None:
        """Their answer to a question."""
        return next((told for told in self.told if told.question == question), None)

    def choice(self, question: str) -> str:
        """The slug of what they chose; empty where they did not."""
        told = self.to(question)
        return told.choice if told else ""


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


def clip(words: str, limit: int) -> str:
    """The words, cut between two of them and marked as cut where they are longer than the limit.

    >>> clip("a rather long title", 12)
    'a rather…'
    """
    if len(words) <= limit:
        return words
    return words[: limit - 1].rsplit(" ", 1)[0].rstrip(" ,.;:") + "…"


def _written(value: Any, limit: int) -> str | None:
    """Somebody's own words, safe to show to somebody else.

    Mail programs turn ``name.example`` into a link too. A space after the dot prevents that and keeps a sentence that
    only lacks the space.
    """
    if not isinstance(value, str):
        return None
    text = clean(_MARKUP.sub(" ", value[:_TEXT_READ]), _TEXT_READ)
    words = [_NO_LINK if _LINK.search(word) else word for word in text.split()] if text else []
    if not any(c.isalnum() for word in words if word != _NO_LINK for c in word):
        return None
    return clip(re.sub(r"(?<=\w)\.(?=[^\W\d_]{2})", ". ", " ".join(words)), limit)


def _text(value: Any, _: Mapping[str, Any]) -> str | None:
    return _written(value, 240)


def _integer(value: Any, _: Mapping[str, Any] | None = None) -> int | None:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _date(value: Any, _: Mapping[str, Any] | None = None) -> str | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return f"{value.day} {value:%B} {value.year}" if isinstance(value, date) else None


def _account(value: Any, _: Mapping[str, Any]) -> Account | None:
    name = _written(value.get("name"), 60) if isinstance(value, Mapping) else None
    return Account(name) if name else None


def _meeting(value: Any, context: Mapping[str, Any]) -> Meeting | None:
    if not isinstance(value, Mapping):
        return None
    return Meeting(
        _when(value.get("starts_at"), context.get("timezone")) or "",
        _url(value.get("url")) or "",
        _url(value.get("move_url")) or "",
    )


def _when(value: Any, timezone: Any) -> str | None:
    """With the name of the zone: a time that leaves it open sends somebody to an empty room."""
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            return None
        moment = moment.astimezone(_zone(timezone) or moment.tzinfo)
        zone = moment.tzname() or "UTC"
    except (TypeError, ValueError, OverflowError):
        return None
    return f"{moment:%A} {moment.day} {moment:%B} at {moment:%H:%M} {zone if zone[0].isalpha() else f'UTC{zone}'}"


def _zone(name: Any) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (TypeError, ValueError, KeyError, OSError):
        return None


def _renewal(value: Any, _: Mapping[str, Any]) -> Renewal | None:
    if not isinstance(value, Mapping):
        return None
    return Renewal(
        _date(value.get("date")) or "",
        _written(value.get("plan"), 60) or "",
        _amount(value.get("value"), value.get("currency")),
        _url(value.get("manage_url")) or "",
    )


def _milestone(value: Any, _: Mapping[str, Any]) -> Milestone | None:
    name = _written(value.get("name"), 60) if isinstance(value, Mapping) else None
    if name is None:
        return None
    number = _integer(value.get("number"))
    label = f"{number:,} {name}" if number and number > 1 else name
    return Milestone(label, _phrase(value.get("next"), 120))


def _phrase(value: Any, limit: int) -> str:
    """Words that stand inside a sentence of ours, which brings its own full stop."""
    return (_written(value, limit) or "").rstrip(".")


def _invoice(value: Any, _: Mapping[str, Any]) -> Invoice | None:
    if not isinstance(value, Mapping):
        return None
    return Invoice(
        _amount(value.get("value"), value.get("currency")),
        clean(value.get("number"), 40) or "",
        _url(value.get("card_url")) or "",
        _date(value.get("retry_at")) or "",
    )


def _subscription(value: Any, _: Mapping[str, Any]) -> Subscription | None:
    if not isinstance(value, Mapping):
        return None
    return Subscription(
        _written(value.get("plan"), 60) or "", _date(value.get("ends_at")) or "", _url(value.get("export_url")) or ""
    )


def _feature(value: Any, _: Mapping[str, Any]) -> Feature | None:
    name = _written(value.get("name"), 60) if isinstance(value, Mapping) else None
    return Feature(name, _url(value.get("url")) or "") if name else None


def _ticket(value: Any, _: Mapping[str, Any]) -> Ticket | None:
    if not isinstance(value, Mapping):
        return None
    subject, yes, no = _phrase(value.get("subject"), 120), _url(value.get("yes_url")), _url(value.get("no_url"))
    return Ticket(subject, yes, no) if yes and no else Ticket(subject, "", "")


def _form(value: Any, _: Mapping[str, Any]) -> Form | None:
    if not isinstance(value, Mapping):
        return None
    return Form(_url(value.get("url")) or "", _phrase(value.get("incentive"), 120))


def _referral(value: Any, _: Mapping[str, Any]) -> Referral | None:
    if not isinstance(value, Mapping):
        return None
    return Referral(_url(value.get("url")) or "", _phrase(value.get("reward"), 160))


def _review(value: Any, _: Mapping[str, Any]) -> Review | None:
    url = _url(value.get("url")) if isinstance(value, Mapping) else None
    return Review(url) if url else None


def _usage(value: Any, _: Mapping[str, Any]) -> Usage | None:
    headline = _written(value.get("headline"), 160) if isinstance(value, Mapping) else None
    return Usage(headline) if headline else None


def _webinar(value: Any, _: Mapping[str, Any]) -> Webinar | None:
    if not isinstance(value, Mapping):
        return None
    return Webinar(_written(value.get("name"), 100) or "", _url(value.get("recording_url")) or "")


def _quiz(value: Any, _: Mapping[str, Any]) -> Quiz | None:
    if not isinstance(value, Mapping):
        return None
    given = value.get("answers")
    answers = tuple(filter(None, map(_answer, given))) if isinstance(given, list | tuple) else ()
    advice = _written(value.get("advice"), 600) or ""
    return Quiz(_written(value.get("name"), 100) or "", answers[:_LINES_SHOWN], advice) if answers or advice else None


def _answer(value: Any) -> Answer | None:
    if not isinstance(value, Mapping):
        return None
    if (told := _told(value)) is not None:
        return Answer(told.asked, told.answer)
    question, answer = _written(value.get("question"), 120), _written(value.get("answer"), 120)
    return Answer(question, answer) if question and answer else None


def _survey(value: Any, _: Mapping[str, Any]) -> Survey | None:
    url = _url(value.get("url")) if isinstance(value, Mapping) else None
    if not url:
        return None
    return Survey(url, _written(value.get("incentive"), 160) or "", _integer(value.get("minutes")) or 2)


def _event(value: Any, context: Mapping[str, Any]) -> Event | None:
    if not isinstance(value, Mapping):
        return None
    name, url = _written(value.get("name"), 100), _url(value.get("url"))
    when = _when(value.get("starts_at"), context.get("timezone"))
    return Event(name, when, url) if name and when and url else None


def _standing(value: Any, _: Mapping[str, Any]) -> Standing:
    value = value if isinstance(value, Mapping) else {}
    stage, since = value.get("stage"), _date(value.get("since"))
    return Standing(
        stage if stage in get_args(Stage) else "",
        _integer(value.get("strength")),
        since.partition(" ")[2] if since else "",
        (_integer(value.get("days")) or 0) // 365 if since else 0,
        since is not None and value.get("used") is False,
    )


def _answers(value: Any, _: Mapping[str, Any]) -> Answers:
    given = value if isinstance(value, list | tuple) else ()
    return Answers(tuple(filter(None, map(_told, given))))


def _told(value: Any) -> Told | None:
    """Nothing where nobody has thought about the question: a form sends along more than people mean to say."""
    if not isinstance(value, Mapping) or not isinstance(value.get("question"), str):
        return None
    known = content.SHIPPED.questions.get(value["question"])
    if known is None:
        return None
    answer = value.get("answer")
    given = [a for a in (answer if isinstance(answer, list | tuple) else [answer]) if isinstance(a, str)]
    chosen = [a for a in given if a in known.choices]
    words = [known.choices[a].says if a in known.choices else _written(a, 160) for a in given]
    said = clip(", ".join(filter(None, words)), 200)
    reply = next((known.choices[a].reply for a in chosen if known.choices[a].reply), "")
    return Told(known.slug, known.asked, known.what, said, reply, chosen[0] if chosen else "") if said else None


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
    "text": _text,
    "integer": _integer,
    "date": _date,
    "account": _account,
    "meeting": _meeting,
    "renewal": _renewal,
    "milestone": _milestone,
    "invoice": _invoice,
    "subscription": _subscription,
    "feature": _feature,
    "ticket": _ticket,
    "form": _form,
    "referral": _referral,
    "review": _review,
    "usage": _usage,
    "webinar": _webinar,
    "quiz": _quiz,
    "survey": _survey,
    "event": _event,
    "standing": _standing,
    "answers": _answers,
}
